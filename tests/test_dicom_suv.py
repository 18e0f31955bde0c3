"""Standardized uptake values of PET, against numbers computed by hand from the definition."""

import math
import warnings
from datetime import datetime, timedelta

import numpy as np
import pytest
from dicom_pet import ACTIVITY, HALF_LIFE, STORED, pet
from dicom_series import SECRETS
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import EnhancedPETImageStorage

from faimed3d import errors
from faimed3d.basics import TensorDicom3D
from faimed3d.data import ImageBlock3D
from faimed3d.dicom import read_dicom, suv_factor


def by_hand(weight=70.0, dose=370e6, seconds=3600.0, half_life=HALF_LIFE):
    return weight * 1000 / (dose * math.exp(-math.log(2) * seconds / half_life))


class TestFactor:
    def test_of_the_first_example(self, tmp_path):
        assert suv_factor(pet(tmp_path)) == pytest.approx(0.000276336, rel=1e-5)  # 70000 g / 253.315e6 Bq
        assert suv_factor(pet(tmp_path)) == pytest.approx(by_hand(), rel=1e-9)

    @settings(max_examples=60, deadline=None)
    @given(
        weight=st.floats(0.02, 300),
        dose=st.floats(1e6, 2e9),
        half_life=st.sampled_from([6586.2, 1223.4, 122.24, 4062.6]),
        minutes=st.integers(0, 40),
        start=st.integers(0, 24 * 60 - 1),
        dated=st.booleans(),
        correction=st.sampled_from(["START", "ADMIN"]),
    )
    def test_is_weight_over_the_dose_that_is_left(
        self, tmp_path_factory, weight, dose, half_life, minutes, start, dated, correction
    ):
        folder = tmp_path_factory.mktemp("pet")
        scan = datetime(2024, 2, 29) + timedelta(minutes=start)
        injected = scan - timedelta(minutes=minutes)

        def edit(k, dataset):
            acquired = scan + timedelta(minutes=3 * k)
            dataset.AcquisitionDate, dataset.AcquisitionTime = f"{acquired:%Y%m%d}", f"{acquired:%H%M%S}"

        tracer = {"RadionuclideTotalDose": f"{dose:.8g}", "RadionuclideHalfLife": f"{half_life}"}
        if dated:
            tracer |= {
                "RadiopharmaceuticalStartDateTime": f"{injected:%Y%m%d%H%M%S}.00", "RadiopharmaceuticalStartTime": None,
            }  # fmt: skip
        else:
            tracer["RadiopharmaceuticalStartTime"] = f"{injected:%H%M%S}"
        files = pet(
            folder, edit, tracer, PatientWeight=f"{weight:.6g}", DecayCorrection=correction,
            SeriesDate=f"{scan:%Y%m%d}", SeriesTime=f"{scan:%H%M%S}",
        )  # fmt: skip
        seconds = 60 * minutes if correction == "START" else 0
        expected = by_hand(float(f"{weight:.6g}"), float(f"{dose:.8g}"), seconds, half_life)
        assert suv_factor(files) == pytest.approx(expected, rel=1e-9)

    def test_over_midnight(self, tmp_path):
        def edit(k, dataset):
            dataset.AcquisitionTime = f"00{30 + k}00"

        files = pet(tmp_path, edit, {"RadiopharmaceuticalStartTime": "234500"}, SeriesTime="003000")
        assert suv_factor(files) == pytest.approx(by_hand(seconds=45 * 60), rel=1e-9)

    def test_with_fractions_of_a_second_and_offsets_from_utc(self, tmp_path):
        tracer = {"RadiopharmaceuticalStartDateTime": "20240229080000.500+0000"}
        files = pet(tmp_path, None, tracer, TimezoneOffsetFromUTC="+0200")
        assert suv_factor(files) == pytest.approx(by_hand(seconds=3599.5), rel=1e-9)

    def test_of_a_series_processed_later_by_ge(self, tmp_path):
        def edit(k, dataset):
            dataset.private_block(0x0009, "GEMS_PETD_01", create=True).add_new(0x0D, "DT", "20240229105900.00")

        assert suv_factor(pet(tmp_path, edit, SeriesTime="180000")) == pytest.approx(by_hand(seconds=3540), rel=1e-9)

    def test_of_a_series_processed_later_is_computed_back(self, tmp_path):
        """Frames of 3 minutes from 11:00 on; the mean rate of a frame is not in its middle, but a little before."""
        rate = math.log(2) / HALF_LIFE
        mean = math.log(180 * rate / (1 - math.exp(-180 * rate))) / rate
        assert 89 < mean < 90

        def edit(k, dataset):
            dataset.FrameReferenceTime, dataset.ActualFrameDuration = f"{(180 * k + mean) * 1000:.3f}", "180000"

        assert suv_factor(pet(tmp_path, edit, SeriesTime="180000")) == pytest.approx(by_hand(), rel=1e-6)

    def test_of_philips_counts(self, tmp_path):
        for element, value, expected in ((0x00, "0.0123", 0.0123), (0x09, "1.5", 1.5 * by_hand())):

            def edit(k, dataset, element=element, value=value):
                block = dataset.private_block(0x7053, "Philips PET Private Group", create=True)
                block.add_new(0x00, "DS", "0")
                block.add_new(element, "DS", value)

            files = pet(tmp_path / f"{element}", edit, Units="CNTS")
            assert suv_factor(files) == pytest.approx(expected, rel=1e-9)

    def test_of_what_is_suv_already(self, tmp_path):
        assert suv_factor(pet(tmp_path / "none", Units="GML", PatientWeight=None)) == 1
        assert suv_factor(pet(tmp_path / "weight", Units="GML", SUVType="BW")) == 1
        with pytest.raises(errors.UnsupportedImage, match=r"\(0054,1006\) SUVType is LBM, not BW"):
            suv_factor(pet(tmp_path / "lean", Units="GML", SUVType="LBM"))


