"""Masks become RT Structure Sets whose contours hold the same voxels, on every grid, or are refused."""

import os
import shutil
import subprocess
import warnings

import numpy as np
import pytest
from dicom_series import OBLIQUE, ORIGIN, SECRETS, SPACING, direction_of, enhanced, make_slice, write, write_series
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path
from pydicom import dcmread
from structure_sets import grids

from faimed3d import errors
from faimed3d.dicom import read_rtstruct, write_rtstruct
from faimed3d.dicom.header import dataset_bytes
from faimed3d.dicom.writing import TEMPLATE_KEYWORDS
from faimed3d.geometry import Geometry
from faimed3d.volume import TensorDicom3D, TensorMask3D

GRID = (9, 46, 52)


GRIDS = grids(GRID)
WIDE = ("sphere", "ring", "nested rings", "box", "two parts", "single slice", "ragged")
SMALL = ("two voxels", "one voxel")
NAMES = dict(enumerate(WIDE + SMALL, 1))


def shapes():
    """A mask of all shapes, each its own label, apart from each other."""
    d, h, w = np.indices(GRID).astype(float)
    mask = np.zeros(GRID, np.uint8)

    def radius(y, x):
        return np.hypot(h - y, w - x)

    mask[6 * (d - 4) ** 2 + radius(8, 8) ** 2 < 49] = 1
    mask[(radius(8, 25) < 8) & (radius(8.3, 25.4) > 3)] = 2
    rings = radius(11, 42)
    mask[((rings < 9.4) & (rings > 7.3)) | ((rings < 5.2) & (rings > 3.1)) | (rings < 1.2)] = 3
    mask[2:8, 20:31, 2:14] = 4
    mask[3:5, 20:27, 16:23] = mask[3:5, 29:37, 18:26] = 5
    mask[8][radius(30, 33)[8] < 6] = 6
    noise = np.random.default_rng(3).random((9, 11, 30)) < 0.55
    mask[:, 35:46, 2:14][noise[..., :12]] = 7
    mask[5, 41, 40:42] = 8
    mask[1, 43, 48] = 9
    return mask


MASK = shapes()


def series(folder, geometry, **elements):
    """Images of a grid, sheared ones as well; returns the files."""
    direction = np.reshape(geometry.direction, (3, 3))
    cosines = tuple(direction[:, :2].T.ravel())
    stored = np.zeros(geometry.shape[1:], np.int16)
    places = geometry.index_to_world([(k, 0, 0) for k in range(geometry.shape[0])])
    return write([make_slice(stored, place, cosines, SPACING, **elements) for place in places], folder)


@pytest.fixture(scope="module", params=GRIDS)
def written(request, tmp_path_factory):
    """(grid, files of the images, file of the contours, what became of each class)."""
    folder = tmp_path_factory.mktemp("rt")
    grid = GRIDS[request.param]
    files = series(folder / "scan", grid)
    with pytest.warns(UserWarning, match=r"another volume than the voxels .* 'two voxels' .*'one voxel'"):
        rois = write_rtstruct(folder / "rs.dcm", MASK, grid, folder / "scan", labels=NAMES)
    return grid, files, folder / "rs.dcm", rois


