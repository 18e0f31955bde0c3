"""Brightness, contrast and gamma of a whole image, and the contrast around each voxel.

Strengths are relative to the image, to standard deviation or range of each channel, so that one number serves CT in HU,
MR and volumes scaled to 0..1. NaN and infinite voxels take no part in any statistic, and NaN stays NaN; a constant
image stays finite. A setting is one number, or one for each item of a batch (N, C, D, H, W).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from faimed3d._arguments import whole_per_axis
from faimed3d.intensity.channel_statistics import channel_mean, channel_range, channel_std
from faimed3d.intensity.operation import as_channels, as_column, as_items, intensity_operation


@intensity_operation
def adjust_brightness(t: Tensor, shift: float | Tensor) -> Tensor:
    """Add a constant.

    Args:
        t: volume (..., D, H, W).
        shift: in parts of the standard deviation of each channel: a number, or (N).

    >>> adjust_brightness(torch.tensor([[[0.0, 2.0]]]), 0.5)
    tensor([[[0.5000, 2.5000]]])
    """
    x, shift = as_items(t, shift)
    return (x + channel_std(x) * as_column(shift, x)).view(t.shape)


@intensity_operation
def adjust_contrast(t: Tensor, factor: float | Tensor, preserve_range: bool = True) -> Tensor:
    """Multiply the distance of each value from the mean.

    Args:
        t: volume (..., D, H, W).
        factor: a number, or (N).
        preserve_range: no value leaves the range of before.

    >>> adjust_contrast(torch.tensor([[[0.0, 2, 4, 6]]]), 0.5)
    tensor([[[1.5000, 2.5000, 3.5000, 4.5000]]])
    """
    x, factor = as_items(t, factor)
    low, high = channel_range(x)
    mean, alpha = channel_mean(x), as_column(factor, x)
    out = torch.addcmul(mean * (1 - alpha), x, alpha)
    out = torch.minimum(torch.maximum(out, low, out=out), high, out=out) if preserve_range else out
    return out.view(t.shape)


@intensity_operation
def adjust_gamma(t: Tensor, gamma: float | Tensor) -> Tensor:
    """Bring each channel to 0..1, raise it to the power ``gamma``, and bring it back to its range.

    Args:
        t: volume (..., D, H, W).
        gamma: above 0: a number, or (N).

    >>> adjust_gamma(torch.tensor([[[-10.0, 0.0, 10.0]]]), 2)
    tensor([[[-10.,  -5.,  10.]]])
    """
    x, gamma = as_items(t, gamma)
    low, high = channel_range(x)
    extent = high - low
    relative = x.sub(low).div_(torch.where(extent > 0, extent, 1)).clamp_(min=0)
    # the power by way of the logarithm: four times faster than pow
    return relative.log_().mul_(as_column(gamma, x)).exp_().mul_(extent).add_(low).view(t.shape)


@intensity_operation
def equalize_locally(t: Tensor, radius: int | Sequence[int] = 5, alpha: float = 0.3, beta: float = 0.3) -> Tensor:
    """Adaptive histogram equalisation: raise the contrast in the neighbourhood of each voxel, within the old range.

    J. A. Stark, "Adaptive Image Contrast Enhancement Using Generalizations of Histogram Equalization", IEEE TIP 9,
    2000; the filter is SimpleITK's. The time grows with the third power of the radius: 5 takes about a minute for a
    million voxels, so it is no transform for a loader.

    Args:
        t: volume (..., D, H, W).
        radius: of the neighbourhood in voxels, one number or (D, H, W).
        alpha: from 0, plain equalisation in the neighbourhood, to 1, what differs from its mean alone.
        beta: from 0, without the neighbourhood's mean, to 1, with it: alpha 1 and beta 1 leave the image as it is.

    Returns:
        Tensor of the shape and geometry of ``t``, float32 (float64 stays float64).

    Raises:
        ValueError: a voxel is NaN or infinite, or ``radius`` is no radius.

    >>> equalize_locally(torch.tensor([[[0.0, 1, 2, 10]]]), radius=(0, 0, 1), alpha=1, beta=1).round()
    tensor([[[ 0.,  1.,  2., 10.]]])
    """
    import SimpleITK as sitk  # takes a while to load, and most of the room does without

    if not t.isfinite().all():
        raise ValueError("equalize_locally needs finite values: the image holds NaN or infinite ones")
    size = whole_per_axis(radius, "radius", least=0)[::-1]
    equalized = [
        sitk.GetArrayFromImage(sitk.AdaptiveHistogramEqualization(sitk.GetImageFromArray(channel), size, alpha, beta))
        for channel in as_channels(t)
    ]
    return torch.from_numpy(np.stack(equalized)).view(t.shape).to(t.device)
