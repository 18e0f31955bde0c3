"""Which files of a folder are images, which are skipped, which are damaged."""

import gzip
import os
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_faults import packaged
from dicom_series import (
    NATIVE,
    ORIGIN,
    SHAPE,
    compressed,
    make_series,
    make_slice,
    stored_values,
    write,
    write_series,
)
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from faimed3d import errors
from faimed3d.dicom import dicom_inventory, is_dicom, read_dicom
from faimed3d.dicom.grouping import attributes
from faimed3d.dicom.pixels import decode_planes


class TestWhatIsSkipped:
    def test_what_is_no_image_is_counted(self, tmp_path):
        write_series(tmp_path)
        for name in ("test-SR.dcm", "rtstruct.dcm", "rtplan.dcm", "waveform_ecg.dcm", "SC_rgb_small_odd.dcm"):
            shutil.copy(packaged(name), tmp_path)
        shutil.copy(Path(packaged("MR_small.dcm")).parent / "dicomdirtests" / "DICOMDIR", tmp_path)
        (tmp_path / "README").write_text("text")
        (tmp_path / "._IM9999.dcm").write_bytes(b"\0\5\x16\7" + b"\0" * 200)
        (tmp_path / "notes.json").write_text("")
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())
        assert dicom_inventory(tmp_path).attrs["skipped"] == {
            "DICOM objects without an image": 3, "RT structure sets": 1, "colour images": 1, "DICOMDIR": 1,
            "files that are not DICOM": 3,
        }  # fmt: skip

    def test_a_localizer_and_a_colour_capture_in_the_series(self, tmp_path):
        series = make_series()
        scout = make_slice(
            stored_values((1, 9, 4))[0], ORIGIN, (0, 1, 0, 0, 0, -1), ImageType="ORIGINAL\\PRIMARY\\LOCALIZER"
        )
        capture = make_slice(stored_values((1, 6, 7))[0], ORIGIN, PhotometricInterpretation="RGB", SamplesPerPixel=3)
        write([*series, scout, capture], tmp_path)
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())
        assert dicom_inventory(tmp_path).attrs["skipped"] == {"localizers": 1, "colour images": 1}

    def test_a_series_of_localizers_alone_is_read(self, tmp_path):
        write_series(tmp_path, ImageType="ORIGINAL\\PRIMARY\\LOCALIZER")
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())

    def test_only_colour(self, tmp_path):
        shutil.copy(packaged("SC_rgb_small_odd.dcm"), tmp_path)
        with pytest.raises(errors.UnsupportedImage, match=r"a colour image .*RGB"):
            read_dicom(tmp_path)

    def test_images_without_a_place_beside_a_volume(self, tmp_path):
        write_series(tmp_path)
        lost = {"PixelSpacing": None, "ImagePositionPatient": None, "ImageOrientationPatient": None}
        write_series(tmp_path / "x", SeriesInstanceUID="1.9", **lost)
        for k, path in enumerate((tmp_path / "x").iterdir()):
            path.rename(tmp_path / f"capture{k}.dcm")
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())


