"""What several functions ask of their arguments: numbers, and one number or three for the axes of a volume."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeGuard

_MEMORY = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*([kmgt])(i?)b\s*", re.IGNORECASE | re.ASCII)


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
    value: object, name: str, *, least: float | None = None, above: float | None = None, axes: str = "(D, H, W)"
) -> tuple[float, float, float]:
    """Return three numbers, one for each axis; one number alone holds for all three.

    Args:
        value: a number, or a sequence, array or tensor of three.
        name: of the argument, for the error.
        least: the smallest number that is allowed.
        above: all numbers must be greater than this.
        axes: what the axes are called, for the error.

    Raises:
        ValueError: another count of numbers, no numbers, or numbers out of range.

    >>> per_axis(2, "degrees")
    (2.0, 2.0, 2.0)
    >>> per_axis((1, 2), "degrees")
    Traceback (most recent call last):
    ValueError: degrees must be one number or three (D, H, W), got (1, 2)
    """
    one, two, three = _three(value, name, "number", is_number, least, above, axes)
    return float(one), float(two), float(three)


def whole_per_axis(
    value: object, name: str, *, least: int | None = None, axes: str = "(D, H, W)"
) -> tuple[int, int, int]:
    """Return three whole numbers, as :func:`per_axis` does numbers of any kind.

    >>> whole_per_axis(2.0, "size", least=1)
    (2, 2, 2)
    """
    one, two, three = _three(value, name, "whole number", is_whole, least, None, axes)
    return int(one), int(two), int(three)


def share(value: object, name: str) -> float:
    """A number from 0 to below 1, such as a threshold of probabilities.

    Raises:
        ValueError: another value.

    >>> share(2, "threshold")
    Traceback (most recent call last):
    ValueError: threshold must be a number from 0 to below 1, got 2
    """
    if not is_number(value) or not 0 <= value < 1:
        raise ValueError(f"{name} must be a number from 0 to below 1, got {value!r}")
    return float(value)


def memory_bytes(value: object, name: str = "memory") -> float:
    """How many bytes an amount of memory is.

    Args:
        value: a number of bytes, or a text: a number and its unit, kB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB,
            TiB (of 1024); small letters do as well.
        name: of the argument, for the error.

    Raises:
        ValueError: something else, or below 0.

    >>> memory_bytes(2**30), memory_bytes("1.5GB"), memory_bytes("2 GiB")
    (1073741824, 1500000000.0, 2147483648.0)
    """
    if is_number(value) and value >= 0:
        return value
    if isinstance(value, str) and (found := _MEMORY.fullmatch(value)):
        number, prefix, binary = found.groups()
        return float(number) * (1024 if binary else 1000) ** ("KMGT".index(prefix.upper()) + 1)
    raise ValueError(f"{name} must be a number of bytes, or a text such as '2GB', '512MB' or '2GiB', got {value!r}")


def as_tuple(value: Any) -> tuple[Any, ...]:  # of any type
    """What an argument of one or several numbers holds, as a tuple.

    >>> as_tuple(5), as_tuple([5, 6])
    ((5,), (5, 6))
    """
    return tuple(value) if isinstance(value, Iterable) else (value,)


def _three(
    value: object,
    name: str,
    kind: str,
    accepts: Callable[[object], bool],
    least: float | None,
    above: float | None,
    axes: str,
) -> tuple[Any, Any, Any]:  # numbers of any type
    given = value.tolist() if hasattr(value, "tolist") else value  # an array, a tensor, a numpy number
    values = tuple(given) if isinstance(given, Iterable) else (given,) * 3
    if (
        not (len(values) == 3 and all(map(accepts, values)))
        or (least is not None and min(values) < least)
        or (above is not None and min(values) <= above)
    ):
        limit = f", at least {least:g}" if least is not None else f", above {above:g}" if above is not None else ""
        raise ValueError(f"{name} must be one {kind} or three {axes}{limit}, got {value!r}")
    return values
