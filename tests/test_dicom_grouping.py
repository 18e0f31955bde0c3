"""Images of one series, study and patient make volumes; attributes that contradict each other are not believed."""

import contextlib

import numpy as np
import pydicom
import pytest
from dicom_archive import GRADIENTS, NORMAL, keep, read_or_error, several, time_points
from dicom_faults import read_lenient
from dicom_series import (
    OBLIQUE,
    ORIGIN,
    SECRETS,
    SPACING,
    make_series,
    make_slice,
    stored_values,
    write,
    write_series,
)

from faimed3d import errors
from faimed3d.dicom import dicom_inventory, read_dicom


class TestContradictions:
    @pytest.mark.parametrize("slices", [4, 6])
    def test_instance_numbers_do_not_mix_time_points(self, tmp_path, slices):
        volumes, datasets = time_points(3, slices, by_place=True)
        keep(datasets, lambda t, k: t != (0 if k < slices // 2 else 2), tmp_path)
        for n in range(3):
            found = read_or_error(tmp_path, n)
            assert isinstance(found, errors.ReadError) or np.array_equal(found, volumes[n])

    def test_instance_numbers_do_not_mix_directions(self, tmp_path):
        volumes, datasets = several(
            4,
            4,
            by_place=True,
            DiffusionBValue=lambda t, k: 1000.0 * (t > 0),
            DiffusionGradientOrientation=lambda t, k: GRADIENTS[t],
        )
        keep(datasets, lambda t, k: t != (2 if k < 2 else 3), tmp_path)
        for n in range(len(dicom_inventory(tmp_path))):
            found = read_or_error(tmp_path, n)
            assert isinstance(found, errors.ReadError) or any(np.array_equal(found, volume) for volume in volumes)

    @pytest.mark.parametrize("lost", [lambda k: 1 + (k < 2), lambda k: 1 + k % 2])
    def test_a_time_that_some_volumes_share_is_shared_in_all(self, tmp_path, lost):
        volumes, datasets = several(4, 5, FrameReferenceTime=lambda t, k: 1000 * t + 500)
        keep(datasets, lambda t, k: t != lost(k), tmp_path / "lost")  # each place has three
        for t in range(4):
            if t in (1, 2):
                with pytest.raises(errors.MissingSlices):
                    read_dicom(tmp_path / "lost", t)
            else:
                np.testing.assert_array_equal(read_dicom(tmp_path / "lost", t)[0], volumes[t])
        for dataset, t, k in datasets:
            dataset.FrameReferenceTime = 1000 * t + 100 * (k // 3)  # of a whole body, bed after bed
        keep(datasets, lambda t, k: True, tmp_path / "beds")
        for dataset, t, k in datasets:
            dataset.FrameReferenceTime = 1000 * t + 500 + (0.001 * k if t else 0)
        keep(datasets, lambda t, k: True, tmp_path / "rounded")
        for t in range(4):
            np.testing.assert_array_equal(read_dicom(tmp_path / "beds", t)[0], volumes[t])
            np.testing.assert_array_equal(read_dicom(tmp_path / "rounded", t)[0], volumes[t])

    def test_instance_numbers_with_lost_images_do_not_count(self, tmp_path):
        volumes, datasets = several(4, 5, by_place=True)
        lost = (0, 3, 1, 0, 2)
        keep(datasets, lambda t, k: t != lost[k], tmp_path)
        with pytest.raises(errors.DuplicateSlices):
            read_dicom(tmp_path)
        keep(datasets, lambda t, k: t != 1, tmp_path / "whole")
        for n, t in enumerate((0, 2, 3)):
            np.testing.assert_array_equal(read_dicom(tmp_path / "whole", n)[0], volumes[t])

    def test_a_clock_and_instance_numbers_that_contradict_each_other(self, tmp_path):
        _, datasets = several(
            2,
            6,
            AcquisitionTime=lambda t, k: f"1000{t * 20 + k:02d}",
            InstanceNumber=lambda t, k: 2 * k + 1 + (t ^ (k in (1, 4))),
        )
        write([dataset for dataset, _, _ in datasets], tmp_path)
        with pytest.raises(errors.DuplicateSlices):
            read_dicom(tmp_path)

    def test_a_time_that_one_image_lost_cannot_be_checked(self, tmp_path):
        volumes, datasets = several(2, 4, by_place=True, AcquisitionTime=lambda t, k: f"1000{t * 20 + k:02d}")
        write([dataset for dataset, _, _ in datasets], tmp_path)
        np.testing.assert_array_equal(read_dicom(tmp_path, 1)[0], volumes[1])
        del datasets[0][0].AcquisitionTime
        write([dataset for dataset, _, _ in datasets], tmp_path)
        with pytest.raises(errors.DuplicateSlices):
            read_dicom(tmp_path)

    @pytest.mark.parametrize(
        ("keyword", "values"),
        [
            ("TemporalPositionIdentifier", (1, 2)),
            ("KVP", (80, 140)),
            ("DiffusionGradientOrientation", ([1.0, 0, 0], [0, 1.0, 0])),
        ],
    )
    def test_slices_of_two_volumes_are_not_one(self, tmp_path, keyword, values):
        _, datasets = several(2, 8, **{keyword: lambda t, k: values[t]}, DiffusionBValue=lambda t, k: 1000.0)
        keep(datasets, lambda t, k: t == (k > 3), tmp_path / "behind")
        keep(datasets, lambda t, k: t == k % 2, tmp_path / "in turn")
        for folder in ("behind", "in turn"):
            with pytest.raises(errors.MixedSeries, match="in 4 of 8 slices"):
                read_dicom(tmp_path / folder)

    def test_gradients_written_with_rounding_are_one(self, tmp_path):
        write_series(
            tmp_path,
            edit=lambda k, dataset: setattr(dataset, "DiffusionGradientOrientation", [0.6 + 0.001 * k, 0.8, 0.0]),
        )
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())

    @pytest.mark.parametrize("keyword", ["Units", "Modality"])
    def test_other_units_are_not_read_however_leniently(self, tmp_path, keyword):
        series = make_series(Modality="PT", Units="BQML")
        setattr(series[3], keyword, "NM" if keyword == "Modality" else "CNTS")
        write(series, tmp_path)
        for strict in (True, False):
            with pytest.raises(errors.MixedSeries, match=keyword):
                read_dicom(tmp_path, strict=strict)


class TestOneVolumeOfTwoLabels:
    """What differs between the passes of one acquisition, slices 0, 2, 4 and then 1, 3, 5, makes no two volumes."""

    @pytest.mark.parametrize(
        ("keyword", "values"),
        [
            ("EchoTime", (4.6, 4.601)),
            ("InversionTime", (2500, 2501)),
            ("FlipAngle", (90, 89.9)),
            ("DiffusionBValue", (1000.0, 1001.0)),
            ("DiffusionGradientOrientation", ([0.6, 0.8, 0.0], [0.6001, 0.7999, 0.0])),
            ("StackID", ("1", "2")),
        ],
    )
    @pytest.mark.parametrize("pattern", [(0, 1), (0, 0, 1, 0, 1, 1, 0)])
    def test_rounding_and_passes(self, tmp_path, keyword, values, pattern):
        volumes, datasets = several(1, 14)
        for dataset, _, k in datasets:
            setattr(dataset, keyword, values[pattern[k % len(pattern)]])
        write([dataset for dataset, _, _ in datasets], tmp_path)
        array, geometry, _ = read_dicom(tmp_path)
        np.testing.assert_array_equal(array, volumes[0])
        assert geometry.spacing[2] == pytest.approx(SPACING[2])

    @pytest.mark.parametrize(
        ("keyword", "values"),
        [
            ("InversionTime", (150, 155)),
            ("EchoTime", (10, 90)),
            ("ConvolutionKernel", ("STANDARD", "Standard")),
            ("ImageType", (["ORIGINAL", "PRIMARY", "M", "DIS2D"], ["ORIGINAL", "PRIMARY", "M", "DIS3D"])),
            ("TemporalPositionIdentifier", (1, 2)),
        ],
    )
    def test_other_values_are_refused_and_not_read_as_halves(self, tmp_path, keyword, values):
        volumes, datasets = several(1, 14)
        for dataset, _, k in datasets:
            setattr(dataset, keyword, values[k % 2])
        write([dataset for dataset, _, _ in datasets], tmp_path)
        with pytest.raises(errors.MixedSeries, match=f"{keyword} is .* in 7 of 14 slices"):
            read_dicom(tmp_path)
        np.testing.assert_array_equal(read_lenient(tmp_path)[0][0], volumes[0])

    def test_echo_times_that_the_scanner_rounds_anew_for_each_slice(self, tmp_path):
        volumes, datasets = several(4, 8, EchoTime=lambda t, k: 10 * (t + 1) + 0.01 * (k % 2))
        write([dataset for dataset, _, _ in datasets], tmp_path)
        for t in range(4):
            np.testing.assert_array_equal(read_dicom(tmp_path, t)[0], volumes[t])

    @pytest.mark.parametrize(
        ("keyword", "values"),
        [
            ("AcquisitionNumber", (1, 2)),
            ("AcquisitionTime", ("100000", "100100")),
            ("FrameReferenceTime", ("500", "1500")),
        ],
    )
    def test_two_acquisitions_half_a_gap_apart_are_two_volumes(self, tmp_path, keyword, values):
        volumes, datasets = several(1, 14)
        for dataset, _, k in datasets:
            setattr(dataset, keyword, values[k % 2])
            dataset.SliceThickness = 2 * SPACING[2]  # slices of one acquisition touch each other
        write([dataset for dataset, _, _ in datasets], tmp_path)
        with pytest.raises(errors.SeveralVolumes, match="2 volumes"):
            read_dicom(tmp_path)
        for n in range(2):
            np.testing.assert_array_equal(read_dicom(tmp_path, n)[0], volumes[0][n::2])

    @pytest.mark.parametrize("pattern", [(0, 0), (0, 0, 1, 1), (0, 1, 2), (0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1)])
    def test_thick_slices_that_overlap_are_one_volume(self, tmp_path, pattern):
        volumes, datasets = several(1, 14)
        for dataset, _, k in datasets:
            dataset.AcquisitionNumber = pattern[k % len(pattern)]
            dataset.SliceThickness = 2 * SPACING[2]
        write([dataset for dataset, _, _ in datasets], tmp_path)
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], volumes[0])

    @pytest.mark.parametrize("thickness", [None, "0"])
    def test_stacks_that_lie_in_each_other_are_two_where_no_gap_is_stated(self, tmp_path, thickness):
        volumes, datasets = several(1, 14)
        for dataset, _, k in datasets:
            dataset.StackID, dataset.SliceThickness = str(1 + k % 2), thickness
        write([dataset for dataset, _, _ in datasets], tmp_path)
        for n in range(2):
            np.testing.assert_array_equal(read_dicom(tmp_path, n)[0], volumes[0][n::2])

    def test_values_that_are_near_and_meet_at_one_place_are_two(self, tmp_path):
        volumes, datasets = several(2, 6, DiffusionBValue=lambda t, k: 1000.0 + 5 * t)
        write([dataset for dataset, _, _ in datasets], tmp_path)
        for t in range(2):
            np.testing.assert_array_equal(read_dicom(tmp_path, t)[0], volumes[t])


