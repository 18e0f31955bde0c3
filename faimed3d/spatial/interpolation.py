"""Resample voxels onto another grid: parallel to theirs, turned about one axis, or turned any way.

Functions of plain tensors; where the new voxels lie is said in voxels of the old grid. The rules are one for all ways,
which differ in speed alone:

- Linear interpolation between the neighbours; or the nearest voxel, halfway between two the higher one.
- As in SimpleITK's Resample the edge value holds up to half a voxel beyond the outer voxel centres; farther out is the
  fill.

Many small steps of torch are slow on a CPU. There a turned plane is the product with a sparse matrix, which is scipy's
work, and what is turned any way is left to SimpleITK.
"""

from __future__ import annotations

import math
from itertools import permutations, product

import numpy as np
import torch

from faimed3d import _blockwise
from faimed3d.spatial.oblique import edge_voxels, resample_oblique

__all__ = ["resample_voxels"]

_STRAIGHT = 5e-6  # voxels by which all of an axis may leave the direction of the one that it is parallel to
_EDGE = 1e-6  # of a voxel: how far rounding may push a place beyond the edge
_HALF = 1e-9  # of a voxel: how far rounding may push a place below the half
# voxels at once on a CPU: in its cache, and so few that torch works in one thread and none waits for another
_AT_ONCE = 1 << 15
_ON_DEVICE = 1 << 20  # elsewhere: few launches, and temporaries far smaller than a volume


def resample_voxels(rows, matrix, offset, size, nearest, fill):
    """Resample volumes to the places ``matrix @ (d, h, w) + offset`` of the new voxels (d, h, w).

    Args:
        rows: plain tensor (N, D, H, W); float32 or float64 unless ``nearest``.
        matrix: 3x3 array: a row for each old axis (D, H, W), a column for each new one, voxels per voxel.
        offset: three numbers, where the new voxel (0, 0, 0) lies, in voxels of ``rows``.
        size: new (D, H, W).
        nearest: take the nearest voxel instead of blending.
        fill: what lies outside.

    Returns:
        New tensor (N, *size) of the type of ``rows``.
    """
    if not len(rows):
        return rows.new_empty((0, *size))
    if not (rows.requires_grad and torch.is_grad_enabled()):
        rows = rows.detach()
    order, parallel = _pairing(np.abs(matrix) * (np.array(size) - 1) > _STRAIGHT)
    if len(parallel) == 3:
        return _along_axes(rows, order, matrix, offset, size, nearest, fill)
    rows, matrix, offset = rows.permute(0, *(1 + old for old in order)), matrix[order], offset[order]
    if not _in_numpy(rows):
        return _anywhere(rows, matrix, offset, size, nearest, fill)
    if parallel:
        return _about_axis(rows, *parallel, matrix, offset, size, nearest, fill)
    if not _exact_in_simpleitk(rows):
        return _anywhere(rows, matrix, offset, size, nearest, fill)
    return _oblique(rows, matrix, offset, size, nearest, fill)


def _pairing(leads):
    """For each new axis the old one that goes with it, and which new ones are parallel to theirs: three, one or none.

    Args:
        leads: 3x3 bools, whether going along a new axis (column) crosses an old one (row).
    """

    def parallel(order):
        return [new for new, old in enumerate(order) if leads[old].sum() + leads[:, new].sum() == 2 * leads[old, new]]

    pairings = ((list(order), parallel(order)) for order in permutations(range(3)))
    return max(pairings, key=lambda pair: len(pair[1]))


def _along_axes(rows, order, matrix, offset, size, nearest, fill):
    """Resample where all axes are parallel: one after the other, shrinking ones first; then bring them into order."""
    outside, own = [], False  # own: whether the voxels are a copy
    counts = [size[order.index(old)] for old in range(3)]
    for axis in sorted(range(3), key=lambda axis: counts[axis] / rows.shape[1 + axis]):
        scale = matrix[axis, order.index(axis)]
        low, high, weight, inside = _line(rows, axis, scale, offset[axis], counts[axis], nearest)
        if not inside.all():
            outside.append((axis, ~inside))
        if weight is None and (low.diff() == 1).all():
            rows = rows.narrow(1 + axis, int(low[0]), len(low))
        else:
            rows, own = _along_axis(rows, axis, low, high, weight), True
    rows = rows.permute(0, *(1 + old for old in order))
    rows = rows if own and rows.is_contiguous() else _copied(rows)
    for axis, where in outside:
        rows.index_fill_(1 + order.index(axis), where.nonzero().flatten(), fill)
    return rows


