"""Merge and renumber the classes of a mask by a fixed table."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from faimed3d._arguments import is_whole
from faimed3d.masks.codes import renumbered_codes
from faimed3d.masks.labels import T, holding_type, with_labels

Classes = Mapping[float, float] | Iterable[float | Iterable[float]]


def class_table(classes: Classes, other: float | None = None) -> tuple[dict[float, float], float | None]:
    """Return what each old label becomes, and what all others become.

    Args:
        classes, other: as for :func:`reduce_classes`.

    Raises:
        ValueError: a label is named twice, or there is something else than numbers.

    >>> class_table([5, (6, 7)])
    ({5: 1, 6: 2, 7: 2}, 0)
    >>> class_table([0, 1, 3])
    ({0: 0, 1: 1, 3: 2}, 0)
    """
    if not isinstance(classes, Mapping):
        groups = [(group,) if isinstance(group, numbers.Real) else tuple(group) for group in classes]  # type: ignore[arg-type]
        named = [label for group in groups for label in group]
        if len(set(named)) < len(named):
            raise ValueError(f"a class cannot become two: {classes!r} names one twice")
        groups.sort(key=lambda group: 0 not in group)
        start = 0 if groups and 0 in groups[0] else 1
        classes = {label: k for k, group in enumerate(groups, start) for label in group}
        other = 0 if other is None else other
    if not classes or not all(isinstance(v, numbers.Real) for pair in classes.items() for v in pair):
        raise ValueError(f"classes must map old labels to new ones, both numbers, got {classes!r}")
    return dict(classes), other


def reduce_classes(mask: T, classes: Classes, other: float | None = None) -> T:
    """Merge and renumber classes by one table, whatever the mask holds.

    Args:
        mask: labels of any shape. Their type of number is kept where it holds the new labels, else widened.
        classes: ``{old: new}``; or a sequence whose entries (a label, or several) become 1, 2, 3, ... in turn, and
            everything else 0. An entry with 0 in it, the background, becomes 0 and takes no number.
        other: what labels that are not named become. Default: with a mapping they stay (None).

    Raises:
        ValueError: a label is named twice, is no number, or is a fraction in a mask of whole numbers.

    >>> reduce_classes(torch.tensor([0, 1, 2, 9]), {1: 3, 2: 3}, other=0)
    tensor([0, 3, 3, 0])
    >>> reduce_classes(torch.tensor([0, 1, 2, 9]), [9, (1, 2)])
    tensor([0, 2, 2, 1])
    """
    table, other = class_table(classes, other)
    result = with_labels(mask, _renumbered(mask.as_subclass(Tensor), table, other))
    if codes := getattr(mask, "codes", None):
        result.codes = renumbered_codes(codes, table, other)  # type: ignore[attr-defined]  # a TensorMask3D
    return result


def swap_labels(mask: T, pairs: Mapping[int, int]) -> T:
    """Exchange pairs of labels: left and right kidney of a patient who is mirrored.

    Args:
        mask: labels of any shape.
        pairs: ``{left: right}``; each label in one pair.

    Raises:
        ValueError: a label is in two pairs, or is no whole number above 0.

    >>> swap_labels(torch.tensor([0, 1, 2, 3]), {1: 2})
    tensor([0, 2, 1, 3])
    """
    result = reduce_classes(mask, both_ways(pairs))
    if hasattr(mask, "codes"):
        result.codes = mask.codes  # type: ignore[attr-defined]  # a label means what it meant: the sides have changed
    return result


def both_ways(pairs: Mapping[int, int]) -> dict[int, int]:
    """``{1: 2}`` as ``{1: 2, 2: 1}``; a ValueError where it is no table of pairs."""
    named = [*pairs.keys(), *pairs.values()] if isinstance(pairs, Mapping) else []
    if not named or not all(is_whole(label) and label > 0 for label in named) or len(set(named)) < len(named):
        raise ValueError(
            f"swap_labels takes pairs of labels {{left: right}}, whole numbers above 0, each in one pair; got {pairs!r}"
        )
    return {**pairs, **{right: left for left, right in pairs.items()}}


def _renumbered(mask: Tensor, table: Mapping[float, float], other: float | None) -> Tensor:
    dtype = holding_type(mask.dtype, [*table.values(), *([] if other is None else [other])])
    mask, computed = mask.to(_signed(mask.dtype)), _signed(dtype)
    old = torch.tensor(sorted(table), dtype=torch.float64, device=mask.device)
    new = torch.tensor([table[k] for k in sorted(table)], dtype=torch.float64, device=mask.device).to(computed)
    entry = torch.searchsorted(old, mask.double().contiguous()).clamp_(max=len(old) - 1)
    rest = mask.to(computed) if other is None else torch.full((), other, dtype=computed, device=mask.device)
    return torch.where(old[entry] == mask, new[entry], rest).to(dtype)


def _signed(dtype: torch.dtype) -> torch.dtype:
    """In which labels are computed: torch compares and (2.11) chooses no uint16, uint32, uint64, searches no bool."""
    return holding_type(dtype, [-1]) if dtype == torch.bool or dtype.itemsize > 1 else dtype
