"""Transforms of masks: clamp labels, merge classes, keep the largest component, remove small objects.

They touch ``TensorMask3D`` only, and act on training and validation set alike; the work is done by ``faimed3d.masks``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fastai.vision.augment import DisplayedTransform

from faimed3d._arguments import as_tuple, is_number
from faimed3d._assumed import warn_if_assumed
from faimed3d._keywords import StrictKeywords
from faimed3d.masks import keep_largest_component, reduce_classes, remove_small_objects
from faimed3d.masks.classes import class_table
from faimed3d.volume import TensorMask3D


class ClampMask3D(StrictKeywords, DisplayedTransform):
    """Bring labels below ``lwr`` to it and those above ``upr`` to that.

    Args:
        lwr, upr: smallest and largest label that stay.

    >>> ClampMask3D(0, 1)(TensorMask3D([[[0, 1, 5]]])).tolist()
    [[[0, 1, 1]]]
    """

    def __init__(self, lwr: int = 0, upr: int = 1) -> None:
        if not lwr <= upr:
            raise ValueError(f"ClampMask3D needs lwr <= upr, got {lwr!r} and {upr!r}")
        self.lwr, self.upr = lwr, upr
        super().__init__()

    def encodes(self, x: TensorMask3D):
        """Clamp a mask."""
        return x.clamp(self.lwr, self.upr)


class ReduceClasses(StrictKeywords, DisplayedTransform):
    """Merge and renumber classes by a fixed table, the same for every patient whatever a mask holds.

    Args:
        classes: ``{old: new}``; or a sequence whose entries (a label, or several) become 1, 2, 3, ... in turn, and
            everything else 0: ``ReduceClasses([5, (6, 7)])`` makes 5 to 1, and 6 and 7 to 2. An entry with 0 in it
            stays background and takes no number.
        other: what labels that are not named become. Default: with a mapping they stay.

    >>> ReduceClasses([5, (6, 7)])(TensorMask3D([[[0, 5, 6, 7, 9]]])).tolist()
    [[[0, 1, 2, 2, 0]]]
    """

    def __init__(self, classes: Mapping[int, int] | Sequence[int | Sequence[int]], *, other: int | None = None) -> None:
        self.classes, self.other = class_table(classes, other)
        super().__init__()

    def encodes(self, x: TensorMask3D):
        """Renumber a mask."""
        return reduce_classes(x, self.classes, self.other)


class KeepLargestComponent(StrictKeywords, DisplayedTransform):
    """Keep the largest connected part of each class; its other parts become background.

    Args:
        labels: the classes to clean. Default: all but 0.
        connectivity: 1: voxels touch by faces; 2: by edges too; 3: by corners too.

    >>> KeepLargestComponent()(TensorMask3D([[[1, 1, 0, 1]]])).tolist()
    [[[1, 1, 0, 0]]]
    """

    def __init__(self, labels: int | Sequence[int] | None = None, connectivity: int = 1) -> None:
        self.labels, self.connectivity = None if labels is None else as_tuple(labels), _connectivity(connectivity)
        super().__init__()

    def encodes(self, x: TensorMask3D):
        """Clean a mask."""
        return keep_largest_component(x, self.labels, self.connectivity)


class RemoveSmallObjects(StrictKeywords, DisplayedTransform):
    """Make connected parts of a class smaller than a size background.

    Args:
        min_size: smallest size that stays, in voxels, or in mm3 where ``mm3`` (which needs the geometry).
        labels: the classes to clean. Default: all but 0.
        connectivity: 1: voxels touch by faces; 2: by edges too; 3: by corners too.
        mm3: ``min_size`` is a volume.

    >>> RemoveSmallObjects(2)(TensorMask3D([[[1, 1, 0, 1]]])).tolist()
    [[[1, 1, 0, 0]]]
    """

    def __init__(
        self,
        min_size: float,
        labels: int | Sequence[int] | None = None,
        connectivity: int = 1,
        mm3: bool = False,
    ) -> None:
        if not (is_number(min_size) and min_size >= 0):
            raise ValueError(f"min_size must be a number of at least 0, got {min_size!r}")
        self.min_size, self.mm3 = min_size, mm3
        self.labels, self.connectivity = None if labels is None else as_tuple(labels), _connectivity(connectivity)
        super().__init__()

    def encodes(self, x: TensorMask3D):
        """Clean a mask."""
        size = self.min_size
        if self.mm3:
            geometry = x.require_geometry("RemoveSmallObjects(mm3=True)")
            warn_if_assumed(geometry, "RemoveSmallObjects(mm3=True)", spacing_alone=True)
            size = size / geometry.voxel_volume
        return remove_small_objects(x, size, self.labels, self.connectivity)


def _connectivity(connectivity: int) -> int:
    if connectivity not in (1, 2, 3):
        raise ValueError(f"connectivity must be 1 (faces), 2 (edges too) or 3 (corners too), got {connectivity!r}")
    return connectivity
