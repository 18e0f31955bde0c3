"""Masks, whose voxels are labels: is this a mask, how large are its classes, renumber classes, clean up components.

Functions of tensors (..., D, H, W), 0 being background. Those that change labels keep the type of number, and of a
``TensorMask3D`` the geometry. The transforms over them are in ``faimed3d.augment``.
"""

from faimed3d.masks.classes import reduce_classes, swap_labels
from faimed3d.masks.components import keep_largest_component, remove_small_objects
from faimed3d.masks.labels import are_labels, class_volumes, is_mask
from faimed3d.masks.regions import label_regions, merge_regions

__all__ = [
    "are_labels",
    "class_volumes",
    "is_mask",
    "keep_largest_component",
    "label_regions",
    "merge_regions",
    "reduce_classes",
    "remove_small_objects",
    "swap_labels",
]