def _along_axis(rows, axis, low, high, weight):
    """Resample along one axis; arguments as :func:`_line` gives them."""
    if not _in_numpy(rows):
        near = rows.index_select(1 + axis, low)
        if weight is None:
            return near
        return near.lerp_(rows.index_select(1 + axis, high), weight.reshape([-1 if k == axis else 1 for k in range(3)]))
    shape = list(rows.shape)
    shape[1 + axis] = len(low)
    result = rows.new_empty(shape)
    low, high, weight = (None if part is None else part.numpy() for part in (low, high, weight))
    weight = weight[:, None] if weight is not None and axis == 1 else weight
    source, target = rows.numpy(), result.numpy()

    def taken(k, part, index):
        return source[k, index[part]] if axis == 0 else source[k, part].take(index, axis, mode="clip")

    def work(place):
        near, out = taken(*place, low), target[place]
        if weight is None:
            out[...] = near
        else:
            share = weight[place[1], None, None] if axis == 0 else weight
            _blend(near, taken(*place, high), share, out)

    _blockwise.in_threads(work, _slabs(target))
    return result


def _copied(rows):
    """The same voxels in storage order in memory of their own."""
    if not _in_numpy(rows):
        return rows.clone(memory_format=torch.contiguous_format)
    result = rows.new_empty(rows.shape)
    source, target = rows.numpy(), result.numpy()
    _blockwise.in_threads(lambda place: np.copyto(target[place], source[place]), _slabs(target))
    return result


