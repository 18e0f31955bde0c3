"""DICOM segmentations of every kind, as highdicom writes them, to labels and to a mask of each segment."""

import itertools

import highdicom
import numpy as np
import pytest
from dicom_series import OBLIQUE, ORIGIN, SPACING, direction_of, write_series
from highdicom.seg import Segmentation, SegmentationTypeValues, SegmentDescription
from highdicom.sr import CodedConcept
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless, RLELossless, generate_uid

from faimed3d import errors
from faimed3d.dicom import read_dicom, read_seg, write_seg
from faimed3d.geometry import Geometry
from faimed3d.volume import TensorMask3D

GEOMETRY = Geometry((5, 33, 34), SPACING, ORIGIN, direction_of(OBLIQUE).ravel())
TISSUE = CodedConcept("85756007", "SCT", "Tissue")
ASKED = ("PatientSex", "StudyID", "StudyTime", "AccessionNumber", "ReferringPhysicianName")
SYNTAXES = [ExplicitVRLittleEndian, RLELossless, JPEGLSLossless]


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scan")
    write_series(folder, np.zeros(GEOMETRY.shape, np.int16))
    return folder


def labels(*values):
    mask = np.zeros(GEOMETRY.shape, np.uint16)
    mask[1, 1:4, 2:6], mask[2, 2, 3:9], mask[2, 4:, 1], mask[4, 0, 0] = (values[k] for k in (0, 1, 0, 1))
    return mask


def by_highdicom(path, scan, array, kind, names, syntax=ExplicitVRLittleEndian, **more):
    """Write pixels (D, H, W) of numbers, or (D, H, W, R) of shares, name by number of the segments."""
    sources = [dcmread(file) for file in scan.iterdir()]
    for source, keyword in itertools.product(sources, ASKED):
        setattr(source, keyword, "")
    volume = highdicom.Volume(
        array, affine=GEOMETRY.affine[:, [2, 1, 0, 3]], coordinate_system="PATIENT",
        frame_of_reference_uid=sources[0].FrameOfReferenceUID, channels={"SegmentNumber": list(names)},
    ) if array.ndim == 4 else highdicom.Volume(
        array, affine=GEOMETRY.affine[:, [2, 1, 0, 3]], coordinate_system="PATIENT",
        frame_of_reference_uid=sources[0].FrameOfReferenceUID,
    )  # fmt: skip
    Segmentation(
        sources, volume, SegmentationTypeValues(kind),
        [SegmentDescription(number, name, TISSUE, TISSUE, "MANUAL") for number, name in names.items()],
        generate_uid(None), 1, generate_uid(None), 1, "maker", "model", "1", "0",
        transfer_syntax_uid=syntax, **more,
    ).save_as(path)  # fmt: skip
    return path


class TestLabelMaps:
    @pytest.mark.parametrize("syntax", SYNTAXES)
    @pytest.mark.parametrize("numbers", [(1, 2), (7, 300)])
    def test_labels_stay_what_they_are(self, tmp_path, scan, numbers, syntax):
        mask = labels(*numbers)
        names = dict(zip(numbers, ("liver", "cyst"), strict=True))
        path = by_highdicom(tmp_path / "seg.dcm", scan, mask, "LABELMAP", names, syntax)
        array, geometry, _ = read_dicom(path)
        np.testing.assert_array_equal(array, mask[1:])
        assert geometry.distance(GEOMETRY.regrid((4, 33, 34), offset=(1, 0, 0))) < 1e-6
        found = TensorMask3D.create(path)
        assert {label: found.codes[label] for label in numbers} == names
        each, _, codes = read_seg(path, separate=True)
        np.testing.assert_array_equal(each, [mask[1:] == number for number in numbers])
        assert codes == {1: "liver", 2: "cyst"}

    def test_colours_of_labels_make_no_colour_image(self, tmp_path, scan):
        lut = highdicom.PaletteColorLUTTransformation.from_colors(["black", "red", "lime"])
        mask = labels(1, 2)
        path = by_highdicom(
            tmp_path / "seg.dcm", scan, mask, "LABELMAP", {1: "a", 2: "b"}, palette_color_lut_transformation=lut
        )
        assert dcmread(path).PhotometricInterpretation == "PALETTE COLOR"
        np.testing.assert_array_equal(read_seg(path).array, mask[1:])

    def test_written_ones_are_read_by_highdicom(self, tmp_path, scan):
        mask = labels(7, 300)
        segments = write_seg(tmp_path / "seg.dcm", mask, GEOMETRY, scan, labels={7: "liver"}, kind="labelmap")
        assert segments == {7: 7, 300: 300}
        np.testing.assert_array_equal(read_seg(tmp_path / "seg.dcm").array, mask[1:])
        volume = highdicom.seg.segread(tmp_path / "seg.dcm").get_volume(combine_segments=True)
        grid = Geometry.from_affine(volume.affine[:, [2, 1, 0, 3]], volume.array.shape)
        for index in np.argwhere(volume.array):
            place = np.round(GEOMETRY.world_to_index(grid.index_to_world(index))).astype(int)
            assert volume.array[tuple(index)] == mask[tuple(place)]
        assert np.count_nonzero(volume.array) == np.count_nonzero(mask)

    def test_what_is_refused(self, tmp_path, scan):
        with pytest.raises(ValueError, match="kind must be one of 'binary', 'labelmap', got 'label'"):
            write_seg(tmp_path / "seg.dcm", labels(1, 2), GEOMETRY, scan, kind="label")
        with pytest.raises(ValueError, match="a label map holds labels up to 65535, this mask has 70000"):
            write_seg(tmp_path / "seg.dcm", labels(1, 2).astype(int) * 35000, GEOMETRY, scan, kind="labelmap")