class TestFiles:
    @pytest.mark.parametrize("kind", ["native", "deflated", "rle"])
    def test_a_file_replaced_between_header_and_pixels_is_refused(self, tmp_path, monkeypatch, kind):
        def change(dataset):
            if kind == "deflated":
                dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
            return compressed(dataset, kind) if kind == "rle" else dataset

        files = write([change(dataset) for dataset in make_series()], tmp_path / "ct")
        other = write([change(dataset) for dataset in make_series(stored_values(seed=1))], tmp_path / "other")

        def replaced_before(planes):
            os.replace(other[2], files[2])
            return decode_planes(planes)

        monkeypatch.setattr("faimed3d.dicom.volume_reading.decode_planes", replaced_before)
        with pytest.raises(errors.ReadError, match=f"{files[2].name}: the file changed while the volume was read"):
            read_dicom(tmp_path / "ct")

    @pytest.mark.parametrize("path", [3, None, 2.5])
    def test_a_path_of_a_wrong_kind(self, path):
        with pytest.raises(TypeError):
            read_dicom(path)

    def test_no_such_path(self, tmp_path):
        for function in (read_dicom, dicom_inventory, is_dicom):
            with pytest.raises(FileNotFoundError):
                function(tmp_path / "none")

    def test_no_preamble(self, tmp_path):
        for syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian):
            for path in write_series(tmp_path, syntax=syntax):
                dataset = pydicom.dcmread(path)
                del dataset.file_meta
                dataset.preamble = None
                dataset.save_as(path, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian)
                assert path.read_bytes()[128:132] != b"DICM"
                assert is_dicom(path)
            np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())

    def test_links(self, tmp_path):
        paths = write_series(tmp_path / "store")
        folder = tmp_path / "links"
        folder.mkdir()
        for path in paths:
            (folder / path.name).symlink_to(path)
        (folder / "again.dcm").symlink_to(paths[0])
        (folder / "loop").symlink_to(folder)
        np.testing.assert_array_equal(read_dicom(folder)[0], stored_values())
        assert len(dicom_inventory(folder)) == 1
        assert len(dicom_inventory(tmp_path)) == 2

    def test_a_link_to_nothing_is_a_lost_slice(self, tmp_path):
        write_series(tmp_path)
        (tmp_path / "notes.txt").symlink_to(tmp_path / "nowhere")
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())
        (tmp_path / "IM0001.dcm").symlink_to(tmp_path / "nowhere")
        with pytest.raises(errors.DamagedFile, match=r"IM0001\.dcm: a link to a file that is not there"):
            read_dicom(tmp_path)

    @pytest.mark.parametrize("text", ["<html><body>404</body></html>", "version https://git-lfs.github.com/spec/v1"])
    def test_a_slice_without_extension_that_became_text_is_lost(self, tmp_path, text):
        paths = write(make_series(), tmp_path, [f"IM{k:04d}" for k in range(5)])
        (tmp_path / "README").write_text("text")
        (tmp_path / "notes1").write_text("text")
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())
        paths[4].write_text(text)
        with pytest.raises(errors.DamagedFile, match=r"IM0004: (named as the slices beside it, but it|a pointer to)"):
            read_dicom(tmp_path)

    def test_only_links_to_nothing(self, tmp_path):
        (tmp_path / "IM0001.dcm").symlink_to(tmp_path / "nowhere")
        with pytest.raises(errors.NoImages, match="1 links to nothing"):
            read_dicom(tmp_path)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
    def test_a_pipe_does_not_block(self, tmp_path):
        write_series(tmp_path)
        os.mkfifo(tmp_path / "pipe.dcm")
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())
        with pytest.raises(errors.NoImages, match="neither a file nor a folder"):
            read_dicom(tmp_path / "pipe.dcm")

    def test_sequences_of_undefined_length_before_the_pixels(self, tmp_path):
        def nest(k, dataset):
            inner, outer = Dataset(), Dataset()
            inner.CodeValue = "T-1"
            outer.AnatomicRegionSequence = Sequence([inner, inner])
            outer["AnatomicRegionSequence"].is_undefined_length = True
            dataset.ReferencedImageSequence = Sequence([outer, outer])
            dataset["ReferencedImageSequence"].is_undefined_length = True
            for item in dataset.ReferencedImageSequence:
                item.is_undefined_length_sequence_item = True

        for syntax in NATIVE:
            write_series(tmp_path, edit=nest, syntax=syntax)
            np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())

    def test_headers_longer_than_the_first_read(self, tmp_path):
        write_series(tmp_path, edit=lambda k, d: d.add_new(0x00091010, "UN", bytes(range(256)) * 200))
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())

    def test_is_dicom(self, tmp_path):
        path = write_series(tmp_path)[0]
        assert is_dicom(path)
        assert not is_dicom(tmp_path)
        for content in (b"", b"\0" * 400, b"hello" * 50, b"\x08\0", gzip.compress(b"x" * 999)):
            (tmp_path / "other").write_bytes(content)
            assert not is_dicom(tmp_path / "other")


def test_the_attributes_of_a_plane_are_looked_for_once(tmp_path, monkeypatch):
    looks = []
    find = attributes._find_attributes
    monkeypatch.setattr(attributes, "_find_attributes", lambda plane: looks.append(plane) or find(plane))
    write_series(tmp_path)
    dicom_inventory(tmp_path)
    assert len(looks) == SHAPE[0]
    assert len(set(map(id, looks))) == SHAPE[0]
