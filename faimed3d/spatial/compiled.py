"""The compiled loops of ``faimed3d.spatial.kernels`` on tensors, in as many threads as PyTorch may use.

They serve volumes on a CPU that need no gradient, in half of PyTorch's time, and take no memory but the result's.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from itertools import product
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

from faimed3d import _blockwise
from faimed3d.spatial.blocks import boxes
from faimed3d.spatial.neighbours import Neighbours, in_memory
from faimed3d.spatial.positions import AxisBlock

_JOB = 1 << 18  # new voxels of a job: enough to be worth the tables that it needs
_PLANE_BLOCK = 1 << 13  # new voxels of a plane, or lines, whose neighbours are found at once
_EXACT = 1 << 24  # whole numbers up to it are exact in float32
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # of a voxel that is taken as it is


@cache
def _kernels() -> ModuleType | None:
    """The loops; None where Numba cannot be had, and PyTorch does the work."""
    try:
        from faimed3d.spatial import kernels
    except (ImportError, OSError) as error:
        if getattr(error, "name", None) != "numba":  # it is there, for another NumPy or without its own libraries
            warnings.warn(
                f"Numba is installed but does not work, so volumes are resampled and augmented in twice the time: "
                f"{type(error).__name__}: {error}",
                stacklevel=2,
            )
        return None
    return kernels


def suits(*tensors: Tensor) -> bool:
    """Whether the compiled loops may do the work: on numbers that lie on a CPU as they are, without derivatives.

    Of no tensors: whether there are any loops.
    """
    return all(map(_is_plain, tensors)) and _kernels() is not None


def _is_plain(t: Tensor) -> bool:
    if not (_blockwise.uses_cpu(t) and t.numel() and t.element_size() in _BITS):
        return False
    if t.is_neg() or t.is_conj():  # another number lies in memory
        return False
    return not (torch.is_grad_enabled() and t.requires_grad) and forward_ad.unpack_dual(t).tangent is None


def resample(
    volumes: Tensor, matrix: np.ndarray, offset: np.ndarray, size: tuple[int, int, int], nearest: bool, fill: float
) -> Tensor:
    """Resample to any grid; arguments as for ``faimed3d.spatial.interpolation.resample_voxels``."""
    kernels = _kernels()
    assert kernels is not None
    loop = kernels.grid_nearest if nearest else kernels.grid_linear
    result = volumes.new_empty((len(volumes), *size))
    olds, news, filled = _taken(nearest, volumes, result, torch.tensor(fill, dtype=volumes.dtype))
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
    nearest = all(axis.upper is None for axis in axes)
    volumes, result = _taken(nearest, volumes, result)
    volumes = volumes[(slice(None), *(axis.old for axis in axes))]
    d, h, w = axes
    below_d, above_d, shares_d = _ends(d, volumes.stride(1), volumes.dtype)
    below_h, above_h, shares_h = _ends(h, volumes.stride(2), volumes.dtype)
    rows, columns = (np.arange(axis.new.start, axis.new.stop) for axis in (d, h))

    def work(number: int, planes: slice) -> None:
        lines = np.add.outer(rows[planes] * result.shape[2], columns).ravel()
        pairs = [(one[planes], other) for one in (below_d, above_d) for other in (below_h, above_h)]
        numbers = np.stack([np.add.outer(one, other).ravel() for one, other in pairs[: 1 if nearest else 4]])
        shares = None
        if not nearest:
            shares = np.stack(np.broadcast_arrays(shares_d[planes, None], shares_h)).reshape(2, -1)
        _lines(volumes[number], w, numbers, shares, result[number], lines)

    _by_planes(work, len(volumes), [len(axis.lower) for axis in axes])


def resample_rotated(
    volumes: Tensor,
    parallel: int,
    along: AxisBlock,
    neighbours_of: Callable[[tuple[slice, ...]], Neighbours],
    nearest: bool,
    fill: float,
    result: Tensor,
) -> None:
    """Resample into a part of a volume, one axis of which is parallel to the old one of its number.

    Args:
        volumes: (N, D, H, W), along the parallel axis those that are needed.
        parallel: number of that axis.
        along: the new voxels along it.
        neighbours_of: gives those of a box of the two other axes.
        nearest: whether they are the nearest, to be taken instead of blended.
        fill: what is outside along these.
        result: (N, D', H', W'), contiguous.
    """
    volumes, result, filled = _taken(nearest, volumes, result, torch.tensor(fill, dtype=volumes.dtype))
    around = filled.numpy()[()]
    size = [n for axis, n in enumerate(result.shape[1:]) if axis != parallel]
    steps = [step for axis, step in enumerate(result.stride()[1:]) if axis != parallel]

    def work(job: tuple[int, tuple[slice, ...]]) -> None:
        number, box = job
        numbers, shares, outside = neighbours_of(box).tables()
        rows, columns = (np.arange(part.start, part.stop) * step for part, step in zip(box, steps, strict=True))
        if parallel < 2:
            sides = len(rows), len(columns)
            inside = ~outside.reshape(sides)
            stops = np.where(inside.any(1), sides[1] - inside[:, ::-1].argmax(1), 0)
            spans = np.stack([inside.argmax(1), stops], 1)
            tables = _by_lines(numbers, sides), None if shares is None else _by_lines(shares, sides)
            starts = (rows + columns[0]).astype(np.uintp)
            _planes(volumes[number], parallel, along, *tables, spans, around, result[number], starts)
            return
        lines = np.add.outer(rows, columns).ravel() // result.shape[3]
        if outside.any():
            result[number].flatten(0, 1).numpy()[lines[outside]] = around
            numbers, lines = numbers[:, ~outside], lines[~outside]
            shares = None if shares is None else shares[:, ~outside]
        _lines(volumes[number], along, numbers, shares, result[number], lines)

    _blockwise.in_threads(work, product(range(len(volumes)), boxes(size, _PLANE_BLOCK)))


def _lines(
    old: Tensor, along: AxisBlock, numbers: np.ndarray, shares: np.ndarray | None, new: Tensor, lines: np.ndarray
) -> None:
    kernels = _kernels()
    assert kernels is not None
    flat, first, step = new.flatten(0, 1), along.new.start, old.stride(2)
    if shares is None:
        near_w = _unsigned(along.lower * step)
        kernels.lines_nearest(in_memory(old).numpy(), numbers[0], near_w, flat.numpy(), lines, first)
        return
    along_w = _ends(along, 1, old.dtype)  # a whole line is blended before its voxels are taken
    kernels.lines_linear(in_memory(old).numpy(), np.uintp(step), numbers, shares, along_w, flat.numpy(), lines, first)


def _planes(
    old: Tensor,
    parallel: int,
    along: AxisBlock,
    numbers: np.ndarray,
    shares: np.ndarray | None,
    spans: np.ndarray,
    fill: Any,  # a number of the type of the voxels
    new: Tensor,
    starts: np.ndarray,
) -> None:
    kernels = _kernels()
    assert kernels is not None
    step, flat = np.uintp(new.stride(parallel)), in_memory(new).numpy()
    starts = starts + np.uintp(along.new.start) * step
    if shares is None:
        near = _unsigned(along.lower * old.stride(parallel))
        kernels.planes_nearest(in_memory(old).numpy(), near, numbers, spans, fill, flat, starts, step)
        return
    ends, width = _ends(along, old.stride(parallel), old.dtype), old.shape[2]
    steps = np.uintp(old.stride(1 - parallel)), np.uintp(old.stride(2))
    first = int(numbers.min()) // width  # line of the old planes that is needed
    part = in_memory(old).numpy()[first * int(steps[0]) :]
    kernels.planes_linear(part, ends, steps, width, numbers - first * width, shares, spans, fill, flat, starts, step)


def _by_lines(of: np.ndarray, sides: tuple[int, int]) -> np.ndarray:
    """What there is of voxels (K, R * C), line by line: (R, K, C)."""
    return np.ascontiguousarray(of.reshape(-1, *sides).swapaxes(0, 1))


def _ends(axis: AxisBlock, step: int, dtype: torch.dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
    olds, news, values = _taken(nearest, volumes, result.flatten(2), values)
    loop = kernels.points_nearest if nearest else kernels.points_linear
    steps, shape = olds.stride()[2:], tuple(olds.shape[2:])
    if max(shape) > _EXACT:  # the last voxel would lie beyond itself
        points = points.double()
    flat, outside = points.detach().reshape(len(points), -1, 3).contiguous().numpy(), values.numpy()

    def work(job: tuple[int, int, slice]) -> None:
        n, c, part = job
        old, new = in_memory(olds[n, c]).numpy(), news[n, c].numpy()
        loop(old, steps, shape, flat[n, part], around, outside[n, c], new[part])

    _blockwise.in_threads(
        work, product(range(volumes.shape[0]), range(volumes.shape[1]), _blockwise.slices(flat.shape[1], _JOB))
    )
    return result


def look_up(table: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, int]:
    """The values of a table by their numbers, and the highest of these.

    Args:
        table: a value for each number that there can be.
        numbers: of a type without a sign, of any shape.
    """
    kernels = _kernels()
    assert kernels is not None
    near = np.ascontiguousarray(numbers)  # a box of a file comes faster into the processor's cache by copying
    values = np.empty(numbers.shape, table.dtype)
    return values, int(kernels.look_up(table, near.reshape(-1), values.reshape(-1)))


def _taken(nearest: bool, *tensors: Tensor) -> list[Tensor]:
    """What a loop works on: to take the nearest voxels, whole numbers of the same size, which are not reckoned with."""
    return [t.detach().view(_BITS[t.element_size()]) if nearest else t.detach() for t in tensors]
