"""A volume as a DICOM series: one file for each slice, new identifiers, no more of a patient than is asked for.

Which storage class a modality gets, and why:

- ``CT``: CT Image Storage (PS3.3 A.3). Its values are slope * stored + intercept in Hounsfield units by definition.
- ``MR``: MR Image Storage (PS3.3 A.4). That object has no rescale; the two elements are added (a standard extended
  class, PS3.2 section 7.3) where whole numbers of 16 bits cannot hold the values.
- All others: Secondary Capture Image Storage (PS3.3 A.8) with the modality as given; it allows the plane in the patient
  and the rescale. The own classes of PET, NM, US, ... demand facts of the acquisition that an array does not know.
"""

from __future__ import annotations

import math
import operator
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
from pydicom.valuerep import format_number_as_ds

from faimed3d._atomic import replace_empty_folder, unfinished_folder
from faimed3d.dicom.contents import survey
from faimed3d.dicom.grouping.scan import scan_folder
from faimed3d.dicom.header import Tag, dataset_bytes, quiet
from faimed3d.dicom.writing.template import template_dataset
from faimed3d.errors import ReadError
from faimed3d.geometry import POSITION_TOLERANCE, Geometry

# PS3.3 C.7.1.1, C.7.2.1, C.7.4.1: must be there, may be empty (type 2)
_EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"),
    *("AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator"),
)
_LARGEST_SIDE = 65535
_MOST_STORED = 65535
_EXACT = 1 << 24  # integers up to here are exact in float32, which is what a reader makes of them


def write_series(
    folder, array, geometry, template=None, *, modality="OT", series_description="", series_number=1, units=None
):
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
    """
    folder = os.path.abspath(os.fsdecode(folder))
    _check_target(folder)
    array = check_volume(array, geometry)
    places = _places(geometry)
    form = _stored_form(array)
    base = _common_header(template_dataset(template), modality, series_description, series_number)
    _describe_pixels(base, geometry, form, units)
    digits = max(4, len(str(len(array))))
    names = [f"IM{k + 1:0{digits}d}.dcm" for k in range(len(array))]
    final = os.path.realpath(folder) if os.path.islink(folder) else folder
    with unfinished_folder(final) as unfinished:
        target = os.path.join(unfinished, "series")
        os.mkdir(target)  # with the permissions of a new folder, which those of the temporary folder are not
        with quiet():
            for k, (name, plane, place) in enumerate(zip(names, array, places, strict=True)):
                content = dataset_bytes(_slice(base, k + 1, place, _stored(plane, form)), folder)
                with open(os.path.join(target, name), "wb") as file:
                    file.write(content)
        _check_written(folder, target, geometry)
        replace_empty_folder(target, final)
    return [os.path.join(folder, name) for name in names]


def _check_target(folder):
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


def check_volume(array, geometry):
    """The voxels as an array (D,H,W) of numbers that fits the geometry."""
    if not isinstance(geometry, Geometry):
        raise TypeError(
            f"expected a Geometry, got {type(geometry).__name__}; a volume without one has no place in a patient"
        )
    array = np.asarray(array)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"voxels of type {array.dtype.name} cannot be written as DICOM; expected integers or floats")
    if array.ndim == 4 and len(array) == 1:
        array = array[0]
    if array.ndim != 3 or 0 in array.shape:
        raise ValueError(f"expected an array (D,H,W) or (1,D,H,W), got shape {array.shape}; write channels one by one")
    if array.shape != geometry.shape:
        raise ValueError(f"the array has (D,H,W) {array.shape}, but its geometry is for {geometry.shape}")
    if max(array.shape[1:]) > _LARGEST_SIDE:
        raise ValueError(f"a DICOM image has at most {_LARGEST_SIDE} rows and columns, got {array.shape[1:]}")
    return array


def check_upright(geometry):
    """Direction cosines (row, column) of the planes of a grid, after checking that it is not sheared."""
    upright = geometry.nearest_orthogonal()
    if not geometry.agrees(upright, POSITION_TOLERANCE):
        raise ValueError(
            f"a DICOM series has its slices at right angles above each other, this grid is sheared: {geometry!r}. "
            "Resample it onto an upright grid first"
        )
    return np.reshape(upright.direction, (3, 3)).T[:2].ravel()


def _places(geometry):
    """Per slice (position, orientation) as texts of at most 16 characters."""
    orientation = [_decimal(v) for v in check_upright(geometry)]
    step = geometry.spacing[2] * np.reshape(geometry.direction, (3, 3))[:, 2]
    return [([_decimal(v) for v in geometry.origin + k * step], orientation) for k in range(geometry.shape[0])]


def _decimal(value):
    """A number as DS holds it: at most 16 characters, no -0, and no dust such as 1e-17."""
    return format_number_as_ds(round(float(value), 13) + 0.0)


def _number(value):
    """Text of a positive or negative number for DS, and what a reader will make of it."""
    text = format_number_as_ds(float(value) + 0.0)
    return text, float(text)


def _stored_form(array):
    """Return (dtype, slope, intercept): how the values are stored; slope and intercept as (text, number)."""
    low, high, whole = _extent(array)
    one, zero = _number(1), _number(0)
    if whole and max(-low, high) <= _EXACT:
        if low >= 0 and high <= _MOST_STORED:
            return np.uint16, one, zero
        if low >= -32768 and high <= 32767:
            return np.int16, one, zero
        if high - low <= _MOST_STORED:
            return np.uint16, one, _number(low)
    if array.dtype.kind in "iu":
        raise ValueError(
            f"integers from {low:.0f} to {high:.0f} cannot be written exactly: a DICOM series here holds 65536 values "
            "in a row, none above 16777216. Renumber labels; convert other values to float, they are rounded then"
        )
    if low <= 0 <= high:
        dtype, step = (np.int16, max(-low, high) / 32767) if low < 0 else (np.uint16, high / _MOST_STORED)
        return dtype, _number(step), zero
    return np.uint16, _number((high - low) / _MOST_STORED or 1), _number(low)


def _extent(array):
    """(smallest value, largest value, whether all are whole numbers), slice by slice to spare memory."""
    if array.dtype.kind in "biu":
        return int(array.min()), int(array.max()), True
    low, high, whole = math.inf, -math.inf, True
    for k, plane in enumerate(array):
        with np.errstate(over="ignore"):
            single = plane.astype(np.float32, copy=False)
        bad = plane.size - np.count_nonzero(np.isfinite(single))
        if bad:
            raise ValueError(
                f"slice {k} has {bad} values that are NaN, infinite or beyond float32: DICOM cannot hold them. Replace "
                "them first, such as with torch.nan_to_num"
            )
        low, high = min(low, float(plane.min())), max(high, float(plane.max()))
        whole = whole and bool((plane == np.rint(plane)).all())
    return low, high, whole


def _stored(plane, form):
    dtype, (_, slope), (_, intercept) = form
    if slope == 1 and intercept == 0:
        return plane.astype(dtype)
    words = plane.astype(np.float64)
    words -= intercept
    words /= slope
    info = np.iinfo(dtype)
    return np.clip(np.rint(words, out=words), info.min, info.max, out=words).astype(dtype)


def check_text(name, value, shortest=0):
    """A text that an element of VR LO can hold (PS3.5 section 6.2); ``name`` is that of the argument, for the error.

    Raises:
        TypeError: no text. ValueError: more than 64 characters, a backslash or a control character.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be text, got {type(value).__name__}")
    if not shortest <= len(value) <= 64 or re.search(r"[\\\x00-\x1f\x7f]", value):
        raise ValueError(
            f"{name} must be {f'{shortest} to' if shortest else 'at most'} 64 characters without backslash or line "
            f"break, got {value!r}"
        )
    return value


