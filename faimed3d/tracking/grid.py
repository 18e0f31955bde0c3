"""What is known of the geometry of a tensor's last three axes (D, H, W): its grid.

- None: nothing is known.
- a ``Geometry``: one for everything along the leading axes (channels, batch).
- an object array of ``Geometry`` or None, one entry for each index of the leading axes (a size of 1 stands for "the
  same all along this axis"): a batch whose items come from different scans.

The grid of a tensor holds until voxels of another grid are written into its memory. Such a write goes through any
tensor that shares the memory (a slice, an item of a batch, ``.data``), so it is counted on the storage; a tensor holds
the count that it had when its grid was attached.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from faimed3d.geometry import Geometry
from faimed3d.tracking.indexing import index_grid

Grid = Geometry | np.ndarray | None


class Operand:
    """The first tensor of an operation as the rules see it: its grid, its shape, and the number of leading axes."""

    __slots__ = ("grid", "lead", "shape")

    def __init__(self, grid: Grid, shape: Sequence[int]):
        self.grid, self.shape, self.lead = grid, shape, len(shape) - 3

    @property
    def shared(self) -> bool:
        """Whether one geometry holds for everything along the leading axes."""
        return isinstance(self.grid, Geometry)

    def axis(self, dim: int, extra: int = 0) -> int:
        """``dim`` counted from the front; ``extra`` axes are about to be added."""
        return dim + len(self.shape) + extra if dim < 0 else dim

    def map(self, change: Callable[[Geometry], Geometry | None]) -> Grid:
        """Grid after ``change`` of every geometry."""
        if self.grid is None or isinstance(self.grid, Geometry):
            return self.grid and change(self.grid)
        result = np.empty(self.grid.shape, dtype=object)
        done = {}
        for index, geometry in np.ndenumerate(self.grid):
            if geometry is not None and id(geometry) not in done:
                done[id(geometry)] = change(geometry)
            result[index] = geometry and done[id(geometry)]
        return result

    def map_leading(self, change: Callable[[np.ndarray], np.ndarray], full: bool = True) -> Grid:
        """Grid after ``change`` of the array of entries, one for each index of the leading axes.

        A shared geometry stays, whatever happens to the leading axes. ``full`` spreads the array to their real sizes.
        """
        if self.grid is None or isinstance(self.grid, Geometry):
            return self.grid
        return compact(change(self.entries() if full else self.grid))

    def with_grid(self, grid: Grid) -> Operand:
        """The same tensor with another grid."""
        return Operand(grid, self.shape)

    def at(self, index: Any) -> Grid:  # all that tensor[...] takes
        """Grid of ``tensor[index]``."""
        return index_grid(self, index)

    def entries(self) -> np.ndarray:
        """The grid as an object array of the full leading shape."""
        if isinstance(self.grid, np.ndarray):
            return np.broadcast_to(self.grid, self.shape[: self.lead])
        array = np.empty((), dtype=object)
        array[()] = self.grid
        return np.broadcast_to(array, self.shape[: self.lead])


def attach_grid(tensor: Tensor, grid: Grid, writes: int | None = None) -> None:
    """Attach what is known of the geometry of a tracked tensor. Nothing else sets it.

    Args:
        tensor: a ``TrackedTensor``.
        grid: of its last three axes; one of another shape is not attached.
        writes: the count of foreign writes up to which the grid holds; None for all so far.
    """
    if torch._C._is_torch_function_enabled():  # what is asked of the tensor here is no operation to be followed
        with torch._C.DisableTorchFunctionSubclass():
            return attach_grid(tensor, grid, writes)
    tensor._grid = grid if grid is not None and fits_shape(grid, tensor.shape) else None
    tensor._writes = foreign_writes(tensor) if writes is None else writes


def current_grid(tensor: Tensor) -> Grid:
    """The grid of a tensor; None where it has none, or where voxels of another grid were written into its memory."""
    grid = getattr(tensor, "_grid", None)
    if grid is None:
        return None
    if torch._C._is_torch_function_enabled():
        with torch._C.DisableTorchFunctionSubclass():
            return current_grid(tensor)
    return None if foreign_writes(tensor) > tensor._writes else grid


def is_tracked(value: object) -> bool:
    """Whether ``value`` is a tensor of the kind that has a grid, known or not."""
    return hasattr(value, "_grid")


def foreign_writes(tensor: Tensor) -> int:
    """How often voxels of another grid were written into the memory of a tensor."""
    return getattr(tensor.untyped_storage(), "_foreign_writes", 0)


def invalidate_grid(tensor: Tensor) -> None:
    """Note that voxels of another grid were written into a tensor: it and all that share its memory lose their grid."""
    attach_grid(tensor, None)
    tensor.untyped_storage()._foreign_writes = foreign_writes(tensor) + 1


def compact(array: Grid) -> Grid:
    """One Geometry or None where all entries are the same, else the array."""
    if not isinstance(array, np.ndarray):
        return array
    if array.size == 0:
        return None
    first = array.flat[0]
    return first if all(entry is first for entry in array.flat) else array


def fits_shape(grid: Grid, shape: Sequence[int]) -> bool:
    """Whether ``grid`` can be the grid of a tensor of ``shape``."""
    if grid is None or len(shape) < 3:
        return False
    spatial = tuple(shape[-3:])
    if isinstance(grid, Geometry):
        return grid.shape == spatial
    lead = tuple(shape[:-3])
    return (
        grid.ndim == len(lead)
        and all(n in (1, m) for n, m in zip(grid.shape, lead, strict=True))
        and all(geometry is None or geometry.shape == spatial for geometry in grid.flat)
    )


def common_geometry(one: Geometry | None, other: Geometry | None) -> Geometry | None:
    """The geometry that two volumes of one shape share; None where they disagree or one has none.

    A place that is assumed (of an array) gives way to one that is stated, as a plain tensor does.
    """
    if one is None or other is None or one.shape != other.shape:
        return None
    if one.stated != other.stated:
        return one if one.stated else other
    return one if one.agrees(other) else None


def common_grid(one: Grid, other: Grid, lead: int) -> Grid:
    """The grid that two operands share, entry by entry; None where they disagree (see :func:`common_geometry`).

    Args:
        one, other: grids that broadcast against each other.
        lead: leading axes of the result.
    """
    if one is other:
        return one
    if isinstance(one, Geometry) and isinstance(other, Geometry):
        return common_geometry(one, other)

    def array(grid):
        result = np.empty(grid.shape if isinstance(grid, np.ndarray) else (), dtype=object)
        result[...] = grid
        return result.reshape((1,) * (lead - result.ndim) + result.shape)

    merged = np.frompyfunc(common_geometry, 2, 1)(array(one), array(other))
    return compact(np.asarray(merged, dtype=object))