class TestShares:
    def shares(self):
        shares = np.zeros((*GEOMETRY.shape, 2))
        shares[1, 2:9, 3:12, 0] = np.linspace(0, 1, 63).reshape(7, 9)
        shares[3, 2:5, 3:5, 1] = 0.75
        return shares

    @pytest.mark.parametrize("syntax", SYNTAXES)
    def test_the_threshold_decides_and_is_said(self, tmp_path, scan, syntax):
        shares = self.shares()
        path = by_highdicom(
            tmp_path / "seg.dcm", scan, shares, "FRACTIONAL", {1: "a", 2: "b"}, syntax, max_fractional_value=200
        )
        stored = np.rint(shares * 200)
        for threshold in (0.2, 0.5, 1):
            expected = 1 * (stored[..., 0] >= threshold * 200) + 2 * (stored[..., 1] >= threshold * 200)
            np.testing.assert_array_equal(read_seg(path, threshold=threshold).array, expected[1:4])
        with pytest.warns(UserWarning, match=r"voxels from a share of 0.5 on belong.*read_seg\(file, threshold"):
            array, _, _ = read_dicom(path)
        np.testing.assert_array_equal(array, read_seg(path).array)

    @pytest.mark.parametrize("threshold", [0, -1, 1.5, float("nan")])
    def test_thresholds_that_are_no_share(self, tmp_path, threshold):
        with pytest.raises(ValueError, match="threshold must be a share above 0, to 1, got"):
            read_seg(tmp_path / "seg.dcm", threshold=threshold)

    def test_overlaps(self, tmp_path, scan):
        shares = self.shares()
        shares[3, 2:4, 3:9, 0] = 0.6
        path = by_highdicom(tmp_path / "seg.dcm", scan, shares, "FRACTIONAL", {1: "a", 2: "b"})
        with pytest.raises(errors.UnsupportedImage, match=r"segments 1 and 2 overlap in 4 voxels .*separate=True\)"):
            read_seg(path)
        array, geometry, codes = read_seg(path, separate=True)
        np.testing.assert_array_equal(array, np.moveaxis(shares[1:4] >= 0.5, -1, 0))
        assert codes == {1: "a", 2: "b"}
        assert geometry.shape == (3, 33, 34)


def test_binary_segments_that_overlap(tmp_path, scan):
    both = np.stack([labels(1, 0), labels(1, 1)], axis=-1).astype(np.uint8)
    path = by_highdicom(tmp_path / "seg.dcm", scan, both, "BINARY", {1: "whole", 2: "part"})
    np.testing.assert_array_equal(read_seg(path, separate=True).array, np.moveaxis(both[1:], -1, 0))
    with pytest.raises(errors.UnsupportedImage, match="overlap"):
        read_seg(path)


def test_what_is_no_segmentation(tmp_path, scan):
    with pytest.raises(errors.UnsupportedImage, match="no DICOM segmentation"):
        read_seg(next(scan.iterdir()))
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_seg(tmp_path / "absent.dcm")
