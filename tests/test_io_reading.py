"""Reading any file: what it holds decides, and what is not whole or not one volume is refused."""

import importlib
import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from io_volumes import OBLIQUE, reference, volume
from pydicom.data import get_testdata_file

from faimed3d.errors import DamagedFile, ReadError, TruncatedFile, UnsupportedImage
from faimed3d.geometry import Geometry
from faimed3d.io import read, to_sitk, write
from faimed3d.io.formats import WRITE_SUFFIXES, file_format
from faimed3d.io.voxels import read_voxels


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
        ("path", "reason"),
        [
            ("scans\\\\a.nii", "separated as on Windows"),
            ("scans/a.nii ", "blanks"),
            (" scans/a.nii", "blanks"),
            ("~/a.nii", "expanduser"),
            ("https://example.org/a.nii", "an address"),
            ("https:/example.org/a.nii", "an address"),  # as a Path has it
            ("file:///a.nii", "leave file:// out"),
        ],
    )
    def test_no_such_file_for_a_reason(self, path, reason):
        with pytest.raises(FileNotFoundError, match=f"no such file or folder; .*{reason}"):
            read(path)

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
