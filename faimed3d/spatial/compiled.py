"""The compiled loops of ``faimed3d.spatial.kernels`` on tensors, in as many threads as PyTorch may use.

They serve volumes on a CPU that need no gradient, in half of PyTorch's time, and take no memory but the result's.
"""

from __future__ import annotations

from functools import cache
from itertools import product
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from faimed3d import _blockwise
from faimed3d.spatial.neighbours import in_memory

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
    result = volumes.new_empty((len(volumes), *size))
    filled = torch.tensor(fill).to(volumes.dtype)
    olds, news, filled = (_bits(t) if nearest else t for t in (volumes, result, filled))
    outside = filled.numpy()[()]
    loop = kernels.grid_nearest if nearest else kernels.grid_linear
    steps, shape = olds.stride()[1:], tuple(olds.shape[1:])
    matrix, offset = np.ascontiguousarray(matrix, np.float64), np.ascontiguousarray(offset, np.float64)
    depth = max(1, _JOB // max(1, size[1] * size[2]))

    def work(job: tuple[int, int]) -> None:
        number, first = job
        new = news[number, first : first + depth].numpy()
        loop(in_memory(olds[number]).numpy(), steps, shape, matrix, offset, outside, new, first)

    _blockwise.in_threads(work, product(range(len(volumes)), range(0, size[0], depth)))
    return result


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
    olds, news, values = (_bits(t) if nearest else t for t in (volumes, result.flatten(2), values))
    loop = kernels.points_nearest if nearest else kernels.points_linear
    steps, shape = olds.stride()[2:], tuple(olds.shape[2:])
    flat, outside = points.reshape(len(points), -1, 3).contiguous().numpy(), values.numpy()

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
