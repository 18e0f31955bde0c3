"""The table: what each torch operation does to the geometry of a volume.

A *grid* (``faimed3d.grid``) says where a tensor's last three axes (D, H, W) lie: nowhere known, in one ``Geometry``,
or in one per item of a batch.

``track`` looks the operation up in ``RULES`` and returns the grid of the result. A rule has the signature of its
operation, after the input (``Placed``) and the result. **An operation without a rule has no grid**, so forgetting one
loses geometry and never falsifies it. Operations that compute each voxel from the voxel at the same place (torch tags
them ``pointwise``) keep the grid; where two operands with different grids meet, the result has none.

Conventions of axes and of the world frame: ``faimed3d.geometry``.
"""

from __future__ import annotations

from functools import reduce

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from faimed3d.geometry import Geometry
from faimed3d.grid import Placed, agreed, compact

__all__ = ["MUTATIONS", "RULES", "follows_first", "track"]

RULES = {}


def track(func, args, kwargs, shape, result):
    """Return the grid of ``result``, or a list of grids where the result is a sequence of tensors.

    Args:
        func: the torch operation, as ``__torch_function__`` gets it.
        args, kwargs: its arguments.
        shape: the shape of the first argument before the operation (in-place ones change it), or None.
        result: what it returned.
    """
    rule = RULES.get(func) or _find_rule(func)
    if rule is _drop:
        return None
    if rule in _MANY:
        return rule(args, kwargs, result)
    first = args[0] if args else kwargs.get("input")
    if not isinstance(first, Tensor):
        return None
    grid = getattr(first, "_grid", None)
    if rule is _same_place:
        return grid
    if grid is None:
        return None
    return rule(Placed(grid, shape), result, *args[1:], **kwargs)


def follows_first(func):
    """Whether the operation moves or keeps the voxels of its first argument (others only say how)."""
    rule = RULES.get(func) or _find_rule(func)
    return rule is not _drop and rule not in _MANY


def _drop(*args, **kwargs):
    """No grid: what the operation does to places is not known or has no grid."""


def _rule(names, home=(torch, Tensor, F)):
    """Register a rule for the torch functions of these names, wherever in ``home`` they are."""

    def register(rule):
        for name in names.split():
            for place in home:
                if callable(getattr(place, name, None)):  # torch.float is a dtype
                    RULES[getattr(place, name)] = rule
        return rule

    return register


def _find_rule(func):
    """Look for torch's own tag ``pointwise`` where the table has no rule; remember the answer."""
    name = getattr(func, "__name__", "")
    packet = getattr(torch.ops.aten, name, None) if name and not name.startswith("__") else None
    overloads = [getattr(packet, overload) for overload in packet.overloads()] if packet is not None else []
    pointwise = any(torch.Tag.pointwise in overload.tags for overload in overloads)
    return RULES.setdefault(func, _pointwise if pointwise else _drop)


# Voxels stay where they are ------------------------------------------------------------------------------------------


def _same_place(*args, **kwargs):
    """The result lies where the first argument lies (``track`` answers this itself)."""


_rule(
    """
    clone detach detach_ contiguous to cpu cuda type type_as float double half bfloat16 int long short bool char
    byte requires_grad_ pin_memory positive alias zeros_like ones_like empty_like full_like rand_like randn_like
    randint_like fill_ zero_ normal_ uniform_ random_ exponential_ bernoulli bernoulli_ softmax log_softmax dropout
    alpha_dropout feature_dropout batch_norm instance_norm group_norm relu6 hardswish softmin cumsum cumprod
    masked_scatter masked_scatter_ index_fill index_fill_ conj resolve_conj resolve_neg __deepcopy__ abs_ absolute
    share_memory_ __pos__
    """
)(_same_place)
for _attribute in ("data", "real", "imag"):
    RULES[getattr(Tensor, _attribute).__get__] = _same_place


def _pointwise(args, kwargs, result):
    """Operands broadcast against each other; all grids that fill the result must agree."""
    grid = None
    shape = result.shape if isinstance(result, Tensor) else result[0].shape
    for operand in (*args, *kwargs.values()):
        if not hasattr(operand, "_grid") or tuple(operand.shape[-3:]) != tuple(shape[-3:]):
            continue  # a number, a plain tensor, or one that is spread over the volume: it has no place of its own
        other = operand._grid
        grid = other if grid is None else agreed(grid, other, len(shape) - 3)
        if other is None or grid is None:
            return None
    if not isinstance(grid, np.ndarray):
        return grid
    return grid.reshape((1,) * (len(shape) - 3 - grid.ndim) + grid.shape)


