"""Reading any file, writing any file: the same volume through every door."""

import importlib
import os
import pickle
import resource
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from faimed3d._atomic import replace_file
from faimed3d.errors import DamagedFile, ReadError, TruncatedFile, UnsupportedImage
from faimed3d.geometry import Geometry
from faimed3d.io import SourceHeader, from_sitk, read, to_sitk, write
from faimed3d.io import writing as writer
from faimed3d.io.formats import WRITE_SUFFIXES, file_format
from faimed3d.io.voxels import read_voxels

DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]


def rotation(seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0].ravel()


OBLIQUE = Geometry((2, 3, 4), (1, 2, 3), (10.25, -20, 30), rotation())
SHEARED = Geometry((2, 3, 4), (1, 2, 3), (10.25, -20, 30), (1, 0, 0, 0, 1, 0.6, 0, 0, 0.8))


def volume(dtype="int16", shape=(2, 3, 4)):
    return (np.random.default_rng(1).normal(size=shape) * 50).astype(dtype)


def reference(path):
    """SimpleITK's reading, channels first."""
    image = sitk.ReadImage(str(path))
    array = sitk.GetArrayFromImage(image)
    return (np.moveaxis(array, -1, 0) if image.GetNumberOfComponentsPerPixel() > 1 else array), image


class TestRoundTrip:
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("suffix", WRITE_SUFFIXES)
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