class TestAnonymised:
    @pytest.mark.parametrize("uid", ["", "1.2"])
    @pytest.mark.parametrize("numbers", [(3, 4), (3, 3)])
    def test_two_patients_are_not_stacked(self, tmp_path, uid, numbers):
        empty = {"SeriesInstanceUID": uid, "StudyInstanceUID": uid, "SOPInstanceUID": uid, "FrameOfReferenceUID": uid}
        top = np.array(ORIGIN) + NORMAL * SPACING[2] * 5
        series = make_series(SeriesNumber=numbers[0], PatientID="A", **empty)
        series += make_series(stored_values(seed=1), top, SeriesNumber=numbers[1], PatientID="B", **empty)
        write(series, tmp_path)
        table = dicom_inventory(tmp_path)
        assert list(table["slices"]) == [5, 5]
        assert table["key"].is_unique
        assert not any(name in table.to_csv() for name in ("PatientID", *SECRETS))
        first, second = (read_dicom(table.iloc[n])[0] for n in range(2))
        if np.array_equal(first, stored_values(seed=1)):
            first, second = second, first
        np.testing.assert_array_equal(first, stored_values())
        np.testing.assert_array_equal(second, stored_values(seed=1))

    def test_one_slice_of_another_patient_is_named_without_his_id(self, tmp_path):
        series = make_series()
        series[4].PatientID = "OTHER-ID"
        write(series, tmp_path)
        with pytest.raises(
            errors.MixedSeries, match=r"IM9995\.dcm has the series .* \(0010,0020\) PatientID"
        ) as caught:
            read_dicom(tmp_path)
        assert "OTHER-ID" not in str(caught.value)

    @pytest.mark.parametrize("uid", ["1.2.3.5", "1.2\xe93.4"])
    @pytest.mark.parametrize("number", [0, 4])
    def test_one_slice_with_a_damaged_series_uid_is_missed(self, tmp_path, uid, number):
        series = make_series()
        series[number]["SeriesInstanceUID"] = pydicom.DataElement("SeriesInstanceUID", "LO", uid)
        write(series, tmp_path)
        table = dicom_inventory(tmp_path)
        whole = int(table["slices"].idxmax())
        with pytest.raises(errors.MixedSeries, match=rf"IM{9999 - number}\.dcm lies in line .* another \(0020,000E\)"):
            read_dicom(tmp_path, whole)
        assert len(read_lenient(tmp_path, series=whole)[0][0]) == 4

    def test_a_single_image_elsewhere_is_no_slice_of_a_volume(self, tmp_path):
        away = np.array(ORIGIN) + 1.3 * SPACING[2] * NORMAL
        write([*make_series(), make_slice(stored_values()[0], away, SeriesInstanceUID="1.9")], tmp_path)
        np.testing.assert_array_equal(read_dicom(tmp_path, "1.2.3.4")[0], stored_values())

    def test_equal_instance_uids_are_no_copies(self, tmp_path):
        volumes, datasets = time_points(3, 4, SOPInstanceUID=lambda t, k: "1.2.9")
        write([dataset for dataset, _, _ in datasets], tmp_path)
        for t in range(3):
            np.testing.assert_array_equal(read_dicom(tmp_path, t)[0], volumes[t])


