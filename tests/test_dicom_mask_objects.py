"""``mask.save(file, like=scan)``: DICOM objects of a mask, to the scan and back."""

import numpy as np
import pytest
from dicom_series import SECRETS, write_series
from pydicom import dcmread

from faimed3d.dicom import dicom_inventory
from faimed3d.display.colors import class_color
from faimed3d.volume import TensorDicom3D, TensorMask3D

SHAPE = (5, 9, 10)


@pytest.fixture
def scan(tmp_path):
    write_series(tmp_path / "scan", np.zeros(SHAPE, np.int16))
    return TensorDicom3D.create(tmp_path / "scan")


def mask_of(scan):
    mask = np.zeros(SHAPE, np.float32)
    mask[1:4, 1:8, 1:8], mask[2, 3:5, 3:6], mask[1:4, 2:6, 8] = 1, 0, 3
    return TensorMask3D(mask, like=scan, codes={0: "background", 1: "liver", 2: "cyst", 3: "kidney"})


@pytest.mark.filterwarnings("ignore:.*hold another volume", "ignore:.*differ by more than")
class TestSave:
    def test_contours_come_back(self, tmp_path, scan):
        mask = mask_of(scan)
        mask.save(tmp_path / "contours.dcm", like=scan, form="rtstruct", algorithm="unet")
        found = TensorMask3D.create(tmp_path / "contours.dcm", like=scan)
        np.testing.assert_array_equal(np.array([0, 1, 3])[found.numpy().astype(int)], mask.numpy())
        assert found.codes == {0: "background", 1: "liver", 2: "kidney"}
        content = dcmread(tmp_path / "contours.dcm")
        assert [roi.ROIDisplayColor for roi in content.ROIContourSequence] == [
            [round(255 * part) for part in class_color(label)] for label in (1, 3)
        ]
        assert content.PatientID == SECRETS[1]

    @pytest.mark.parametrize("door", ["image", "folder", "files", "row"])
    def test_a_segmentation_comes_back(self, tmp_path, scan, door):
        mask, folder = mask_of(scan), tmp_path / "scan"
        like = {
            "image": scan, "folder": folder, "files": sorted(folder.iterdir()), "row": dicom_inventory(folder).iloc[0],
        }[door]  # fmt: skip
        mask.save(tmp_path / "seg.dcm", like=like)
        found = TensorMask3D.create(tmp_path / "seg.dcm")
        np.testing.assert_array_equal(np.array([0, 1, 3])[found.numpy().astype(int)], mask.numpy()[1:4])
        assert found.codes == {1: "liver", 2: "kidney"}
        content = dcmread(tmp_path / "seg.dcm")
        assert len(content.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == SHAPE[0]

    def test_a_tilted_scan(self, tmp_path):
        """Its slices are straightened by strict=False; contours lie in the planes of the images all the same."""
        write_series(tmp_path / "scan", np.zeros(SHAPE, np.int16))
        for k, file in enumerate(sorted((tmp_path / "scan").iterdir(), key=lambda file: dcmread(file).InstanceNumber)):
            image = dcmread(file)
            column = np.array(image.ImageOrientationPatient[3:], float)
            position = np.array(image.ImagePositionPatient, float) + 0.4 * k * column
            image.ImagePositionPatient = [f"{value:.8f}" for value in position]
            image.save_as(file)
        with pytest.warns(UserWarning, match="strict=False"):
            scan = TensorDicom3D.create(tmp_path / "scan", strict=False)
        mask = mask_of(scan[..., : SHAPE[1], : SHAPE[2]]) if scan.shape != SHAPE else mask_of(scan)
        mask.save(tmp_path / "contours.dcm", like=scan, form="rtstruct")
        found = TensorMask3D.create(tmp_path / "contours.dcm", like=scan.geometry)
        d, h, w = mask.shape
        np.testing.assert_array_equal(np.array([0, 1, 3])[found.numpy()[:d, :h, :w].astype(int)], mask.numpy())


class TestOnTheScan:
    """A segmentation holds the planes of its segments alone; like= brings it to all planes of the scan."""

    @pytest.mark.parametrize("like", ["image", "geometry", "folder", "row", "table"])
    def test_has_all_its_planes(self, tmp_path, scan, like):
        mask, folder = mask_of(scan), tmp_path / "scan"
        mask.save(tmp_path / "seg.dcm", like=scan)
        given = {
            "image": scan, "geometry": scan.geometry, "folder": folder, "row": dicom_inventory(folder).iloc[0],
            "table": dicom_inventory(folder),
        }[like]  # fmt: skip
        found = TensorMask3D.create(tmp_path / "seg.dcm", like=given)
        np.testing.assert_array_equal(np.array([0, 1, 3])[found.numpy().astype(int)], mask.numpy())
        assert found.geometry.agrees(scan.geometry)
        assert found.codes == {1: "liver", 2: "kidney"}

    def test_of_another_scan_is_refused(self, tmp_path, scan):
        mask = mask_of(scan)
        mask.save(tmp_path / "seg.dcm", like=scan)
        shifted = scan.geometry.regrid(SHAPE, offset=(0.5, 0, 0))
        for other in (shifted, scan.geometry.regrid(SHAPE, offset=(2, 0, 0)), scan.geometry.regrid((5, 9, 9))):
            with pytest.raises(ValueError, match="like= is for voxels of the same sizes"):
                TensorMask3D.create(tmp_path / "seg.dcm", like=other)


class TestRefused:
    def test_likes_that_are_no_images(self, tmp_path, scan):
        mask = mask_of(scan)
        with pytest.raises(TypeError, match=r"got TensorDicom3D that was read from no DICOM file"):
            mask.save(tmp_path / "seg.dcm", like=TensorDicom3D(scan.numpy()))
        with pytest.raises(TypeError, match="got int"):
            mask.save(tmp_path / "seg.dcm", like=3)
        with pytest.raises(TypeError, match=r"must come from dicom_inventory, this one lacks 'files'"):
            mask.save(tmp_path / "seg.dcm", like={"a": 1})

    def test_forms_and_keywords(self, tmp_path, scan):
        mask = mask_of(scan)
        with pytest.raises(ValueError, match="form must be one of 'seg', 'rtstruct', got 'sr'"):
            mask.save(tmp_path / "seg.dcm", like=scan, form="sr")
        with pytest.raises(TypeError, match=r"save as 'seg'.* takes no argument 'colors'"):
            mask.save(tmp_path / "seg.dcm", like=scan, colors={})
        with pytest.raises(TypeError, match="takes no argument 'algoritm': did you mean 'algorithm'"):
            mask.save(tmp_path / "seg.dcm", like=scan, algoritm="unet")
        with pytest.raises(ValueError, match=r"A mask becomes one DICOM file with like=scan"):
            mask.save(tmp_path / "seg.dcm")
        assert [path.name for path in tmp_path.iterdir()] == ["scan"]
