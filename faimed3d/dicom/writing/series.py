"""A volume as a DICOM series: one file for each slice, new identifiers, no more of a patient than is asked for.

Which storage class a modality gets, and why:

- ``CT``: CT Image Storage (PS3.3 A.3). Its values are slope * stored + intercept in Hounsfield units by definition.
- ``MR``: MR Image Storage (PS3.3 A.4). That object has no rescale; the two elements are added (a standard extended
  class, PS3.2 section 7.3) where whole numbers of 16 bits cannot hold the values.
- All others: Secondary Capture Image Storage (PS3.3 A.8) with the modality as given; it allows the plane in the patient
  and the rescale. The own classes of PET, NM, US, ... demand facts of the acquisition that an array does not know.
"""

from __future__ import annotations

import os
import re

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from faimed3d._atomic import replace_empty_folder, unfinished_folder
from faimed3d._keywords import strict_keywords
from faimed3d.dicom.contents import survey
from faimed3d.dicom.grouping.scan import scan_folder
from faimed3d.dicom.header import Tag, dataset_bytes, quiet
from faimed3d.dicom.writing.elements import (
    Decimal,
    PlaneElements,
    check_series_number,
    check_text,
    plane_elements,
    slice_order,
)
from faimed3d.dicom.writing.stored_values import StoredForm, check_volume, stored_form
from faimed3d.dicom.writing.template import template_dataset
from faimed3d.errors import ReadError
from faimed3d.geometry import Geometry

# PS3.3 C.7.1.1, C.7.2.1, C.7.4.1: must be there, may be empty (type 2)
_EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"),
    *("AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator"),
)


@strict_keywords
def write_series(
    folder: str | bytes | os.PathLike[str],
    array: np.ndarray,
    geometry: Geometry,
    template: str | os.PathLike[str] | Dataset | None = None,
    *,
    modality: str = "OT",
    series_description: str = "",
    series_number: int = 1,
    units: str | None = None,
) -> list[str]:
    """Write a volume or mask as a DICOM series, whole or not at all: ``IM0001.dcm``, ``IM0002.dcm``, ... by slice.

    Whole numbers that span at most 65536 values come back exactly (slope 1), whatever their dtype. Other values are
    rounded to steps of even size over the range of the volume and come back to half a step, plus what float32 rounds.
    The step is (largest - smallest) / 65535; where some values are below 0 and others not, it is the largest magnitude
    / 32767. A value of 0 comes back as 0.

    Args:
        folder: where to write; must not exist or be empty. Its parent must exist. The files are written beside it,
            their geometry is read back and compared, and only then the folder gets its name. It replaces an empty one,
            whose permissions it keeps.
        array: (D,H,W), or (1,D,H,W), of booleans, integers or floats.
        geometry: its :class:`~faimed3d.geometry.Geometry`. A left-handed grid is stored as it is and comes back with
            its slices in the other order: DICOM counts them along the cross product of row and column direction.
        template: DICOM folder, file or pydicom data set of the patient and study that the volume belongs to; it must
            lie in the same world. Only the elements of ``TEMPLATE_KEYWORDS`` are taken.
            None: a new study of a patient without name.
        modality: (0008,0060), such as ``"CT"``, ``"MR"``, ``"PT"``; ``"OT"`` is other, as for masks.
        series_description: (0008,103E), at most 64 characters.
        series_number: (0020,0011), a whole number of 32 bits.
        units: (0028,1054) RescaleType, at most 64 characters; default ``"HU"`` for CT and ``"US"`` (unspecified) for
            others.

    Returns:
        Paths of the files in slice order.

    Raises:
        FileExistsError: something lies there already. FileNotFoundError: no parent folder, or no template.
        TypeError: an array, geometry, template or number of a wrong kind.
        ValueError: NaN or infinite values, integers of a wider span, a sheared grid, a shape that is no volume's or not
            the geometry's, text that its element cannot hold, a folder that cannot be replaced as the current one.
        OSError: the disk is full or read-only; nothing is left behind.

    >>> import tempfile
    >>> import numpy as np
    >>> geometry = Geometry((2, 3, 4), spacing=(1, 2, 3))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths = write_series(f"{folder}/mask", np.ones((2, 3, 4), int), geometry, series_description="tumour")
    ...     [os.path.basename(path) for path in paths]
    ['IM0001.dcm', 'IM0002.dcm']
    """
    folder = os.path.abspath(os.fsdecode(folder))
    _check_target(folder)
    array = check_volume(array, geometry)
    positions, form = plane_elements(geometry), stored_form(array)
    base = _common_header(template_dataset(template), modality, series_description, series_number)
    _describe_pixels(base, geometry, form, units)
    digits = max(4, len(str(len(array))))
    names = [f"IM{k + 1:0{digits}d}.dcm" for k in range(len(array))]
    final = os.path.realpath(folder) if os.path.islink(folder) else folder
    with unfinished_folder(final) as unfinished:
        made = os.path.join(unfinished, "series")
        os.mkdir(made)  # with the permissions of a new folder, which those of the temporary folder are not
        with quiet():
            for k, (name, plane, position) in enumerate(zip(names, array, positions, strict=True)):
                content = dataset_bytes(_slice(base, k + 1, position, form.words(plane)), folder)
                with open(os.path.join(made, name), "wb") as file:
                    file.write(content)
        _compare_geometry(folder, made, geometry)
        replace_empty_folder(made, final)
    return [os.path.join(folder, name) for name in names]


