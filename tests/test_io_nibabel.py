"""Images of nibabel: the same volume as from their files, every format and code of a world."""

import warnings

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from io_volumes import OBLIQUE, SHEARED, rotation, volume
from nibabel.spatialimages import SpatialImage

from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D
from faimed3d.data import ImageBlock3D
from faimed3d.errors import MissingGeometry, UnsupportedImage
from faimed3d.io import write

RAS = np.diag([-1.0, -1, 1, 1])
TYPES = {"uint8": torch.uint8, "int16": torch.int16, "int32": torch.int32, "float32": torch.float32}


def image_of(array, geometry=OBLIQUE, kind=nib.Nifti1Image):
    return kind(array.T, RAS @ geometry.affine)


def quiet(cls, source, **how):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cls.create(source, **how)


class TestCreate:
    @pytest.mark.parametrize("cls", [TensorDicom3D, TensorMask3D])
    @pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image, nib.Nifti1Pair, nib.MGHImage])
    def test_takes_the_voxels_and_the_place(self, cls, kind):
        got = cls.create(image_of(volume(), kind=kind))
        assert type(got) is cls
        assert got.dtype == torch.float32
        np.testing.assert_array_equal(got.numpy(), volume())
        assert got.geometry.agrees(OBLIQUE, 1e-6)
        assert got.geometry.stated

    @pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr", "a.mgz"])
    @pytest.mark.parametrize("channels", [(), (5,)])
    def test_is_the_volume_of_its_file(self, tmp_path, name, channels):
        write(tmp_path / name, volume(shape=(*channels, 2, 3, 4)), OBLIQUE)
        image = nib.load(tmp_path / name)
        got, file = (TensorDicom3D.create(source, dtype=None) for source in (image, tmp_path / name))
        assert got.equal(file)
        assert got.dtype == file.dtype
        assert got.geometry.agrees(file.geometry, 1e-5)
        assert got.geometry.nifti_codes == file.geometry.nifti_codes

    @pytest.mark.parametrize("codes", [(4, 4), (4, 0), (0, 1), (2, 0), (0, 0)])
    def test_knows_the_world_as_its_file_does(self, tmp_path, codes):
        image = image_of(volume())
        image.header.set_sform(RAS @ OBLIQUE.affine, codes[0])
        image.header.set_qform(RAS @ OBLIQUE.affine, codes[1])
        if codes == (0, 0):
            image = nib.Nifti1Image(volume().T, None, image.header)
        image.to_filename(tmp_path / "a.nii")
        loaded, file = (quiet(TensorDicom3D, s) for s in (nib.load(tmp_path / "a.nii"), tmp_path / "a.nii"))
        assert loaded.geometry == file.geometry
        assert loaded.geometry.nifti_codes == file.geometry.nifti_codes
        assert loaded.geometry.stated == file.geometry.stated == (codes != (0, 0))
        assert quiet(TensorDicom3D, image).geometry.nifti_codes == file.geometry.nifti_codes

    def test_without_a_form_is_told_so(self):
        image = nib.Nifti1Image(volume().T, None)
        with pytest.warns(UserWarning, match="a nibabel image: .* origin 0 and axes L, P, S are assumed"):
            got = TensorDicom3D.create(image)
        assert got.geometry.assumed == "position"

    def test_an_affine_that_was_changed_counts(self):
        image = image_of(volume())
        image.affine[:3, 3] += 7
        before = image.header.binaryblock
        assert TensorDicom3D.create(image).get_origin() == pytest.approx(np.add(OBLIQUE.origin, (-7, -7, 7)))
        assert image.header.binaryblock == before

    def test_units_of_length_are_those_of_the_header(self, tmp_path):
        image = image_of(volume())
        image.header.set_xyzt_units("micron")
        image.to_filename(tmp_path / "a.nii")
        file = TensorDicom3D.create(tmp_path / "a.nii")
        assert file.get_spacing() == pytest.approx((0.001, 0.002, 0.003))
        assert TensorDicom3D.create(image).geometry.agrees(file.geometry, 1e-6)
        image.affine[:3, 3] += 7
        assert TensorDicom3D.create(image).get_spacing() == pytest.approx((0.001, 0.002, 0.003))

    def test_scaled_voxels_are_real_values(self, tmp_path):
        image = image_of(volume("int16"))
        image.header.set_slope_inter(1, -1024)
        with open(tmp_path / "a.nii", "wb") as file:
            file.write(image.header.binaryblock + bytes(4) + volume("int16").tobytes())
        raw = bytearray((tmp_path / "a.nii").read_bytes())
        raw[108:120] = np.array([352, 1, -1024], "<f4").tobytes()
        (tmp_path / "a.nii").write_bytes(bytes(raw))
        got = TensorDicom3D.create(nib.load(tmp_path / "a.nii"))
        np.testing.assert_array_equal(got.numpy(), volume("int16") - 1024.0)
        assert got.equal(TensorDicom3D.create(tmp_path / "a.nii"))

    def test_colours_are_channels(self, tmp_path):
        colours = np.zeros((4, 3, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")])
        for k, name in enumerate("RGB"):
            colours[name] = volume("uint8").T + k
        image = nib.Nifti1Image(colours, RAS @ OBLIQUE.affine)
        image.to_filename(tmp_path / "a.nii")
        got = TensorDicom3D.create(image)
        assert got.shape == (3, 2, 3, 4)
        assert got.equal(TensorDicom3D.create(tmp_path / "a.nii"))

    def test_the_voxels_are_a_copy(self):
        array = volume("float32")
        TensorDicom3D.create(image_of(array)).zero_()
        assert array.any()

    def test_refuses_what_is_no_volume(self):
        with pytest.raises(UnsupportedImage, match="complex"):
            TensorDicom3D.create(nib.Nifti1Image(np.zeros((4, 3, 2), np.complex64), np.eye(4)))
        with pytest.raises(UnsupportedImage, match=r"\(4, 3\)"):
            TensorDicom3D.create(nib.Nifti1Image(np.zeros((4, 3), np.float32), np.eye(4)))
        with pytest.raises(UnsupportedImage, match=r"\(4, 3, 2, 2, 3\)"):
            TensorDicom3D.create(nib.Nifti1Image(np.zeros((4, 3, 2, 2, 3), np.float32), np.eye(4)))
        with pytest.raises(TypeError, match="GiftiImage of nibabel is no volume"):
            TensorDicom3D.create(nib.GiftiImage())
        flat = image_of(volume())
        flat.affine[:3, 1] = 0
        with pytest.raises(
            MissingGeometry, match="its affine describes no grid in space: affine has a column of length 0"
        ):
            TensorDicom3D.create(flat)
        with pytest.raises(MissingGeometry, match="has no affine"):
            TensorDicom3D.create(SpatialImage(np.zeros((4, 3, 2), np.float32), None))
        with pytest.raises(ValueError, match="suv=True needs DICOM files"):
            TensorDicom3D.create(image_of(volume()), suv=True)

    def test_fits_what_like_asks_for(self):
        mask = TensorMask3D(np.ones((2, 3, 4), np.uint8), like=image_of(volume()))
        assert mask.geometry.agrees(OBLIQUE, 1e-6)
        with pytest.raises(ValueError, match=r"take array.T, or give create the image itself"):
            TensorMask3D(image_of(volume()).get_fdata(), like=image_of(volume()))

    def test_an_item_of_a_block_may_be_one(self):
        image = ImageBlock3D().type_tfms[0](image_of(volume()))
        assert image.geometry.agrees(OBLIQUE, 1e-6)

    def test_other_objects_are_refused(self):
        with pytest.raises(TypeError, match="an image of SimpleITK, nibabel, MONAI or TorchIO, got dict"):
            TensorDicom3D.create({})


class TestToNibabel:
    @pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "int32", "int64", "float16", "float32", "float64"])
    def test_there_and_back(self, dtype):
        here = TensorDicom3D(np.abs(volume()).astype(dtype), OBLIQUE)
        image = here.to_nibabel()
        assert image.shape == (4, 3, 2)
        np.testing.assert_allclose(image.affine @ (3, 2, 1, 1), [*(RAS[:3, :3] @ OBLIQUE.index_to_world((1, 2, 3))), 1])
        np.testing.assert_array_equal(image.get_fdata(), here.numpy().T.astype(float))
        back = TensorDicom3D.create(image, dtype=None)
        assert back.double().equal(here.double())
        assert back.geometry.agrees(OBLIQUE, 1e-6)

    def test_writes_the_same_file(self, tmp_path):
        here = TensorDicom3D(volume(shape=(3, 2, 3, 4)), Geometry(*_of(OBLIQUE), nifti_codes=(4, 4)))
        here.to_nibabel().to_filename(tmp_path / "theirs.nii")
        here.save(tmp_path / "ours.nii")
        assert (tmp_path / "theirs.nii").read_bytes() == (tmp_path / "ours.nii").read_bytes()

    def test_a_sheared_grid_is_in_the_sform_alone(self):
        image = TensorDicom3D(volume(), SHEARED).to_nibabel()
        np.testing.assert_allclose(image.affine, RAS @ SHEARED.affine)
        assert image.get_qform(coded=True) == (None, 0)

    def test_a_place_that_is_made_up_is_warned_of(self):
        with pytest.warns(UserWarning, match="to_nibabel: nothing says where this volume lies"):
            TensorDicom3D(volume()).to_nibabel()

    def test_one_without_a_geometry_is_refused(self):
        lost = TensorDicom3D(volume("float32"), OBLIQUE)[torch.tensor([0, 1, 1])]
        with pytest.raises(ValueError, match="to_nibabel needs a geometry"):
            lost.to_nibabel()


