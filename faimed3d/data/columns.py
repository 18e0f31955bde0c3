"""The columns of a table of cases: which are meant, which are needed, and what must not be in them."""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd
from fastai.data.transforms import ColReader, ColSplitter
from fastcore.foundation import L
from pandas.api.types import is_bool_dtype

from faimed3d.io.formats import volume_suffix

INVENTORY = ("key", "folder", "files", "problems", "distinct", "slices")  # what reading a row of an inventory needs


def no_column(column: object, names: Iterable[object]) -> ValueError:
    """The error for a column that a table or row does not have; ``names`` are those that it has."""
    known = [str(name) for name in names]
    near = [name for name in known if _plain(name) == _plain(str(column))]
    if near:
        hint = f": did you mean {near[0]!r}?"
    elif len(known) == 1 and (found := next((mark for mark in ";\t|" if mark in known[0]), None)):
        hint = f": read the table with pd.read_csv(..., sep={found!r})"
    else:
        hint = ""
    return ValueError(f"no column {column!r} in the table; there are {', '.join(known)}{hint}")


def _plain(name: str) -> str:
    """A name without what is not seen: blanks, the mark that some programs begin a file with, capitals."""
    return name.strip(" \t\ufeff").casefold()


def column_of(df: pd.DataFrame, column: str | int) -> pd.Series:
    """The column of that name, else of that number.

    Raises:
        ValueError: there is no such column, or there are several.
    """
    if column in df.columns:
        found = df[column]
        if isinstance(found, pd.DataFrame):
            raise ValueError(
                f"{len(found.columns)} columns of the table are called {column!r}: rename them, or give the number of "
                "the one that is meant"
            )
        return found
    count = len(df.columns)
    if not isinstance(column, numbers.Integral) or not -count <= column < count:
        raise no_column(column, df.columns)
    return df.iloc[:, column]


def columns_by_name(df: pd.DataFrame, columns: Any) -> Any:
    """Columns by their names, which mean the same in a table of other order; by numbers where names do not tell.

    Numbers are counted from the left then: the number -1 becomes that of the last column.

    Args:
        df: DataFrame.
        columns: name or number, several of them, a function of a row, or None.

    Raises:
        TypeError: ``df`` is no DataFrame.
        ValueError: there is no such column, or one that is called like a file.
    """
    if not isinstance(df, pd.DataFrame):
        raise TypeError(f"df must be a DataFrame, got {type(df).__name__}")
    if isinstance(columns, list | tuple | L):
        return [columns_by_name(df, column) for column in columns]
    if columns is None or callable(columns):
        return columns
    column_of(df, columns)
    if columns in df.columns:
        return columns
    number = int(columns) % len(df.columns)
    name = df.columns[number]
    if isinstance(name, str) and volume_suffix(name):
        raise ValueError(
            f"column {number} of the table is called {name!r}, like a file: was its first row taken for names? Read it "
            "with pd.read_csv(..., header=None)"
        )
    return name if isinstance(name, str) and list(df.columns).count(name) == 1 else number


class TargetColumn(ColReader):
    """fastai's ``ColReader``, which takes a number for a place in the row, of columns whose names are numbers.

    >>> row = pd.Series([7, 8, 9], index=[2, 0, 1])
    >>> ColReader(0)(row), TargetColumn(0)(row)
    (np.int64(7), np.int64(8))
    """

    def _do_one(self, r, c):
        if isinstance(r, pd.Series) and isinstance(c, numbers.Integral) and c in r.index:
            c = r.index.get_loc(c)
        return super()._do_one(r, c)


def check_cells(df: pd.DataFrame, columns: Any, delimiter: str | None = None) -> None:
    """Refuse a table in which a cell of the targets is empty.

    Args:
        df, columns: as :func:`columns_by_name` returns them.
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
        df, columns: as :func:`columns_by_name` returns them.
    """
    for column in L(columns):
        cells = column_of(df, column)
        for index, cell in cells.items():
            if isinstance(cell, str):
                raise TypeError(
                    f"row {index}: column {cells.name!r} holds the text {cell!r}, not a number. Read a CSV file with "
                    "decimal commas by pd.read_csv(..., decimal=','); leave rows without a number out"
                )


def with_lists(df: pd.DataFrame, column: Any) -> pd.DataFrame | None:
    """The table with a list in each cell of a column, where some cells hold several classes; None where none does.

    fastai would take a tuple for an item of several parts, and a text for several letters.

    Args:
        df, column: as :func:`columns_by_name` returns them.
    """
    cells = column_of(df, column)
    several = [isinstance(cell, list | tuple | L) for cell in cells]
    if not any(several):
        return None
    df = df.copy()
    lists = [list(cell) if found else [cell] for cell, found in zip(cells, several, strict=True)]
    df[cells.name] = pd.Series(lists, index=df.index, dtype=object)
    return df


def warn_of_numbers(df: pd.DataFrame, column: Any) -> None:
    """Warn of fractions that are to be classes: an age or a volume is a number to predict.

    Args:
        df, column: as :func:`columns_by_name` returns them.
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
    column = columns_by_name(df, column)
    cells = column_of(df, column)
    wrong = [] if is_bool_dtype(cells) and not cells.isna().any() else [cell for cell in cells if cell not in (0, 1)]
    if wrong:
        raise ValueError(f"column {cells.name!r} must say True or False (1 or 0) for validation, got {wrong[0]!r}")
    return ColSplitter(list(df.columns).index(column) if column in df.columns else column)  # numbers are places to it
