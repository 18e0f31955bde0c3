"""Series of several volumes, of several folders and of several vendors: none is read short, mixed or as another."""

import contextlib
import os
import shutil

import numpy as np
import pydicom
import pytest
from dicom_series import (
    AXIAL,
    OBLIQUE,
    ORIGIN,
    SECRETS,
    SPACING,
    compressed,
    direction_of,
    enhanced,
    make_series,
    make_slice,
    stored_values,
    write,
    write_series,
)
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    MRImageStorage,
    NuclearMedicineImageStorage,
    PositronEmissionTomographyImageStorage,
    SecondaryCaptureImageStorage,
)
from test_dicom import expected_affine, read_lenient

from faimed3d import errors
from faimed3d.dicom import dicom_inventory, read_dicom

NORMAL = direction_of(OBLIQUE)[:, 2]
GRADIENTS = ([0.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0])


def several(times=2, slices=5, by_place=False, **labels):
    """Slices of ``times`` MR volumes at the same places, numbered volume after volume or place after place.

    Args:
        labels: by keyword a function of (volume, slice).

    Returns:
        The voxels (times, slices, H, W), and a list of (data set, volume, slice).
    """
    volumes, datasets = stored_values((times, slices, 6, 7)), []
    for t, volume in enumerate(volumes):
        for k, dataset in enumerate(make_series(volume, Modality="MR", SOPClassUID=MRImageStorage)):
            dataset.InstanceNumber = k * times + t + 1 if by_place else t * slices + k + 1
            for keyword, label in labels.items():
                setattr(dataset, keyword, label(t, k))
            datasets.append((dataset, t, k))
    return volumes, datasets


def time_points(*args, **kwargs):
    return several(*args, TemporalPositionIdentifier=lambda t, k: t + 1, **kwargs)


def echoes(**kwargs):
    return several(EchoTime=lambda t, k: (2.3, 4.6)[t], **kwargs)


def keep(datasets, wanted, folder):
    """Write those for which ``wanted(volume, slice)``."""
    return write([dataset for dataset, t, k in datasets if wanted(t, k)], folder)


def read_or_error(path, series=None):
    try:
        return read_dicom(path, series)[0]
    except errors.ReadError as error:
        return error


def refuse_to_allocate(monkeypatch, shape):
    """Have no memory for an array of ``shape``."""
    real = np.empty

    def empty(size, *args, **kwargs):
        if size == shape:
            raise MemoryError
        return real(size, *args, **kwargs)

    monkeypatch.setattr(np, "empty", empty)


