"""DICOM segmentations: read to segment numbers or refused, written through highdicom where it is installed."""

import sys

import highdicom.seg
import numpy as np
import pytest
from dicom_segmentations import labels, segmentation
from dicom_series import (
    OBLIQUE,
    ORIGIN,
    SECRETS,
    SPACING,
    decimal,
    direction_of,
    make_slice,
    write,
    write_series,
)
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from faimed3d import errors
from faimed3d.dicom import dicom_inventory, read_dicom, write_seg
from faimed3d.dicom.header import dataset_bytes
from faimed3d.geometry import Geometry
from faimed3d.volume import TensorMask3D

GEOMETRY = Geometry((5, 6, 7), SPACING, ORIGIN, direction_of(OBLIQUE).ravel())


class TestReading:
    @pytest.mark.parametrize("step", [SPACING[2], None])
    @pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
    def test_segments_become_their_numbers_and_left_out_slices_are_empty(self, tmp_path, step, syntax):
        path = write([segmentation(labels(), step=step, syntax=syntax)], tmp_path)[0]
        array, geometry, files = read_dicom(path)
        np.testing.assert_array_equal(array, labels()[1:])
        assert geometry.distance(GEOMETRY.regrid((4, 6, 7), offset=(1, 0, 0))) < 1e-6
        assert files == (str(path),)
        row = dicom_inventory(path).iloc[0]
        assert (row["modality"], row["shape"], row["problems"]) == ("SEG", (4, 6, 7), "")

    def test_frames_of_empty_slices_count(self, tmp_path):
        path = write([segmentation(labels(), [(k, n) for k in range(5) for n in (1, 2)])], tmp_path)[0]
        array, geometry, _ = read_dicom(path)
        np.testing.assert_array_equal(array, labels())
        assert geometry.distance(GEOMETRY) < 1e-6

    def test_every_second_slice_empty_needs_the_spacing(self, tmp_path):
        mask = labels() * 0
        mask[[0, 2, 4], 1, 1] = 1
        array, geometry, _ = read_dicom(write([segmentation(mask)], tmp_path)[0])
        np.testing.assert_array_equal(array, mask)
        assert geometry.spacing == pytest.approx(SPACING)

    def test_overlapping_segments_are_refused(self, tmp_path):
        path = write([segmentation(labels(), extra=[(1, labels()[1] == 1, 2)])], tmp_path)[0]
        with pytest.raises(errors.UnsupportedImage, match="segments 1 and 2 overlap in 12 voxels of frame 5"):
            read_dicom(path)

    @pytest.mark.parametrize(("keyword", "value"), [("SegmentationType", "FRACTIONAL"), ("BitsAllocated", 8)])
    def test_bits_that_are_not_those_of_the_kind_are_refused(self, tmp_path, keyword, value):
        dataset = segmentation(labels())
        setattr(dataset, keyword, value)
        with pytest.raises(errors.UnsupportedImage, match="BINARY ones of 1 bit, FRACTIONAL ones of 8 and LABELMAP"):
            read_dicom(write([dataset], tmp_path)[0])

    def test_bits_in_other_transfer_syntaxes_are_refused(self, tmp_path):
        dataset = segmentation(labels())
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"  # MPEG2
        dataset.PixelData = b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0\2\0\0\0ab\xfe\xff\xdd\xe0\0\0\0\0"
        dataset["PixelData"].is_undefined_length = True
        with pytest.raises(errors.UnsupportedImage, match=r"single bits in \(0002,0010\) .*4\.100, which is not read"):
            read_dicom(write([dataset], tmp_path)[0])

    def test_a_frame_without_segment_is_refused(self, tmp_path):
        dataset = segmentation(labels())
        del dataset.PerFrameFunctionalGroupsSequence[2].SegmentIdentificationSequence
        with pytest.raises(errors.DamagedFile, match=r"frame 3 names no segment in \(0062,000B\)"):
            read_dicom(write([dataset], tmp_path)[0])

    def test_missing_bits_are_refused(self, tmp_path):
        dataset = segmentation(labels(), [(1, 1)])
        dataset.PixelData = dataset.PixelData[:-2]
        with pytest.raises(errors.TruncatedFile, match="has 4 bytes, 1 frames of 6 x 7 bits need 6"):
            read_dicom(write([dataset], tmp_path)[0])

    def test_labels_are_never_interpolated(self, tmp_path):
        dataset = segmentation(labels(), step=None)
        position = dataset.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0]
        place = np.array(position.ImagePositionPatient, float) + 0.9 * direction_of(OBLIQUE)[:, 2]
        position.ImagePositionPatient = [decimal(v) for v in place]
        path = write([dataset], tmp_path)[0]
        for strict in (True, False):
            with pytest.raises(errors.UnevenSlices):
                read_dicom(path, strict=strict)

    def test_a_position_far_away_is_not_bridged(self, tmp_path):
        dataset = segmentation(labels())
        position = dataset.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0]
        place = np.array(ORIGIN) + 100000 * SPACING[2] * direction_of(OBLIQUE)[:, 2]
        position.ImagePositionPatient = [decimal(v) for v in place]
        with pytest.raises(errors.MissingSlices, match=r"100000 slices by \(0018,0088\) SpacingBetweenSlices 2.5"):
            read_dicom(write([dataset], tmp_path)[0])

    def test_frames_far_apart_are_bridged_by_the_spacing_that_the_file_states(self, tmp_path):
        mask = np.zeros((300, 6, 7), np.uint8)
        mask[10, 1, 2] = 1
        mask[290, 3, 4] = 2
        array, geometry, _ = read_dicom(write([segmentation(mask)], tmp_path)[0])
        np.testing.assert_array_equal(array, mask[10:291])
        assert geometry.spacing == pytest.approx(SPACING)

    @pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
    def test_a_kind_that_is_damaged_is_not_quoted(self, tmp_path):
        dataset = segmentation(labels())
        dataset.SegmentationType = "Doe^Jane"
        with pytest.raises(errors.UnsupportedImage, match="a damaged value"):
            read_dicom(write([dataset], tmp_path)[0])

    def test_two_files_of_one_series_are_two_volumes(self, tmp_path):
        for k in range(2):
            dataset = segmentation(labels(), [(2 * k + 1, 1), (2 * k + 2, 2)])
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.77.{k}"
            write([dataset], tmp_path, [f"{k}.dcm"])
        with pytest.raises(errors.SeveralVolumes, match="2 volumes"):
            read_dicom(tmp_path)


