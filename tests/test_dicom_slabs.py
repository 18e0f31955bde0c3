"""Stacks that overlap at their ends, as of MOTSA angiography, and stacks of few slices: each is a volume of its own."""

import numpy as np
import pytest
from dicom_series import make_series, stored_values, write

from faimed3d import errors
from faimed3d.dicom import dicom_inventory, read_dicom

TOLD_BY = {
    "AcquisitionNumber": lambda slab: slab + 1,
    "AcquisitionTime": lambda slab: f"10{slab:02d}00.0",
    "StackID": lambda slab: str(slab + 1),
}


def slabs(folder, count, size, overlap, told_by, lost=None):
    """Write slabs numbered one after the other; return the voxels of each."""
    step, number, datasets, volumes = size - overlap, 0, [], []
    for slab in range(count):
        volume = stored_values((step * (count - 1) + size, 6, 7), seed=slab)
        part = slice(slab * step, slab * step + size)
        volumes.append(volume[part])
        for dataset in make_series(volume)[part]:
            number += 1
            dataset.InstanceNumber, dataset.SOPInstanceUID = number, f"1.2.9.{number}"
            setattr(dataset, told_by, TOLD_BY[told_by](slab))
            if number != lost:
                datasets.append(dataset)
    write(datasets, folder, [f"{n}.dcm" for n in range(len(datasets))])
    return volumes


@pytest.mark.parametrize("told_by", TOLD_BY)
@pytest.mark.parametrize(("count", "size", "overlap"), [(2, 5, 2), (3, 8, 2), (4, 5, 1), (5, 6, 3)])
def test_slabs_are_volumes(tmp_path, told_by, count, size, overlap):
    volumes = slabs(tmp_path, count, size, overlap, told_by)
    table = dicom_inventory(tmp_path)
    assert list(table["slices"]) == [size] * count
    assert not table["problems"].any()
    for number, volume in enumerate(volumes):
        np.testing.assert_array_equal(read_dicom(tmp_path, number)[0], volume)


@pytest.mark.parametrize("lost", [1, 4, 8, 9, 16, 23])  # the last of all leaves no trace
def test_a_slab_that_lacks_a_slice_is_refused(tmp_path, lost):
    slabs(tmp_path, 3, 8, 2, "AcquisitionNumber", lost)
    with pytest.raises(errors.ReadError, match=r"missing|at one position"):
        read_dicom(tmp_path, (lost - 1) // 8 if len(dicom_inventory(tmp_path)) == 3 else 0)


@pytest.mark.parametrize("sizes", [(1, 4), (2, 3), (3, 2), (5, 1), (2, 2, 4)])
def test_a_stack_of_few_slices_does_not_join_the_next(tmp_path, sizes):
    volume = stored_values((sum(sizes), 6, 7))
    datasets = make_series(volume)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    for dataset, stack in zip(datasets, owner, strict=True):
        dataset.StackID = str(stack + 1)
    write(datasets, tmp_path)
    assert list(dicom_inventory(tmp_path)["slices"]) == list(sizes)
    for number in range(len(sizes)):
        np.testing.assert_array_equal(read_dicom(tmp_path, number)[0], volume[owner == number])


def test_the_reason_names_what_differs_but_makes_no_volumes(tmp_path):
    datasets = make_series(stored_values((5, 6, 7))) + make_series(stored_values((5, 6, 7), seed=1))[1:4]
    for number, dataset in enumerate(datasets):
        dataset.InstanceNumber, dataset.SOPInstanceUID = number + 1, f"1.2.9.{number}"
        dataset.ContentTime = f"1000{(number * 7) % 60:02d}.0"
    write(datasets, tmp_path, [f"{n}.dcm" for n in range(len(datasets))])
    text = r"lie at one position .*what differs in them \(content time\) makes no whole volumes"
    with pytest.raises(errors.DuplicateSlices, match=text):
        read_dicom(tmp_path)