class TestRead:
    def test_float32_by_default(self, tmp_path):
        write(tmp_path / "a.nrrd", volume(), OBLIQUE)
        assert read(tmp_path / "a.nrrd")[0].dtype == np.float32

    def test_each_of_two_names_gives_its_own_file(self, tmp_path):
        write(tmp_path / "a.nii", volume(), OBLIQUE)
        write(tmp_path / "a.nii.gz", volume() + 1, OBLIQUE)
        np.testing.assert_array_equal(read(tmp_path / "a.nii")[0], volume())
        np.testing.assert_array_equal(read(tmp_path / "a.nii.gz")[0], volume() + 1)

    @pytest.mark.parametrize(
        ("suffix", "names"),
        [
            (".nii", ["a.nii.gz", "a.nrrd", "a.dcm", "a", "a.mha"]),
            (".nii.gz", ["a.nii", "a.nrrd", "a.dcm", "a"]),
            (".nrrd", ["a.nii", "a.nii.gz", "a.dcm", "a"]),
            (".mha", ["a.nii", "a.nrrd", "a.dcm", "a"]),
        ],
    )
    def test_content_decides_where_the_name_lies(self, tmp_path, suffix, names):
        write(tmp_path / f"true{suffix}", volume(), OBLIQUE)
        for name in names:
            (tmp_path / name).write_bytes((tmp_path / f"true{suffix}").read_bytes())
            array, geometry, _ = read(tmp_path / name)
            np.testing.assert_array_equal(array, volume())
            assert geometry.agrees(OBLIQUE, 1e-5)

    def test_no_such_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"a\.nii: no such file or folder"):
            read(tmp_path / "a.nii")
        (tmp_path / "b.nii").symlink_to(tmp_path / "gone")
        with pytest.raises(FileNotFoundError, match=r"b\.nii: a link to a file that is not there"):
            read(tmp_path / "b.nii")

    @pytest.mark.parametrize(
        "start",
        [b'{"', b"GIF8", b"PK\3\4", b"\x1f\x8b\x08\0", b"<html", b"CDF\1", b"NRRD0", b"\x93NUMPY", b"# vtk DataFile"],
    )
    @pytest.mark.parametrize("name", ["a.img", "a.hdr"])
    def test_voxels_of_a_pair_may_begin_like_anything(self, tmp_path, start, name):
        array = np.frombuffer(start.ljust(24, b"\1"), np.uint8).reshape(2, 3, 4)
        write(tmp_path / "a.hdr", array, OBLIQUE)
        np.testing.assert_array_equal(read(tmp_path / name)[0], array)

    @pytest.mark.parametrize(("at", "mark"), [(128, b"DICM"), (344, b"n+1\0"), (4, b"n+2\0")])
    def test_voxels_of_a_pair_may_look_like_a_header(self, tmp_path, at, mark):
        content = np.zeros(1000, np.uint8)
        content[at : at + 4] = np.frombuffer(mark, np.uint8)
        write(tmp_path / "a.hdr", content.reshape(10, 10, 10), Geometry((10, 10, 10)))
        np.testing.assert_array_equal(read(tmp_path / "a.img")[0].ravel(), content)

    def test_a_pipe_is_no_volume(self, tmp_path):
        os.mkfifo(tmp_path / "a.nii")
        with pytest.raises(UnsupportedImage, match="a device or a pipe, neither a file nor a folder"):
            read(tmp_path / "a.nii")

    @pytest.mark.parametrize("kind", ["folder", "pipe"])
    @pytest.mark.parametrize(("name", "other", "what"), [("a.hdr", "a.img", "voxels"), ("a.img", "a.hdr", "header")])
    def test_the_other_half_is_no_file(self, tmp_path, kind, name, other, what):
        write(tmp_path / "a.hdr", volume(), OBLIQUE)
        (tmp_path / other).unlink()
        os.mkfifo(tmp_path / other) if kind == "pipe" else (tmp_path / other).mkdir()
        with pytest.raises(DamagedFile, match=rf"its {what} should lie in .*{other}, which is a folder or a device"):
            read(tmp_path / name)

    @pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".hdr"])
    def test_every_cut_is_noticed(self, tmp_path, suffix):
        write(tmp_path / f"a{suffix}", volume(), OBLIQUE)
        data = next((p for p in tmp_path.iterdir() if p.suffix in (".raw", ".img")), tmp_path / f"a{suffix}")
        content = data.read_bytes()
        for length in range(0, len(content), 3):
            data.write_bytes(content[:length])
            with pytest.raises((TruncatedFile, DamagedFile), match=str(tmp_path)):
                read(tmp_path / f"a{suffix}", strict=False)

    @pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
    def test_missing_data_file_is_named(self, tmp_path, suffix):
        write(tmp_path / f"a{suffix}", volume(), OBLIQUE)
        next(tmp_path.glob("a.*.raw")).unlink()
        with pytest.raises(FileNotFoundError, match=r"should lie in .*a\.[0-9a-f]{8}\.raw, which does not exist"):
            read(tmp_path / f"a{suffix}")

    def test_labels_that_float32_cannot_hold(self, tmp_path):
        array = volume("int32")
        array[1, 2, 3] = 2**24 + 1
        for suffix in (".nii", ".nii.gz", ".nrrd", ".mha"):
            write(tmp_path / f"a{suffix}", array, OBLIQUE)
            with pytest.raises(ReadError, match=r"the value 16777217 .* cannot be held by float32. Pass dtype=None"):
                read(tmp_path / f"a{suffix}")
            np.testing.assert_array_equal(read(tmp_path / f"a{suffix}", dtype=None)[0], array)

    def test_time_series_become_channels_as_in_simpleitk(self, tmp_path):
        image = sitk.JoinSeries([to_sitk(volume() + k, OBLIQUE) for k in range(5)])
        for suffix in (".nii.gz", ".nrrd", ".mha"):
            sitk.WriteImage(image, str(tmp_path / f"a{suffix}"))
        for suffix in (".nii.gz", ".mha"):
            array, geometry, _ = read(tmp_path / f"a{suffix}")
            np.testing.assert_array_equal(array, np.stack([volume() + k for k in range(5)]))
            assert geometry.agrees(OBLIQUE, 1e-5)
        with pytest.raises(ReadError):  # SimpleITK writes four spatial axes
            read(tmp_path / "a.nrrd")

    @pytest.mark.parametrize("name", ["a.png", "a.nii", "a.mha", "a.nrrd"])
    def test_refuses_two_dimensions(self, tmp_path, name):
        sitk.WriteImage(sitk.GetImageFromArray(volume("uint8")[0]), str(tmp_path / name))
        with pytest.raises(ReadError, match=r"photograph|2 dimensions|no volume of 3 spatial axes"):
            read(tmp_path / name)

    @pytest.mark.parametrize("suffix", [".gipl", ".gipl.gz", ".vtk", ".mrc", ".rec"])
    def test_refuses_formats_whose_faults_go_unseen(self, tmp_path, suffix):
        image = to_sitk(volume(), Geometry((2, 3, 4), (1, 2, 3), (10, -20, 30)))
        sitk.WriteImage(image, str(tmp_path / f"a{suffix}"))
        with pytest.raises(UnsupportedImage, match=r"open it where it was made, and save it as \.nrrd or \.nii"):
            read(tmp_path / f"a{suffix}")

    @pytest.mark.parametrize("suffix", [".mnc", ".h5"])
    def test_refuses_what_simpleitk_reads_wrong(self, tmp_path, suffix):
        sitk.WriteImage(to_sitk(volume(), OBLIQUE), str(tmp_path / f"a{suffix}"))
        for name in (f"a{suffix}", "a.nii", "a.gipl"):
            (tmp_path / name).write_bytes((tmp_path / f"a{suffix}").read_bytes())
            with pytest.raises(UnsupportedImage, match="mnc2nii"):
                read(tmp_path / name)

    def test_dicom_file_and_folder(self, tmp_path):
        path = get_testdata_file("CT_small.dcm", download=False)
        array, geometry, header = read(path)
        peer, image = reference(path)
        np.testing.assert_array_equal(array, peer)
        np.testing.assert_allclose(geometry.spacing[:2], image.GetSpacing()[:2])
        assert array.dtype == np.float32
        assert read(path, dtype="int16")[0].dtype == np.int16
        (tmp_path / "IM1").write_bytes(Path(path).read_bytes())
        np.testing.assert_array_equal(read(tmp_path)[0], array)
        assert header.table().columns.tolist() == ["tags", path]
        assert len(header.table(deidentify=True)) < len(header.table())

    @pytest.mark.parametrize(
        ("case", "expected"),
        [
            ("brain1", 16412.658691406243),
            ("brain2", 1797.180175781249),
            ("breast1", 132.42579545515324),
            ("lung1", 1361.1978149414062),
        ],
    )
    def test_published_volumes(self, real_data, case, expected):
        array, geometry, _ = read(real_data / "radiomics" / f"{case}_label.nrrd", dtype=None)
        assert np.count_nonzero(array == 1) * geometry.voxel_volume == pytest.approx(expected, rel=1e-9)
        if case == "lung1":
            return  # its image is not among the data
        image, grid, _ = read(real_data / "radiomics" / f"{case}_image.nrrd")
        peer, peer_image = reference(real_data / "radiomics" / f"{case}_image.nrrd")
        np.testing.assert_array_equal(image, peer.astype(np.float32))
        np.testing.assert_allclose(grid.origin, peer_image.GetOrigin())
        np.testing.assert_allclose(grid.direction, peer_image.GetDirection(), atol=1e-12)
        assert grid.shape == geometry.shape

    def test_series_is_for_dicom(self, tmp_path):
        write(tmp_path / "a.nii", volume(), OBLIQUE)
        with pytest.raises(ValueError, match="series chooses a volume of a DICOM folder; this is one nifti file"):
            read(tmp_path / "a.nii", series=1)


