"""What a transform is and what its settings are, as plain JSON that is the same in every process.

A key is made of it, so it must change whenever the transform would do something else. What belongs to faimed3d and
fastai is known by its name; of the user's own functions and classes the code counts as well, with the constants and
functions of theirs that it uses. What has no name that another process could find it by is refused.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import inspect
import json
import math
import numbers
import sys
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastcore.foundation import L
from torch import Tensor

from faimed3d._keywords import of_bases
from faimed3d.volume import TensorDicom3D, TensorMask3D

_BELOW = frozenset(("faimed3d", "fastai", "fastcore", "fasttransform", "plum", "torch", "numpy"))
_PLACES = ("site-packages", "dist-packages")  # where packages are installed
_OF_TRANSFORM = frozenset(("encodes", "decodes", "setups", "__signature__", "init_enc", "order", "split_idx", "_name"))
_CONSTANTS = (str, bytes, numbers.Number, enum.Enum, np.generic, np.ndarray, Tensor, type(None), type(...))


def canonical(value: Any) -> str:
    """JSON of which there is one for each value: sorted, without spaces, in ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 of :func:`canonical`, 64 hexadecimal digits."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def settings_of(step: Any) -> dict[str, Any]:
    """The settings of a transform: the attributes that its arguments name, and none of its state.

    >>> from faimed3d.augment import ZScore3D
    >>> settings_of(ZScore3D("minimum"))
    {'foreground': 'minimum'}
    """
    arguments = inspect.signature(type(step).__init__).parameters
    return {name: value for name, value in vars(step).items() if name in arguments or name == "standard"}


def describe(thing: Any) -> Any:
    """A transform, function or setting as plain JSON.

    Args:
        thing: number, text, path, enum, sequence, mapping, array, tensor, dataclass, module-level function or class,
            ``functools.partial``, or an object of a module-level class whose arguments are its attributes.

    Raises:
        TypeError: it has no name: a lambda, a function or class within a function, a bound method.

    >>> describe({"spacing": (1.0, 2.0), "mode": None})
    {'mapping': [['mode', None], ['spacing', [1.0, 2.0]]]}
    >>> describe(lambda x: x)
    Traceback (most recent call last):
    TypeError: <lambda> has no name that another process could find it by: write it as a function at the top of ...
    """
    if (plain := _plain(thing)) is not None or thing is None:
        return plain
    if isinstance(thing, list | tuple | L):
        return [describe(one) for one in thing]
    if isinstance(thing, set | frozenset):
        return {"set": sorted((describe(one) for one in thing), key=canonical)}
    if isinstance(thing, Mapping):
        pairs = [[describe(key), describe(value)] for key, value in thing.items()]
        return {"mapping": sorted(pairs, key=lambda pair: canonical(pair[0]))}
    if isinstance(thing, np.ndarray | Tensor):
        return describe_array(thing)
    if isinstance(thing, slice | range):
        return {type(thing).__name__: [describe(one) for one in (thing.start, thing.stop, thing.step)]}
    if isinstance(thing, functools.partial):
        parts = describe(thing.args), describe(thing.keywords)
        return {"partial": describe(thing.func), "args": parts[0], "keywords": parts[1]}
    if isinstance(thing, types.ModuleType):
        return {"module": thing.__name__}
    if callable(thing) and (isinstance(thing, type) or _is_function(thing)):
        return _with_code(thing)
    return _describe_object(thing)


def describe_array(array: np.ndarray | Tensor) -> dict[str, Any]:
    """Type, shape, place and content of an array: SHA-256 of its bytes.

    >>> describe_array(np.zeros((2, 3), np.uint8))["shape"]
    [2, 3]
    """
    if isinstance(array, np.ndarray) and array.dtype.hasobject:
        raise TypeError(f"an array of objects ({array.dtype}) has no bytes to compare: give numbers")
    place: list[str] = []
    if isinstance(array, TensorDicom3D):
        codes = array.codes if isinstance(array, TensorMask3D) else None
        place = [repr(one) for one in (array.geometry, array.padding, codes)]
        if array.geometry is not None:
            place.append(array.geometry.affine.tobytes().hex())  # repr rounds
    if isinstance(array, Tensor):
        plain = array.detach().as_subclass(Tensor).cpu().contiguous()
        kind, voxels = str(plain.dtype), plain.flatten().view(torch.uint8).numpy().data
    else:
        kind, voxels = array.dtype.str, np.ascontiguousarray(array).data
    described = {"dtype": kind, "shape": list(array.shape), "sha256": hashlib.sha256(voxels).hexdigest()}
    return {"array": type(array).__name__, **described, **({"place": place} if place else {})}


