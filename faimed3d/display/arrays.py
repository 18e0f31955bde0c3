"""What is drawn, as numpy arrays, and the range of their values."""

from __future__ import annotations

import numpy as np
import torch

from faimed3d.geometry import Geometry

__all__ = ["as_array", "holds_classes", "own_range", "several", "single", "value_range"]


def as_array(t):
    """The values of ``t`` as a plain numpy array that matplotlib can draw, without a copy where possible."""
    if isinstance(t, torch.Tensor):
        t = t.as_subclass(torch.Tensor).detach()
        if t.dtype in (torch.bfloat16, torch.float16):
            t = t.float()
        t = t.cpu().numpy()
    if not isinstance(t, np.ndarray) or t.dtype.kind not in "biuf":
        what = f"{type(t).__name__} of {t.dtype}" if isinstance(t, np.ndarray) else type(t).__name__
        raise TypeError(f"expected a torch.Tensor or numpy.ndarray of real numbers, got {what}")
    return t.astype(np.float32) if t.dtype == np.float16 else t


def _volumes(t):
    """Every (D, H, W) volume of ``t``, (D, H, W) or (C, D, H, W), as (array, geometry, is_labels)."""
    array = as_array(t)
    if array.ndim not in (3, 4) or 0 in array.shape:
        raise ValueError(f"a volume must be (D, H, W) or (C, D, H, W) with at least one voxel, got shape {array.shape}")
    geometry = getattr(t, "geometry", None)
    if not isinstance(geometry, Geometry) or geometry.shape != array.shape[-3:]:
        geometry = None
    is_labels = getattr(t, "interpolation", None) == "nearest" or array.dtype == bool
    return [(one, geometry, is_labels) for one in (array if array.ndim == 4 else array[None])]


def single(t):
    volumes = _volumes(t)
    if len(volumes) > 1:
        raise ValueError(
            f"show_image_3d draws one volume (D, H, W), got shape {tuple(t.shape)}: use show_images_3d for a batch or "
            "several channels, or pick one with t[i]"
        )
    return volumes


def several(t):
    if not isinstance(t, (list, tuple)) and as_array(t).ndim not in (4, 5):
        raise ValueError(
            f"show_images_3d draws a batch (N, D, H, W) or (N, C, D, H, W) or a list, got shape {tuple(t.shape)}: use "
            "show_image_3d for one volume"
        )
    volumes = [volume for one in t for volume in _volumes(one)]
    if not volumes:
        raise ValueError("there is no volume to show: the batch is empty")
    return volumes


def holds_classes(array):
    """Whether all values are whole numbers from 0 up."""
    if array.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            return bool((array >= 0).all() and (array == np.floor(array)).all())
    return array.dtype == bool or bool(array.min() >= 0)


def value_range(array):
    """Smallest and largest finite value; (0, 1) where there is none."""
    low, high = array.min(), array.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        array = array[np.isfinite(array)]
        low, high = (array.min(), array.max()) if array.size else (0.0, 1.0)
    return low.item() if hasattr(low, "item") else low, high.item() if hasattr(high, "item") else high


def own_range(array):
    low, high = value_range(array)
    return (array.astype(np.float32) - low) / (high - low or 1)