_rule("copy_ where masked_fill masked_fill_ isfinite isinf isnan isreal isclose nan_to_num")(_pointwise)
_rule(
    """
    __add__ __radd__ __iadd__ __sub__ __rsub__ __isub__ __mul__ __rmul__ __imul__ __truediv__ __rtruediv__
    __itruediv__ __div__ __rdiv__ __idiv__ __floordiv__ __rfloordiv__ __ifloordiv__ __mod__ __rmod__ __imod__
    __pow__ __rpow__ __ipow__ __neg__ __abs__ __invert__ __and__ __rand__ __iand__ __or__ __ror__ __ior__ __xor__
    __rxor__ __ixor__ __lt__ __le__ __gt__ __ge__ __eq__ __ne__ __lshift__ __rshift__
    """,
    home=(Tensor,),
)(_pointwise)


# Indexing ------------------------------------------------------------------------------------------------------------


_rule("__getitem__", home=(Tensor,))(lambda x, result, index: x.at(index))


@_rule("select")
def _select(x, result, dim, index):
    return x.at(_along(x, dim, index))


@_rule("narrow")
def _narrow(x, result, dim, start, length):
    start = int(start)
    start = start + x.shape[dim] if start < 0 else start
    return x.at(_along(x, dim, slice(start, start + length)))


@_rule("index_select")
def _index_select(x, result, dim, index):
    return x.at(_along(x, dim, index.reshape(-1)))


def _along(x, dim, item):
    return (slice(None),) * x.axis(dim) + (item,)


@_rule("unbind")
def _unbind(x, result, dim=0):
    if x.axis(dim) >= x.lead:
        return None
    if x.shared:
        return x.grid
    return [x.at(_along(x, dim, k)) for k, item in enumerate(result)]


@_rule("split chunk split_with_sizes tensor_split")
def _split(x, result, *args, dim=None, **kwargs):
    dim = dim if dim is not None else args[1] if len(args) > 1 else 0
    grids, start = [], 0
    for part in result:
        stop = start + part.shape[dim]
        grids.append(x.at(_along(x, dim, slice(start, stop))))
        start = stop
    return grids


def _setitem(args):
    """Grid of a tensor after ``x[index] = value``: dropped where the value is a volume or slice of another place."""
    x, index, value = args
    grid = x._grid
    if grid is None or not hasattr(value, "_grid") or value.ndim < 2:
        return grid
    target = Placed(grid, x.shape).at(index)
    if target is None or value._grid is None:
        return None
    return grid if agreed(target, value._grid, max(x.ndim, value.ndim) - 3) is not None else None


# Axes change places --------------------------------------------------------------------------------------------------


def _reordered(x, order):
    order = [x.axis(dim) for dim in order]
    spatial = [dim - x.lead for dim in order[x.lead :]]
    if min(spatial) < 0:
        return None
    grid = x.grid if spatial == [0, 1, 2] else x.each(lambda geometry: geometry.permute(spatial))
    return Placed(grid, x.shape).leading(lambda array: array.transpose(order[: x.lead]))


def _flat(values):
    """Dimensions given one by one or as one sequence."""
    return tuple(values[0]) if len(values) == 1 and not isinstance(values[0], int) else values


@_rule("permute")
def _permute(x, result, *dims, **kwargs):
    return _reordered(x, _flat(dims or (kwargs["dims"],)))


@_rule("transpose transpose_ swapaxes swapaxes_ swapdims swapdims_")
def _transpose(x, result, *dims, **kwargs):
    a, b = (x.axis(dim) for dim in (*dims, *kwargs.values()))
    order = list(range(len(x.shape)))
    order[a], order[b] = b, a
    return _reordered(x, order)


@_rule("movedim moveaxis")
def _movedim(x, result, source, destination):
    source, destination = (([dims] if isinstance(dims, int) else dims) for dims in (source, destination))
    source, destination = [x.axis(dim) for dim in source], [x.axis(dim) for dim in destination]
    order = [dim for dim in range(len(x.shape)) if dim not in source]
    for to, dim in sorted(zip(destination, source, strict=True)):
        order.insert(to, dim)
    return _reordered(x, order)


