"""UIDs, numbers and IDs of images: which of them the images of one series and of one volume share."""

from __future__ import annotations

from faimed3d.dicom.header import FileHeader, Tag
from faimed3d.dicom.planes import Plane
from faimed3d.errors import DamagedFile

# What images of one series have in common. The patient's ID is compared, and nothing else is done with it.
SERIES_TAGS = (Tag.SeriesInstanceUID, Tag.SeriesNumber, Tag.StudyInstanceUID, Tag.PatientID)
# Images that differ in these are no slices of one volume: their values have other units, or mean something else
KIND_TAGS = (Tag.SOPClassUID, Tag.Modality, Tag.Units)
IDENTITY_TAGS = (*SERIES_TAGS, Tag.FrameOfReferenceUID)


def series_key(header: FileHeader) -> tuple[str, ...]:
    """What images of one series share."""
    return tuple(header.text(tag) for tag in SERIES_TAGS)


def identity(header: FileHeader) -> tuple[str, ...]:
    """What images of one volume share: their series, and the frame of reference."""
    return tuple(header.text(tag) for tag in IDENTITY_TAGS)


def instance_number(plane: Plane) -> int | None:
    """(0020,0013) InstanceNumber of a plane's file; None where it is no whole number."""
    text = plane.header.text(Tag.InstanceNumber)
    return int(text) if text.isascii() and text.isdigit() else None


def whole_number(header: FileHeader, tag: int) -> int | None:
    """Value of an integer element; None where it is absent or damaged: of no use, and no harm to the pixels."""
    try:
        return header.integer(tag)
    except DamagedFile:
        return None