def _plain(thing: Any) -> Any:
    """What JSON has a way to write for; None for all else."""
    if isinstance(thing, np.generic):
        thing = thing.item()
    if isinstance(thing, enum.Enum):
        return {"enum": f"{type(thing).__module__}.{type(thing).__qualname__}.{thing.name}"}
    if isinstance(thing, bool | str | int):
        return thing
    if isinstance(thing, float):
        return thing if math.isfinite(thing) else {"float": str(thing)}
    if isinstance(thing, bytes | complex):
        return {type(thing).__name__: repr(thing)}
    if isinstance(thing, Path):
        return {"path": thing.as_posix(), **_status(thing)}
    if isinstance(thing, torch.dtype | torch.device | np.dtype) or thing is Ellipsis:
        return {"name": str(thing)}
    return None


def _status(path: Path) -> dict[str, Any]:
    """Size and time of a file that a setting names: another content is another setting."""
    if not path.is_file():
        return {}
    status = path.stat()
    return {"bytes": status.st_size, "changed": status.st_mtime_ns}


def _is_function(thing: Any) -> bool:
    return inspect.isroutine(thing) or isinstance(thing, np.ufunc) or hasattr(thing, "__wrapped__")


def _name(thing: Any) -> str:
    """Where another process finds a function or class.

    Raises:
        TypeError: nowhere.
    """
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", "")
    if isinstance(thing, np.ufunc):
        return f"numpy.{thing.__name__}"
    if inspect.isbuiltin(thing):
        module = module or getattr(thing.__self__, "__module__", None) or "builtins"
    elif inspect.ismethod(thing) and not isinstance(thing.__self__, type):
        _refuse(
            f"the method {name} of an object", "give the object of a class with __call__, or a function of a module"
        )
    if not name or "<lambda>" in name or "<locals>" in name:
        kind = "class" if isinstance(thing, type) else "function"
        _refuse(name or repr(thing), f"write it as a {kind} at the top of a module, and give that")
    root = _root(thing)
    version = "" if root in _BELOW else getattr(sys.modules.get(root), "__version__", "")
    return f"{module}.{name}{f' {version}' if version else ''}"


def _refuse(what: str, advice: str) -> None:
    raise TypeError(f"{what} has no name that another process could find it by: {advice}. A cache cannot tell else "
                    "whether what it holds was made by it")  # fmt: skip


def _root(thing: Any) -> str:
    home = thing.__name__ if isinstance(thing, types.ModuleType) else getattr(thing, "__module__", None)
    return str(home or "builtins").partition(".")[0]


def _is_known(thing: Any) -> bool:
    """Whether a function or class is of Python or of an installed package, whose name and version say what it does."""
    root = _root(thing)
    if root in _BELOW or (root in sys.stdlib_module_names and root != "__main__"):
        return True
    return any(place in Path(str(getattr(sys.modules.get(root), "__file__", ""))).parts for place in _PLACES)


def _with_code(thing: Any) -> dict[str, Any]:
    named = {"class" if isinstance(thing, type) else "function": _name(thing)}
    return named if _is_known(thing) and not _is_extended(thing) else {**named, "code": digest(_code(thing, set()))}


def _is_extended(kind: Any) -> bool:
    """Whether the user gave a transform of ours a method for a type of theirs."""
    return isinstance(kind, type) and any(not _is_known(one) for one in _implementations(vars(kind).get("encodes")))


def _describe_object(thing: Any) -> dict[str, Any]:
    kind = type(thing)
    if is_dataclass(thing):
        values = {field.name: describe(getattr(thing, field.name)) for field in fields(thing)}
        return {**_with_code(kind), "arguments": values}
    if not hasattr(thing, "__dict__"):
        raise TypeError(f"{kind.__name__} {str(thing)[:60]!r} cannot be written down as a setting: give numbers, text, "
                        "arrays, a dataclass, or an object whose arguments are its attributes")  # fmt: skip
    own = {name: value for name, value in vars(thing).items() if name not in _OF_TRANSFORM}
    own = {name: value for name, value in own.items() if getattr(value, "__self__", None) is not thing}  # its methods
    settings = {name: value for name, value in settings_of(thing).items() if name in own}
    if not _is_known(kind):
        known = {*of_bases((thing,), {}), *(f"_{name}" for name in of_bases((thing,), {}))}
        settings |= {name: value for name, value in own.items() if name in known}
        if not all(name in settings or f"_{name}" in settings for name in _arguments(kind)):
            settings = own  # it keeps its arguments under other names
    described = {**_with_code(kind), "arguments": {name: describe(value) for name, value in sorted(settings.items())}}
    made_of = _implementations(vars(thing).get("encodes"))  # Transform(function)
    return {**described, "functions": [describe(one) for one in made_of]} if made_of else described


