"""Bias fields: put in, and taken out of images whose truth is known."""

from pathlib import Path

import nilearn
import numpy as np
import pytest
import torch
from intensity_samples import normal
from scanners import GRID, field_like, phantom
from torch import Tensor

from faimed3d import intensity
from faimed3d.basics import TensorDicom3D
from faimed3d.intensity import correct_bias_field

BRAIN = Path(nilearn.__file__).parent / "datasets" / "data"


def unevenness(image, truth, inside):
    ratio = (image / truth).as_subclass(Tensor)[inside]
    return (ratio.std() / ratio.mean()).item()


class TestApplying:
    def test_bias_field_multiplies_what_is_above_the_minimum(self):
        x = normal().abs() - 3
        flat = intensity.apply_bias_field(x, torch.full((2, 4, 4, 4), np.log(2)))
        low = x.amin((1, 2, 3, 4), keepdim=True)
        torch.testing.assert_close(flat, (x - low) * 2 + low)


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
