"""What is in training and in validation at once, so that results there look better than they are."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from fastcore.foundation import L

from faimed3d.data.splitting import Group, groups_of, name_of, patient_column


def warn_of_leaks(
    items: pd.DataFrame | Sequence[Any],
    splits: Sequence[list[int]],
    group: Group | None = None,
    source_of: Callable[[Any], Any] | None = None,
    remedy: str = "pass group_col to keep each on one side",
) -> None:
    """Warn once where an item, a patient or a file is in training and in validation.

    Args:
        items: DataFrame or list.
        splits: positions of the training and of the validation items.
        group: as for :class:`GroupSplitter`. Default: a column named like a patient's, if there is one.
        source_of: function of an item (of a DataFrame: of a row) that returns the names of the files of its image.
            Default: the item itself.
        remedy: end of the message of patients.
    """
    found = _items(splits) or _patients(items, splits, group, remedy) or _files(items, splits, source_of)
    if found:
        warnings.warn(found, stacklevel=4)


def _items(splits: Sequence[list[int]]) -> str | None:
    both = set(splits[0]) & set(splits[1])
    if not both:
        return None
    return (
        f"{len(both)} of {len({*splits[0], *splits[1]})} items are in both training and validation, the first is "
        f"number {min(both)}; results there will be too good: let the splitter put each on one side"
    )


def _patients(items: Any, splits: Sequence[list[int]], group: Group | None, remedy: str) -> str | None:
    group = patient_column(items) if group is None else group
    if group is None:
        return None
    groups = groups_of(items, group)
    train, valid = (set(groups.iloc[list(side)].dropna()) for side in splits[:2])
    if not train & valid:
        return None
    return (
        f"{len(train & valid)} of {len(train | valid)} patients ({name_of(group)}) have scans in both training and "
        f"validation; results there will be too good: {remedy}"
    )


def _files(items: Any, splits: Sequence[list[int]], source_of: Callable[[Any], Any] | None) -> str | None:
    each = [row for _, row in items.iterrows()] if isinstance(items, pd.DataFrame) else list(items)
    names = [tuple(_names(one if source_of is None else source_of(one))) for one in each]
    train, valid = ({names[k] for k in side} - {()} for side in splits[:2])
    both = train & valid
    if not both:
        return None
    return (
        f"{len(both)} images are in both training and validation, the first is {min(both)[0]}; results there will be "
        "too good: leave the double rows out, or pass as group_col a column that says whose scans they are"
    )


def _names(source: Any) -> Iterator[str]:
    """The files of an image, where it is read from files."""
    if isinstance(source, str | Path):
        yield os.path.normpath(source)
    elif isinstance(source, list | tuple | L):
        for one in source:
            yield from _names(one)
