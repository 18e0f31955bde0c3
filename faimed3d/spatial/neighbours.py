"""The old voxels that new ones are made of, at any positions, on any device and with gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from faimed3d.spatial.positions import is_inside, nearest_voxels, two_neighbours


def in_memory(volume: Tensor) -> Tensor:
    """The voxels as they lie in memory, from the first of a volume to its last: a flat view, no copy."""
    reach = 1 + sum((n - 1) * stride for n, stride in zip(volume.shape, volume.stride(), strict=True))
    return volume.as_strided((reach,), (1,))


class Neighbours:
    """The old voxels that new ones are made of, by their number in memory, which is faster than an index for each axis.

    Args:
        positions: of the new voxels along each of two or three old axes, float64 tensors of one shape.
        shape: old voxels along each of these axes.
        strides: in memory, of each of these axes.
        nearest: take the nearest voxel instead of blending.
        dtype: of the shares.
    """

    def __init__(
        self,
        positions: Sequence[Tensor],
        shape: Sequence[int],
        strides: Sequence[int],
        nearest: bool,
        dtype: torch.dtype,
    ):
        self._numbers = [torch.zeros_like(positions[0], dtype=torch.int64)]  # 1, or 2 for each axis
        self._shares: list[Tensor] = []  # of the higher neighbour along each axis
        outside = torch.zeros_like(positions[0], dtype=torch.bool)
        self._reach = 1 + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
        for along, n, stride in zip(positions, shape, strides, strict=True):
            outside |= ~is_inside(along, n)
            if nearest:
                self._numbers = [number + nearest_voxels(along, n) * stride for number in self._numbers]
            else:
                lower, upper, share = two_neighbours(along, n)
                ends = lower * stride, upper * stride
                self._numbers = [number + end for number in self._numbers for end in ends]
                self._shares.append(share.to(dtype))
        self._outside = outside if outside.any() else None

    def tables(self) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """Numbers (1 or 4, M) of the neighbours in memory, shares (2, M), and which new voxels (M) are outside.

        Where nearest voxels are taken there is one neighbour, and no share.
        """
        numbers = torch.stack(self._numbers).flatten(1).numpy()
        numbers = numbers.astype(np.uint32 if self._reach < 2**32 else np.uint64)  # narrow tables stay in the cache
        outside = torch.zeros_like(self._numbers[0], dtype=torch.bool) if self._outside is None else self._outside
        shares = torch.stack(self._shares).flatten(1).numpy() if self._shares else None
        return numbers, shares, outside.flatten().numpy()

    def interpolate(self, source: Tensor, axis: int, part: tuple[slice, ...] = ()) -> Tensor:
        """Take and blend the neighbours of a part of the new voxels (default: all) along ``axis`` of ``source``."""
        values = [source.index_select(axis, number[part].reshape(-1)) for number in self._numbers]
        for share in reversed(self._shares):
            share = _along(share[part], axis, source.ndim)
            values = [lower.lerp_(upper, share) for lower, upper in zip(values[::2], values[1::2], strict=True)]
        return values[0]

    def fill_outside(self, values: Tensor, axis: int, fill: float, part: tuple[slice, ...] = ()) -> None:
        """Set to ``fill`` what lies outside, a part of the new voxels (default: all) lying along ``axis``."""
        if self._outside is not None:
            values.masked_fill_(_along(self._outside[part], axis, values.ndim), fill)


def _along(values: Tensor, axis: int, ndim: int) -> Tensor:
    """Lay flattened values along an axis, so that they are broadcast over the others."""
    return values.reshape([-1 if k == axis else 1 for k in range(ndim)])
