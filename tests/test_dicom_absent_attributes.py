"""Attributes that some images lack: lost one by one they are a fault, lacked by whole stacks they tell apart."""

import numpy as np
import pytest
from dicom_series import OBLIQUE, ORIGIN, SPACING, direction_of, make_series, stored_values, write
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage, MRImageStorage, PositronEmissionTomographyImageStorage

from faimed3d import errors
from faimed3d.dicom import dicom_inventory, read_dicom

HALF_A_GAP = direction_of(OBLIQUE)[:, 2] * SPACING[2] / 2


def stack(number, first, slices=6, **elements):
    """Data sets of stack ``number``, whose instance numbers count on from ``first``."""
    kind = {"Modality": "MR", "SOPClassUID": MRImageStorage, **elements}
    datasets = make_series(stored_values((slices, 3, 4), seed=number), **kind)
    for k, dataset in enumerate(datasets):
        dataset.InstanceNumber = first + k
    return datasets


def read_all(folder, *stacks):
    """For each row of the inventory the number of the stack that was read, or the error."""
    write([dataset for each in stacks for dataset in each], folder)
    found = []
    for _, row in dicom_inventory(folder).iterrows():
        try:
            array = read_dicom(row)[0]
        except errors.ReadError as error:
            found.append(type(error))
        else:
            wanted = range(1, len(stacks) + 1)
            found.append(next(n for n in wanted if np.array_equal(array, stored_values(array.shape, seed=n))))
        assert isinstance(found[-1], type) == bool(row["problems"])
    return found


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("AcquisitionNumber", (1, 2)),
        ("AcquisitionTime", ("101010", "101020")),
        ("TriggerTime", (1, 500)),
        ("EchoTime", (3, 9)),
    ],
)
@pytest.mark.parametrize("k", [0, 2, 4])
def test_stacks_between_each_others_slices_are_not_merged_where_one_slice_lost_what_tells(tmp_path, keyword, values, k):
    lower, upper = (
        stack(n, 1 + 5 * (n - 1), 5, origin=np.array(ORIGIN) + HALF_A_GAP * (n - 1), **{keyword: values[n - 1]})
        for n in (1, 2)
    )
    delattr(lower[k], keyword)
    assert set(read_all(tmp_path, lower, upper)) == {errors.MixedSeries}


def test_the_stated_gap_may_be_absent_in_the_first_slice(tmp_path):
    lower, upper = (
        stack(n, 1 + 5 * (n - 1), 5, origin=np.array(ORIGIN) + HALF_A_GAP * (n - 1), AcquisitionNumber=n)
        for n in (1, 2)
    )
    del lower[0].SliceThickness
    assert read_all(tmp_path, lower, upper) == [1, 2]


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesNumber", "PatientID"])
def test_a_stack_torn_by_two_identifiers_is_refused_in_both_parts(tmp_path, keyword):
    datasets = stack(1, 1, 8)
    del datasets[4].FrameOfReferenceUID
    for dataset in datasets[5:]:
        delattr(dataset, keyword)
    assert set(read_all(tmp_path, datasets)) == {errors.MixedSeries}


@pytest.mark.parametrize("k", [0, 2, 5])
def test_a_diffusion_weighted_slice_without_its_b_value_is_no_slice_of_b0(tmp_path, k):
    plain, weighted = stack(1, 1), stack(2, 7, DiffusionBValue=1000.0)
    del plain[k], weighted[k].DiffusionBValue
    assert not {1, 2} & set(read_all(tmp_path, plain, weighted))


@pytest.mark.parametrize("numbers", [(1, 7, 13), (1, 1, 1)])
@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("EchoTime", (4, 8)),
        ("InversionTime", (700, 2500)),
        ("KVP", (80, 140)),
        ("DiffusionBValue", (0.0, 1000.0)),
        ("AcquisitionNumber", (1, 2)),
        ("AcquisitionTime", ("101010", "101020")),
        ("TemporalPositionIdentifier", (1, 2)),
    ],
)
def test_a_whole_stack_without_the_attribute_is_a_volume(tmp_path, keyword, values, numbers):
    stacks = [stack(n + 1, numbers[n], **{keyword: value}) for n, value in enumerate((*values, None))]
    assert sorted(read_all(tmp_path, *stacks)) == [1, 2, 3]


def test_several_stacks_without_the_attribute_are_told_apart_further(tmp_path):
    stacks = [stack(1, 1, EchoTime=4), stack(2, 7, EchoTime=8), *(stack(n, 6 * n - 5) for n in (3, 4))]
    for dataset in (*stacks[2], *stacks[3]):
        if "EchoTime" in dataset:
            del dataset.EchoTime
    assert sorted(read_all(tmp_path, *stacks)) == [1, 2, 3, 4]


def test_another_modality_beside_a_volume_is_no_part_of_it(tmp_path):
    anonymous = {"SeriesInstanceUID": "", "StudyInstanceUID": ""}
    scan = stack(1, 1, Modality="CT", SOPClassUID=CTImageStorage, SeriesNumber=2, **anonymous)
    other = {"Modality": "PT", "SOPClassUID": PositronEmissionTomographyImageStorage, "SeriesNumber": None}
    assert sorted(read_all(tmp_path, scan, stack(2, 1, **other, **anonymous))) == [1, 2]


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("element", [0x00280101, 0x00280102, 0x00280103])
def test_an_integer_of_thousands_of_bytes_is_refused(tmp_path, element, strict):
    datasets = stack(1, 1, 4)
    tag = Tag(element)
    datasets[1][tag] = RawDataElement(tag, "US", 1800, b"\x10\0" + b"\xff" * 1798, 0, False, True)
    write(datasets, tmp_path)
    with pytest.raises(errors.ReadError):
        read_dicom(tmp_path, strict=strict)
    assert len(dicom_inventory(tmp_path)) == 1