def _slabs(voxels):
    """Indices of some slices at a time of an array (N, D, H, W)."""
    step = max(1, 2 * _AT_ONCE // math.prod(voxels.shape[2:]))
    return product(range(len(voxels)), _blockwise.slices(voxels.shape[1], step))


def _line(rows, axis, scale, offset, count, nearest):
    """Of places along an axis: the voxel below (or nearest), the one above, its weight or None, and what is inside."""
    n = rows.shape[1 + axis]
    places = torch.arange(count, dtype=torch.float64, device=rows.device) * scale + offset
    places, inside = _clamped(places, n)
    if nearest:
        return _nearest(places), None, None, inside
    low = places.floor().long()
    weight = (places - low).to(rows.dtype)
    return low, (low + 1).clamp(max=n - 1), weight if weight.any() else None, inside


def _about_axis(rows, axis, matrix, offset, size, nearest, fill):
    """Resample on a CPU where one axis is parallel: all along it the places in the plane of the others are the same."""
    others = [other for other in range(3) if other != axis]
    low, high, weight, inside = _line(rows, axis, matrix[axis, axis], offset[axis], size[axis], nearest)
    within = inside.nonzero().flatten()  # one after the other
    first, last = (int(within[0]), int(within[-1]) + 1) if len(within) else (0, 0)
    line = [None if part is None else part[first:last].numpy() for part in (low, high, weight)]
    shape, counts = [rows.shape[1 + other] for other in others], [size[other] for other in others]
    matrix, offset = matrix[np.ix_(others, others)], offset[others]

    def sampler(part):
        return _Sampler(_places(matrix, offset, part, rows.device), shape, rows.dtype, nearest)

    samplers = _blockwise.in_threads(sampler, _parts(counts, _AT_ONCE // 2))
    index = np.concatenate([np.stack([part.numpy() for part in s.indices], 1) for s in samplers])
    weights = [
        np.concatenate([part.numpy() for part in parts]) for parts in zip(*(s.weights for s in samplers), strict=True)
    ]
    outside = np.concatenate(
        [np.zeros(len(s), bool) if s.outside is None else s.outside[:, 0].numpy() for s in samplers]
    )
    result = rows.new_empty((len(rows), *size))
    planes = np.moveaxis(result.numpy(), 1 + axis, 1)
    planes[:, :first], planes[:, last:] = fill, fill
    resample = _by_lines if axis == 2 else _by_planes
    if first < last:
        resample(rows.movedim(1 + axis, 1).numpy(), line, index, weights, outside, planes[:, first:last], fill)
    return result


def _by_lines(rows, line, index, weights, outside, result, fill):
    """Take and blend lines along D, which are contiguous, then resample these along it, into ``result`` (N, D, H, W).

    Args:
        rows: array (N, D, H, W), D being the parallel axis.
        line: of the new planes the one below or nearest, the one above, and its weight; the latter None if not needed.
        index: (H*W of result, 1 or 4) numbers of neighbours in a plane.
        weights: of the farther ones along H and along W, (H*W of result, 1) each; none to take the nearest.
        outside: bools (H*W of result).
    """
    low, high, weight = line
    lines = np.ascontiguousarray(np.moveaxis(rows, 1, 3)).reshape(len(rows), -1, rows.shape[1])
    targets = np.moveaxis(result, 1, 3)
    targets = targets.reshape(len(rows), -1, len(low))

    def work(cut):
        for source, target in zip(lines, targets, strict=True):
            values = [source.take(column, 0, mode="clip") for column in index[cut].T]
            for share in reversed(weights):
                pairs = zip(values[::2], values[1::2], strict=True)
                values = [_blend(near, far, share[cut], far) for near, far in pairs]
            near = values[0].take(low, 1, mode="clip")
            if weight is not None:
                far = values[0].take(high, 1, mode="clip")
                near = _blend(near, far, weight, far)
            near[outside[cut]] = fill
            target[cut] = near

    _blockwise.in_threads(work, _blockwise.slices(len(index), max(1, _AT_ONCE * 4 // max(lines.shape[2], len(low), 1))))


def _by_planes(rows, line, index, weights, outside, result, fill):
    """Resample one plane (H, W) after the other, each a blend of two; arguments as for :func:`_by_lines`."""
    low, high, weight = line
    outside = np.flatnonzero(outside)
    if weights:
        from scipy.sparse import csr_array

        h, w = (part[:, 0].astype(np.float64) for part in weights)
        shares = np.stack([(1 - h) * (1 - w), (1 - h) * w, h * (1 - w), h * w], 1)
        ends = np.arange(0, index.size + 1, 4)
        matrix = csr_array((shares.ravel(), index.ravel(), ends), shape=(len(index), rows.shape[2] * rows.shape[3]))

    def work(job):
        k, number = job
        plane = rows[k, low[number]]
        if weight is not None and weight[number]:
            plane = _blend(plane, rows[k, high[number]], weight[number], np.empty(plane.shape, plane.dtype))
        plane = plane.reshape(-1)
        # in float64, so that what is constant stays so to the last bit of float32
        values = matrix @ plane.astype(np.float64) if weights else plane.take(index[:, 0], mode="clip")
        values[outside] = fill
        result[k, number] = values.reshape(result.shape[2:])

    _blockwise.in_threads(work, product(range(len(rows)), range(len(low))))


def _blend(near, far, weight, out):
    """Write a blend of two arrays into ``out``, which may be ``far``."""
    with np.errstate(invalid="ignore", over="ignore"):  # infinite voxels
        np.subtract(far, near, out=out)
        out *= weight
        out += near
    return out


def _oblique(rows, matrix, offset, size, nearest, fill):
    """Resample on a CPU onto a grid turned any way: by SimpleITK, but for what lies at the very edge of the volume.

    There the last bits of sums decide what is inside; they must be those of the other ways.
    """
    index = edge_voxels(matrix, offset, rows.shape[1:], size, 2 * _EDGE)
    places = torch.from_numpy(index @ matrix.T + offset).T
    sampler = _Sampler(places.unbind(), rows.shape[1:], rows.dtype, nearest)
    shift = _HALF if nearest else 0
    results = []
    for row in rows:
        result = torch.from_numpy(resample_oblique(row.numpy(), matrix, offset + shift, size, nearest, fill))
        if len(index):
            result[tuple(index.T)] = sampler(row.reshape(-1, 1).contiguous(), fill)[:, 0]
        results.append(result)
    return results[0][None] if len(results) == 1 else torch.stack(results)


def _exact_in_simpleitk(rows):
    """Whether SimpleITK knows the type and keeps the values: it works in float64 and makes infinite ones finite."""
    if rows.dtype == torch.bool:
        return False
    if not rows.is_floating_point() and rows.element_size() < 8:
        return True
    voxels, most = rows.numpy(), math.inf if rows.is_floating_point() else 2**53
    return -most < voxels.min() <= voxels.max() < most


def _anywhere(rows, matrix, offset, size, nearest, fill):
    """Resample onto a grid turned any way, each place by itself, with torch: on any device, and with gradients."""
    lines = rows.reshape(len(rows), -1, 1).contiguous()
    result, start = rows.new_empty((len(rows), int(np.prod(size)), 1)), 0
    for part in _parts(size, _ON_DEVICE):
        sampler = _Sampler(_places(matrix, offset, part, rows.device), rows.shape[1:], rows.dtype, nearest)
        for k, source in enumerate(lines):
            result[k, start : start + len(sampler)] = sampler(source, fill)
        start += len(sampler)
    return result.reshape(len(rows), *size)


class _Sampler:
    """Takes what lies at places of a box, or blends what lies round them, again and again.

    Neighbours are found by their number in the flat box, which is faster than by an index for each axis.

    Args:
        places: float64 tensors of one shape, one for each axis of the box.
        shape: sides of the box.
        dtype: of the weights.
        nearest: take, not blend.
    """

    def __init__(self, places, shape, dtype, nearest):
        inside, self.indices, self.weights, self.size = True, [0], [], int(np.prod(shape))
        stride = self.size
        for place, n in zip(places, shape, strict=True):
            place, within = _clamped(place.reshape(-1), n)
            inside = inside & within
            stride //= n
            low = _nearest(place) if nearest else place.long()
            self.indices = [index + low * stride for index in self.indices]
            if not nearest:
                self.weights.append((place - low).to(dtype)[:, None])
                step = (low < n - 1) * stride
                self.indices = [index + further for index in self.indices for further in (0, step)]
        self.outside = None if inside.all() else ~inside[:, None]

    def __len__(self):
        return len(self.indices[0])

    def __call__(self, lines, fill, cut=slice(None)):
        """Sample ``lines`` (voxels of the box, L) at the places ``cut``: (places, L)."""
        values = [_take(lines, index[cut], 0) for index in self.indices]
        for weight in reversed(self.weights):
            values = [near.lerp_(far, weight[cut]) for near, far in zip(values[::2], values[1::2], strict=True)]
        return values[0] if self.outside is None else values[0].masked_fill_(self.outside[cut], fill)


def _parts(shape, most):
    """Cut a box of ``shape`` into boxes of ``most`` places or fewer, in storage order: tuples of slices."""
    first, *others = shape
    inner = int(np.prod(others))
    if inner > most:
        return [(slice(k, k + 1), *part) for k in range(first) for part in _parts(others, most)]
    step, whole = most // inner, [slice(0, n) for n in others]
    return [(slice(k, min(k + step, first)), *whole) for k in range(0, first, step)]


def _places(matrix, offset, part, device):
    """Where the new voxels of ``part``, a slice for each new axis, lie along each old axis: float64."""
    index = torch.meshgrid(
        *(torch.arange(cut.start, cut.stop, dtype=torch.float64, device=device) for cut in part), indexing="ij"
    )
    return [
        sum((step * along for step, along in zip(steps, index, strict=True)), shift)
        for steps, shift in zip(matrix.tolist(), offset.tolist(), strict=True)
    ]


def _clamped(places, n):
    """Positions held between the first and last centre of an axis of ``n`` voxels, and which were within its edges."""
    inside = (places >= -0.5 - _EDGE) & (places <= n - 0.5 + _EDGE)
    return places.clamp(0, n - 1), inside


def _nearest(places):
    return (places + (0.5 + _HALF)).floor().long()  # halves go up, as in resize_nearest


def _take(lines, index, axis):
    """What ``index`` says along an axis; on a CPU numpy is faster, and works in the thread in which it is called."""
    if _in_numpy(lines):
        return torch.from_numpy(lines.numpy().take(index.numpy(), axis, mode="clip"))
    return lines.index_select(axis, index)


def _in_numpy(rows):
    """Whether numpy can work on the voxels: on a CPU, and no gradient is to be found."""
    return _blockwise.uses_cpu(rows) and not rows.requires_grad
