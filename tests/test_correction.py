"""N4 and local contrast: what they do to volumes whose truth is known, and the file that is written."""

from pathlib import Path

import nilearn
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from coordinates import LOPSIDED
from torch import Tensor

from faimed3d.basics import TensorDicom3D
from faimed3d.geometry import Geometry
from faimed3d.intensity import correct_bias_field, equalize_locally
from faimed3d.legacy.correction import ImageCorrectionWrapper

BRAIN = Path(nilearn.__file__).parent / "datasets" / "data"
GRID = Geometry((20, 24, 28), spacing=(2, 2.5, 3), origin=(-7, 11, 5), direction=LOPSIDED.direction)


def field_like(shape):
    d, h, w = (torch.linspace(-1, 1, n) for n in shape)
    return torch.exp(0.4 * w + 0.2 * h[:, None] ** 2 - 0.3 * d[:, None, None])


def phantom(scale=1.0, seed=0):
    """A ball of two tissues in air, by turns, and the same seen by an uneven coil."""
    d, h, w = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in GRID.shape), indexing="ij")
    inside = d**2 + h**2 + w**2 < 0.8
    tissue = torch.where(torch.sin(9 * d) * torch.sin(9 * h) * torch.sin(9 * w) > 0, 60.0, 100.0)
    noise = torch.randn(GRID.shape, generator=torch.Generator().manual_seed(seed))
    truth = (tissue * inside + 2 * noise.abs()) * scale
    return TensorDicom3D(truth, GRID), TensorDicom3D(truth * field_like(GRID.shape), GRID), inside


def unevenness(image, truth, inside):
    ratio = (image / truth).as_subclass(Tensor)[inside]
    return (ratio.std() / ratio.mean()).item()


