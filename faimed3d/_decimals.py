"""Numbers written as text, read strictly: Python alone would also take '1_000' and the digits of other scripts."""

from __future__ import annotations

import re

_WHOLE = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r" *[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)? *")
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)


def whole_number(text: str) -> int:
    """The whole number that a text is.

    Raises:
        ValueError: it is none.
    """
    if not _WHOLE.fullmatch(text):
        raise ValueError("not a whole number")
    return int(text)


def decimal_number(text: str, nonfinite: bool = False) -> float:
    """The decimal number that a text is, spaces around it allowed, as in DICOM's DS and IS (PS3.5 section 6.2).

    Args:
        text: '1', '-.5', '2.', '1e-3', ...
        nonfinite: whether 'nan' and 'inf' are numbers, too, as in NRRD and MetaImage.

    Raises:
        ValueError: it is none.
    """
    if not (_DECIMAL.fullmatch(text) or (nonfinite and _NOT_FINITE.fullmatch(text))):
        raise ValueError("not a decimal number")
    return float(text)
