"""A folder with what the examples of the command name, and what its output must not tell."""

import shlex

import numpy as np
from dicom_series import make_series, stored_values, write
from pydicom import dcmread
from pydicom.uid import generate_uid

from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.command.parser import make_parser
from faimed3d.dicom.header.confidentiality import is_identifying

SHAPE = (3, 12, 16)
IDENTIFYING = {
    **{"PatientName": "Doe^Jane", "PatientID": "PID-4711", "PatientBirthDate": "19570317", "StudyDate": "20200229"},
    **{"AccessionNumber": "ACC-77123", "InstitutionName": "St. Elsewhere", "ReferringPhysicianName": "Quincy^Medical"},
    **{"StudyDescription": "Prostate of Jane", "ProtocolName": "for Doe", "StudyID": "SID-990", "PatientSex": "F"},
    **{"StationName": "STATION-3", "DeviceSerialNumber": "SN-5150", "PatientComments": "afraid of needles"},
}


def parsers():
    """Subcommand -> its parser."""
    return next(action.choices for action in make_parser()._actions if action.choices)


def examples_of(name):
    """The examples in the help of a subcommand, as words."""
    lines = [line.strip() for line in parsers()[name].format_help().splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith(f"faimed3d {name} ")]


def make_home(root):
    """Write an export of DICOM, a scan and a mask of it."""
    uids = {name: generate_uid() for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")}
    slices = make_series(stored_values(SHAPE), SeriesDescription="T2 axial", **uids, **IDENTIFYING)
    for folder in ("export/a/1", "export/b/1"):
        write(slices, root / folder)
    first = min((root / "export/a/1").iterdir())
    (root / "export/b/1/cut.dcm").write_bytes(first.read_bytes()[:900])
    scan = TensorDicom3D.create(root / "export/a/1")
    scan.save(root / "scan.nii.gz")
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, 2:10, 3:12], labels[1, 4:8, 5:9] = 1, 2
    TensorMask3D(labels, like=scan, codes=["background", "gland", "tumour"]).save(root / "mask.nii.gz")
    return root


def secrets_in(text, files):
    """Values of identifying elements of DICOM files that a text holds, but for those that the inventory is for."""
    listed = ("SeriesInstanceUID", "SeriesDescription")
    values = [str(one.value) for one in dcmread(files[0]) if is_identifying(one.tag) and one.keyword not in listed]
    assert len(values) > 12
    return [value for value in values if len(value) > 1 and value in text]
