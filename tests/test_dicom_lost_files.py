"""Any files of a series of several volumes may be lost: what is left is right or refused; whole series are read."""

import random

import numpy as np
import pytest
from dicom_archive import NORMAL, keep, several, time_points
from dicom_series import ORIGIN, SPACING, direction_of, make_series, make_slice, stored_values, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lost_files import ORDERS, Case, draw_case, draw_lost, is_traceless, outcome, write_case

from faimed3d import errors
from faimed3d.dicom import dicom_inventory, read_dicom


@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whole_series_are_read_and_with_lost_files_right_or_refused(tmp_path, data):
    case = draw_case(lambda options: data.draw(st.sampled_from(options)), lambda a, b: data.draw(st.integers(a, b)))
    generator = random.Random(data.draw(st.integers(0, 1 << 30)))
    folder = str(tmp_path / "series")
    files = write_case(case, folder)
    assert outcome(case, folder, files, set()) == ["right"] * case.volumes
    for _ in range(2):
        lost = draw_lost(case, generator.choice, generator.randint)
        if not is_traceless(case, set(files) - lost):
            assert set(outcome(case, folder, files, lost)) <= {"right", "refused"}


@pytest.mark.parametrize(
    ("case", "left"),
    [
        (  # the minute of the acquisition holds the rests of two phases, which make up a whole volume
            Case(3, 8, "trigger time", "cut", "interleaved", "place", "off", False),
            [(0, 0), (0, 1), (0, 3), (0, 4), (0, 5), (0, 6), (1, 2), (1, 7), (2, 2), (2, 3), (2, 4), (2, 5), (2, 7)],
        ),
        (  # two places are left, and times that each slice has for itself
            Case(8, 5, "clock", "slice", "upwards", "place", "thin", True),
            [*((t, 0) for t in range(8)), *((t, 1) for t in range(6))],
        ),
    ],
)
def test_cases_found_at_random(tmp_path, case, left):
    folder = str(tmp_path / "series")
    files = write_case(case, folder)
    assert set(outcome(case, folder, files, set(files) - set(left))) <= {"right", "refused"}


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_run_of_files_from_within_one_volume_into_another_is_not_cut_into_volumes(tmp_path, data):
    label = data.draw(st.sampled_from(["clock", "number", "trigger time", "trigger time and phase", "frame time"]))
    volumes, slices = data.draw(st.integers(3, 6)), data.draw(st.integers(3, 6))
    clock = data.draw(st.sampled_from(["volume", "slice"] if label == "clock" else ["none", "fixed"]))
    numbers = data.draw(st.sampled_from(["volume", "volume downwards"]))
    case = Case(volumes, slices, label, clock, data.draw(st.sampled_from(ORDERS)), numbers, "thickness", False)
    folder = str(tmp_path / "series")
    files = write_case(case, folder)
    first, whole = data.draw(st.integers(1, slices - 1)), data.draw(st.integers(2, volumes - 1))
    ordered = sorted(files, key=lambda image: (image[0], image[1] if numbers == "volume" else -image[1]))
    left = set(ordered[first : first + whole * slices])
    assert set(outcome(case, folder, files, set(files) - left)) <= {"right", "refused"}


def test_numbers_that_begin_behind_1_tell_whole_volumes_apart(tmp_path):
    case = Case(4, 5, "number", "none", "upwards", "volume", "thickness", False)
    folder = str(tmp_path / "series")
    files = write_case(case, folder)
    assert outcome(case, folder, files, {image for image in files if image[0] == 0}) == ["right"] * 3


def read_rows(folder):
    """For each row of the inventory the array, or the class of the error."""
    found = []
    for _, row in dicom_inventory(folder).iterrows():
        try:
            found.append(read_dicom(row)[0])
        except errors.ReadError as error:
            found.append(type(error))
    return found


