"""Equal-frequency histograms, and the scaling that makes all values about equally frequent.

Functions of a tensor of any shape, type and device. Rules for all of them:

- The geometry is kept, and a mask comes back as it is.
- The result is new, never shares memory with the input, and is float32 whatever the input.
- Voxels that are NaN or infinite take no part in any statistic. NaN stays NaN.
- A constant input gives a finite result; an empty one an empty result.
- No gradient flows through them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from operator import index
from typing import Any

import numpy as np
import torch
from torch import Tensor

from faimed3d import _blockwise
from faimed3d.intensity.operation import intensity_operation, without_padding

_BLOCK = 1 << 20  # voxels that one thread takes at a time
_MOST_VALUES = 1 << 17  # widest range of whole numbers that is counted value by value
_CELLS = 1 << 16  # cells between the first and last break, each looked up in one step


def freqhist_bins(t: Tensor, n_bins: int = 100) -> Tensor:
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
    flat = _blockwise.flat(without_padding(t))
    return _bins(flat, _whole_range(flat), n_bins)


@intensity_operation
def hist_scaled(t: Tensor, brks: Tensor | np.ndarray | Sequence[float] | None = None) -> Tensor:
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
    flat = _blockwise.flat(t)
    if (
        flat.is_floating_point()
        and _blockwise.uses_cpu(flat)
        and len(flat)
        and math.isnan(_blockwise.extremes(flat)[0])
    ):
        known = ~np.isnan(flat.numpy())
        if known.any():  # the rest may be whole numbers, which are scaled faster
            out = np.full(len(flat), np.nan, np.float32)
            out[known] = _scaled(torch.from_numpy(flat.numpy()[known]), brks).numpy()
            return torch.from_numpy(out).view(t.shape)
    return _scaled(flat, brks).view(t.shape)


def _scaled(flat: Tensor, brks: Any) -> Tensor:
    out = torch.empty(flat.shape, dtype=torch.float32, device=flat.device)
    if not flat.numel():
        return out
    whole = _whole_range(flat)
    breaks = _bins(flat, whole, 100).cpu().numpy() if brks is None else _checked_breaks(brks)
    breaks = breaks.astype(np.float64)
    if whole:
        _map_whole(flat, whole, breaks, out.view(-1))
    else:
        _map(flat, breaks, out.view(-1))
    return out


def _checked_breaks(brks: Any) -> np.ndarray:
    if isinstance(brks, Tensor):
        brks = brks.detach().as_subclass(Tensor).cpu().to(torch.float64).numpy()
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


def _whole_range(flat: Tensor) -> tuple[int, int] | None:
    """Return (lowest, highest) of a flat tensor where counting its values is fast and exact, else None.

    That is so where all are whole numbers in a range that is not too wide: stored pixels after a rescale by whole
    numbers, so most CT and MR images, as float32 too.
    """
    if not flat.numel() or not _blockwise.uses_cpu(flat):
        return None
    low, high = _blockwise.extremes(flat)
    if not (high - low < min(flat.numel(), _MOST_VALUES) and max(-low, high) < 2**31):
        return None
    if flat.is_floating_point():
        values = flat.numpy()
        rounded = np.empty(min(len(values), _blockwise.CHUNK), values.dtype)
        for part in _blockwise.slices(len(values), _blockwise.CHUNK):
            chunk = values[part]
            if (np.rint(chunk, out=rounded[: len(chunk)]) != chunk).any():
                return None
    return int(low), int(high)


def _whole_offsets(flat: Tensor, low: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield (slice, offsets from ``low``) of a flat CPU tensor of whole numbers; the offsets' memory is reused."""
    values = flat.numpy()
    narrow = np.empty(
        min(len(values), _blockwise.CHUNK), np.int32
    )  # float to int32 to int64 is twice as fast as straight
    offsets = np.empty(len(narrow), np.intp)
    for part in _blockwise.slices(len(values), _blockwise.CHUNK):
        count = len(values[part])
        np.copyto(narrow[:count], values[part], casting="unsafe")
        yield part, np.subtract(narrow[:count], low, out=offsets[:count], dtype=np.intp)


