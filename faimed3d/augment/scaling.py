"""Transforms that scale intensities the same way every time: windows, z-scores, histograms, data-set statistics.

They act on training and validation set alike, each channel of each item on its own, and leave masks alone
(``IntensityTransform3D``). The work is done by ``faimed3d.intensity``.
"""

from __future__ import annotations

import numbers

import torch
from fastai.data.load import DataLoader

from faimed3d import intensity
from faimed3d.augment.base import IntensityTransform3D, find_volumes
from faimed3d.augment.standard_scale import StandardScale
from faimed3d.intensity import histogram
from faimed3d.intensity.percentiles import percentiles_of
from faimed3d.volume import TensorDicom3D, TensorMask3D

__all__ = [
    "Clip3D",
    "HistScaled3D",
    "MaxScale",
    "MeanScale",
    "MedianScale",
    "Normalize3D",
    "PiecewiseHistScaling",
    "RescaleIntensity3D",
    "Window3D",
    "ZScore3D",
]


class _Scaling3D(IntensityTransform3D):
    """A deterministic function of each item, for training and validation."""

    split_idx, scales = None, True

    def apply(self, x):
        """Scale every channel of every item on its own."""
        return torch.stack([self.scale(channel) for channel in x.flatten(0, 1)]).view(x.shape)


class Window3D(_Scaling3D):
    """Scale a window of values to 0..1, black below it and white above it; see ``faimed3d.intensity.apply_window``.

    Args:
        window: a name such as 'lung' (``faimed3d.intensity.WINDOWS``), or (centre, width) in the image's units.
    """

    def __init__(self, window):
        intensity.window_limits(window)
        super().__init__()
        self.window = window

    def scale(self, x):
        """Window one channel."""
        return intensity.apply_window(x, self.window)


class Clip3D(_Scaling3D):
    """Cut values below ``low`` and above ``high``; the units stay.

    Args:
        low, high: in the units of the image, or percentiles (0..100) of each item where ``percentiles``.
        percentiles: cut at percentiles of the item's finite voxels.
    """

    scales = False

    def __init__(self, low, high, percentiles=False):
        if not low < high:
            raise ValueError(f"Clip3D needs low < high, got {low!r} and {high!r}")
        if percentiles and not (low >= 0 and high <= 100):
            raise ValueError(f"percentiles must lie in 0..100, got {low!r} and {high!r}")
        super().__init__()
        self.low, self.high, self.percentiles = low, high, percentiles

    def scale(self, x):
        """Clip one item."""
        low, high = percentiles_of(x, (self.low, self.high)) if self.percentiles else (self.low, self.high)
        return x.clamp(low, high)


class RescaleIntensity3D(_Scaling3D):
    """Scale the range of each item, or the range between two of its percentiles, to ``new_min`` .. ``new_max``.

    Args:
        new_min, new_max: the new range.
        percentiles: (low, high) in 0..100 that become the ends of the range; what lies beyond is cut. Default: minimum
            and maximum.
    """

    def __init__(self, new_min=0.0, new_max=1.0, percentiles=None):
        if not new_min < new_max:
            raise ValueError(f"RescaleIntensity3D needs new_min < new_max, got {new_min!r} and {new_max!r}")
        super().__init__()
        self.new_min, self.new_max, self.percentiles = new_min, new_max, percentiles

    def scale(self, x):
        """Rescale one item."""
        return intensity.rescale(x, self.new_min, self.new_max, self.percentiles)


class MaxScale(_Scaling3D):
    """Scale each item to 0..1 by its minimum and maximum; see ``faimed3d.intensity.max_scale``."""

    def scale(self, x):
        """Scale one item."""
        return intensity.max_scale(x)


class MeanScale(_Scaling3D):
    """Shift and scale each item by mean and sd of its voxels above the minimum (the background)."""

    def scale(self, x):
        """Scale one item."""
        return intensity.mean_scale(x)


class MedianScale(_Scaling3D):
    """Shift each item by the median and divide by the interquartile range of its voxels above the minimum."""

    def scale(self, x):
        """Scale one item."""
        return intensity.median_scale(x)


