"""Are the classes of validation among those that training has named, and is each named in one way?"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable
from typing import Any  # of what fastai's pipelines hold

from fastai.data.transforms import Categorize, MultiCategorize


def refuse_unknown_classes(dls: Any) -> None:
    """Refuse loaders whose validation holds a class that no training item has: fastai fails on it within an epoch.

    Args:
        dls: loaders of fastai, with datasets of ``TfmdLists``.

    Raises:
        ValueError: there is such a class; the message names it.
    """
    for part in getattr(getattr(dls, "valid_ds", None), "tls", ()):
        steps = list(part.tfms.fs)
        at = next((k for k, step in enumerate(steps) if isinstance(step, Categorize)), None)
        if at is None or steps[at].vocab is None:
            continue
        known = steps[at].vocab.o2i
        _warn_of_spellings(known)
        unknown: Counter[Any] = Counter()
        for item in _items_of(part):
            for step in steps[:at]:
                item = step(item)
            named = item if isinstance(steps[at], MultiCategorize) else (item,)
            unknown.update(name for name in named if name not in known)
        if unknown:
            listed = ", ".join(f"{str(name)!r} ({count})" for name, count in unknown.most_common(5))
            raise ValueError(
                f"validation holds classes that no training item has (and how many items): {listed}. Training knows "
                f"{list(map(str, known))}. Put items of each class into training (valid_col, splitter, another seed), "
                "or name all classes, y_block=CategoryBlock(vocab=[...]); for measurements, y_block=RegressionBlock"
            )


def _warn_of_spellings(names: Iterable[Any]) -> None:
    """Warn of two classes whose names differ in nothing but blanks and capitals: most likely they are one."""
    seen: dict[str, Any] = {}
    for name in names:
        other = seen.setdefault(" ".join(str(name).split()).casefold(), name)
        if other is not name:
            warnings.warn(
                f"{str(other)!r} and {str(name)!r} are two classes, and differ in blanks or capitals alone: if they "
                "are one, clean the column, as with df['label'].str.strip().str.lower()",
                stacklevel=5,
            )


def _items_of(part):
    items = part.items
    return (items.iloc[number] for number in range(len(items))) if hasattr(items, "iloc") else iter(items)
