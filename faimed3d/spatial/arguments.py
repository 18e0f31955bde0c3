"""What the functions of this room ask of their arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from faimed3d.geometry import Geometry
from faimed3d.masks import is_mask

T = TypeVar("T", bound=Tensor)

FEW_OPERATIONS = (torch.uint16, torch.uint32, torch.uint64)  # torch stores these and computes little with them


def spatial_size(t: Tensor) -> tuple[int, int, int]:
    """The sizes (D, H, W) of a tensor (..., D, H, W)."""
    if not isinstance(t, Tensor) or t.ndim < 3:
        raise ValueError(f"expected a tensor (..., D, H, W), got {getattr(t, 'shape', type(t).__name__)}")
    depth, height, width = t.shape[-3:]
    return depth, height, width


def cut_out(t: T, cuts: Sequence[slice]) -> T:
    """The box of a tensor (..., D, H, W) that a slice for each of the last three axes says."""
    return t[(..., *cuts)]  # type: ignore[index, return-value]


def required_geometry(t: object, what: str) -> Geometry:
    """The geometry of ``t``, which ``what`` cannot do without."""
    if not hasattr(t, "require_geometry"):
        raise TypeError(
            f"{what} needs a TensorDicom3D, which knows its position in the patient; got {type(t).__name__}"
        )
    return t.require_geometry(what)


def fill_value(t: Tensor, value: float | None) -> float:
    """What fills new voxels of ``t``: ``value``; by default 0 for a mask, the smallest value of an image, NaN aside."""
    if value is not None:
        number = value.item() if isinstance(value, np.generic | Tensor) and value.shape == () else value
        if not isinstance(number, int | float):
            raise TypeError(f"value must be a number, got {value!r}")
        return number
    plain = t.detach().as_subclass(Tensor)
    if is_mask(t) or not plain.numel():
        return 0
    if plain.dtype in FEW_OPERATIONS:
        plain = plain.to(torch.int64)
    smallest = plain.min()
    if smallest.isnan() and not plain.isnan().all():
        smallest = plain[~plain.isnan()].min()
    return smallest.item()
