"""The tensor type under images and masks: fastai's TensorBase with a grid that follows every operation."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from fastai.torch_core import TensorBase
from torch import Tensor

from faimed3d._padding import (
    JOINS_PADDING,
    KEEPS_PADDING,
    Ranges,
    attach_padding,
    joined_padding,
    keeps_values,
    padding_of,
)
from faimed3d.geometry import Geometry
from faimed3d.tracking import numpy_functions
from faimed3d.tracking.elementwise import MUTATION_RULES
from faimed3d.tracking.grid import (
    Grid,
    Operand,
    attach_grid,
    common_geometry,
    current_grid,
    fits_shape,
    invalidate_grid,
)
from faimed3d.tracking.rules import has_one_source, keeps_meaning, track

if TYPE_CHECKING:
    from typing_extensions import Self  # of typing from Python 3.11 on

_ALIASES = frozenset({Tensor.grad.__get__, Tensor._grad.__get__, Tensor._base.__get__})  # tensors held by a tensor


def _write_part(name):
    """The property ``t.real`` or ``t.imag``; torch does not report that it is set."""
    part = getattr(Tensor, name)
    return property(part.__get__, lambda t, value: part.__get__(t).copy_(value))


class TrackedTensor(TensorBase):
    """A tensor (..., D, H, W) with a geometry that every torch operation keeps exact or drops.

    The rules are those of ``faimed3d.tracking``; what they answer is attached to the results here.

    >>> t = torch.zeros(4, 3, 2).as_subclass(TrackedTensor)
    >>> attach_grid(t, Geometry((4, 3, 2), spacing=(1, 2, 3)))
    >>> t[1::2].geometry
    Geometry(2x3x2 voxels (D, H, W), spacing 1x2x6 mm (x, y, z), origin (0, 0, 3) mm, LPS)
    >>> t[torch.tensor([0, 1, 3])].geometry is None  # no even steps
    True
    """

    # Not in __dict__: fastai copies that between tensors of any shape.
    __slots__ = ("_grid", "_padding", "_writes")

    _carried: tuple[str, ...] = ()  # further slots that a result takes over from the tensor it was made of
    _pickled: tuple[str, ...] = ()  # those of them that are pickled
    _tied: tuple[str, ...] = ()  # those that say what values mean: an operation that may change values loses them

    interpolation = "linear"

    real = _write_part("real")
    imag = _write_part("imag")

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunctionSubclass():
            if len(types) > 1:
                cls = _result_type(func, types, args, kwargs)
                if cls is None:
                    return NotImplemented
            source = args[0] if args else kwargs.get("input")
            shape = source.shape if isinstance(source, Tensor) else ()
            if "out" in kwargs and isinstance(source, tuple | list):
                _check_memory(source, kwargs["out"])
            padding = padding_of(source) if getattr(source, "_padding", None) and func in KEEPS_PADDING else ()
            if func in JOINS_PADDING:
                padding = joined_padding(source)
            result = func(*args, **kwargs)
            result = _tracked(func, args, kwargs, shape, source, cls, result)
            if padding:
                _hand_on_padding(source, result, padding)
            if cls._tied:
                for part in result if isinstance(result, tuple | list) else (result,):
                    _untie(part, func, args, source)
        return result

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        result = getattr(ufunc, method)(*numpy_functions.plain(inputs), **numpy_functions.plain(kwargs))
        if method != "__call__" or ufunc.signature is not None or "out" in kwargs:
            return result
        return _of_numpy(result, inputs)

    def __array_function__(self, func, types, args, kwargs):
        result = func(*numpy_functions.plain(args), **numpy_functions.plain(kwargs))
        operands = numpy_functions.operands_of(func, args, kwargs)
        return result if operands is None else _of_numpy(result, operands)

    def __getattr__(self, name):
        if name in ("_grid", "_padding", "_writes", *self._carried):  # not set yet
            return None
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def geometry(self) -> Geometry | None:
        """The ``Geometry`` of the last three axes; None if unknown, or if the items of a batch differ."""
        grid = current_grid(self)
        if isinstance(grid, np.ndarray):
            first = grid.flat[0]
            grid = first if first is not None and all(entry == first for entry in grid.flat) else None
        with torch._C.DisableTorchFunctionSubclass():
            return grid if fits_shape(grid, self.shape) else None

    def with_voxels(self, voxels: Tensor, change: Callable[[Geometry], Geometry | None] | None = None) -> Self:
        """Return other voxels as a tensor like this one: of its type, with its geometry, header and attributes.

        Args:
            voxels: plain tensor with the same leading axes. Of another (D, H, W), it has no geometry unless ``change``
                gives one.
            change: what the operation does to a geometry; None if it keeps it.
        """
        grid = current_grid(self)
        if grid is not None and change is not None:
            grid = Operand(grid, self.shape).map(change)
        return _wrap(voxels, type(self), grid, self, None)

    def set_meta(self, x: Any, as_copy: bool = False) -> None:  # fastai passes anything
        """Take over the attributes of ``x``, as fastai's ``retain_type`` does after a transform.

        A plain tensor that a transform returns is taken to have the grid of ``x`` if it has the same shape. A tensor
        to which a grid has been attached, or the lack of one, is left alone; so is what its values mean.
        """
        tied = {name: getattr(self, name) for name in self._tied}
        self.__dict__.update(getattr(x, "__dict__", {}))
        if isinstance(x, TrackedTensor):
            if not _is_attached(self):
                attach_grid(self, current_grid(x))
            _carry(x, self)
        for name, value in tied.items():
            setattr(self, name, value)

    def as_subclass(self, typ: type) -> Any:  # an instance of typ
        """Cast to ``typ``; only a type of this package keeps the geometry. MONAI's is refused: it makes one up."""
        if issubclass(typ, TrackedTensor):
            result = _wrap(self, typ, self._grid, self, self._writes)
            attach_padding(result, padding_of(self))
            return result
        if typ is not Tensor and typ.__module__.startswith("monai."):
            _refuse_monai(self)
        result = torch.as_subclass(self, typ)
        if typ is not Tensor:
            result.__dict__.update(self.__dict__)
        return result

    def clone(self, *, memory_format: torch.memory_format = torch.preserve_format) -> Self:
        """Copy of the voxels, on the same grid."""
        return Tensor.clone(self, memory_format=memory_format)  # type: ignore[return-value]

    def new_empty(self, *args: Any, **kwargs: Any) -> Self:  # as torch takes them, here and below
        """Tensor of uninitialised values; on the same grid if it has the same shape."""
        return Tensor.new_empty(self, *args, **kwargs)  # type: ignore[return-value]

    def new_ones(self, *args: Any, **kwargs: Any) -> Self:
        """Tensor of ones; on the same grid if it has the same shape."""
        return Tensor.new_ones(self, *args, **kwargs)  # type: ignore[return-value]

    def set_(self, *args: Any, **kwargs: Any) -> Self:
        """Take over other memory, of which no grid is known."""
        result = Tensor.set_(self, *args, **kwargs)
        attach_grid(self, None)
        return result  # type: ignore[return-value]

    def __deepcopy__(self, memo):
        if id(self) in memo:
            return memo[id(self)]
        if not self.is_leaf:
            raise RuntimeError("only leaf tensors can be deep-copied; use t.detach() first")
        result = self.detach().clone().requires_grad_(self.requires_grad)
        if self.grad is not None:
            result.grad = copy.deepcopy(self.grad, memo)
        memo[id(self)] = result
        return result

    def __reduce_ex__(self, protocol):
        """Pickle the voxels (of a view not the storage behind it) and the geometry; header and file names stay here."""
        plain = self.as_subclass(Tensor).detach()
        if plain.numel() * plain.element_size() < plain.untyped_storage().nbytes():
            plain = plain.clone()
        slots = {name: getattr(self, name) for name in self._pickled}
        slots["_padding"] = padding_of(self)
        return _rebuild, (type(self), plain, _pack(current_grid(self)), self.requires_grad, dict(self.__dict__), slots)


