"""What is drawn, as numpy arrays, and the range of their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from faimed3d._padding import fill_padding
from faimed3d.geometry import Geometry
from faimed3d.masks.regions import merge_regions

Voxels = torch.Tensor | np.ndarray
Limits = tuple[float, float]


class PlainVolume(NamedTuple):
    """One volume without its tensor type."""

    array: np.ndarray  # (D, H, W)
    geometry: Geometry | None
    is_mask: bool
    codes: Mapping[int, str] | None = None  # names of the classes of a mask


def as_array(t: object) -> np.ndarray:
    """The values of ``t`` as a plain numpy array that matplotlib can draw, without a copy where possible."""
    if isinstance(t, torch.Tensor):
        t = fill_padding(t).as_subclass(torch.Tensor).detach()  # else one value without meaning sets the range
        if t.dtype in (torch.bfloat16, torch.float16):
            t = t.float()
        t = t.cpu().numpy()
    if not isinstance(t, np.ndarray) or t.dtype.kind not in "biuf":
        what = f"{type(t).__name__} of {t.dtype}" if isinstance(t, np.ndarray) else type(t).__name__
        raise TypeError(f"expected a torch.Tensor or numpy.ndarray of real numbers, got {what}")
    return t.astype(np.float32) if t.dtype == np.float16 else t


def geometry_of(t: Voxels) -> Geometry | None:
    """The geometry of a volume (..., D, H, W); None for an array, and for a tensor that has lost it."""
    geometry = getattr(t, "geometry", None)
    return geometry if isinstance(geometry, Geometry) and geometry.shape == tuple(t.shape[-3:]) else None


def _plain_volumes(t: Voxels) -> list[PlainVolume]:
    """Every volume of ``t``, (D, H, W) or (C, D, H, W)."""
    array = as_array(t)
    if array.ndim not in (3, 4) or 0 in array.shape:
        raise ValueError(f"a volume must be (D, H, W) or (C, D, H, W) with at least one voxel, got shape {array.shape}")
    is_mask = getattr(t, "interpolation", None) == "nearest" or array.dtype == bool
    parts = array if array.ndim == 4 else array[None]
    codes = getattr(t, "codes", None) if is_mask and len(parts) == 1 else None  # regions are volumes of their own
    return [PlainVolume(one, geometry_of(t), is_mask, codes) for one in parts]


def one_mask(mask: Voxels) -> Voxels:
    """The labels of a mask (D, H, W), or of its regions (R, D, H, W) laid over one another: the later one shows.

    Regions are several volumes of 0 and 1 at one place. A batch of masks is left as it is.
    """
    several = isinstance(mask, torch.Tensor) and mask.ndim == 4 and len(mask) > 1 and geometry_of(mask) is not None
    if several and getattr(mask, "interpolation", None) == "nearest" and ((mask == 0) | (mask == 1)).all():
        return merge_regions(mask)  # type: ignore[type-var]  # a mask
    return mask


def one_volume(t: Voxels) -> list[PlainVolume]:
    """The only volume of ``t``, (D, H, W) or (1, D, H, W), in a list."""
    volumes = _plain_volumes(t)
    if len(volumes) > 1:
        raise ValueError(
            f"show_image_3d draws one volume (D, H, W), got shape {tuple(t.shape)}: use show_images_3d for a batch or "
            "several channels, or pick one with t[i]"
        )
    return volumes


def all_volumes(t: Voxels | Sequence[Voxels]) -> list[PlainVolume]:
    """Every volume of a batch (N, D, H, W) or (N, C, D, H, W), or of a list of volumes."""
    if not isinstance(t, list | tuple) and (array := as_array(t)).ndim not in (4, 5):
        raise ValueError(
            f"show_images_3d draws a batch (N, D, H, W) or (N, C, D, H, W) or a list, got shape {array.shape}: use "
            "show_image_3d for one volume"
        )
    volumes = [volume for one in t for volume in _plain_volumes(one)]
    if not volumes:
        raise ValueError("there is no volume to show: the batch is empty")
    return volumes


def holds_classes(array: np.ndarray) -> bool:
    """Whether all values are whole numbers from 0 up."""
    if array.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            return bool((array >= 0).all() and (array == np.floor(array)).all())
    return array.dtype == bool or bool(array.min() >= 0)


def value_range(array: np.ndarray) -> Limits:
    """Smallest and largest finite value; (0, 1) where there is none."""
    low, high = array.min(), array.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        array = array[np.isfinite(array)]
        if not array.size:
            return 0.0, 1.0
        low, high = array.min(), array.max()
    return low.item(), high.item()


def scaled_to_one(array: np.ndarray) -> np.ndarray:
    """The values as float32, shifted and scaled so that the finite ones fill 0 to 1."""
    low, high = value_range(array)
    return (array.astype(np.float32) - low) / (high - low or 1)
