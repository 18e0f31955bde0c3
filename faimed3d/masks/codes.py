"""Names of the classes of a mask, by label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from numbers import Integral
from typing import Any

Codes = Mapping[int, str] | Iterable[str]  # label -> name; or names from label 0 on
NamedLabels = Codes | Mapping[str, int]  # or name -> label


def frozen_codes(codes: Codes | None) -> tuple[tuple[int, str], ...] | None:
    """Names as a value: (label, name) in rising order; None for no names.

    Raises:
        TypeError: one text, or labels that are no whole numbers.

    >>> frozen_codes(["air", "lesion"])
    ((0, 'air'), (1, 'lesion'))
    """
    if codes is None:
        return None
    _refuse_without_order(codes)
    pairs = codes.items() if isinstance(codes, Mapping) else enumerate(codes)
    try:
        return tuple(sorted((_whole(label), str(name)) for label, name in pairs))
    except ValueError:
        raise TypeError(f"labels must be whole numbers, got {codes!r}") from None


def names_of_labels(codes: NamedLabels | None) -> list[str] | None:
    """The names of the labels from 0 on; None for no names.

    Args:
        codes: names from label 0 on; or label -> name, or name -> label as in nnU-Net's dataset.json. Labels without a
            name are called 'background' and 'class 3'.

    Raises:
        TypeError: one text, a set, which has no order, or labels that are no whole numbers from 0 on.
        ValueError: two names for one label.

    >>> names_of_labels(["air", "lesion"]), names_of_labels({"lesion": 1, "air": 0}), names_of_labels({2: "lesion"})
    (['air', 'lesion'], ['air', 'lesion'], ['background', 'class 1', 'lesion'])
    """
    if codes is None:
        return None
    _refuse_without_order(codes)
    if not isinstance(codes, Mapping):
        return [str(name) for name in codes]
    turned = any(isinstance(label, Integral) for label in codes.values())
    try:
        pairs = [(_whole(label), str(name)) for name, label in codes.items()] if turned else frozen_codes(codes) or ()
    except (TypeError, ValueError):
        raise TypeError(
            f"codes must be names from label 0 on, label -> name, or name -> label, got {codes!r}; what is made of "
            "several labels is a region: regions="
        ) from None
    named = dict(pairs)
    if len(named) < len(codes):
        raise ValueError(f"each label has one name, got {codes!r}")
    if not named or min(named) < 0:
        raise TypeError(f"codes must name labels from 0 on, got {codes!r}; a label to leave out is of ignore_index")
    return [named.get(label, "background" if label == 0 else f"class {label}") for label in range(max(named) + 1)]


def _whole(label: Any) -> int:
    """A label that is a number, or text as the keys of JSON are."""
    if int(label) != float(label):
        raise ValueError(label)
    return int(label)


def _refuse_without_order(codes: object) -> None:
    if isinstance(codes, str):
        raise TypeError(f"codes must be names, or label -> name, got the text {codes!r}")
    if isinstance(codes, AbstractSet):
        raise TypeError(f"codes must be names in the order of their labels, got a set, which has no order: {codes!r}")


def class_name(label: int, codes: Mapping[int, str] | None = None) -> str:
    """How a class is called: by its name, or as 'class 3'.

    >>> class_name(1, {1: "lesion"}), class_name(2, {1: "lesion"})
    ('lesion', 'class 2')
    """
    return (codes or {}).get(label, f"class {label}")


def renumbered_codes(
    codes: Mapping[int, str] | None, table: Mapping[float, float], other: float | None
) -> dict[int, str] | None:
    """Names after labels were merged and renumbered; those of labels that become one are joined by ' + '.

    Args:
        codes: before.
        table: old label -> new one.
        other: what labels that are not in the table become; None: they stay.
    """
    if codes is None:
        return None
    merged: dict[int, list[str]] = {}
    for label, name in codes.items():
        new = table.get(label, label if other is None else None)
        if new is not None:  # of what becomes ``other`` only that label itself keeps its name
            merged.setdefault(int(new), []).append(name)
    if other is not None and other in codes and int(other) not in merged:
        merged[int(other)] = [codes[int(other)]]
    return {label: names[0] if label == 0 and 0 in codes else " + ".join(names) for label, names in merged.items()}


def names_behind(names: list[str], tables: Iterable[tuple[Mapping[float, float], float | None]]) -> list[str]:
    """Names of labels from 0 on once they were merged and renumbered, so that fewer are left.

    Names that do not name what is renumbered, or as many as are left, are taken for those behind it already.

    Args:
        names: of the labels from 0 on.
        tables: (old label -> new one, what others become), one after the other, as of :func:`renumbered_codes`.

    >>> names_behind(["none", "liver", "tumour"], [({1: 0, 2: 1}, None)])
    ['none', 'tumour']
    >>> names_behind(["none", "tumour"], [({1: 0, 2: 1}, None)])
    ['none', 'tumour']
    """
    named: Mapping[int, str] = dict(enumerate(names))
    for table, other in tables:
        if not set(table) <= set(named):
            return names
        named = renumbered_codes(named, table, other) or {}
    if not named or max(named) + 1 >= len(names):
        return names
    return names_of_labels(named) or names
