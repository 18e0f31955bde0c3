"""What vendors write in their own way."""

import numpy as np
import pydicom
import pytest
from dicom_archive import several
from dicom_faults import expected_affine
from dicom_series import (
    AXIAL,
    ORIGIN,
    SECRETS,
    enhanced,
    make_slice,
    stored_values,
    write,
    write_series,
)
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    NuclearMedicineImageStorage,
)

from faimed3d import errors
from faimed3d.dicom import dicom_inventory, read_dicom


class TestVendors:
    def test_a_united_imaging_grid_is_no_slice(self, tmp_path):
        for image_type in (["ORIGINAL", "PRIMARY", "M", "FFE", "VFRAME"], ["ORIGINAL", "PRIMARY"]):
            dataset = make_slice(stored_values((1, 24, 28))[0], ORIGIN, ImageType=image_type)
            dataset.private_block(0x0065, "Image Private Header", create=True).add_new(0x50, "DS", "13")
            path = write([dataset], tmp_path)[0]
            with pytest.raises(errors.UnsupportedImage, match="a United Imaging grid, 13 slices in one image"):
                read_dicom(path)

    def test_private_elements_mean_what_their_creator_says(self, tmp_path):
        def offcentre(k, dataset):
            dataset.private_block(0x0019, "PHILIPS MR/PART", create=True).add_new(0x0C, "DS", str(k * 2.5))

        write_series(tmp_path, edit=offcentre)
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())

    @pytest.mark.parametrize(
        ("group", "creator", "element", "vr", "values"),
        [
            (0x0019, "SIEMENS MR HEADER", 0x0C, "IS", ("0", "800")),
            (0x0043, "GEMS_PARM_01", 0x39, "IS", (["0", "8"], ["1000000800", "8"])),
            (0x2001, "Philips Imaging DD 001", 0x03, "FL", (0.0, 800.0)),
            (0x0065, "Image Private Header", 0x09, "FD", (0.0, 800.0)),
        ],
    )
    def test_b_values_of_vendors(self, tmp_path, group, creator, element, vr, values):
        volumes, datasets = several()
        for dataset, t, _ in datasets:
            dataset.private_block(group, creator, create=True).add_new(element, vr, values[t])
        write([dataset for dataset, _, _ in datasets], tmp_path)
        table = dicom_inventory(tmp_path)
        assert list(table["distinct"]) == ["b-value 0 s/mm2", "b-value 800 s/mm2"]
        for n in range(2):
            np.testing.assert_array_equal(read_dicom(tmp_path, n)[0], volumes[n])

    @pytest.mark.parametrize("order", [[1, 2, 3, 4], [4, 3, 2, 1], [2, 4, 1, 3]])
    def test_nuclear_medicine_frames_lie_where_the_slice_vector_says(self, tmp_path, order):
        stored = stored_values((4, 6, 7), low=0)
        write([self.nuclear(stored[np.array(order) - 1], order)], tmp_path)
        array, geometry, _ = read_dicom(tmp_path)
        np.testing.assert_array_equal(array, stored)
        np.testing.assert_allclose(geometry.affine, expected_affine(AXIAL), atol=1e-6)

    @pytest.mark.parametrize("vector", [[1, 2, 3, 4] * 2, [1, 2, 3, 4, 5, 6, 7, 9]])
    def test_several_energy_windows_are_refused(self, tmp_path, vector):
        dataset = self.nuclear(stored_values((8, 6, 7), low=0), vector)
        dataset.NumberOfSlices = max(vector)
        write([dataset], tmp_path)
        with pytest.raises(
            errors.UnsupportedImage, match=r"8 frames, \(0054,0081\) .* \(0054,0080\) SliceVector: more"
        ):
            read_dicom(tmp_path)

    @staticmethod
    def nuclear(stored, vector):
        detector = Dataset()
        detector.ImagePositionPatient, detector.ImageOrientationPatient = list(ORIGIN), list(AXIAL)
        return make_slice(
            stored.reshape(-1, 7),
            ORIGIN,
            SOPClassUID=NuclearMedicineImageStorage,
            Modality="NM",
            Rows=6,
            NumberOfFrames=len(stored),
            NumberOfSlices=len(stored),
            SliceVector=vector,
            ImageType=["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"],
            SpacingBetweenSlices="2.5",
            ImagePositionPatient=None,
            ImageOrientationPatient=None,
            DetectorInformationSequence=Sequence([detector]),
        )

    @pytest.mark.parametrize(
        ("macro", "keyword", "values"),
        [
            ("MRVelocityEncodingSequence", "VelocityEncodingDirection", ([0, 1.0, 0], [1.0, 0, 0])),
            ("MRArterialSpinLabelingSequence", "ASLContext", ("CONTROL", "LABEL")),
            ("CTXRayDetailsSequence", "KVP", (80.0, 140.0)),
            ("FrameContentSequence", "DimensionIndexValues", ([1, 1], [1, 2])),
        ],
    )
    def test_frames_in_an_order_of_their_own(self, tmp_path, macro, keyword, values):
        order = [(0, 0), (0, 1), (1, 1), (1, 0), (2, 0), (2, 1)]
        volumes = stored_values((2, 3, 6, 7))
        labels = [{"level": k} for k, _ in order]
        dataset = enhanced(np.array([volumes[v][k] for k, v in order]), labels=labels)
        for groups, (k, v) in zip(dataset.PerFrameFunctionalGroupsSequence, order, strict=True):
            if macro == "FrameContentSequence":
                groups.FrameContentSequence[0].DimensionIndexValues = [k + 1, v + 1]
                continue
            item = Dataset()
            setattr(item, keyword, values[v])
            setattr(groups, macro, Sequence([item]))
        write([dataset], tmp_path)
        for n in range(2):
            np.testing.assert_array_equal(read_dicom(tmp_path, n)[0], volumes[n])

    def test_frames_whose_order_alone_tells_them_apart_must_repeat_it(self, tmp_path):
        volumes = stored_values((2, 3, 6, 7))
        for order, apart in (
            ([(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)], True),
            ([(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)], True),
            ([(0, 0), (0, 1), (1, 0), (2, 0), (2, 1), (1, 1)], False),
        ):
            labels = [{"level": k} for k, _ in order]
            write([enhanced(np.array([volumes[v][k] for k, v in order]), labels=labels)], tmp_path)
            if apart:
                for n in range(2):
                    np.testing.assert_array_equal(read_dicom(tmp_path, n)[0], volumes[n])
            else:
                with pytest.raises(errors.DuplicateSlices):
                    read_dicom(tmp_path)


def test_values_of_functional_groups_are_not_quoted(tmp_path):
    dataset = enhanced(stored_values(), slopes=[(1, 0)] * 5)
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        item = groups.PixelValueTransformationSequence[0]
        item["RescaleSlope"] = pydicom.DataElement("RescaleSlope", "LO", SECRETS[0])
    path = write([dataset], tmp_path)[0]
    with pytest.raises(errors.DamagedFile, match=r"\(0028,1053\) RescaleSlope must be one finite number") as caught:
        read_dicom(path)
    chain, error = [], caught.value
    while error is not None:
        chain.append(str(error))
        error = error.__cause__
    assert not any(SECRETS[0] in text for text in chain)
