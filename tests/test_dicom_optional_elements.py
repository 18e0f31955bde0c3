"""Any optional element may be absent from any slices of one to three stacks: right or refused by name, nothing else."""

import shutil
import warnings

import numpy as np
from dicom_series import OBLIQUE, ORIGIN, SPACING, direction_of, make_series, stored_values, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faimed3d.dicom import dicom_inventory, read_dicom
from faimed3d.errors import ReadError

# What may tell the stacks apart: the element's value in stack n
DISTINCT = {
    "AcquisitionNumber": lambda n: n + 1,
    "AcquisitionTime": lambda n: f"10101{n}",
    "ContentTime": lambda n: f"11111{n}",
    "DiffusionBValue": lambda n: 500.0 * n,
    "EchoNumbers": lambda n: n + 1,
    "EchoTime": lambda n: 2.5 + 2 * n,
    "ImageType": lambda n: ["ORIGINAL", "PRIMARY", "MPR"[n]],
    "InversionTime": lambda n: 100 + 300 * n,
    "TemporalPositionIdentifier": lambda n: n + 1,
    "TriggerTime": lambda n: 10 + 100 * n,
}
SAME = {"FlipAngle": 10, "RescaleSlope": 2, "RescaleIntercept": -7, "SpacingBetweenSlices": "2.5", "KVP": 120}
OPTIONAL = [
    *(*DISTINCT, *SAME, "BitsStored", "FrameOfReferenceUID", "InstanceNumber", "Modality", "PatientID"),
    *("SOPInstanceUID", "SeriesDescription", "SeriesInstanceUID", "SeriesNumber", "SliceThickness", "StudyInstanceUID"),
]


def build(stored, told_by, raised, by_position, removed):
    """Data sets of the stacks ``stored`` (N, D, H, W).

    Args:
        told_by: keywords whose values differ from stack to stack.
        raised: by what share of a gap each stack lies above the one before.
        by_position: whether instance numbers run through position after position.
        removed: pairs (keyword, numbers of the data sets without it).
    """
    datasets = []
    for n, stack in enumerate(stored):
        elements = SAME | {keyword: value(n if keyword in told_by else 0) for keyword, value in DISTINCT.items()}
        origin = np.array(ORIGIN) + direction_of(OBLIQUE)[:, 2] * SPACING[2] * raised * n
        for k, dataset in enumerate(make_series(stack, origin, **elements)):
            dataset.InstanceNumber = k * len(stored) + n + 1 if by_position else n * len(stack) + k + 1
            datasets.append(dataset)
    for keyword, numbers in removed:
        for number in numbers:
            delattr(datasets[number], keyword)
    return datasets


@st.composite
def cases(draw):
    stacks, slices = draw(st.integers(1, 3)), draw(st.integers(2, 5))
    numbers = st.sets(st.integers(0, stacks * slices - 1), min_size=1)
    return (
        stored_values((stacks, slices, 3, 4), seed=draw(st.integers(0, 99))),
        draw(st.sets(st.sampled_from(sorted(DISTINCT)), max_size=3)),
        draw(st.sampled_from([0, 0, 0, 0.37])),
        draw(st.booleans()),
        draw(st.lists(st.tuples(st.sampled_from(OPTIONAL), numbers), max_size=4, unique_by=lambda pair: pair[0])),
    )


def outcome(*args, **kwargs):
    """The array that is read, or the ReadError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return read_dicom(*args, **kwargs)[0]
        except ReadError as error:
            return error


def is_right(result, stored):
    """Whether it is refused, or one of the stacks as a whole, in real values or (without slope) stored ones."""
    return isinstance(result, ReadError) or any(
        np.array_equal(result, values)
        for stack in stored
        for values in (stack * 2.0 - 7, stack * 2.0, stack - 7.0, stack)
    )


def check(folder, stored, *how):
    shutil.rmtree(folder, ignore_errors=True)
    datasets = build(stored, *how)
    write(datasets, folder, [f"{n:02}.dcm" for n in range(len(datasets))])
    table = dicom_inventory(folder)
    for series in (None, *range(len(table))):
        assert is_right(outcome(folder, series), stored)
        outcome(folder, series, strict=False)
    for _, row in table.iterrows():
        result = outcome(row)
        assert is_right(result, stored)
        assert isinstance(result, ReadError) == bool(row["problems"])


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cases())
def test_right_or_refused_by_name(tmp_path, case):
    check(tmp_path / "series", *case)
