"""Resize the last three axes of a tensor, first and last voxels kept in place (align_corners=True).

Voxel ``i`` of ``m`` new ones lies at voxel ``i * (n - 1) / (m - 1)`` of the ``n`` old ones; a new side of 1 takes the
first voxel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from faimed3d._arguments import is_number, per_axis, whole_per_axis
from faimed3d._padding import fill_padding
from faimed3d.geometry import Geometry
from faimed3d.masks import is_mask
from faimed3d.spatial import compiled
from faimed3d.spatial.arguments import T, spatial_size
from faimed3d.spatial.label_shares import blend_labels, check_mode, keep_lost, warn_of_lost
from faimed3d.spatial.positions import AxisPositions


def resize_3d_tensor(t: T, new_shape: Sequence[int], labels: str = "nearest") -> T:
    """Resize to ``new_shape``: images trilinear with ``align_corners=True`` (as the first version did), masks nearest.

    The centres of the first and last voxels stay where they are, so the origin is kept and the spacing becomes
    ``spacing * (old - 1) / (new - 1)``. An axis brought to size 1 keeps its first voxel.

    Args:
        t: tensor (..., D, H, W), every side at least 1. Images of an integer type become float32.
        new_shape: voxels (D, H, W).
        labels: how masks are resized, ``'nearest'``, ``'linear'`` or ``'present'``; see ``resample_like``.

    Raises:
        TypeError: complex voxels.
        ValueError: fewer than three axes, an empty side, or ``new_shape`` is not three sizes of at least 1.

    >>> resize_3d_tensor(torch.tensor([[[0.0, 2.0]]]), (1, 1, 5))
    tensor([[[0.0000, 0.5000, 1.0000, 1.5000, 2.0000]]])
    """
    if is_number(new_shape):
        raise ValueError(f"new_shape must be three sizes (D, H, W), got {new_shape!r}")
    old, new = spatial_size(t), whole_per_axis(new_shape, "new_shape", least=1)
    if t.is_complex():
        raise TypeError(f"expected a tensor of real numbers, got {t.dtype}; resize .real and .imag by themselves")
    if 0 in old:
        raise ValueError(f"expected a tensor (..., D, H, W) with sides of at least 1, got shape {tuple(t.shape)}")
    # a voxel mixed of a measurement and of padding would be neither
    plain = fill_padding(t).as_subclass(Tensor)
    check_mode(labels)
    scale = [1 if m == 1 else (n - 1) / (m - 1) for n, m in zip(old, new, strict=True)]
    if is_mask(t):
        matrix, volumes = np.diag(np.array(scale, float)), plain.reshape(-1, *old)
        if labels == "nearest":
            result = resize_nearest(volumes, new)
            keep_lost(volumes, result, matrix, np.zeros(3), "resize_3d_tensor")
        else:
            result = blend_labels(volumes, matrix, np.zeros(3), new, labels, 0)
        result = result.reshape(*plain.shape[:-3], *new)
    else:
        result = resize_linear(plain, new)
    if is_mask(t):
        warn_of_lost(plain, result, "resize_3d_tensor")
    if not hasattr(t, "with_voxels"):
        return result  # type: ignore[return-value]

    def resized(geometry: Geometry) -> Geometry | None:
        return geometry.regrid(new, scale)

    return t.with_voxels(result, resized)


def scaled_size(size: Sequence[int], factor: float | Sequence[float]) -> tuple[int, int, int]:
    """The sizes (D, H, W) times ``factor``, rounded, at least 1.

    Args:
        size: (D, H, W).
        factor: above 0: one number, or three (D, H, W).

    >>> scaled_size((4, 5, 1), (0.5, 2, 0.1))
    (2, 10, 1)
    """
    factors = per_axis(factor, "scale_factor", above=0)
    depth, height, width = (max(1, round(n * f)) for n, f in zip(size, factors, strict=True))
    return depth, height, width


def resize_linear(t: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Resize by trilinear interpolation, as ``F.interpolate(mode="trilinear", align_corners=True)`` to rounding.

    Args:
        t: plain tensor (..., D, H, W) with any number of leading axes; every side at least 1.
        size: the new (D, H, W).

    Returns:
        New tensor (..., *size), never sharing memory with ``t``: floating types are kept, others become float32.

    >>> resize_linear(torch.tensor([[[0.0, 2.0]]]), (1, 1, 5))
    tensor([[[0.0000, 0.5000, 1.0000, 1.5000, 2.0000]]])
    """
    if not t.is_floating_point():
        t = t.float()
    volumes = t.reshape(-1, *t.shape[-3:])
    if not len(volumes):
        return t.new_empty(*t.shape[:-3], *size)
    if t.dtype in (torch.float32, torch.float64) and compiled.suits(t):
        result = _by_loops(volumes, size, nearest=False)
    else:
        result = F.interpolate(volumes[:, None], size, mode="trilinear", align_corners=True)
    return result.reshape(*t.shape[:-3], *size)


def resize_nearest(t: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Resize by taking the nearest voxel, for labels: no value appears that was not there.

    A position halfway between two voxels takes the one with the higher index.

    Args:
        t: plain tensor (..., D, H, W) of any type, with any number of leading axes; every side at least 1.
        size: the new (D, H, W).

    Returns:
        New tensor (..., *size) of the same type, never sharing memory with ``t``.

    >>> resize_nearest(torch.tensor([[[1, 7, 4]]]), (1, 1, 5))
    tensor([[[1, 7, 7, 4, 4]]])
    """
    if compiled.suits(t):
        return _by_loops(t.reshape(-1, *t.shape[-3:]), size, nearest=True).reshape(*t.shape[:-3], *size)
    d, h, w = (_nearest(n, m, t.device) for n, m in zip(t.shape[-3:], size, strict=True))
    return t[..., d[:, None, None], h[:, None], w]


def _by_loops(volumes: Tensor, size: tuple[int, int, int], nearest: bool) -> Tensor:
    """Resize (N, D, H, W) on a CPU."""
    result = volumes.new_empty((len(volumes), *size))
    axes = [
        AxisPositions(n, (n - 1) / max(m - 1, 1), 0.0, m, nearest, volumes).block()
        for n, m in zip(volumes.shape[1:], size, strict=True)
    ]
    compiled.resample_axes(volumes, axes, result)
    return result


def _nearest(n: int, m: int, device: torch.device) -> Tensor:
    """For each of ``m`` new voxels the index of the old one, by whole numbers so that halves are exact."""
    steps = max(m - 1, 1)
    return (torch.arange(m, device=device) * (2 * (n - 1)) + m - 1) // (2 * steps)
