"""How the voxels of a volume are stored in 16 bits: whole numbers exactly, others in steps of even size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any  # an array of numpy or torch

import numpy as np

from faimed3d._exact import fits_float32
from faimed3d.dicom.writing.elements import Decimal
from faimed3d.geometry import Geometry

_LARGEST_SIDE = 65535
_MOST_STORED = 65535
_MOST_SIGNED = 32767
_ZERO, _ONE = Decimal.of(0), Decimal.of(1)


@dataclass(frozen=True)
class StoredForm:
    """Stored words: real value = slope * stored + intercept, as a reader will compute it."""

    dtype: type[np.signedinteger] | type[np.unsignedinteger] = np.uint16
    slope: Decimal = _ONE
    intercept: Decimal = _ZERO

    @property
    def is_identity(self) -> bool:
        """Whether the stored words are the values."""
        return self.slope.value == 1 and self.intercept.value == 0

    def words(self, plane: np.ndarray) -> np.ndarray:
        """Stored words of an image (H, W)."""
        if self.is_identity:
            return plane.astype(self.dtype)
        words = plane.astype(np.float64)
        words -= self.intercept.value
        words /= self.slope.value
        info = np.iinfo(self.dtype)
        return np.clip(np.rint(words, out=words), info.min, info.max, out=words).astype(self.dtype)


def check_volume(array: Any, geometry: Geometry) -> np.ndarray:
    """The voxels as an array (D,H,W) of numbers that fits the geometry.

    Raises:
        TypeError: no Geometry, or voxels that are no numbers.
        ValueError: a shape that is no volume's, not the geometry's, or larger than DICOM can say.
    """
    if not isinstance(geometry, Geometry):
        raise TypeError(
            f"expected a Geometry, got {type(geometry).__name__}; a volume without one has no position in a patient"
        )
    if str(getattr(array, "dtype", "")) == "torch.bfloat16":  # numpy has no such type
        array = array.float()
    array = np.asarray(array)
    if array.dtype == np.float16:
        array = array.astype(np.float32)
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


def stored_form(array: np.ndarray) -> StoredForm:
    """The form in which the values of a volume lose least.

    Raises:
        ValueError: integers that 16 bits cannot hold exactly; values that are no finite numbers of float32.
    """
    low, high, whole = _extent(array)
    if whole and fits_float32(low, high):  # a reader makes float32 of them
        if low >= 0 and high <= _MOST_STORED:
            return StoredForm()
        if low >= -_MOST_SIGNED - 1 and high <= _MOST_SIGNED:
            return StoredForm(np.int16)
        if high - low <= _MOST_STORED:
            return StoredForm(intercept=Decimal.of(low))
    if array.dtype.kind in "iu":
        raise ValueError(
            f"integers from {low:.0f} to {high:.0f} cannot be written exactly: a DICOM series here holds 65536 values "
            "in a row, none above 16777216. Renumber labels; convert other values to float, they are rounded then"
        )
    if low > 0 or high < 0:
        return StoredForm(slope=Decimal.of((high - low) / _MOST_STORED or 1), intercept=Decimal.of(low))
    if low < 0:
        return StoredForm(np.int16, Decimal.of(max(-low, high) / _MOST_SIGNED))
    return StoredForm(slope=Decimal.of(high / _MOST_STORED))


def _extent(array: np.ndarray) -> tuple[float, float, bool]:
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
