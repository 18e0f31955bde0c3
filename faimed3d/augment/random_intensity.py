"""Random changes of intensity: noise, blur, brightness, contrast, gamma, bias field, low resolution, ghosting.

Each transform draws the parameter of a function of ``faimed3d.intensity.appearance``, where the strengths are said.
Masks are left alone (``IntensityTransform3D``).
"""

from __future__ import annotations

import math
import numbers

import torch

from faimed3d.augment.base import IntensityTransform3D, per_axis, uniform
from faimed3d.intensity.appearance import (
    add_noise,
    add_rician_noise,
    adjust_brightness,
    adjust_contrast,
    adjust_gamma,
    apply_bias_field,
    blur,
    ghost,
    lower_resolution,
)

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
]


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
    """Add the noise of MR magnitude images; see ``faimed3d.intensity.appearance.add_rician_noise``.

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
