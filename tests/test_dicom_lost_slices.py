"""Slices that a volume of a series has lost are noticed by what header and siblings tell."""

import numpy as np
import pytest
from dicom_archive import GRADIENTS, NORMAL, echoes, keep, several, time_points
from dicom_faults import read_lenient
from dicom_series import (
    AXIAL,
    ORIGIN,
    SPACING,
    enhanced,
    make_series,
    make_slice,
    stored_values,
    write,
)
from pydicom.uid import (
    PositronEmissionTomographyImageStorage,
    SecondaryCaptureImageStorage,
)

from faimed3d import errors
from faimed3d.dicom import dicom_inventory, read_dicom


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
        for numbered_on in (True, False):
            for dataset, t, k in datasets:
                dataset.InstanceNumber = k + 1 + (2 if numbered_on else 8) * t
            keep(datasets, lambda t, k: k < 5 if t == 0 else k >= 3, tmp_path)
            if numbered_on:
                np.testing.assert_array_equal(read_dicom(tmp_path, 0)[0], volumes[0][:5])
                np.testing.assert_array_equal(read_dicom(tmp_path, 1)[0], volumes[1][3:])
            else:  # the numbers say that images are lost: two volumes whose ends are
                for n in range(2):
                    with pytest.raises(errors.MissingSlices, match="is missing at its end"):
                        read_dicom(tmp_path, n)

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
