"""Scale the values of a tensor: mean and sd, ranges, CT windows.

Functions of a tensor of any shape, type and device; the geometry is not touched. Rules for all of them:

- The result is new, never shares memory with the input, and is float32; where it says so, float64 stays float64.
- Voxels that are NaN or infinite take no part in any statistic. NaN stays NaN.
- A constant input gives a finite result; an empty one an empty result.
- No gradient flows through them.
"""

from __future__ import annotations

import math
from types import MappingProxyType

import torch

from faimed3d import _blockwise
from faimed3d.intensity.percentiles import percentiles_of

__all__ = [
    "WINDOWS",
    "apply_window",
    "divide_by_max",
    "match_moments",
    "max_scale",
    "mean_scale",
    "median_scale",
    "normalize",
    "rescale",
    "window_limits",
    "z_score",
]

WINDOWS = MappingProxyType(
    {
        "brain": (40, 80),
        "stroke": (32, 8),
        "subdural": (100, 254),
        "temporal_bone": (600, 2800),
        "soft_tissue": (40, 375),
        "lung": (-600, 1500),
        "mediastinum": (50, 350),
        "abdomen": (50, 400),
        "liver": (30, 150),
        "spine": (50, 250),
        "bone": (400, 1800),
    }
)
"""CT windows by name: (centre, width) in HU.

The numbers are those of Radiopaedia, "Windowing (CT)" (https://radiopaedia.org/articles/windowing-ct), as in
``fastai.medical.imaging.dicom_windows``, which writes them as (width, centre). Where the article gives a range
(subdural, soft tissue), the number is fastai's.
"""


def normalize(t):
    """Shift and scale ``t`` to mean 0 and (unbiased) standard deviation 1; a constant ``t`` gives 0 everywhere.

    Args:
        t: tensor of any shape.

    Returns:
        Tensor of the shape of ``t``, float32 (float64 stays float64).

    >>> normalize(torch.tensor([1, 2, 3]))
    tensor([-1.,  0.,  1.])
    """
    x = _floating(t)
    return _shift_and_divide(x, *_mean_and_sd(_blockwise.finite(x)), t.shape)


def mean_scale(t):
    """Like :func:`normalize`, with the mean and sd of the voxels above the minimum (the minimum being background).

    >>> mean_scale(torch.tensor([0, 0, 0, 1, 2, 3]))
    tensor([-2., -2., -2., -1.,  0.,  1.])
    """
    x = _floating(t)
    return _shift_and_divide(x, *_mean_and_sd(_above_minimum(x)), t.shape)


def median_scale(t):
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
    x = _floating(t)
    q1, median, q3 = _quartiles(_above_minimum(x))
    return _shift_and_divide(x, median, q3 - q1, t.shape)


def max_scale(t):
    """Shift and scale ``t`` so that its minimum is 0 and its maximum 1; a constant ``t`` gives 0 everywhere.

    >>> max_scale(torch.tensor([-1000, 0, 1000]))
    tensor([0.0000, 0.5000, 1.0000])
    """
    x = _floating(t)
    low, high = _range(x)
    return _shift_and_divide(x, low, high - low, t.shape)


def z_score(t, foreground=None):
    """Shift and scale ``t`` by mean and sd of its foreground.

    Args:
        t: tensor of any shape.
        foreground: None for all voxels (:func:`normalize`), ``'minimum'`` for those above the smallest value
            (:func:`mean_scale`), ``'mean'`` for those above the mean, or a number for those above it.

    >>> z_score(torch.tensor([0.0, 0.0, 1.0, 2.0, 3.0]), foreground=0)
    tensor([-2., -2., -1.,  0.,  1.])
    """
    if foreground is None:
        return normalize(t)
    if foreground == "minimum":
        return mean_scale(t)
    x = _floating(t)
    finite = _blockwise.finite(x)
    threshold = finite.double().mean() if foreground == "mean" and finite.numel() else foreground
    chosen = finite[finite > threshold] if finite.numel() else finite
    return _shift_and_divide(x, *_mean_and_sd(chosen if chosen.numel() > 1 else finite), t.shape)


def rescale(t, new_min=0.0, new_max=1.0, percentiles=None):
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
        x = _floating(t)
        t = x.clamp(*percentiles_of(x, percentiles)).view(t.shape)
    return max_scale(t).mul_(new_max - new_min).add_(new_min)


def match_moments(t, mean, sd):
    """Shift and scale ``t`` to this mean and (unbiased) standard deviation; a constant ``t`` becomes ``mean``.

    Args:
        t: tensor of any shape.
        mean, sd: numbers, such as those of the images that a network was trained on.

    >>> match_moments(torch.tensor([1, 2, 3]), mean=10, sd=2)
    tensor([ 8., 10., 12.])
    """
    mean, sd = _number("mean", mean), _number("sd", sd)
    if sd < 0:
        raise ValueError(f"sd must not be below 0, got {sd:g}")
    return normalize(t).mul_(sd).add_(mean)


def divide_by_max(t, div=None):
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
    x = _floating(t)
    if div is None:
        low, high = _range(x)
        div = high if high > 0 else -low
    else:
        div = _number("div", div)
        if div == 0:
            raise ValueError("div must be a finite number other than 0, got 0")
    return _shift_and_divide(x, 0.0, div, t.shape)