def _tracked(func, args, kwargs, shape, source, cls, result):
    """What an operation returned, as tensors of type ``cls`` on their grids."""
    if isinstance(result, Tensor):
        if func in _ALIASES or result.layout is not torch.strided:
            return result
        if isinstance(result, TrackedTensor):
            if "out" in kwargs or func.__name__.endswith("_"):
                _rewrite(result, track(func, args, kwargs, shape, result), moved=has_one_source(func))
            return result
        grid = track(func, args, kwargs, shape, result)
        return _wrap(result, cls, grid, source, getattr(source, "_writes", None) or 0)
    if result is None:
        if func in MUTATION_RULES and isinstance(source, TrackedTensor):
            MUTATION_RULES[func](args)
        for target in (*_listed(kwargs.get("out")), *(_listed(source) if _writes_many(func) else ())):
            _rewrite(target, None)
    elif isinstance(result, tuple | list) and type(result) is not torch.Size:
        grids = track(func, args, kwargs, shape, result)
        return _wrap_each(result, grids, cls, source, "out" in kwargs or _writes_many(func))
    return result


def _hand_on_padding(source: Any, results: Any, padding: Ranges) -> None:
    """Attach the padding of ``source`` to what an operation made of it, where no cast may have merged values."""
    kind = source.dtype if isinstance(source, Tensor) else None
    for result in _listed(results):
        if isinstance(result, TrackedTensor) and keeps_values(kind or result.dtype, result.dtype):
            attach_padding(result, padding)


