"""Folds of a cross-validation: each case is in validation once, and no patient on both sides."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
import torch

from faimed3d.data.columns import column_of
from faimed3d.data.splitting import Splits, groups_of, named_groups, patient_column

FOLDS = 5  # nnU-Net's number (Isensee et al., Nature Methods 18, 2021)


@dataclass(frozen=True)
class Folds:
    """Which case is in validation in which fold: a frozen value.

    Args:
        names: of the folds: 0, 1, ..., or those of a column.
        numbers: for each case the place of its fold in ``names``.

    >>> folds = Folds((0, 1), (0, 1, 1))
    >>> folds.split(0)
    ([1, 2], [0])
    """

    names: tuple[int | str, ...]
    numbers: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.names)

    def split(self, fold: int | str) -> Splits:
        """Indices of the cases of training and of validation.

        Args:
            fold: name of the fold; or its number, where names are words.

        Raises:
            ValueError: there is no such fold.
        """
        number = self.names.index(self.name(fold))
        sides: Splits = ([], [])
        for case, own in enumerate(self.numbers):
            sides[own == number].append(case)
        return sides

    def name(self, fold: Any) -> int | str:
        """The name of a fold that is given by its name, or by its number where names are words.

        Args:
            fold: name or number.

        Raises:
            ValueError: there is no such fold.
        """
        if isinstance(fold, bool) or not isinstance(fold, Integral | str):
            raise self._unknown(fold)
        if fold in self.names:
            return self.names[self.names.index(fold)]
        words = not any(isinstance(name, Integral) for name in self.names)
        if words and isinstance(fold, Integral) and 0 <= int(fold) < len(self.names):
            return self.names[int(fold)]
        raise self._unknown(fold)

    def _unknown(self, fold: Any) -> ValueError:
        return ValueError(f"there is no fold {fold!r}: there are {', '.join(map(str, self.names))}")


def make_folds(
    df: pd.DataFrame,
    n: int | None = None,
    group_col: str | int | None = None,
    fold_col: str | int | None = None,
    classes: str | int | Sequence[Any] | None = None,
    seed: int = 0,
) -> Folds:
    """Divide the cases of a table into folds, all scans of a patient into one.

    Patients are dealt out, those with the most scans first, each into the fold with the fewest cases. So the numbers of
    cases differ by the scans of one patient at most. Between folds of equal number the classes decide, the rarest
    first. The order of the rows does not matter where patients are known.

    Args:
        df: table of cases, a row for each scan.
        n: number of folds. Default: 5.
        group_col: column that says whose scan it is. Default: one that is named like a patient's (``patient``,
            ``subject``, ...); without one each case stands for itself.
        fold_col: column that says which fold each case is in; nothing is drawn then. Default: ``fold``, if it is there.
        classes: of each case, to be spread evenly: a column of classes, by its name or number, or for each case one
            class or a set of those in its mask.
        seed: number that fixes the draw.

    Raises:
        ValueError: fewer patients than folds, a case without patient or fold, or arguments that contradict each other.

    >>> df = pd.DataFrame({"patient": ["ann", "ann", "bob", "carl", "dora"]})
    >>> folds = make_folds(df, 2)
    >>> train, valid = folds.split(0)
    >>> set(df["patient"][train]) & set(df["patient"][valid])
    set()
    """
    if fold_col is not None or "fold" in df.columns:
        return _given(df, "fold" if fold_col is None else fold_col, n, group_col)
    n = FOLDS if n is None else n
    if isinstance(n, bool) or not isinstance(n, Integral) or n < 2:
        raise ValueError(f"n must be a whole number of folds, 2 or more, got {n!r}")
    group = patient_column(df) if group_col is None else group_col
    groups = pd.Series(range(len(df))) if group is None else named_groups(df, group)
    numbers, names = pd.factorize(groups, sort=True)
    if len(names) < n:
        of = "cases" if group is None else f"patients (column {group!r})"
        advice = "ask for fewer" if len(names) > 1 else "one cannot be divided; all cases are trained on by fold=None"
        raise ValueError(f"{n} folds need {n} {of} at least, and there are {len(names)}: {advice}")
    members = _members(df, classes)
    count = np.bincount(numbers, minlength=len(names))
    shown = np.zeros((len(names), members.shape[1]))
    np.add.at(shown, numbers, members)
    fold_of = _dealt(count, shown, int(n), seed)
    return Folds(tuple(range(int(n))), tuple(fold_of[numbers].tolist()))


def _dealt(count: np.ndarray, shown: np.ndarray, n: int, seed: int) -> np.ndarray:
    """The fold of each group.

    Args:
        count: cases of each group.
        shown: (groups, classes), in how many cases of a group a class is.
        n: folds.
        seed: of the draw.
    """
    drawn = torch.randperm(len(count), generator=torch.Generator().manual_seed(seed)).numpy()
    total = shown.sum(0)
    rarity = np.where(shown > 0, total, np.inf).min(1, initial=np.inf)
    rarest = np.where(shown > 0, total, np.inf).argmin(1) if len(total) else np.zeros(len(count))
    order = np.lexsort((drawn, rarest, rarity, -count))
    sizes, have = np.zeros(n, int), np.zeros((n, len(total)))
    weight = 1 / np.maximum(total, 1) ** 2
    fold_of = np.zeros(len(count), int)
    for group in order:
        fewest = np.flatnonzero(sizes == sizes.min())
        fold = fewest[(have[fewest] * shown[group] * weight).sum(1).argmin()]
        sizes[fold] += count[group]
        have[fold] += shown[group]
        fold_of[group] = fold
    return fold_of


def _members(df: pd.DataFrame, classes: Any) -> np.ndarray:
    """(cases, classes): 1 where a case shows a class."""
    if classes is None:
        return np.zeros((len(df), 0))
    entries = list(column_of(df, classes) if isinstance(classes, str | int) else classes)
    if len(entries) != len(df):
        raise ValueError(f"there are {len(df)} cases and {len(entries)} entries of classes: each case needs one")
    sets = [set(one) if isinstance(one, Iterable) and not isinstance(one, str) else {one} for one in entries]
    known = {name: place for place, name in enumerate(sorted(set().union(*sets), key=str))}
    members = np.zeros((len(df), len(known)))
    for case, own in enumerate(sets):
        members[case, [known[name] for name in own]] = 1
    return members


def _given(df: pd.DataFrame, column: str | int, n: int | None, group_col: str | int | None) -> Folds:
    """The folds that a column says."""
    stated = column_of(df, column).reset_index(drop=True)
    if missing := int(stated.isna().sum()):
        raise ValueError(
            f"{missing} of {len(stated)} cases have no fold (column {column!r}), the first is number "
            f"{int(stated.isna().to_numpy().argmax())}: fill it, or leave these rows out of the table"
        )
    cells = stated.tolist()
    # of a csv that had gaps
    cells = [int(cell) if isinstance(cell, float) and cell.is_integer() else cell for cell in cells]
    if not all(isinstance(cell, Integral) and not isinstance(cell, bool) for cell in cells):
        cells = [str(cell) for cell in cells]
    names = sorted(set(cells))
    if len(names) < 2:
        raise ValueError(f"column {column!r} names one fold alone, {names[0]}: at least 2 are needed")
    if n is not None and n != len(names):
        raise ValueError(f"column {column!r} names {len(names)} folds, but n={n}: leave n out, or the column")
    folds = Folds(tuple(names), tuple(names.index(cell) for cell in cells))
    group = patient_column(df) if group_col is None else group_col
    if group is not None:
        _warn_of_shared_patients(df, group, folds)
    return folds


def _warn_of_shared_patients(df: pd.DataFrame, group: str | int, folds: Folds) -> None:
    spread = pd.Series(folds.numbers).groupby(groups_of(df, group)).nunique()
    if several := int((spread > 1).sum()):
        warnings.warn(
            f"{several} of {len(spread)} patients (column {group!r}) are in several folds; results will be too good: "
            "give all scans of a patient one fold",
            stacklevel=4,
        )