RULES[Tensor.mT.__get__] = lambda x, result: _transpose(x, result, -1, -2)
_rule("adjoint")(RULES[Tensor.mT.__get__])
RULES[Tensor.mH.__get__] = RULES[Tensor.mT.__get__]


@_rule("flip")
def _flip(x, result, *dims, **kwargs):
    dims = [x.axis(dim) for dim in _flat(dims or (kwargs["dims"],))]
    leading = tuple(dim for dim in dims if dim < x.lead)
    turned = [dim + x.lead in [*dims] for dim in range(3)]
    grid = x.each(lambda geometry: _turned(geometry, turned)) if any(turned) else x.grid
    return Placed(grid, x.shape).leading(lambda array: np.flip(array, leading), full=False)


def _turned(geometry, turned):
    scale = [-1 if turn else 1 for turn in turned]
    offset = [size - 1 if turn else 0 for size, turn in zip(geometry.shape, turned, strict=True)]
    return geometry.regrid(geometry.shape, scale, offset)


_rule("fliplr")(lambda x, result: _flip(x, result, 1))
_rule("flipud __reversed__")(lambda x, result: _flip(x, result, 0))


@_rule("rot90")
def _rot90(x, result, k=1, dims=(0, 1)):
    a, b = (x.axis(dim) for dim in dims)
    k %= 4
    if a < x.lead and b < x.lead:
        return x.leading(lambda array: np.rot90(array, k, (a, b)))
    if k == 2:
        return _flip(x, result, a, b)
    if k == 0:
        return x.grid
    turned = _transpose(x, result, a, b)
    return None if turned is None else _flip(Placed(turned, result.shape), result, a if k == 1 else b)


@_rule("roll")
def _roll(x, result, shifts, dims=None):
    if dims is None or dims == ():
        return None
    dims, shifts = (([value] if isinstance(value, int) else list(value)) for value in (dims, shifts))
    total = [0] * len(x.shape)
    for dim, shift in zip(dims, shifts, strict=True):
        total[x.axis(dim)] += shift
    if any(shift % size for shift, size in zip(total[x.lead :], x.shape[x.lead :], strict=True)):
        return None  # voxels that leave on one side come back on the other: no straight grid
    return x.leading(lambda array: np.roll(array, total[: x.lead], tuple(range(x.lead))))


# Axes appear and go --------------------------------------------------------------------------------------------------


@_rule("unsqueeze unsqueeze_")
def _unsqueeze(x, result, dim):
    dim = x.axis(dim, extra=1)
    return x.leading(lambda array: np.expand_dims(array, dim), full=False) if dim <= x.lead else None


@_rule("squeeze squeeze_")
def _squeeze(x, result, *dims, **kwargs):
    dims = dims or tuple(kwargs.values())
    dims = [x.axis(dim) for dim in _flat(dims)] if dims else range(len(x.shape))
    gone = [dim for dim in dims if x.shape[dim] == 1]
    if gone and max(gone) >= x.lead:
        return None
    return x.leading(lambda array: np.squeeze(array, tuple(gone)))


@_rule("reshape view flatten unflatten ravel view_as reshape_as _unsafe_view")
def _reshape(x, result, *args, **kwargs):
    shape = tuple(result.shape)
    if shape[-3:] != tuple(x.shape[-3:]):
        return None  # row-major: equal last three sizes mean that only leading axes were regrouped
    return x.leading(lambda array: array.reshape(shape[:-3]))


@_rule("expand expand_as broadcast_to")
def _expand(x, result, *args, **kwargs):
    if tuple(result.shape[-3:]) != tuple(x.shape[-3:]):
        return None
    return x.leading(lambda array: np.broadcast_to(array, result.shape[:-3]))


@_rule("repeat tile")
def _repeat(x, result, *repeats, **kwargs):
    if tuple(result.shape[-3:]) != tuple(x.shape[-3:]):
        return None
    repeats = _flat(repeats or tuple(kwargs.values()))
    return x.leading(lambda array: np.tile(array, repeats[:-3]) if len(repeats) > 3 else array)