def _wrap(voxels: Tensor, cls: type, grid: Grid, source: object, writes: int | None) -> Any:  # an instance of cls
    """Make a tensor of type ``cls`` with a grid and, where there is one source, its attributes and header.

    Args:
        voxels: plain tensor; its memory is shared.
        cls: a ``TrackedTensor``.
        grid, writes: see ``attach_grid``.
        source: what the voxels were made of.
    """
    tensor = torch.as_subclass(voxels, cls)
    tensor._padding = None
    attach_grid(tensor, grid, writes)
    if isinstance(source, TrackedTensor):
        if source.__dict__:
            tensor.__dict__.update(source.__dict__)
        _carry(source, tensor)
    return tensor


def _untie(result: Any, func: Callable, args: Sequence[Any], source: Any) -> None:
    """Drop what the values of the source meant, if the operation may have changed them; stacked ones may agree."""
    if not getattr(result, "_tied", ()):
        return
    if keeps_meaning(func) and (result.dtype != torch.bool or getattr(source, "dtype", None) == torch.bool):
        parts = list(args[0]) if args and isinstance(args[0], tuple | list) else ()
        for name in result._tied if parts else ():
            values = {getattr(part, name, None) for part in parts}
            setattr(result, name, values.pop() if len(values) == 1 else None)
        return
    for name in result._tied:
        setattr(result, name, None)


def _carry(source: TrackedTensor, target: TrackedTensor) -> None:
    for name in target._carried:
        setattr(target, name, getattr(source, name, None))


def _wrap_each(results: Any, grids: Any, cls: type, source: Any, rewritten: bool) -> Any:  # a tuple or list of torch
    if not isinstance(grids, list):
        grids = [grids] * len(results)
    wrapped = []
    for result, grid in zip(results, grids, strict=True):
        if isinstance(result, TrackedTensor):  # given as an argument: as it was, or written into
            if rewritten:
                _rewrite(result, grid)
        elif isinstance(result, Tensor):
            result = _wrap(result, cls, grid, source, getattr(source, "_writes", None) or 0)
        wrapped.append(result)
    return type(results)(wrapped)


def _rewrite(tensor: Any, grid: Grid, moved: bool = False) -> None:
    """Attach the grid of a tensor that an operation has changed; ``moved``: its axes changed, nothing was written."""
    if not isinstance(tensor, TrackedTensor):
        return
    before = current_grid(tensor)
    if not moved and before is not None and not _equal(grid, before):
        invalidate_grid(tensor)
    attach_grid(tensor, grid)


def _check_memory(tensors: Sequence[Any], out: Any) -> None:
    """Refuse to join tensors in memory of a type into which torch would wrap them: it calls int32 to uint8 a safe cast.

    A DataLoader's worker does so with the items of a batch.
    """
    if not isinstance(out, Tensor) or out.dtype.is_floating_point or out.dtype.is_complex:
        return
    for tensor in tensors:
        if isinstance(tensor, Tensor) and not torch.can_cast(tensor.dtype, out.dtype):
            continue  # torch refuses it by itself
        if isinstance(tensor, Tensor) and tensor.dtype.itemsize > out.dtype.itemsize:
            raise ValueError(
                f"{tensor.dtype} voxels do not fit memory of {out.dtype}, which the first item of a batch has: give "
                "all items one type, such as mask.long(), or use MaskBlock3D, which does so"
            )


