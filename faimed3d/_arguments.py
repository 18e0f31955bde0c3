"""Checks of arguments that functions of many rooms take: numbers, and one number or three for the axes."""

from __future__ import annotations

import numbers
from typing import Any, TypeGuard


def is_number(value: Any) -> TypeGuard[float]:
    """Whether ``value`` is a real number: of Python or numpy, neither a bool nor NaN."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and bool(value == value)


def is_whole(value: Any) -> TypeGuard[int]:
    """Whether ``value`` is a number of an integer type: of Python or numpy, no bool."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def per_axis(
    value: Any, name: str, *, least: float | None = None, above: float | None = None, axes: str = "(D, H, W)"
) -> tuple[float, float, float]:
    """Return ``value`` as three floats, one for each axis; one number holds for all three.

    Args:
        value: a number, or a sequence of three.
        name: of the argument, for the message.
        least: smallest number that is allowed.
        above: every number must be greater than this.
        axes: the order of the three, for the message.

    Raises:
        ValueError: something else, or a number that is too small.

    >>> per_axis(2, "size"), per_axis((1, 2, 0.5), "size")
    ((2.0, 2.0, 2.0), (1.0, 2.0, 0.5))
    """
    one, two, three = _three(value, name, "number", is_number, least, above, axes)
    return float(one), float(two), float(three)


def whole_per_axis(value: Any, name: str, *, least: int | None = None, axes: str = "(D, H, W)") -> tuple[int, int, int]:
    """Return ``value`` as three whole numbers; otherwise as :func:`per_axis`.

    >>> whole_per_axis(2, "size", least=1)
    (2, 2, 2)
    """
    one, two, three = _three(value, name, "whole number", is_whole, least, None, axes)
    return int(one), int(two), int(three)


def _three(value, name, kind, accepts, least, above, axes):
    values = value if hasattr(value, "__len__") else (value,) * 3
    if (
        len(values) != 3
        or not all(map(accepts, values))
        or (least is not None and min(values) < least)
        or (above is not None and min(values) <= above)
    ):
        bound = f", at least {least}" if least is not None else "" if above is None else f", above {above}"
        raise ValueError(f"{name} must be one {kind} or three {axes}{bound}, got {value!r}")
    return values
