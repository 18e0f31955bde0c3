"""A PET series of known dose, weight and times; no tests here."""

import numpy as np
from dicom_series import make_series, stored_values, write
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import PositronEmissionTomographyImageStorage

STORED = stored_values((3, 4, 5), low=0, high=30000)
SLOPES = (0.5, 2.0, 1.25)
ACTIVITY = STORED * np.array(SLOPES)[:, None, None]
HALF_LIFE = 6586.2  # s, F-18


def pet(folder, edit=None, tracer=None, **elements):
    """A PET series of 3 slices: 70 kg, 370 MBq of F-18 at 10:00, scan from 11:00 on; None deletes an element.

    After an hour 2 ** (-3600 / 6586.2) = 0.684634 of the dose is left: 253.315 MBq, so SUV = Bq/ml * 70000 g / that.
    """
    item = Dataset()
    injected = {
        "RadiopharmaceuticalStartTime": "100000.000000", "RadionuclideTotalDose": "370000000",
        "RadionuclideHalfLife": f"{HALF_LIFE}", **(tracer or {}),
    }  # fmt: skip
    for keyword, value in injected.items():
        if value is not None:
            setattr(item, keyword, value)
    values = {
        "SOPClassUID": PositronEmissionTomographyImageStorage, "Modality": "PT", "Units": "BQML",
        "DecayCorrection": "START", "CorrectedImage": ["DECY", "ATTN", "SCAT"], "PatientWeight": "70",
        "SeriesDate": "20240229", "SeriesTime": "110000", "AcquisitionDate": "20240229",
        "NumberOfSlices": 3, "RadiopharmaceuticalInformationSequence": Sequence([item]),
    }  # fmt: skip

    def each(k, dataset):
        dataset.RescaleSlope, dataset.RescaleIntercept = SLOPES[k], 0
        dataset.AcquisitionTime = f"11{3 * k:02d}00"
        for keyword, value in {**values, **elements}.items():
            setattr(dataset, keyword, value)
            if value is None:
                delattr(dataset, keyword)
        if edit:
            edit(k, dataset)

    return write(make_series(STORED, edit=each), folder)
