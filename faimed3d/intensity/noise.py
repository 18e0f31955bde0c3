"""Noise and ghosts: what a scanner adds to an image at random, and what motion adds to MR.

Strengths are relative to the image, to the standard deviation of each channel, so that one number serves CT in HU, MR
and volumes scaled to 0..1. NaN and infinite voxels take no part in any statistic, and NaN stays NaN; a constant image
stays as it is. A setting is one number, or one for each item of a batch (N, C, D, H, W).
"""

from __future__ import annotations

import torch
from torch import Tensor

from faimed3d.intensity.channel_statistics import channel_range, channel_std, fill_nonfinite
from faimed3d.intensity.operation import as_column, as_items, intensity_operation


@intensity_operation
def add_noise(t: Tensor, std: float | Tensor) -> Tensor:
    """Add Gaussian noise.

    Args:
        t: volume (..., D, H, W).
        std: standard deviation of the noise, in parts of that of each channel: a number, or (N).

    >>> add_noise(torch.ones(2, 3, 4), 0.1).std().item()  # a constant has none
    0.0
    """
    x, std = as_items(t, std)
    return torch.randn_like(x).mul_(channel_std(x) * as_column(std, x)).add_(x).view(t.shape)


@intensity_operation
def add_rician_noise(t: Tensor, std: float | Tensor) -> Tensor:
    """Add the noise of MR magnitude images, the length of a signal above its minimum in two noisy channels.

    Dark voxels become brighter, as they do in a scanner (Gudbjartsson and Patz, "The Rician distribution of noisy MRI
    data", MRM 34, 1995).

    Args:
        t: volume (..., D, H, W).
        std: standard deviation in each of the two, in parts of that of the image's channel: a number, or (N).

    >>> bool((add_rician_noise(torch.eye(3)[None], 0.5) >= 0).all())
    True
    """
    x, std = as_items(t, std)
    low, _ = channel_range(x)
    scale = channel_std(x) * as_column(std, x)
    real = torch.randn_like(x).mul_(scale).add_(x).sub_(low)
    return torch.hypot(real, torch.randn_like(x).mul_(scale)).add_(low).view(t.shape)


@intensity_operation
def add_ghosting(t: Tensor, axis: int | Tensor, copies: int | Tensor, strength: float | Tensor) -> Tensor:
    """Add ghosts, the copies along the phase-encoding axis that periodic motion leaves in MR.

    Every ``copies``-th line of the spectrum along an axis is weakened, but for the middle ones. As in a magnitude image
    nothing is darker than the minimum of before.

    Args:
        t: volume (..., D, H, W).
        axis: -3, -2 or -1 for D, H or W: a number, or (N).
        copies: at least 2: a whole number, or (N).
        strength: 0..1, with 1 the lines are gone: a number, or (N).

    >>> add_ghosting(torch.tensor([[[0.0, 0, 8, 0, 0, 0, 0, 0]]]), axis=-1, copies=2, strength=0.5).tolist()
    [[[0.5, 0.5, 6.5, 0.5, 0.5, 0.5, 1.5, 0.5]]]
    """
    x, axis, copies, strength = as_items(t, axis, copies, strength)
    low, _ = channel_range(x)
    plain, bad, out = fill_nonfinite(x) - low, ~x.isfinite(), torch.empty_like(x)
    plain = plain.float() if x.dtype in (torch.float16, torch.bfloat16) else plain  # torch has no such transform
    for i, (dim, step, weight) in enumerate(zip(axis.tolist(), copies.tolist(), strength.tolist(), strict=True)):
        spectrum = torch.fft.rfft(plain[i], dim=dim)
        gain = torch.ones(spectrum.shape[dim], dtype=plain.dtype, device=x.device)
        gain[::step] = 1 - weight
        gain[: max(1, len(gain) // 20)] = 1
        spectrum = spectrum * gain.view(-1, *[1] * (-1 - dim))
        out[i] = torch.fft.irfft(spectrum, n=x.shape[dim], dim=dim)
    out = out.abs_().add_(low)
    return (torch.where(bad, x, out) if bad.any() else out).view(t.shape)
