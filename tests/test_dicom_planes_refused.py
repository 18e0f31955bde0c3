"""Headers of multi-frame files that describe no planes: each refusal and its words."""

from copy import deepcopy

import numpy as np
import pydicom
import pytest
from dicom_faults import packaged
from dicom_series import AXIAL, ORIGIN, compressed, csa_header, enhanced, make_slice, mosaic, stored_values, write
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from faimed3d import errors
from faimed3d.dicom import read_dicom


def nuclear_medicine():
    detector = Dataset()
    detector.ImagePositionPatient, detector.ImageOrientationPatient = list(ORIGIN), list(AXIAL)
    return make_slice(
        stored_values((24, 7), low=0), ORIGIN, SOPClassUID="1.2.840.10008.5.1.4.1.1.20", Modality="NM", Rows=6,
        NumberOfFrames=4, ImageType=["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"], SpacingBetweenSlices="2.5",
        ImagePositionPatient=None, ImageOrientationPatient=None, DetectorInformationSequence=Sequence([detector]),
    )  # fmt: skip


def dose():
    return pydicom.dcmread(packaged("rtdose.dcm"))


def tiles():
    return mosaic(stored_values())


def without(keyword):
    return lambda dataset: delattr(dataset, keyword)


def with_values(**elements):
    return lambda dataset: [setattr(dataset, keyword, value) for keyword, value in elements.items()]


def with_two_detectors(dataset):
    dataset.DetectorInformationSequence = Sequence([deepcopy(dataset.DetectorInformationSequence[0]) for _ in range(2)])


def without_a_count(dataset):
    del dataset[0x0019100A]
    dataset[0x00291010].value = csa_header(SliceNormalVector=[0.0, 0.0, 1.0])


def with_another_normal(dataset):
    dataset[0x00291010].value = csa_header(NumberOfImagesInMosaic=[5], SliceNormalVector=[1.0, 0.0, 0.0])


REFUSED = {
    "a mosaic without its number of tiles": (
        tiles, without_a_count, errors.UnsupportedImage, r"without its number of tiles, neither in \(0029,1010\)"
    ),
    "a mosaic without a gap": (
        tiles, without("SpacingBetweenSlices"), errors.MissingGeometry, "is absent, a mosaic needs it"
    ),
    "a mosaic stacked sideways": (
        tiles, with_another_normal, errors.DamagedFile, "SliceNormalVector of the CSA header is not normal to the image"
    ),
    "a mosaic that its tiles do not fill": (
        tiles, with_values(Rows=17), errors.DamagedFile, "a mosaic of 5 tiles cannot fill 17 x 21 pixels evenly"
    ),
    "a dose without scaling": (
        dose, without("DoseGridScaling"), errors.DamagedFile, r"\(3004,000E\) .* must be a positive number, got None"
    ),
    "a dose without offsets": (
        dose, without("GridFrameOffsetVector"), errors.MissingGeometry, r"\(3004,000C\) .* is absent, 15 frames need it"
    ),
    "a dose whose offsets begin elsewhere": (
        dose, with_values(GridFrameOffsetVector=list(range(7, 22))), errors.MissingGeometry, "must begin with 0 or, for"
    ),
    "two detectors": (nuclear_medicine, with_two_detectors, errors.UnsupportedImage, r"2 items in \(0054,0022\)"),
    "a detector without a gap": (
        nuclear_medicine, without("SpacingBetweenSlices"), errors.MissingGeometry, "is absent, 4 frames need it"
    ),
    "slices of two volumes": (
        nuclear_medicine, with_values(SliceVector=[1, 2, 1, 2]), errors.UnsupportedImage, "more than one volume in the"
    ),
    "no frame": (
        nuclear_medicine, with_values(NumberOfFrames=0), errors.DamagedFile, "NumberOfFrames must be at least 1, got 0"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_describes_no_planes_is_refused(tmp_path, name):
    make, spoil, error, text = REFUSED[name]
    dataset = make()
    spoil(dataset)
    with pytest.raises(error, match=text):
        read_dicom(write([dataset], tmp_path)[0])


def test_more_frames_than_bytes_are_refused(tmp_path):
    dataset = compressed(enhanced(stored_values((4, 33, 40))), "rle")
    dataset.NumberOfFrames = 1000000
    with pytest.raises(errors.DamagedFile, match=r"NumberOfFrames 1000000 in a file of \d+ bytes"):
        read_dicom(write([dataset], tmp_path)[0])


def test_groups_that_pydicom_cannot_read_are_refused_without_their_values(tmp_path, monkeypatch):
    def fail(*_):
        raise KeyError("Doe^Jane")

    monkeypatch.setattr("faimed3d.dicom.planes.enhanced._planes", fail)
    with pytest.raises(errors.DamagedFile, match=r"\(5200,9230\) .* cannot be read \(KeyError\)") as caught:
        read_dicom(write([enhanced(stored_values())], tmp_path)[0])
    assert "Doe" not in str(caught.value)


def test_a_frame_whose_slope_is_0_is_refused(tmp_path):
    dataset = enhanced(stored_values(), slopes=[(1, 0), (0, 0), (1, 0), (1, 0), (1, 0)])
    with pytest.raises(errors.DamagedFile, match=r"\(0028,1053\) RescaleSlope is 0, which would erase the image"):
        read_dicom(write([dataset], tmp_path)[0])


def test_mosaic_of_one_tile_needs_no_gap(tmp_path):
    dataset = mosaic(stored_values((1, 6, 7)))
    del dataset.SpacingBetweenSlices
    array, geometry, _ = read_dicom(write([dataset], tmp_path)[0])
    np.testing.assert_array_equal(array, stored_values((1, 6, 7)))
    assert geometry.spacing[2] == 2.5
