"""Voxels in memory to another type, checked as those of files are: nothing is cut, wrapped or merged in silence."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

from faimed3d.io.conversion import convert
from faimed3d.masks.labels import LABEL_TOLERANCE, T, is_mask, named_labels, with_labels

_NUMPY = {torch.from_numpy(np.empty(0, code)).dtype: np.dtype(code) for code in "?bBhHiIlLefd"}  # no bfloat16


def cast(t: T, dtype: torch.dtype, name: str) -> T:
    """Cast voxels to ``dtype``; of a mask, values within 1e-3 of whole numbers become labels, with a warning.

    Whole numbers come out exactly. Fractions may be rounded to the nearest float of another float type, never to an
    integer.

    Args:
        t: tensor of any shape; what it is besides (its type, its geometry) stays.
        dtype: of the result.
        name: of the source, for messages.

    Raises:
        ValueError: fractions, NaN or infinity to become integers; numbers beyond the range of ``dtype``; labels or
            other whole numbers that it would merge; complex numbers to become real ones.

    >>> cast(torch.tensor([1.0, 2.0]), torch.uint8, "a")
    tensor([1, 2], dtype=torch.uint8)
    >>> cast(torch.tensor([300]), torch.uint8, "a")
    Traceback (most recent call last):
    faimed3d.errors.ReadError: a: the value 300 (int64) cannot be held by uint8. Pass dtype=None ...
    """
    stored = t.dtype
    if stored == dtype:
        return t
    if stored.is_complex and not dtype.is_complex:
        raise ValueError("complex values do not fit a real type; take .real, .imag, .abs() or .angle() first")
    if dtype.is_complex or _keeps_all(stored, dtype):
        return t.to(dtype)  # type: ignore[return-value]
    if is_mask(t) and stored.is_floating_point and not dtype.is_floating_point:
        t = named_labels(t, name, warn_of_rounding)
    values = t.detach().as_subclass(Tensor).cpu()
    values = values.float() if values.dtype == torch.bfloat16 else values
    array = convert(values.numpy(), _NUMPY.get(dtype, np.float32), name)
    result = torch.from_numpy(array).to(dtype)
    if dtype.is_floating_point and (dtype not in _NUMPY or is_mask(t)):
        whole = values == values.round() if values.is_floating_point() else torch.ones_like(values, dtype=torch.bool)
        wrong = whole & (result.double() != values.double()) & (result.isinf() | values.isfinite())
        if wrong.any() and (is_mask(t) or not stored.is_floating_point or result[wrong].isinf().any()):
            raise ValueError(
                f"{name}: the value {values[wrong][0].item():g} does not fit {dtype}. Pass dtype=None to keep the "
                "stored type, or a wider dtype"
            )
    if t.requires_grad and dtype.is_floating_point:
        return t.to(dtype)  # type: ignore[return-value]
    return with_labels(t, result.to(t.device))


def warn_of_rounding(name: str, others: int = 0) -> None:
    """Say that a mask holds values near whole numbers, and that they are labels now."""
    more = f" (as do {others} more of these masks)" if others else ""
    warnings.warn(
        f"{name}{more}: holds fractions within {LABEL_TOLERANCE} of whole numbers, such as 0.9999; they are rounded to "
        "labels",
        stacklevel=4,
    )


def _keeps_all(stored: torch.dtype, dtype: torch.dtype) -> bool:
    """Whether every number of a type is exact in the other."""
    if stored not in _NUMPY or dtype not in _NUMPY or (dtype.is_floating_point and stored.itemsize >= dtype.itemsize):
        return False
    return np.can_cast(_NUMPY[stored], _NUMPY[dtype], "safe")
