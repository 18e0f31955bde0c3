"""Scale the values of a volume: by mean and standard deviation, by ranges and percentiles, by a divisor.

Functions of a tensor of any shape, type and device. Rules for all of them:

- The geometry is kept, and a mask comes back as it is.
- The result is new, never shares memory with the input, and is float32; float64 stays float64.
- Voxels that are NaN or infinite take no part in any statistic. NaN stays NaN.
- A constant input gives a finite result; an empty one an empty result.
- What float32 cannot hold becomes infinite: values of ordinary size beside a maximum or spread near 1e-38.
- No gradient flows through them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from faimed3d import _blockwise
from faimed3d.intensity.foreground import foreground_of
from faimed3d.intensity.operation import as_floats, finite_number, intensity_operation, shift_and_divide
from faimed3d.intensity.percentiles import percentiles_of


@intensity_operation
def normalize(t: Tensor) -> Tensor:
    """Shift and scale ``t`` to mean 0 and (unbiased) standard deviation 1; a constant ``t`` gives 0 everywhere.

    Args:
        t: tensor of any shape.

    Returns:
        Tensor of the shape of ``t``, float32 (float64 stays float64).

    >>> normalize(torch.tensor([1, 2, 3]))
    tensor([-1.,  0.,  1.])
    """
    x = as_floats(t)
    return shift_and_divide(x, *_mean_and_std(_blockwise.finite(x)), t.shape)


@intensity_operation
def mean_scale(t: Tensor) -> Tensor:
    """Like :func:`normalize`, with mean and standard deviation of the voxels above the minimum, the background.

    >>> mean_scale(torch.tensor([0, 0, 0, 1, 2, 3]))
    tensor([-2., -2., -2., -1.,  0.,  1.])
    """
    x = as_floats(t)
    return shift_and_divide(x, *_mean_and_std(foreground_of(x, "minimum")), t.shape)


@intensity_operation
def median_scale(t: Tensor) -> Tensor:
    """Shift by the median and divide by the interquartile range of the voxels above the minimum.

    Median and quartiles are numpy's (linear between the two nearest voxels). Where the interquartile range is 0, ``t``
    is shifted only.

    Args:
        t: tensor of any shape.

    Returns:
        Tensor of the shape of ``t``, float32 (float64 stays float64).

    >>> median_scale(torch.tensor([0, 0, 1, 2, 3, 4, 5]))
    tensor([-1.5000, -1.5000, -1.0000, -0.5000,  0.0000,  0.5000,  1.0000])
    """
    x = as_floats(t)
    q1, median, q3 = percentiles_of(foreground_of(x, "minimum"), (25, 50, 75))
    return shift_and_divide(x, median, q3 - q1, t.shape)


@intensity_operation
def max_scale(t: Tensor) -> Tensor:
    """Shift and scale ``t`` so that its minimum is 0 and its maximum 1; a constant ``t`` gives 0 everywhere.

    >>> max_scale(torch.tensor([-1000, 0, 1000]))
    tensor([0.0000, 0.5000, 1.0000])
    """
    x = as_floats(t)
    low, high = _range(x)
    return shift_and_divide(x, low, high - low, t.shape)


@intensity_operation
def z_score(t: Tensor, foreground: float | str | None = None) -> Tensor:
    """Shift and scale ``t`` by mean and standard deviation of its foreground.

    Args:
        t: tensor of any shape.
        foreground: None for all voxels (:func:`normalize`), ``'minimum'`` for those above the smallest value
            (:func:`mean_scale`), ``'mean'`` for those above the mean, or a number for those above it.

    >>> z_score(torch.tensor([0.0, 0.0, 1.0, 2.0, 3.0]), foreground=0)
    tensor([-2., -2., -1.,  0.,  1.])
    """
    if foreground == "minimum":
        return mean_scale(t)
    x = as_floats(t)
    return shift_and_divide(x, *_mean_and_std(foreground_of(x, foreground, at_least=2)), t.shape)


@intensity_operation
def rescale(
    t: Tensor, new_min: float = 0.0, new_max: float = 1.0, percentiles: tuple[float, float] | None = None
) -> Tensor:
    """Shift and scale ``t`` so that its range becomes ``new_min`` .. ``new_max``; a constant one becomes ``new_min``.

    Args:
        t: tensor of any shape.
        new_min, new_max: the new range.
        percentiles: (low, high) in 0..100 that become the ends of the range; what lies beyond is cut. Default: minimum
            and maximum.

    >>> rescale(torch.tensor([-1000.0, 0.0, 1000.0]), -1, 1)
    tensor([-1.,  0.,  1.])
    """
    if percentiles is not None:
        x = as_floats(t)
        t = x.clamp(*percentiles_of(x, percentiles)).view(t.shape)
    return max_scale(t).mul_(new_max - new_min).add_(new_min)


@intensity_operation
def match_moments(t: Tensor, mean: float, std: float) -> Tensor:
    """Shift and scale ``t`` to this mean and (unbiased) standard deviation; a constant ``t`` becomes ``mean``.

    Args:
        t: tensor of any shape.
        mean, std: numbers, such as those of the images that a network was trained on.

    >>> match_moments(torch.tensor([1, 2, 3]), mean=10, std=2)
    tensor([ 8., 10., 12.])
    """
    mean, std = finite_number(mean, "mean"), finite_number(std, "std")
    if std < 0:
        raise ValueError(f"std must not be below 0, got {std:g}")
    return normalize(t).mul_(std).add_(mean)


@intensity_operation
def divide_by_max(t: Tensor, div: float | None = None) -> Tensor:
    """Divide ``t`` by ``div``; by default by its maximum, which becomes 1.

    Only a divisor, no shift: 0 stays 0 and a CT keeps its negative values (-1024..2048 becomes -0.5..1). Where no
    voxel is above 0 the divisor is the largest magnitude, so the order of the values is kept and they lie in -1..0;
    a ``t`` of zeros stays as it is.

    Args:
        t: tensor of any shape.
        div: a number other than 0, in the units of ``t``. Default: the maximum of ``t``.

    Returns:
        Tensor of the shape of ``t``, float32 (float64 stays float64).

    Raises:
        TypeError: ``t`` is no real tensor or ``div`` no number.
        ValueError: ``div`` is 0 or not finite.

    >>> divide_by_max(torch.tensor([0, 1, 4]))
    tensor([0.0000, 0.2500, 1.0000])
    """
    x = as_floats(t)
    if div is None:
        low, high = _range(x)
        div = high if high > 0 else -low
    else:
        div = finite_number(div, "div")
        if div == 0:
            raise ValueError("div must be a finite number other than 0, got 0")
    return shift_and_divide(x, 0.0, div, t.shape)


def _range(flat: Tensor) -> tuple[float, float]:
    """Smallest and largest finite value, (0, 0) where there is none."""
    if not flat.numel():
        return 0.0, 0.0
    low, high = _blockwise.extremes(flat)
    if math.isfinite(low) and math.isfinite(high):
        return low, high
    flat = flat[flat.isfinite()]
    return _blockwise.extremes(flat) if flat.numel() else (0.0, 0.0)


def _mean_and_std(flat: Tensor) -> tuple[float, float]:
    """Mean and unbiased standard deviation as Python floats; (0, 0) for no voxel."""
    if flat.numel() < 2:
        return (flat.item() if flat.numel() else 0.0), 0.0
    std, mean = flat.std().item(), flat.mean().item()
    if not abs(mean) <= 4 * std < math.inf:
        # far from 0 torch.std loses digits that torch.var_mean, five times slower, keeps
        std = math.sqrt(torch.var_mean(flat)[0].item())
        if std == 0:
            return flat[0].item(), 0.0
        # the mean is rounded to the type of the voxels; differences from it are small and keep their digits
        step = _blockwise.CHUNK if flat.is_cpu else _blockwise.DEVICE_CHUNK
        mean += sum((flat[part] - mean).sum().item() for part in _blockwise.slices(len(flat), step)) / len(flat)
    return mean, std
