"""Connected components of a mask: keep the largest of each class, remove small ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from faimed3d.masks.labels import T, with_labels


def keep_largest_component(mask: T, labels: Iterable[float] | None = None, connectivity: int = 1) -> T:
    """Keep the largest connected component of each class; of equal ones the first in storage order.

    Args:
        mask: labels (..., D, H, W); every volume along the leading axes is cleaned on its own.
        labels: the classes to clean. Default: all but 0.
        connectivity: 1: voxels touch by faces; 2: by edges too; 3: by corners too.

    >>> keep_largest_component(torch.tensor([[[1, 1, 0, 1, 2]]]))
    tensor([[[1, 1, 0, 0, 2]]])
    """

    def unwanted(sizes: np.ndarray) -> np.ndarray:
        return np.arange(len(sizes)) != sizes.argmax()

    return _without_components(mask, labels, connectivity, unwanted)


def remove_small_objects(mask: T, min_size: float, labels: Iterable[float] | None = None, connectivity: int = 1) -> T:
    """Make connected components of fewer than ``min_size`` voxels background.

    Args:
        mask, labels, connectivity: as for :func:`keep_largest_component`.
        min_size: smallest size that stays, in voxels.

    >>> remove_small_objects(torch.tensor([[[1, 1, 0, 1, 2]]]), 2)
    tensor([[[1, 1, 0, 0, 0]]])
    """
    return _without_components(mask, labels, connectivity, lambda sizes: sizes < min_size)


def _without_components(
    mask: T, labels: Iterable[float] | None, connectivity: int, unwanted: Callable[[np.ndarray], np.ndarray]
) -> T:
    """Set to 0 the components for which ``unwanted(sizes in voxels) -> bools`` says so."""
    structure = ndimage.generate_binary_structure(3, connectivity)
    labels = None if labels is None else tuple(labels)
    plain = mask.as_subclass(Tensor)
    cleaned = plain.cpu().clone(memory_format=torch.contiguous_format)  # so that volumes are views
    for volume in cleaned.reshape(-1, *plain.shape[-3:]).numpy():
        for label in np.unique(volume) if labels is None else labels:
            inside = volume == label
            if label == 0 or not inside.any():
                continue
            box = ndimage.find_objects(inside.view(np.uint8))[0]
            components, count = ndimage.label(inside[box], structure)
            removed = np.append(False, unwanted(np.bincount(components.ravel(), minlength=count + 1)[1:]))
            volume[box][removed[components]] = 0
    return with_labels(mask, cleaned.to(plain.device))