class TestEveryGrid:
    def test_comes_back_to_the_voxel(self, written):
        grid, _, path, rois = written
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of small ones
            found = read_rtstruct(path, like=grid)
        np.testing.assert_array_equal(found.array, MASK)
        assert found.codes == {0: "background", **NAMES}
        assert [roi.dice for roi in rois] == [1.0] * len(NAMES)

    def test_what_is_said_of_each_class_is_so(self, written):
        grid, _, _, rois = written
        for roi in rois:
            assert roi.voxel_volume == pytest.approx(np.count_nonzero(roi.label == MASK) * grid.voxel_volume)
            assert roi.is_close == (roi.name not in (*SMALL, "ragged")), roi
        assert {roi.name for roi in rois if abs(roi.contour_volume / roi.voxel_volume - 1) > 0.05} >= set(SMALL)

    def test_contours_lie_in_their_images(self, written):
        grid, files, path, _ = written
        planes = {}
        for file in files:
            image = dcmread(file)
            planes[image.SOPInstanceUID] = np.array(image.ImagePositionPatient, float)
        content = dcmread(path)
        referenced = content.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
        listed = referenced.RTReferencedSeriesSequence[0].ContourImageSequence
        assert {item.ReferencedSOPInstanceUID for item in listed} == set(planes)
        normal = np.cross(*np.reshape(grid.direction, (3, 3))[:, :2].T)
        for roi in content.ROIContourSequence:
            for contour in roi.ContourSequence:
                [image] = contour.ContourImageSequence
                points = np.reshape(contour.ContourData, (-1, 3)).astype(float)
                assert np.abs((points - planes[image.ReferencedSOPInstanceUID]) @ normal).max() < 1e-3

    def test_a_reader_that_knows_no_holes_and_no_paths(self, written):
        """matplotlib's, each contour by itself, by the image that it names."""
        grid, files, path, _ = written
        order = {dcmread(file).SOPInstanceUID: k for k, file in enumerate(files)}
        centres = np.argwhere(np.ones(GRID[1:], bool))
        found = np.zeros(GRID, int)
        for roi in dcmread(path).ROIContourSequence:
            for contour in roi.ContourSequence:
                plane = order[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
                index = grid.world_to_index(np.reshape(contour.ContourData, (-1, 3)).astype(float))[:, 1:]
                inside = Path(np.concatenate([index, index[:1]])).contains_points(centres).reshape(GRID[1:])
                assert not found[plane][inside].any()
                found[plane][inside] = roi.ReferencedROINumber
        np.testing.assert_array_equal(found, MASK)

    @pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy of dicom3tools is not installed")
    def test_dicom3tools_finds_no_error(self, written):
        done = subprocess.run(["dciodvfy", written[2]], capture_output=True, text=True, check=False)
        assert [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")] == []
        assert "RTStructureSet" in done.stdout + done.stderr

    @pytest.mark.skipif(not shutil.which("dcmdump"), reason="dcmdump of dcmtk is not installed")
    def test_dcmtk_reads_it(self, written):
        done = subprocess.run(["dcmdump", written[2]], capture_output=True, text=True, check=True)
        assert "E:" not in done.stderr
        assert "W:" not in done.stderr
        assert done.stdout.count("CLOSED_PLANAR") == sum(roi.contours for roi in written[3])


@pytest.mark.parametrize("code", ["LPS", "SAR", "PIR"])
def test_a_mask_that_is_stored_in_another_order(tmp_path, code):
    series(tmp_path / "scan", GRIDS["oblique"])
    mask = TensorMask3D((MASK == 2).astype(np.uint8), GRIDS["oblique"])
    turned = mask.reorient(code)
    write_rtstruct(tmp_path / "rs.dcm", turned, turned.geometry, tmp_path / "scan")
    np.testing.assert_array_equal(read_rtstruct(tmp_path / "rs.dcm", GRIDS["oblique"]).array, mask.numpy())


def test_a_mask_on_other_pixels_in_the_same_planes(tmp_path):
    grid = GRIDS["oblique"]
    series(tmp_path / "scan", grid)
    finer = Geometry((5, 91, 103), (0.55, 0.4, 5.0), ORIGIN, grid.direction)  # every second slice
    mask = np.zeros(finer.shape, np.uint8)
    mask[1:4, 20:60, 20:60] = 1
    write_rtstruct(tmp_path / "rs.dcm", mask, finer, tmp_path / "scan")
    np.testing.assert_array_equal(read_rtstruct(tmp_path / "rs.dcm", finer).array, mask)
    with pytest.warns(UserWarning, match="planes between contours have none and stay empty: 2 in 'label 1'"):
        found = read_rtstruct(tmp_path / "rs.dcm", grid).array
    assert np.flatnonzero(found.any((1, 2))).tolist() == [2, 4, 6]
    assert found[2].sum() * 0.88 == pytest.approx(1600 * 0.22, rel=0.06)


def test_frames_of_a_multi_frame_file(tmp_path):
    stored = np.zeros((5, 6, 7), np.int16)
    write([enhanced(stored, order=[2, 0, 1, 4, 3])], tmp_path, ["scan.dcm"])
    image = TensorDicom3D.create(tmp_path / "scan.dcm")
    mask = np.zeros(image.shape, np.uint8)
    mask[1, 1:5, 1:6] = mask[3, 1:5, 1:6] = 1
    write_rtstruct(tmp_path / "rs.dcm", mask, image.geometry, tmp_path / "scan.dcm")
    contours = dcmread(tmp_path / "rs.dcm").ROIContourSequence[0].ContourSequence
    assert [contour.ContourImageSequence[0].ReferencedFrameNumber for contour in contours] == [3, 5]


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.15, 0.5, 0.9]), st.booleans())
def test_any_mask_comes_back(tmp_path_factory, seed, share, oblique):
    folder = tmp_path_factory.mktemp("any")
    random = np.random.default_rng(seed)
    shape = (2, 5, 6)
    geometry = Geometry(shape, SPACING, ORIGIN, direction_of(OBLIQUE).ravel() if oblique else np.eye(3).ravel())
    mask = random.integers(1, 4, shape) * (random.random(shape) < share)
    mask[0, 0, 0] = 300
    series(folder, geometry)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rois = write_rtstruct(folder / "rs.dcm", mask, geometry, folder)
        found = read_rtstruct(folder / "rs.dcm", geometry, rois=[roi.label for roi in rois]).array
    np.testing.assert_array_equal(np.array([0, *[roi.label for roi in rois]])[found], mask)
    assert {roi.dice for roi in rois} == {1.0}


