"""The ROIs of one RT Structure Set file, as they are written: names and contours in the patient."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import RTStructureSetStorage

from faimed3d.dicom.header import WANTED, FileHeader, Tag, name_tag, quiet, read_header
from faimed3d.errors import DamagedFile, UnsupportedImage

_CONTOUR_DATA = 0x30060050
_FARTHEST = 1e5  # mm: no point of a patient lies farther from the origin of a scanner; NaN does not pass either
_NEEDED = (
    *("SOPClassUID", "SpecificCharacterSet", "FrameOfReferenceUID"),
    *("ReferencedFrameOfReferenceSequence", "StructureSetROISequence", "ROIContourSequence"),
)
CLOSED, CLOSED_XOR = "CLOSED_PLANAR", "CLOSEDPLANAR_XOR"  # PS3.3 C.8.8.6.1: the kinds that enclose an area


@dataclass(frozen=True, slots=True)
class Contour:
    """One contour of an ROI.

    Attributes:
        kind: (3006,0042) ContourGeometricType.
        points: (N, 3) as (x, y, z) mm, LPS.
    """

    kind: str
    points: np.ndarray


@dataclass(frozen=True, slots=True)
class Roi:
    """One region of interest.

    Attributes:
        number: (3006,0022) ROINumber.
        name: (3006,0026) ROIName; 'ROI 3' where it has none.
        frame: UID of its frame of reference, '' where the file does not say it.
        contours: as they come in the file.
    """

    number: int
    name: str
    frame: str
    contours: tuple[Contour, ...]

    @property
    def kinds(self) -> list[str]:
        """Kinds of its contours, each once."""
        return sorted({contour.kind for contour in self.contours})

    @property
    def encloses(self) -> bool:
        """Whether it has contours that enclose an area."""
        return any(kind in (CLOSED, CLOSED_XOR) for kind in self.kinds)


def is_structure_set(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a DICOM file of an RT Structure Set."""
    header = read_header(path, WANTED)
    return header is not None and _kind(header) == RTStructureSetStorage


def read_rois(path: str) -> tuple[Roi, ...]:
    """Read all ROIs of a structure set (PS3.3 C.8.8.5 and C.8.8.6), in the order of the file.

    Raises:
        FileNotFoundError: no such file.
        UnsupportedImage: no RT Structure Set.
        TruncatedFile, DamagedFile: the file is cut, or contradicts itself.
    """
    header = read_header(path, WANTED)
    if header is not None and header.error:
        raise header.error
    if header is None or _kind(header) != RTStructureSetStorage:
        raise UnsupportedImage(f"{path}: no RT structure set by {name_tag('SOPClassUID')}, so it holds no contours")
    with open(path, "rb") as file, quiet():
        try:
            dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(_NEEDED), force=True)
            return _rois(dataset, path)
        except DamagedFile:
            raise
        except Exception as error:  # pydicom raises many kinds on damaged input; their texts may quote the header
            raise DamagedFile(f"{path}: pydicom cannot read the contours ({type(error).__name__})") from None


def _kind(header: FileHeader) -> str:
    """UID of the class of an object; of the file meta information where a damaged file does not show its own."""
    return header.text(Tag.SOPClassUID) or header.text(Tag.MediaStorageSOPClassUID)


def _rois(dataset: Dataset, path: str) -> tuple[Roi, ...]:
    listed = dataset.get("StructureSetROISequence") or ()
    contours: dict[int, tuple[Contour, ...]] = {}
    for item in dataset.get("ROIContourSequence") or ():
        number = _number(item, "ReferencedROINumber", path)
        if number in contours:
            raise DamagedFile(f"{path}: {name_tag('ROIContourSequence')} has two items of ROI {number}")
        parts = enumerate(item.get("ContourSequence") or (), 1)
        contours[number] = tuple(_contour(part, f"{path}: contour {k} of ROI {number}") for k, part in parts)
    rois = []
    for item in listed:
        number = _number(item, "ROINumber", path)
        name = str(item.get("ROIName") or "").strip() or f"ROI {number}"
        rois.append(Roi(number, name, _frame(item, dataset), contours.pop(number, ())))
    if len({roi.number for roi in rois}) < len(rois):
        raise DamagedFile(f"{path}: {name_tag('StructureSetROISequence')} has two ROIs of one {name_tag('ROINumber')}")
    if contours:
        raise DamagedFile(
            f"{path}: there are contours of ROI {min(contours)}, which {name_tag('StructureSetROISequence')} lacks"
        )
    return tuple(rois)


def _frame(item: Dataset, dataset: Dataset) -> str:
    """UID of the frame of reference of an ROI, of the file where the ROI does not say it."""
    found: Iterable[object] = [item.get("ReferencedFrameOfReferenceUID")]
    referenced = dataset.get("ReferencedFrameOfReferenceSequence") or ()
    if len(referenced) == 1:
        found = [*found, referenced[0].get("FrameOfReferenceUID")]
    return next((str(uid).strip() for uid in [*found, dataset.get("FrameOfReferenceUID")] if uid), "")


def _number(item: Dataset, keyword: str, path: str) -> int:
    value = item.get(keyword)
    if value is None or isinstance(value, str) or int(value) != value:
        raise DamagedFile(f"{path}: {name_tag(keyword)} of an ROI is absent or no number")
    return int(value)


def _contour(item: Dataset, where: str) -> Contour:
    kind = str(item.get("ContourGeometricType") or "").strip()
    if not kind:
        raise DamagedFile(f"{where}: {name_tag('ContourGeometricType')} is absent or empty")
    element = item.get_item(_CONTOUR_DATA) if _CONTOUR_DATA in item else None
    raw = getattr(element, "value", None)
    try:
        numbers = _decimals(raw)
    except ValueError:
        numbers = None
    if numbers is None or not len(numbers) or len(numbers) % 3 or not (np.abs(numbers) <= _FARTHEST).all():
        raise DamagedFile(f"{where}: {name_tag('ContourData')} is absent, or is no list of (x, y, z) in mm")
    count = item.get("NumberOfContourPoints")
    if count not in (None, "") and int(count) != len(numbers) // 3:
        raise DamagedFile(
            f"{where}: {name_tag('NumberOfContourPoints')} says {int(count)}, and {name_tag('ContourData')} holds "
            f"{len(numbers) // 3} points"
        )
    return Contour(kind, numbers.reshape(-1, 3))


def _decimals(raw: object) -> np.ndarray:
    """Numbers of a DS element; pydicom's own objects for each of them take a hundred times as long."""
    if isinstance(raw, bytes):
        if b"_" in raw:  # float() takes it
            raise ValueError
        return np.array(list(map(float, raw.strip(b" \0").split(b"\\"))))
    return np.array([] if raw is None else raw, float).ravel()
