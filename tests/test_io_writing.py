"""Writing: whole or not at all, alone or as a pair, and as other programs read it."""

import os
import resource
import signal
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from io_volumes import OBLIQUE, volume

from faimed3d._atomic import replace_file
from faimed3d.errors import DamagedFile
from faimed3d.geometry import Geometry
from faimed3d.io import read, to_sitk, write
from faimed3d.io import writing as writer
from faimed3d.io.formats import WRITE_SUFFIXES


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

    @pytest.mark.parametrize("dtype", ["complex64", "datetime64[s]"])
    def test_refuses_types_by_name(self, tmp_path, dtype):
        with pytest.raises(TypeError, match=r"voxels of type \w+.* cannot be written; convert them"):
            write(tmp_path / "a.nii", volume().astype(dtype), OBLIQUE)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_short_floats_become_float32(self, tmp_path, dtype):
        voxels = torch.from_numpy(volume()).to(dtype) / 3
        write(tmp_path / "a.nii", voxels, OBLIQUE)
        got = read(tmp_path / "a.nii", dtype=None)[0]
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, voxels.float().numpy())

    def test_complex_voxels_are_told_how_to_become_real(self, tmp_path):
        with pytest.raises(TypeError, match=r"complex64 cannot be written; convert them to .*\.abs\(\) or \.angle\(\)"):
            write(tmp_path / "a.nii", volume("complex64"), OBLIQUE)

    def test_refuses_what_is_no_volume_of_the_geometry(self, tmp_path):
        with pytest.raises(ValueError, match=r"\(D,H,W\) \(2, 3, 5\), but its geometry is for \(2, 3, 4\)"):
            write(tmp_path / "a.nii", volume(shape=(2, 3, 5)), OBLIQUE)
        with pytest.raises(ValueError, match=r"expected an array \(D,H,W\)"):
            write(tmp_path / "a.nii", volume(shape=(3, 4)), OBLIQUE)
        with pytest.raises(TypeError, match="expected a Geometry, got NoneType"):
            write(tmp_path / "a.nii", volume(), None)

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
                write(tmp_path / f"a{suffix}", volume("float32", (30, 30, 30)), Geometry((30, 30, 30)))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before

    @pytest.mark.parametrize(
        ("damage", "text"),
        [
            (lambda content: content[:-1], r"could not be written whole \(is the disk full\?\): .* but only 47 bytes"),
            (lambda content: content[:-1] + b"x", "the file holds other voxels when it is read back"),
        ],
    )
    def test_a_disk_that_kept_something_else_is_noticed(self, tmp_path, monkeypatch, damage, text):
        store = writer._store

        def damaged(made, *args):
            store(made, *args)
            Path(made).write_bytes(damage(Path(made).read_bytes()))

        monkeypatch.setattr(writer, "_store", damaged)
        with pytest.raises(OSError, match=text):
            write(tmp_path / "a.nii", volume(), OBLIQUE)
        assert os.listdir(tmp_path) == []

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

    def test_a_slight_shear_of_a_long_stack_is_in_the_sform_alone(self, tmp_path):
        direction = np.eye(3)
        direction[:, 2] = [0, np.sin(1e-3), np.cos(1e-3)]
        geometry = Geometry((400, 1, 1), (1, 1, 1), (0, 0, 0), direction.ravel())
        write(tmp_path / "a.nii", volume(shape=(400, 1, 1)), geometry)
        assert int(nib.load(tmp_path / "a.nii").header["qform_code"]) == 0
        assert read(tmp_path / "a.nii")[1].agrees(geometry)

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

    @pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
    def test_a_process_killed_before_the_renaming_leaves_the_old_file(self, tmp_path, suffix):
        write(tmp_path / f"a{suffix}", volume(), OBLIQUE)
        self.killed_save(tmp_path / f"a{suffix}", "replace_file")
        np.testing.assert_array_equal(read(tmp_path / f"a{suffix}")[0], volume())

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
