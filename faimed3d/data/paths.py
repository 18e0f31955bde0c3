"""Paths of volumes, and functions from the path of an image to its mask or class.

fastai makes transforms of these functions, for which types would be rules of dispatch.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastcore.foundation import L
from fasttransform import Transform

from faimed3d.io.formats import volume_suffix


class OfName:
    """A function of a path that applies another to its name; a class, so that it can be sent to workers."""

    def __init__(self, func: Callable[[str], Any]) -> None:
        self.func = func

    def __call__(self, path):
        return self.func(Path(path).name)


class FilledTemplate:
    """A template filled with the groups that a regular expression finds in a path."""

    def __init__(self, pattern: str, template: str) -> None:
        self.pattern, self.template = re.compile(pattern), template

    def __call__(self, path):
        found = self.pattern.search(Path(path).as_posix())
        if found is None:
            raise ValueError(f"{path}: the pattern {self.pattern.pattern!r} is not in it, so its mask is not known")
        return self.template.format(*found.groups())


class BelowFolder(Transform):
    """The path that a function returns, below a folder unless it is absolute."""

    def __init__(self, folder: str | Path, func: Callable[[Any], Any]) -> None:
        super().__init__()
        self.folder, self.func = Path(folder), func

    def encodes(self, item):
        return self._below(self.func(item))

    def _below(self, found):
        if isinstance(found, list | tuple | L):
            return [self._below(one) for one in found]
        return self.folder / found if isinstance(found, str | Path) else found


def existing_or_below(names: Any, folder: str | Path) -> Any:
    """Paths below ``folder`` where they are relative and there is none such as they stand; lists of them, too."""
    if isinstance(names, list | tuple | L):
        return L([existing_or_below(one, folder) for one in names], use_list=True)
    if isinstance(names, str | Path):
        found = Path(names)
        return found if found.is_absolute() or found.exists() else Path(folder) / found
    return names


def stem_below(file: Path, folder: Path) -> str:
    """Path of a volume below ``folder`` without the extension of its format."""
    relative = file.relative_to(folder).as_posix()
    suffix = "" if file.is_dir() else volume_suffix(relative)
    return relative[: len(relative) - len(suffix)]
