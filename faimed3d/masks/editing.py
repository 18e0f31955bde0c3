"""Change the labels of a mask: merge and renumber classes, keep the largest part of each, remove small parts.

Functions of a plain tensor of labels (..., D, H, W); they keep its type of number. The transforms over them are in
``faimed3d.augment.labels``.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping

import numpy as np
import torch
from scipy import ndimage

__all__ = ["class_table", "keep_largest_component", "reduce_classes", "remove_small_objects"]


def class_table(classes, other=None):
    """Return ``(table, other)`` for :func:`reduce_classes`: what each old label becomes, and what the rest becomes.

    Args:
        classes: ``{old: new}``; or a sequence whose entries (a label, or several) become 1, 2, 3, ... in turn, and
            everything else 0. An entry with 0 in it, the background, becomes 0 and takes no number.
        other: what labels that are not named become. Default: with a mapping they stay (None).

    Raises:
        ValueError: a label is named twice, or there is something else than numbers.

    >>> class_table([5, (6, 7)])
    ({5: 1, 6: 2, 7: 2}, 0)
    >>> class_table([0, 1, 3])
    ({0: 0, 1: 1, 3: 2}, 0)
    """
    if not isinstance(classes, Mapping):
        groups = [(group,) if isinstance(group, numbers.Real) else tuple(group) for group in classes]
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


def reduce_classes(mask, classes, other=None):
    """Renumber labels by the table ``classes`` (old to new); others become ``other``, or stay where it is None.

    Args:
        mask: plain tensor of any shape; its type is kept.

    >>> reduce_classes(torch.tensor([0, 1, 2, 9]), {1: 3, 2: 3}, other=0)
    tensor([0, 3, 3, 0])
    """
    if mask.dtype == torch.bool:
        return reduce_classes(mask.to(torch.uint8), classes, other).bool()
    old = torch.tensor(sorted(classes), dtype=torch.float64, device=mask.device)
    new = torch.tensor([classes[k] for k in sorted(classes)], dtype=torch.float64, device=mask.device)
    if ((new.to(mask.dtype) != new) & (new == new.round())).any():
        raise ValueError(f"labels {sorted(classes.values())} do not fit a mask of {mask.dtype}")
    place = torch.searchsorted(old, mask.double()).clamp_(max=len(old) - 1)
    rest = mask if other is None else torch.full((), other, dtype=mask.dtype, device=mask.device)
    return torch.where(old[place] == mask, new.to(mask.dtype)[place], rest)


def keep_largest_component(mask, labels=None, connectivity=1):
    """Keep the largest connected part of each class; of equal ones the first in storage order.

    Args:
        mask: plain tensor (..., D, H, W); every volume along the leading axes is cleaned on its own.
        labels, connectivity: see ``faimed3d.augment.KeepLargestComponent``.

    >>> keep_largest_component(torch.tensor([[[1, 1, 0, 1, 2]]]))
    tensor([[[1, 1, 0, 0, 2]]])
    """

    def unwanted(sizes):
        return np.arange(len(sizes)) != sizes.argmax()

    return _without_parts(mask, labels, connectivity, unwanted)


def remove_small_objects(mask, min_size, labels=None, connectivity=1):
    """Make connected parts of fewer than ``min_size`` voxels background; see ``faimed3d.augment.RemoveSmallObjects``.

    >>> remove_small_objects(torch.tensor([[[1, 1, 0, 1, 2]]]), 2)
    tensor([[[1, 1, 0, 0, 0]]])
    """
    return _without_parts(mask, labels, connectivity, lambda sizes: sizes < min_size)


def _without_parts(mask, labels, connectivity, unwanted):
    """Set to 0 the connected parts for which ``unwanted(sizes in voxels) -> bools`` says so."""
    structure = ndimage.generate_binary_structure(3, connectivity)
    out = mask.cpu().clone()
    for volume in out.reshape(-1, *mask.shape[-3:]).numpy():
        for label in np.unique(volume) if labels is None else labels:
            where = volume == label
            if label == 0 or not where.any():
                continue
            box = ndimage.find_objects(where.view(np.uint8))[0]
            parts, count = ndimage.label(where[box], structure)
            small = np.append(False, unwanted(np.bincount(parts.ravel(), minlength=count + 1)[1:]))
            volume[box][small[parts]] = 0
    return out.to(mask.device)
