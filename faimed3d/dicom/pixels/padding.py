"""Which values of a volume are padding: pixels that hold no measurement (PS3.3 C.7.5.1.1.2).

The header names a stored value, (0028,0120) PixelPaddingValue, or with (0028,0121) PixelPaddingRangeLimit a range; here
they become real values, as the pixels do, each slice by its own slope and intercept.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Sequence

import numpy as np

from faimed3d.dicom.header import FileHeader, Tag
from faimed3d.dicom.planes import Plane

Ranges = tuple[tuple[float, float], ...]
_OF_FLOATS = {
    Tag.FloatPixelData: (Tag.FloatPixelPaddingValue, Tag.FloatPixelPaddingRangeLimit, "f"),
    Tag.DoubleFloatPixelData: (Tag.DoubleFloatPixelPaddingValue, Tag.DoubleFloatPixelPaddingRangeLimit, "d"),
}


def padding_of_planes(planes: Sequence[Plane], array: np.ndarray) -> Ranges:
    """Ranges (low, high) of the real values that are padding, ends included; ``()`` where the headers name none.

    Args:
        planes: in slice order.
        array: float32 (D, H, W), their values. Where slices differ in their padding, the value that is padding in one
            of them may be a measurement in another one: then a warning says that padding is not told apart.
    """
    of_file = {id(plane.header): _stored_range(plane.header) for plane in planes}
    if not any(of_file.values()):
        return ()
    of_planes = [_real_range(of_file[id(plane.header)], plane) for plane in planes]
    different = tuple(dict.fromkeys(found for found in of_planes if found))
    if len(set(of_planes)) > 1:
        for found, image in zip(of_planes, array, strict=True):
            others = [each for each in different if each != found]
            if (_inside(image, others) & ~_inside(image, [found] if found else [])).any():
                warnings.warn(
                    "the slices have different padding values, and one's padding is another's measurement: padding is "
                    "not told apart in this volume",
                    stacklevel=4,
                )
                return ()
    return different


def _inside(image: np.ndarray, ranges: Sequence[tuple[float, float]]) -> np.ndarray:
    found = np.zeros(image.shape, dtype=bool)
    for low, high in ranges:
        found |= (image >= low) & (image <= high)
    return found


def _stored_range(header: FileHeader) -> tuple[float, float] | None:
    """Smallest and largest stored value that is padding; None where the header names none that pixels can have."""
    if header.pixel_tag in _OF_FLOATS:
        value, limit, code = _OF_FLOATS[header.pixel_tag]
        ends = [_float(header, tag, code) for tag in (value, limit)]
    else:
        ends = [_integer(header, tag) for tag in (Tag.PixelPaddingValue, Tag.PixelPaddingRangeLimit)]
    first, last = ends
    if first is None:
        return None
    return min(first, first if last is None else last), max(first, first if last is None else last)


def _integer(header: FileHeader, tag: int) -> float | None:
    """A stored value, signed as the pixels are, whatever VR it has; None for one beyond the stored bits."""
    raw = header.values.get(tag)
    if not raw or len(raw) not in (2, 4):
        return None
    signed = header.integer(Tag.PixelRepresentation) == 1
    value = int.from_bytes(raw, "little" if header.byte_order == "<" else "big", signed=signed)
    bits = header.integer(Tag.BitsStored) or header.integer(Tag.BitsAllocated) or 8 * len(raw)
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return float(value) if low <= value <= high else None


def _float(header: FileHeader, tag: int, code: str) -> float | None:
    raw = header.values.get(tag)
    if not raw or len(raw) != struct.calcsize(code):
        return None
    value: float = struct.unpack(header.byte_order + code, raw)[0]
    return value if np.isfinite(value) else None


def _real_range(stored: tuple[float, float] | None, plane: Plane) -> tuple[float, float] | None:
    """The range as decoding makes values of it: in float64, rounded once to float32."""
    if stored is None:
        return None
    ends = sorted(float(np.float32(np.float64(word) * plane.slope + plane.intercept)) for word in stored)
    return ends[0], ends[1]
