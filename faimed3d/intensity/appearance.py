"""How a scan looks: noise, blur, brightness, contrast, gamma, bias field, low resolution, ghosts.

Functions of a plain tensor (N, C, D, H, W) and of one parameter for each item, without randomness of their own but the
noise itself. Strengths are relative to the image, to standard deviation or range of each channel, so that one number
serves CT in HU, MR and volumes scaled to 0..1. NaN and infinite voxels take no part in any statistic, and NaN stays
NaN; a constant image stays finite.
"""

from __future__ import annotations

import torch

from faimed3d.intensity.channel_statistics import all_finite, channel_mean, channel_range, channel_spread, without_gaps
from faimed3d.spatial.smoothing import along_axes, coarse_matrix, gaussian_matrix, smooth_field

__all__ = [
    "add_noise",
    "add_rician_noise",
    "adjust_brightness",
    "adjust_contrast",
    "adjust_gamma",
    "apply_bias_field",
    "blur",
    "ghost",
    "lower_resolution",
]


def add_noise(x, sd):
    """Add Gaussian noise of ``sd`` (N), in parts of the standard deviation of each channel."""
    return torch.randn_like(x).mul_(channel_spread(x) * _column(sd, x)).add_(x)


def add_rician_noise(x, sd):
    """Make the noise of MR magnitude images: of a signal above its minimum in two noisy channels, the length.

    Dark voxels become brighter, as they do in a scanner. ``sd`` (N) is in parts of the standard deviation of each
    channel.
    """
    low, _ = channel_range(x)
    scale = channel_spread(x) * _column(sd, x)
    real = torch.randn_like(x).mul_(scale).add_(x).sub_(low)
    return torch.hypot(real, torch.randn_like(x).mul_(scale)).add_(low)


def adjust_brightness(x, beta):
    """Add ``beta`` (N), in parts of the standard deviation of each channel."""
    return x + channel_spread(x) * _column(beta, x)


def adjust_contrast(x, alpha, preserve_range=True):
    """Multiply the distance from the mean by ``alpha`` (N); with ``preserve_range`` no value leaves the old range."""
    low, high = channel_range(x)
    mean, alpha = channel_mean(x), _column(alpha, x)
    out = torch.addcmul(mean * (1 - alpha), x, alpha)
    return torch.minimum(torch.maximum(out, low, out=out), high, out=out) if preserve_range else out


def adjust_gamma(x, gamma):
    """Raise the place of each value in its channel's range, 0..1, to the power ``gamma`` (N); the range stays."""
    low, high = channel_range(x)
    extent = high - low
    place = x.sub(low).div_(torch.where(extent > 0, extent, 1)).clamp_(min=0)
    # the power by way of the logarithm: four times faster than pow
    return place.log_().mul_(_column(gamma, x)).exp_().mul_(extent).add_(low)


def apply_bias_field(x, control):
    """Multiply by a smooth field, the uneven sensitivity of an MR coil; the minimum (background) stays.

    Args:
        x: (N, C, D, H, W).
        control: (N, d, h, w), logarithms of the field at control points of cubic B-splines, at least 4 per axis.
    """
    low, _ = channel_range(x)
    field = smooth_field(control[:, None].to(x), x.shape[-3:]).exp_()
    return field.mul(x - low).add_(low)


def blur(x, sd):
    """Blur with a Gaussian of ``sd`` (N, 3) voxels along (D, H, W)."""
    return _linear(x, [gaussian_matrix(n, s) if s.any() else None for n, s in zip(x.shape[-3:], sd.T, strict=True)])


def lower_resolution(x, factor):
    """Bring to voxels ``factor`` (N, 3) times as long along (D, H, W), by means, and linearly back to the old grid."""
    factors = zip(x.shape[-3:], factor.T, strict=True)
    return _linear(x, [coarse_matrix(n, f) if (f > 1).any() else None for n, f in factors])


def ghost(x, axis, copies, strength):
    """Add ghosts, the copies along the phase-encoding axis that periodic motion leaves in MR.

    Every ``copies``-th line of the spectrum along an axis, but for the middle ones, is weakened. As in a magnitude
    image nothing is darker than the minimum of before.

    Args:
        x: (N, C, D, H, W).
        axis: (N) whole numbers, 0, 1, 2 for D, H, W.
        copies: (N) whole numbers of at least 2.
        strength: (N) 0..1; with 1 the lines are gone.
    """
    low, _ = channel_range(x)
    plain, bad, out = without_gaps(x) - low, ~x.isfinite(), torch.empty_like(x)
    plain = plain.float() if x.dtype in (torch.float16, torch.bfloat16) else plain  # torch has no such transform
    for i, (dim, step, weight) in enumerate(zip(axis.tolist(), copies.tolist(), strength.tolist(), strict=True)):
        spectrum = torch.fft.rfft(plain[i], dim=1 + dim)
        gain = torch.ones(spectrum.shape[1 + dim], dtype=plain.dtype, device=x.device)
        gain[::step] = 1 - weight
        gain[: max(1, len(gain) // 20)] = 1
        spectrum = spectrum * gain.view(-1, *[1] * (2 - dim))
        out[i] = torch.fft.irfft(spectrum, n=x.shape[2 + dim], dim=1 + dim)
    out = out.abs_().add_(low)
    return torch.where(bad, x, out) if bad.any() else out


def _column(values, x):
    return values.to(x).view(-1, 1, 1, 1, 1)


def _linear(x, matrices):
    """Apply linear maps to the finite voxels; NaN and infinite ones stay, and do not spread."""
    if all_finite(x):
        return along_axes(x, matrices)
    return torch.where(x.isfinite(), along_axes(without_gaps(x), matrices), x)
