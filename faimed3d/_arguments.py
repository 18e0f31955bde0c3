"""What several functions ask of their arguments: numbers, and one number or three for the axes of a volume."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from typing import Any, TypeGuard

_COUNTS = ("none", "one", "two", "three")


def is_number(value: object) -> TypeGuard[float]:
    """Whether ``value`` is a finite real number: no bool, no text, no array.

    >>> [is_number(value) for value in (2, 2.5, True, "2", float("nan"), [2])]
    [True, True, False, False, False, False]
    """
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def is_whole(value: object) -> bool:
    """Whether ``value`` is a number without a fraction, such as 2 or 2.0.

    >>> is_whole(2.0), is_whole(2.5)
    (True, False)
    """
    return is_number(value) and value == int(value)


def per_axis(
    value: object, name: str, *, axes: Iterable[object] = "DHW", least: float | None = None, above: float | None = None
) -> tuple[float, ...]:
    """Return one number for each axis; one number alone holds for all of them.

    Args:
        value: a number, or a sequence, array or tensor with one number for each axis.
        name: of the argument, for the error.
        axes: what the axes are called; as many numbers are returned.
        least: the smallest number that is allowed.
        above: all numbers must be greater than this.

    Raises:
        ValueError: another count of numbers, no numbers, or numbers out of range.

    >>> per_axis(2, "degrees")
    (2.0, 2.0, 2.0)
    >>> per_axis((1, 2), "degrees")
    Traceback (most recent call last):
    ValueError: degrees must be one number or three (D, H, W), got (1, 2)
    """
    axes = tuple(axes)
    values = _spread(value, len(axes))
    if (
        not (len(values) == len(axes) and all(map(is_number, values)))
        or (least is not None and min(values) < least)
        or (above is not None and min(values) <= above)
    ):
        limit = f", at least {least:g}" if least is not None else f", above {above:g}" if above is not None else ""
        raise ValueError(f"{name} must be one number or {_listed(axes)}{limit}, got {value!r}")
    return tuple(float(number) for number in values)


def whole_per_axis(
    value: object, name: str, *, axes: Iterable[object] = "DHW", least: int | None = None
) -> tuple[int, ...]:
    """Return one whole number for each axis, as :func:`per_axis` does numbers of any kind.

    >>> whole_per_axis(2.0, "size", least=1)
    (2, 2, 2)
    """
    axes = tuple(axes)
    values = _spread(value, len(axes))
    if not (len(values) == len(axes) and all(map(is_whole, values))) or (least is not None and min(values) < least):
        limit = "" if least is None else f", at least {least}"
        raise ValueError(f"{name} must be one whole number or {_listed(axes)}{limit}, got {value!r}")
    return tuple(int(number) for number in values)


def _spread(value: object, count: int) -> tuple[Any, ...]:  # of anything: the callers check
    given = value.tolist() if hasattr(value, "tolist") else value  # an array, a tensor, a numpy number
    return tuple(given) if isinstance(given, Iterable) else (given,) * count


def _listed(axes: tuple[object, ...]) -> str:
    count = _COUNTS[len(axes)] if len(axes) < len(_COUNTS) else len(axes)
    return f"{count} ({', '.join(map(str, axes))})"
