"""Are the classes of validation among those that training has named?"""

from __future__ import annotations

from collections import Counter
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


def _items_of(part):
    items = part.items
    return (items.iloc[number] for number in range(len(items))) if hasattr(items, "iloc") else iter(items)
