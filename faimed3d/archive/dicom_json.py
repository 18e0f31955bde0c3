"""Headers as an archive tells them: DICOM JSON (PS3.18 annex F), of which nothing is sure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Item = Mapping[str, Any]

STUDY_UID, SERIES_UID, SOP_UID = "0020000D", "0020000E", "00080018"
MODALITY, SERIES_DESCRIPTION, COUNT = "00080060", "0008103E", "00201209"
FRAME_UID, NAMED_UID = "00200052", "00081155"  # of the frame of reference; of an object that is referred to
FAILED, REFERENCED, REASON = "00081198", "00081199", "00081197"  # of a reply to STOW-RS


def text_of(item: Item, tag: str) -> str:
    """The first value of an element as text; '' for none.

    >>> text_of({"00080060": {"vr": "CS", "Value": ["MR"]}}, MODALITY)
    'MR'
    """
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, Mapping) else None
    value = values[0] if isinstance(values, list) and values else None
    if isinstance(value, Mapping):
        value = value.get("Alphabetic")  # a person's name
    return "" if value is None else str(value).strip(" \0")


def items_of(item: Item, tag: str) -> list[Item]:
    """The items of a sequence.

    >>> items_of({"00081199": {"vr": "SQ"}}, REFERENCED)
    []
    """
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, Mapping) else None
    return [value for value in values if isinstance(value, Mapping)] if isinstance(values, list) else []
