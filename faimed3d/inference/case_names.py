"""Names of the cases of a folder: readable, a different one for each, without patient data of a header."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from faimed3d.inference.source import Source, first_of, text_of
from faimed3d.io.formats import volume_suffix

_LONGEST = 100  # of a description in a name


def case_names(sources: Sequence[Source]) -> list[str]:
    """A name for each source, for its file without extension.

    That is the name of its file or DICOM folder, with those of the folders above it as far as needed to tell it from
    the others; of a row of a DICOM inventory the folder and the description of the series, with the key where those of
    several rows are alike.

    Raises:
        ValueError: a source that has no name (arrays), or two that cannot be told apart.
    """
    sources = [first_of(source) for source in sources]
    parts = [_parts_of(source) for source in sources]
    depths = [1] * len(parts)
    while True:
        names = ["_".join(own[-depth:]) for own, depth in zip(parts, depths, strict=True)]
        count = Counter(name.casefold() for name in names)  # some file systems take A and a for one name
        clashing = [i for i, name in enumerate(names) if count[name.casefold()] > 1]
        longer = [i for i in clashing if depths[i] < len(parts[i])]
        if not longer:
            break
        for i in longer:
            depths[i] += 1
    names = [
        f"{name}_{source['key']}" if i in clashing and isinstance(source, pd.Series) and "key" in source else name
        for i, (name, source) in enumerate(zip(names, sources, strict=True))
    ]
    return names


def _parts_of(source: Source) -> list[str]:
    """Words of a name, from the outermost folder to the file."""
    if isinstance(source, pd.Series):
        if _is_inventory_row(source):
            return _inventory_parts(source)
        paths = [cell for cell in source if isinstance(cell, str | Path)]
        cells = [path for path in paths if volume_suffix(str(path)) or Path(path).is_dir()]
        if cells:
            return _parts_of(cells[0])
    if not isinstance(source, str | Path):
        raise ValueError(f"{text_of(source)} has no name to save its prediction under: pass names, one for each item")
    path = Path(source)
    name = path.name if path.is_dir() else path.name[: len(path.name) - len(volume_suffix(path.name))]
    return [*(part for part in path.parent.parts if part != path.anchor), name]


def _is_inventory_row(source: Source) -> bool:
    return isinstance(source, pd.Series) and "key" in source and "folder" in source


def _inventory_parts(row: pd.Series) -> list[str]:
    folder = Path(str(row["folder"]))
    above = [part for part in folder.parts if part != folder.anchor] or ["scan"]
    description = row.get("description")
    words = re.sub(r"[^\w.+-]+", "_", description).strip("_.")[:_LONGEST] if isinstance(description, str) else ""
    return [*above[:-1], "_".join([above[-1], words]) if words else above[-1]]
