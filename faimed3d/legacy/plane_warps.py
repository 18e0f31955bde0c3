"""Warps in the plane of faimed3d 0.0.6, for ``TensorDicom3D.grid_tfms``; today the transforms named here.

Each gives the rows and columns, (H, W) each, at which a plane is sampled: -1 is the first and 1 the last centre.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["sheer_3d", "trapezoid_3d", "warp_3d"]


def warp_3d(h: int, w: int, magnitude_h: float, magnitude_w: float) -> tuple[Tensor, Tensor]:
    """Sample a plane whose centre is moved; today ``RandomWarp3D``.

    Args:
        h, w: voxels of the plane.
        magnitude_h, magnitude_w: how far its centre goes, in parts of the sides, between -0.5 and 0.5.

    Returns:
        Rows and columns, (H, W) each.

    >>> rows, columns = warp_3d(3, 3, 0.25, 0)
    >>> rows[:, 0].tolist()
    [-1.0, -0.3333333432674408, 1.0]
    """
    if not max(abs(magnitude_h), abs(magnitude_w)) < 0.5:
        raise ValueError(f"the centre must stay inside: magnitudes below 0.5, got {magnitude_h!r} and {magnitude_w!r}")
    rows, columns = _plane(h, w)
    return _moved(rows, 2 * magnitude_h), _moved(columns, 2 * magnitude_w)


def sheer_3d(h: int, w: int, magnitude_h: float, magnitude_w: float) -> tuple[Tensor, Tensor]:
    """Sample a sheared plane; today ``RandomSheer3D``.

    Args:
        h, w: voxels of the plane.
        magnitude_h, magnitude_w: how far the last column and row are moved, in parts of half the sides.

    >>> sheer_3d(3, 3, 0.5, 0)[0][1].tolist()
    [-0.5, 0.0, 0.5]
    """
    rows, columns = _plane(h, w)
    return rows + magnitude_h * columns, columns + magnitude_w * rows


def trapezoid_3d(h: int, w: int, magnitude: float) -> tuple[Tensor, Tensor]:
    """Sample a plane that is stretched, or (below 0) squeezed, at its first columns; today ``RandomTrapezoid3D``.

    Args:
        h, w: voxels of the plane.
        magnitude: above -1 and below 1.

    >>> trapezoid_3d(3, 3, 0.5)[0][2].tolist()
    [0.5, 0.75, 1.0]
    """
    if not -1 < magnitude < 1:
        raise ValueError(f"magnitude must be above -1 and below 1, got {magnitude!r}")
    rows, columns = _plane(h, w)
    scale = 1 - abs(magnitude) * (1 - columns) / 2
    return (rows / scale if magnitude < 0 else rows * scale), columns


def _plane(h: int, w: int) -> list[Tensor]:
    """Rows and columns (H, W) of the voxels, -1 at the first and 1 at the last centre; 0 where there is but one."""
    sides = (torch.linspace(-1, 1, n) if n > 1 else torch.zeros(1) for n in (h, w))
    return list(torch.meshgrid(*sides, indexing="ij"))


def _moved(x: Tensor, shift: float) -> Tensor:
    """``x`` after the map that keeps -1 and 1 and takes ``shift`` to 0, linear on both sides."""
    return (x - shift) / torch.where(x < shift, 1 + shift, 1 - shift)