REFUSED = {
    "weight": ({"PatientWeight": None}, {}, r"\(0010,1030\) PatientWeight is absent or empty"),
    "weight 0": ({"PatientWeight": "0"}, {}, r"\(0010,1030\) PatientWeight must be above 0, got 0"),
    "weight in g": ({"PatientWeight": "70000"}, {}, r"\(0010,1030\) PatientWeight must be in kg, got 70000"),
    "units": ({"Units": None}, {}, r"\(0054,1001\) Units is absent"),
    "GE's units": ({"Units": "PROPCPS"}, {}, r"\(0054,1001\) Units is PROPCPS, and not BQML"),
    "counts": ({"Units": "CNTS"}, {}, r"\(0054,1001\) Units is CNTS, and neither \(7053,1000\) nor \(7053,1009\)"),
    "correction": ({"DecayCorrection": None}, {}, r"\(0054,1102\) DecayCorrection is absent"),
    "no correction": ({"DecayCorrection": "NONE"}, {}, r"\(0054,1102\) DecayCorrection is NONE, not START or ADMIN"),
    "attenuation": ({"CorrectedImage": ["DECY"]}, {}, r"\(0028,0051\) CorrectedImage does not hold ATTN"),
    "decay": ({"CorrectedImage": ["ATTN"]}, {}, r"\(0028,0051\) CorrectedImage does not hold DECY"),
    "corrected": ({"CorrectedImage": None}, {}, r"\(0028,0051\) CorrectedImage is absent"),
    "tracer": ({"RadiopharmaceuticalInformationSequence": None}, {}, r"\(0054,0016\) Radio.*must hold one item, has 0"),
    "series time": ({"SeriesTime": None}, {}, r"\(0008,0031\) SeriesTime is absent"),
    "series date": ({"SeriesDate": ""}, {}, r"\(0008,0021\) SeriesDate is absent or empty"),
    "no time": ({"SeriesTime": "9x"}, {}, r"\(0008,0031\) SeriesTime and \(0008,0021\) SeriesDate are no time"),
    "acquisition": ({"AcquisitionDate": None}, {}, r"\(0008,0022\) AcquisitionDate is absent"),
    "later": (
        {"SeriesTime": "180000"},
        {},
        r"SeriesTime is after the acquisition, and neither \(0009,100D\)",
    ),
    "dose": ({}, {"RadionuclideTotalDose": None}, r"\(0018,1074\) RadionuclideTotalDose is absent"),
    "dose 0": ({}, {"RadionuclideTotalDose": "0"}, r"\(0018,1074\) RadionuclideTotalDose must be above 0"),
    "dose in MBq": ({}, {"RadionuclideTotalDose": "370"}, r"RadionuclideTotalDose must be in Bq, got 370"),
    "half-life": ({}, {"RadionuclideHalfLife": None}, r"\(0018,1075\) RadionuclideHalfLife is absent"),
    "half-life 0": ({}, {"RadionuclideHalfLife": "0"}, r"\(0018,1075\) RadionuclideHalfLife must be above 0"),
    "start": ({}, {"RadiopharmaceuticalStartTime": None}, r"\(0018,1078\) .* and \(0018,1072\) .* are absent"),
    "start no time": ({}, {"RadiopharmaceuticalStartTime": "xx"}, r"\(0018,1072\) Radiopharm.* is no time"),
    "start no date": ({}, {"RadiopharmaceuticalStartDateTime": "x"}, r"\(0018,1078\) Radiopharm.* is no time"),
    "shifted": ({}, {"RadiopharmaceuticalStartDateTime": "20200101100000"}, "too long before the start of the scan"),
    "after": ({}, {"RadiopharmaceuticalStartDateTime": "20240229113000"}, "is after the start of the scan"),
    "zirconium": ({}, {"RadionuclideHalfLife": "282240"}, "half-life is so long that the scan may be days after"),
    "class": ({"SOPClassUID": EnhancedPETImageStorage}, {}, r"no PET image by \(0008,0016\) SOPClassUID"),
}


