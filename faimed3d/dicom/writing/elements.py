"""What elements of a written object can hold: texts, numbers, and the position of planes."""

from __future__ import annotations

import operator
import re
from typing import NamedTuple, SupportsIndex

import numpy as np
from pydicom.valuerep import format_number_as_ds

from faimed3d.geometry import POSITION_TOLERANCE, Geometry

_LONGEST_TEXT = 64  # characters of VR LO (PS3.5 section 6.2)


class Decimal(NamedTuple):
    """A number as DS holds it, in at most 16 characters: the text, and what a reader will make of it."""

    text: str
    value: float

    @classmethod
    def of(cls, value: float) -> Decimal:
        """The nearest one; there is no -0."""
        text = format_number_as_ds(float(value) + 0.0)
        return cls(text, float(text))


class PlaneElements(NamedTuple):
    """(0020,0032) ImagePositionPatient and (0020,0037) ImageOrientationPatient of a plane."""

    position: list[str]
    orientation: list[str]


def plane_elements(geometry: Geometry) -> list[PlaneElements]:
    """Position and orientation of each slice of a grid.

    Raises:
        ValueError: the grid is sheared.
    """
    orientation = [_rounded(v) for v in row_and_column_cosines(geometry)]
    step = geometry.spacing[2] * np.reshape(geometry.direction, (3, 3))[:, 2]
    return [
        PlaneElements([_rounded(v) for v in geometry.origin + k * step], orientation) for k in range(geometry.shape[0])
    ]


def row_and_column_cosines(geometry: Geometry) -> np.ndarray:
    """Six direction cosines of the planes of a grid.

    Raises:
        ValueError: the grid is sheared.
    """
    orthogonal = geometry.nearest_orthogonal()
    if not geometry.agrees(orthogonal, POSITION_TOLERANCE):
        raise ValueError(
            f"a DICOM series has its slices exactly above each other, this grid is sheared: {geometry!r}. Resample it "
            "onto an orthogonal grid first"
        )
    return np.reshape(orthogonal.direction, (3, 3)).T[:2].ravel()


def _rounded(value: float) -> str:
    """A coordinate or cosine as DS holds it: no -0, and no dust such as 1e-17."""
    return format_number_as_ds(round(float(value), 13) + 0.0)


def slice_order(found: Geometry, geometry: Geometry | None) -> int:
    """How a grid came back from a file: 1 as it was, -1 with its slices in the other order, 0 as another one.

    Readers count slices along the normal, so those of a left-handed grid come back in the other order.
    """
    if found.agrees(geometry, POSITION_TOLERANCE):
        return 1
    reversed_slices = found.regrid(found.shape, (-1, 1, 1), (found.shape[0] - 1, 0, 0))
    return -1 if reversed_slices is not None and reversed_slices.agrees(geometry, POSITION_TOLERANCE) else 0


def check_text(name: str, value: str, shortest: int = 0) -> str:
    """A text that an element of VR LO can hold (PS3.5 section 6.2).

    Args:
        name: of the argument, for the error.
        value: the text.
        shortest: fewest characters.

    Raises:
        TypeError: no text. ValueError: more than 64 characters, a backslash or a control character.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be text, got {type(value).__name__}")
    if not shortest <= len(value) <= _LONGEST_TEXT or re.search(r"[\\\x00-\x1f\x7f]", value):
        raise ValueError(
            f"{name} must be {f'{shortest} to' if shortest else 'at most'} {_LONGEST_TEXT} characters without "
            f"backslash or line break, got {value!r}"
        )
    return value


def check_series_number(number: SupportsIndex) -> int:
    """A number that (0020,0011), of VR IS, can hold.

    Raises:
        TypeError: no whole number. ValueError: one of more than 32 bits.
    """
    try:
        whole = operator.index(number)
    except TypeError:
        raise TypeError(f"series_number (0020,0011) must be a whole number, got {type(number).__name__}") from None
    if not -(2**31) <= whole < 2**31:
        raise ValueError(f"series_number (0020,0011) must be a number of 32 bits, got {whole}")
    return whole


def check_description(description: str, number: SupportsIndex, what: str, algorithm: str | None = None) -> None:
    """What a user says of the series of a written object can be held by its elements.

    Args:
        description: (0008,103E). number: (0020,0011), at least 1.
        what: the object, for the error, such as 'segmentation'.
        algorithm: name of what made the mask, or None.

    Raises:
        TypeError, ValueError: one of them cannot.
    """
    check_text("series_description (0008,103E)", description)
    if check_series_number(number) < 1:
        raise ValueError(f"series_number (0020,0011) of a {what} must be at least 1, got {number}")
    if algorithm is not None:
        check_text("algorithm", algorithm, 1)
