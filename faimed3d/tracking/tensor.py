"""The tensor type under both of ours: fastai's TensorBase, and a grid that follows every operation."""

from __future__ import annotations

import copy

import numpy as np
import torch
from fastai.torch_core import TensorBase
from torch import Tensor

from faimed3d.geometry import Geometry
from faimed3d.tracking.elementwise import MUTATIONS
from faimed3d.tracking.grid import Placed, fits, grid_of, note_foreign_write, writes
from faimed3d.tracking.rules import follows_first, track

__all__ = ["TrackedTensor"]

_ALIASES = frozenset({Tensor.grad.__get__, Tensor._grad.__get__, Tensor._base.__get__})  # tensors held by a tensor


def _write_part(name):
    """The property ``t.real`` or ``t.imag``; torch does not report that it is set."""
    part = getattr(Tensor, name)
    return property(part.__get__, lambda t, value: part.__get__(t).copy_(value))


class TrackedTensor(TensorBase):
    """A tensor (..., D, H, W) with a geometry that every torch operation keeps exact or drops.

    The rules are those of ``faimed3d.tracking``; what they answer is put on the results here.
    """

    # Not in __dict__: fastai copies that between tensors of any shape.
    __slots__ = ("_grid", "_writes")

    _carried: tuple[str, ...] = ()  # further slots that a result takes over from the tensor it was made of
    _pickled: tuple[str, ...] = ()  # those of them that are pickled

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
            shape = source.shape if isinstance(source, Tensor) else None
            result = func(*args, **kwargs)
            if isinstance(result, Tensor):
                if func in _ALIASES or result.layout is not torch.strided:
                    return result
                if isinstance(result, TrackedTensor):
                    if "out" in kwargs or func.__name__.endswith("_"):
                        _rewrite(result, track(func, args, kwargs, shape, result), moved=follows_first(func))
                    return result
                return _place(torch.as_subclass(result, cls), track(func, args, kwargs, shape, result), source)
            if result is None:
                if func in MUTATIONS and isinstance(source, TrackedTensor):
                    MUTATIONS[func](args)
                for target in (*_listed(kwargs.get("out")), *(_listed(source) if _writes_many(func) else ())):
                    _rewrite(target, None)
            elif isinstance(result, tuple | list) and type(result) is not torch.Size:
                grids = track(func, args, kwargs, shape, result)
                return _place_each(result, grids, cls, source, "out" in kwargs or _writes_many(func))
        return result

    def __getattr__(self, name):
        if name in ("_grid", "_writes", *self._carried):  # not set yet
            return None
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def geometry(self):
        """The ``Geometry`` of the last three axes; None if unknown, or if the items of a batch differ."""
        grid = grid_of(self)
        if isinstance(grid, np.ndarray):
            first = grid.flat[0]
            grid = first if first is not None and all(entry == first for entry in grid.flat) else None
        return grid if fits(grid, self.shape) else None

    def with_voxels(self, voxels, change=None):
        """Wrap other voxels like this tensor.

        Args:
            voxels: plain tensor with the same leading axes.
            change: ``Geometry -> Geometry | None``, applied to every geometry of this tensor; None keeps them.
        """
        result = torch.as_subclass(voxels, type(self))
        result.__dict__.update(self.__dict__)
        _carry(self, result)
        grid = grid_of(self)
        if grid is not None and change is not None:
            grid = Placed(grid, self.shape).each(change)
        result._state_place(grid if fits(grid, voxels.shape) else None)
        return result

    def _state_place(self, grid):
        """Say where this tensor lies, whatever was written into its memory before."""
        self._grid, self._writes = grid, writes(self)

    def set_meta(self, x, as_copy=False):
        """Take over the attributes of ``x``, as fastai's ``retain_type`` does after a transform.

        A plain tensor that a transform returns is taken to lie where ``x`` lies if it has the same shape. A tensor that
        has been placed already, or has lost its place, is left alone.
        """
        self.__dict__.update(getattr(x, "__dict__", {}))
        if isinstance(x, TrackedTensor):
            if not _is_placed(self):
                self._grid = grid_of(x) if fits(grid_of(x), self.shape) else None
                self._writes = writes(self)
            _carry(x, self)

    def as_subclass(self, typ):
        """Cast to ``typ``; only a type of this module keeps the geometry."""
        result = torch.as_subclass(self, typ)
        if issubclass(typ, TrackedTensor):
            result._grid, result._writes = self._grid, self._writes
            result.set_meta(self)
        elif typ is not Tensor:
            result.__dict__.update(self.__dict__)
        return result

    def clone(self, *, memory_format=torch.preserve_format):
        """Copy of the voxels, at the same place."""
        return Tensor.clone(self, memory_format=memory_format)

    def new_empty(self, *args, **kwargs):
        """Tensor of uninitialised values; on the same grid if it has the same shape."""
        return Tensor.new_empty(self, *args, **kwargs)

    def new_ones(self, *args, **kwargs):
        """Tensor of ones; on the same grid if it has the same shape."""
        return Tensor.new_ones(self, *args, **kwargs)

    def set_(self, *args, **kwargs):
        """Take over other memory, which lies nowhere that is known."""
        result = Tensor.set_(self, *args, **kwargs)
        self._grid = None
        return result

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
        return _rebuild, (type(self), plain, _pack(grid_of(self)), self.requires_grad, dict(self.__dict__), slots)