def _equal(one: Grid, other: Grid) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.shape == other.shape and all(_same(a, b) for a, b in zip(one.flat, other.flat, strict=True))
    return one is other or (isinstance(one, Geometry) and isinstance(other, Geometry) and _same(one, other))


def _same(one: Geometry | None, other: Geometry | None) -> bool:
    """Whether ``one`` is the geometry ``other`` still; that of an array, which was assumed, may be stated now."""
    return one == other or (other is not None and not other.stated and common_geometry(one, other) is one is not None)


def _writes_many(func: Callable) -> bool:
    """Whether the operation writes into a list of tensors (``torch._foreach_add_``)."""
    name = func.__name__
    return name.startswith("_foreach_") and name.endswith("_")


def _is_attached(tensor: Tensor) -> bool:
    """Whether a grid, or the lack of one, has been attached to the tensor since it was made."""
    try:
        _grid_slot(tensor)
    except AttributeError:
        return False
    return True


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, tuple | list) else (value,)


def _result_type(func: Callable, types: Iterable[type], args: Sequence[Any], kwargs: dict[str, Any]) -> type | None:
    """The type of what an operation on several types gives, or None to leave it to the other type.

    Fastai's other tensors count as plain ones. What moves the voxels of one tensor gives the type of that one. An image
    and a mask give an image; comparisons (bool) decide nothing.
    """
    ours = [t for t in types if issubclass(t, TrackedTensor)]
    if any(t is not Tensor and not issubclass(t, TensorBase) for t in types):
        return None
    if has_one_source(func) and args and type(args[0]) in ours:
        return type(args[0])
    given = [*args, *(value for name, value in kwargs.items() if name != "out")]
    flat = [operand for value in given for operand in _listed(value)]
    deciding = {type(operand) for operand in flat if type(operand) in ours and operand.dtype != torch.bool}
    images = [t for t in deciding or ours if t.interpolation != "nearest"]
    return max(images or deciding or ours, key=lambda t: len(t.__mro__))


def _of_numpy(result: Any, operands: Sequence[Any]) -> Any:
    """What a NumPy function gives of tracked tensors, on their grid: tensors of their type, of numbers numbers."""
    ours = [operand for operand in operands if isinstance(operand, TrackedTensor)]
    if not ours:
        return result
    kind = _result_type(torch.add, [type(t) for t in ours], ours, {})
    assert kind is not None  # all of them are of this package
    source = next((t for t in ours if type(t) is kind), ours[0])
    made = [
        _wrap(voxels, kind, grid, source, None) if isinstance(voxels, Tensor) else voxels
        for voxels, grid in numpy_functions.with_grids(result, operands)
    ]
    return tuple(made) if isinstance(result, tuple) else made[0]


def _refuse_monai(tensor: TrackedTensor) -> None:
    """Refuse a MetaTensor of a volume that knows its place: MONAI takes it to be (C, x, y, z) of 1 mm at origin 0."""
    grid = current_grid(tensor)
    if grid is None or (isinstance(grid, Geometry) and not grid.stated):
        return
    kind = type(tensor).__name__
    raise TypeError(
        f"MONAI would forget spacing and place of this {kind} (1 mm, origin 0) and take its axes (D, H, W) for (W, H, "
        f"D). Give it image.to_monai(), and take the result back: {kind}.from_monai(transform(image.to_monai()))"
    )


def _pack(grid):
    return (grid.shape, list(grid.flat)) if isinstance(grid, np.ndarray) else grid


def _rebuild(cls, plain, grid, requires_grad, attributes, slots):
    """Undo ``__reduce_ex__``."""
    self = torch.as_subclass(plain, cls)
    if isinstance(grid, tuple):
        shape, entries = grid
        grid = np.empty(len(entries), dtype=object)
        grid[:] = entries
        grid = grid.reshape(shape)
    attach_grid(self, grid)
    attach_padding(self, slots.pop("_padding", None))
    for name, value in slots.items():
        setattr(self, name, value)
    self.__dict__.update(attributes)
    return self.requires_grad_(requires_grad)


_grid_slot = TrackedTensor._grid.__get__

# What torch.load(weights_only=True), its default, may build
torch.serialization.add_safe_globals([Geometry, _rebuild])