class TestRefused:
    @pytest.mark.parametrize("name", REFUSED)
    def test_where_an_element_is_missing_or_wrong(self, tmp_path, name):
        elements, tracer, text = REFUSED[name]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's, of values that break a rule
            files = pet(tmp_path, None, tracer, **elements)
        with pytest.raises(errors.UnsupportedImage, match=text) as caught:
            suv_factor(files)
        assert any(str(file) in str(caught.value) for file in files)
        assert not any(secret in str(caught.value) for secret in (*SECRETS, "20240229"))

    def test_where_the_files_differ(self, tmp_path):
        def edit(k, dataset):
            dataset.PatientWeight = "70" if k else "71"

        with pytest.raises(errors.UnsupportedImage, match=r"the files give factors of SUV from .* not of one scan"):
            suv_factor(pet(tmp_path, edit))
        with pytest.raises(errors.UnsupportedImage, match=r"\(0054,1001\) Units differs from file to file"):
            suv_factor(pet(tmp_path, lambda k, dataset: setattr(dataset, "Units", "BQML" if k else "GML")))
        with pytest.raises(ValueError, match="at least one file"):
            suv_factor([])


class TestVolumes:
    def test_each_slice_by_its_slope(self, tmp_path):
        pet(tmp_path)
        np.testing.assert_allclose(read_dicom(tmp_path)[0], ACTIVITY, rtol=1e-6)
        image = TensorDicom3D.create(tmp_path, suv=True)
        np.testing.assert_allclose(image.numpy(), ACTIVITY * by_hand(), rtol=1e-6)
        assert image.geometry == TensorDicom3D.create(tmp_path).geometry
        assert len(image.metadata["table"].columns) == 4

    def test_padding_is_scaled_as_well(self, tmp_path):
        pet(tmp_path, lambda k, dataset: dataset.add_new(0x00280120, "SS", 0))
        assert TensorDicom3D.create(tmp_path, suv=True).padding == ((0.0, 0.0),)
        pet(tmp_path, lambda k, dataset: dataset.add_new(0x00280120, "SS", int(STORED[k, 0, 0])))
        image = TensorDicom3D.create(tmp_path, suv=True)
        assert all(any(low <= v <= high for low, high in image.padding) for v in image[:, 0, 0].tolist())

    def test_in_a_block(self, tmp_path):
        pet(tmp_path)
        read = ImageBlock3D(suv=True).type_tfms[0]
        np.testing.assert_allclose(read(tmp_path).numpy(), ACTIVITY * by_hand(), rtol=1e-6)

    def test_of_no_dicom_files(self, tmp_path):
        with pytest.raises(ValueError, match=r"suv=True needs DICOM files, .*, got ndarray"):
            TensorDicom3D.create(ACTIVITY, suv=True)
        TensorDicom3D(ACTIVITY, {"spacing": (1, 1, 1), "origin": (0, 0, 1)}).save(tmp_path / "pet.nii.gz")
        with pytest.raises(ValueError, match=r"pet.nii.gz: suv=True needs DICOM files"):
            TensorDicom3D.create(tmp_path / "pet.nii.gz", suv=True)
