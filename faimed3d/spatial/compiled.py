"""The compiled loops of ``faimed3d.spatial.kernels`` on tensors, in as many threads as PyTorch may use.

They serve volumes on a CPU that need no gradient, in half of PyTorch's time, and take no memory but the result's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import product
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from faimed3d import _blockwise
from faimed3d.spatial.neighbours import in_memory
from faimed3d.spatial.positions import AxisBlock

_JOB = 1 << 15  # new voxels of a job: small enough to share the work among threads, and worth a call
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # of a voxel that is taken as it is


@cache
def _kernels() -> ModuleType | None:
    try:
        from faimed3d.spatial import kernels
    except ImportError:  # Python is newer than what Numba is built for: PyTorch does it, slower
        return None
    return kernels


def suits(*tensors: Tensor) -> bool:
    """Whether the compiled loops may do the work: on a CPU, without gradients."""
    grad = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    return not grad and all(map(_blockwise.uses_cpu, tensors)) and _kernels() is not None


def resample(
    volumes: Tensor, matrix: np.ndarray, offset: np.ndarray, size: tuple[int, int, int], nearest: bool, fill: float
) -> Tensor:
    """Resample to any grid; arguments as for ``faimed3d.spatial.interpolation.resample_voxels``."""
    kernels = _kernels()
    assert kernels is not None
    loop = kernels.grid_nearest if nearest else kernels.grid_linear
    result = volumes.new_empty((len(volumes), *size))
    filled = torch.tensor(fill).to(volumes.dtype)
    olds, news, filled = (_bits(t) if nearest else t for t in (volumes.detach(), result, filled))
    steps, shape, outside = olds.stride()[1:], tuple(olds.shape[1:]), filled.numpy()[()]
    matrix, offset = np.ascontiguousarray(matrix, np.float64), np.ascontiguousarray(offset, np.float64)

    def work(number: int, planes: slice) -> None:
        old, new = in_memory(olds[number]).numpy(), news[number, planes].numpy()
        loop(old, steps, shape, matrix, offset, outside, new, planes.start)

    _by_planes(work, len(volumes), size)
    return result


def resample_axes(volumes: Tensor, axes: Sequence[AxisBlock], result: Tensor) -> None:
    """Resample into a part of a volume, each axis of which is parallel to the old one of its number.

    Args:
        volumes: (N, D, H, W).
        axes: the new voxels along each axis.
        result: (N, D', H', W'), contiguous.
    """
    kernels = _kernels()
    assert kernels is not None
    nearest = all(axis.upper is None for axis in axes)
    volumes = volumes.detach()[(slice(None), *(axis.old for axis in axes))]
    olds, news = (_bits(t) if nearest else t for t in (volumes, result))
    first, *corner = [axis.new.start for axis in axes]
    steps = olds.stride()[1:]
    where: list[tuple[np.ndarray, ...]]
    if nearest:
        where = [(_unsigned(axis.lower * step),) for axis, step in zip(axes, steps, strict=True)]
    else:  # a whole line is blended before its voxels along W are taken
        where = [_pairs(axis, step, volumes.dtype) for axis, step in zip(axes, (*steps[:2], 1), strict=True)]

    def work(number: int, planes: slice) -> None:
        old, new = in_memory(olds[number]).numpy(), news[number, first:][planes].numpy()
        along_d = tuple(numbers[planes] for numbers in where[0])
        if nearest:
            kernels.axes_nearest(old, along_d, *where[1:], new, *corner)
        else:
            kernels.axes_linear(old, np.uintp(steps[2]), along_d, *where[1:], new, *corner)

    _by_planes(work, len(volumes), [len(axis.lower) for axis in axes])


def _pairs(axis: AxisBlock, step: int, dtype: torch.dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the old voxels below and above the new ones lie, and the shares of the latter."""
    upper = axis.lower if axis.upper is None else axis.upper
    share = torch.zeros(len(upper), dtype=dtype) if axis.share is None else axis.share
    return _unsigned(axis.lower * step), _unsigned(upper * step), share.numpy()


def _unsigned(indices: Tensor) -> np.ndarray:
    return indices.numpy().astype(np.uintp)


def _by_planes(work: Callable[[int, slice], None], count: int, size: Sequence[int]) -> None:
    """Do the ``work`` of each volume (its number, and new planes along D) in threads."""
    depth = max(1, _JOB // max(1, size[1] * size[2]))
    jobs = product(range(count), _blockwise.slices(size[0], depth))
    _blockwise.in_threads(lambda job: work(*job), jobs)


def sample(volumes: Tensor, points: Tensor, nearest: bool, fill: Tensor | str) -> Tensor:
    """Sample volumes at points, as PyTorch's ``grid_sample`` with ``align_corners=False`` does.

    Args:
        volumes: (N, C, D, H, W), float32 or float64 unless ``nearest``.
        points: (N, D', H', W', 3), of the same type, or float32 if ``nearest``; x, y, z from -1 to 1, edge to edge.
        nearest: take the nearest voxel instead of blending.
        fill: what lies around, (N, C) values of the type of ``volumes``; ``'edge'`` or ``'reflect'``.

    Returns:
        (N, C, D', H', W') of the type of ``volumes``.
    """
    kernels = _kernels()
    assert kernels is not None
    result = volumes.new_empty((*volumes.shape[:2], *points.shape[1:-1]))
    around = {"edge": kernels.EDGE, "reflect": kernels.REFLECT}[fill] if isinstance(fill, str) else kernels.CONSTANT
    values = volumes.new_zeros(volumes.shape[:2]) if isinstance(fill, str) else fill
    olds, news, values = (_bits(t) if nearest else t for t in (volumes.detach(), result.flatten(2), values))
    loop = kernels.points_nearest if nearest else kernels.points_linear
    steps, shape = olds.stride()[2:], tuple(olds.shape[2:])
    flat, outside = points.detach().reshape(len(points), -1, 3).contiguous().numpy(), values.numpy()

    def work(job: tuple[int, int, slice]) -> None:
        n, c, part = job
        old, new = in_memory(olds[n, c]).numpy(), news[n, c].numpy()
        loop(old, steps, shape, flat[n, part], around, outside[n, c], new[part])

    _blockwise.in_threads(
        work, product(range(volumes.shape[0]), range(volumes.shape[1]), _blockwise.slices(flat.shape[1], _JOB))
    )
    return result


def _bits(t: Tensor) -> Tensor:
    """The voxels as whole numbers of the same size, which can be taken, but not reckoned with."""
    return t.view(_BITS[t.element_size()])
