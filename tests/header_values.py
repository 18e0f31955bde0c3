"""A scan whose header is full of things that must not leave the computer, for the tests that look for them."""

import re

from dicom_series import write_series

from faimed3d.basics import TensorDicom3D


def telling_scan(root):
    """A volume read from a DICOM folder, and every value of its headers, and of the folder's name, that is a text.

    Numbers with a decimal point are left out: spacings and windows are seen in a picture.
    """
    folder = write_series(root / "Doe^Jane_4711", PatientName="Zaphod^Beeblebrox", PatientID="PID-424242",
                          StudyDate="19790312", InstitutionName="Megadodo", SeriesDescription="ThoraxNativ",
                          AccessionNumber="ACC-987654")  # fmt: skip
    volume = TensorDicom3D.create(folder)
    table = volume.metadata["table"]
    values = {str(value) for column in table.columns for value in table[column] if len(str(value)) > 5}
    values |= {part for value in values for part in re.split(r"[\\^]", value) if len(part) > 5}
    numbers = {
        value for value in values if re.fullmatch(r"[-+.\d\\]+", value) and "." in value and value.count(".") < 3
    }
    secret = (values - numbers) | {"Doe^Jane", "4711", "Zaphod", "Beeblebrox", "PID-424242", "19790312"}
    assert {"Zaphod^Beeblebrox", "ThoraxNativ", "ACC-987654"} <= secret
    return volume, secret


def found_in(data, secret):
    """The values that stand in the bytes of a file."""
    return [value for value in secret if value.encode("latin-1", "replace") in data]