class TestPositionsWithFewDecimals:
    @pytest.mark.parametrize("gap", [0.7, 1.25, 3.337, 4.96])
    @pytest.mark.parametrize("angle", [0, 20, 35])
    def test_one_decimal(self, tmp_path, gap, angle):
        cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        orientation = (1, 0, 0, 0, round(float(cosine), 6), round(float(sine), 6))
        series = make_series(stored_values((20, 6, 7)), (3.14, -7.77, 12.34), orientation, (0.5, 0.5, gap))
        for dataset in series:
            dataset.ImagePositionPatient = [f"{float(v):.1f}" for v in dataset.ImagePositionPatient]
        write(series, tmp_path)
        array, geometry, _ = read_dicom(tmp_path)
        np.testing.assert_array_equal(array, stored_values((20, 6, 7)))
        assert geometry.spacing[2] == pytest.approx(gap, abs=0.01)


class TestLenience:
    @pytest.mark.parametrize(
        ("shifts", "counts"), [((0, 3.1), (5, 5)), ((0, 0.9), (5, 3)), ((0, 0.4, 0.9), (5, 5, 5)), ((0, 5.9), (5, 5))]
    )
    def test_stacks_in_each_other_are_not_interpolated(self, tmp_path, shifts, counts):
        series = []
        for n, (shift, count) in enumerate(zip(shifts, counts, strict=True)):
            series += make_series(stored_values((count, 6, 7), seed=n), np.array(ORIGIN) + shift * NORMAL)
        write(series, tmp_path)
        for strict in (True, False):
            with pytest.raises(errors.UnevenSlices, match="of the gaps are short"):
                read_dicom(tmp_path, strict=strict)

    def test_a_slice_off_in_both_directions_does_not_make_a_huge_canvas(self, tmp_path):
        series = make_series(stored_values((5, 16, 16)))
        row, column = np.array(OBLIQUE[:3]) * 16 * 1.1, np.array(OBLIQUE[3:]) * 16 * 0.8
        place = np.array(series[2].ImagePositionPatient, float)
        for share, read in ((1.5, True), (2.5, False)):
            series[2].ImagePositionPatient = [f"{v:.6f}" for v in place + share * (row + column)]
            write(series, tmp_path)
            with contextlib.nullcontext() if read else pytest.raises(errors.UnevenSlices, match="too far to be one"):
                (array, _, _), _ = read_lenient(tmp_path)
                assert array.size < 8 * stored_values((5, 16, 16)).size

    def test_a_tilted_stack_of_nothing_but_nan(self, tmp_path):
        series = make_series()
        for k, dataset in enumerate(series):
            del dataset.PixelData
            dataset.FloatPixelData = np.full((6, 7), np.nan, np.float32).tobytes()
            dataset.BitsAllocated = 32
            for keyword in ("BitsStored", "HighBit", "PixelRepresentation"):
                delattr(dataset, keyword)
            place = np.array(dataset.ImagePositionPatient, float) + k * np.array(OBLIQUE[3:])
            dataset.ImagePositionPatient = [f"{v:.6f}" for v in place]
        write(series, tmp_path)
        (array, _, _), texts = read_lenient(tmp_path)
        assert np.isnan(array).all()
        assert len(texts) == 1
        assert "gantry tilt" in texts[0]
