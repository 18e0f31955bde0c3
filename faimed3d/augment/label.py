"""Transforms of labels: clamp, merge classes, keep the largest component, remove small objects.

They touch ``TensorMask3D`` only, keep its type of number, and act on training and validation set alike.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping

import numpy as np
import torch
from fastai.vision.augment import DisplayedTransform
from scipy import ndimage
from torch import Tensor

from faimed3d.volume import TensorMask3D

__all__ = [
    "ClampMask3D",
    "KeepLargestComponent",
    "ReduceClasses",
    "RemoveSmallObjects",
    "keep_largest_component",
    "reduce_classes",
    "remove_small_objects",
]


class ClampMask3D(DisplayedTransform):
    """Bring labels below ``lwr`` to it and those above ``upr`` to that.

    Args:
        lwr, upr: smallest and largest label that stay.
    """

    def __init__(self, lwr=0, upr=1):
        if not lwr <= upr:
            raise ValueError(f"ClampMask3D needs lwr <= upr, got {lwr!r} and {upr!r}")
        self.lwr, self.upr = lwr, upr
        super().__init__()

    def encodes(self, x: TensorMask3D):
        """Clamp a mask."""
        return x.clamp(self.lwr, self.upr)


class ReduceClasses(DisplayedTransform):
    """Merge and renumber classes by a fixed table, the same for every patient whatever a mask holds.

    Args:
        classes: ``{old: new}``; or a sequence whose entries (a label, or several) become 1, 2, 3, ... in turn, and
            everything else 0: ``ReduceClasses([5, (6, 7)])`` makes 5 to 1, and 6 and 7 to 2.
        other: what labels that are not named become. Default: with a mapping they stay.
    """

    def __init__(self, classes, other=None):
        if not isinstance(classes, Mapping):
            groups = [(group,) if isinstance(group, numbers.Real) else tuple(group) for group in classes]
            named = [label for group in groups for label in group]
            if len(set(named)) < len(named):
                raise ValueError(f"a class cannot become two: {classes!r} names one twice")
            classes = {label: k for k, group in enumerate(groups, 1) for label in group}
            other = 0 if other is None else other
        if not classes or not all(isinstance(v, numbers.Real) for pair in classes.items() for v in pair):
            raise ValueError(f"classes must map old labels to new ones, both numbers, got {classes!r}")
        self.classes, self.other = dict(classes), other
        super().__init__()

    def encodes(self, x: TensorMask3D):
        """Renumber a mask."""
        return x.with_voxels(reduce_classes(x.as_subclass(Tensor), self.classes, self.other))


class KeepLargestComponent(DisplayedTransform):
    """Keep the largest connected part of each class; its other parts become background.

    Args:
        labels: the classes to clean. Default: all but 0.
        connectivity: 1: voxels touch by faces; 2: by edges too; 3: by corners too.
    """

    def __init__(self, labels=None, connectivity=1):
        self.labels, self.connectivity = _labels(labels), _connectivity(connectivity)
        super().__init__()

    def encodes(self, x: TensorMask3D):
        """Clean a mask."""
        clean = keep_largest_component(x.as_subclass(Tensor), self.labels, self.connectivity)
        return x.with_voxels(clean)


class RemoveSmallObjects(DisplayedTransform):
    """Make connected parts of a class smaller than a size background.

    Args:
        min_size: smallest size that stays, in voxels, or in mm3 where ``mm3`` (which needs the geometry).
        labels: the classes to clean. Default: all but 0.
        connectivity: 1: voxels touch by faces; 2: by edges too; 3: by corners too.
        mm3: ``min_size`` is a volume.
    """

    def __init__(self, min_size, labels=None, connectivity=1, mm3=False):
        if not (isinstance(min_size, numbers.Real) and min_size >= 0):
            raise ValueError(f"min_size must be a number of at least 0, got {min_size!r}")
        self.min_size, self.labels, self.connectivity, self.mm3 = (
            min_size,
            _labels(labels),
            _connectivity(connectivity),
            mm3,
        )
        super().__init__()

    def encodes(self, x: TensorMask3D):
        """Clean a mask."""
        size = self.min_size
        if self.mm3:
            size = size / x.require_geometry("RemoveSmallObjects(mm3=True)").voxel_volume
        return x.with_voxels(remove_small_objects(x.as_subclass(Tensor), size, self.labels, self.connectivity))


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
        labels, connectivity: see :class:`KeepLargestComponent`.

    >>> keep_largest_component(torch.tensor([[[1, 1, 0, 1, 2]]]))
    tensor([[[1, 1, 0, 0, 2]]])
    """

    def unwanted(sizes):
        return np.arange(len(sizes)) != sizes.argmax()

    return _without_parts(mask, labels, connectivity, unwanted)


def remove_small_objects(mask, min_size, labels=None, connectivity=1):
    """Make connected parts of fewer than ``min_size`` voxels background; see :class:`RemoveSmallObjects`.

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


def _labels(labels):
    return (labels,) if isinstance(labels, numbers.Real) else labels if labels is None else tuple(labels)


def _connectivity(connectivity):
    if connectivity not in (1, 2, 3):
        raise ValueError(f"connectivity must be 1 (faces), 2 (edges too) or 3 (corners too), got {connectivity!r}")
    return connectivity