def check_series_number(number):
    """A number that (0020,0011), of VR IS, can hold.

    Raises:
        TypeError: no whole number. ValueError: one of more than 32 bits.
    """
    try:
        number = operator.index(number)
    except TypeError:
        raise TypeError(f"series_number (0020,0011) must be a whole number, got {type(number).__name__}") from None
    if not -(2**31) <= number < 2**31:
        raise ValueError(f"series_number (0020,0011) must be a number of 32 bits, got {number}")
    return number


def _common_header(taken, modality, description, number):
    """What all slices share, apart from their pixels' description."""
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


def _describe_pixels(base, geometry, form, units):
    dtype, slope, intercept = form
    x, y, z = geometry.spacing
    base.PixelSpacing, base.SliceThickness = [_number(y)[0], _number(x)[0]], _number(z)[0]
    if base.SOPClassUID == SecondaryCaptureImageStorage:
        base.NominalScannedPixelSpacing = base.PixelSpacing  # what GDCM, and so ITK, looks at in this class
    base.SamplesPerPixel, base.PhotometricInterpretation = 1, "MONOCHROME2"
    base.Rows, base.Columns = geometry.shape[1:]
    base.BitsAllocated, base.BitsStored, base.HighBit = 16, 16, 15
    base.PixelRepresentation = int(dtype is np.int16)
    if (slope[1], intercept[1]) != (1, 0) or base.Modality != "MR":
        base.RescaleSlope, base.RescaleIntercept = slope[0], intercept[0]
        base.RescaleType = check_text("units (0028,1054)", units or ("HU" if base.Modality == "CT" else "US"))


def _slice(base, number, place, words):
    dataset = Dataset(base)
    dataset.file_meta = FileMetaDataset(base.file_meta)
    dataset.SOPInstanceUID = generate_uid(None)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.InstanceNumber = number
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = place
    data = words.astype(words.dtype.newbyteorder("<"), copy=False).tobytes()
    dataset.add_new(Tag.PixelData, "OW", data)
    return dataset


def _check_written(folder, target, geometry):
    """Read the headers back: not every grid survives texts of 16 characters and a reader's tolerances."""
    try:
        (volume,) = survey(scan_folder(target)).volumes
        problem = volume.findings[0].message if volume.findings else None
        found = volume.geometry
    except (ReadError, ValueError) as error:
        problem, found = error, None
    if problem or found is None or not _same_places(found, geometry):
        raise ValueError(
            f"{folder}: a DICOM series cannot hold the {geometry!r}: "
            + (str(problem).replace(target, folder) if problem else f"got {found!r}")
        )


def _same_places(found, geometry):
    if geometry.agrees(found, POSITION_TOLERANCE):
        return True
    turned = found.regrid(found.shape, (-1, 1, 1), (found.shape[0] - 1, 0, 0))
    return geometry.agrees(turned, POSITION_TOLERANCE)
