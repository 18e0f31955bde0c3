"""A patch of a warped volume from the part of the volume that it needs, by one resampling.

A warp is drawn for the patch: it acts about the centre of the patch, and its field of view is that of the patch. What
it needs of the volume besides the patch itself, the margin, follows from what was drawn: :func:`reach`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, floor
from typing import Any

import torch
from torch import Tensor

from faimed3d.augment.warp import Warp, sample_3d, sampling_grid, warp_terms
from faimed3d.spatial.rotations import rotate_3d

Triple = tuple[int, int, int]

_ROUNDING = 0.01  # of a voxel: what float32 positions may be off


@dataclass(frozen=True)
class PatchWarp:
    """How one patch is taken out of a volume that is warped about the centre of the patch; sizes are (D, H, W).

    Args:
        size: voxels of the patch.
        corner: its first voxel, below 0 where it hangs over the volume.
        shape: voxels of the volume.
        frame: (3, 3), of :func:`spatial_frame`.
        warp: a ``Warp`` of one item; None takes the patch as it lies there.
        fill: what lies outside: a number (of images alone), ``'edge'``, ``'reflect'``, or None for what :meth:`sample`
            is told.
    """

    size: Triple
    corner: Triple
    shape: Triple
    frame: Tensor
    warp: Warp | None = None
    fill: float | str | None = None

    @cached_property
    def is_exact(self) -> bool:
        """Whether no voxel is interpolated: the patch is at most mirrored and rotated by right angles."""
        return self.warp is None or bool(self.warp.is_orthogonal().all())

    @cached_property
    def box(self) -> tuple[Triple, Triple]:
        """The part of the volume that is needed: its first voxel and its size, at least one voxel."""
        if self.is_exact or self.warp is None:
            lows, stops = self.corner, tuple(a + n for a, n in zip(self.corner, self.size, strict=True))
        else:
            low, high = (ends[0].flip(-1).tolist() for ends in reach(self.size, self.frame[None], self.warp))
            places = list(zip(self.corner, self.size, strict=True))
            lows = tuple(floor(a + (s + 1) / 2 * n - 0.5 - _ROUNDING) for s, (a, n) in zip(low, places, strict=True))
            stops = tuple(
                ceil(a + (s + 1) / 2 * n - 0.5 + _ROUNDING) + 1 for s, (a, n) in zip(high, places, strict=True)
            )
        found = [
            _within(low, stop, n, self.fill == "reflect") for low, stop, n in zip(lows, stops, self.shape, strict=True)
        ]
        return tuple(low for low, _ in found), tuple(stop - low for low, stop in found)  # type: ignore[return-value]

    def sample(
        self,
        part: Tensor,
        interpolation: str = "linear",
        outside: float | Tensor = 0.0,
        grid: Tensor | None = None,
    ) -> Tensor:
        """The patch (C, *size) from the part of the volume that :attr:`box` names.

        Args:
            part: (C, d, h, w), plain.
            interpolation: as for :func:`sample_3d`.
            outside: value outside of the volume where ``fill`` is None, one or (C,).
            grid: where it is sampled, of :func:`sampling_grids`, for several volumes of the same patch.
        """
        told = isinstance(self.fill, str) or (self.fill is not None and interpolation != "nearest")
        fill: Any = self.fill if told else outside
        if self.is_exact or self.warp is None:
            whole = self._placed(part, fill)
            return whole if self.warp is None else rotate_3d(whole, self.warp.matrix[0])
        grid = sampling_grids([self], part.device)[0] if grid is None else grid
        assert grid is not None  # it is not exact
        return sample_3d(part[None], grid[None], interpolation, fill)[0]

    def _placed(self, part: Tensor, fill: Any) -> Tensor:
        """The part at its place in the patch, with ``fill`` around it."""
        low, size = self.box
        before = [a - c for a, c in zip(low, self.corner, strict=True)]
        if not any(before) and tuple(size) == tuple(self.size):
            return part.clone()
        if isinstance(fill, str):
            return _continued(part, low, self)
        fill = torch.as_tensor(fill, dtype=part.dtype, device=part.device).reshape(-1, 1, 1, 1)
        whole = fill.expand(len(part), *self.size).clone()
        inner = [slice(max(0, b), max(0, b + n)) for b, n in zip(before, size, strict=True)]
        taken = [slice(max(0, -b), max(0, m - b)) for b, m in zip(before, self.size, strict=True)]
        whole[(slice(None), *inner)] = part[(slice(None), *taken)]
        return whole


def sampling_grids(patches: Sequence[PatchWarp], device: torch.device | str | None = None) -> list[Tensor | None]:
    """Where the voxels of patches of one size are sampled, (D, H, W, 3) each; None for those that need no sampling.

    Args:
        patches: of one size.
        device: of the result.
    """
    moved = [patch for patch in patches if not patch.is_exact]
    if not moved:
        return [None] * len(patches)
    low, size, corner = (
        torch.tensor([numbers[::-1] for numbers in each], dtype=torch.float64)
        for each in zip(*((*patch.box, patch.corner) for patch in moved), strict=True)
    )
    whole = torch.tensor(moved[0].size[::-1], dtype=torch.float64)
    onto = whole / size, (2 * (corner - low) + whole) / size - 1
    warp = Warp.joined([patch.warp for patch in moved if patch.warp is not None])
    grids = iter(sampling_grid(moved[0].size, torch.stack([patch.frame for patch in moved]), warp, device, onto))
    return [None if patch.is_exact else next(grids) for patch in patches]


def reach(size: Triple, frames: Tensor, warp: Warp) -> tuple[Tensor, Tensor]:
    """Bounds of where the voxels of warped patches are sampled, by interval arithmetic: no position is computed.

    Cubic B-splines lie within the range of their control points, so the displacement is bounded by theirs.

    Args:
        size: voxels (D, H, W) of the patch.
        frames: (N, 3, 3), of :func:`spatial_frame`.
        warp: a ``Warp`` of N items.

    Returns:
        Lowest and highest positions (N, 3) along (x, y, z); the patch lies between -1 and 1.
    """
    linear, start, control = warp_terms(size, frames, warp)
    ends = torch.tensor([1 - 1 / n for n in reversed(size)], dtype=torch.float64)  # the outermost voxel centres
    either_way = (linear.abs() * ends).sum(-1) + (warp.taper.abs() * ends * ends[:, None]).sum(-1)
    bend = warp.bend * ends**2
    low = start - either_way + bend.clamp(max=0).sum(-1)
    high = start + either_way + bend.clamp(min=0).sum(-1)
    if control is not None:
        low, high = low + control.flatten(2).amin(-1), high + control.flatten(2).amax(-1)
    tilt = (warp.tilt.abs() * ends).sum(-1, keepdim=True)
    near, far = (1 - tilt).clamp(min=0.1), 1 + tilt
    return torch.minimum(low / near, low / far), torch.maximum(high / near, high / far)


def _within(low: int, stop: int, n: int, reflect: bool) -> tuple[int, int]:
    """Both ends cut to an axis of ``n`` voxels; all of it where what hangs over is reflected."""
    if reflect and (low < 0 or stop > n):
        return 0, n
    low = min(max(low, 0), n - 1)
    return low, max(min(stop, n), low + 1)


def _continued(part: Tensor, low: Triple, patch: PatchWarp) -> Tensor:
    """The patch of a volume that goes on at its edges as ``fill`` says."""
    for axis, (first, start, n, whole) in enumerate(zip(low, patch.corner, patch.size, patch.shape, strict=True), 1):
        index = torch.arange(start, start + n, device=part.device)
        if patch.fill == "reflect":
            index = index.remainder(2 * whole)
            index = torch.where(index < whole, index, 2 * whole - 1 - index)
        part = part.index_select(axis, (index.clamp(0, whole - 1) - first))
    return part
