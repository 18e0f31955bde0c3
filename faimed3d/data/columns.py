"""The columns of a table of cases: which are meant, which are needed, and what must not be in them."""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd
from fastai.data.transforms import ColSplitter
from fastcore.foundation import L
from pandas.api.types import is_bool_dtype

INVENTORY = ("key", "folder", "files", "problems", "distinct", "slices")  # what reading a row of an inventory needs


def no_column(column: object, names: Iterable[object]) -> ValueError:
    """The error for a column that a table or row does not have; ``names`` are those that it has."""
    return ValueError(f"no column {column!r} in the table; there are {', '.join(map(str, names))}")


def column_of(df: pd.DataFrame, column: str | int) -> pd.Series:
    """The column of that name, else of that number.

    Raises:
        ValueError: there is no such column.
    """
    if column in df.columns:
        return df[column]
    count = len(df.columns)
    if not isinstance(column, numbers.Integral) or not -count <= column < count:
        raise no_column(column, df.columns)
    return df.iloc[:, column]


def count_from_left(df: pd.DataFrame, columns: Any) -> Any:
    """Columns that stay right when those on their right are dropped: the number -1 becomes that of the last one.

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
        return [count_from_left(df, column) for column in columns]
    if columns is None or callable(columns):
        return columns
    column_of(df, columns)
    return columns if columns in df.columns else int(columns) % len(df.columns)


def check_cells(df: pd.DataFrame, columns: Any, delimiter: str | None = None) -> None:
    """Refuse a table in which a cell of the targets is empty.

    Args:
        df, columns: as :func:`count_from_left` returns them.
        delimiter: what separates several classes in one cell.
    """
    for column in L(columns):
        cells = column_of(df, column)
        empty = cells.isna().to_numpy()
        if empty.any():
            remedy = "leave the row out or fill it" + (", with '' where no class applies" if delimiter else "")
            raise ValueError(
                f"row {df.index[empty.argmax()]}: the cell of column {cells.name!r} is empty, as are "
                f"{int(empty.sum())} of {len(df)}; {remedy}"
            )


def check_numbers(df: pd.DataFrame, columns: Any) -> None:
    """Refuse a table in which a cell of targets that are numbers is text: a CSV file with decimal commas, a word.

    Args:
        df, columns: as :func:`count_from_left` returns them.
    """
    for column in L(columns):
        cells = column_of(df, column)
        for index, cell in cells.items():
            if isinstance(cell, str):
                raise TypeError(
                    f"row {index}: column {cells.name!r} holds the text {cell!r}, not a number. Read a CSV file with "
                    "decimal commas by pd.read_csv(..., decimal=','); leave rows without a number out"
                )


def warn_of_numbers(df: pd.DataFrame, column: Any) -> None:
    """Warn of fractions that are to be classes: an age or a volume is a number to predict.

    Args:
        df, column: as :func:`count_from_left` returns them.
    """
    cells = column_of(df, column)
    fraction = next((cell for cell in cells if isinstance(cell, float) and not float(cell).is_integer()), None)
    if fraction is not None:
        warnings.warn(
            f"column {cells.name!r} holds numbers such as {fraction:g}, and each becomes a class of its own; to "
            "predict numbers pass y_block=RegressionBlock()",
            stacklevel=4,
        )


def used_columns(df: pd.DataFrame, *columns: Any) -> list[int]:
    """Numbers of the columns that are meant by name, and of all up to those that are meant by number."""
    names = set(INVENTORY) if set(INVENTORY) <= set(df.columns) else set()
    count = 0  # of columns that are kept whatever their name
    for column in L(columns).map(L).concat():
        if column in df.columns:
            names.add(column)
        elif isinstance(column, numbers.Integral):
            count = max(count, int(column) + 1)
    return [number for number, name in enumerate(df.columns) if number < count or name in names]


def validation_splitter(
    df: pd.DataFrame, column: str | int | None, splitter: Callable | None = None
) -> Callable | None:
    """Splitter by a column that is true for the rows of validation; the given one, or None, for no column.

    Raises:
        TypeError: a column and a splitter.
        ValueError: no such column, or cells other than true and false: any text, 'False' too, and NaN would count as
            true.
    """
    if column is None:
        return splitter
    if splitter is not None:
        raise TypeError("valid_col and splitter both say which rows are validation: pass one of them")
    column = count_from_left(df, column)
    cells = column_of(df, column)
    wrong = [] if is_bool_dtype(cells) and not cells.isna().any() else [cell for cell in cells if cell not in (0, 1)]
    if wrong:
        raise ValueError(f"column {cells.name!r} must say True or False (1 or 0) for validation, got {wrong[0]!r}")
    return ColSplitter(column)