class TestOneStack:
    """What differs in some slices of one complete, even stack does not tear it."""

    @pytest.mark.parametrize("others", [{4, 5, 6}, {4, 5, 8, 9, 12, 13}, {2, 4, 6, 8}, {0, 2, 4, 6, 8, 10, 12}])
    @pytest.mark.parametrize(
        ("keyword", "values"),
        [
            ("AcquisitionNumber", (22, 19)),
            ("AcquisitionTime", ("100001", "100000")),
            ("ContentTime", ("100001", "100000")),
            ("TriggerTime", (500, 480)),
            ("FrameReferenceTime", (500, 480)),
        ],
    )
    def test_a_time_is_no_stack_of_its_own(self, tmp_path, keyword, values, others):
        volumes, datasets = several(1, 14, **{keyword: lambda t, k: values[k in others]})
        keep(datasets, lambda t, k: True, tmp_path)
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], volumes[0])

    @pytest.mark.parametrize("others", [{4, 5, 6}, {4, 5, 8, 9, 12, 13}])
    @pytest.mark.parametrize(
        ("keyword", "values"), [("ImageType", (["ORIGINAL", "PRIMARY", "M"], ["DERIVED"])), ("FlipAngle", (10, 20))]
    )
    def test_another_contrast_is_refused_and_not_read_as_a_small_stack(self, tmp_path, keyword, values, others):
        _, datasets = several(1, 14, **{keyword: lambda t, k: values[k in others]})
        keep(datasets, lambda t, k: True, tmp_path)
        with pytest.raises(errors.MixedSeries, match=f"{keyword} is .* of 14 slices"):
            read_dicom(tmp_path)

    @pytest.mark.parametrize("times", [1, 3])
    def test_frames_of_reference_that_no_two_slices_share_are_one(self, tmp_path, times):
        volumes, datasets = time_points(times, 8, FrameOfReferenceUID=lambda t, k: f"1.2.3.{100 * t + k}")
        keep(datasets, lambda t, k: True, tmp_path)
        found = read_rows(tmp_path)
        assert len(found) == times
        for array, volume in zip(found, volumes, strict=True):
            np.testing.assert_array_equal(array, volume)
        keep(datasets, lambda t, k: (t, k) != (0, 3), tmp_path / "lost")
        assert read_rows(tmp_path / "lost")[0] is errors.MissingSlices

    def test_frames_of_reference_that_slices_share_are_several(self, tmp_path):
        stacks = [make_series(stored_values(seed=n), FrameOfReferenceUID=f"1.2.{n}") for n in range(3)]
        write([dataset for stack in stacks for dataset in stack], tmp_path)
        assert [array.shape for array in read_rows(tmp_path)] == [(5, 6, 7)] * 3


class TestTimeWithinAVolume:
    """A time that changes within a time point, an echo or a gradient does not cut it."""

    @pytest.mark.parametrize("lost", [None, (3, 3), (3, 10), (0, 0), (1, 5), (2, 7)])
    @pytest.mark.parametrize(
        "label",
        [
            {"TemporalPositionIdentifier": lambda t, k: t + 1},
            {"EchoTime": lambda t, k: 3 + 2 * t},
            {"DiffusionBValue": lambda t, k: 500.0 * t},
        ],
    )
    def test_one_file_is_lost(self, tmp_path, label, lost):
        volumes, datasets = several(
            4,
            11,
            AcquisitionTime=lambda t, k: "085900" if t > 1 or (t == 1 and k % 2) else "085859",
            SpacingBetweenSlices=lambda t, k: 1.075 * SPACING[2],
            **label,
        )
        keep(datasets, lambda t, k: (t, k) != lost, tmp_path)
        found = read_rows(tmp_path)
        assert len(found) == 4
        for t, volume in enumerate(volumes):
            if lost and t == lost[0]:
                assert found[t] is errors.MissingSlices
            else:
                np.testing.assert_array_equal(found[t], volume)