class TestContent:
    def scan(self, tmp_path, **elements):
        write_series(tmp_path / "scan", np.zeros((5, 6, 7), np.int16), **elements)
        image = TensorDicom3D.create(tmp_path / "scan", dtype=None)
        mask = np.zeros(image.shape, np.int16)
        mask[1:4, 1:5, 1:3], mask[1:3, 1:5, 4:6] = 7, 300
        return image, mask

    @pytest.mark.filterwarnings("ignore:.*hold another volume")
    def test_names_numbers_colours_and_references(self, tmp_path):
        image, mask = self.scan(tmp_path)
        colors = {7: (1, 0.5, 0)}
        write_rtstruct(
            tmp_path / "rs.dcm", TensorMask3D(mask, image.geometry, codes={0: "none", 7: "Größe"}), image.geometry,
            tmp_path / "scan", colors=colors, series_description="of a test", series_number=12, algorithm="unet",
        )  # fmt: skip
        content, source = dcmread(tmp_path / "rs.dcm"), dcmread(next((tmp_path / "scan").iterdir()))
        assert [(roi.ROINumber, roi.ROIName) for roi in content.StructureSetROISequence] == [
            (7, "Größe"),
            (300, "label 300"),
        ]
        assert [roi.ROIGenerationAlgorithm for roi in content.StructureSetROISequence] == ["AUTOMATIC"] * 2
        assert [roi.get("ROIDisplayColor") for roi in content.ROIContourSequence] == [[255, 128, 0], None]
        assert (content.SeriesDescription, content.SeriesNumber, content.Modality) == ("of a test", 12, "RTSTRUCT")
        assert content.FrameOfReferenceUID == source.FrameOfReferenceUID
        assert content.StudyInstanceUID == source.StudyInstanceUID
        assert content.SeriesInstanceUID != source.SeriesInstanceUID

    def test_nothing_else_of_the_template(self, tmp_path):
        secret = {
            "PatientComments": "said",
            "InstitutionName": "Sanatorium",
            "OperatorsName": "Roe^R",
            "PatientWeight": 71,
        }
        image, mask = self.scan(tmp_path, **secret)
        with pytest.warns(UserWarning, match="another volume"):
            write_rtstruct(tmp_path / "rs.dcm", mask, image.geometry, tmp_path / "scan")
        content = dcmread(tmp_path / "rs.dcm")
        assert content.PatientName == SECRETS[0]
        assert content.PatientID == SECRETS[1]
        assert content.OperatorsName == ""
        assert not {"PatientComments", "InstitutionName"} & set(content.dir())
        taken = {element.keyword for element in content if element.tag.group == 0x0010}
        assert taken <= set(TEMPLATE_KEYWORDS)
        assert not any(text.encode() in (tmp_path / "rs.dcm").read_bytes() for text in ("Sanatorium", "said", "Roe^R"))

    @pytest.mark.filterwarnings("ignore:.*hold another volume")
    def test_points_are_written_as_they_are(self, tmp_path, monkeypatch):
        """pydicom's objects for each coordinate would take a third of the time."""
        image, mask = self.scan(tmp_path)
        written = []

        def kept(content, path):
            written.append(content)
            return dataset_bytes(content, path)

        monkeypatch.setattr("faimed3d.dicom.structure_sets.rtstruct_writing.dataset_bytes", kept)
        write_rtstruct(tmp_path / "rs.dcm", mask, image.geometry, tmp_path / "scan")
        contours = [item for roi in written[0].ROIContourSequence for item in roi.ContourSequence]
        assert contours
        assert all(item.get_item(0x30060050).is_raw for item in contours)

    def test_written_whole_or_not_at_all(self, tmp_path, monkeypatch):
        image, mask = self.scan(tmp_path)
        (tmp_path / "rs.dcm").write_text("the old one")
        os.chmod(tmp_path / "rs.dcm", 0o600)

        def fail(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("faimed3d.dicom.writing.objects.replace_file", fail)
        with pytest.raises(OSError, match="No space left"):
            write_rtstruct(tmp_path / "rs.dcm", mask, image.geometry, tmp_path / "scan")
        assert (tmp_path / "rs.dcm").read_text() == "the old one"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["rs.dcm", "scan"]


class TestRefused:
    scan = TestContent.scan

    @pytest.mark.parametrize(
        ("offset", "steps", "text"),
        [
            (
                (0.3, 0, 0),
                (1, 1, 1),
                r"3 of the 3 slices with a class lie in .* no image.*resample_like\(scan",
            ),
            ((0, 0, 0), (0.5, 1, 1), "2 of the 3 slices with a class lie in the plane of no image"),
        ],
    )
    def test_planes_between_those_of_the_images(self, tmp_path, offset, steps, text):
        image, mask = self.scan(tmp_path)
        grid = image.geometry.regrid(image.shape, steps, offset)
        with pytest.raises(ValueError, match=text):
            write_rtstruct(tmp_path / "rs.dcm", mask, grid, tmp_path / "scan")
        assert not (tmp_path / "rs.dcm").exists()

    def test_planes_turned_against_those_of_the_images(self, tmp_path):
        _, mask = self.scan(tmp_path)
        grid = Geometry(mask.shape, SPACING, ORIGIN)
        with pytest.raises(ValueError, match="no planes in common, they are turned against each other"):
            write_rtstruct(tmp_path / "rs.dcm", mask, grid, tmp_path / "scan")

    @pytest.mark.parametrize(
        ("arguments", "error", "text"),
        [
            ({"labels": {5: "liver"}}, ValueError, r"labels names \[5\], the mask has \[7, 300\]"),
            ({"labels": {7: 5}}, TypeError, "the name of a label must be text, got int"),
            ({"colors": {5: (1, 1, 1)}}, ValueError, r"colors names the label 5, the mask has \[7, 300\]"),
            ({"colors": {7: (255, 0, 0)}}, ValueError, r"a colour is \(red, green, blue\), each 0 to 1, got \(255"),
            ({"algorithm": ""}, ValueError, "algorithm must be 1 to 64 characters"),
            ({"series_number": "7"}, TypeError, r"series_number \(0020,0011\) must be a whole number"),
            ({"series_description": "a\nb"}, ValueError, r"series_description \(0008,103E\) must be at most 64"),
            ({"color": {}}, TypeError, "takes no argument 'color': did you mean 'colors'"),
        ],
    )
    def test_arguments(self, tmp_path, arguments, error, text):
        image, mask = self.scan(tmp_path)
        with pytest.raises(error, match=text):
            write_rtstruct(tmp_path / "rs.dcm", mask, image.geometry, tmp_path / "scan", **arguments)

    @pytest.mark.parametrize(
        ("keyword", "error", "text"),
        [
            ("FrameOfReferenceUID", errors.MissingGeometry, r"no \(0020,0052\) FrameOfReferenceUID.*where it lies"),
            ("SOPInstanceUID", ValueError, r"no \(0008,0018\) SOPInstanceUID.* which image it belongs to"),
            ("ImagePositionPatient", errors.MissingGeometry, "ImagePositionPatient"),
        ],
    )
    def test_templates(self, tmp_path, keyword, error, text):
        image, mask = self.scan(tmp_path)
        write_series(tmp_path / "other", np.zeros((5, 6, 7), np.int16), **{keyword: None})
        with pytest.raises(error, match=text):
            write_rtstruct(tmp_path / "rs.dcm", mask, image.geometry, tmp_path / "other")

    def test_targets_and_masks(self, tmp_path):
        image, mask = self.scan(tmp_path)
        with pytest.raises(FileNotFoundError, match="does not exist; create it first"):
            write_rtstruct(tmp_path / "absent" / "rs.dcm", mask, image.geometry, tmp_path / "scan")
        with pytest.raises(IsADirectoryError, match="is a folder, not a file"):
            write_rtstruct(tmp_path, mask, image.geometry, tmp_path / "scan")
        with pytest.raises(ValueError, match="holds 1 to 65535 labels, this mask has 0"):
            write_rtstruct(tmp_path / "rs.dcm", mask * 0, image.geometry, tmp_path / "scan")
