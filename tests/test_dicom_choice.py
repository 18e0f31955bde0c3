"""Several volumes in a folder: told apart, listed, chosen."""

import numpy as np
import pydicom
import pytest
from dicom_archive import keep, several
from dicom_faults import drop, read_lenient, time_series, two_combs, two_gaps, two_series
from dicom_series import (
    AXIAL,
    OBLIQUE,
    ORIGIN,
    SECRETS,
    SPACING,
    direction_of,
    make_series,
    make_slice,
    stored_values,
    write,
    write_series,
)

from faimed3d import errors
from faimed3d.dicom import dicom_inventory, read_dicom


class TestChoice:
    def test_several_series_are_listed(self, tmp_path):
        two_series(tmp_path)
        with pytest.raises(errors.SeveralVolumes, match="2 volumes") as caught:
            read_dicom(tmp_path)
        text = str(caught.value)
        assert "  0  Größe, CT, 3 slices of 4 x 9, oblique, series 1.2.3.9" in text
        assert "  1  Größe, CT, 5 slices of 6 x 7, oblique, series 1.2.3.4" in text
        assert not any(secret in text for secret in SECRETS)

    def test_choose_by_uid_number_key_or_row(self, tmp_path):
        two_series(tmp_path)
        table = dicom_inventory(tmp_path)
        row = table.iloc[1]
        for series in ("1.2.3.4", 1, np.int64(1), row["key"], row, row.to_dict()):
            np.testing.assert_array_equal(read_dicom(tmp_path, series)[0], stored_values())
        np.testing.assert_array_equal(read_dicom(row)[0], stored_values())

    def test_choose_in_a_sub_folder(self, tmp_path):
        two_series(tmp_path / "a" / "b")
        with pytest.raises(errors.NoImages, match=r"1 sub-folders, which are not searched.*dicom_inventory"):
            read_dicom(tmp_path)
        np.testing.assert_array_equal(read_dicom(tmp_path, "1.2.3.4")[0], stored_values())
        np.testing.assert_array_equal(read_dicom(tmp_path, 1)[0], stored_values())
        with pytest.raises(errors.NoImages, match="no volume 5 among the 2"):
            read_dicom(tmp_path, 5)

    @pytest.mark.parametrize("series", ["9.9", 7, -1])
    def test_a_choice_that_is_not_there(self, tmp_path, series):
        two_series(tmp_path)
        with pytest.raises(errors.NoImages, match=r"no volume .* there are 2"):
            read_dicom(tmp_path, series)

    @pytest.mark.parametrize("series", [True, 1.5, ["1.2.3.4"]])
    def test_a_choice_of_a_wrong_kind(self, tmp_path, series):
        with pytest.raises(TypeError, match="series must be a series UID"):
            read_dicom(tmp_path, series)

    def test_a_row_that_is_none(self, tmp_path):
        with pytest.raises(TypeError, match="must come from dicom_inventory"):
            read_dicom(tmp_path, {"files": ()})

    def test_a_row_with_a_problem_is_refused_as_the_folder_is(self, tmp_path):
        drop({4})(tmp_path)
        row = dicom_inventory(tmp_path).iloc[0]
        with pytest.raises(errors.MissingSlices):
            read_dicom(row)

    def test_a_row_whose_files_changed(self, tmp_path):
        paths = write_series(tmp_path)
        row = dicom_inventory(tmp_path).iloc[0]
        paths[2].unlink()
        with pytest.raises(FileNotFoundError, match="though the inventory lists it"):
            read_dicom(row)

    @pytest.mark.parametrize(
        "other", [{"SeriesInstanceUID": "1.9"}, {"spacing": (1.1, 0.8, 4)}, {"orientation": AXIAL}]
    )
    def test_a_row_whose_files_became_another_volume(self, tmp_path, other):
        write_series(tmp_path)
        row = dicom_inventory(tmp_path).iloc[0]
        write_series(tmp_path, **other)
        with pytest.raises(errors.NoImages, match="no longer as the inventory lists it"):
            read_dicom(row)

    @pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient"])
    def test_a_row_of_images_without_a_place_tells_why(self, tmp_path, keyword):
        write_series(tmp_path, **{keyword: None})
        (row,) = dicom_inventory(tmp_path).iloc
        with pytest.raises(errors.MissingGeometry, match=f"{keyword} is absent"):
            read_dicom(tmp_path, row)

    def test_studies_without_a_series_uid_are_not_joined(self, tmp_path):
        shift = direction_of(OBLIQUE)[:, 2] * SPACING[2] * 5
        other = make_series(origin=ORIGIN + shift, SeriesInstanceUID="", StudyInstanceUID="1.9")
        write(make_series(SeriesInstanceUID="") + other, tmp_path)
        assert list(dicom_inventory(tmp_path)["slices"]) == [5, 5]
        with pytest.raises(errors.SeveralVolumes):
            read_dicom(tmp_path)

    def test_two_stacks_side_by_side_are_no_doubles(self, tmp_path):
        shift = np.array(OBLIQUE[:3]) * 40
        write(make_series() + make_series(origin=ORIGIN + shift), tmp_path)
        for strict in (True, False):
            with pytest.raises(errors.MixedSeries, match=r"lie side by side, 40\.0 mm apart in one plane"):
                read_dicom(tmp_path, strict=strict)

    def test_damage_in_another_series_does_not_matter(self, tmp_path):
        two_series(tmp_path)
        path = tmp_path / "other1.dcm"
        path.write_bytes(path.read_bytes()[:-3])
        np.testing.assert_array_equal(read_dicom(tmp_path, "1.2.3.4")[0], stored_values())
        with pytest.raises(errors.TruncatedFile):
            read_dicom(tmp_path, "1.2.3.9")

    @pytest.mark.parametrize("label", [True, False])
    def test_time_points_are_told_apart(self, tmp_path, label):
        volumes = time_series(tmp_path, label)
        table = dicom_inventory(tmp_path)
        word = "time point" if label else "repetition"
        assert list(table["distinct"]) == [f"{word} {t} of 3" for t in (1, 2, 3)]
        assert not table["problems"].any()
        for t in range(3):
            np.testing.assert_array_equal(read_dicom(tmp_path, t)[0], volumes[t])
            np.testing.assert_array_equal(read_dicom(table.iloc[t])[0], volumes[t])
        with pytest.raises(errors.SeveralVolumes, match="3 volumes"):
            read_dicom(tmp_path, "1.2.3.4")

    def test_an_aborted_time_point_is_no_duplicate(self, tmp_path):
        time_series(tmp_path)
        for path in sorted(tmp_path.iterdir())[:1]:
            path.unlink()  # the last slice of the last time point
        assert list(dicom_inventory(tmp_path)["slices"]) == [4, 4, 3]

    def test_a_time_point_aborted_early_does_not_spoil_the_others(self, tmp_path):
        volumes = time_series(tmp_path)
        for path in sorted(tmp_path.iterdir())[:3]:
            path.unlink()
        assert list(dicom_inventory(tmp_path)["slices"]) == [4, 4, 1]
        for t in range(2):
            np.testing.assert_array_equal(read_dicom(tmp_path, t)[0], volumes[t])

    @pytest.mark.parametrize(
        ("keyword", "values", "words"),
        [
            ("EchoTime", (2.3, 4.6), ["echo time 2.3 ms", "echo time 4.6 ms"]),
            ("DiffusionBValue", (0.0, 800.0), ["b-value 0 s/mm2", "b-value 800 s/mm2"]),
            ("ImageType", (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"]), None),
            ("AcquisitionNumber", (1, 2), ["acquisition 1 of 2", "acquisition 2 of 2"]),
            ("AcquisitionTime", ("101010.5", "101112.25"), ["time point 1 of 2", "time point 2 of 2"]),
            ("TriggerTime", (12, 480), ["time point 1 of 2", "time point 2 of 2"]),
            ("InversionTime", (100, 900), ["inversion time 100 ms", "inversion time 900 ms"]),
        ],
    )
    def test_what_tells_slices_at_one_position_apart(self, tmp_path, keyword, values, words):
        volumes = stored_values((2, 4, 6, 7))
        for n, value in enumerate(values):
            write_series(tmp_path / str(n), volumes[n], **{keyword: value, "InstanceNumber": None})
            for path in (tmp_path / str(n)).iterdir():
                path.rename(tmp_path / f"{n}{path.name}")
        table = dicom_inventory(tmp_path)
        assert len(table) == 2
        if words:
            assert list(table["distinct"]) == words
        for n in range(2):
            np.testing.assert_array_equal(read_dicom(tmp_path, n)[0], volumes[n])

    @pytest.mark.parametrize("number", [True, False])
    def test_two_reconstructions_are_not_told_apart_by_when_they_were_written(self, tmp_path, number):
        delays = np.random.default_rng(0).integers(0, 999, (2, 5))
        series = []
        for n in range(2):
            for k, dataset in enumerate(make_series(stored_values() + n, AcquisitionTime="100000")):
                dataset.ContentTime = f"{100000 + k}.{delays[n, k]:03d}"
                dataset.InstanceNumber = k + 1 if number else None
                series.append(dataset)
        write(series, tmp_path)
        with pytest.raises(errors.DuplicateSlices):
            read_dicom(tmp_path)

    @pytest.mark.parametrize("date", ["20200101", None])
    @pytest.mark.parametrize("number", [True, False])
    def test_a_clock_that_passes_midnight(self, tmp_path, date, number):
        volumes = stored_values((2, 5, 6, 7))
        series = []
        for t, volume in enumerate(volumes):
            for k, dataset in enumerate(make_series(volume, AcquisitionDate=date)):
                second = (86397 + t * 2 + k * 0.3) % 86400
                dataset.AcquisitionTime = f"{second // 3600:02.0f}{second // 60 % 60:02.0f}{second % 60:06.3f}"
                dataset.InstanceNumber = t * 5 + k + 1 if number else None
                series.append(dataset)
        write(series, tmp_path)
        if number:
            for t in range(2):
                np.testing.assert_array_equal(read_dicom(tmp_path, t)[0], volumes[t])
        else:
            with pytest.raises(errors.DuplicateSlices):
                read_dicom(tmp_path)

    @pytest.mark.parametrize(
        ("clock", "date", "number", "order"),
        [
            (("235950", "000000", "000010", "000020"), None, True, (0, 1, 2, 3)),
            (("235950", "000000", "000010", "000020"), None, False, (0, 1, 2, 3)),
            (("235930", "235940", "235950", "000000.5"), "20200101", True, (0, 1, 2, 3)),  # the date of the study
            (("235950", "000000", "000010", "000020"), "20200101", False, (1, 2, 3, 0)),  # as is stated
            (("000010", "000020", "230000", "230010"), None, True, (0, 1, 2, 3)),
            (("010000", "080000", "150000", "220000"), None, False, (0, 1, 2, 3)),  # no break of half a day
        ],
    )
    def test_volumes_of_one_time_each_are_in_the_order_of_time_over_midnight(
        self, tmp_path, clock, date, number, order
    ):
        volumes, datasets = several(4, 3, AcquisitionTime=lambda t, k: clock[t], AcquisitionDate=lambda t, k: date)
        for dataset, _, _ in datasets:
            dataset.InstanceNumber = dataset.InstanceNumber if number else None
        keep(datasets, lambda t, k: True, tmp_path)
        for place, t in enumerate(order):
            np.testing.assert_array_equal(read_dicom(tmp_path, place)[0], volumes[t])

    @pytest.mark.parametrize(
        ("keyword", "values"),
        [
            ("FlipAngle", (10, 60)),
            ("InversionTime", (100, 900)),
            ("EchoNumbers", (1, 2)),
            ("DiffusionBValue", (0.0, 1e3)),
        ],
    )
    def test_volumes_of_another_contrast_are_not_stacked(self, tmp_path, keyword, values):
        first = make_series(**{keyword: values[0]})
        shift = direction_of(OBLIQUE)[:, 2] * SPACING[2]
        write(first + make_series(origin=ORIGIN + 5 * shift, **{keyword: values[1]}), tmp_path)  # on top of the first
        with pytest.raises(errors.MixedSeries, match="in 5 of 10 slices"):
            read_dicom(tmp_path)
        write(first + make_series(origin=ORIGIN + 0.5 * shift, **{keyword: values[1]}), tmp_path)  # between its slices
        assert list(dicom_inventory(tmp_path)["slices"]) == [5, 5]
        np.testing.assert_array_equal(read_dicom(tmp_path, 0)[0], stored_values())

    @pytest.mark.parametrize(
        ("elements", "words"),
        [
            ({"AcquisitionNumber": (4, 5)}, "acquisition"),
            ({"TemporalPositionIdentifier": (1, 2)}, "time point"),
            ({"EchoTime": (2.3, 4.6)}, "echo time"),
        ],
    )
    @pytest.mark.parametrize("shift", [0.9, 3.1])
    def test_stacks_between_each_others_slices_are_several_volumes(self, tmp_path, elements, words, shift):
        two_combs(shift, **elements)(tmp_path)
        table = dicom_inventory(tmp_path)
        assert list(table["slices"]) == [5, 5]
        assert not table["problems"].any()
        assert table["distinct"].str.startswith(words).all()
        for n in range(2):
            array, geometry, _ = read_dicom(table.iloc[n])
            np.testing.assert_array_equal(array, stored_values(seed=n))
            expected = np.array(ORIGIN) + n * shift * direction_of(OBLIQUE)[:, 2]
            np.testing.assert_allclose(geometry.origin, expected, atol=1e-5)
        with pytest.raises(errors.SeveralVolumes):
            read_dicom(tmp_path, strict=False)

    def test_a_hole_in_one_of_two_interleaved_stacks_is_that_stacks_fault(self, tmp_path):
        two_combs(0.9, AcquisitionNumber=(1, 2))(tmp_path)
        holed = next(p for p in tmp_path.iterdir() if pydicom.dcmread(p).AcquisitionNumber == 1 and "9997" in p.name)
        holed.unlink()
        problems = dicom_inventory(tmp_path)["problems"]
        assert "a slice is missing" in problems[0]
        assert problems[1] == ""

    def test_thin_and_thick_stacks_one_behind_the_other_stay_one(self, tmp_path):
        two_gaps(tmp_path)
        for path in tmp_path.iterdir():
            dataset = pydicom.dcmread(path)
            dataset.AcquisitionNumber = 1 if dataset.InstanceNumber <= 5 else 2
            dataset.save_as(path)
        with pytest.raises(errors.UnevenSlices, match="the gaps are uneven"):
            read_dicom(tmp_path)
        assert len(read_lenient(tmp_path)[0][0]) == 11

    @pytest.mark.parametrize(("numbers", "apart"), [((1, 2, 3), True), ((1, 3, 2), False), ((1, 1, 1), True)])
    def test_trigger_times_count_if_the_instance_numbers_do_not_contradict(self, tmp_path, numbers, apart):
        volumes = stored_values((3, 4, 6, 7))
        series = []
        for t in range(3):
            for k, dataset in enumerate(make_series(volumes[t], Modality="MR")):
                # the heart beats at its own rate while each slice is taken
                dataset.TriggerTime = f"{t * (30 + 4 * k) + k:g}"
                dataset.InstanceNumber = (numbers[t] if k == 2 else t + 1) if numbers[1] > 1 else 1
                series.append(dataset)
        write(series, tmp_path)
        if apart:
            for t in range(3):
                np.testing.assert_array_equal(read_dicom(tmp_path, t)[0], volumes[t])
        else:
            with pytest.raises(errors.DuplicateSlices):
                read_dicom(tmp_path)

    def test_a_bolus_series_is_one_volume_per_time_point(self, tmp_path):
        series = [make_slice(image, ORIGIN, InstanceNumber=k + 1) for k, image in enumerate(stored_values())]
        write(series, tmp_path)
        assert list(dicom_inventory(tmp_path)["shape"]) == [(1, 6, 7)] * 5
        np.testing.assert_array_equal(read_dicom(tmp_path, 3)[0], stored_values()[3:4])

    def test_two_orientations_in_one_series(self, tmp_path):
        write(make_series() + make_series(orientation=AXIAL), tmp_path)
        table = dicom_inventory(tmp_path)
        assert sorted(table["distinct"]) == ["axial 6x7", "oblique 6x7"]
        assert list(table["slices"]) == [5, 5]