@_rule(
    """
    sum nansum mean nanmean prod std var amax amin aminmax argmax argmin max min median nanmedian mode any all
    logsumexp count_nonzero std_mean var_mean
    """
)
def _reduction(x, result, dim=None, keepdim=False, *args, **kwargs):
    dims = kwargs.get("axis", dim)
    if dims is None or isinstance(dims, bool):
        return None
    dims = [x.axis(axis) for axis in ([dims] if isinstance(dims, int) else dims)]
    if not dims or max(dims) >= x.lead:
        return None
    keepdim = kwargs.get("keepdims", keepdim)

    def collapse(array):
        for axis in sorted(dims, reverse=True):
            rows = np.moveaxis(array, axis, 0)
            same = np.frompyfunc(lambda a, b: a if a is not None and b is not None and a.agrees(b) else None, 2, 1)
            array = np.asarray(reduce(same, rows), dtype=object)
        return np.expand_dims(array, tuple(dims)) if keepdim else array

    return x.leading(collapse)


def _extreme(args, kwargs, result):
    """``max`` and ``min`` are a reduction, or elementwise with a second tensor."""
    if any(isinstance(operand, Tensor) for operand in (*args[1:], kwargs.get("other"))):
        return _pointwise(args, kwargs, result)
    grid = getattr(args[0], "_grid", None)
    return None if grid is None else _reduction(Placed(grid, args[0].shape), result, *args[1:], **kwargs)


_rule("max min")(_extreme)


# Several volumes -----------------------------------------------------------------------------------------------------


def _tensors(args, kwargs, key="tensors"):
    tensors = list(args[0] if args else kwargs[key])
    return [Placed(getattr(tensor, "_grid", None), tuple(tensor.shape)) for tensor in tensors]


@_rule("stack")
def _stack(args, kwargs, result):
    placed = _tensors(args, kwargs)
    dim = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else 0))
    dim = placed[0].axis(dim, extra=1)
    if placed[0].lead < 0 or dim > placed[0].lead:
        return None
    return _joined(placed, lambda arrays: np.stack(arrays, dim))


@_rule("cat concat concatenate")
def _cat(args, kwargs, result):
    placed = _tensors(args, kwargs)
    dim = placed[0].axis(kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else 0)))
    if placed[0].lead < 0 or len({len(x.shape) for x in placed}) > 1:
        return None
    if dim < placed[0].lead:
        return _joined(placed, lambda arrays: np.concatenate(arrays, dim))
    return _continued(placed, dim - placed[0].lead)


def _joined(placed, join):
    """Grid of volumes put side by side along a leading axis: shared where all are the same, else one per entry."""
    first = placed[0].grid
    if isinstance(first, Geometry) and all(x.grid is first or x.grid == first for x in placed):
        return first
    return compact(join([x.spread() for x in placed]))


def _continued(placed, axis):
    """Grid of pieces joined along D, H or W: kept where each piece begins where the one before it ends."""
    first = placed[0].grid
    if not all(x.shared for x in placed):
        return None
    length = 0
    for x in placed:
        offset, shape = [0, 0, 0], x.shape[-3:]
        offset[axis] = length
        expected = first.regrid(shape, offset=offset)
        if expected is None or not expected.agrees(x.grid):
            return None
        length += shape[axis]
    shape = list(first.shape)
    shape[axis] = length
    return first.regrid(shape)


_MANY = {_pointwise, _extreme, _stack, _cat}


# Resampling on a regular grid ----------------------------------------------------------------------------------------


@_rule("pad", home=(F,))
def _pad(x, result, pad, mode="constant", value=None):
    before = [0] * len(x.shape)
    for k, width in enumerate(pad[::2]):
        before[-1 - k] = width
    changed = [n != m for n, m in zip(result.shape, x.shape, strict=True)]
    if not x.shared and any(changed[: x.lead]):
        return None
    size, offset = result.shape[-3:], [-width for width in before[x.lead :]]
    return x.each(lambda geometry: geometry.regrid(size, offset=offset))


@_rule("interpolate upsample", home=(F,))
def _interpolate(
    x,
    result,
    size=None,
    scale_factor=None,
    mode="nearest",
    align_corners=None,
    recompute_scale_factor=None,
    antialias=False,
):
    axes = len(x.shape) - 2  # torch reads (N, C, spatial...): of a 4D tensor it resizes H and W only
    old, new = x.shape[-3:], result.shape[-3:]
    factors = [None] * 3
    if scale_factor is not None and not recompute_scale_factor:
        factors[-axes:] = [scale_factor] * axes if isinstance(scale_factor, int | float) else list(scale_factor)
    scale, offset = [], []
    for axis in range(3):
        touched = axis >= 3 - axes
        step = _interpolated(old[axis], new[axis], factors[axis], mode, align_corners) if touched else (1, 0)
        if step is None:
            return None
        scale.append(step[0])
        offset.append(step[1])
    return x.each(lambda geometry: geometry.regrid(new, scale, offset))


