"""Transforms that scale intensities the same way every time: windows, z-scores, histograms, data-set statistics.

They act on training and validation set alike, each channel of each item on its own, and leave masks alone
(``IntensityTransform3D``). The work is done by ``faimed3d.intensity``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from fastai.data.core import TfmdDL
from fastai.data.load import DataLoader
from torch import Tensor

from faimed3d import intensity
from faimed3d._arguments import as_tuple, is_number
from faimed3d.augment.base import IntensityTransform3D
from faimed3d.augment.input_statistics import measure_inputs
from faimed3d.augment.standard_scale import StandardScale
from faimed3d.volume import TensorDicom3D, TensorMask3D


class _Scaling3D(IntensityTransform3D):
    """A deterministic function of each item, for training and validation."""

    split_idx, scales, leaves_out_nan = None, True, True


class Window3D(_Scaling3D):
    """Scale a window of values to 0..1, black below it and white above it; see ``faimed3d.intensity.apply_window``.

    Args:
        window: a name such as 'lung' (``faimed3d.intensity.WINDOWS``), or (centre, width) in the image's units.

    >>> Window3D("brain")(TensorDicom3D([[[-100.0, 0.0, 40.0, 100.0]]])).tolist()
    [[[0.0, 0.0, 0.5, 1.0]]]
    """

    def __init__(self, window: str | tuple[float, float]) -> None:
        intensity.window_limits(window)
        super().__init__()
        self.window = window

    def apply(self, x: Tensor) -> Tensor:
        """Scale every channel of every item on its own."""
        return _each_channel(intensity.apply_window, x, self.window)


class FillNaN3D(_Scaling3D):
    """Replace NaN and infinite voxels by a value: maps of SPM and fMRIPrep are NaN outside of the brain.

    The loaders refuse images that hold any. It belongs first into ``item_tfms``, before what resamples.

    Args:
        value: in the units of the image. None: the smallest finite value of each channel.

    >>> FillNaN3D(0)(TensorDicom3D([[[torch.nan, 1.0, torch.inf]]])).tolist()
    [[[0.0, 1.0, 0.0]]]
    """

    scales = False

    def __init__(self, value: float | None = 0.0) -> None:
        if value is not None and not is_number(value):
            raise ValueError(f"FillNaN3D takes a finite number or None, got {value!r}")
        super().__init__()
        self.value = value

    def apply(self, x: Tensor) -> Tensor:
        """Fill every item."""
        wrong = ~x.isfinite()
        if not wrong.any():
            return x
        if self.value is not None:
            return torch.where(wrong, torch.tensor(self.value, dtype=x.dtype, device=x.device), x)
        lowest = torch.where(wrong, torch.inf, x).amin((2, 3, 4), keepdim=True)
        if lowest.isinf().any():
            raise ValueError("FillNaN3D(None) fills with the smallest finite value, but a channel holds none")
        return torch.where(wrong, lowest, x)


class Clip3D(_Scaling3D):
    """Cut values below ``low`` and above ``high``; the units stay.

    Args:
        low, high: in the units of the image, numbers or one number for each channel; or percentiles (0..100) of each
            item where ``percentiles``.
        percentiles: cut at percentiles of the item's finite voxels.

    >>> Clip3D(-100, 100)(TensorDicom3D([[[-1000.0, 40.0, 700.0]]])).tolist()
    [[[-100.0, 40.0, 100.0]]]
    """

    scales = False

    def __init__(self, low: float | Sequence[float], high: float | Sequence[float], percentiles: bool = False) -> None:
        lows, highs = _channels("low", low), _channels("high", high)
        if len(lows) != len(highs) or not all(one < other for one, other in zip(lows, highs, strict=True)):
            raise ValueError(f"Clip3D needs low < high, got {low!r} and {high!r}")
        if percentiles and not (len(lows) == 1 and lows[0] >= 0 and highs[0] <= 100):
            raise ValueError(f"percentiles must lie in 0..100, got {low!r} and {high!r}")
        super().__init__()
        self.low, self.high, self.percentiles = low, high, percentiles

    def apply(self, x: Tensor) -> Tensor:
        """Scale every channel of every item on its own."""
        lows, highs = _channels("low", self.low), _channels("high", self.high)
        if self.percentiles:
            limits = (lows[0], highs[0])
            return _each_channel(lambda channel: channel.clamp(*intensity.percentiles_of(channel, limits)), x)
        if len(lows) == 1:
            return x.clamp(lows[0], highs[0])
        if len(lows) != x.shape[1]:
            raise ValueError(f"Clip3D has limits for {len(lows)} channels, the images have {x.shape[1]}")
        low, high = (torch.tensor(v, dtype=x.dtype, device=x.device).view(1, -1, 1, 1, 1) for v in (lows, highs))
        return x.clamp(low, high)


class RescaleIntensity3D(_Scaling3D):
    """Scale the range of each item, or the range between two of its percentiles, to ``new_min`` .. ``new_max``.

    Args:
        new_min, new_max: the new range.
        percentiles: (low, high) in 0..100 that become the ends of the range; what lies beyond is cut. Default: minimum
            and maximum.

    >>> RescaleIntensity3D(-1, 1)(TensorDicom3D([[[0.0, 5.0, 10.0]]])).tolist()
    [[[-1.0, 0.0, 1.0]]]
    """

    def __init__(
        self, new_min: float = 0.0, new_max: float = 1.0, percentiles: tuple[float, float] | None = None
    ) -> None:
        if not new_min < new_max:
            raise ValueError(f"RescaleIntensity3D needs new_min < new_max, got {new_min!r} and {new_max!r}")
        super().__init__()
        self.new_min, self.new_max, self.percentiles = new_min, new_max, percentiles

    def apply(self, x: Tensor) -> Tensor:
        """Scale every channel of every item on its own."""
        return _each_channel(intensity.rescale, x, self.new_min, self.new_max, self.percentiles)


class MaxScale(_Scaling3D):
    """Scale each item to 0..1 by its minimum and maximum; see ``faimed3d.intensity.max_scale``.

    >>> MaxScale()(TensorDicom3D([[[-1000.0, 0.0, 1000.0]]])).tolist()
    [[[0.0, 0.5, 1.0]]]
    """

    def apply(self, x: Tensor) -> Tensor:
        """Scale every channel of every item on its own."""
        return _each_channel(intensity.max_scale, x)


class MeanScale(_Scaling3D):
    """Shift and scale each item by mean and standard deviation of its voxels above the minimum (the background).

    >>> MeanScale()(TensorDicom3D([[[0.0, 0.0, 1.0, 2.0, 3.0]]])).tolist()
    [[[-2.0, -2.0, -1.0, 0.0, 1.0]]]
    """

    def apply(self, x: Tensor) -> Tensor:
        """Scale every channel of every item on its own."""
        return _each_channel(intensity.mean_scale, x)


class MedianScale(_Scaling3D):
    """Shift each item by the median and divide by the interquartile range of its voxels above the minimum.

    >>> MedianScale()(TensorDicom3D([[[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]]])).tolist()
    [[[-1.5, -1.0, -0.5, 0.0, 0.5, 1.0]]]
    """

    def apply(self, x: Tensor) -> Tensor:
        """Scale every channel of every item on its own."""
        return _each_channel(intensity.median_scale, x)


class ZScore3D(_Scaling3D):
    """Shift and scale each item to mean 0 and standard deviation 1.

    Args:
        foreground: of which voxels they are taken: None for all, ``'minimum'`` for those above the smallest
            value, ``'mean'`` for those above the mean, or a number for those above it.

    >>> ZScore3D(foreground=0)(TensorDicom3D([[[0.0, 0.0, 1.0, 2.0, 3.0]]])).tolist()
    [[[-2.0, -2.0, -1.0, 0.0, 1.0]]]
    """

    def __init__(self, foreground: float | str | None = None) -> None:
        if not (foreground in (None, "minimum", "mean") or is_number(foreground)):
            raise ValueError(f"foreground must be None, 'minimum', 'mean' or a number, got {foreground!r}")
        super().__init__()
        self.foreground = foreground

    def apply(self, x: Tensor) -> Tensor:
        """Scale every channel of every item on its own."""
        return _each_channel(intensity.z_score, x, self.foreground)


class HistScaled3D(_Scaling3D):
    """Spread the values of each item evenly over 0..1; see ``faimed3d.intensity.hist_scaled``.

    Args:
        brks: increasing values that go to ``linspace(0, 1)``, the same for all items. Default: those of each item.

    >>> HistScaled3D([0, 2, 10])(TensorDicom3D([[[-5.0, 1.0, 6.0, 99.0]]])).tolist()
    [[[0.0, 0.25, 0.75, 1.0]]]
    """

    def __init__(self, brks: Tensor | Sequence[float] | None = None) -> None:
        super().__init__()
        self.brks = brks

    def apply(self, x: Tensor) -> Tensor:
        """Scale every channel of every item on its own."""
        return _each_channel(self._hist_scaled, x)

    def _hist_scaled(self, x: Tensor) -> Tensor:
        nothing_known = self.brks is None and not x.isfinite().any()
        return x.clone() if nothing_known else intensity.hist_scaled(x, self.brks)


class PiecewiseHistScaling(_Scaling3D):
    """Bring the histogram of each item to a standard one (Nyul); see :class:`StandardScale`.

    Args:
        scale: a fitted ``StandardScale``, or the JSON file of one.

    >>> scale = StandardScale((0, 50, 100), (0, 50, 100), foreground="all")
    >>> PiecewiseHistScaling(scale)(TensorDicom3D([[[0.0, 1.0, 4.0]]])).tolist()
    [[[0.0, 50.0, 100.0]]]
    """

    def __init__(self, scale: StandardScale | Path | str) -> None:
        super().__init__()
        self.standard = scale if isinstance(scale, StandardScale) else StandardScale.load(scale)

    def apply(self, x: Tensor) -> Tensor:
        """Scale every channel of every item on its own."""
        return _each_channel(self.standard.apply, x)


class Normalize3D(IntensityTransform3D):
    """Subtract a mean and divide by a standard deviation, those of a data set; ``decodes`` undoes it for display.

    Args:
        mean, std: numbers, or one number for each channel, as ``Normalize3D(*intensity_stats(items).mean_std())`` gives
            them. Default: of the training set as the item transforms make it, when the loaders are made; of 100 volumes
            where there are more.

    Attributes:
        measured: mean and std are those of a training set, not given.

    >>> transform = Normalize3D(mean=10, std=5)
    >>> scaled = transform(TensorDicom3D([[[0.0, 10.0, 20.0]]]))
    >>> scaled.tolist(), transform.decode(scaled).tolist()
    ([[[-2.0, 0.0, 2.0]]], [[[0.0, 10.0, 20.0]]])
    """

    split_idx, order, scales = None, 99, True

    def __init__(self, mean: float | Sequence[float] | None = None, std: float | Sequence[float] | None = None) -> None:
        if (mean is None) != (std is None):
            raise ValueError("Normalize3D takes mean and std together, or neither")
        super().__init__()
        self.measured = mean is None
        self.mean: tuple[float, ...] | None = None
        self.std: tuple[float, ...] | None = None
        if mean is not None:
            self._set(_channels("mean", mean), _channels("std", std))

    def setups(self, dl: DataLoader):
        """Take mean and std of the images of a loader where none were given: of all of them, always the same."""
        if self.mean is not None or not isinstance(dl, TfmdDL):
            return
        found = measure_inputs(dl, leave_out=[Normalize3D])
        if found is not None:
            self._set(found.mean, found.std)

    def apply(self, x: Tensor) -> Tensor:
        """Subtract and divide."""
        mean, std = self._columns(x)
        return (x - mean).div_(std)

    def decodes(self, x):
        """Undo it, for display; anything but a volume passes."""
        if not isinstance(x, TensorDicom3D) or x.ndim < 3 or self.mean is None:
            return x
        plain = x.as_subclass(Tensor)
        rows = plain if plain.ndim >= 4 else plain[None]
        mean, std = (column[0] for column in self._columns(rows[None] if rows.ndim == 4 else rows))
        return x.with_voxels((rows * std + mean).reshape(plain.shape))

    def decodes(self, x: TensorMask3D):  # noqa: F811 - dispatch by type
        """Return the mask as it is."""
        return x

    def _columns(self, x: Tensor) -> Iterator[Tensor]:
        """Mean and std as (1, C, 1, 1, 1) tensors for ``x`` (N, C, D, H, W)."""
        if self.mean is None:
            raise ValueError("Normalize3D has no mean and std: pass them, or use it in DataLoaders, which set it up")
        if len(self.mean) not in (1, x.shape[1]):
            raise ValueError(f"Normalize3D has statistics for {len(self.mean)} channels, the images have {x.shape[1]}")
        return (torch.tensor(v, dtype=x.dtype, device=x.device).view(1, -1, 1, 1, 1) for v in (self.mean, self.std))

    def _set(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        if len(mean) != len(std):
            raise ValueError(f"mean and std must be for the same channels, got {len(mean)} and {len(std)} numbers")
        if min(std) <= 0:
            raise ValueError(f"std must be above 0, got {std}")
        self.mean, self.std = mean, std


def _each_channel(function: Callable[..., Tensor], x: Tensor, *settings: Any) -> Tensor:
    """Apply a function of a volume to every channel of every item of (N, C, D, H, W)."""
    return torch.stack([function(channel, *settings) for channel in x.flatten(0, 1)]).view(x.shape)


def _channels(name: str, values: Any) -> tuple[float, ...]:
    try:
        return tuple(float(v) for v in as_tuple(values))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be a number or one number for each channel, got {values!r}") from error