def _place(tensor, grid, source):
    """Give the result of an operation its grid and, where there is one source, the attributes and header of that."""
    tensor._grid = grid if fits(grid, tensor.shape) else None
    if isinstance(source, TrackedTensor) and source is not tensor:
        if source.__dict__:
            tensor.__dict__.update(source.__dict__)
        tensor._writes = source._writes
        _carry(source, tensor)
    return tensor


def _carry(source, target):
    for name in target._carried:
        setattr(target, name, getattr(source, name, None))


def _place_each(results, grids, cls, source, rewritten):
    if not isinstance(grids, list):
        grids = [grids] * len(results)
    placed = []
    for result, grid in zip(results, grids, strict=True):
        if isinstance(result, TrackedTensor):  # given as an argument: as it was, or written into
            if rewritten:
                _rewrite(result, grid)
        elif isinstance(result, Tensor):
            result = _place(torch.as_subclass(result, cls), grid, source)
        placed.append(result)
    return type(results)(placed)


def _rewrite(tensor, grid, moved=False):
    """Set the grid of a tensor that an operation has changed; ``moved``: its axes changed, nothing was written."""
    if not isinstance(tensor, TrackedTensor):
        return
    before = grid_of(tensor)
    if not moved and before is not None and not _equal(grid, before):
        note_foreign_write(tensor)
    tensor._grid, tensor._writes = grid if fits(grid, tensor.shape) else None, writes(tensor)


def _equal(one, other):
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.shape == other.shape and all(a == b for a, b in zip(one.flat, other.flat, strict=True))
    return one is other or (isinstance(one, Geometry) and isinstance(other, Geometry) and one == other)


def _writes_many(func):
    """Whether the operation writes into a list of tensors (``torch._foreach_add_``)."""
    name = func.__name__
    return name.startswith("_foreach_") and name.endswith("_")


def _is_placed(tensor):
    """Whether a grid, or the lack of one, has been stated for the tensor since it was made."""
    try:
        _grid_slot(tensor)
    except AttributeError:
        return False
    return True


def _listed(value):
    return value if isinstance(value, tuple | list) else (value,)


def _result_type(func, types, args, kwargs):
    """The type of what an operation on several types gives, or None to leave it to the other type.

    Fastai's other tensors count as plain ones. What moves the voxels of one tensor gives the type of that one. An image
    and a mask give an image; comparisons (bool) decide nothing.
    """
    ours = [t for t in types if issubclass(t, TrackedTensor)]
    if any(t is not Tensor and not issubclass(t, TensorBase) for t in types):
        return None
    if follows_first(func) and args and type(args[0]) in ours:
        return type(args[0])
    given = [*args, *(value for name, value in kwargs.items() if name != "out")]
    flat = [operand for value in given for operand in _listed(value)]
    deciding = {type(operand) for operand in flat if type(operand) in ours and operand.dtype != torch.bool}
    images = [t for t in deciding or ours if t.interpolation != "nearest"]
    return max(images or deciding or ours, key=lambda t: len(t.__mro__))


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
    self._state_place(grid)
    for name, value in slots.items():
        setattr(self, name, value)
    self.__dict__.update(attributes)
    return self.requires_grad_(requires_grad)


_grid_slot = TrackedTensor._grid.__get__

# What torch.load(weights_only=True), its default, may build
torch.serialization.add_safe_globals([Geometry, _rebuild])
