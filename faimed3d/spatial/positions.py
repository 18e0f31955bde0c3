"""Which old voxels a new one is made of: the rules of interpolation along one axis, the same for every way.

A position is a coordinate along one axis, in voxels of the old grid: 0 at the centre of its first voxel.

- Linear interpolation blends the two neighbours. A neighbour whose share is 0 is left out, be it NaN or infinite.
- The nearest voxel is, halfway between two, the one with the higher index.
- As in SimpleITK's Resample the value of the outermost voxel holds up to half a voxel beyond its centre. Farther out
  nothing is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

EDGE_TOLERANCE = 1e-6  # of a voxel: how far rounding may push a position beyond the edge
HALF_TOLERANCE = 1e-9  # of a voxel: how far rounding may push a position below the half
SHARE_TOLERANCE = 1e-9  # a smaller share of a voxel is rounding


def is_inside(positions: Tensor, n: int) -> Tensor:
    """Whether positions lie within the edges of an axis of ``n`` voxels: bools of the same shape."""
    return (positions >= -0.5 - EDGE_TOLERANCE) & (positions <= n - 0.5 + EDGE_TOLERANCE)


def nearest_voxels(positions: Tensor, n: int) -> Tensor:
    """Index of the voxel nearest to each position along an axis of ``n`` voxels."""
    return (positions.clamp(0, n - 1) + (0.5 + HALF_TOLERANCE)).long()


def two_neighbours(positions: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Index of the voxel below each position, of the one above, and the share of the latter (float64).

    Where the share is 0 both are the same voxel.
    """
    positions = positions.clamp(0, n - 1)
    whole = positions.round()
    positions = torch.where((positions - whole).abs() < SHARE_TOLERANCE, whole, positions)
    lower = positions.long()
    share = positions - lower
    return lower, lower + (share > 0), share


@dataclass(frozen=True, slots=True)
class AxisBlock:
    """New voxels next to each other along one axis, and the old voxels that they are made of.

    Args:
        new: their range in the new grid.
        old: the range of old voxels that are needed.
        lower: for each new voxel the old one below or nearest to it, counted from the start of ``old``.
        upper: the old one above; None to take ``lower`` alone.
        share: of ``upper``, between 0 and 1; None as well.
        unchanged: whether the new voxels are the old ones.
    """

    new: slice
    old: slice
    lower: Tensor
    upper: Tensor | None
    share: Tensor | None
    unchanged: bool = False

    def apply(self, voxels: Tensor, axis: int) -> Tensor:
        """Interpolate along ``axis`` of voxels whose range there is ``old``: the same tensor where nothing changes."""
        if self.upper is None or self.share is None:
            return voxels if self.unchanged else voxels.index_select(axis, self.lower)
        share = self.share.reshape([-1 if k == axis else 1 for k in range(voxels.ndim)])
        return voxels.index_select(axis, self.lower).lerp_(voxels.index_select(axis, self.upper), share)


class AxisPositions:
    """Positions of all new voxels along an axis that stays parallel to an old one.

    Args:
        n: old voxels along the axis.
        step: old voxels per new one; negative where the axis is reversed.
        start: position of the new voxel 0.
        count: new voxels along the axis.
        nearest: take the nearest voxel instead of blending two.
        like: tensor whose device and, for the shares, whose type are used.
    """

    def __init__(self, n: int, step: float, start: float, count: int, nearest: bool, like: Tensor):
        positions = torch.arange(count, dtype=torch.float64) * step + start
        inside = is_inside(positions, n).nonzero().flatten().tolist()  # one after the other
        self.first: int = inside[0] if inside else 0
        self.last: int = inside[-1] + 1 if inside else 0
        positions = positions[self.first : self.last]
        if nearest:
            lower = upper = nearest_voxels(positions, n)
            share = None
        else:
            lower, upper, share = two_neighbours(positions, n)
            share = share.to(like) if share.any() else None
        self._lower, self._upper, self._share, self._device = lower.tolist(), upper.tolist(), share, like.device

    @property
    def count(self) -> int:
        """How many new voxels are inside."""
        return self.last - self.first

    @property
    def _old(self) -> int:
        """How many old voxels these are made of."""
        return max(self._upper[0], self._upper[-1]) - min(self._lower[0], self._lower[-1]) + 1

    @property
    def growth(self) -> float:
        """New voxels per old one."""
        return self.count / self._old if self.count else 0

    def voxels(self, side: int) -> float:
        """About how many voxels there are, old or new ones, in a block of ``side`` new ones."""
        return max(side, min(self._old, side * self._old / self.count + 1))

    def blocks(self, side: int) -> list[AxisBlock]:
        """Cut the new voxels that are inside into blocks of ``side``."""
        return [self._block(slice(k, min(k + side, self.count))) for k in range(0, self.count, side)]

    def block(self) -> AxisBlock:
        """All new voxels that are inside, at least one."""
        return self._block(slice(0, self.count))

    def _block(self, cut: slice) -> AxisBlock:
        lower, upper = self._lower[cut], self._upper[cut]
        start, stop = min(lower[0], lower[-1]), max(upper[0], upper[-1]) + 1
        new = slice(self.first + cut.start, self.first + cut.stop)
        below, above = (torch.tensor(voxels, device=self._device) - start for voxels in (lower, upper))
        if self._share is None:
            unchanged = lower == [*range(start, stop)]
            return AxisBlock(new, slice(start, stop), below, None, None, unchanged)
        return AxisBlock(new, slice(start, stop), below, above, self._share[cut])
