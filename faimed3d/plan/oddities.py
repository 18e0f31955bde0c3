"""What is odd about a case beside the others of its data set: pure functions of the report's table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from faimed3d.plan.case_facts import AXES, SIZES

_FAR = 3.5  # modified z-score from which on a value is an outlier: Iglewicz and Hoaglin, 1993
_FEW = 5  # cases below which nothing can be said about outliers
_LEAST = 0.25  # of the median: what a value differs at least by to be odd, however alike the others are
_USUAL = 0.9  # share of the cases that show a class from which on its absence is odd


def outliers(values: Sequence[float] | np.ndarray, least: float = _LEAST) -> np.ndarray:
    """Which values lie far from the others: modified z-score above 3.5, and at least ``least`` of the median away.

    After Iglewicz and Hoaglin, "How to detect and handle outliers" (1993): 0.6745 * (x - median) / MAD. Where more than
    half of the values are alike, the MAD is 0, and every other value is far.

    Args:
        values: one for each case; NaN is none.
        least: share of the median.

    >>> outliers([1, 1.1, 0.9, 1, 1, 3]).tolist()
    [False, False, False, False, False, True]
    """
    x = np.asarray(values, float)
    known = np.isfinite(x)
    if known.sum() < _FEW:
        return np.zeros(len(x), bool)
    median = np.median(x[known])
    apart = np.abs(x - median)
    spread = np.median(apart[known])
    with np.errstate(invalid="ignore"):
        return known & (0.6745 * apart > _FAR * spread) & (apart > least * abs(median)) & (apart > 0)


def find_oddities(table: pd.DataFrame, digests: Sequence[str], names: dict[int, str]) -> list[list[str]]:
    """What is odd about each case, in words; nothing of a case that could not be read.

    Args:
        table: of the report.
        digests: of the voxels of each case, '' where it could not be read.
        names: of the classes, by label.
    """
    found: list[list[str]] = [[] for _ in range(len(table))]
    places = np.flatnonzero(table["error"] == "").tolist()
    table, digests = table.iloc[places], [digests[place] for place in places]

    def say(which: object, *texts: str) -> None:
        for number in np.flatnonzero(np.asarray(which, bool)):
            found[places[number]].append(texts[number] if len(texts) > 1 else texts[0])

    def column(name: str) -> np.ndarray:
        return table[name].to_numpy(float, na_value=np.nan) if name in table else np.full(len(table), np.nan)

    if "orientation" in table:
        codes = table["orientation"]
        usual = codes.mode()
        if len(usual):
            say((codes != usual[0]) & codes.notna(), *_each(codes, f"is stored as {{}}, most are {usual[0]}"))
    channels = column("channels")
    say(channels != pd.Series(channels).mode()[0], *_each(channels, "has {:.0f} channels"))
    stated = table["stated"].to_numpy(bool)
    if len({*stated}) > 1:
        say(~stated, "does not say where it lies, and others do")
    for name, words in (
        *((f"spacing_{axis}", f"spacing along {axis} is {{:.3g}} mm, the median {{:.3g}}") for axis in AXES),
        *((name, f"{name} is {{:.0f}} voxels, the median {{:.0f}}") for name in SIZES),
        ("mean", "mean intensity is {:.4g}, the median {:.4g}"),
        ("std", "standard deviation is {:.4g}, the median {:.4g}"),
    ):
        values = column(name)
        known = values[np.isfinite(values)]
        if len(known):
            least = 1.0 if name in SIZES else _LEAST  # fields of view vary
            say(outliers(values, least), *(words.format(value, np.median(known)) for value in values))
    say(column("not_finite") > 0, *_each(column("not_finite"), "holds {:.0f} voxels that are NaN or infinite"))
    say(column("minimum") == column("maximum"), "all voxels have one value: no foreground")
    say(np.isnan(column("minimum")), "holds no finite voxel: no foreground")
    if "foreground" in table:
        empty = column("foreground") == 0
        say(empty, "the mask is empty")
        for label, name in names.items():
            present = column(f"voxels_{label}") > 0
            if present.any() and present.mean() >= _USUAL:
                say(~present & ~empty, f"lacks {name}, which {present.mean():.0%} of the cases show")
    first: dict[str, int] = {}
    for number, digest in enumerate(digests):
        if digest and (other := first.setdefault(digest, number)) != number:
            found[places[number]].append(f"has the very voxels of {table['case'].iloc[other]}")
    return found


def _each(values: Iterable[object], words: str) -> list[str]:
    return [words.format(value) for value in values]