class TestReplaced:
    """A file that another process replaces, header and voxels, while it is read."""

    @pytest.mark.parametrize("suffix", [*WRITE_SUFFIXES, ".npy"])
    def test_no_header_comes_with_the_voxels_of_another_file(self, tmp_path, monkeypatch, suffix):
        path = tmp_path / f"v{suffix}"

        def put_there(array, spacing):
            if suffix == ".npy":
                np.save(tmp_path / "new.npy", array)
                os.replace(tmp_path / "new.npy", path)
            else:
                write(path, array, Geometry((2, 3, 4), spacing))

        def replaced_before(*args):
            monkeypatch.undo()
            put_there(volume() + 1, (1, 2, 9))
            return read_voxels(*args)

        put_there(volume(), (1, 2, 3))
        module = importlib.import_module(f"faimed3d.io.{file_format(path)}")
        monkeypatch.setattr(module, "read_voxels", replaced_before)
        with pytest.raises(ReadError, match="changed while it was read"):
            read(path)
        array, geometry, _ = read(path)
        assert np.array_equal(array, volume() + 1)
        assert geometry.spacing == ((1, 1, 1) if suffix == ".npy" else (1, 2, 9))


class TestHeader:
    def test_shows_neither_path_nor_value(self, tmp_path):
        write(tmp_path / "Jane Doe.nii.gz", volume(), OBLIQUE)
        header = read(tmp_path / "Jane Doe.nii.gz")[2]
        assert repr(header) == "SourceHeader(1 file)"
        assert repr(SourceHeader(("a", "b"))) == "SourceHeader(2 files)"
        assert pickle.loads(pickle.dumps(header)) == header
        assert len(pickle.dumps(header)) < 400

    @pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha", ".mhd", ".hdr"])
    def test_table_is_read_anew(self, tmp_path, suffix):
        path = tmp_path / f"a{suffix}"
        write(path, volume(), OBLIQUE)
        header = read(path)[2]
        first = header.table()
        assert first.columns.tolist() == ["tags", str(path)]
        write(path, volume("float32"), OBLIQUE)
        assert not header.table().equals(first)
        numbers = header.table(deidentify=True)
        assert 0 < len(numbers) <= len(first)

    def test_deidentified_table_has_no_text(self, tmp_path):
        image = to_sitk(volume(), OBLIQUE)
        image.SetMetaData("PatientName", "Doe^Jane")
        image.SetMetaData("PatientID", "0123456")
        sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
        header = read(tmp_path / "a.nrrd")[2]
        assert "Doe^Jane" in header.table().to_string()
        assert not {"PatientName", "PatientID"} & set(header.table(deidentify=True).tags)
        assert "sizes" in header.table(deidentify=True).tags.tolist()

    def test_is_immutable_and_empty_without_files(self):
        with pytest.raises(AttributeError):
            SourceHeader().files = ("a",)
        assert SourceHeader().table().columns.tolist() == ["tags"]


