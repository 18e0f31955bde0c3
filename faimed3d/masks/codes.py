"""Names of the classes of a mask, by label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Codes = Mapping[int, str] | Iterable[str]  # label -> name; or names from label 0 on


def frozen_codes(codes: Codes | None) -> tuple[tuple[int, str], ...] | None:
    """Names as a value: (label, name) in rising order; None for no names.

    Raises:
        TypeError: one text, or labels that are no whole numbers.

    >>> frozen_codes(["air", "lesion"])
    ((0, 'air'), (1, 'lesion'))
    """
    if codes is None:
        return None
    if isinstance(codes, str):
        raise TypeError(f"codes must be names, or label -> name, got the text {codes!r}")
    pairs = codes.items() if isinstance(codes, Mapping) else enumerate(codes)
    try:
        return tuple(sorted((int(label), str(name)) for label, name in pairs))
    except ValueError:
        raise TypeError(f"labels must be whole numbers, got {codes!r}") from None


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