class ZScore3D(_Scaling3D):
    """Shift and scale each item to mean 0 and sd 1.

    Args:
        foreground: of which voxels mean and sd are taken: None for all, ``'minimum'`` for those above the smallest
            value, ``'mean'`` for those above the mean, or a number for those above it.
    """

    def __init__(self, foreground=None):
        if not (foreground in (None, "minimum", "mean") or isinstance(foreground, numbers.Real)):
            raise ValueError(f"foreground must be None, 'minimum', 'mean' or a number, got {foreground!r}")
        super().__init__()
        self.foreground = foreground

    def scale(self, x):
        """Scale one item."""
        return intensity.z_score(x, self.foreground)


class HistScaled3D(_Scaling3D):
    """Spread the values of each item evenly over 0..1; see ``faimed3d.intensity.histogram.hist_scaled``.

    Args:
        brks: increasing values that go to ``linspace(0, 1)``, the same for all items. Default: those of each item.
    """

    def __init__(self, brks=None):
        super().__init__()
        self.brks = brks

    def scale(self, x):
        """Scale one item."""
        if self.brks is None and not x.isfinite().any():
            return x.clone()
        return histogram.hist_scaled(x, self.brks)


class PiecewiseHistScaling(_Scaling3D):
    """Bring the histogram of each item to a standard one (Nyul); see :class:`StandardScale`.

    Args:
        scale: a fitted ``StandardScale``, or the JSON file of one.
    """

    def __init__(self, scale):
        super().__init__()
        self.standard = scale if isinstance(scale, StandardScale) else StandardScale.load(scale)

    def scale(self, x):
        """Standardise one item."""
        return self.standard.apply(x)


class Normalize3D(IntensityTransform3D):
    """Subtract a mean and divide by a standard deviation, those of a data set; ``decodes`` undoes it for display.

    Args:
        mean, std: numbers, or one number for each channel, as ``Normalize3D(*intensity_stats(items).mean_std())`` gives
            them. Default: of the first training batch, when the loaders are made.
    """

    split_idx, order, scales = None, 99, True

    def __init__(self, mean=None, std=None):
        if (mean is None) != (std is None):
            raise ValueError("Normalize3D takes mean and std together, or neither")
        super().__init__()
        self.mean, self.std = (None, None) if mean is None else (_channels("mean", mean), _channels("std", std))
        if mean is not None:
            self._check()

    def setups(self, dl: DataLoader):
        """Take mean and sd of the first batch where none were given."""
        if self.mean is not None:
            return
        images = [v for v in find_volumes(dl.one_batch()) if not isinstance(v, TensorMask3D)]
        if images:
            x = images[0].as_subclass(torch.Tensor).double().cpu()
            x = x.movedim(1, 0).flatten(1) if x.ndim == 5 else x.reshape(1, -1)
            x = [row[row.isfinite()] for row in x]
            self.mean, self.std = tuple(r.mean().item() for r in x), tuple(r.std().item() or 1.0 for r in x)
            self._check()

    def apply(self, x):
        """Normalise."""
        mean, std = self._columns(x)
        return (x - mean).div_(std)

    def decodes(self, x):
        """Undo it, for display; anything but a volume passes."""
        if not isinstance(x, TensorDicom3D) or x.ndim < 3 or self.mean is None:
            return x
        plain = x.as_subclass(torch.Tensor)
        rows = plain if plain.ndim >= 4 else plain[None]
        mean, std = (column[0] for column in self._columns(rows[None] if rows.ndim == 4 else rows))
        return x.with_voxels((rows * std + mean).reshape(plain.shape))

    def decodes(self, x: TensorMask3D):  # noqa: F811 - dispatch by type
        """Return the mask as it is."""
        return x

    def _columns(self, x):
        """Mean and sd as (1, C, 1, 1, 1) tensors for ``x`` (N, C, D, H, W)."""
        if self.mean is None:
            raise ValueError("Normalize3D has no mean and std: pass them, or use it in DataLoaders, which set it up")
        if len(self.mean) not in (1, x.shape[1]):
            raise ValueError(f"Normalize3D has statistics for {len(self.mean)} channels, the images have {x.shape[1]}")
        return (torch.tensor(v, dtype=x.dtype, device=x.device).view(1, -1, 1, 1, 1) for v in (self.mean, self.std))

    def _check(self):
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean and std must be as many, got {len(self.mean)} and {len(self.std)}")
        if min(self.std) <= 0:
            raise ValueError(f"std must be above 0, got {self.std}")


def _channels(name, values):
    values = (values,) if isinstance(values, numbers.Real) else values
    try:
        return tuple(float(v) for v in values)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be a number or one number for each channel, got {values!r}") from error
