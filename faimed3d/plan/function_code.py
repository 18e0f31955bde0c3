"""What a function does, as plain values: whether the training that it is has changed."""

from __future__ import annotations

import functools
import inspect
from types import CodeType, FunctionType
from typing import Any

_PLAIN = (bool, int, float, complex, str, bytes, type(None))


def function_code(function: Any, seen: frozenset[int] = frozenset()) -> Any:
    """The instructions of a function, with the numbers and texts outside of it that it uses, and functions beside it.

    Lists and other things that it may write to are left out: they are other ones after it has run.

    Args:
        function: a function, a method, a ``functools.partial``, or an object that is called.
        seen: functions that are written down already.

    >>> function_code(lambda x: x + 1) == function_code(lambda y: y + 2)
    False
    """
    if isinstance(function, functools.partial):
        more = [_value(one, seen) for one in (*function.args, *sorted(function.keywords.items()))]
        return [function_code(function.func, seen), *more]
    if not inspect.isroutine(function):
        function = type(function).__call__
    function = inspect.unwrap(getattr(function, "__func__", function))
    if not isinstance(function, FunctionType):
        return _name(function)
    seen |= {id(function)}
    around = {name: cell.cell_contents for name, cell in
              zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)}  # fmt: skip
    around |= {name: function.__globals__[name] for name in _names(function.__code__) if name in function.__globals__}
    used = [[name, _value(value, seen, function.__module__)] for name, value in sorted(around.items())]
    defaults = [*(function.__defaults__ or ()), *sorted((function.__kwdefaults__ or {}).items())]
    return [_instructions(function.__code__), used, [_value(one, seen) for one in defaults]]


def _value(value: Any, seen: frozenset[int], module: str | None = None) -> Any:
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, tuple | frozenset):
        return sorted(map(str, value)) if isinstance(value, frozenset) else [_value(one, seen) for one in value]
    if isinstance(value, FunctionType) and value.__module__ == module and id(value) not in seen:
        return function_code(value, seen)
    return _name(value if callable(value) else type(value))


def _instructions(code: CodeType) -> Any:
    constants = [_instructions(one) if isinstance(one, CodeType) else repr(one) for one in code.co_consts]
    return [code.co_code.hex(), constants, list(code.co_names), list(code.co_varnames)]


def _names(code: CodeType) -> set[str]:
    inner = [one for one in code.co_consts if isinstance(one, CodeType)]
    return {*code.co_names, *(name for one in inner for name in _names(one))}


def _name(thing: Any) -> str:
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', type(thing).__qualname__)}"
