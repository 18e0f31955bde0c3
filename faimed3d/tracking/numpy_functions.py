"""NumPy on tracked tensors: functions that move no voxel keep the grid, all others give plain arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from faimed3d.tracking.elementwise import pointwise
from faimed3d.tracking.grid import Grid, is_tracked

# of these the result is on the grid of all operands, of the last ones on that of the first
_ALL_OPERANDS = {np.where, np.clip, np.nan_to_num, np.round, np.around, np.isclose, np.real, np.imag, np.copy}
_FIRST_OPERAND = {np.interp, np.isin, np.digitize, np.zeros_like, np.ones_like, np.full_like, np.fix}


def plain(value: Any) -> Any:
    """Arrays in place of tracked tensors, however deep their lists nest; they share memory."""
    if is_tracked(value):
        return value.as_subclass(Tensor).numpy()
    if isinstance(value, tuple | list):
        return type(value)(map(plain, value))
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    return value


def with_grids(result: Any, operands: Sequence[Any]) -> list[tuple[Any, Grid]]:
    """Each array of the result as a tensor with the grid of the operands; what torch has no type for stays as it is."""
    found = []
    for one in result if isinstance(result, tuple) else (result,):
        try:
            voxels = torch.from_numpy(one) if isinstance(one, np.ndarray) else one
        except TypeError:
            voxels = one
        grid = pointwise(tuple(operands), {}, voxels) if isinstance(voxels, Tensor) and voxels.ndim >= 3 else None
        found.append((voxels, grid))
    return found


def operands_of(func: Callable, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Sequence[Any] | None:
    """What decides the grid of the result of a NumPy function; None for those that give plain arrays."""
    if "out" in kwargs:
        return None
    if func in _ALL_OPERANDS and not (func is np.where and len(args) < 3):
        return [*args, *kwargs.values()]
    return list(args[:1]) if func in _FIRST_OPERAND and is_tracked(args[0] if args else None) else None
