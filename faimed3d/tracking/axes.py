"""Indexing, and operations that reorder, flip, add or remove axes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from torch import Tensor

from faimed3d.tracking.grid import Operand
from faimed3d.tracking.rules import RULES, listed, rule

rule("__getitem__", home=(Tensor,))(lambda x, result, index: x.at(index))


@rule("select")
def _select(x, result, dim, index):
    return x.at(_along(x, dim, index))


@rule("narrow")
def _narrow(x, result, dim, start, length):
    start = int(start)
    start = start + x.shape[dim] if start < 0 else start
    return x.at(_along(x, dim, slice(start, start + length)))


@rule("index_select")
def _index_select(x, result, dim, index):
    return x.at(_along(x, dim, index.reshape(-1)))


def _along(x, dim, item):
    return (slice(None),) * x.axis(dim) + (item,)


@rule("unbind")
def _unbind(x, result, dim=0):
    if x.axis(dim) >= x.lead:
        return None
    if x.shared:
        return x.grid
    return [x.at(_along(x, dim, k)) for k, item in enumerate(result)]


@rule("tensor_split")
def _tensor_split(x, result, indices_or_sections, dim=0):
    if getattr(indices_or_sections, "ndim", 0) == 0 and not isinstance(indices_or_sections, tuple | list):
        return _split(x, result, dim=dim)
    cuts = [None, *(int(cut) for cut in indices_or_sections), None]
    return [x.at(_along(x, dim, slice(start, stop))) for start, stop in pairwise(cuts)]


@rule("split chunk split_with_sizes")
def _split(x, result, *args, dim=None, **kwargs):
    dim = dim if dim is not None else args[1] if len(args) > 1 else 0
    grids, start = [], 0
    for part in result:
        stop = start + part.shape[dim]
        grids.append(x.at(_along(x, dim, slice(start, stop))))
        start = stop
    return grids


def _reordered(x, order):
    order = [x.axis(dim) for dim in order]
    spatial = [dim - x.lead for dim in order[x.lead :]]
    if min(spatial) < 0:
        return None
    grid = x.grid if spatial == [0, 1, 2] else x.map(lambda geometry: geometry.permute(spatial))
    return Operand(grid, x.shape).map_leading(lambda array: array.transpose(order[: x.lead]))


def _flat(values):
    """Dimensions given one by one or as one sequence."""
    return listed(values[0]) if len(values) == 1 else values


@rule("permute")
def _permute(x, result, *dims, **kwargs):
    return _reordered(x, _flat(dims or (kwargs["dims"],)))


@rule("transpose transpose_ swapaxes swapaxes_ swapdims swapdims_")
def _transpose(x, result, *dims, **kwargs):
    a, b = (x.axis(dim) for dim in (*dims, *kwargs.values()))
    order = list(range(len(x.shape)))
    order[a], order[b] = b, a
    return _reordered(x, order)


@rule("movedim moveaxis")
def _movedim(x, result, source, destination):
    source, destination = ([x.axis(dim) for dim in listed(dims)] for dims in (source, destination))
    order = [dim for dim in range(len(x.shape)) if dim not in source]
    for to, dim in sorted(zip(destination, source, strict=True)):
        order.insert(to, dim)
    return _reordered(x, order)


RULES[Tensor.mT.__get__] = lambda x, result: _transpose(x, result, -1, -2)
rule("adjoint")(RULES[Tensor.mT.__get__])
RULES[Tensor.mH.__get__] = RULES[Tensor.mT.__get__]


@rule("flip")
def _flip(x, result, *dims, **kwargs):
    dims = [x.axis(dim) for dim in _flat(dims or (kwargs["dims"],))]
    leading = tuple(dim for dim in dims if dim < x.lead)
    turned = [dim + x.lead in [*dims] for dim in range(3)]
    grid = x.map(lambda geometry: _turned(geometry, turned)) if any(turned) else x.grid
    return Operand(grid, x.shape).map_leading(lambda array: np.flip(array, leading), full=False)


def _turned(geometry, turned):
    scale = [-1 if turn else 1 for turn in turned]
    offset = [size - 1 if turn else 0 for size, turn in zip(geometry.shape, turned, strict=True)]
    return geometry.regrid(geometry.shape, scale, offset)


rule("fliplr")(lambda x, result: _flip(x, result, 1))
rule("flipud __reversed__")(lambda x, result: _flip(x, result, 0))


@rule("rot90")
def _rot90(x, result, k=1, dims=(0, 1)):
    a, b = (x.axis(dim) for dim in dims)
    k %= 4
    if a < x.lead and b < x.lead:
        return x.map_leading(lambda array: np.rot90(array, k, (a, b)))
    if k == 2:
        return _flip(x, result, a, b)
    if k == 0:
        return x.grid
    turned = _transpose(x, result, a, b)
    return None if turned is None else _flip(Operand(turned, result.shape), result, a if k == 1 else b)


@rule("roll")
def _roll(x, result, shifts, dims=None):
    dims, shifts = listed(() if dims is None else dims), listed(shifts)
    if not dims:
        return None  # rolled as one long row
    total = [0] * len(x.shape)
    for dim, shift in zip(dims, shifts, strict=True):
        total[x.axis(dim)] += shift
    if any(shift % size for shift, size in zip(total[x.lead :], x.shape[x.lead :], strict=True)):
        return None  # voxels that leave on one side come back on the other: no straight grid
    return x.map_leading(lambda array: np.roll(array, total[: x.lead], tuple(range(x.lead))))


@rule("unsqueeze unsqueeze_")
def _unsqueeze(x, result, dim):
    dim = x.axis(dim, extra=1)
    return x.map_leading(lambda array: np.expand_dims(array, dim), full=False) if dim <= x.lead else None


@rule("squeeze squeeze_")
def _squeeze(x, result, *dims, **kwargs):
    dims = dims or tuple(kwargs.values())
    dims = [x.axis(dim) for dim in _flat(dims)] if dims else range(len(x.shape))
    gone = [dim for dim in dims if x.shape[dim] == 1]
    if gone and max(gone) >= x.lead:
        return None
    return x.map_leading(lambda array: np.squeeze(array, tuple(gone)))


@rule("reshape view flatten unflatten ravel view_as reshape_as _unsafe_view")
def _reshape(x, result, *args, **kwargs):
    shape = tuple(result.shape)
    if shape[-3:] != tuple(x.shape[-3:]):
        return None  # row-major: equal last three sizes mean that only leading axes were regrouped
    return x.map_leading(lambda array: array.reshape(shape[:-3]))


@rule("expand expand_as broadcast_to")
def _expand(x, result, *args, **kwargs):
    if tuple(result.shape[-3:]) != tuple(x.shape[-3:]):
        return None
    return x.map_leading(lambda array: np.broadcast_to(array, result.shape[:-3]))


@rule("repeat tile")
def _repeat(x, result, *repeats, **kwargs):
    if tuple(result.shape[-3:]) != tuple(x.shape[-3:]):
        return None
    repeats = _flat(repeats or tuple(kwargs.values()))
    return x.map_leading(lambda array: np.tile(array, repeats[:-3]) if len(repeats) > 3 else array)
