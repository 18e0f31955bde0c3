"""Keywords that nobody takes are refused, and the near one is suggested; so is what faimed3d 0.0.6 called otherwise."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar  # of arguments that are handed on

from faimed3d.legacy.arguments import BY_POSITION, RENAMED

Function = TypeVar("Function", bound=Callable[..., Any])
More = Callable[[tuple[Any, ...], Mapping[str, Any]], Iterable[str]]

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def refuse_unknown(given: Iterable[str], known: Iterable[str], name: str) -> None:
    """Refuse keywords that are not known, and say which one was meant.

    Args:
        given: the keywords of a call.
        known: all that the function takes.
        name: of the function, for the error.

    Raises:
        TypeError: a keyword is not known.

    >>> refuse_unknown(["item_tfm"], ["item_tfms", "batch_tfms"], "from_df")
    Traceback (most recent call last):
    TypeError: from_df() takes no argument 'item_tfm': did you mean 'item_tfms'?
    """
    known = list(dict.fromkeys(known))
    for word in given:
        if word in known:
            continue
        renamed = next((RENAMED[key][word] for key in (name, "*") if word in RENAMED.get(key, ())), None)
        near = get_close_matches(word, known, n=1)
        if renamed:
            advice = renamed
        elif near:
            advice = f"did you mean {near[0]!r}?"
        else:
            advice = f"it takes {', '.join(known[:20]) or 'none'}{', ...' if len(known) > 20 else ''}"
        raise TypeError(f"{name}() takes no argument {word!r}: {advice}")


def keywords_of(function: Callable[..., Any]) -> list[str]:
    """The keywords in the signature of a function or class, those that fastcore's ``delegates`` added among them.

    >>> keywords_of(lambda t, *more, axis=0, **rest: None)
    ['t', 'axis']
    """
    return [name for name, one in inspect.signature(function).parameters.items() if one.kind in _NAMED]


def strict_keywords(function: Function | None = None, *, more: More | None = None) -> Any:
    """Decorate a function so that it refuses a keyword that it does not take, before it does anything.

    Args:
        function: what it takes is in its signature, as ``delegates`` has built it: put this decorator above that one.
        more: returns further keywords that a call may have, from its positional arguments and its keywords; asked only
            where one is not in the signature. A function of a class gets the class or object first.

    >>> @strict_keywords
    ... def crop(t, margins=0):
    ...     return t
    >>> crop(1, margin=2)
    Traceback (most recent call last):
    TypeError: crop() takes no argument 'margin': did you mean 'margins'?
    """
    if function is None:
        return functools.partial(strict_keywords, more=more)
    parameters = inspect.signature(function).parameters.values()
    names = frozenset(keywords_of(function))
    several = any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in parameters)
    positional = [one.name for one in parameters if one.kind is _NAMED[0]]
    most = sum(one.kind in (_NAMED[0], inspect.Parameter.POSITIONAL_ONLY) for one in parameters)

    @functools.wraps(function)
    def strict(*args: Any, **kwargs: Any) -> Any:
        if not names.issuperset(kwargs):
            known = {*names, *(more(args, kwargs) if more else ())}
            if unknown := [word for word in kwargs if word not in known]:
                suggested = [*keywords_of(function), *sorted(known - names), *_inherited(function, args)]
                suggested = [word for word in suggested if word not in ("self", "cls", *unknown)]
                refuse_unknown(unknown, suggested, _name(function, args))
        twice = [name for name in positional[: len(args)] if name in kwargs]
        if (twice or len(args) > most) and not several and (advice := BY_POSITION.get(_name(function, args))):
            bound = next(iter(parameters)).name in ("self", "cls")
            count = f"takes {most - bound} argument{'s' * (most - bound != 1)} by position, got {len(args) - bound}"
            fault = f"got {twice[0]} twice, by position and by name" if twice else count
            raise TypeError(f"{_name(function, args)}() {fault}: {advice}")
        return function(*args, **kwargs)

    strict.is_strict = True  # type: ignore[attr-defined]
    return strict


class StrictKeywords:
    """Base of classes whose constructors refuse a keyword that they do not take; for those that inherit too.

    A constructor that takes ``**kwargs`` hands them on, and is left to whom it hands them.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        init: Any = cls.__init__
        parameters = inspect.signature(init).parameters.values()
        open_end = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters)
        if not open_end and not hasattr(init, "is_strict"):
            cls.__init__ = strict_keywords(init)  # type: ignore[method-assign]


def of_bases(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[str]:
    """What the constructors of all bases of an object take, as ``more`` of :func:`strict_keywords`."""
    kinds = [kind for kind in type(args[0]).__mro__ if "__init__" in vars(kind)]
    return [name for kind in kinds for name in keywords_of(vars(kind)["__init__"]) if name != "self"]


def _inherited(function: Callable[..., Any], args: tuple[Any, ...]) -> list[str]:
    return of_bases(args, {}) if function.__name__ == "__init__" and args else []


def _name(function: Callable[..., Any], args: tuple[Any, ...]) -> str:
    """What a user calls: the class for its constructor, else the function, after its class."""
    if function.__name__ in ("__init__", "__new__") and args:
        return args[0].__name__ if isinstance(args[0], type) else type(args[0]).__name__
    owner, dot, name = function.__qualname__.rpartition(".")
    if dot and args and isinstance(args[0], type):
        owner = args[0].__name__
    return f"{owner}.{name}" if dot and not owner.endswith("<locals>") else name
