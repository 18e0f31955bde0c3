"""The table of rules: which belongs to which torch operation, and how it is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from faimed3d.tracking.grid import Grid, Operand, current_grid

RULES: dict[Callable, Callable] = {}
_WHOLE_CALL: set[Callable] = set()


def rule(
    names: str, home: Iterable[object] = (torch, Tensor, F), whole_call: bool = False
) -> Callable[[Callable], Callable]:
    """Register a rule for the torch operations of these names, wherever in ``home`` they are.

    A rule is called as ``rule(x, result, *rest, **kwargs)``: ``x`` the ``Operand`` first argument, the rest as the
    operation got it. With ``whole_call`` it is called as ``rule(args, kwargs, result)``: several tensors have a grid.
    """

    def register(function: Callable) -> Callable:
        for name in names.split():
            for module in home:
                if callable(getattr(module, name, None)):  # torch.float is a dtype
                    RULES[getattr(module, name)] = function
        if whole_call:
            _WHOLE_CALL.add(function)
        return function

    return register


def listed(value: Any) -> tuple:  # all that torch takes
    """A tuple of one number or several, as torch takes its dimensions and sizes."""
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def loses_grid(*args: object, **kwargs: object) -> None:
    """The result has no grid: it is on no straight one, or what the operation does is not known."""


def keeps_grid(*args: object, **kwargs: object) -> None:
    """The result has the grid of the first argument (``track`` answers this itself)."""


def track(
    func: Callable, args: Sequence[Any], kwargs: Mapping[str, Any], shape: Sequence[int], result: Any
) -> Grid | list[Grid]:
    """Return the grid of ``result``, or a list of grids where the result is a sequence of tensors.

    Args:
        func: the torch operation, as ``__torch_function__`` gets it.
        args, kwargs: its arguments.
        shape: the shape of the first argument before the operation (in-place ones change it); empty for no tensor.
        result: what it returned.
    """
    found = RULES.get(func) or _find_rule(func)
    if found is loses_grid:
        return None
    if not args and "input" in kwargs:
        args = (kwargs["input"],)
        kwargs = {name: value for name, value in kwargs.items() if name != "input"}
    if "out" in kwargs:
        kwargs = {name: value for name, value in kwargs.items() if name != "out"}
    try:
        if found in _WHOLE_CALL:
            return found(args, kwargs, result)
        grid = current_grid(args[0]) if args else None
        if grid is None or found is keeps_grid:
            return grid
        return found(Operand(grid, shape), result, *args[1:], **kwargs)
    except (TypeError, ValueError, IndexError, KeyError, ZeroDivisionError):
        return None  # torch understood the arguments and the rule did not: better no geometry than no result


def has_one_source(func: Callable) -> bool:
    """Whether the operation moves or keeps the voxels of its first argument, and others only say how."""
    found = RULES.get(func) or _find_rule(func)
    return found is not loses_grid and found not in _WHOLE_CALL


_MOVES_AND_COPIES = """
    __get__ __getitem__ alias byte cat char chunk clone concat concatenate contiguous cpu cuda detach detach_ double
    expand expand_as flatten flip fliplr flipud float half bfloat16 index_select int long movedim moveaxis narrow pad
    permute pin_memory repeat requires_grad_ reshape reshape_as roll rot90 select share_memory_ short split
    split_with_sizes squeeze squeeze_ stack swapaxes swapdims t tensor_split tile to transpose type unbind unflatten
    unfold unsqueeze unsqueeze_ view view_as
    """
_WRITES_OF_LABELS = "copy_ fill_ index_fill_ masked_fill masked_fill_ zero_"
_KEEP_VALUES = frozenset(f"{_MOVES_AND_COPIES} {_WRITES_OF_LABELS}".split())


def keeps_meaning(func: Callable) -> bool:
    """Whether the operation moves, copies or converts values and computes none, so that labels mean what they meant."""
    return getattr(func, "__name__", "") in _KEEP_VALUES


def _find_rule(func: Callable) -> Callable:
    """Look for torch's own tag ``pointwise`` where the table has no rule; remember the answer."""
    name = getattr(func, "__name__", "")
    packet = getattr(torch.ops.aten, name, None) if name and not name.startswith("__") else None
    overloads = [getattr(packet, overload) for overload in packet.overloads()] if packet is not None else []
    pointwise = any(torch.Tag.pointwise in overload.tags for overload in overloads)
    return RULES.setdefault(func, RULES[torch.add] if pointwise else loses_grid)