class TestWrite:
    @pytest.mark.parametrize("suffix", WRITE_SUFFIXES)
    def test_a_link_to_nothing_is_replaced(self, tmp_path, suffix):
        path = tmp_path / f"v{suffix}"
        path.symlink_to("absent")
        write(path, volume(), OBLIQUE)
        assert np.array_equal(read(path)[0], volume())
        assert not (tmp_path / "absent").exists()

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("a.dcm", r"one file for each slice; give the folder .*, or one of \.nii"),
            ("a.npy", "holds no geometry; use numpy.save"),
            ("a.xyz", r"cannot write .xyz; choose one of .nii, .nii.gz, .nrrd"),
        ],
    )
    def test_refuses_other_extensions(self, tmp_path, name, text):
        with pytest.raises(ValueError, match=text):
            write(tmp_path / name, volume(), OBLIQUE)
        assert os.listdir(tmp_path) == []

    def test_missing_folder(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="does not exist; create it first"):
            write(tmp_path / "no" / "a.nii", volume(), OBLIQUE)

    def test_target_is_a_folder(self, tmp_path):
        (tmp_path / "a.nii").mkdir()
        with pytest.raises(IsADirectoryError, match="is a folder"):
            write(tmp_path / "a.nii", volume(), OBLIQUE)

    @pytest.mark.parametrize("dtype", ["float16", "complex64", "datetime64[s]"])
    def test_refuses_types_by_name(self, tmp_path, dtype):
        with pytest.raises(TypeError, match=r"voxels of type \w+.* cannot be written; convert them"):
            write(tmp_path / "a.nii", volume().astype(dtype), OBLIQUE)

    def test_refuses_bfloat16(self, tmp_path):
        with pytest.raises(TypeError, match="bfloat16 cannot be written"):
            write(tmp_path / "a.nii", torch.zeros(2, 3, 4, dtype=torch.bfloat16), OBLIQUE)

    def test_refuses_what_is_no_volume_of_the_geometry(self, tmp_path):
        with pytest.raises(ValueError, match=r"\(D,H,W\) \(2, 3, 5\), but its geometry is for \(2, 3, 4\)"):
            write(tmp_path / "a.nii", volume(shape=(2, 3, 5)), OBLIQUE)
        with pytest.raises(ValueError, match=r"expected an array \(D,H,W\)"):
            write(tmp_path / "a.nii", volume(shape=(3, 4)), OBLIQUE)
        with pytest.raises(TypeError, match="expected a Geometry, got NoneType"):
            write(tmp_path / "a.nii", volume(), None)

    @pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".hdr"])
    def test_nifti_refuses_sheared_directions(self, tmp_path, suffix):
        with pytest.raises(ValueError, match=r"cannot hold a sheared direction; write .nrrd"):
            write(tmp_path / f"a{suffix}", volume(), SHEARED)
        assert os.listdir(tmp_path) == []

    def test_nifti_refuses_long_axes(self, tmp_path):
        with pytest.raises(ValueError, match="at most 32767 voxels"):
            write(tmp_path / "a.nii", np.zeros((1, 1, 40000), np.uint8), Geometry((1, 1, 40000)))

    def test_refuses_a_geometry_beyond_the_digits_of_the_format(self, tmp_path):
        geometry = OBLIQUE.replace(origin=(1e9 + 0.3, 0, 0))
        with pytest.raises(ValueError, match="this format cannot hold the Geometry"):
            write(tmp_path / "a.nii", volume(), geometry)
        assert os.listdir(tmp_path) == []
        write(tmp_path / "a.nrrd", volume(), geometry)
        assert read(tmp_path / "a.nrrd")[1].agrees(geometry)

    @pytest.mark.parametrize("suffix", WRITE_SUFFIXES)
    def test_a_full_disk_leaves_the_old_file_and_nothing_else(self, tmp_path, suffix):
        write(tmp_path / f"a{suffix}", volume(), OBLIQUE)
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, hard))
        try:
            with pytest.raises(OSError, match="could not be written"):
                write(
                    tmp_path / f"a{suffix}", np.random.default_rng(0).normal(size=(30, 30, 30)), Geometry((30, 30, 30))
                )
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before

    def test_overwrites_and_accepts_bare_names(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        write("a.nii.gz", volume(), OBLIQUE)
        write("a.nii.gz", volume() + 1, OBLIQUE)
        np.testing.assert_array_equal(read("a.nii.gz")[0], volume() + 1)
        assert os.listdir(tmp_path) == ["a.nii.gz"]


def grid_of(header):
    """What nibabel makes of a NIfTI header's (sform, qform), in LPS."""
    return [np.diag([-1, -1, 1, 1]) @ form for form in (header.get_sform(), header.get_qform())]


class TestNifti:
    """What other programs make of the NIfTI that is written."""

    @pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr"])
    def test_both_forms_hold_the_grid(self, tmp_path, name):
        write(tmp_path / name, volume(), OBLIQUE)
        header = nib.load(tmp_path / name).header
        assert (header["sform_code"], header["qform_code"]) == (1, 1)
        for form in grid_of(header):
            np.testing.assert_allclose(form, OBLIQUE.affine, atol=5e-6)

    def test_a_form_that_float32_cannot_hold_is_left_out(self, tmp_path):
        """Near half a turn, in which a quaternion of float32 knows the angle to 3e-4 alone."""
        rotation = sitk.Euler3DTransform((0, 0, 0), 0.01, 0.005, 0).GetMatrix()
        geometry = Geometry((20, 2, 500), (0.7, 0.1, 2), (0, 0, 0), rotation)
        write(tmp_path / "a.nii", volume(shape=geometry.shape), geometry)
        header = nib.load(tmp_path / "a.nii").header
        assert (header["sform_code"], header["qform_code"]) == (1, 0)
        image = sitk.ReadImage(str(tmp_path / "a.nii"))
        np.testing.assert_allclose(image.GetDirection(), rotation, atol=1e-6)

    @pytest.mark.parametrize("digits", [4, 5, 6])
    def test_rounded_directions_are_kept(self, tmp_path, digits):
        matrix = np.round(np.reshape(OBLIQUE.direction, (3, 3)), digits)
        matrix /= np.linalg.norm(matrix, axis=0)
        geometry = OBLIQUE.replace(direction=matrix.ravel())
        write(tmp_path / "a.nii", volume(), geometry)
        sform, qform = grid_of(nib.load(tmp_path / "a.nii").header)
        np.testing.assert_allclose(sform, geometry.affine, rtol=1e-6)
        sides = qform[:3, :3] / np.linalg.norm(qform[:3, :3], axis=0)
        np.testing.assert_allclose(sides.T @ sides, np.eye(3), atol=1e-6)
        corner = (3, 2, 1, 1)
        np.testing.assert_allclose(qform @ corner, sform @ corner, atol=1e-2)
        image = sitk.ReadImage(str(tmp_path / "a.nii"))
        np.testing.assert_allclose(image.TransformIndexToPhysicalPoint(corner[:3]), (sform @ corner)[:3], atol=1e-2)

    def test_a_slight_shear_of_a_long_stack_is_refused(self, tmp_path):
        direction = np.eye(3)
        direction[:, 2] = [0, np.sin(1e-3), np.cos(1e-3)]
        geometry = Geometry((400, 1, 1), (1, 1, 1), (0, 0, 0), direction.ravel())
        with pytest.raises(ValueError, match="cannot hold a sheared direction"):
            write(tmp_path / "a.nii", volume(shape=(400, 1, 1)), geometry)

    @pytest.mark.parametrize("shape", [(5, 2, 3, 4), (3, 1, 3, 4), (2, 1, 1, 4)])
    @pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.img"])
    def test_channels_are_the_fourth_dimension(self, tmp_path, shape, name):
        array, geometry = volume(shape=shape), OBLIQUE.replace(shape=shape[1:])
        write(tmp_path / name, array, geometry)
        image = nib.load(tmp_path / name)
        assert image.shape == shape[:0:-1] + shape[:1]
        np.testing.assert_array_equal(np.asanyarray(image.dataobj).T, array)
        assert (image.header["intent_code"], image.header.get_xyzt_units()) == (0, ("mm", "unknown"))
        assert sitk.ReadImage(str(tmp_path / name)).GetSize() == shape[:0:-1] + shape[:1]

    def test_no_scaling(self, tmp_path):
        write(tmp_path / "a.nii", volume(), OBLIQUE)
        assert nib.load(tmp_path / "a.nii").dataobj.slope == 1
        assert nib.load(tmp_path / "a.nii").dataobj.inter == 0

    def test_a_real_time_series_keeps_its_shape(self, tmp_path, real_data):
        source = real_data / "epi_timeseries" / "reference_dcm2niix.nii"
        array, geometry, _ = read(source, dtype=None)
        write(tmp_path / "a.nii.gz", array, geometry)
        assert nib.load(tmp_path / "a.nii.gz").shape == nib.load(source).shape == (64, 64, 15, 10)
        np.testing.assert_allclose(
            nib.load(tmp_path / "a.nii.gz").affine, nib.load(source).affine, rtol=1e-6, atol=1e-4
        )


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
        assert len(os.listdir(tmp_path / "in")) == (1 if suffix in (".nii", ".nii.gz", ".nrrd", ".mha") else 2)

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


class TestPairs:
    @pytest.mark.parametrize("order", [(".nhdr", ".mhd"), (".mhd", ".nhdr")])
    def test_two_headers_do_not_share_their_voxels(self, tmp_path, order):
        for k, suffix in enumerate(order):
            write(tmp_path / f"a{suffix}", volume() + k, OBLIQUE)
        for k, suffix in enumerate(order):
            np.testing.assert_array_equal(read(tmp_path / f"a{suffix}")[0], volume() + k)

    @pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
    def test_a_data_file_of_that_name_is_left_alone(self, tmp_path, suffix):
        (tmp_path / "a.raw").write_bytes(b"mine")
        write(tmp_path / f"a{suffix}", volume(), OBLIQUE)
        assert (tmp_path / "a.raw").read_bytes() == b"mine"

    @pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
    def test_the_voxels_of_the_replaced_header_go(self, tmp_path, suffix):
        for k in range(3):
            write(tmp_path / f"a{suffix}", volume() + k, OBLIQUE)
        assert len(os.listdir(tmp_path)) == 2
        np.testing.assert_array_equal(read(tmp_path / f"a{suffix}")[0], volume() + 2)

    @pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
    def test_voxels_that_others_wrote_stay(self, tmp_path, suffix):
        sitk.WriteImage(to_sitk(volume(), OBLIQUE), str(tmp_path / f"a{suffix}"))
        write(tmp_path / f"a{suffix}", volume() + 1, OBLIQUE)
        assert (tmp_path / "a.raw").read_bytes() == volume().tobytes()

    @pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
    def test_what_stops_the_second_renaming_leaves_the_old_volume(self, tmp_path, monkeypatch, suffix):
        def stop(*_):
            raise KeyboardInterrupt

        write(tmp_path / f"a{suffix}", volume(), OBLIQUE)
        before = sorted(os.listdir(tmp_path))
        monkeypatch.setattr("faimed3d.io.writing.replace_file", stop)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / f"a{suffix}", volume() + 1, OBLIQUE.replace(origin=(0, 0, 0)))
        array, geometry, _ = read(tmp_path / f"a{suffix}")
        np.testing.assert_array_equal(array, volume())
        assert geometry.agrees(OBLIQUE, 1e-12)
        assert sorted(os.listdir(tmp_path)) == before

    def killed_save(self, path, call, count=1):
        """Save another volume in a process that is killed at a call of some function."""
        pid = os.fork()
        if pid == 0:
            module, name = (writer.os, call[3:]) if call.startswith("os.") else (writer, call)
            real, calls = getattr(module, name), []

            def until(*args):
                calls.append(args)
                if len(calls) == count:
                    os.kill(os.getpid(), signal.SIGKILL)
                real(*args)

            setattr(module, name, until)
            try:
                write(path, volume() + 1, OBLIQUE.replace(origin=(0, 0, 0)))
            finally:
                os._exit(0)
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL

    @pytest.mark.parametrize(("call", "new"), [("os.rename", False), ("replace_file", False), ("os.unlink", True)])
    @pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
    def test_a_process_killed_between_the_files_mixes_none(self, tmp_path, suffix, call, new):
        write(tmp_path / f"a{suffix}", volume(), OBLIQUE)
        self.killed_save(tmp_path / f"a{suffix}", call)
        array, geometry, _ = read(tmp_path / f"a{suffix}")
        np.testing.assert_array_equal(array, volume() + new)
        assert geometry.agrees(OBLIQUE.replace(origin=(0, 0, 0)) if new else OBLIQUE)

    @pytest.mark.parametrize("count", [2, 3])
    @pytest.mark.parametrize("there", [True, False])
    def test_half_a_pair_is_refused_and_can_be_replaced(self, tmp_path, there, count):
        if there:
            write(tmp_path / "a.hdr", volume(), OBLIQUE)
        self.killed_save(tmp_path / "a.hdr", "replace_file", count)
        with pytest.raises((DamagedFile, FileNotFoundError), match=r"dim\[0\] in the header .* is 0|does not exist"):
            read(tmp_path / "a.hdr")
        write(tmp_path / "a.hdr", volume(), OBLIQUE)
        np.testing.assert_array_equal(read(tmp_path / "a.hdr")[0], volume())

    @pytest.mark.parametrize(("name", "other"), [("a.hdr", "a.img"), ("a.img", "a.hdr"), ("A.HDR", "A.IMG")])
    def test_another_half_that_is_none_is_not_overwritten(self, tmp_path, name, other):
        (tmp_path / other).write_bytes(b"ENVI description = {a scene}")
        with pytest.raises(FileExistsError, match=r"not the other half of a NIfTI or Analyze pair"):
            write(tmp_path / name, volume(), OBLIQUE)
        assert (tmp_path / other).read_bytes() == b"ENVI description = {a scene}"
        assert os.listdir(tmp_path) == [other]

    def test_another_half_that_is_a_folder(self, tmp_path):
        (tmp_path / "a.img").mkdir()
        with pytest.raises(IsADirectoryError, match=r"a\.img: is a folder, where the other half of"):
            write(tmp_path / "a.hdr", volume(), OBLIQUE)

    @pytest.mark.parametrize("kind", [nib.AnalyzeImage, nib.Nifti1Pair, nib.Nifti2Pair])
    @pytest.mark.parametrize("name", ["a.hdr", "a.img"])
    def test_a_pair_is_replaced_as_a_whole(self, tmp_path, kind, name):
        nib.save(kind(volume().T + 1, np.eye(4)), tmp_path / "a.img")
        write(tmp_path / name, volume(), OBLIQUE)
        assert sorted(os.listdir(tmp_path)) == ["a.hdr", "a.img"]
        array, geometry, _ = read(tmp_path / name)
        np.testing.assert_array_equal(array, volume())
        assert geometry.agrees(OBLIQUE, 1e-5)

    @pytest.mark.parametrize("there", [True, False])
    @pytest.mark.parametrize(("stop", "new"), [(0, False), (1, False), (2, True)])
    def test_a_stop_at_any_renaming_of_a_pair_leaves_a_whole_one(self, tmp_path, monkeypatch, there, stop, new):
        calls = []

        def sometimes(source, final):
            calls.append(final)
            if len(calls) == stop + 1:
                raise KeyboardInterrupt
            replace_file(source, final)

        if there:
            write(tmp_path / "a.hdr", volume(), OBLIQUE)
        monkeypatch.setattr("faimed3d.io.writing.replace_file", sometimes)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "a.hdr", volume() + 1, OBLIQUE)
        assert len(os.listdir(tmp_path)) == (2 if there or new else 0)
        if there or new:
            np.testing.assert_array_equal(read(tmp_path / "a.hdr")[0], volume() + new)