class TestLostSlices:
    @pytest.mark.parametrize(
        ("edit", "error"),
        [
            (lambda dataset: delattr(dataset, "ImagePositionPatient"), errors.MissingGeometry),
            (lambda dataset: setattr(dataset, "PixelSpacing", [2, 2]), errors.MixedSeries),
            (lambda dataset: setattr(dataset, "ImageOrientationPatient", list(AXIAL)), errors.MixedSeries),
            (lambda dataset: setattr(dataset, "PhotometricInterpretation", "PALETTE COLOR"), errors.MixedSeries),
        ],
    )
    def test_the_last_slice_of_one_echo_is_that_echos_fault(self, tmp_path, edit, error):
        volumes, datasets = echoes()
        edit(datasets[9][0])
        write([dataset for dataset, _, _ in datasets], tmp_path)
        table = dicom_inventory(tmp_path)
        assert list(table["slices"]) == [5, 4]
        assert table["problems"][0] == ""
        np.testing.assert_array_equal(read_dicom(tmp_path, 0)[0], volumes[0])
        for source in ((tmp_path, 1), (table.iloc[1], None)):
            with pytest.raises(error):
                read_dicom(*source)

    def test_time_points_are_numbered_and_not_rounded(self, tmp_path):
        volumes, datasets = several(2, TemporalPositionIdentifier=lambda t, k: 400 + t)
        del datasets[9][0].ImagePositionPatient
        write([dataset for dataset, _, _ in datasets], tmp_path)
        np.testing.assert_array_equal(read_dicom(tmp_path, 0)[0], volumes[0])
        with pytest.raises(errors.MissingGeometry):
            read_dicom(tmp_path, 1)

    @pytest.mark.parametrize("k", [2, 4])
    def test_slices_of_two_neighbouring_time_points_are_not_one_volume(self, tmp_path, k):
        _, datasets = several(2, 6, TemporalPositionIdentifier=lambda t, k: 400 + t)
        keep(datasets, lambda t, place: t == (place >= k), tmp_path)
        with pytest.raises(errors.MixedSeries, match="TemporalPositionIdentifier"):
            read_dicom(tmp_path)

    def test_a_slice_that_fits_no_volume_is_the_fault_of_all(self, tmp_path):
        _, datasets = echoes()
        for keyword in ("ImagePositionPatient", "EchoTime"):
            delattr(datasets[9][0], keyword)
        write([dataset for dataset, _, _ in datasets], tmp_path)
        assert dicom_inventory(tmp_path)["problems"].str.contains("ImagePositionPatient").all()

    @pytest.mark.parametrize("lost", [(0, 0), (0, 4), (1, 0), (1, 4)])
    def test_a_volume_that_ends_before_its_siblings_misses_slices(self, tmp_path, lost):
        volumes, datasets = time_points()
        keep(datasets, lambda t, k: (t, k) != lost, tmp_path)
        text = f"time point {lost[0] + 1} of 2 has 4 slices, time point {2 - lost[0]} of 2 has 5: the slice beside"
        with pytest.raises(errors.MissingSlices, match=text):
            read_dicom(tmp_path, lost[0])
        np.testing.assert_array_equal(read_dicom(tmp_path, 1 - lost[0])[0], volumes[1 - lost[0]])
        (array, _, _), texts = read_lenient(tmp_path, series=lost[0])
        np.testing.assert_array_equal(array, np.delete(volumes[lost[0]], lost[1], axis=0))
        assert "is missing at its end" in texts[0]

    def test_slabs_that_overlap_are_both_whole(self, tmp_path):
        volumes, datasets = several(2, 8, AcquisitionNumber=lambda t, k: t + 1)
        keep(datasets, lambda t, k: k < 5 if t == 0 else k >= 3, tmp_path)
        np.testing.assert_array_equal(read_dicom(tmp_path, 0)[0], volumes[0][:5])
        np.testing.assert_array_equal(read_dicom(tmp_path, 1)[0], volumes[1][3:])

    def test_one_lost_slice_of_a_diffusion_series_does_not_spoil_the_others(self, tmp_path):
        b_values = (0.0, 500.0, 500.0, 500.0, 1000.0, 1000.0, 1000.0)
        volumes, datasets = several(
            7,
            DiffusionBValue=lambda t, k: b_values[t],
            DiffusionGradientOrientation=lambda t, k: GRADIENTS[(t + 2) % 3 + 1 if t else 0],
        )
        keep(datasets, lambda t, k: (t, k) != (0, 2), tmp_path)
        table = dicom_inventory(tmp_path)
        assert list(table["slices"]) == [4, 5, 5, 5, 5, 5, 5]
        assert "a slice is missing" in table["problems"][0]
        assert not table["problems"][1:].any()
        found = [read_dicom(tmp_path, n)[0] for n in range(1, 7)]
        for volume in volumes[1:]:
            assert sum(np.array_equal(volume, other) for other in found) == 1

    def test_a_concatenation_without_its_last_part(self, tmp_path):
        stored, files = stored_values((9, 6, 7)), []
        for part in range(3):
            dataset = enhanced(stored[3 * part : 3 * part + 3], origin=np.array(ORIGIN) + NORMAL * 7.5 * part)
            dataset.ConcatenationUID, dataset.SOPInstanceUID = "1.2.9", f"1.2.8.{part}"
            dataset.InConcatenationNumber, dataset.InConcatenationTotalNumber = part + 1, 3
            files.append(dataset)
        write(files, tmp_path / "whole")
        np.testing.assert_array_equal(read_dicom(tmp_path / "whole")[0], stored)
        write(files[:2], tmp_path / "part")
        with pytest.raises(errors.MissingSlices, match=r"2 files of a concatenation .* \(0020,9163\) .* says 3"):
            read_dicom(tmp_path / "part")

    def test_a_pet_series_says_how_many_slices_it_has(self, tmp_path):
        pet = {"Modality": "PT", "SOPClassUID": PositronEmissionTomographyImageStorage, "NumberOfSlices": 5}
        write(make_series(**pet), tmp_path / "whole")
        np.testing.assert_array_equal(read_dicom(tmp_path / "whole")[0], stored_values())
        write(make_series(**pet)[:4], tmp_path / "part")
        with pytest.raises(errors.MissingSlices, match=r"4 slices are there, \(0054,0081\) NumberOfSlices says 5"):
            read_dicom(tmp_path / "part")

    @pytest.mark.parametrize(
        ("volumes", "number"),
        [(2, 10), (5, 5)],  # of a dynamic series all images counted; views of a rotating projection
    )
    def test_a_pet_series_may_count_the_slices_of_all_its_volumes(self, tmp_path, volumes, number):
        pet = {"Modality": "PT", "SOPClassUID": PositronEmissionTomographyImageStorage, "NumberOfSlices": number}
        slices = number // volumes
        stored = stored_values((volumes, slices, 6, 7))
        series = [
            dataset
            for t, volume in enumerate(stored)
            for dataset in make_series(volume, **pet, FrameReferenceTime=1000 * t, InstanceNumber=None)
        ]
        write(series, tmp_path / "whole")
        for n in range(volumes):
            np.testing.assert_array_equal(read_dicom(tmp_path / "whole", n)[0], stored[n])
        write(series[:-1], tmp_path / "part")
        with pytest.raises(errors.MissingSlices, match=f"NumberOfSlices says {number}"):
            read_dicom(tmp_path / "part", 0)

    @pytest.mark.parametrize("more", ["capture", "copy", "half of each time point"])
    def test_a_pet_series_is_short_whatever_else_makes_up_its_number(self, tmp_path, more):
        pet = {"Modality": "PT", "SOPClassUID": PositronEmissionTomographyImageStorage, "NumberOfSlices": 4}
        series = make_series(stored_values((4, 6, 7)), **pet)[:3]
        if more == "half of each time point":
            series = [
                make_slice(
                    stored_values(seed=10 * t + k)[0], (0, 0, 2.5 * k), AXIAL, **pet,
                    FrameReferenceTime=1000 * t, InstanceNumber=4 * t + k + 1,
                )
                for t in range(2)
                for k in range(2)
            ]  # fmt: skip
        elif more == "copy":
            series.append(series[0])
        else:
            nowhere = {"ImagePositionPatient": None, "ImageOrientationPatient": None}
            series.append(make_slice(stored_values()[0], ORIGIN, SOPClassUID=SecondaryCaptureImageStorage, **nowhere))
        write(series, tmp_path)
        assert "NumberOfSlices says 4" in " ".join(dicom_inventory(tmp_path)["problems"])
        with pytest.raises(errors.DuplicateSlices if more == "copy" else errors.MissingSlices):
            read_dicom(tmp_path, 0)

    def test_a_reformatted_pet_volume_has_slices_of_its_own_number(self, tmp_path):
        pet = {"Modality": "PT", "SOPClassUID": PositronEmissionTomographyImageStorage, "NumberOfSlices": 47}
        write(make_series(**pet, ImageType=["DERIVED", "SECONDARY", "REFORMATTED"]), tmp_path)
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())

    @pytest.mark.parametrize("slices", [3, 9])
    @pytest.mark.parametrize("times", [2, 3])
    def test_a_place_within_a_volume_that_its_siblings_have_is_missed(self, tmp_path, times, slices):
        volumes, datasets = time_points(times, slices)
        for dataset, _, _ in datasets:
            dataset.InstanceNumber = None
        keep(datasets, lambda t, k: t > 0 or k % 2 == 0, tmp_path)
        text = (
            r"time point 1 of \d has gaps of 5\.0 mm, 2 times \(0018,0050\) SliceThickness 2\.5 mm, and IM\d+\.dcm of "
            r"time point \d of \d lies in one \(.*\): slices are missing"
        )
        with pytest.raises(errors.MissingSlices, match=text):
            read_dicom(tmp_path, 0)
        for t in range(1, times):
            np.testing.assert_array_equal(read_dicom(tmp_path, t)[0], volumes[t])
        (array, geometry, _), _ = read_lenient(tmp_path, series=0)
        np.testing.assert_array_equal(array, volumes[0, ::2])
        assert geometry.spacing[2] == pytest.approx(2 * SPACING[2])

    def test_thin_slices_far_apart_are_whole_beside_a_denser_reconstruction(self, tmp_path):
        thin = make_series(spacing=(*SPACING[:2], 10.0), SliceThickness=1, ConvolutionKernel="B70f")
        dense = make_series(stored_values((21, 6, 7), seed=1), spacing=(*SPACING[:2], 2.0), ConvolutionKernel="B30f")
        write([*thin, *dense], tmp_path)
        table = dicom_inventory(tmp_path)
        assert not table["problems"].any()
        assert sorted(table["slices"]) == [5, 21]
        np.testing.assert_array_equal(read_dicom(table[table["slices"] == 5].iloc[0])[0], stored_values())

    def test_every_second_place_of_two_echoes(self, tmp_path):
        _, datasets = echoes(slices=13, by_place=True)
        keep(datasets, lambda t, k: k % 2 == 0, tmp_path)
        for n in range(2):
            with pytest.raises(errors.MissingSlices, match="goes by 4 from slice to slice: every second slice is"):
                read_dicom(tmp_path, n)

    def test_echoes_numbered_in_turn_miss_nothing(self, tmp_path):
        volumes, datasets = echoes(slices=6, by_place=True)
        for dataset, _, _ in datasets:
            dataset.SliceThickness = SPACING[2] / 2
        write([dataset for dataset, _, _ in datasets], tmp_path)
        for n in range(2):
            np.testing.assert_array_equal(read_dicom(tmp_path, n)[0], volumes[n])


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
        with pytest.raises(errors.DuplicateSlices):
            read_dicom(tmp_path / "lost")
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


