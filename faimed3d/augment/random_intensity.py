"""Random changes of intensity: noise, blur, brightness, contrast, gamma, bias field, low resolution, ghosting.

Each transform draws the setting of a function of ``faimed3d.intensity``, where the strengths are said. Masks are left
alone (``IntensityTransform3D``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from faimed3d import intensity
from faimed3d._arguments import whole_per_axis
from faimed3d.augment.base import IntensityTransform3D, axes_of, uniform
from faimed3d.geometry import Geometry


class RandomNoise3D(IntensityTransform3D):
    """Add Gaussian noise.

    Args:
        p: probability for each item.
        std_range: lowest and highest standard deviation of the noise, in parts of that of the image.

    >>> from faimed3d.basics import TensorDicom3D
    >>> image = TensorDicom3D(torch.arange(24.0).view(2, 3, 4))
    >>> noise = RandomNoise3D(p=1)(image, split_idx=0) - image
    >>> bool(0 < noise.std() < 0.2 * image.std())
    True
    """

    def __init__(self, p: float = 0.5, std_range: tuple[float, float] = (0.01, 0.1)) -> None:
        super().__init__(p)
        self.std_range = _limits("std_range", std_range, 0)

    def draw(self, geometries: Sequence[Geometry]) -> dict[str, Any]:
        """Draw the strength for each item."""
        return {"std": uniform(*self.std_range, len(geometries))}

    def apply(self, x: Tensor, std: Tensor) -> Tensor:
        """Add noise."""
        return intensity.add_noise(x, std)


class RandomRicianNoise3D(RandomNoise3D):
    """Add the noise of MR magnitude images; see ``faimed3d.intensity.add_rician_noise``.

    Args:
        p: probability for each item.
        std_range: lowest and highest standard deviation in each channel, in parts of that of the image.

    >>> from faimed3d.basics import TensorDicom3D
    >>> image = TensorDicom3D(torch.arange(24.0).view(2, 3, 4))
    >>> bool((RandomRicianNoise3D(p=1)(image, split_idx=0) >= 0).all())
    True
    """

    def apply(self, x: Tensor, std: Tensor) -> Tensor:
        """Add noise."""
        return intensity.add_rician_noise(x, std)


class RandomBlur3D(IntensityTransform3D):
    """Blur along all three axes, by as many mm along each: coarse axes are blurred over fewer voxels.

    Args:
        p: probability for each item.
        sigma: lowest and highest standard deviation of the Gaussian in mm, or one number for the highest (from 0).

    >>> from faimed3d.basics import TensorDicom3D
    >>> image = TensorDicom3D(torch.eye(5).expand(5, 5, 5))
    >>> bool(RandomBlur3D(p=1)(image, split_idx=0).max() < 1)
    True
    """

    def __init__(self, p: float = 0.5, *, sigma: float | tuple[float, float] = (0.5, 1.5)) -> None:
        super().__init__(p)
        self.sigma = _limits("sigma", sigma if isinstance(sigma, Sequence) else (0, sigma), 0)

    def draw(self, geometries: Sequence[Geometry]) -> dict[str, Any]:
        """Draw the width for each item."""
        spacing = torch.tensor([geometry.spacing[::-1] for geometry in geometries], dtype=torch.float64)
        return {"std": uniform(*self.sigma, len(geometries), 1) / spacing}

    def apply(self, x: Tensor, std: Tensor) -> Tensor:
        """Blur."""
        return intensity.blur(x, std)


class RandomBrightness3D(IntensityTransform3D):
    """Make the image brighter or darker.

    Args:
        p: probability for each item.
        max_beta: largest change either way, in parts of the standard deviation of the image.

    >>> from faimed3d.basics import TensorDicom3D
    >>> image = TensorDicom3D(torch.arange(24.0).view(2, 3, 4))
    >>> change = RandomBrightness3D(p=1)(image, split_idx=0) - image
    >>> bool(change.max() - change.min() < 1e-5)
    True
    """

    def __init__(self, p: float = 0.5, *, max_beta: float = 0.3) -> None:
        super().__init__(p)
        self.max_beta = _limits("max_beta", (0, max_beta), 0)[1]

    def draw(self, geometries: Sequence[Geometry]) -> dict[str, Any]:
        """Draw the change for each item."""
        return {"shift": uniform(-self.max_beta, self.max_beta, len(geometries))}

    def apply(self, x: Tensor, shift: Tensor) -> Tensor:
        """Shift the values."""
        return intensity.adjust_brightness(x, shift)


class RandomContrast3D(IntensityTransform3D):
    """Spread the values about their mean, or draw them together.

    Args:
        p: probability for each item.
        alpha: lowest and highest factor.
        preserve_range: cut what leaves the old range of values.

    >>> from faimed3d.basics import TensorDicom3D
    >>> image = TensorDicom3D(torch.arange(24.0).view(2, 3, 4))
    >>> RandomContrast3D(p=1, alpha=(2, 2))(image, split_idx=0).flatten()[:8].tolist()
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 2.5]
    """

    def __init__(self, p: float = 0.5, alpha: tuple[float, float] = (0.7, 1.4), *, preserve_range: bool = True) -> None:
        super().__init__(p)
        self.alpha, self.preserve_range = _limits("alpha", alpha, 0), preserve_range

    def draw(self, geometries: Sequence[Geometry]) -> dict[str, Any]:
        """Draw the factor for each item."""
        return {"factor": uniform(*self.alpha, len(geometries))}

    def apply(self, x: Tensor, factor: Tensor) -> Tensor:
        """Scale about the mean."""
        return intensity.adjust_contrast(x, factor, self.preserve_range)


class RandomGamma3D(IntensityTransform3D):
    """Bend the scale of values within its range: dark parts gain contrast and bright ones lose it, or vice versa.

    Args:
        p: probability for each item.
        gamma: lowest and highest exponent, drawn evenly on a logarithmic scale.

    >>> from faimed3d.basics import TensorDicom3D
    >>> image = TensorDicom3D(torch.tensor([[[-1.0, 0.0, 1.0]]]))
    >>> RandomGamma3D(p=1, gamma=(2, 2))(image, split_idx=0).tolist()
    [[[-1.0, -0.5, 1.0]]]
    """

    def __init__(self, p: float = 0.5, gamma: tuple[float, float] = (0.7, 1.5)) -> None:
        super().__init__(p)
        self.gamma = _limits("gamma", gamma, 1e-3)

    def draw(self, geometries: Sequence[Geometry]) -> dict[str, Any]:
        """Draw the exponent for each item."""
        low, high = map(math.log, self.gamma)
        return {"gamma": uniform(low, high, len(geometries)).exp()}

    def apply(self, x: Tensor, gamma: Tensor) -> Tensor:
        """Raise to the power."""
        return intensity.adjust_gamma(x, gamma)


class RandomBiasField3D(IntensityTransform3D):
    """Multiply by a smooth random field, as the coils of an MR scanner do.

    Args:
        p: probability for each item.
        strength: largest logarithm of the field at a control point: 0.5 is factors of about 0.6 to 1.6.
        control_points: along each axis, at least 4: one number or (D, H, W).

    >>> from faimed3d.basics import TensorDicom3D
    >>> image = TensorDicom3D(torch.arange(24.0).view(2, 3, 4))
    >>> field = RandomBiasField3D(p=1, strength=0.5)(image, split_idx=0).flatten()[1:] / image.flatten()[1:]
    >>> bool(0.6 < field.min() < field.max() < 1.7)
    True
    """

    def __init__(self, p: float = 0.5, strength: float = 0.5, control_points: int | Sequence[int] = 4) -> None:
        super().__init__(p)
        self.strength = _limits("strength", (0, strength), 0)[1]
        self.control_points = whole_per_axis(control_points, "control_points", least=4)

    def draw(self, geometries: Sequence[Geometry]) -> dict[str, Any]:
        """Draw the control points for each item."""
        return {"log_field": uniform(-self.strength, self.strength, len(geometries), *self.control_points)}

    def apply(self, x: Tensor, log_field: Tensor) -> Tensor:
        """Multiply by the field."""
        return intensity.apply_bias_field(x, log_field)


class RandomLowResolution3D(IntensityTransform3D):
    """Make the image as if it had been taken with longer voxels, on its old grid.

    Args:
        p: probability for each item.
        factor: lowest and highest factor of the voxel size.
        one_axis: along one random axis (thick slices) instead of all three.

    >>> from faimed3d.basics import TensorDicom3D
    >>> image = TensorDicom3D(torch.eye(4).expand(4, 4, 4))
    >>> coarse = RandomLowResolution3D(p=1, factor=(2, 2))(image, split_idx=0)
    >>> coarse.shape == image.shape, bool(coarse.max() < 1)
    (True, True)
    """

    def __init__(self, p: float = 0.5, factor: tuple[float, float] = (1.5, 3), one_axis: bool = False) -> None:
        super().__init__(p)
        self.factor, self.one_axis = _limits("factor", factor, 1), one_axis

    def draw(self, geometries: Sequence[Geometry]) -> dict[str, Any]:
        """Draw the factor, and the axis, for each item."""
        factor = uniform(*self.factor, len(geometries), 1).expand(-1, 3)
        if self.one_axis:
            chosen = torch.nn.functional.one_hot(torch.randint(3, (len(geometries),)), 3).bool()
            factor = torch.where(chosen, factor, 1)
        return {"factor": factor}

    def apply(self, x: Tensor, factor: Tensor) -> Tensor:
        """Bring to a coarser grid and back."""
        return intensity.lower_resolution(x, factor)


class RandomGhosting3D(IntensityTransform3D):
    """Add the ghosts of periodic motion (breathing, pulse) along a random axis, as in MR.

    Args:
        p: probability for each item.
        strength: lowest and highest weakening of the lines, 0..1.
        copies: lowest and highest number of ghosts.
        axis: axes one of which is the phase-encoding one, negative: -2 is H, -1 is W.

    >>> from faimed3d.basics import TensorDicom3D
    >>> image = TensorDicom3D(torch.tensor([[[0.0, 0, 8, 0, 0, 0, 0, 0]]]))
    >>> ghosting = RandomGhosting3D(p=1, strength=(0.5, 0.5), copies=(2, 2), axis=-1)
    >>> ghosting(image, split_idx=0).tolist()
    [[[0.5, 0.5, 6.5, 0.5, 0.5, 0.5, 1.5, 0.5]]]
    """

    def __init__(
        self,
        p: float = 0.5,
        strength: tuple[float, float] = (0.2, 0.7),
        copies: tuple[int, int] = (3, 8),
        axis: int | Sequence[int] = (-2, -1),
    ) -> None:
        super().__init__(p)
        self.strength, self.copies = _limits("strength", strength, 0), _limits("copies", copies, 2)
        self.axis = axes_of(axis)

    def draw(self, geometries: Sequence[Geometry]) -> dict[str, Any]:
        """Draw axis, number and strength for each item."""
        count = len(geometries)
        axis = torch.tensor(self.axis)[torch.randint(len(self.axis), (count,))]
        copies = torch.randint(int(self.copies[0]), int(self.copies[1]) + 1, (count,))
        return {"axis": axis, "copies": copies, "strength": uniform(*self.strength, count)}

    def apply(self, x: Tensor, axis: Tensor, copies: Tensor, strength: Tensor) -> Tensor:
        """Weaken lines of the spectrum."""
        return intensity.add_ghosting(x, axis, copies, strength)


def _limits(name: str, limits: tuple[float, float], least: float) -> tuple[float, float]:
    low, high = limits
    if not least <= low <= high < math.inf:
        raise ValueError(f"{name} must be a range with {least} <= low <= high, got {limits!r}")
    return float(low), float(high)
