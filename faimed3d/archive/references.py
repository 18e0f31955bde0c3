"""Which objects refer to a scan: a verdict from their headers in DICOM JSON (PS3.18 annex F)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from faimed3d.archive.dicom_json import FRAME_UID, NAMED_UID, SERIES_UID, Item, text_of

_FRAME_OF_ROI = "30060024"  # (3006,0024) ReferencedFrameOfReferenceUID, of each region of a structure set
_NO_IMAGES = ("00081110", "00081111", "00081120")  # Referenced Study, Performed Procedure Step, Patient Sequence


@dataclass(frozen=True)
class Scan:
    """What objects name when they refer to a scan.

    Attributes:
        study, series: its UIDs.
        frame: (0020,0052) FrameOfReferenceUID; '' where it is not known.
        objects: (0008,0018) of its images.
    """

    study: str
    series: str
    frame: str = ""
    objects: frozenset[str] = field(default=frozenset())


def refers(header: Item, scan: Scan) -> bool:
    """Whether an object refers to a scan.

    It names series, and this is one of them; or it names objects alone, some of this scan; or it names neither, and
    lies in the frame of reference of the scan, as structure sets of some programs say no more.

    >>> scan = Scan("1", "1.2", frame="1.9")
    >>> refers({"00081115": {"Value": [{"0020000E": {"Value": ["1.2"]}}]}}, scan)
    True
    >>> refers({"00200052": {"Value": ["1.8"]}}, scan)
    False
    """
    series, objects, frames = set(), set(), {text_of(header, FRAME_UID)}
    for item in _nested(header):
        series.add(text_of(item, SERIES_UID))
        objects.add(text_of(item, NAMED_UID))
        frames |= {text_of(item, FRAME_UID), text_of(item, _FRAME_OF_ROI)}
    if series - {""}:
        return scan.series in series
    objects -= {"", scan.study}
    if objects:
        return not objects.isdisjoint(scan.objects)
    return bool(scan.frame) and scan.frame in frames


def _nested(item: Item) -> Iterator[Item]:
    """All items of sequences in an object, at any depth, that may refer to images."""
    waiting: list[Any] = [item]
    while waiting:
        for tag, element in waiting.pop().items():
            if tag in _NO_IMAGES:
                continue
            values = element.get("Value") if isinstance(element, Mapping) else None
            inner = [value for value in values if isinstance(value, Mapping)] if isinstance(values, list) else []
            inner = [one for one in inner if all(isinstance(part, Mapping) for part in one.values())]  # no names
            yield from inner
            waiting += inner