class TestShortVolumes:
    @pytest.mark.parametrize(("times", "left"), [(2, 8), (4, 5), (2, 3), (4, 1)])
    @pytest.mark.parametrize("tail", [True, False])
    @pytest.mark.parametrize(
        "label",
        [
            {"TemporalPositionIdentifier": lambda t, k: t + 1},
            {"EchoTime": lambda t, k: 5 * (t + 1)},
            {"DiffusionBValue": lambda t, k: 500.0 * t},
            {"AcquisitionNumber": lambda t, k: t + 1},
            {"AcquisitionTime": lambda t, k: f"10000{t}"},
            {"TriggerTime": lambda t, k: 30 * t},
        ],
    )
    def test_a_volume_that_lost_one_end_is_refused_and_the_others_are_read(self, tmp_path, label, tail, left, times):
        volumes, datasets = several(times, 12, **label)
        keep(datasets, lambda t, k: t != times - 2 or (k < left if tail else k >= 12 - left), tmp_path)
        found = read_rows(tmp_path)
        assert len(found) == times
        for t, volume in enumerate(volumes):
            if t == times - 2:
                assert found[t] is errors.MissingSlices
            else:
                np.testing.assert_array_equal(found[t], volume)

    @pytest.mark.parametrize("times", [2, 3])
    def test_two_volumes_that_lost_opposite_ends_are_both_refused(self, tmp_path, times):
        volumes, datasets = time_points(times, 12)
        keep(datasets, lambda t, k: k < 9 if t == 0 else k >= 4 if t == 1 else True, tmp_path)
        found = read_rows(tmp_path)
        assert found[:2] == [errors.MissingSlices] * 2
        for array, volume in zip(found[2:], volumes[2:], strict=True):
            np.testing.assert_array_equal(array, volume)

    @pytest.mark.parametrize("wanted", [{0, 11}, {0, 5, 10}, {3}])
    def test_what_is_left_may_be_even_by_chance(self, tmp_path, wanted):
        _, datasets = time_points(3, 12, SpacingBetweenSlices=lambda t, k: None)
        keep(datasets, lambda t, k: t != 1 or k in wanted, tmp_path)
        found = read_rows(tmp_path)
        assert found[1] is errors.MissingSlices
        assert [array.shape[0] for array in (found[0], found[2])] == [12, 12]

    def test_stacks_between_each_others_slices_end_where_their_gap_has_no_room(self, tmp_path):
        stacks = []
        for n in range(2):
            origin = np.array(ORIGIN) + 0.4 * SPACING[2] * n * NORMAL
            stacks.append(make_series(stored_values((8, 6, 7), seed=n), origin, AcquisitionNumber=n + 1))
        write([*stacks[0], *stacks[1]], tmp_path / "whole")
        assert [array.shape[0] for array in read_rows(tmp_path / "whole")] == [8, 8]
        write([*stacks[0], *stacks[1][:6]], tmp_path / "short")
        found = read_rows(tmp_path / "short")
        assert found[0].shape[0] == 8
        assert found[1] is errors.MissingSlices


class TestScout:
    ACROSS = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)

    @pytest.mark.parametrize("stacks", [1, 2])
    def test_one_slice_at_right_angles_does_not_stop_stacks(self, tmp_path, stacks):
        axial = make_series(orientation=(1, 0, 0, 0, 1, 0))
        coronal = make_series(stored_values(seed=1), orientation=(1, 0, 0, 0, 0, -1))
        scout = make_slice(stored_values(seed=2)[0], np.add(ORIGIN, (9, -9, 9)), self.ACROSS, InstanceNumber=99)
        write([*axial, *coronal[: 5 * (stacks - 1)], scout], tmp_path)
        found = read_rows(tmp_path)
        assert sorted(array.shape[0] for array in found) == [1, *[5] * stacks]

    @pytest.mark.parametrize("k", [0, 2, 4])
    def test_a_slice_whose_orientation_is_wrong_is_missed(self, tmp_path, k):
        series = make_series(orientation=(1, 0, 0, 0, 1, 0))
        series[k].ImageOrientationPatient = list(self.ACROSS)
        assert abs(direction_of(self.ACROSS)[:, 2] @ (0, 0, 1)) < 1e-9
        write(series, tmp_path)
        with pytest.raises(errors.MixedSeries, match="ImageOrientationPatient"):
            read_dicom(tmp_path)


def test_labelled_and_control_slices_are_not_one_volume(tmp_path):
    _, datasets = several(2, 8)
    for dataset, t, _ in datasets:
        block = dataset.private_block(0x2005, "Philips MR Imaging DD 005", create=True)
        block.add_new(0x29, "CS", ("CONTROL", "LABEL")[t])
    keep(datasets, lambda t, k: True, tmp_path / "whole")
    assert sorted(dicom_inventory(tmp_path / "whole")["distinct"]) == ["spin labelling CONTROL", "spin labelling LABEL"]
    keep(datasets, lambda t, k: t == (k > 3), tmp_path / "lost")
    with pytest.raises(errors.MixedSeries, match="spin labelling"):
        read_dicom(tmp_path / "lost")
