"""Resample a volume to another spacing or onto the grid of another volume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor

from faimed3d._arguments import is_number
from faimed3d._assumed import warn_if_assumed
from faimed3d._keywords import strict_keywords
from faimed3d._padding import fill_padding
from faimed3d.geometry import Geometry
from faimed3d.masks import is_mask
from faimed3d.spatial.arguments import FEW_OPERATIONS, fill_value, required_geometry
from faimed3d.spatial.interpolation import resample_voxels
from faimed3d.spatial.label_shares import blend_labels, check_mode, keep_lost, shares, warn_of_lost

if TYPE_CHECKING:  # tracking brings fastai, which these functions do without
    from faimed3d.tracking import TrackedTensor

T = TypeVar("T", bound="TrackedTensor")

_MOST_VOXELS = 2**36  # 256 GB of float32: more is a slip in the spacing
_SHORT = (torch.float16, torch.bfloat16)  # too coarse for shares


@strict_keywords
def resample(t: T, spacing: float | Sequence[float], value: float | None = None, labels: str = "nearest") -> T:
    """Resample to a new spacing over the same field of view.

    The new grid has ``round(size * old / new)`` voxels (at least 1) along each axis and is centred on the old one.
    Images are interpolated linearly, masks by the nearest voxel; there is no smoothing before a coarser spacing.

    Args:
        t: volume (..., D, H, W) with a geometry.
        spacing: new (x, y, z) mm, or one number for all three.
        value: fills what lies outside the old volume; see :func:`resample_like`.
        labels: how masks are resampled; see :func:`resample_like`.

    Raises:
        TypeError, ValueError: ``spacing`` is not made of positive numbers, or is too fine for any memory; the volume
            has no geometry.

    >>> from faimed3d.volume import TensorDicom3D
    >>> resample(TensorDicom3D(torch.zeros(2, 3, 4), {"spacing": (1, 1, 3)}), spacing=1)
    TensorDicom3D 6x3x4 torch.float32, spacing 1x1x1 mm (x, y, z)
    """
    geometry = required_geometry(t, "resample")
    warn_if_assumed(geometry, "resample", spacing_alone=True)
    target = geometry.replace(spacing=(spacing,) * 3 if is_number(spacing) else spacing)  # checks the numbers
    ratio = [new / old for new, old in zip(reversed(target.spacing), reversed(geometry.spacing), strict=True)]
    shape = [max(1, round(n / r)) for n, r in zip(geometry.shape, ratio, strict=True)]
    if math.prod(shape) > _MOST_VOXELS:
        raise ValueError(
            f"spacing {target.spacing_text} would make {'x'.join(map(str, shape))} voxels of {tuple(t.shape)}"
        )
    offset = [((n - 1) - (m - 1) * r) / 2 for n, m, r in zip(geometry.shape, shape, ratio, strict=True)]
    grid = geometry.regrid(shape, ratio, offset)
    assert grid is not None  # sizes of at least 1 are a grid
    return _resampled(t, geometry, grid, value, labels, "resample")


def resample_like(t: T, other: Tensor | Geometry, value: float | None = None, labels: str = "nearest") -> T:
    """Resample onto the grid of another volume, whatever its spacing, position and orientation.

    Images are interpolated linearly, masks by the nearest voxel, as SimpleITK's Resample does: up to half a voxel
    beyond the outer voxel centres the edge value holds, farther out ``value``.

    Args:
        t: volume (..., D, H, W) with a geometry.
        other: a volume with a geometry, or a ``Geometry``.
        value: fills what lies outside ``t``. Default: 0 for masks, the smallest value of an image.
        labels: how masks are resampled. ``'nearest'``: the nearest voxel; a label of which nothing would be left keeps
            its volume, in the voxels that hold most of it, with a warning.
            ``'linear'``: the share of each class in a new voxel, and the largest wins (one-hot, linear, argmax).
            ``'present'``: any class that a new voxel holds wins over background, which keeps thin vessels, thicker.

    Returns:
        Volume (..., D, H, W) of the grid's size. Masks and images of a floating type keep their type of number; other
        images become float32.

    Raises:
        ValueError: a volume has no geometry, or ``value`` is no label that the type of a mask holds; the two have no
            place in common, so that nothing would be left.

    >>> from faimed3d.volume import TensorDicom3D
    >>> t = TensorDicom3D(torch.tensor([[[0.0, 2.0, 4.0]]]), {"origin": (0, 0, 0)})
    >>> resample_like(t, Geometry((1, 1, 4), origin=(0.5, 0, 0)), value=-1).tolist()
    [[[1.0, 3.0, 4.0, -1.0]]]
    """
    target = other if isinstance(other, Geometry) else required_geometry(other, "resample_like (the other volume)")
    source = required_geometry(t, "resample_like")
    if source.stated != target.stated:  # of two arrays the one may be a part of the other
        warn_if_assumed(target if source.stated else source, "resample_like")
    if source.lies_apart(target):
        raise ValueError(
            f"this {type(t).__name__} lies apart from the grid that it is to be resampled to, so nothing of it would "
            f"be left: the one is {source!r}, the other {target!r}. Are they of two patients or examinations, or has a "
            "header lost its origin?"
        )
    return _resampled(t, source, target, value, labels, "resample_like")


def partial_volumes(mask: T, other: Tensor | Geometry) -> dict[int, Tensor]:
    """The share of each class in the voxels of a grid, 0 to 1: one-hot labels, resampled linearly.

    Args:
        mask: labels (D, H, W) with a geometry.
        other: a volume with a geometry, or a ``Geometry``.

    Returns:
        label -> plain float32 tensor of the shape of ``other``, for each label of the mask but 0.

    >>> from faimed3d.volume import TensorMask3D
    >>> mask = TensorMask3D(torch.tensor([[[0, 3, 0, 0]]]), {"spacing": (1, 1, 1)})
    >>> partial_volumes(mask, mask.geometry.regrid((1, 1, 2), (1, 1, 2), (0, 0, 0.5)))
    {3: tensor([[[0.5000, 0.0000]]])}
    """
    target = other if isinstance(other, Geometry) else required_geometry(other, "partial_volumes (the other volume)")
    matrix, offset = _index_map(required_geometry(mask, "partial_volumes"), target)
    return dict(shares(mask.as_subclass(Tensor), matrix, offset, target.shape))


def _resampled(t: T, source: Geometry, target: Geometry, value: float | None, labels: str, what: str) -> T:
    check_mode(labels)
    t = fill_padding(t)  # a voxel mixed of a measurement and of padding would be neither
    plain, mask = t.as_subclass(Tensor), is_mask(t)
    kept = plain.dtype if mask or plain.is_floating_point() else torch.float32
    if source.agrees(target):
        return t.with_voxels(plain.to(kept, copy=True), lambda geometry: target)
    plain = plain.to(torch.int64 if kept in FEW_OPERATIONS else torch.float32 if kept in _SHORT else kept)
    matrix, offset = _index_map(source, target)
    fill = 0 if value is None and _covers(source, target, matrix, offset) else fill_value(t, value)
    if mask and torch.tensor(fill, dtype=torch.float64).to(plain.dtype).item() != fill:
        raise ValueError(f"value must be a label that fits voxels of {kept}, got {fill!r}")
    volumes = plain.reshape(plain.shape[:-3].numel(), *source.shape)
    if mask and labels != "nearest":
        result = blend_labels(volumes, matrix, offset, target.shape, labels, int(fill))
    else:
        result = resample_voxels(volumes, matrix, offset, target.shape, mask, fill)
    if mask and (labels != "nearest" or keep_lost(volumes, result, matrix, offset, what)):
        warn_of_lost(plain, result, what)
    return t.with_voxels(result.to(kept).reshape(*plain.shape[:-3], *target.shape), lambda geometry: target)


def _index_map(source: Geometry, target: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """(matrix, offset): index (d, h, w) of the target, to that in the source, which is ``matrix @ index + offset``."""
    corner = source.world_to_index(target.index_to_world(np.eye(4, 3, k=-1)))
    return (corner[1:] - corner[0]).T, corner[0]


def _covers(source: Geometry, target: Geometry, matrix: np.ndarray, offset: np.ndarray) -> bool:
    """Whether no voxel of the target lies outside the source."""
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(target.shape) - 1) @ matrix.T + offset
    return bool((corners >= -0.49).all() and (corners <= np.array(source.shape) - 0.51).all())