class TestFolders:
    def test_half_of_each_time_point_in_a_sub_folder(self, tmp_path):
        _, datasets = time_points(2, 4)
        keep(datasets, lambda t, k: (t + k) % 2 == 0, tmp_path)
        keep(datasets, lambda t, k: (t + k) % 2 == 1, tmp_path / "a" / "b")
        with pytest.raises(errors.MissingSlices, match="2 more slices of this volume lie in other folders"):
            read_dicom(tmp_path)
        for recurse in (False, True):
            row = dicom_inventory(tmp_path, recurse).iloc[0]
            assert "2 more slices of this volume lie in other folders" in row["problems"]
            with pytest.raises(errors.MissingSlices):
                read_dicom(row)

    def test_a_copy_below_with_other_uids_and_positions_hides_nothing(self, tmp_path):
        write(make_series()[:3], tmp_path)
        copy = make_series(origin=np.array(ORIGIN) - 0.002 * NORMAL)
        for k, dataset in enumerate(copy):
            dataset.SOPInstanceUID = f"1.2.7.{k}"
        write(copy, tmp_path / "copy")
        with pytest.raises(errors.MissingSlices, match="more slices of this volume lie in other folders"):
            read_dicom(tmp_path)

    def test_the_inventory_sees_halves_side_by_side(self, tmp_path):
        series = make_series(stored_values((9, 6, 7)))
        write(series[:5], tmp_path / "a")
        write(series[5:], tmp_path / "b")
        write_series(tmp_path / "other", SeriesInstanceUID="1.9")
        shutil.copytree(tmp_path / "other", tmp_path / "backup")
        table = dicom_inventory(tmp_path).set_index(dicom_inventory(tmp_path)["folder"].map(os.path.basename))
        assert "4 more slices of this volume lie in other folders" in table["problems"]["a"]
        assert "5 more slices of this volume lie in other folders" in table["problems"]["b"]
        assert table["problems"]["other"] == table["problems"]["backup"] == ""
        with pytest.raises(errors.MissingSlices, match="4 more slices of this volume lie in other folders"):
            read_dicom(table.loc["a"])
        (array, _, _), texts = read_lenient(table.loc["a"])
        np.testing.assert_array_equal(array, stored_values((9, 6, 7))[:5])
        assert "lie in other folders" in texts[0]

    def test_an_unreadable_file_of_another_series_below_does_not_matter(self, tmp_path, monkeypatch):
        write_series(tmp_path)
        closed = str(write_series(tmp_path / "sub", SeriesInstanceUID="1.9")[0])
        # as for a user who is not root
        real = os.access
        monkeypatch.setattr("os.access", lambda path, mode: str(path) != closed and real(path, mode))
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())

    def test_rows_of_files_of_several_volumes_each(self, tmp_path):
        def file_of(volume, component, number):
            labels = [{"echo": (2.0, 4.0)[k // 4], "level": k % 4} for k in range(8)]
            dataset = enhanced(volume, labels=labels)
            dataset.InstanceNumber, dataset.SOPInstanceUID = number, f"1.2.7.{number}"
            for groups in dataset.PerFrameFunctionalGroupsSequence:
                item = Dataset()
                item.FrameType = ["ORIGINAL", "PRIMARY", component[0], "NONE"]
                item.ComplexImageComponent = component
                groups.MRImageFrameTypeSequence = Sequence([item])
            return dataset

        stored = stored_values((2, 8, 6, 7))
        write([file_of(stored[0], "MAGNITUDE", 1), file_of(stored[1], "PHASE", 2)], tmp_path)
        table = dicom_inventory(tmp_path)
        assert len(table) == 4
        assert table["key"].is_unique
        for n in range(4):
            expected = stored[n // 2, n % 2 * 4 : n % 2 * 4 + 4]
            np.testing.assert_array_equal(read_dicom(table.iloc[n])[0], expected)

    def test_stacks_of_one_file_that_are_alike_have_keys_of_their_own(self, tmp_path):
        stored = stored_values((9, 6, 7))
        dataset = enhanced(stored, labels=[{"stack": str(1 + k // 3)} for k in range(9)])
        del dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
        for k, groups in enumerate(dataset.PerFrameFunctionalGroupsSequence):
            angle = 0.1 * (k // 3)
            item = Dataset()
            item.ImageOrientationPatient = [np.cos(angle), np.sin(angle), 0, -np.sin(angle), np.cos(angle), 0]
            groups.PlaneOrientationSequence = Sequence([item])
            groups.PlanePositionSequence[0].ImagePositionPatient = [0, 0, 10.0 * (k // 3) + 2.5 * (k % 3)]
        write([dataset], tmp_path)
        table = dicom_inventory(tmp_path)
        assert len(table) == 3
        assert table["key"].is_unique
        for n in range(3):
            np.testing.assert_array_equal(read_dicom(table.iloc[n])[0], stored[3 * n : 3 * n + 3])

    def test_stacks_one_behind_the_other_are_several_volumes(self, tmp_path):
        stored = stored_values((8, 6, 7))
        for gap in (0, 5):
            labels = [{"stack": str(1 + k // 4), "level": k if k < 4 else k + gap} for k in range(8)]
            write([enhanced(stored, labels=labels)], tmp_path)
            for n in range(2):
                np.testing.assert_array_equal(read_dicom(tmp_path, n)[0], stored[4 * n : 4 * n + 4])


class TestOtherFiles:
    @pytest.mark.parametrize(
        ("name", "content"),
        [
            (".DS_Store", b"\0\0\0\1Bud1\0\0\x10\0" + b"\0" * 300),
            ("Icon\r", b""),
            (".gitkeep", b""),
            ("LOCKFILE", b""),
            ("Thumbs.db", b"\xd0\xcf\x11\xe0" * 20),
        ],
    )
    @pytest.mark.parametrize("pattern", ["IM{:04d}", "1.2.840.{}", "{:06x}"])
    def test_what_systems_leave_is_no_slice(self, tmp_path, name, content, pattern):
        write(make_series(), tmp_path, [pattern.format(k + 0xA0) for k in range(5)])
        (tmp_path / name).write_bytes(content)
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())

    def test_what_a_killed_writer_left_is_no_volume(self, tmp_path):
        write(make_series(), tmp_path / "whole")
        write(make_series()[:3], tmp_path / ".faimed3d-writing-abc123")
        assert list(dicom_inventory(tmp_path)["slices"]) == [5]

    def test_a_transfer_syntax_that_is_none_is_not_quoted(self, tmp_path):
        (path, *_) = write(make_series(), tmp_path)
        data = path.read_bytes()
        assert data.count(b"1.2.840.10008.1.2.1\0") == 1
        path.write_bytes(data.replace(b"1.2.840.10008.1.2.1\0", b"Doe^Jane 19570317   "))
        text = r"IM9999\.dcm: \(0002,0010\) TransferSyntaxUID is no UID"
        with pytest.raises(errors.DamagedFile, match=text):
            read_dicom(tmp_path)
        assert "Doe" not in dicom_inventory(tmp_path).to_string()

    @pytest.mark.parametrize("text", ["version https://git-lfs.github.com/spec/v1\n", "<html>404</html>"])
    def test_a_slice_with_a_hexadecimal_name_that_became_text_is_lost(self, tmp_path, text):
        paths = write(make_series(), tmp_path, ["0a1b2c", "9f8e7d", "77aa01", "c3d4e5", "beef42"])
        paths[4].write_text(text)
        with pytest.raises(errors.DamagedFile, match=r"beef42: (a pointer to a file|named as the slices beside it)"):
            read_dicom(tmp_path)

    def test_a_grey_capture_of_the_screen_is_skipped(self, tmp_path):
        capture = make_slice(
            stored_values((1, 9, 4))[0],
            ORIGIN,
            SOPClassUID="1.2.840.10008.5.1.4.1.1.7",
            ImagePositionPatient=None,
            ImageOrientationPatient=None,
            PixelSpacing=None,
        )
        write([*make_series(), capture], tmp_path)
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())
        assert dicom_inventory(tmp_path).attrs["skipped"] == {"captures": 1}

    @pytest.mark.parametrize("tag", [b"\x20\0\x11\0IS\2\0", b"\x20\0\x13\0IS\2\0"])
    def test_digits_of_other_scripts_are_no_numbers(self, tmp_path, tag):
        for path in write_series(tmp_path, InstanceNumber=2):
            data = path.read_bytes()
            place = data.index(tag) + 8
            path.write_bytes(data[:place] + b"\xb2 " + data[place + 2 :])
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())

    @pytest.mark.parametrize("side", [30000, 65535])
    def test_a_short_frame_that_claims_to_be_huge_is_refused_before_allocating(self, tmp_path, side, monkeypatch):
        dataset = compressed(make_slice(stored_values((1, 33, 40))[0], ORIGIN), "rle")
        dataset.Rows = dataset.Columns = side
        path = write([dataset], tmp_path)[0]
        refuse_to_allocate(monkeypatch, (1, side, side))
        with pytest.raises(errors.TruncatedFile, match=rf"frame 1 of {side} x {side} pixels cannot lie in \d+ bytes"):
            read_dicom(path)

    def test_a_volume_beyond_the_memory_is_refused(self, tmp_path, monkeypatch):
        write_series(tmp_path)
        refuse_to_allocate(monkeypatch, (5, 6, 7))
        with pytest.raises(
            errors.UnsupportedImage, match=r"5 slices of 6 x 7 pixels need 0\.0 GiB of memory, more than"
        ):
            read_dicom(tmp_path)


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