def _check_target(folder: str) -> None:
    parent = os.path.dirname(folder)
    if not os.path.isdir(parent):
        raise FileNotFoundError(f"{folder}: the folder {parent} does not exist; create it first")
    if os.path.isdir(folder):
        if os.listdir(folder):
            raise FileExistsError(f"{folder}: the folder is not empty; a series is written into a new or empty one")
        if os.path.samefile(folder, os.getcwd()) or os.path.ismount(folder):
            raise ValueError(
                f"{folder}: the current folder, or the root of a file system, cannot be replaced by a whole one; give "
                "the name of a new folder in it"
            )
    elif os.path.lexists(folder):
        raise FileExistsError(f"{folder}: a file; a series is written into a new or empty folder")


def _common_header(taken: Dataset, modality: str, description: str, number: int) -> Dataset:
    """What all slices share, apart from the description of their pixels."""
    if not (isinstance(modality, str) and re.fullmatch(r"[A-Z0-9_]{1,16}", modality)):
        raise ValueError(f"modality must be a code such as 'CT', 'MR', 'PT' or 'OT' (0008,0060), got {modality!r}")
    check_text("series_description (0008,103E)", description)
    base = Dataset()
    base.file_meta = FileMetaDataset()
    base.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    base.SpecificCharacterSet = "ISO_IR 192"
    for keyword in _EMPTY:
        setattr(base, keyword, "")
    base.StudyInstanceUID, base.FrameOfReferenceUID = generate_uid(None), generate_uid(None)
    base.update(taken)
    base.SeriesInstanceUID = generate_uid(None)
    base.Modality, base.SeriesDescription, base.SeriesNumber = modality, description, check_series_number(number)
    base.Manufacturer = "faimed3d"
    base.ImageType = ["DERIVED", "SECONDARY"]
    if modality == "CT":
        base.SOPClassUID = CTImageStorage
        base.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
        base.KVP = base.AcquisitionNumber = None
        base.PatientPosition = ""
    elif modality == "MR":
        base.SOPClassUID = MRImageStorage
        base.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
        base.ScanningSequence, base.SequenceVariant = "RM", "NONE"  # RM: research mode, the one that says nothing else
        base.ScanOptions = base.MRAcquisitionType = base.PatientPosition = ""
        base.EchoTime = base.EchoTrainLength = None
    else:
        base.SOPClassUID = SecondaryCaptureImageStorage
        base.ConversionType = "WSD"  # made on a workstation
        base.PatientOrientation = ""
    return base


def _describe_pixels(base: Dataset, geometry: Geometry, form: StoredForm, units: str | None) -> None:
    x, y, z = (Decimal.of(value).text for value in geometry.spacing)
    base.PixelSpacing, base.SliceThickness = [y, x], z
    if base.SOPClassUID == SecondaryCaptureImageStorage:
        base.NominalScannedPixelSpacing = base.PixelSpacing  # what GDCM, and so ITK, looks at in this class
    base.SamplesPerPixel, base.PhotometricInterpretation = 1, "MONOCHROME2"
    base.Rows, base.Columns = geometry.shape[1:]
    base.BitsAllocated, base.BitsStored, base.HighBit = 16, 16, 15
    base.PixelRepresentation = int(form.dtype is np.int16)
    if not form.is_identity or base.Modality != "MR":
        base.RescaleSlope, base.RescaleIntercept = form.slope.text, form.intercept.text
        base.RescaleType = check_text("units (0028,1054)", units or ("HU" if base.Modality == "CT" else "US"))


def _slice(base: Dataset, number: int, position: PlaneElements, words: np.ndarray) -> Dataset:
    dataset = Dataset(base)
    dataset.file_meta = FileMetaDataset(base.file_meta)
    dataset.SOPInstanceUID = generate_uid(None)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.InstanceNumber = number
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = position
    data = words.astype(words.dtype.newbyteorder("<"), copy=False).tobytes()
    dataset.add_new(Tag.PixelData, "OW", data)
    return dataset


def _compare_geometry(folder: str, made: str, geometry: Geometry) -> None:
    """Read the headers back: not every grid survives texts of 16 characters and a reader's tolerances.

    Raises:
        ValueError: the grid does not come back, or has a fault.
    """
    cause, found = "", None
    try:
        (volume,) = survey(scan_folder(made)).volumes
        cause = volume.findings[0].message if volume.findings else ""
        found = volume.geometry
    except (ReadError, ValueError) as error:
        cause = str(error)
    if cause or found is None or not slice_order(found, geometry):
        raise ValueError(
            f"{folder}: a DICOM series cannot hold the {geometry!r}: {cause.replace(made, folder) or f'got {found!r}'}"
        )