def _arguments(kind: type) -> list[str]:
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found = inspect.signature(kind.__init__).parameters.values()  # type: ignore[misc] # of an object's class
    ours = _is_known(inspect.unwrap(kind.__init__))  # type: ignore[misc]
    return [] if ours else [one.name for one in found if one.kind in named and one.name != "self"]


def _implementations(function: Any) -> list[Any]:
    """The functions that a method of a transform chooses among by type."""
    try:
        return [method.implementation for method in getattr(function, "methods", ())]
    except ValueError as error:  # a function of C, which tells no arguments
        raise TypeError(f"Transform of {function}: {error}; write a function of a module around it") from error


def _code(thing: Any, seen: set[int]) -> Any:
    """What a function or class of the user does: its instructions, constants, and what of theirs it calls."""
    if isinstance(thing, type | types.FunctionType | dict | list):
        if id(thing) in seen:
            return "as above"
        seen.add(id(thing))
    if isinstance(thing, staticmethod | classmethod):
        return _code(thing.__func__, seen)
    if isinstance(thing, property):
        return [_code(one, seen) for one in (thing.fget, thing.fset) if one is not None]
    if isinstance(thing, types.CodeType):
        constants = [_code(one, seen) for one in thing.co_consts]
        return [thing.co_code.hex(), constants, list(thing.co_names), list(thing.co_varnames)]
    if isinstance(thing, functools.partial):
        return [_code(one, seen) for one in (thing.func, *thing.args, *thing.keywords.items())]
    if isinstance(thing, list | tuple):
        return [_code(one, seen) for one in thing]
    if isinstance(thing, set | frozenset):
        return sorted((_code(one, seen) for one in thing), key=canonical)
    if isinstance(thing, Mapping):
        return sorted(([_code(key, seen), _code(value, seen)] for key, value in thing.items()), key=canonical)
    if isinstance(thing, _CONSTANTS):
        return describe(thing)
    if _is_known(thing) and (isinstance(thing, type) or inspect.isroutine(thing)) and not _is_extended(thing):
        return f"{thing.__module__}.{thing.__qualname__}"
    if isinstance(thing, type):
        parts = {name: value for name, value in vars(thing).items() if not _is_of_python(name, value)}
        return [
            [_code(base, seen) for base in thing.__bases__],
            {name: _code(parts[name], seen) for name in sorted(parts)},
        ]
    if found := _implementations(thing):
        return [_code(one, seen) for one in found]
    if isinstance(thing, types.FunctionType):
        return _code_of_function(thing, seen)
    if isinstance(wrapped := getattr(thing, "__wrapped__", None), types.FunctionType):
        return _code_of_function(wrapped, seen)
    return thing.__name__ if isinstance(thing, types.ModuleType) else type(thing).__qualname__


def _is_of_python(name: str, value: Any) -> bool:
    return (name.startswith("__") and not isinstance(value, types.FunctionType)) or name == "_abc_impl"


def _code_of_function(function: types.FunctionType, seen: set[int]) -> list[Any]:
    names = _names(function.__code__)
    used = {name: function.__globals__[name] for name in names if name in function.__globals__}
    for module in [value for value in used.values() if isinstance(value, types.ModuleType) and not _is_known(value)]:
        used |= {f"{module.__name__}.{name}": getattr(module, name) for name in names if hasattr(module, name)}
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    defaults = [function.__defaults__, *sorted((function.__kwdefaults__ or {}).items())]
    called = [[name, _code(used[name], seen)] for name in sorted(used)]
    return [_code(function.__code__, seen), called, *(_code(one, seen) for one in (*cells, *defaults))]


def _names(code: types.CodeType) -> set[str]:
    """Global names that a function uses, or one within it."""
    inner = [one for one in code.co_consts if isinstance(one, types.CodeType)]
    return {*code.co_names, *(name for one in inner for name in _names(one))}