class TestWriting:
    def test_comes_back_as_segment_numbers(self, tmp_path):
        write_series(tmp_path / "source")
        mask = np.array([0, 117, 3], np.int16)[labels()]
        segments = write_seg(tmp_path / "mask.dcm", mask, GEOMETRY, tmp_path / "source", labels={3: "Leber"})
        assert segments == {1: 3, 2: 117}
        array, geometry, _ = read_dicom(tmp_path / "mask.dcm")
        np.testing.assert_array_equal(np.array([0, 3, 117])[array.astype(int)], mask[1:])
        assert geometry.distance(GEOMETRY.regrid((4, 6, 7), offset=(1, 0, 0))) < 1e-6
        dataset = dcmread(tmp_path / "mask.dcm")
        assert [item.SegmentLabel for item in dataset.SegmentSequence] == ["Leber", "label 117"]
        assert dataset.StudyInstanceUID == "1.2.3"
        assert dataset.PatientID == SECRETS[1]
        assert dataset.SegmentSequence[0].SegmentAlgorithmType == "MANUAL"
        assert len(list(tmp_path.iterdir())) == 2

    def test_another_grid_than_the_templates(self, tmp_path):
        write_series(tmp_path / "source")
        grid = GEOMETRY.regrid((5, 6, 7), (0.5, 0.7, 0.9), (0.2, 0.1, 0.3))
        write_seg(tmp_path / "mask.dcm", labels() > 0, grid, tmp_path / "source", algorithm="unet")
        array, geometry, _ = read_dicom(tmp_path / "mask.dcm")
        np.testing.assert_array_equal(array, labels()[1:] > 0)
        assert geometry.distance(grid.regrid((4, 6, 7), offset=(1, 0, 0))) < 1e-6
        assert dcmread(tmp_path / "mask.dcm").SegmentSequence[0].SegmentAlgorithmName == "unet"

    def test_highdicom_reads_the_same(self, tmp_path):
        write_series(tmp_path / "source")
        write_seg(tmp_path / "mask.dcm", labels(), GEOMETRY, tmp_path / "source")
        volume = highdicom.seg.segread(tmp_path / "mask.dcm").get_volume(combine_segments=True)
        grid = Geometry.from_affine(volume.affine[:, [2, 1, 0, 3]], volume.array.shape)
        for index in np.argwhere(volume.array):
            place = np.round(GEOMETRY.world_to_index(grid.index_to_world(index))).astype(int)
            assert volume.array[tuple(index)] == labels()[tuple(place)]
        assert np.count_nonzero(volume.array) == np.count_nonzero(labels())

    @pytest.mark.parametrize(
        ("mask", "names", "text"),
        [
            (labels() * 0, None, "or structure set holds 1 to 65535 labels, this mask has 0"),
            (labels() * 0.5, None, "a mask holds whole numbers from 0"),
            (labels() * -1.0, None, "a mask holds whole numbers from 0"),
            (labels() * np.nan, None, "a mask holds whole numbers from 0"),
            (labels(), {7: "liver"}, r"labels names \[7\], the mask has \[1, 2\]"),
            (labels(), {1: "x" * 65}, "the name of a label must be 1 to 64 characters"),
        ],
    )
    def test_masks_that_are_none(self, tmp_path, mask, names, text):
        write_series(tmp_path / "source")
        with pytest.raises(ValueError, match=text):
            write_seg(tmp_path / "mask.dcm", mask, GEOMETRY, tmp_path / "source", labels=names)
        assert not (tmp_path / "mask.dcm").exists()

    def test_labels_far_apart_come_back(self, tmp_path):
        write_series(tmp_path / "source")
        geometry = GEOMETRY.replace(shape=(300, 6, 7))
        mask = np.zeros(geometry.shape, np.uint8)
        mask[3, 1, 2], mask[283, 3, 4] = 1, 2
        write_seg(tmp_path / "mask.dcm", mask, geometry, tmp_path / "source")
        array, found, _ = read_dicom(tmp_path / "mask.dcm")
        np.testing.assert_array_equal(array, mask[3:284])
        assert found.distance(geometry.regrid((281, 6, 7), offset=(3, 0, 0))) < 1e-3

    def test_a_left_handed_grid_keeps_every_voxel_at_its_place(self, tmp_path):
        write_series(tmp_path / "source")
        geometry = GEOMETRY.regrid((5, 6, 7), (-1, 1, 1), (4, 0, 0))
        write_seg(tmp_path / "mask.dcm", labels()[::-1], geometry, tmp_path / "source")
        array, found, _ = read_dicom(tmp_path / "mask.dcm")
        for index in np.argwhere(array):
            place = np.round(GEOMETRY.world_to_index(found.index_to_world(index))).astype(int)
            assert array[tuple(index)] == labels()[tuple(place)]
        assert np.count_nonzero(array) == np.count_nonzero(labels())

    def test_what_comes_back_otherwise_is_not_written(self, tmp_path, monkeypatch):
        def damaged(dataset, name):
            dataset.PixelData = bytes([dataset.PixelData[0] ^ 1]) + dataset.PixelData[1:]
            return dataset_bytes(dataset, name)

        write_series(tmp_path / "source")
        (tmp_path / "mask.dcm").write_text("the old one")
        monkeypatch.setattr("faimed3d.dicom.segmentation.seg_writing.dataset_bytes", damaged)
        with pytest.raises(ValueError, match=r"cannot hold this mask on the .*; reading it back gave another mask"):
            write_seg(tmp_path / "mask.dcm", labels(), GEOMETRY, tmp_path / "source")
        assert (tmp_path / "mask.dcm").read_text() == "the old one"
        assert len(list(tmp_path.iterdir())) == 2

    def test_what_cannot_be_read_back_is_not_written(self, tmp_path, monkeypatch):
        def cut(dataset, name):
            dataset.PixelData = dataset.PixelData[:2]
            return dataset_bytes(dataset, name)

        write_series(tmp_path / "source")
        monkeypatch.setattr("faimed3d.dicom.segmentation.seg_writing.dataset_bytes", cut)
        with pytest.raises(ValueError, match=r"cannot hold this mask: .*mask\.dcm: .* in the 2 bytes of") as error:
            write_seg(tmp_path / "mask.dcm", labels(), GEOMETRY, tmp_path / "source")
        assert "-writing-" not in str(error.value)

    @pytest.mark.parametrize("shape", [(4, 1, 7), (4, 2, 2)])
    def test_slices_of_fewer_pixels_than_highdicom_packs(self, tmp_path, shape):
        write_series(tmp_path / "source")
        with pytest.raises(ValueError, match=r"has at least 8 pixels here, got \(4, "):
            write_seg(tmp_path / "mask.dcm", np.ones(shape, int), GEOMETRY.replace(shape=shape), tmp_path / "source")

    def test_the_permissions_of_the_replaced_file_stay(self, tmp_path):
        write_series(tmp_path / "source")
        (tmp_path / "mask.dcm").touch(0o600)
        write_seg(tmp_path / "mask.dcm", labels(), GEOMETRY, tmp_path / "source")
        assert (tmp_path / "mask.dcm").stat().st_mode & 0o777 == 0o600

    @pytest.mark.parametrize(
        ("arguments", "error", "text"),
        [
            ({"algorithm": 3}, TypeError, "algorithm must be text, got int"),
            ({"algorithm": ""}, ValueError, "algorithm must be 1 to 64 characters"),
            ({"series_description": "a\\b"}, ValueError, r"series_description \(0008,103E\) must be at most 64"),
            ({"series_number": 0}, ValueError, r"series_number \(0020,0011\) of a segmentation must be at least 1"),
            ({"series_number": "7"}, TypeError, r"series_number \(0020,0011\) must be a whole number, got str"),
            ({"labels": {1: 5}}, TypeError, "the name of a label must be text, got int"),
            ({"labels": {1: "a\nb"}}, ValueError, "the name of a label must be 1 to 64 characters"),
        ],
    )
    def test_arguments_that_their_elements_cannot_hold(self, tmp_path, arguments, error, text):
        write_series(tmp_path / "source")
        with pytest.raises(error, match=text):
            write_seg(tmp_path / "mask.dcm", labels(), GEOMETRY, tmp_path / "source", **arguments)

    @pytest.mark.parametrize(
        ("keyword", "error", "what"),
        [
            ("FrameOfReferenceUID", errors.MissingGeometry, "where it lies"),
            ("ImagePositionPatient", errors.MissingGeometry, "where it lies"),
            ("ImageOrientationPatient", errors.MissingGeometry, "where it lies"),
            ("PixelSpacing", errors.MissingGeometry, "where it lies"),
            ("StudyInstanceUID", ValueError, "which image it belongs to"),
            ("SeriesInstanceUID", ValueError, "which image it belongs to"),
            ("SOPInstanceUID", ValueError, "which image it belongs to"),
            ("Modality", ValueError, "which image it belongs to"),
        ],
    )
    def test_a_template_that_lacks_an_element(self, tmp_path, keyword, error, what):
        write_series(tmp_path / "source", **{keyword: None})
        text = rf"the template has no \(.{{4}},.{{4}}\) {keyword}, so a segmentation cannot say {what}"
        with pytest.raises(error, match=text):
            write_seg(tmp_path / "mask.dcm", labels(), GEOMETRY, tmp_path / "source")

    def test_a_template_without_thickness_will_do(self, tmp_path):
        write_series(tmp_path / "source", SliceThickness=None)
        write_seg(tmp_path / "mask.dcm", labels(), GEOMETRY, tmp_path / "source")
        assert read_dicom(tmp_path / "mask.dcm")[1].spacing == pytest.approx(SPACING)

    @pytest.mark.filterwarnings("ignore:Invalid value for VR")
    def test_values_that_break_a_rule_are_taken_as_they_are(self, tmp_path, logged):
        broken = {"PatientBirthDate": "17.03.1957", "StudyTime": "12:30h", "PatientSex": "?", "PatientAge": "62 y"}
        write_series(tmp_path / "source", **broken)
        logged.clear()
        write_seg(tmp_path / "mask.dcm", labels(), GEOMETRY, tmp_path / "source", labels={1: "肺"})
        assert not logged
        dataset = dcmread(tmp_path / "mask.dcm")
        assert {keyword: dataset[keyword].value for keyword in broken} == broken
        assert dataset.SegmentSequence[0].SegmentLabel == "肺"

    def test_errors_of_highdicom_quote_nothing(self, tmp_path, monkeypatch):
        def fail(*_, **__):
            raise KeyError("Doe^Jane")

        write_series(tmp_path / "source")
        monkeypatch.setattr("highdicom.seg.Segmentation", fail)
        with pytest.raises(ValueError, match=r"highdicom makes no segmentation of these images \(KeyError\)") as error:
            write_seg(tmp_path / "mask.dcm", labels(), GEOMETRY, tmp_path / "source")
        assert error.value.__suppress_context__
        assert "Doe" not in str(error.value)

    def test_targets(self, tmp_path):
        write_series(tmp_path / "source")
        with pytest.raises(FileNotFoundError, match="does not exist; create it first"):
            write_seg(tmp_path / "absent" / "mask.dcm", labels(), GEOMETRY, tmp_path / "source")
        with pytest.raises(IsADirectoryError, match="is a folder, not a file"):
            write_seg(tmp_path, labels(), GEOMETRY, tmp_path / "source")


