"""The columns of a table of cases: which are meant, which are needed, and what must not be in them."""

from __future__ import annotations

import numbers

import pandas as pd
from fastai.data.transforms import ColSplitter
from fastcore.foundation import L
from pandas.api.types import is_bool_dtype

from faimed3d.data.files import INVENTORY

__all__ = ["check_cells", "from_the_left", "used_columns", "valid_splitter"]


def from_the_left(df, columns):
    """Columns as they stay right when those on their right are dropped: the number -1 becomes that of the last one.

    Args:
        df: DataFrame.
        columns: name or number, several of them, a function of a row, or None.

    Raises:
        TypeError: ``df`` is no DataFrame.
        ValueError: there is no such column.
    """
    if not isinstance(df, pd.DataFrame):
        raise TypeError(f"df must be a DataFrame, got {type(df).__name__}")
    if isinstance(columns, list | tuple | L):
        return [from_the_left(df, column) for column in columns]
    if columns is None or callable(columns) or columns in df.columns:
        return columns
    count = len(df.columns)
    if not isinstance(columns, numbers.Integral) or not -count <= columns < count:
        raise ValueError(f"no column {columns!r} in the table; there are {', '.join(map(str, df.columns))}")
    return int(columns) % count


def check_cells(df, columns, delimiter=None):
    """Refuse a table in which a cell of the targets is empty.

    Args:
        df, columns: as :func:`from_the_left` returns them.
        delimiter: what separates several classes in one cell.
    """
    for column in L(columns):
        cells = _cells(df, column)
        empty = cells.isna().to_numpy()
        if empty.any():
            remedy = "leave the row out or fill it" + (", with '' where no class applies" if delimiter else "")
            raise ValueError(
                f"row {df.index[empty.argmax()]}: the cell of column {cells.name!r} is empty, as are "
                f"{int(empty.sum())} of {len(df)}; {remedy}"
            )


def _cells(df, column):
    return df[column] if column in df.columns else df.iloc[:, column]


def used_columns(df, *columns):
    """Places of the columns that are meant by name, and of all up to those that are meant by place."""
    wanted, most = set(INVENTORY) if set(INVENTORY) <= set(df.columns) else set(), 0
    for column in L(columns).map(L).concat():
        if column in df.columns:
            wanted.add(column)
        elif isinstance(column, int):
            most = max(most, column + 1)
    return [place for place, name in enumerate(df.columns) if place < most or name in wanted]


def valid_splitter(df, column):
    """Splitter by a column that is true for the rows of validation; None for no column.

    Raises:
        ValueError: no such column, or cells other than true and false: any text, 'False' too, and NaN would count as
            true.
    """
    if column is None:
        return None
    column = from_the_left(df, column)
    cells = _cells(df, column)
    wrong = [] if is_bool_dtype(cells) and not cells.isna().any() else [c for c in cells if c not in (0, 1)]
    if wrong:
        raise ValueError(f"column {cells.name!r} must say True or False (1 or 0) for validation, got {wrong[0]!r}")
    return ColSplitter(column)
