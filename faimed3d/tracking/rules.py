"""The table itself: which rule belongs to which torch operation, and how it is asked."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from faimed3d.tracking.grid import Placed, grid_of

__all__ = ["RULES", "drop", "follows_first", "listed", "rule", "same_place", "track"]

RULES: dict[Callable, Callable] = {}
_WHOLE_CALL: set[Callable] = set()


def rule(names, home=(torch, Tensor, F), whole_call=False):
    """Register a rule for the torch operations of these names, wherever in ``home`` they are.

    A rule is called as ``rule(x, result, *rest, **kwargs)``: ``x`` the ``Placed`` first argument, the rest as the
    operation got it. With ``whole_call`` it is called as ``rule(args, kwargs, result)``: several tensors have a place.
    """

    def register(function):
        for name in names.split():
            for place in home:
                if callable(getattr(place, name, None)):  # torch.float is a dtype
                    RULES[getattr(place, name)] = function
        if whole_call:
            _WHOLE_CALL.add(function)
        return function

    return register


def listed(value):
    """A tuple of one number or several, as torch takes its dimensions and sizes."""
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def drop(*args, **kwargs):
    """No grid: what the operation does to places is not known or has no grid."""


def same_place(*args, **kwargs):
    """The result lies where the first argument lies (``track`` answers this itself)."""


def track(func, args, kwargs, shape, result):
    """Return the grid of ``result``, or a list of grids where the result is a sequence of tensors.

    Args:
        func: the torch operation, as ``__torch_function__`` gets it.
        args, kwargs: its arguments.
        shape: the shape of the first argument before the operation (in-place ones change it), or None.
        result: what it returned.
    """
    found = RULES.get(func) or _find_rule(func)
    if found is drop:
        return None
    if not args and "input" in kwargs:
        args = (kwargs["input"],)
        kwargs = {name: value for name, value in kwargs.items() if name != "input"}
    if "out" in kwargs:
        kwargs = {name: value for name, value in kwargs.items() if name != "out"}
    try:
        if found in _WHOLE_CALL:
            return found(args, kwargs, result)
        grid = grid_of(args[0]) if args else None
        if grid is None or found is same_place:
            return grid
        return found(Placed(grid, shape), result, *args[1:], **kwargs)
    except (TypeError, ValueError, IndexError, KeyError, ZeroDivisionError):
        return None  # torch understood the arguments and the rule did not: better no geometry than no result


def follows_first(func):
    """Whether the operation moves or keeps the voxels of its first argument (others only say how)."""
    found = RULES.get(func) or _find_rule(func)
    return found is not drop and found not in _WHOLE_CALL


def _find_rule(func):
    """Look for torch's own tag ``pointwise`` where the table has no rule; remember the answer."""
    name = getattr(func, "__name__", "")
    packet = getattr(torch.ops.aten, name, None) if name and not name.startswith("__") else None
    overloads = [getattr(packet, overload) for overload in packet.overloads()] if packet is not None else []
    pointwise = any(torch.Tag.pointwise in overload.tags for overload in overloads)
    return RULES.setdefault(func, RULES[torch.add] if pointwise else drop)
