"""Whether what an archive sends is what was asked for: some ignore what they cannot match, and send all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches

from pydicom.datadict import dictionary_VR, keyword_dict, tag_for_keyword

from faimed3d._rows import wildcard
from faimed3d.archive.dicom_json import Item, text_of

_TEXTS = ("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UI", "UR", "UT")


def matches(item: Item, wanted: Mapping[str, str]) -> bool:
    """Whether all elements that an archive tells are as wanted; one that it does not tell is left to it.

    Texts match by the wildcards ``*`` and ``?`` (PS3.4 C.2.2.2.4), in whatever case, as archives differ in it; dates
    by ``from-to`` (C.2.2.2.5), either end of which may be absent.

    >>> matches({"0008103E": {"vr": "LO", "Value": ["T2_tse"]}}, {"SeriesDescription": "t2*"})
    True
    """
    return all(_matches(item, keyword, value) for keyword, value in wanted.items())


def weakened(wanted: Mapping[str, str]) -> dict[str, str]:
    """What to ask an archive for: ``*`` for all that has to be escaped in an address, as Orthanc 1.10 undoes no escape.

    >>> weakened({"SeriesDescription": "T2 tse*", "PatientName": "Doe^Jane"})
    {'SeriesDescription': 'T2*tse*', 'PatientName': 'Doe*Jane'}
    """
    return {keyword: re.sub(r"[^A-Za-z0-9._-]+", "*", value.strip()) for keyword, value in wanted.items()}


def checked_keyword(keyword: str) -> str:
    """A keyword of DICOM.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(keyword, str) or tag_for_keyword(keyword) is None:
        near = get_close_matches(str(keyword), keyword_dict, n=1)
        advice = f", did you mean {near[0]!r}?" if near else ", such as 'PatientID' or 'StudyDate'"
        raise ValueError(f"search: {keyword!r} is no DICOM keyword{advice}")
    return keyword


def checked_value(keyword: str, value: object) -> str:
    """A value to search for, as text.

    Raises:
        ValueError: the keyword is none; a date that is not of the form of DICOM, which would match nothing.
        TypeError: the value is neither a text nor a number.

    >>> checked_value("StudyDate", "20260101-")
    '20260101-'
    """
    keyword = checked_keyword(keyword)
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise TypeError(f"search: {keyword} must be one text, got {type(value).__name__}: search for each of several")
    text = str(value).strip()
    day = r"\d{8}"
    if dictionary_VR(keyword_dict[keyword]) == "DA" and not re.fullmatch(rf"|\*|{day}|{day}-|-{day}|{day}-{day}", text):
        raise ValueError(
            f"search: {keyword} must be a day as 20260131, or days as 20260101-20260131, 20260101- or -20260131"
        )
    return text


def _matches(item: Item, keyword: str, wanted: str) -> bool:
    number = keyword_dict[keyword]
    found = text_of(item, f"{number:08X}")
    kind = dictionary_VR(number)
    if not found or not wanted:
        return True
    if kind == "DA":
        low, dash, high = wanted.partition("-")
        return low <= found <= (high or "9") if dash else found == wanted
    if kind not in _TEXTS:
        return True
    return wildcard(wanted).fullmatch(found) is not None
