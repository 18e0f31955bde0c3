"""Filters of a volume as one small matrix for each axis: smoothing, coarser voxels and back, smooth random fields.

All of these are separable, so matrix products apply them, on any device; each item of a batch may have matrices of its
own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor


def along_axes(x: Tensor, matrices: Sequence[Tensor | None]) -> Tensor:
    """Apply one matrix to each of the axes D, H, W.

    Args:
        x: tensor (N, C, D, H, W).
        matrices: three of shape (n_out, n_in), or (N, n_out, n_in) with one per item; None leaves an axis as it is.

    Returns:
        Tensor (N, C, D_out, H_out, W_out).
    """
    for axis, matrix in enumerate(matrices):
        if matrix is None:
            continue
        matrix = matrix.to(x)
        if matrix.ndim == 3:
            matrix = matrix[:, None]
        if axis == 2:
            x = (x.flatten(2, 3) @ matrix.mT).reshape(*x.shape[:-1], -1)
        elif axis == 1:
            x = (matrix[:, None] if matrix.ndim == 4 else matrix) @ x
        else:
            x = (matrix @ x.flatten(3)).reshape(*x.shape[:2], -1, *x.shape[3:])
    return x


def centres(n: int, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
    """Positions of ``n`` voxel centres along an axis whose edges are -1 and 1."""
    return (torch.arange(n, dtype=torch.float64) * 2 + 1).div_(n).sub_(1).to(device=device, dtype=dtype)


@lru_cache(maxsize=64)
def spline_matrix(n: int, points: int) -> Tensor:
    """Weights (n, points) of ``points`` uniform cubic B-splines at the ``n`` voxel centres of an axis.

    The second and the last but one control point lie on the two edges of the axis, so the field is smooth (twice
    differentiable) up to them. ``points`` is at least 4.
    """
    position = (centres(n, dtype=torch.float64) + 1) / 2 * (points - 3) + 1
    distance = (position[:, None] - torch.arange(points, dtype=torch.float64)).abs()
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = (2 - distance).clamp(min=0) ** 3 / 6
    return torch.where(distance < 1, near, far).float()


def smooth_field(control: Tensor, size: Sequence[int]) -> Tensor:
    """Smooth field (N, C, D, H, W) of ``size`` from control values (N, C, d, h, w), by cubic B-splines."""
    return along_axes(control, [spline_matrix(n, m) for n, m in zip(size, control.shape[-3:], strict=True)])


def gaussian_matrix(n: int, std: Tensor) -> Tensor:
    """Matrices (N, n, n) that smooth an axis of ``n`` voxels with Gaussians of ``std`` (N) voxels standard deviation.

    Beyond the ends the edge voxel continues. A std of 0 gives the identity. Every row adds up to 1.
    """
    index = torch.arange(n, dtype=torch.float64)
    reach = min(n, max(1, round(4 * float(std.max()))))
    source = torch.arange(-reach, n + reach, dtype=torch.float64)
    width = std.double().clamp(min=1e-3)[:, None, None]
    weights = torch.exp(-0.5 * ((index[:, None] - source[None]) / width) ** 2)
    weights /= weights.sum(-1, keepdim=True)
    matrix = weights[..., reach : reach + n].clone()
    matrix[..., 0] += weights[..., :reach].sum(-1)
    matrix[..., -1] += weights[..., reach + n :].sum(-1)
    return matrix


def coarse_matrix(n: int, factor: Tensor) -> Tensor:
    """Matrices (N, n, n) that bring an axis to voxels ``factor`` (N) times as long, by means, and back, linearly.

    The coarse grid has ``round(n / factor)`` voxels, at least 1, over the same field of view.
    """
    return torch.stack([_coarse_matrix(n, max(1, round(n / f))) for f in factor.tolist()])


@lru_cache(maxsize=256)
def _coarse_matrix(n: int, m: int) -> Tensor:
    if m >= n:
        return torch.eye(n, dtype=torch.float64)
    edges = torch.arange(m + 1, dtype=torch.float64) * n / m
    starts = torch.arange(n, dtype=torch.float64)
    overlap = torch.minimum(edges[1:, None], starts + 1) - torch.maximum(edges[:-1, None], starts)
    down = overlap.clamp(min=0) * m / n
    position = ((starts + 0.5) * m / n - 0.5).clamp(0, m - 1)
    up = (1 - (position[:, None] - torch.arange(m, dtype=torch.float64)).abs()).clamp(min=0)
    return up @ down