class TestBiasField:
    def test_evens_out_a_ball(self):
        truth, uneven, inside = phantom()
        before = unevenness(uneven, truth, inside)
        corrected = correct_bias_field(uneven, mask=inside)
        assert unevenness(corrected, truth, inside) < before / 4
        assert corrected.geometry == GRID
        assert type(corrected) is TensorDicom3D

    def test_evens_out_the_white_matter_of_a_brain(self):
        brain = TensorDicom3D.create(BRAIN / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz")[::3, ::3, ::3]
        white = TensorDicom3D.create(BRAIN / "mni_icbm152_wm_tal_nlin_sym_09a_converted.nii.gz")[::3, ::3, ::3]
        white = (white > 0.9 * white.max()).as_subclass(Tensor)
        uneven = brain * field_like(brain.shape)
        corrected = correct_bias_field(uneven, shrink=3)
        spread = [(x[white].std() / x[white].mean()).item() for x in (brain, uneven, corrected)]
        assert spread[1] > 0.12
        assert spread[2] < spread[0] + 0.02

    @pytest.mark.parametrize("scale", [1e-2, 1e4])
    def test_small_and_large_values_stay_what_they_are(self, scale):
        truth, uneven, inside = phantom(scale)  # 0.0.6 made zeros of values below 1
        corrected = correct_bias_field(uneven, mask=inside, iterations=5)
        assert corrected.dtype == torch.float32
        assert corrected[inside].mean() == pytest.approx(float(truth[inside].mean()), rel=0.2)
        logarithm = (uneven / corrected).as_subclass(Tensor)[inside].log()
        assert logarithm.mean().item() == pytest.approx(0, abs=1e-4)

    def test_does_not_depend_on_where_the_volume_lies(self):
        _, uneven, inside = phantom()
        other = TensorDicom3D(uneven.as_subclass(Tensor), GRID.replace(direction=(-1, 0, 0, 0, -1, 0, 0, 0, 1)))
        assert torch.equal(correct_bias_field(uneven, inside, 2), correct_bias_field(other, inside, 2))

    def test_channels_are_corrected_each_on_its_own(self):
        _, uneven, inside = phantom()
        both = torch.stack([uneven, uneven.flip(-1).with_voxels(uneven.as_subclass(Tensor).flip(-1))])
        both = both.with_voxels(both.as_subclass(Tensor), lambda geometry: GRID)
        corrected = correct_bias_field(TensorDicom3D(both.as_subclass(Tensor), GRID), inside, iterations=2)
        assert torch.equal(corrected[0], correct_bias_field(uneven, inside, iterations=2))
        assert corrected.shape == (2, *GRID.shape)

    def test_keeps_double_precision_and_nan(self):
        _, uneven, inside = phantom()
        uneven = uneven.double()
        uneven[0, 0, 0] = torch.nan
        corrected = correct_bias_field(uneven, inside, iterations=2, shrink=(1, 2, 2))
        assert corrected.dtype == torch.float64
        assert corrected.isnan().sum() == 1
        assert corrected[0, 0, 0].isnan()

    def test_never_writes_into_its_argument(self):
        _, uneven, _ = phantom()
        before = uneven.clone()
        correct_bias_field(uneven, iterations=1)
        assert torch.equal(uneven, before)

    def test_refuses_what_it_cannot_correct(self):
        truth, uneven, inside = phantom()
        with pytest.raises(ValueError, match="for MR magnitudes, and this image has values down to -"):
            correct_bias_field(truth - 1000)
        with pytest.raises(ValueError, match="nothing to fit the field on"):
            correct_bias_field(truth * 0)
        with pytest.raises(ValueError, match="nothing to fit the field on"):
            correct_bias_field(uneven, mask=inside * 0)
        with pytest.raises(ValueError, match=r"the mask has \(2, 3, 4\) voxels \(D, H, W\), the image \(20, 24, 28\)"):
            correct_bias_field(uneven, mask=torch.ones(2, 3, 4))
        with pytest.raises(ValueError, match=r"shrink must be one whole number or three .*, at least 1, got 0"):
            correct_bias_field(uneven, shrink=0)
        with pytest.raises(ValueError, match="correct_bias_field needs a geometry"):
            correct_bias_field(uneven[torch.randperm(20)])


class TestLocalContrast:
    def test_raises_a_faint_edge_and_keeps_the_range(self):
        image = torch.zeros(GRID.shape)
        image[..., 14:] = 1.0
        image[:, :, :14] += 0.01 * (torch.arange(24) % 2)[:, None]
        found = equalize_locally(TensorDicom3D(image, GRID), radius=(1, 3, 3))
        faint = found.as_subclass(Tensor)[:, 5:-5, 5]
        assert (faint[:, 1::2] - faint[:, ::2]).abs().mean() > 0.1
        assert found.min() >= 0
        assert found.max() <= 1
        assert found.geometry == GRID

    def test_floats_between_0_and_1_are_kept(self):
        image = TensorDicom3D(torch.rand(4, 5, 6), Geometry((4, 5, 6)))
        assert torch.allclose(equalize_locally(image, 1, alpha=1, beta=1), image, atol=1e-5)
        assert len(equalize_locally(image, 1).unique()) > 100

    def test_the_radius_is_along_d_h_w(self):
        values = torch.rand(4, 5, 6)
        found = equalize_locally(TensorDicom3D(values), radius=(0, 1, 2))
        expected = sitk.AdaptiveHistogramEqualization(sitk.GetImageFromArray(values.numpy()), (2, 1, 0), 0.3, 0.3)
        np.testing.assert_array_equal(found.numpy(), sitk.GetArrayFromImage(expected))
        channels = equalize_locally(TensorDicom3D(torch.stack([values, 1 - values])), (0, 1, 2))
        assert torch.equal(channels[0], found)

    def test_refuses_what_it_cannot_use(self):
        image = TensorDicom3D(torch.rand(2, 3, 4))
        with pytest.raises(ValueError, match=r"radius must be one whole number or three .*, at least 0, got 1.5"):
            equalize_locally(image, 1.5)
        with pytest.raises(ValueError, match=r"got \(1, 2\)"):
            equalize_locally(image, (1, 2))
        with pytest.raises(ValueError, match="needs finite values: the image holds NaN"):
            equalize_locally(image * torch.nan)


class TestWrapper:
    def test_writes_beside_the_file(self, tmp_path):
        _, uneven, _ = phantom(0.01)
        uneven.save(tmp_path / "a.b.nii.gz")
        written = ImageCorrectionWrapper(do_hist=False)(tmp_path / "a.b.nii.gz")
        assert written == tmp_path / "a.b_corrected.nii.gz"
        corrected = TensorDicom3D.create(written)
        assert corrected.geometry.agrees(GRID)
        torch.testing.assert_close(corrected, correct_bias_field(uneven), atol=1e-6, rtol=1e-5)
        assert len(corrected.unique()) > 1000

    def test_takes_text_and_a_name_for_the_result(self, tmp_path):
        _, uneven, _ = phantom()
        uneven[8:12, 8:14, 8:14].save(tmp_path / "scan.nrrd")
        out = ImageCorrectionWrapper(do_n4=False, hist_radius=(1, 1, 1))(
            str(tmp_path / "scan.nrrd"), str(tmp_path / "out.nrrd")
        )
        assert out == tmp_path / "out.nrrd"
        expected = equalize_locally(uneven[8:12, 8:14, 8:14], 1)
        torch.testing.assert_close(TensorDicom3D.create(out), expected)

    def test_writes_beside_a_dicom_folder_not_into_it(self, tmp_path):
        _, uneven, _ = phantom()
        uneven[4:12, 8:14, 8:14].save(tmp_path / "T2", modality="MR")
        files = sorted((tmp_path / "T2").iterdir())
        written = ImageCorrectionWrapper(hist_radius=(1, 1, 1))(tmp_path / "T2")
        assert written == tmp_path / "T2_corrected.nii.gz"
        assert sorted((tmp_path / "T2").iterdir()) == files

    def test_a_tensor_needs_a_name_for_the_result(self, tmp_path):
        _, uneven, _ = phantom()
        with pytest.raises(ValueError, match="a tensor has no file beside which to write: pass fn_out"):
            ImageCorrectionWrapper()(uneven)
        out = ImageCorrectionWrapper(do_n4=False, do_hist=False)(uneven, tmp_path / "same.mha")
        torch.testing.assert_close(TensorDicom3D.create(out), uneven)

    def test_says_what_it_does(self):
        assert repr(ImageCorrectionWrapper(5, do_n4=False)) == "ImageCorrectionWrapper(n4_max_num_it=5, do_n4=False)"
