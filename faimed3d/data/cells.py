"""What the cells of a table say of a volume: files, folders, rows of a DICOM inventory and their keys, arrays."""

from __future__ import annotations

import ast
import numbers
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from fastcore.foundation import L
from fasttransform import Transform

from faimed3d._rows import here
from faimed3d.data.columns import INVENTORY, column_of, no_column
from faimed3d.dicom import dicom_inventory

_KEY = re.compile(r"[0-9a-f]{12}")


class VolumeColumn(Transform):
    """Read from a row of a table which volume it means: what ``TensorDicom3D.create`` takes, or a list of them.

    A cell may hold a file, a DICOM folder, a row of a DICOM inventory, an array or a tensor, or a list of these. Where
    the table itself is an inventory, its column ``key``, ``folder`` or ``files`` stands for the row.

    Args:
        columns: name or number of the column; several become a list.
        folder: where relative paths begin; absolute ones stay what they are.
        suffix: added to every path.

    >>> VolumeColumn("image", "scans", ".nii")(pd.Series({"image": "a", "label": "low"})).as_posix()
    'scans/a.nii'
    """

    def __init__(self, columns: str | int | Sequence[str | int], folder: str | Path = ".", suffix: str = "") -> None:
        super().__init__()
        self.columns = list(columns) if isinstance(columns, list | tuple | L) else [columns]
        self.folder, self.suffix = Path(folder), suffix

    def encodes(self, row):
        if isinstance(row, tuple) and hasattr(row, "_fields"):
            row = pd.Series(row._asdict())
        cells = [self._cell(row, column) for column in self.columns]
        return cells[0] if len(cells) == 1 else cells

    def names(self, row: pd.Series) -> list[Any]:
        """What tells the volume of a row from others, where files do; of a row of an inventory its key."""
        if self.columns[0] in ("key", "folder", "files") and _is_inventory_row(row):
            return [str(row["key"])]
        return [row[column] if column in row else row.iloc[column] for column in self.columns]

    def _cell(self, row: pd.Series, column: Any) -> Any:
        if column not in row and not isinstance(column, numbers.Integral):
            if _is_inventory_row(row):  # one volume of an inventory, where a row of the table was expected
                return _for_reading(row)
            raise no_column(column, row.index)
        if column in ("key", "folder", "files") and _is_inventory_row(row):
            return _for_reading(row)
        cell = row[column] if column in row else row.iloc[column]
        return self._source(cell, row, column)

    def _source(self, cell: Any, row: pd.Series, column: Any) -> Any:
        if isinstance(cell, list | tuple | L):
            return [self._source(one, row, column) for one in cell]
        if isinstance(cell, Mapping | pd.Series):
            return _for_reading(pd.Series(cell))
        if cell is None or (isinstance(cell, float) and np.isnan(cell)) or (isinstance(cell, str) and not cell.strip()):
            raise ValueError(f"row {row.name}: the cell of column {column!r} is empty; leave the row out or fill it")
        if isinstance(cell, str | Path):
            return self.folder / f"{cell}{self.suffix}"
        if isinstance(cell, numbers.Integral) and self.suffix:
            return self.folder / f"{cell}{self.suffix}"
        if isinstance(cell, numbers.Number):
            raise TypeError(
                f"row {row.name}: column {column!r} holds the number {cell:g}, not a volume: is it the right column? "
                "Numbers that name files or folders must be text: read the table with pd.read_csv(..., dtype=str), "
                "which keeps zeros in front, or pass suff='.nii.gz'"
            )
        return cell


def with_inventory_rows(table: pd.DataFrame, columns: Sequence[str | int], root: str | Path) -> pd.DataFrame:
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
    inventory = None
    for column in columns:
        cells = column_of(table, column)
        name = cells.name
        if any(isinstance(cell, pd.Series | Mapping) for cell in cells):
            rows = [_for_reading(pd.Series(c)) if isinstance(c, pd.Series | Mapping) else c for c in cells]
            cells = pd.Series(rows, index=table.index, dtype=object)
            table = table.assign(**{name: cells})
        keys = [cell for cell in cells if _is_key(cell, root)]
        if not keys:
            continue
        if inventory is None:
            inventory = {row["key"]: _for_reading(row) for _, row in dicom_inventory(root).iterrows()}
        if unknown := [key for key in keys if key not in inventory]:
            raise ValueError(
                f"column {name!r}: {len(unknown)} of the keys, the first {unknown[0]!r}, are not in "
                f"dicom_inventory({os.fspath(root)!r}), which lists {len(inventory)} volumes. Pass as path the folder "
                "that the inventory was made of"
            )
        rows = [inventory[cell] if _is_key(cell, root) else cell for cell in cells]
        table = table.assign(**{name: pd.Series(rows, index=table.index, dtype=object)})
    return table


def _is_key(cell: object, root: str | Path) -> bool:
    return isinstance(cell, str) and _KEY.fullmatch(cell) is not None and not (Path(root) / cell).exists()


def _is_inventory_row(row: object) -> bool:
    return isinstance(row, pd.Series) and set(INVENTORY) <= set(row.index)


def _for_reading(row: pd.Series) -> pd.Series:
    """The part of an inventory's row that reading needs: no description and no header element travels to workers."""
    if not _is_inventory_row(row):
        raise TypeError(f"expected a row of a DICOM inventory with {', '.join(INVENTORY)}, got one with {[*row.index]}")
    row = pd.Series(here(row))[list(INVENTORY)].copy()
    if isinstance(row["files"], str):  # as a CSV file keeps it
        row["files"] = ast.literal_eval(row["files"])
    for name in ("problems", "distinct"):
        row[name] = row[name] if isinstance(row[name], str) else ""
    return row
