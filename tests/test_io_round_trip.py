"""Written and read again: the same volume through every door, under any name."""

import os

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from io_volumes import DTYPES, MGH_DTYPES, OBLIQUE, SHEARED, reference, rotation, volume

from faimed3d.geometry import Geometry
from faimed3d.io import from_sitk, read, to_sitk, write
from faimed3d.io.formats import WRITE_SUFFIXES


class TestRoundTrip:
    @pytest.mark.parametrize(
        ("suffix", "dtype"), [(s, d) for s in WRITE_SUFFIXES for d in (MGH_DTYPES if "mg" in s else DTYPES)]
    )
    @pytest.mark.parametrize("channels", [(), (3,)])
    def test_voxels_and_geometry_come_back(self, tmp_path, suffix, dtype, channels):
        array = volume(dtype, (*channels, 2, 3, 4))
        path = tmp_path / f"Case 1.v2{suffix}"
        write(path, array, OBLIQUE)
        got, geometry, header = read(path, dtype=None)
        assert got.dtype == array.dtype
        assert got.flags.c_contiguous
        np.testing.assert_array_equal(got, array)
        np.testing.assert_allclose(geometry.affine, OBLIQUE.affine, atol=5e-6)
        assert all(os.path.exists(file) for file in header.files)
        peer, image = reference(path)
        np.testing.assert_array_equal(peer, array)
        np.testing.assert_allclose(image.GetOrigin()[:3], OBLIQUE.origin, rtol=1e-6)
        np.testing.assert_allclose(image.GetSpacing()[:3], OBLIQUE.spacing, rtol=1e-6)
        rank = image.GetDimension()
        direction = np.reshape(image.GetDirection(), (rank, rank))[:3, :3].ravel()
        np.testing.assert_allclose(direction, OBLIQUE.direction, atol=1e-6)

    @settings(max_examples=25, deadline=None)
    @given(
        seed=st.integers(0, 10**6),
        spacing=st.tuples(*[st.floats(0.05, 20)] * 3),
        origin=st.tuples(*[st.floats(-2000, 2000)] * 3),
        suffix=st.sampled_from([".nii", ".nii.gz", ".nrrd", ".mha"]),
    )
    def test_any_oblique_geometry(self, tmp_path_factory, seed, spacing, origin, suffix):
        geometry = Geometry((2, 3, 4), spacing, origin, rotation(seed))
        path = tmp_path_factory.mktemp("g") / f"a{suffix}"
        write(path, volume(), geometry)
        got = read(path)[1]
        digits = 1e-6 if "nii" in suffix else 1e-12
        np.testing.assert_allclose(got.spacing, geometry.spacing, rtol=digits)
        np.testing.assert_allclose(got.origin, geometry.origin, rtol=digits, atol=digits)
        np.testing.assert_allclose(got.direction, geometry.direction, atol=digits)

    def test_bool_becomes_uint8_and_one_channel_a_volume(self, tmp_path):
        write(tmp_path / "a.nrrd", volume()[None] > 0, OBLIQUE)
        got = read(tmp_path / "a.nrrd", dtype=None)[0]
        assert got.dtype == np.uint8
        np.testing.assert_array_equal(got, volume() > 0)

    @pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
    def test_nan_infinity_and_byte_order(self, tmp_path, suffix):
        array = volume(">f4")
        array[0, 0, :3] = np.nan, np.inf, -np.inf
        write(tmp_path / f"a{suffix}", array, OBLIQUE)
        np.testing.assert_array_equal(read(tmp_path / f"a{suffix}")[0], array)

    @pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
    def test_sheared_direction(self, tmp_path, suffix):
        write(tmp_path / f"a{suffix}", volume(), SHEARED)
        geometry = read(tmp_path / f"a{suffix}")[1]
        assert geometry.is_sheared
        np.testing.assert_allclose(geometry.affine, SHEARED.affine, rtol=1e-12)

    def test_upper_case_name(self, tmp_path):
        write(tmp_path / "A.NII.GZ", volume(), OBLIQUE)
        assert os.listdir(tmp_path) == ["A.NII.GZ"]
        np.testing.assert_array_equal(read(tmp_path / "A.NII.GZ")[0], volume())

    def test_same_volume_through_every_door(self, tmp_path):
        image = to_sitk(volume(), OBLIQUE)
        arrays, grids = [from_sitk(image)[0]], [from_sitk(image)[1]]
        for suffix in WRITE_SUFFIXES:
            write(tmp_path / f"a{suffix}", volume(), OBLIQUE)
            array, geometry, _ = read(tmp_path / f"a{suffix}")
            arrays.append(array)
            grids.append(geometry)
        nib.save(nib.load(tmp_path / "a.nii"), tmp_path / "b.nii.gz")
        arrays.append(read(tmp_path / "b.nii.gz")[0])
        grids.append(read(tmp_path / "b.nii.gz")[1])
        for array, grid in zip(arrays, grids, strict=True):
            np.testing.assert_array_equal(array, volume())
            assert grid.agrees(OBLIQUE, 1e-5)


ODD = ["a%d", "LIST x", " a", "a ", "s: 1", "a:=b", "a\nb", "LOCAL", "a=b", "M\udcfcller", "Größe 肺", "x" * 240]


class TestNames:
    @pytest.mark.parametrize("stem", ODD)
    @pytest.mark.parametrize("suffix", WRITE_SUFFIXES)
    def test_any_name_does(self, tmp_path, monkeypatch, stem, suffix):
        """The third but last is Latin-1, so no UTF-8: SimpleITK ended the process at that."""
        (tmp_path / "in").mkdir()
        monkeypatch.chdir(tmp_path)
        write(f"in/{stem}{suffix}", volume(), OBLIQUE)
        array, geometry, _ = read(f"in/{stem}{suffix}", dtype=None)
        np.testing.assert_array_equal(array, volume())
        assert geometry.agrees(OBLIQUE, 1e-5)
        assert os.listdir(tmp_path) == ["in"]
        assert len(os.listdir(tmp_path / "in")) == (2 if suffix in (".hdr", ".img", ".nhdr", ".mhd") else 1)

    def test_a_folder_that_is_no_utf8(self, tmp_path):
        folder = os.path.join(tmp_path, os.fsdecode(b"M\xfcller"))
        os.mkdir(folder)
        write(f"{folder}/a.nii.gz", volume(), OBLIQUE)
        np.testing.assert_array_equal(read(f"{folder}/a.nii.gz")[0], volume())

    def test_bytes(self, tmp_path):
        write(os.fsencode(tmp_path / "a.nii"), volume(), OBLIQUE)
        np.testing.assert_array_equal(read(tmp_path / "a.nii")[0], volume())

    def test_a_file_with_a_slash_behind_it(self, tmp_path):
        with pytest.raises(ValueError, match=r"ends like a folder but has the name of a file; leave the / out"):
            write(f"{tmp_path}/a.nii.gz/", volume(), OBLIQUE)
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("name", [".nrrd", ".nii.gz", ".NII"])
    def test_an_extension_alone(self, tmp_path, name):
        with pytest.raises(ValueError, match="an extension without a name before it"):
            write(tmp_path / name, volume(), OBLIQUE)
        assert os.listdir(tmp_path) == []