def _of(geometry):
    return geometry.shape, geometry.spacing, geometry.origin, geometry.direction


@settings(max_examples=60)
@given(
    st.tuples(*[st.integers(1, 4)] * 3),
    st.tuples(*[st.floats(0.01, 40)] * 3),
    st.tuples(*[st.floats(-500, 500)] * 3),
    st.integers(0, 99),
    st.sampled_from(sorted(TYPES)),
    st.sampled_from([(), (2,)]),
    st.sampled_from([None, (4, 4), (2, 0), (3, 3), (0, 1)]),
)
def test_every_grid_comes_back_from_nibabel(shape, spacing, origin, seed, dtype, channels, codes):
    grid = Geometry(shape, spacing, origin, rotation(seed), nifti_codes=codes)
    here = TensorMask3D(torch.arange(np.prod((*channels, *shape))).reshape(*channels, *shape).to(TYPES[dtype]), grid)
    back = TensorMask3D.create(here.to_nibabel(), dtype=None)
    assert back.equal(here)
    assert back.dtype == here.dtype
    in_float32 = codes == (0, 1)  # the qform alone, as a file holds it
    assert back.geometry.agrees(grid, max(1e-2, 1e-3 / min(spacing)) if in_float32 else 1e-9)
    assert back.geometry.nifti_codes == (codes or (1, 1))