def window_limits(window):
    """Return (low, high), the values that become black and white, of a window.

    Args:
        window: a name from ``WINDOWS``, or (centre, width) in the units of the image (HU for CT), width above 0.

    Raises:
        TypeError: ``window`` is neither a name nor two numbers.
        ValueError: the name is unknown, a number is not finite or the width is not above 0.

    >>> window_limits("brain")
    (0.0, 80.0)
    """
    if isinstance(window, str):
        name = window.strip().lower().replace(" ", "_").replace("-", "_")
        if name not in WINDOWS:
            raise ValueError(f"window must be (centre, width) or one of {', '.join(WINDOWS)}, got {window!r}")
        window = WINDOWS[name]
    try:
        centre, width = window
    except (TypeError, ValueError) as error:
        raise TypeError(f"window must be a name or (centre, width), got {window!r}") from error
    centre, width = _number("window centre", centre), _number("window width", width)
    if width <= 0:
        raise ValueError(f"window width must be above 0, got {width:g}")
    return centre - width / 2, centre + width / 2


def apply_window(t, window):
    """Scale a window of values to 0..1, black below it and white above it.

    This is the LINEAR_EXACT function of DICOM PS3.3 C.11.2.1.3.2: ``(value - centre) / width + 0.5``, cut to 0..1. The
    default LINEAR function (C.11.2.1.2.1) differs by half a step of the stored whole numbers; on rescaled or resampled
    values that step has no meaning, and a width of 1 would be no window.

    Args:
        t: tensor of any shape, in the units of the window (HU for CT).
        window: a name from ``WINDOWS``, or (centre, width).

    Returns:
        Tensor of the shape of ``t``, float32 (float64 stays float64), in 0..1.

    Raises:
        TypeError: ``t`` is no real tensor; ``window`` is neither a name nor two numbers.
        ValueError: as for :func:`window_limits`.

    >>> apply_window(torch.tensor([-100, 0, 40, 60, 1000]), "brain")
    tensor([0.0000, 0.0000, 0.5000, 0.7500, 1.0000])
    """
    low, high = window_limits(window)
    return _shift_and_divide(_floating(t), low, high - low, t.shape).clamp_(0, 1)


def _floating(t):
    flat = _blockwise.flat(t)
    return flat if flat.is_floating_point() else flat.float()


def _number(name, value):
    try:
        value = float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be a number, got {value!r}") from error
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value}")
    return value


def _range(flat):
    """Smallest and largest finite value, (0, 0) where there is none."""
    if not flat.numel():
        return 0, 0
    low, high = _blockwise.extremes(flat)
    if math.isfinite(low) and math.isfinite(high):
        return low, high
    flat = flat[flat.isfinite()]
    return _blockwise.extremes(flat) if flat.numel() else (0, 0)


def _above_minimum(flat):
    """The finite voxels above the smallest finite one; of a constant tensor all of them."""
    above = flat[(flat > _range(flat)[0]) & (flat < math.inf)]
    return above if above.numel() else _blockwise.finite(flat)


def _mean_and_sd(flat):
    """Mean and unbiased sd as Python floats; (0, 0) for no voxel."""
    if flat.numel() < 2:
        return (flat.item() if flat.numel() else 0.0), 0.0
    sd, mean = flat.std().item(), flat.mean().item()
    if not abs(mean) <= 4 * sd < math.inf:
        # far from 0 torch.std loses digits that torch.var_mean, five times slower, keeps
        sd = math.sqrt(torch.var_mean(flat)[0].item())
        if sd == 0:
            return flat[0].item(), 0.0
        # the mean is rounded to the type of the voxels; differences from it are small and keep their digits
        step = _blockwise.CHUNK if flat.is_cpu else _blockwise.DEVICE_CHUNK
        mean += sum((flat[part] - mean).sum().item() for part in _blockwise.slices(len(flat), step)) / len(flat)
    return mean, sd


def _quartiles(flat):
    if not flat.numel():
        return 0.0, 0.0, 0.0
    ordered = _blockwise.ordered(flat)
    ranks = [(flat.numel() - 1) * q for q in (0.25, 0.5, 0.75)]
    low = ordered[[math.floor(rank) for rank in ranks]].tolist()
    high = ordered[[math.ceil(rank) for rank in ranks]].tolist()
    return [a + (b - a) * (rank % 1) for a, b, rank in zip(low, high, ranks, strict=True)]


def _shift_and_divide(x, shift, divisor, shape):
    """Return ``(x - shift) / divisor`` of a flat floating tensor as a new one of ``shape``; a divisor of 0 counts as 1.

    ``shift`` is a Python float: what of it does not fit into float32 is taken off in a second, small step.
    """
    divisor, first = (torch.tensor(value, dtype=x.dtype) for value in (divisor or 1.0, shift))
    out = torch.sub(x, first)
    rest = shift - first.item()
    if abs(rest) > 1e-8 * abs(divisor.item()):
        out.sub_(rest)
    return out.div_(divisor.to(x.device)).view(shape)  # a GPU would multiply by the rounded inverse of a CPU's number