def test_without_highdicom_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(
        ImportError, match=r"needs highdicom: pip install highdicom \(or faimed3d with its extra 'dicom-seg'\)"
    ):
        write_seg(tmp_path / "mask.dcm", labels(), GEOMETRY, tmp_path)


class TestNamesOfSegments:
    @pytest.mark.parametrize(("labels_given", "names"), [(None, {1: "liver", 2: "label 7"}), ({7: "cyst"}, None)])
    def test_are_those_that_the_mask_knows(self, tmp_path, labels_given, names):
        write_series(tmp_path / "scan", np.zeros((5, 6, 7), np.int16))
        voxels = labels()
        voxels[voxels == 2] = 7
        mask = TensorMask3D(voxels, GEOMETRY, codes={0: "none", 2: "liver", 3: "spleen"} | {1: "liver", 2: "kidney"})
        write_seg(tmp_path / "seg.dcm", mask, GEOMETRY, tmp_path / "scan", labels=labels_given)
        found = [item.SegmentLabel for item in dcmread(tmp_path / "seg.dcm").SegmentSequence]
        assert found == (list(names.values()) if names else ["label 1", "cyst"])
        assert TensorMask3D.create(tmp_path / "seg.dcm").codes == dict(enumerate(found, 1))

    def test_images_have_none(self, tmp_path):
        (file,) = write([make_slice(np.zeros((6, 7), np.int16), ORIGIN)], tmp_path)
        assert TensorMask3D.create(file).codes is None
