"""How functions of voxels become operations on volumes: the geometry is kept, masks are left alone.

Every public function of this room that changes values is made by :func:`intensity_operation`. Nothing else in the
library says what a change of intensity does to a geometry or to a mask.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor

from faimed3d import _blockwise
from faimed3d._keywords import strict_keywords
from faimed3d._padding import fill_where, is_padding, padding_of, voxels_at
from faimed3d.masks import is_mask

P = ParamSpec("P")
Volume = TypeVar("Volume", bound=Tensor)


def intensity_operation(function: Callable[Concatenate[Tensor, P], Tensor]) -> Callable[Concatenate[Volume, P], Volume]:
    """Make a function of a plain tensor one of volumes; its result must have the shape of its input.

    A ``TensorDicom3D`` comes back with its geometry, a mask comes back itself, any other tensor as a plain one. Arrays
    and nested sequences are taken as tensors.

    Padding takes part in no statistic: the function sees NaN there, which it leaves out as every one of this room does.
    It comes out as the smallest value of the rest of its volume.
    """

    @strict_keywords
    @wraps(function)
    def operate(t: Volume, *args: P.args, **kwargs: P.kwargs) -> Any:
        if is_mask(t):
            return t
        if isinstance(t, np.ndarray | list | tuple):
            return function(torch.as_tensor(t), *args, **kwargs)
        if type(t) is Tensor or not isinstance(t, Tensor):  # the function says what it thinks of anything else
            return function(t, *args, **kwargs)
        ranges = padding_of(t)
        outside = is_padding(t, ranges) if ranges else None
        if outside is not None and torch.count_nonzero(outside):
            result = function(_with_nan(t.as_subclass(Tensor), outside), *args, **kwargs)
            result = fill_where(result.contiguous(), outside)
        else:
            result = function(t.as_subclass(Tensor), *args, **kwargs)
        return t.with_voxels(result) if hasattr(t, "with_voxels") else result

    return operate


def without_padding(t: Tensor) -> Tensor:
    """A plain tensor of the voxels that are no padding: of the shape of ``t`` where it has none, else flat."""
    ranges = padding_of(t)
    return voxels_at(t.detach().as_subclass(Tensor), ~is_padding(t, ranges)) if ranges else t


def _with_nan(plain: Tensor, outside: Tensor) -> Tensor:
    return (plain if plain.is_floating_point() else plain.float()).masked_fill(outside, torch.nan)


def finite_number(value: Any, name: str) -> float:
    """``value`` as a float, or an error that names the argument."""
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be a number, got {value!r}") from error
    if not math.isfinite(number):
        raise ValueError(f"{name} must be a finite number, got {number}")
    return number


def as_floats(t: Tensor) -> Tensor:
    """The voxels as one flat row of float32, or of float64 where they are that; no gradient flows through it."""
    flat = _blockwise.flat(t)
    return flat if flat.is_floating_point() else flat.float()


def shift_and_divide(x: Tensor, shift: float, divisor: float, shape: torch.Size) -> Tensor:
    """Return ``(x - shift) / divisor`` of a flat floating tensor as a new one of ``shape``; a divisor of 0 counts as 1.

    What of ``shift`` does not fit into float32 is subtracted in a second, small step.
    """
    divided, first = (torch.tensor(value, dtype=x.dtype) for value in (divisor or 1.0, shift))
    out = torch.sub(x, first)
    rest = shift - first.item()
    if abs(rest) > 1e-8 * abs(divided.item()):
        out.sub_(rest)
    return out.div_(divided.to(x.device)).view(shape)  # a GPU would multiply by the rounded inverse of a CPU's number


def as_items(t: Tensor, *settings: Any, each: tuple[int, ...] = ()) -> list[Tensor]:
    """Return the voxels as (N, C, D, H, W) of a floating type, and each setting as (N, *each).

    Args:
        t: (..., D, H, W). Where a setting has one value for each entry of the first axis, those entries are the N
            items; otherwise all of ``t`` is one item. The axes between become channels.
        settings: numbers, sequences or tensors: one value for all items, or one for each.
        each: the shape of one value.

    Raises:
        ValueError: ``t`` is no volume, or the settings are for another number of items.
    """
    _check_volume(t)
    values = [torch.as_tensor(value) for value in settings]
    values = [value if value.ndim > len(each) else value.expand(1, *each) for value in values]
    count = max(map(len, values))
    if count > 1 and (t.ndim < 4 or len(t) != count):
        raise ValueError(f"expected a batch of {count} items, one for each setting, got shape {tuple(t.shape)}")
    x = t if t.is_floating_point() else t.float()
    return [x.reshape(count, -1, *t.shape[-3:]), *(value.expand(count, *each) for value in values)]


def as_column(values: Tensor, x: Tensor) -> Tensor:
    """The numbers (N) of N items as (N, 1, 1, 1, 1), of the type and device of ``x``."""
    return values.to(x).view(-1, 1, 1, 1, 1)


def as_channels(t: Tensor) -> np.ndarray:
    """The voxels as an array (channels, D, H, W) of float32 or float64 for SimpleITK, whatever axes come before D."""
    _check_volume(t)
    return as_floats(t).cpu().view(-1, *t.shape[-3:]).numpy()


def _check_volume(t: Tensor) -> None:
    if t.ndim < 3:
        raise ValueError(f"expected a volume (..., D, H, W), got a tensor of shape {tuple(t.shape)}")