@pytest.mark.parametrize("suffix", WRITE_SUFFIXES)
def test_permissions_of_the_replaced_file_stay(tmp_path, suffix):
    for _ in range(2):
        write(tmp_path / f"a{suffix}", volume(), OBLIQUE)
        for path in tmp_path.iterdir():
            path.chmod(0o600)
    write(tmp_path / f"a{suffix}", volume(), OBLIQUE)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


class TestSimpleITK:
    @pytest.mark.parametrize("channels", [(), (3,)])
    def test_there_and_back(self, channels):
        array = volume(shape=(*channels, 2, 3, 4))
        image = to_sitk(array, OBLIQUE)
        assert image.GetSize() == (4, 3, 2)
        assert image.GetNumberOfComponentsPerPixel() == (3 if channels else 1)
        np.testing.assert_allclose(
            image.TransformIndexToPhysicalPoint((3, 2, 1)), OBLIQUE.index_to_world((1, 2, 3)), rtol=1e-12
        )
        got, geometry = from_sitk(image)
        np.testing.assert_array_equal(got, array)
        assert geometry.agrees(OBLIQUE, 1e-12)

    def test_the_array_is_a_copy(self):
        image = to_sitk(volume(), OBLIQUE)
        got, _ = from_sitk(image)
        got[:] = 0
        assert image[3, 2, 1] == volume()[1, 2, 3]

    def test_four_dimensions_become_channels(self):
        image = sitk.JoinSeries([to_sitk(volume() + k, OBLIQUE) for k in range(5)])
        got, geometry = from_sitk(image)
        np.testing.assert_array_equal(got[4], volume() + 4)
        assert geometry.agrees(OBLIQUE, 1e-12)

    def test_refuses_what_is_no_volume(self):
        with pytest.raises(TypeError, match=r"expected a SimpleITK.Image, got ndarray"):
            from_sitk(volume())
        with pytest.raises(UnsupportedImage, match="2 dimensions"):
            from_sitk(sitk.Image(3, 4, sitk.sitkUInt8))
        with pytest.raises(UnsupportedImage, match="complex"):
            from_sitk(sitk.Image(3, 4, 5, sitk.sitkComplexFloat32))
        image = sitk.Image([3, 4, 5, 6], sitk.sitkUInt8)
        image.SetDirection(np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0].ravel())
        with pytest.raises(UnsupportedImage, match="4 spatial dimensions"):
            from_sitk(image)


def test_import_is_light():
    code = (
        "import sys, faimed3d.io; "
        "print([m for m in ('SimpleITK', 'pydicom', 'nibabel', 'pandas', 'torch', 'fastai') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