def _bins(flat: Tensor, whole: tuple[int, int] | None, n_bins: int) -> Tensor:
    """The breaks of :func:`freqhist_bins`; ``whole`` is the range of a tensor of whole numbers, else None."""
    try:
        n_bins = index(n_bins)
    except TypeError as error:
        raise TypeError(f"n_bins must be an integer, got {n_bins!r}") from error
    if n_bins < 1:
        raise ValueError(f"n_bins must be at least 1, got {n_bins}")
    flat = flat if whole else _blockwise.finite(flat)
    if not flat.numel():
        raise ValueError("no bins: the tensor holds no finite voxel")
    # in float32, as fastai does: in a large volume the rounding decides which voxel is taken
    middles = torch.arange(n_bins).float() / n_bins + 1 / 2 / n_bins
    ranks = flat.numel() * torch.cat([torch.tensor([0.001]), middles, torch.tensor([0.999])])
    ranks = ranks.long().clamp_(max=flat.numel() - 1)
    if not whole:
        return _blockwise.ordered(flat)[ranks.to(flat.device)].unique()
    low, high = whole
    counts = np.zeros(high - low + 1, np.int64)
    for _, offsets in _whole_offsets(flat, low):
        counts += np.bincount(offsets, minlength=len(counts))
    found = np.unique(np.searchsorted(counts.cumsum(), ranks.numpy(), side="right"))
    return torch.from_numpy(found + low).to(flat.dtype)


def _map_whole(flat: Tensor, whole: tuple[int, int], brks: np.ndarray, out: Tensor) -> None:
    """Write into ``out`` the scaled value of each whole number of ``flat``, from a table of all of them."""
    low, high = whole
    table = np.interp(np.arange(low, high + 1), brks, np.linspace(0, 1, len(brks))).astype(np.float32)
    levels = out.numpy()

    def work(block):
        for part, offsets in _whole_offsets(flat[block], low):
            np.take(table, offsets, out=levels[block][part], mode="clip")

    _blockwise.in_threads(work, _blockwise.slices(len(flat), _BLOCK))


def _map(flat: Tensor, brks: np.ndarray, out: Tensor) -> None:
    """Write into ``out`` the scaled value of each value of ``flat``."""
    lines = _lines(flat, brks)
    if _blockwise.uses_cpu(flat) and len(flat) > _CELLS:
        _map_by_cells(flat.numpy(), *lines, out.numpy())
        return
    breaks, slopes, levels = (torch.from_numpy(line).to(flat.device) for line in lines)
    for part in _blockwise.slices(len(flat), _blockwise.DEVICE_CHUNK):
        values = flat[part].to(breaks.dtype).clamp(breaks[0], breaks[-1])
        below = torch.bucketize(values, breaks, right=True).sub_(1).clamp_(0, len(breaks) - 1)
        out[part] = (values - breaks[below]) * slopes[below] + levels[below]


def _lines(flat: Tensor, brks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the breaks, and for each the slope after it and the scaled value at it, in the type to calculate in."""
    levels = np.linspace(0, 1, len(brks)).astype(np.float32)
    with np.errstate(over="ignore"):
        slopes = np.diff(levels.astype(np.float64), append=1) / np.diff(brks, append=np.inf)
    dtype = np.float32 if _fits_float32(flat, brks, slopes[:-1]) else np.float64
    breaks, slopes, levels = brks.astype(dtype), slopes.astype(dtype), levels.astype(dtype)
    # where rounding lifts the last value before a break above the break's own, take a slope a little flatter
    last = np.nextafter(breaks[1:], breaks[:-1])
    too_steep = (last - breaks[:-1]) * slopes[:-1] + levels[:-1] > levels[1:]
    slopes[:-1][too_steep] *= dtype(1 - 2**-22)
    return breaks, slopes, levels


def _map_by_cells(
    flat: np.ndarray, breaks: np.ndarray, slopes: np.ndarray, levels: np.ndarray, out: np.ndarray
) -> None:
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
        length = min(len(flat[block]), _blockwise.CHUNK)
        buffers = *np.empty((2, length), breaks.dtype), np.empty(length, np.int32), np.empty(length, np.intp)
        for part in _blockwise.slices(len(flat[block]), _blockwise.CHUNK):
            chunk, scaled = flat[block][part], out[block][part]
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
            np.add(values, np.take(levels, below, out=terms, mode="clip"), out=scaled, casting="same_kind")

    _blockwise.in_threads(work, _blockwise.slices(len(flat), _BLOCK))


def _fits_float32(flat: Tensor, brks: np.ndarray, slopes: np.ndarray) -> bool:
    """Whether float32 holds the values and breaks exactly and the slopes without overflow."""
    exact = (brks.astype(np.float32) == brks).all()
    moderate = not len(slopes) or (slopes.min() > 1e-30 and slopes.max() < 1e30)
    return bool(exact and moderate) and flat.dtype in (torch.float32, torch.uint8, torch.int8, torch.int16)
