"""Random changes of intensity: noise, blur, brightness, contrast, gamma, bias field, low resolution, ghosting.

Each is a function of a tensor (N, C, D, H, W) and of one parameter per item, and a transform that draws the parameter.
Masks are left alone (``IntensityTransform3D``). Strengths are relative to the image itself, to standard deviation or
range of each channel, so that one default serves CT in HU, MR and volumes scaled to 0..1. NaN and infinite voxels take
no part in any statistic, and NaN stays NaN; a constant image stays finite.
"""

from __future__ import annotations

import math
import numbers

import torch

from faimed3d.augment.base import IntensityTransform3D, per_axis, uniform
from faimed3d.augment.channels import all_finite, channel_mean, channel_range, channel_spread, without_gaps
from faimed3d.augment.lattice import along_axes, coarse_matrix, gaussian_matrix, smooth_field

__all__ = [
    "RandomBiasField3D",
    "RandomBlur3D",
    "RandomBrightness3D",
    "RandomContrast3D",
    "RandomGamma3D",
    "RandomGhosting3D",
    "RandomLowResolution3D",
    "RandomNoise3D",
    "RandomRicianNoise3D",
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
    for i, (dim, step, weight) in enumerate(zip(axis.tolist(), copies.tolist(), strength.tolist(), strict=True)):
        spectrum = torch.fft.rfft(plain[i], dim=1 + dim)
        gain = torch.ones(spectrum.shape[1 + dim], dtype=x.dtype, device=x.device)
        gain[::step] = 1 - weight
        gain[: max(1, len(gain) // 20)] = 1
        spectrum = spectrum * gain.view(-1, *[1] * (2 - dim))
        out[i] = torch.fft.irfft(spectrum, n=x.shape[2 + dim], dim=1 + dim)
    out = out.abs_().add_(low)
    return torch.where(bad, x, out) if bad.any() else out


class RandomNoise3D(IntensityTransform3D):
    """Add Gaussian noise.

    Args:
        p: probability for each item.
        std_range: lowest and highest standard deviation of the noise, in parts of that of the image.
    """

    def __init__(self, p=0.5, std_range=(0.01, 0.1)):
        super().__init__(p)
        self.std_range = _limits("std_range", std_range, 0)

    def draw(self, places):
        """Draw the strength for each item."""
        return {"sd": uniform(*self.std_range, len(places))}

    def apply(self, x, sd):
        """Add noise."""
        return add_noise(x, sd)


class RandomRicianNoise3D(RandomNoise3D):
    """Add the noise of MR magnitude images; see :func:`add_rician_noise`.

    Args:
        p: probability for each item.
        std_range: lowest and highest standard deviation in each channel, in parts of that of the image.
    """

    def apply(self, x, sd):
        """Add noise."""
        return add_rician_noise(x, sd)


class RandomBlur3D(IntensityTransform3D):
    """Blur along all three axes, by as many mm along each: coarse axes are blurred over fewer voxels.

    Args:
        p: probability for each item.
        sigma: lowest and highest standard deviation of the Gaussian in mm, or one number for the highest (from 0).
    """

    def __init__(self, p=0.5, sigma=(0.5, 1.5)):
        super().__init__(p)
        self.sigma = _limits("sigma", (0, sigma) if isinstance(sigma, numbers.Real) else sigma, 0)

    def draw(self, places):
        """Draw the width for each item."""
        spacing = torch.tensor([place.spacing[::-1] for place in places], dtype=torch.float64)
        return {"sd": uniform(*self.sigma, len(places), 1) / spacing}

    def apply(self, x, sd):
        """Blur."""
        return blur(x, sd)


class RandomBrightness3D(IntensityTransform3D):
    """Make the image brighter or darker.

    Args:
        p: probability for each item.
        max_beta: largest change either way, in parts of the standard deviation of the image.
    """

    def __init__(self, p=0.5, max_beta=0.3):
        super().__init__(p)
        self.max_beta = _limits("max_beta", (0, max_beta), 0)[1]

    def draw(self, places):
        """Draw the change for each item."""
        return {"beta": uniform(-self.max_beta, self.max_beta, len(places))}

    def apply(self, x, beta):
        """Shift the values."""
        return adjust_brightness(x, beta)


class RandomContrast3D(IntensityTransform3D):
    """Spread the values about their mean, or draw them together.

    Args:
        p: probability for each item.
        alpha: lowest and highest factor.
        preserve_range: cut what leaves the old range of values.
    """

    def __init__(self, p=0.5, alpha=(0.7, 1.4), preserve_range=True):
        super().__init__(p)
        self.alpha, self.preserve_range = _limits("alpha", alpha, 0), preserve_range

    def draw(self, places):
        """Draw the factor for each item."""
        return {"alpha": uniform(*self.alpha, len(places))}

    def apply(self, x, alpha):
        """Scale about the mean."""
        return adjust_contrast(x, alpha, self.preserve_range)


class RandomGamma3D(IntensityTransform3D):
    """Bend the scale of values within its range: dark parts gain contrast and bright ones lose it, or vice versa.

    Args:
        p: probability for each item.
        gamma: lowest and highest exponent, drawn evenly on a logarithmic scale.
    """

    def __init__(self, p=0.5, gamma=(0.7, 1.5)):
        super().__init__(p)
        self.gamma = _limits("gamma", gamma, 1e-3)

    def draw(self, places):
        """Draw the exponent for each item."""
        low, high = map(math.log, self.gamma)
        return {"gamma": uniform(low, high, len(places)).exp()}

    def apply(self, x, gamma):
        """Raise to the power."""
        return adjust_gamma(x, gamma)


class RandomBiasField3D(IntensityTransform3D):
    """Multiply by a smooth random field, as the coils of an MR scanner do.

    Args:
        p: probability for each item.
        strength: largest logarithm of the field at a control point: 0.5 is factors of about 0.6 to 1.6.
        control_points: along each axis, at least 4: one number or (D, H, W).
    """

    def __init__(self, p=0.5, strength=0.5, control_points=4):
        super().__init__(p)
        self.strength = _limits("strength", (0, strength), 0)[1]
        self.control_points = tuple(int(n) for n in per_axis("control_points", control_points, 4))

    def draw(self, places):
        """Draw the control points for each item."""
        return {"control": uniform(-self.strength, self.strength, len(places), *self.control_points)}

    def apply(self, x, control):
        """Multiply by the field."""
        return apply_bias_field(x, control)


class RandomLowResolution3D(IntensityTransform3D):
    """Make the image as if it had been taken with longer voxels, on its old grid.

    Args:
        p: probability for each item.
        factor: lowest and highest factor of the voxel size.
        one_axis: along one random axis (thick slices) instead of all three.
    """

    def __init__(self, p=0.5, factor=(1.5, 3), one_axis=False):
        super().__init__(p)
        self.factor, self.one_axis = _limits("factor", factor, 1), one_axis

    def draw(self, places):
        """Draw the factor, and the axis, for each item."""
        factor = uniform(*self.factor, len(places), 1).expand(-1, 3)
        if self.one_axis:
            chosen = torch.nn.functional.one_hot(torch.randint(3, (len(places),)), 3).bool()
            factor = torch.where(chosen, factor, 1)
        return {"factor": factor}

    def apply(self, x, factor):
        """Bring to a coarser grid and back."""
        return lower_resolution(x, factor)


class RandomGhosting3D(IntensityTransform3D):
    """Add the ghosts of periodic motion (breathing, pulse) along a random axis, as in MR.

    Args:
        p: probability for each item.
        strength: lowest and highest weakening of the lines, 0..1.
        copies: lowest and highest number of ghosts.
        axis: axes one of which is the phase-encoding one, negative: -2 is H, -1 is W.
    """

    def __init__(self, p=0.5, strength=(0.2, 0.7), copies=(3, 8), axis=(-2, -1)):
        super().__init__(p)
        self.strength, self.copies = _limits("strength", strength, 0), _limits("copies", copies, 2)
        self.axis = (axis,) if isinstance(axis, int) else tuple(axis)

    def draw(self, places):
        """Draw axis, number and strength for each item."""
        count = len(places)
        axis = torch.tensor(self.axis)[torch.randint(len(self.axis), (count,))] + 3
        copies = torch.randint(int(self.copies[0]), int(self.copies[1]) + 1, (count,))
        return {"axis": axis, "copies": copies, "strength": uniform(*self.strength, count)}

    def apply(self, x, axis, copies, strength):
        """Weaken lines of the spectrum."""
        return ghost(x, axis, copies, strength)


def _limits(name, limits, least):
    low, high = limits
    if not least <= low <= high < math.inf:
        raise ValueError(f"{name} must be a range with {least} <= low <= high, got {limits!r}")
    return float(low), float(high)


def _column(values, x):
    return values.to(x).view(-1, 1, 1, 1, 1)


def _linear(x, matrices):
    """Apply linear maps to the finite voxels; NaN and infinite ones stay, and do not spread."""
    if all_finite(x):
        return along_axes(x, matrices)
    return torch.where(x.isfinite(), along_axes(without_gaps(x), matrices), x)