def _interpolated(old, new, factor, mode, align_corners):
    """(scale, offset) of one axis: output voxel i is taken from input position ``scale * i + offset``.

    As in PyTorch's UpSample.h: with ``align_corners`` the first and last voxels coincide, else the outer edges do.
    The old ``nearest`` takes voxel ``floor(i * scale)``, which is an even grid only for whole ratios.
    """
    scale = 1 / factor if factor else old / new
    if mode in ("linear", "bilinear", "trilinear", "bicubic"):
        if align_corners:
            if new == 1:
                return 1, 0
            return (old - 1) / (new - 1), 0
        return scale, (scale - 1) / 2
    if mode == "nearest-exact":
        return scale, (scale - 1) / 2
    if mode == "nearest":
        if float(scale).is_integer():
            return scale, 0
        return (scale, (scale - 1) / 2) if abs(1 / scale - round(1 / scale)) < 1e-9 else None
    if mode == "area":
        return (old // new, (old // new - 1) / 2) if old % new == 0 else None
    return None


def _windows(x, result, axes, kernel_size, stride=None, padding=0, dilation=1):
    """Pooling windows over the last ``axes`` axes: the result lies at their centres."""
    new = (result if isinstance(result, Tensor) else result[0]).shape[-3:]
    kernel, stride, padding, dilation = (
        [value] * axes if isinstance(value, int) else list(value) * (axes if len(value) == 1 else 1)
        for value in (kernel_size, kernel_size if stride in (None, [], ()) else stride, padding, dilation)
    )
    scale, offset = [1] * (3 - axes), [0] * (3 - axes)
    for k in range(axes):
        scale.append(stride[k])
        offset.append(dilation[k] * (kernel[k] - 1) / 2 - padding[k])
    return x.each(lambda geometry: geometry.regrid(new, scale, offset))


def _adaptive(x, result, output_size, return_indices=False):
    """Adaptive pooling is on an even grid only where it divides the input into equal windows."""
    old, new = x.shape[-3:], (result if isinstance(result, Tensor) else result[0]).shape[-3:]
    if any(n % m for n, m in zip(old, new, strict=True)):
        return None
    scale = [n // m for n, m in zip(old, new, strict=True)]
    return x.each(lambda geometry: geometry.regrid(new, scale, [(step - 1) / 2 for step in scale]))


def _register_pooling(axes):
    home = (torch, F, torch._C._nn)

    @_rule(f"avg_pool{axes}d", home=home)
    def average(x, result, kernel_size, stride=None, padding=0, *args, **kwargs):
        return _windows(x, result, axes, kernel_size, stride, padding)

    @_rule(f"max_pool{axes}d max_pool{axes}d_with_indices _max_pool{axes}d", home=home)
    def maximum(x, result, kernel_size, stride=None, padding=0, dilation=1, *args, **kwargs):
        return _windows(x, result, axes, kernel_size, stride, padding, dilation)

    @_rule(f"lp_pool{axes}d", home=home)
    def power(x, result, norm_type, kernel_size, stride=None, *args, **kwargs):
        return _windows(x, result, axes, kernel_size, stride)

    _rule(
        f"adaptive_avg_pool{axes}d adaptive_max_pool{axes}d "
        f"adaptive_max_pool{axes}d_with_indices _adaptive_max_pool{axes}d",
        home=home,
    )(_adaptive)


for _axes in (1, 2, 3):
    _register_pooling(_axes)


@_rule("new_zeros new_ones new_full new_empty", home=(Tensor,))
def _new(x, result, *args, **kwargs):
    """An empty volume of the same size is on the same grid; of another size on none."""
    return x.grid if tuple(result.shape) == tuple(x.shape) else None


# Operations that change a tensor and return nothing ------------------------------------------------------------------

MUTATIONS = {
    Tensor.__setitem__: _setitem,
    Tensor.data.__set__: lambda args: getattr(args[1], "_grid", None),
}
