"""Stored numbers to values of another dtype, checked: no integer may change, two labels must never become one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from faimed3d._exact import FLOAT32_EXACT, FLOAT64_EXACT
from faimed3d.errors import ReadError, UnsupportedImage


def convert(array: Any, dtype: DTypeLike | None, name: str) -> np.ndarray:
    """Cast an array to ``dtype`` under the rules of :class:`Conversion`.

    Args:
        array: of any shape.
        dtype: dtype of the result; None keeps the array's own.
        name: of the file, for messages.

    Raises:
        ReadError: an integer that ``dtype`` cannot hold exactly, or a float beyond its range.

    >>> convert([1, 2], "float32", "a.nii")
    array([1., 2.], dtype=float32)
    """
    array = np.ascontiguousarray(array)
    conversion = Conversion(array.dtype, dtype, name)
    if conversion.copies:
        return array
    out = np.empty(array.shape, conversion.dtype)
    conversion(array.reshape(-1), out.reshape(-1))
    return out


class Conversion:
    """Turn stored numbers into values of the wanted dtype, block by block: scaled, and checked that none changes.

    An integer must come out exactly, also one that is scaled by whole numbers. Other numbers may be rounded to the
    nearest float; NaN and infinities stay.

    Args:
        stored: numpy dtype of the stored numbers, native byte order.
        dtype: wanted dtype. None keeps the stored one (scaled values become float32, or float64 where the stored
            numbers are wider than float32 holds).
        name: of the file, for messages.
        slope, inter: value = slope * stored + inter; None for no scaling.

    Attributes:
        dtype: dtype of the values.
        copies: whether the values are the stored numbers.

    Raises:
        UnsupportedImage: the stored numbers are no real numbers of at most 64 bits. TypeError: nor are the wanted ones.
    """

    def __init__(
        self, stored: np.dtype, dtype: DTypeLike | None, name: str, slope: float | None = None, inter: float = 0.0
    ) -> None:
        if stored.kind == "c":
            raise UnsupportedImage(
                f"{name}: the voxels are complex ({stored.name}). Save magnitude and phase, each as a volume"
            )
        if stored.kind not in "buif" or stored.itemsize > 8:
            raise UnsupportedImage(f"{name}: voxels of type {stored.name} are not supported; numbers up to 64 bits are")
        integer = stored.kind in "iu"
        wide = stored.itemsize > (2 if integer else 4)
        if dtype is None:
            dtype = stored if slope is None else np.float64 if wide else np.float32
        self.name, self.stored, self.dtype, self.slope, self.inter = name, stored, np.dtype(dtype), slope, inter
        if self.dtype.kind not in "buif":
            raise TypeError(f"dtype must be a real number type or None, got {self.dtype.name}")
        self.copies = slope is None and stored == self.dtype
        rounds = integer and stored.itemsize == 8 and self.dtype.kind == "f"  # numpy calls int64 -> float64 safe
        self._safe = np.can_cast(stored, self.dtype, "safe") and not rounds
        if slope is None:
            return
        self._whole = integer and float(slope).is_integer() and float(inter).is_integer()
        # values are scaled in float64: is it too narrow for the largest value there can be?
        limit = float(np.iinfo(stored).max if integer else np.finfo(stored).max)
        largest = max(limit, limit * abs(slope) + abs(inter))
        self._may_overflow = largest > (FLOAT64_EXACT if self._whole else np.finfo(np.float64).max)
        # whole numbers of 16 bits, moved by a small whole number, are exact in float32
        self._exact_in_float32 = (
            self.dtype == np.float32
            and integer
            and not wide
            and slope == 1
            and self._whole
            and abs(inter) < FLOAT32_EXACT / 2
        )

    def __call__(self, values: np.ndarray, out: np.ndarray) -> None:
        """Convert a block of stored numbers into ``out``, of the same length.

        Raises:
            ReadError: a value would change.
        """
        if self.slope is None:
            if self._safe or self.copies:
                out[:] = values
            else:
                self._cast(values, out, exactly=values.dtype.kind != "f")
        elif self._exact_in_float32:
            np.add(values, np.float32(self.inter), out=out, dtype=np.float32)
        else:
            scaled = values.astype(np.float64)
            with np.errstate(over="ignore"):
                scaled *= self.slope
                scaled += self.inter
            if self._may_overflow:
                self._check_scaled(values, scaled)
            self._cast(scaled, out, exactly=self._whole)

    def _check_scaled(self, values, scaled):
        if self._whole:
            wrong = (np.abs(scaled) >= FLOAT64_EXACT) | (values > FLOAT64_EXACT) | (values < -FLOAT64_EXACT)
        else:
            wrong = np.isinf(scaled) & np.isfinite(values)
        if wrong.any():
            raise ReadError(
                f"{self.name}: {self.stored.name} values scaled by {self.slope:g} and {self.inter:g} are beyond what "
                "float64 holds exactly, so that two could become one. Save them without scaling"
            )

    def _cast(self, values, out, exactly):
        """Cast ``values`` into ``out``; only where not ``exactly``, a float may be rounded to another float."""
        with np.errstate(all="ignore"):
            out[:] = values
            if out.dtype.kind == "f" and not exactly:
                wrong = np.isinf(out) & np.isfinite(values)
            elif out.dtype.kind == "f" and _largest(values) <= 2 ** (np.finfo(out.dtype).nmant + 1):
                return
            else:
                wrong = _changed(values, out)
        if wrong.any():
            value = values[np.argmax(wrong)]
            raise ReadError(
                f"{self.name}: the value {value} ({self.stored.name}) cannot be held by {out.dtype.name}. "
                f"Pass dtype=None to keep the stored type, or a wider dtype"
            )


def _largest(values):
    """The largest absolute value, as a Python integer: that of the lowest int64 has no int64."""
    return max(-int(values.min()), int(values.max()), 0) if len(values) else 0


def _changed(values, out):
    """Where a cast changed the value, told without a second rounding."""
    kind = values.dtype.kind, out.dtype.kind
    if kind[0] == "f":
        return ~((out == values) & np.isfinite(values))
    if kind[1] == "b":
        return (values != 0) & (values != 1)
    if kind[1] == "f":  # back in its own type, which is exact, for comparing int64 with float64 rounds
        limits = np.iinfo(values.dtype)
        inside = (out >= float(limits.min)) & (out < float(limits.max + 1))
        return ~inside | (np.where(inside, out, 0).astype(values.dtype) != values)
    limits = np.iinfo(out.dtype)
    return (values < limits.min) | (values > limits.max)
