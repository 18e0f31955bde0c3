"""Landmarks of a histogram: percentiles of a tensor, and the piecewise linear map that moves them to given places.

Functions of a plain tensor of any shape. Voxels that are NaN or infinite take no part in any statistic; NaN stays NaN.
A scale that is learned from many images is ``faimed3d.augment.StandardScale``.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["get_landmarks", "get_percentile", "landmarks_of", "match_landmarks", "percentiles_of"]


def get_percentile(t, q):
    """The value of the voxel at percentile ``q``: one that is there, no blend of two, as numpy's ``'nearest'``.

    A name of faimed3d 0.0.6, with its numbers; :func:`percentiles_of` blends, as numpy does by default.

    Args:
        t: tensor of any shape and strides.
        q: 0 to 100.

    Returns:
        A Python number.

    Raises:
        ValueError: ``q`` is out of range, or no voxel is finite.

    >>> get_percentile(torch.arange(11.0), 14)
    1.0
    """
    if not 0 <= q <= 100:
        raise ValueError(f"q must be a percentage, 0 to 100, got {q!r}")
    flat = t.as_subclass(Tensor).detach().reshape(-1)
    flat = flat.float() if flat.dtype in (torch.bool, torch.float16, torch.bfloat16) else flat
    flat = flat[flat.isfinite()]
    if not flat.numel():
        raise ValueError("no percentile: the tensor holds no finite voxel")
    return flat.kthvalue(1 + round(0.01 * float(q) * (flat.numel() - 1)))[0].item()


def get_landmarks(t, percentiles):
    """:func:`get_percentile` for each of ``percentiles``, as a 1D float tensor."""
    return torch.tensor([float(get_percentile(t, float(q))) for q in percentiles])


def percentiles_of(x, percentiles):
    """Return percentiles (0..100) of the finite voxels of a tensor as floats; zeros where there is none."""
    finite = x[x.isfinite()].cpu().numpy()
    return tuple(np.percentile(finite, percentiles).tolist()) if finite.size else (0.0,) * len(percentiles)


def landmarks_of(x, percentiles, foreground):
    """Percentiles of the foreground of a tensor, as floats.

    Args:
        x: plain tensor of any shape.
        percentiles: 0..100.
        foreground: ``'minimum'`` for the voxels above the smallest value, ``'mean'`` for those above the mean, or
            ``'all'``.
    """
    finite = x[x.isfinite()]
    if finite.numel() and foreground != "all":
        threshold = finite.min() if foreground == "minimum" else finite.double().mean()
        above = finite[finite > threshold]
        finite = above if above.numel() else finite
    return percentiles_of(finite, percentiles)


def match_landmarks(x, places, values):
    """Map ``places`` to ``values``, piecewise linear between and straight on beyond them.

    Args:
        x: plain tensor of any shape.
        places: the landmarks of ``x``, in rising order; of equal ones the first counts.
        values: what each becomes, in rising order. Where all places are equal ``x`` becomes the middle of the values.

    Returns:
        float32 tensor (float64 stays float64).

    >>> match_landmarks(torch.tensor([0.0, 1.0, 2.0, 6.0]), (0, 2, 4), (0, 10, 100))
    tensor([  0.,   5.,  10., 190.])
    """
    x = (x if x.dtype in (torch.float32, torch.float64) else x.float()).contiguous()  # torch warns of other strides
    places, index = np.unique(np.asarray(places, dtype=float), return_index=True)
    values = np.asarray(values, dtype=float)
    middle, values = (values[0] + values[-1]) / 2, values[index]
    if len(places) < 2:
        return torch.where(x.isfinite(), middle, x)
    slopes = torch.from_numpy(np.diff(values) / np.diff(places)).to(x)
    places, values = torch.from_numpy(places).to(x), torch.from_numpy(values).to(x)
    piece = torch.bucketize(x, places[1:-1].contiguous(), right=True)
    return (x - places[piece]).mul_(slopes[piece]).add_(values[piece])
