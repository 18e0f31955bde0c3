"""NIfTI's codes say which world a volume lies in: they go from the file through all that is done to the next file."""

import warnings

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from io_volumes import OBLIQUE, SHEARED, rotation, volume
from test_stated_places import KEEPING

from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D
from faimed3d.io import read, write
from faimed3d.spatial import resample

RAS = np.diag([-1, -1, 1, 1])


def nifti(path, codes, affine=None, other=None, shape=(8, 6, 4), dtype=np.int16, kind=nib.Nifti1Image):
    """A NIfTI of codes (sform, qform), written by nibabel; ``other``: the qform's own affine."""
    affine = RAS @ Geometry(shape[::-1], (1, 2, 3), (-7, 11, 5), rotation()).affine if affine is None else affine
    image = kind(np.arange(np.prod(shape)).reshape(shape).astype(dtype), None)
    image.set_sform(affine, codes[0])
    image.set_qform(affine if other is None else other, codes[1])
    image.to_filename(path)
    return path


def codes_of(path):
    return tuple(int(nib.load(path).header[name]) for name in ("sform_code", "qform_code"))


class TestCodes:
    @settings(max_examples=60, deadline=None)
    @given(
        codes=st.tuples(st.integers(0, 5), st.integers(0, 5)).filter(any),
        names=st.lists(st.sampled_from(sorted(set(KEEPING) - {"metadata"})), max_size=2),
        kind=st.sampled_from([TensorDicom3D, TensorMask3D]),
        suffix=st.sampled_from([".nii", ".nii.gz", ".hdr"]),
        form=st.sampled_from([nib.Nifti1Image, nib.Nifti2Image]),
    )
    def test_codes_go_from_file_to_file(self, tmp_path_factory, codes, names, kind, suffix, form):
        folder = tmp_path_factory.mktemp("codes")
        t = kind.create(nifti(folder / "source.nii", codes, kind=form))
        for name in names:
            if min(t.shape) >= 5 or name not in ("pool", "crop_3d", "slice", "step"):
                t = KEEPING[name](t)
        assert t.geometry.nifti_codes == codes
        t.save(folder / f"copy{suffix}")
        assert codes_of(folder / f"copy{suffix}") == codes
        peer = nib.load(folder / f"copy{suffix}").affine
        np.testing.assert_allclose(peer, RAS @ t.geometry.affine, atol=1e-4)

    @pytest.mark.parametrize("codes", [(4, 1), (1, 2)])
    def test_a_qform_of_another_place_is_not_kept(self, tmp_path, codes):
        other = np.diag([2.0, 2, 2, 1])
        with pytest.warns(UserWarning, match="sform and qform differ by"):
            t = TensorDicom3D.create(nifti(tmp_path / "a.nii", codes, other=other))
        t.save(tmp_path / "b.nii")
        assert codes_of(tmp_path / "b.nii") == (codes[0], 0)

    def test_a_file_without_forms_says_so_and_its_copy_does_not_claim_the_scanner(self, tmp_path):
        with pytest.warns(UserWarning, match="neither sform_code nor qform_code is set"):
            t = TensorDicom3D.create(nifti(tmp_path / "a.nii", (0, 0)))
        assert t.geometry.assumed == "position"
        with pytest.warns(UserWarning, match="origin 0 and axes L, P, S are assumed"):
            t.save(tmp_path / "b.nii")
        assert codes_of(tmp_path / "b.nii") == (2, 2)
        t.set_origin((0, 0, 0))
        t.save(tmp_path / "c.nii")
        assert codes_of(tmp_path / "c.nii") == (1, 1)

    def test_codes_that_nifti_has_not_become_2(self, tmp_path):
        path = nifti(tmp_path / "a.nii", (1, 1))
        raw = bytearray(path.read_bytes())
        raw[252:256] = np.array([7, 1], "<i2").tobytes()  # qform_code, sform_code
        path.write_bytes(bytes(raw))
        TensorDicom3D.create(path, strict=False).save(tmp_path / "b.nii")
        assert codes_of(tmp_path / "b.nii") == (1, 2)

    def test_other_formats_are_in_the_scanner(self, tmp_path):
        for suffix in (".nrrd", ".mha"):
            write(tmp_path / f"a{suffix}", volume(), OBLIQUE)
            TensorDicom3D.create(tmp_path / f"a{suffix}").save(tmp_path / "b.nii")
            assert codes_of(tmp_path / "b.nii") == (1, 1)

    def test_a_mask_made_like_an_image_or_brought_to_it_lies_in_the_world_of_the_image(self, tmp_path):
        image = TensorDicom3D.create(nifti(tmp_path / "a.nii", (4, 4)))
        lesion = TensorMask3D(torch.ones(2, 2, 2), Geometry((2, 2, 2), (2, 2, 2), image.geometry.origin))
        for mask in (
            TensorMask3D(np.ones(image.shape), like=image),
            lesion.resample_like(image),
            image * lesion.resample_like(image),
        ):
            assert mask.geometry.nifti_codes == (4, 4)
        assert resample(image, 2).geometry.nifti_codes == (4, 4)


class TestShear:
    @settings(max_examples=40, deadline=None)
    @given(
        shear=st.sampled_from([1e-6, 1e-5, 1e-4, 1e-3, 0.02, 0.3]),
        side=st.sampled_from([4, 40, 300]),
        seed=st.integers(0, 1000),
        codes=st.sampled_from([(1, 0), (4, 0), (2, 1), (4, 4)]),
        suffix=st.sampled_from([".nii", ".nii.gz", ".hdr"]),
    )
    def test_every_grid_that_is_read_is_written_again(self, tmp_path_factory, shear, side, seed, codes, suffix):
        folder = tmp_path_factory.mktemp("shear")
        matrix = np.reshape(rotation(seed), (3, 3)) @ np.array([[1, shear, 0], [0, 1, 0], [0, 0, 1]])
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = matrix * [1.5, 1.5, 2], (-90, -120, -70)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*sform and qform differ")
            mask = TensorMask3D.create(
                nifti(folder / "a.nii", codes, affine, shape=(side, 3, 2), dtype=np.uint8), dtype=None
            )
        mask.save(folder / f"b{suffix}")
        copy = nib.load(folder / f"b{suffix}")
        np.testing.assert_allclose(copy.affine, affine, atol=2e-4)
        assert int(copy.header["sform_code"]) == codes[0]
        np.testing.assert_array_equal(np.asarray(copy.dataobj), mask.numpy().T)
        if shear > 1e-3:
            assert int(copy.header["qform_code"]) == 0

    @pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".hdr", ".img"])
    def test_a_tilted_gantry_lies_in_the_sform_alone(self, tmp_path, suffix):
        write(tmp_path / f"a{suffix}", volume(), SHEARED)
        assert read(tmp_path / f"a{suffix}")[1].agrees(SHEARED, 1e-5)
        assert codes_of(tmp_path / f"a{suffix}") == (1, 0)

    def test_a_qform_alone_that_does_not_fit_becomes_an_sform(self, tmp_path):
        write(
            tmp_path / "a.nii",
            volume(),
            Geometry((2, 3, 4), (1, 2, 3), (0, 0, 0), SHEARED.direction, nifti_codes=(0, 4)),
        )
        assert codes_of(tmp_path / "a.nii") == (4, 0)
