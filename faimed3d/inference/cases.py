"""The cases of ``predict_folder``: which volumes they are, how they are named, and that no scan is written over."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from faimed3d.data.files import get_volumetric_files
from faimed3d.io.formats import volume_suffix

__all__ = ["name_of", "refuse_sources", "scans_in", "text_of"]


def scans_in(folder, out, names, suffix):
    """Volumes of a folder without the predictions that an earlier run has left in ``out``, somewhere in it."""
    files = get_volumetric_files(folder)
    place = out.resolve()
    if place == Path(folder).resolve():
        return files
    inside = [file.resolve().parent == place for file in files]
    if names is None:
        names = [name_of(file) for file, there in zip(files, inside, strict=True) if not there]
    written = {f"{name}{suffix}" for name in names}
    return [file for file, there in zip(files, inside, strict=True) if not (there and file.name in written)]


def refuse_sources(items, outputs, root):
    """An error if a file to be written is one of those to be read, by whatever name: the scan would be lost."""
    known = {}
    for item in items:
        for path in _files_of(item):
            for place in (Path(root) / path, Path(path)):
                known[_identity(place)] = path
    known.pop(None, None)
    for output in outputs:
        source = known.get(_identity(output))
        if source is not None:
            raise ValueError(
                f"the prediction {output} would be written over {source}, which is one of the items: choose another "
                "folder for out, or pass names"
            )


def _identity(path):
    """What two names of one file share; None if there is no such file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _files_of(item):
    """Paths of files that an item names, those of masks among them."""
    if isinstance(item, str | Path):
        return [item]
    if isinstance(item, list | tuple):
        return [path for one in item for path in _files_of(one)]
    return [cell for cell in item if isinstance(cell, str | Path)] if isinstance(item, pd.Series) else []


def text_of(item):
    """How reports and messages name a source."""
    if isinstance(item, str | Path):
        return str(item)
    if isinstance(item, pd.Series) and "key" in item:
        return str(item["key"])
    if isinstance(item, list | tuple) and item:
        return text_of(item[0])
    return f"a {type(item).__name__}"


def name_of(item):
    """Name of the file for a source: that of its file without extension, of its DICOM folder, its key."""
    text = text_of(item)
    if isinstance(item, pd.Series) and "key" in item:
        return text
    if isinstance(item, list | tuple) and item:
        return name_of(item[0])
    if not isinstance(item, str | Path):
        raise ValueError(f"{text} has no name to save its prediction under: pass names, one for each item")
    name = Path(item).name
    return name if Path(item).is_dir() else name[: len(name) - len(volume_suffix(name))]
