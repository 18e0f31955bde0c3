"""What a mask is, what its voxels may be, and how large its classes are."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T", bound=Tensor)


def is_mask(t: object) -> bool:
    """Whether ``t`` is a mask by its type: its attribute ``interpolation`` is ``'nearest'``, not ``'linear'``.

    A plain tensor says nothing about itself and counts as an image, whatever it holds.

    >>> from faimed3d.volume import TensorDicom3D, TensorMask3D
    >>> [is_mask(kind(torch.zeros(2, 3, 4))) for kind in (TensorMask3D, TensorDicom3D, torch.Tensor)]
    [True, False, False]
    """
    return getattr(t, "interpolation", "linear") == "nearest"


def are_labels(values: Tensor) -> bool:
    """Whether all values are whole numbers, as labels are: no fraction, NaN or infinity.

    Args:
        values: tensor of any shape.

    >>> [are_labels(torch.tensor(values)) for values in ([0, 2], [0.0, 2.0], [0.0, 0.5], [0.0, torch.nan])]
    [True, True, False, False]
    """
    values = values.detach().as_subclass(Tensor)
    return not values.is_floating_point() or bool(((values == values.round()) & values.isfinite()).all())


def class_volumes(mask: Tensor, voxel_volume: float) -> dict[str, float]:
    """Volume of the background, of all classes together, and of each class, from whole voxel counts.

    Args:
        mask: labels of any shape.
        voxel_volume: of one voxel, in mm3; see ``Geometry.voxel_volume``.

    Returns:
        mm3: ``{'background': ..., 'total_mask_volume': ..., 'class 1': ..., ...}``; the classes are those present.

    Raises:
        ValueError: values that are no labels.

    >>> class_volumes(torch.tensor([[[0, 2, 2, 0, 0]]]), voxel_volume=1.5)
    {'background': 4.5, 'total_mask_volume': 3.0, 'class 2': 3.0}
    """
    labels, counts = torch.unique(mask.detach().as_subclass(Tensor), return_counts=True)
    if not are_labels(labels):
        raise ValueError("the mask holds values that are no whole numbers, so no labels: was it interpolated?")
    voxels = dict(zip((int(label) for label in labels.tolist()), counts.tolist(), strict=True))
    background = voxels.pop(0, 0)
    volumes = {"background": background * voxel_volume, "total_mask_volume": sum(voxels.values()) * voxel_volume}
    return volumes | {f"class {label}": count * voxel_volume for label, count in voxels.items()}


def with_labels(mask: T, labels: Tensor) -> T:
    """Return plain ``labels`` of the same shape as what ``mask`` is: with its type and its geometry."""
    return mask.with_voxels(labels) if hasattr(mask, "with_voxels") else labels  # type: ignore[return-value]
