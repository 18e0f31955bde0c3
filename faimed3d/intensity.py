"""Scale the values of a tensor: equal-frequency histograms, mean and sd, ranges, CT windows.

Functions of a tensor of any shape, type and device; the geometry is not touched. Rules for all of them:

- The result is new, never shares memory with the input, and is float32; where it says so, float64 stays float64.
- Voxels that are NaN or infinite take no part in any statistic. NaN stays NaN.
- A constant input gives a finite result; an empty one an empty result.
- No gradient flows through them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import index
from types import MappingProxyType

import numpy as np
import torch

__all__ = [
    "WINDOWS",
    "apply_window",
    "divide_by_max",
    "freqhist_bins",
    "hist_scaled",
    "max_scale",
    "mean_scale",
    "median_scale",
    "normalize",
    "window_limits",
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

_CHUNK = 1 << 16  # voxels worked on at once on a CPU: the temporaries stay in its cache
_BLOCK = 1 << 20  # voxels that one thread takes at a time
_DEVICE_CHUNK = 1 << 24  # on a GPU: few launches, and temporaries far smaller than a volume
_MOST_VALUES = 1 << 17  # widest range of whole numbers that is counted value by value
_CELLS = 1 << 16  # cells between the first and last break, each looked up in one step


def freqhist_bins(t, n_bins=100):
    """Return the values that split the voxels of ``t`` into groups of about equal count.

    The numbers are fastai's: of all finite voxels in order, the ones at 0.1 %, at the middle of each of ``n_bins``
    groups, and at 99.9 %, each value once.

    Args:
        t: tensor of any shape with at least one finite voxel.
        n_bins: number of groups, at least 1.

    Returns:
        Increasing 1D tensor of 1 to ``n_bins + 2`` values of ``t``, of its type (bool becomes uint8, half float32).

    Raises:
        TypeError: ``t`` is no real tensor or ``n_bins`` no integer.
        ValueError: ``n_bins`` is below 1, or no voxel is finite.

    >>> freqhist_bins(torch.arange(1000.0), n_bins=4)
    tensor([  1., 125., 375., 625., 875., 999.])
    """
    flat = _flat(t)
    return _bins(flat, _whole_range(flat), n_bins)


def hist_scaled(t, brks=None):
    """Scale ``t`` to 0..1 so that its values are about equally frequent.

    Piecewise linear between ``brks``, which go to ``linspace(0, 1, len(brks))``; below the first is 0, above the last
    is 1. A constant ``t`` gives 0 everywhere.

    Args:
        t: tensor of any shape.
        brks: increasing values (tensor, array or sequence). Default: ``freqhist_bins(t)``.

    Returns:
        Tensor of the shape of ``t``, float32, in 0..1, monotone in ``t``.

    Raises:
        TypeError: ``t`` is no real tensor or ``brks`` is not made of numbers.
        ValueError: ``brks`` is empty, not finite or not strictly increasing, or no voxel is finite and none are given.

    >>> hist_scaled(torch.tensor([-5.0, 0.0, 1.0, 6.0, 99.0]), brks=[0, 2, 10])
    tensor([0.0000, 0.0000, 0.2500, 0.7500, 1.0000])
    """
    flat = _flat(t)
    out = torch.empty(t.shape, dtype=torch.float32, device=flat.device)
    if not flat.numel():
        return out
    whole = _whole_range(flat)
    brks = _bins(flat, whole, 100).cpu().numpy() if brks is None else _checked_breaks(brks)
    brks = brks.astype(np.float64)
    if whole:
        _map_whole(flat, whole, brks, out.view(-1))
    else:
        _map(flat, brks, out.view(-1))
    return out


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
    return _shift_and_divide(x, *_mean_and_sd(_finite(x)), t.shape)


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


def _flat(t):
    """Return ``t`` as a plain 1D tensor of a type that can be sorted and counted, without a copy where it can be."""
    if not isinstance(t, torch.Tensor):
        raise TypeError(f"expected a tensor, got {type(t).__name__}")
    if t.is_complex():
        raise TypeError(f"expected a tensor of real numbers, got {t.dtype}; use .abs(), .angle(), .real or .imag")
    flat = t.detach().as_subclass(torch.Tensor).reshape(-1)
    if flat.dtype == torch.bool:
        return flat.view(torch.uint8)
    if flat.is_floating_point():
        return flat if flat.dtype in (torch.float32, torch.float64) else flat.float()
    return flat if flat.dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64) else flat.long()


def _floating(t):
    flat = _flat(t)
    return flat if flat.is_floating_point() else flat.float()


def _number(name, value):
    try:
        value = float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be a number, got {value!r}") from error
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value}")
    return value


def _checked_breaks(brks):
    if isinstance(brks, torch.Tensor):
        brks = brks.detach().as_subclass(torch.Tensor).cpu().to(torch.float64).numpy()
    elif not isinstance(brks, (np.ndarray, Sequence)) or isinstance(brks, str):
        raise TypeError(f"brks must be a sequence of numbers, got {brks!r}")
    try:
        brks = np.asarray(brks, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"brks must be a sequence of numbers, got {brks!r}") from error
    if brks.ndim != 1 or not len(brks):
        raise ValueError(f"brks must be a 1D sequence of at least one value, got shape {brks.shape}")
    if not np.isfinite(brks).all():
        raise ValueError(f"brks must be finite numbers, got {brks.tolist()}")
    if not (np.diff(brks) > 0).all():
        at = int(np.argmin(np.diff(brks) > 0))
        raise ValueError(
            f"brks must be strictly increasing, got {brks[at]:g} before {brks[at + 1]:g}; np.unique sorts them "
            "and takes each value once"
        )
    return brks


def _uses_cpu(t):
    """Whether to take the ways that are fast on a CPU; the others run anywhere (a test switches this off)."""
    return t.is_cpu


def _slices(length, step):
    return (slice(start, start + step) for start in range(0, length, step))


def _in_threads(work, length):
    """Call ``work(slice)`` for blocks of ``length``, in as many threads as torch may use (one in a loader's worker).

    Each call works on its block in pieces that fit into the cache. torch's own threads meet after every operation,
    which takes many times longer on pieces of this size as soon as another program wants the processor.
    """
    blocks = list(_slices(length, _BLOCK))
    with ThreadPoolExecutor(max(1, min(torch.get_num_threads(), len(blocks)))) as pool:
        list(pool.map(work, blocks))


def _finite(flat):
    """Return the finite voxels of a flat tensor: the tensor itself where all are."""
    if not flat.is_floating_point() or not flat.numel() or all(map(math.isfinite, _extremes(flat))):
        return flat
    return flat[flat.isfinite()]


def _extremes(flat):
    low, high = torch.stack(flat.aminmax()).tolist()
    return low, high


def _range(flat):
    """Smallest and largest finite value, (0, 0) where there is none."""
    if not flat.numel():
        return 0, 0
    low, high = _extremes(flat)
    if math.isfinite(low) and math.isfinite(high):
        return low, high
    flat = flat[flat.isfinite()]
    return _extremes(flat) if flat.numel() else (0, 0)


def _above_minimum(flat):
    """The finite voxels above the smallest finite one; of a constant tensor all of them."""
    above = flat[(flat > _range(flat)[0]) & (flat < math.inf)]
    return above if above.numel() else _finite(flat)


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
        step = _CHUNK if flat.is_cpu else _DEVICE_CHUNK
        mean += sum((flat[part] - mean).sum().item() for part in _slices(len(flat), step)) / len(flat)
    return mean, sd


def _quartiles(flat):
    if not flat.numel():
        return 0.0, 0.0, 0.0
    ordered = _ordered(flat)
    ranks = [(flat.numel() - 1) * q for q in (0.25, 0.5, 0.75)]
    low = ordered[[math.floor(rank) for rank in ranks]].tolist()
    high = ordered[[math.ceil(rank) for rank in ranks]].tolist()
    return [a + (b - a) * (rank % 1) for a, b, rank in zip(low, high, ranks, strict=True)]


def _shift_and_divide(x, shift, divisor, shape):
    """Return ``(x - shift) / divisor`` of a flat floating tensor as a new one of ``shape``; a divisor of 0 counts as 1.

    ``shift`` is a Python float: what of it does not fit into float32 is taken off in a second, small step.
    """
    divisor = torch.tensor(divisor or 1.0, dtype=x.dtype, device=x.device)
    first = torch.tensor(shift, dtype=x.dtype)
    out = torch.sub(x, first.to(x.device))
    rest = shift - first.item()
    if abs(rest) > 1e-8 * abs(divisor.item()):
        out.sub_(rest)
    return out.div_(divisor).view(shape)


def _ordered(flat):
    """Sort a flat tensor. numpy's sort of numbers uses the vector unit: 10 to 20 times faster than torch's on a CPU."""
    return torch.from_numpy(np.sort(flat.numpy())) if _uses_cpu(flat) else flat.sort()[0]


def _whole_range(flat):
    """Return (lowest, highest) of a flat tensor where counting its values is fast and exact, else None.

    That is so where all are whole numbers in a range that is not too wide: stored pixels after a rescale by whole
    numbers, so most CT and MR images, as float32 too.
    """
    if not flat.numel() or not _uses_cpu(flat):
        return None
    low, high = _extremes(flat)
    if not (high - low < min(flat.numel(), _MOST_VALUES) and max(-low, high) < 2**31):
        return None
    if flat.is_floating_point():
        values = flat.numpy()
        rounded = np.empty(min(len(values), _CHUNK), values.dtype)
        for part in _slices(len(values), _CHUNK):
            chunk = values[part]
            if (np.rint(chunk, out=rounded[: len(chunk)]) != chunk).any():
                return None
    return int(low), int(high)


def _whole_offsets(flat, low):
    """Yield (slice, offsets from ``low``) of a flat CPU tensor of whole numbers; the offsets' memory is reused."""
    values = flat.numpy()
    narrow = np.empty(min(len(values), _CHUNK), np.int32)  # float to int32 to int64 is twice as fast as straight
    offsets = np.empty(len(narrow), np.intp)
    for part in _slices(len(values), _CHUNK):
        count = len(values[part])
        np.copyto(narrow[:count], values[part], casting="unsafe")
        yield part, np.subtract(narrow[:count], low, out=offsets[:count], dtype=np.intp)


def _bins(flat, whole, n_bins):
    """The breaks of :func:`freqhist_bins`; ``whole`` is the range of a tensor of whole numbers, else None."""
    try:
        n_bins = index(n_bins)
    except TypeError as error:
        raise TypeError(f"n_bins must be an integer, got {n_bins!r}") from error
    if n_bins < 1:
        raise ValueError(f"n_bins must be at least 1, got {n_bins}")
    flat = flat if whole else _finite(flat)
    if not flat.numel():
        raise ValueError("no bins: the tensor holds no finite voxel")
    # in float32, as fastai does: in a large volume the rounding decides which voxel is taken
    middles = torch.arange(n_bins).float() / n_bins + 1 / 2 / n_bins
    ranks = flat.numel() * torch.cat([torch.tensor([0.001]), middles, torch.tensor([0.999])])
    ranks = ranks.long().clamp_(max=flat.numel() - 1)
    if not whole:
        return _ordered(flat)[ranks.to(flat.device)].unique()
    low, high = whole
    counts = np.zeros(high - low + 1, np.int64)
    for _, offsets in _whole_offsets(flat, low):
        counts += np.bincount(offsets, minlength=len(counts))
    found = np.unique(np.searchsorted(counts.cumsum(), ranks.numpy(), side="right"))
    return torch.from_numpy(found + low).to(flat.dtype)


def _map_whole(flat, whole, brks, out):
    """Write into ``out`` the place of each whole number of ``flat`` between ``brks``, from a table of all of them."""
    low, high = whole
    table = np.interp(np.arange(low, high + 1), brks, np.linspace(0, 1, len(brks))).astype(np.float32)
    places = out.numpy()

    def work(block):
        for part, offsets in _whole_offsets(flat[block], low):
            np.take(table, offsets, out=places[block][part], mode="clip")

    _in_threads(work, len(flat))


def _map(flat, brks, out):
    """Write into ``out`` the place of each value of ``flat`` between ``brks``."""
    lines = _lines(flat, brks)
    if _uses_cpu(flat) and len(flat) > _CELLS:
        _map_by_cells(flat.numpy(), *lines, out.numpy())
        return
    breaks, slopes, places = (torch.from_numpy(line).to(flat.device) for line in lines)
    for part in _slices(len(flat), _DEVICE_CHUNK):
        values = flat[part].to(breaks.dtype).clamp(breaks[0], breaks[-1])
        below = torch.bucketize(values, breaks, right=True).sub_(1).clamp_(0, len(breaks) - 1)
        out[part] = (values - breaks[below]) * slopes[below] + places[below]


def _lines(flat, brks):
    """Return the breaks, and for each the slope after it and the place at it, in the type to calculate in."""
    places = np.linspace(0, 1, len(brks)).astype(np.float32)
    with np.errstate(over="ignore"):
        slopes = np.diff(places.astype(np.float64), append=1) / np.diff(brks, append=np.inf)
    dtype = np.float32 if _fits_float32(flat, brks, slopes[:-1]) else np.float64
    breaks, slopes, places = brks.astype(dtype), slopes.astype(dtype), places.astype(dtype)
    # where rounding lifts the last value before a break above the break's own place, take a slope a little flatter
    last = np.nextafter(breaks[1:], breaks[:-1])
    too_steep = (last - breaks[:-1]) * slopes[:-1] + places[:-1] > places[1:]
    slopes[:-1][too_steep] *= dtype(1 - 2**-22)
    return breaks, slopes, places


def _map_by_cells(flat, breaks, slopes, places, out):
    """Do the work of :func:`_map` on numpy arrays, faster.

    The last break below a value comes from a table of cells, then a binary search among the breaks that a cell can
    hold: in most volumes one comparison. All values take each step together, which numpy does in the vector unit.
    A value's cell is one subtraction and one multiplication, both monotone after rounding too, and the breaks' cells
    come from the same two: a later cell holds no value below a break, an earlier one none above. So it is exact.
    """
    scale = (_CELLS - 1) / (breaks[-1] - breaks[0]) if len(breaks) > 1 else breaks.dtype.type(0)
    counts = np.bincount(((breaks - breaks[0]) * scale).astype(np.int32), minlength=_CELLS)
    counts[0] -= 1  # no value lies below the first break, so nothing is to be compared with it
    first_below = counts.cumsum() - counts
    steps = [1 << bit for bit in reversed(range(int(counts.max()).bit_length()))]
    padded = np.append(breaks, np.full(2 * len(breaks), np.inf, breaks.dtype))

    def work(block):
        length = min(len(flat[block]), _CHUNK)
        buffers = *np.empty((2, length), breaks.dtype), np.empty(length, np.int32), np.empty(length, np.intp)
        for part in _slices(len(flat[block]), _CHUNK):
            chunk, place = flat[block][part], out[block][part]
            values, terms, cells, below = (buffer[: len(chunk)] for buffer in buffers)
            np.clip(chunk, breaks[0], breaks[-1], out=values)
            np.multiply(np.subtract(values, breaks[0], out=terms), scale, out=terms)
            with np.errstate(invalid="ignore"):  # NaN lands in some cell and comes out as NaN below
                np.copyto(cells, terms, casting="unsafe")
            np.take(first_below, cells, out=below, mode="clip")
            for step in steps:
                below += step * (values >= np.take(padded[step:], below, out=terms, mode="clip"))
            values -= np.take(breaks, below, out=terms, mode="clip")
            values *= np.take(slopes, below, out=terms, mode="clip")
            np.add(values, np.take(places, below, out=terms, mode="clip"), out=place, casting="same_kind")

    _in_threads(work, len(flat))


def _fits_float32(flat, brks, slopes):
    """Whether float32 holds the values and breaks exactly and the slopes without overflow."""
    exact = (brks.astype(np.float32) == brks).all()
    moderate = not len(slopes) or (slopes.min() > 1e-30 and slopes.max() < 1e30)
    return bool(exact and moderate) and flat.dtype in (torch.float32, torch.uint8, torch.int8, torch.int16)
