"""Divide items into training and validation so that no patient is on both sides; who the patient is."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
import torch

from faimed3d.data.columns import column_of

Splits = tuple[list[int], list[int]]  # indices of the items of training and of validation
Group = str | int | Callable[[Any], Any]

_PATIENT_COLUMNS = ("patient", "patient_id", "patientid", "subject", "subject_id", "participant_id", "case_id")


class GroupSplitter:
    """Split items at random, whole groups at a time: the scans of one patient are all in training or all in validation.

    Args:
        group: column (name or number) of a DataFrame of items, or a function of one item (of a DataFrame: of a row)
            that returns its group.
        valid_pct: share of the items, not of the groups, wanted in validation, above 0 and below 1. Groups are drawn
            until it is reached as nearly as whole groups allow; each side gets at least one.
        seed: number that fixes the draw; None draws from torch's generator, so fastai's ``set_seed`` holds.

    Raises:
        ValueError: an item without a group, fewer than two groups, ``valid_pct`` outside (0, 1).
        TypeError: a column is asked of items that are no DataFrame.

    >>> items = ["anna_1", "anna_2", "ben_1", "carl_1"]
    >>> train, valid = GroupSplitter(lambda name: name.split("_")[0], valid_pct=0.5, seed=0)(items)
    >>> {items[i].split("_")[0] for i in train} & {items[i].split("_")[0] for i in valid}
    set()
    """

    def __init__(self, group: Group, valid_pct: float = 0.2, seed: int | None = None) -> None:
        if not 0 < valid_pct < 1:
            raise ValueError(f"valid_pct must be above 0 and below 1, got {valid_pct!r}")
        self.group, self.valid_pct, self.seed = group, valid_pct, seed

    def __call__(self, items: pd.DataFrame | Sequence[Any]) -> Splits:
        """Return the indices of the training and of the validation items, each in the order of the items."""
        numbers = pd.factorize(named_groups(items, self.group))[0]
        count = numbers.max() + 1 if len(numbers) else 0
        if count < 2:
            raise ValueError(
                f"{name_of(self.group)} holds {count} group for {len(numbers)} items; at least 2 are needed, one in "
                "training and one in validation"
            )
        sizes = torch.bincount(torch.as_tensor(numbers))
        generator = None if self.seed is None else torch.Generator().manual_seed(self.seed)
        order = torch.randperm(count, generator=generator)
        short = (sizes[order].cumsum(0) - self.valid_pct * len(numbers)).abs()[:-1]
        chosen = set(order[: int(short.argmin()) + 1].tolist())
        sides: Splits = ([], [])
        for index, number in enumerate(numbers.tolist()):
            sides[number in chosen].append(index)
        return sides


class GivenSplits:
    """A splitter that returns what was split already; a class, so that it can be pickled."""

    def __init__(self, splits: Sequence[list[int]]) -> None:
        self.splits = splits

    def __call__(self, items: object) -> Sequence[list[int]]:
        return self.splits


def positions(splits: Any, count: int) -> tuple[list[int], ...]:
    """What a splitter has returned, as positions of items.

    Args:
        splits: positions of the items of training and of validation, counted from 0, or for each side True and False
            for every item.
        count: of the items.

    Raises:
        TypeError: it is nothing of this kind.
        ValueError: a position is none of an item.

    >>> positions(([2, 0], [1]), 3), positions(([True, False, True], [False, True, False]), 3)
    (([2, 0], [1]), ([0, 2], [1]))
    """
    try:
        sides = tuple(_numbers([*side], count) for side in splits)
    except TypeError as error:
        raise TypeError(f"the splitter must return positions, of training and of validation: {error}") from None
    if len(sides) < 2:
        raise ValueError(f"the splitter must return two lists, of training and of validation, got {len(sides)}")
    return sides


def _numbers(side: list, count: int) -> list[int]:
    if side and all(isinstance(one, bool | np.bool_) for one in side):
        if len(side) != count:
            raise ValueError(f"the splitter returned {len(side)} times True or False, but there are {count} items")
        return [number for number, chosen in enumerate(side) if chosen]
    numbers = [operator.index(one) for one in side]
    wrong = [number for number in numbers if not 0 <= number < count]
    if wrong:
        raise ValueError(
            f"the splitter returned position {wrong[0]}, but there are {count} items, counted from 0. Of a table it "
            "must return numbers of rows, not labels of the index: df.reset_index(drop=True) makes both the same"
        )
    return numbers


def groups_of(items: pd.DataFrame | Sequence[Any], group: Group) -> pd.Series:
    """The group of every item. Blanks around a name, and whether a number is text, tell no patients apart."""
    if callable(group):
        each = (row for _, row in items.iterrows()) if isinstance(items, pd.DataFrame) else items
        found = pd.Series([group(item) for item in each], dtype=object)
    elif isinstance(items, pd.DataFrame):
        found = column_of(items, group).reset_index(drop=True)
    else:
        raise TypeError(f"the group column {group!r} needs items in a DataFrame, got {type(items).__name__}")
    if not any(isinstance(one, str) for one in found):
        return found
    return found.map(_text_of, na_action="ignore")


def _text_of(name: Any) -> Any:
    """A patient's name without what a table may add to it; blanks alone are no name."""
    if isinstance(name, Real) and not isinstance(name, bool):
        return f"{name:.17g}"
    return name.strip() or None if isinstance(name, str) else name


def named_groups(items: pd.DataFrame | Sequence[Any], group: Group) -> pd.Series:
    """The group of every item, as for :class:`GroupSplitter`; an error for an item without one."""
    groups = groups_of(items, group)
    if missing := int(groups.isna().sum()):
        raise ValueError(
            f"{missing} of {len(groups)} items have no group ({name_of(group)}), the first is number "
            f"{int(groups.isna().to_numpy().argmax())}: whose patient they are must be known to keep patients apart"
        )
    return groups


def patient_column(items: object) -> str | None:
    """The column of a DataFrame that by its name says who the patient is, or None."""
    if not isinstance(items, pd.DataFrame):
        return None
    return next((name for name in items.columns if str(name).lower() in _PATIENT_COLUMNS), None)


def name_of(group: object) -> str:
    return getattr(group, "__name__", type(group).__name__) if callable(group) else f"column {group!r}"
