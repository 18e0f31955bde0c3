"""Values as plain JSON and back, where classes and functions go by name and only those of a table are known.

A file of such JSON can hold no code: a name that is not in the table is refused, and nothing is imported for it.
"""

from __future__ import annotations

import enum
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import Any

import numpy as np
from torch import Tensor

_KINDS = ("name", "member", "new", "partial", "mapping", "float")


class UnknownName(KeyError):
    """JSON names what is not in the table."""


class ByName:
    """The classes and functions that JSON may name.

    Args:
        names: module -> its names, in one text.

    >>> import torch
    >>> layers = ByName({"torch.nn": "ReLU LeakyReLU"})
    >>> layers.to_plain({"act_cls": torch.nn.ReLU, "widths": (4, 8)})
    {'mapping': [['act_cls', {'name': 'torch.nn.ReLU'}], ['widths', [4, 8]]]}
    >>> layers.from_plain(layers.to_plain((torch.nn.ReLU, 2.5)))
    (<class 'torch.nn.modules.activation.ReLU'>, 2.5)
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._homes = {f"{module}.{name}": module for module, text in names.items() for name in text.split()}

    def __contains__(self, name: object) -> bool:
        return name in self._homes

    def name_of(self, thing: Any) -> str | None:
        """The name of a class or function of the table; None for another one.

        Args:
            thing: anything.
        """
        word = getattr(thing, "__name__", None)
        found = [name for name in self._homes if name.rpartition(".")[2] == word]
        return next((name for name in found if self.named(name) is thing), None)

    def named(self, name: str) -> Any:
        """What a name of the table stands for.

        Args:
            name: such as ``'torch.nn.ReLU'``.

        Raises:
            UnknownName: it is not in the table.
        """
        if name not in self._homes:
            raise UnknownName(name)
        return getattr(import_module(self._homes[name]), name.rpartition(".")[2])

    def _class(self, name: str) -> type:
        """A class of the table. A function of it is named, and never called with arguments of a file."""
        found = self.named(name)
        if not isinstance(found, type):
            raise UnknownName(name)
        return found

    def to_plain(self, value: Any) -> Any:
        """A value as JSON holds it.

        Args:
            value: number, text, None, sequence, mapping, tensor of one axis, or what the table names: a class, a
                function, a member of an enum, a dataclass, ``functools.partial`` of one.

        Raises:
            TypeError: something else, or of no such name.
        """
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, Tensor | np.ndarray) and value.ndim == 1:
            value = value.tolist()
        if value is None or (isinstance(value, bool | str | int) and not isinstance(value, enum.Enum)):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else {"float": str(value)}
        if isinstance(value, enum.Enum) and (name := self.name_of(type(value))):
            return {"member": name, "of": value.name}
        if isinstance(value, Sequence):
            return [self.to_plain(one) for one in value]
        if isinstance(value, Mapping):
            return {"mapping": [[self.to_plain(key), self.to_plain(one)] for key, one in value.items()]}
        if isinstance(value, functools.partial):
            parts = self.to_plain(value.args), self.to_plain(value.keywords)
            return {"partial": self.to_plain(value.func), "args": parts[0], "keywords": parts[1]}
        if name := self.name_of(value):
            return {"name": name}
        if is_dataclass(value) and (name := self.name_of(type(value))):
            return self.new(type(value), {one.name: getattr(value, one.name) for one in fields(value)})
        raise TypeError(f"{_text(value)} has no name that another process may build it by")

    def new(self, kind: type, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """An object as JSON: its class and the arguments that make it.

        Args:
            kind: a class of the table.
            arguments: by name.

        Raises:
            TypeError: the class, or a value, is not of the table.
        """
        name = self.name_of(kind)
        if name is None:
            raise TypeError(f"{kind.__name__} has no name that another process may build it by")
        return {"new": name, "arguments": {key: self.to_plain(value) for key, value in arguments.items()}}

    def from_plain(self, plain: Any) -> Any:
        """The value of :meth:`to_plain`; sequences are tuples.

        Args:
            plain: as JSON holds it.

        Raises:
            UnknownName: a name is not in the table.
            ValueError: it is nothing that :meth:`to_plain` writes.
        """
        if isinstance(plain, list):
            return tuple(self.from_plain(one) for one in plain)
        if not isinstance(plain, dict):
            return plain
        kind = next((kind for kind in _KINDS if kind in plain), None)
        if kind == "name":
            return self.named(plain["name"])
        if kind == "member":
            return self.named(plain["member"])[plain["of"]]
        if kind == "new":
            arguments = {key: self.from_plain(value) for key, value in plain["arguments"].items()}
            return self._class(plain["new"])(**arguments)
        if kind == "partial":
            args, keywords = self.from_plain(plain["args"]), self.from_plain(plain["keywords"])
            return functools.partial(self._class(plain["partial"]["name"]), *args, **keywords)
        if kind == "mapping":
            return {self.from_plain(key): self.from_plain(value) for key, value in plain["mapping"]}
        if kind == "float":
            return float(plain["float"])
        raise ValueError(f"{_text(plain)} is no value as it is written here")


def _text(value: Any) -> str:
    name = getattr(value, "__qualname__", None)
    return name if isinstance(name, str) else f"a {type(value).__name__}"
