"""What is known of the place of a tensor's last three axes (D, H, W) in the patient: its grid.

- None: nothing is known.
- a ``Geometry``: one grid, shared by everything along the leading axes (channels, batch).
- an object array of ``Geometry`` or None, one entry per position of the leading axes (a size of 1 stands for "the same
  all along this axis"): a batch whose items come from different scans.
"""

from __future__ import annotations

import numpy as np

from faimed3d.geometry import Geometry
from faimed3d.tracking.indexing import index_grid

__all__ = ["Placed", "agreed", "compact", "fits", "grid_of", "has_place", "note_foreign_write", "writes"]


class Placed:
    """A tensor as the rules see it: its grid, its shape, and the number of axes before (D, H, W)."""

    __slots__ = ("grid", "lead", "shape")

    def __init__(self, grid, shape):
        self.grid, self.shape, self.lead = grid, shape, len(shape) - 3

    @property
    def shared(self):
        """Whether one geometry holds for all positions of the leading axes."""
        return isinstance(self.grid, Geometry)

    def axis(self, dim, extra=0):
        """``dim`` counted from the front; ``extra`` axes are about to be added."""
        return dim + len(self.shape) + extra if dim < 0 else dim

    def each(self, change):
        """Grid after ``change(geometry) -> geometry | None`` on every geometry."""
        if self.shared:
            return change(self.grid)
        result = np.empty(self.grid.shape, dtype=object)
        done = {}
        for place, geometry in np.ndenumerate(self.grid):
            if geometry is not None and id(geometry) not in done:
                done[id(geometry)] = change(geometry)
            result[place] = geometry and done[id(geometry)]
        return result

    def leading(self, change, full=True):
        """Grid after ``change(array) -> array`` on the entries of the leading axes.

        A shared geometry stays, whatever happens to the leading axes. ``full`` spreads the array to their real sizes.
        """
        if self.shared or self.grid is None:
            return self.grid
        return compact(change(self.spread() if full else self.grid))

    def with_grid(self, grid):
        """The same tensor with another grid."""
        return Placed(grid, self.shape)

    def at(self, index):
        """Grid of ``tensor[index]``."""
        return index_grid(self, index)

    def spread(self):
        """The grid as an object array of the full leading shape."""
        array = self.grid
        if array is None or self.shared:
            array = np.empty((), dtype=object)
            array[()] = self.grid
        return np.broadcast_to(array, self.shape[: self.lead])


def has_place(value):
    """Whether ``value`` is a tensor of the kind that has a grid, known or not."""
    return hasattr(value, "_grid")


def grid_of(tensor):
    """The grid of a tensor; None where it has none, or where voxels of another place were written into its memory.

    Such a write goes through any tensor that shares the memory (a slice, an item of a batch, ``.data``), so it is
    counted on the storage; a tensor holds the count that it had when its place was last stated.
    """
    grid = getattr(tensor, "_grid", None)
    if grid is None or writes(tensor) > (tensor._writes or 0):
        return None
    return grid


def writes(tensor):
    """How often voxels of another place were written into the memory of a tensor."""
    return getattr(tensor.untyped_storage(), "_foreign_writes", 0)


def note_foreign_write(tensor):
    """Take the place from a tensor into which voxels of another place were written, and from all that share it."""
    tensor._grid = None
    tensor.untyped_storage()._foreign_writes = writes(tensor) + 1


def compact(array):
    """One Geometry or None where all entries are the same, else the array."""
    if not isinstance(array, np.ndarray):
        return array
    if array.size == 0:
        return None
    first = array.flat[0]
    return first if all(entry is first for entry in array.flat) else array


def fits(grid, shape):
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


def agreed(one, other, lead):
    """The grid that two operands share, entry by entry; None where they disagree."""
    if one is other:
        return one
    if isinstance(one, Geometry) and isinstance(other, Geometry):
        return one if one.agrees(other) else None

    def array(grid):
        result = np.empty(grid.shape if isinstance(grid, np.ndarray) else (), dtype=object)
        result[...] = grid
        return result.reshape((1,) * (lead - result.ndim) + result.shape)

    def merge(a, b):
        return a if a is not None and b is not None and a.agrees(b) else None

    return compact(np.asarray(np.frompyfunc(merge, 2, 1)(array(one), array(other)), dtype=object))
