"""Find volumes on the disk, and turn what a table says of a volume into something that can be read."""

from __future__ import annotations

import ast
import numbers
import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from fastcore.foundation import L
from fasttransform import Transform

from faimed3d.dicom import dicom_inventory, is_dicom
from faimed3d.io.formats import DICOM_SUFFIXES, READ_SUFFIXES, volume_suffix

__all__ = ["INVENTORY", "VolumeColumn", "get_volumetric_files", "supported_extensions", "with_inventory_rows"]

supported_extensions = READ_SUFFIXES
"""Endings of the files that can be read, in lower case; case does not matter. DICOM slices need none."""

INVENTORY = ("key", "folder", "files", "problems", "distinct", "slices")  # what reading a row needs
_KEY = re.compile(r"[0-9a-f]{12}")
_DATA_OF = {".img": (".hdr",), ".img.gz": (".hdr.gz", ".hdr")}  # halves of a pair: the header stands for both


def get_volumetric_files(path, recurse=True, folders=None):
    """List the volumes below a folder: files of every format that can be read, and each folder of DICOM slices once.

    Files are known by their name, those of DICOM folders by their name or their first bytes. A DICOM folder is listed
    as a whole however many series it holds; ``dicom_inventory`` tells them apart. Of a header with its data file
    (.hdr/.img) the header is listed. Names that begin with a dot are left out; links are followed.

    Args:
        path: folder to search.
        recurse: whether to search below it too.
        folders: names of folders directly below ``path`` to search, instead of all.

    Returns:
        ``L`` of paths, sorted.

    Raises:
        FileNotFoundError: no such folder.
    """
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such folder")
    wanted = {folders} if isinstance(folders, str) else set(folders or ())
    found, seen = [], set()
    for place, below, names in os.walk(path, followlinks=True):
        inner = Path(place)
        status = inner.stat()
        known = (status.st_dev, status.st_ino)
        if known in seen and status.st_ino:  # links that lead round in circles
            below[:] = []
            continue
        seen.add(known)
        top = inner == path
        below[:] = sorted(n for n in below if not n.startswith(".") and (n in wanted if wanted and top else True))
        if not recurse:
            below[:] = []
        if not (wanted and top):
            found += _volumes_in(inner, sorted(name for name in names if not name.startswith(".")))
    return L(sorted(found))


def _volumes_in(folder, names):
    volumes, slices, there = [], False, set(names)
    for name in names:
        suffix = volume_suffix(name)
        if suffix in DICOM_SUFFIXES:
            slices = True
        elif suffix in READ_SUFFIXES:
            stem = name[: len(name) - len(suffix)]
            if not any(stem + other in there for other in _DATA_OF.get(suffix, ())):
                volumes.append(folder / name)
        elif not slices and (not suffix or not suffix[1:].isalpha()) and name != "DICOMDIR":
            slices = is_dicom(folder / name)
    return [*volumes, folder] if slices else volumes


class VolumeColumn(Transform):
    """Read from a row of a table which volume it means: what ``TensorDicom3D.create`` takes, or a list of them.

    A cell may hold a file, a DICOM folder, a row of a DICOM inventory, an array or a tensor, or a list of these. Where
    the table itself is an inventory, its column ``key``, ``folder`` or ``files`` stands for the row.

    Args:
        columns: name or number of the column; several become a list.
        folder: where relative paths begin; absolute ones stay what they are.
        suffix: added to every path.
    """

    def __init__(self, columns, folder=".", suffix=""):
        super().__init__()
        self.columns = list(columns) if isinstance(columns, list | tuple | L) else [columns]
        self.folder, self.suffix = Path(folder), suffix

    def encodes(self, row):
        if hasattr(row, "_fields"):
            row = pd.Series(row._asdict())
        cells = [self._cell(row, column) for column in self.columns]
        return cells[0] if len(cells) == 1 else cells

    def _cell(self, row, column):
        if column not in row and not isinstance(column, numbers.Integral):
            if _is_inventory(row):  # one volume of an inventory, where a row of the table was expected
                return _narrow(row)
            raise ValueError(f"no column {column!r} in the table; there are {', '.join(map(str, row.index))}")
        if column in ("key", "folder", "files") and _is_inventory(row):
            return _narrow(row)
        cell = row[column] if column in row else row.iloc[column]
        return self._source(cell, row, column)

    def _source(self, cell, row, column):
        if isinstance(cell, list | tuple | L):
            return [self._source(one, row, column) for one in cell]
        if isinstance(cell, Mapping | pd.Series):
            return _narrow(pd.Series(cell))
        if cell is None or (isinstance(cell, float) and np.isnan(cell)) or (isinstance(cell, str) and not cell.strip()):
            raise ValueError(f"row {row.name}: the cell of column {column!r} is empty; leave the row out or fill it")
        if isinstance(cell, str | Path):
            return self.folder / f"{cell}{self.suffix}"
        if isinstance(cell, numbers.Number):
            raise TypeError(
                f"row {row.name}: column {column!r} holds the number {cell!r}, not a volume: is it the right column?"
            )
        return cell


def with_inventory_rows(table, columns, root):
    """Replace keys of a DICOM inventory of ``root`` in some columns of a table by the rows that they mean.

    Rows that stand in the cells already are narrowed to what reading needs.

    Args:
        table: DataFrame; returned as it is if it holds no keys.
        columns: names or numbers of columns.
        root: the folder that the inventory was made of.

    Raises:
        ValueError: a key is not in the inventory of ``root``.
    """
    if set(INVENTORY) <= set(table.columns):
        return table
    rows = None
    for column in columns:
        name = column if column in table.columns else table.columns[column]
        if any(isinstance(cell, pd.Series | Mapping) for cell in table[name]):
            cells = [_narrow(pd.Series(c)) if isinstance(c, pd.Series | Mapping) else c for c in table[name]]
            table = table.assign(**{name: pd.Series(cells, index=table.index, dtype=object)})
        keys = [_is_key(cell, root) for cell in table[name]]
        if not any(keys):
            continue
        if rows is None:
            inventory = dicom_inventory(root)
            rows = {row["key"]: _narrow(row) for _, row in inventory.iterrows()}
        if unknown := [cell for cell, is_key in zip(table[name], keys, strict=True) if is_key and cell not in rows]:
            raise ValueError(
                f"column {name!r}: {len(unknown)} of the keys, the first {unknown[0]!r}, are not in "
                f"dicom_inventory({os.fspath(root)!r}), which lists {len(rows)} volumes. Pass as path the folder that "
                "the inventory was made of"
            )
        cells = np.empty(len(table), dtype=object)
        cells[:] = [rows[c] if is_key else c for c, is_key in zip(table[name], keys, strict=True)]
        table = table.assign(**{name: pd.Series(list(cells), index=table.index, dtype=object)})
    return table


def _is_key(cell, root):
    return isinstance(cell, str) and _KEY.fullmatch(cell) is not None and not (Path(root) / cell).exists()


def _is_inventory(row):
    return isinstance(row, pd.Series) and set(INVENTORY) <= set(row.index)


def _narrow(row):
    """The part of an inventory's row that reading needs: no description and no header element travels to workers."""
    if not _is_inventory(row):
        raise TypeError(f"expected a row of a DICOM inventory with {', '.join(INVENTORY)}, got one with {[*row.index]}")
    row = row[list(INVENTORY)].copy()
    if isinstance(row["files"], str):  # as a CSV file keeps it
        row["files"] = ast.literal_eval(row["files"])
    for name in ("problems", "distinct"):
        row[name] = row[name] if isinstance(row[name], str) else ""
    return row
