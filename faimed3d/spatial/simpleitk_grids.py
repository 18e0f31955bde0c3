"""Resample onto a rotated grid by SimpleITK: the fastest way on a CPU where no axis is parallel to an old one.

SimpleITK interpolates. What is outside is decided here, by the rules of ``faimed3d.spatial.positions``: for that a
volume is handed over with one more voxel beyond the edges of the volume, a copy of the outermost one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from faimed3d import _blockwise
from faimed3d.spatial.positions import EDGE_TOLERANCE, HALF_TOLERANCE

_AT_ONCE = 1 << 19  # voxels of which it is told at once whether they are outside


def resample(
    volumes: Tensor, matrix: np.ndarray, offset: np.ndarray, size: tuple[int, int, int], nearest: bool, fill: float
) -> Tensor:
    """Resample to a rotated grid; arguments as for ``faimed3d.spatial.interpolation.resample_voxels``.

    The type of ``volumes`` is one that SimpleITK has; it works in float64.
    """
    result = volumes.new_empty((len(volumes), *size))
    for source, target in zip(volumes.numpy(), result.numpy(), strict=True):
        _resample(source, target, matrix, offset, nearest, fill)
    return result


def _resample(
    source: np.ndarray,
    target: np.ndarray,
    matrix: np.ndarray,
    offset: np.ndarray,
    nearest: bool,
    fill: float,
) -> None:
    """Resample one volume (D, H, W) into ``target``: only the part that it needs is handed to SimpleITK."""
    last = np.array(source.shape) - 1
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(target.shape) - 1) @ matrix.T + offset
    low, high = corners.min(0), corners.max(0)
    if (high < -0.5 - EDGE_TOLERANCE).any() or (low > last + 0.5 + EDGE_TOLERANCE).any():
        target[...] = fill
        return
    start = np.clip(np.floor(low), -1, last).astype(int)  # -1 and last + 1 are copies of the edge
    stop = np.clip(np.ceil(high), 0, last + 1).astype(int) + 1
    shift = HALF_TOLERANCE if nearest else 0
    _by_simpleitk(_with_edges(source, start, stop), target, matrix, offset - start + shift, nearest)
    if (low < -0.5 - EDGE_TOLERANCE).any() or (high > last + 0.5 + EDGE_TOLERANCE).any():
        _fill_outside(target, matrix, offset, source.shape, fill)


def _with_edges(source: np.ndarray, start: Sequence[int], stop: Sequence[int]) -> np.ndarray:
    """The part from ``start`` to ``stop`` of a volume; beyond its edges the outermost voxels once more."""
    part = np.empty(np.subtract(stop, start), source.dtype)
    before = np.maximum(0, np.negative(start))
    after = np.maximum(0, np.subtract(stop, source.shape))
    inner = tuple(slice(a, n - b) for a, n, b in zip(before, part.shape, after, strict=True))
    known = tuple(slice(a, b) for a, b in zip(np.add(start, before), np.subtract(stop, after), strict=True))
    part[inner] = source[known]
    for axis in range(3):
        along = np.moveaxis(part, axis, 0)
        if before[axis]:
            along[0] = along[1]
        if after[axis]:
            along[-1] = along[-2]
    return part


def _by_simpleitk(
    source: np.ndarray, target: np.ndarray, matrix: np.ndarray, offset: np.ndarray, nearest: bool
) -> None:
    """Write into ``target`` the values at ``matrix @ (d, h, w) + offset``, all of which lie in ``source``."""
    import SimpleITK as sitk

    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix[::-1, ::-1].ravel().tolist())
    transform.SetTranslation(offset[::-1].tolist())
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize([int(n) for n in reversed(target.shape)])
    resampler.SetTransform(transform)
    resampler.SetInterpolator(sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear)
    resampler.SetNumberOfThreads(torch.get_num_threads())
    image = sitk.GetImageFromArray(source)
    del source  # each of these is a volume: none is kept longer than it is needed
    image = resampler.Execute(image)
    target[...] = sitk.GetArrayViewFromImage(image)


def _fill_outside(
    target: np.ndarray, matrix: np.ndarray, offset: np.ndarray, shape: Sequence[int], fill: float
) -> None:
    """Set to ``fill`` what lies beyond the edges of the old volume of ``shape``, one line along W after the other."""
    d, h = (np.arange(n, dtype=float) for n in target.shape[:2])
    first, last = np.zeros(target.shape[:2]), np.full(target.shape[:2], target.shape[2] - 1.0)  # inside, of each line
    for (along_d, along_h, along_w), start, n in zip(matrix, offset, shape, strict=True):
        position = along_d * d[:, None] + along_h * h + start  # of the first voxel of each line
        to_low, to_high = -0.5 - EDGE_TOLERANCE - position, n - 0.5 + EDGE_TOLERANCE - position
        if along_w == 0:
            last[(to_low > 0) | (to_high < 0)] = -1
        else:
            ends = (to_low, to_high) if along_w > 0 else (to_high, to_low)
            np.maximum(first, ends[0] / along_w, out=first)
            np.minimum(last, ends[1] / along_w, out=last)
    w = np.arange(target.shape[2])

    def work(part: slice) -> None:
        begin, end = first[part], last[part]
        cut = (begin > 0) | (end < len(w) - 1)
        lines = target[part][cut]
        lines[(w < begin[cut][:, None]) | (w > end[cut][:, None])] = fill
        target[part][cut] = lines

    _blockwise.in_threads(work, _blockwise.slices(len(target), max(1, _AT_ONCE // target[0].size)))
