"""Count, extremes, mean, std and histogram of many volumes, added up one volume at a time.

Every volume is reduced to its count, mean, sum of squared differences and a histogram; these are merged in float64 as
in Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

_SHIFT = 12  # of the 32 bits of a float the histogram keeps the first 20: sign, exponent, 11 of the mantissa
_BINS = 1 << (32 - _SHIFT)
_CHUNK = 1 << 22  # voxels worked on at once


@dataclass
class Moments:
    """Count, mean and sum of squared differences of some values, and their extremes."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    def add(self, other: Moments) -> None:
        count, difference = self.count + other.count, other.mean - self.mean
        self.mean += difference * other.count / count
        self.squares += other.squares + difference**2 * self.count * other.count / count
        self.count, self.low, self.high = count, min(self.low, other.low), max(self.high, other.high)

    def divided(self, by: float) -> Moments:
        return Moments(self.count, self.mean / by, self.squares / by**2, self.low / by, self.high / by)

    @property
    def std(self) -> float:
        """The unbiased one; 0 for a single value."""
        return math.sqrt(self.squares / (self.count - 1)) if self.count > 1 else 0.0


@dataclass
class VolumeStatistics:
    """What is kept of one volume."""

    raw: Moments
    divisor: float
    not_finite: int
    bins: np.ndarray
    counts: np.ndarray
    sums: np.ndarray


@dataclass
class Pool:
    """What the volumes of one column add up to."""

    raw: Moments = field(default_factory=Moments)
    scaled: Moments = field(default_factory=Moments)
    volumes: int = 0
    not_finite: int = 0
    counts: np.ndarray = field(default_factory=lambda: np.zeros(_BINS, np.int64))
    sums: np.ndarray = field(default_factory=lambda: np.zeros(_BINS))

    def add(self, volume: VolumeStatistics) -> None:
        self.raw.add(volume.raw)
        self.scaled.add(volume.raw.divided(volume.divisor))
        self.volumes += 1
        self.not_finite += volume.not_finite
        self.counts[volume.bins] += volume.counts
        self.sums[volume.bins] += volume.sums

    def column(self) -> list[float]:
        """Maximum, minimum, mean and std, raw and then scaled."""
        return [value for part in (self.raw, self.scaled) for value in (part.high, part.low, part.mean, part.std)]

    def histogram(self) -> tuple[np.ndarray, np.ndarray]:
        """Voxels in each bin that holds any, in the order of the values, and the mean of each."""
        filled = self.counts.nonzero()[0]
        return self.counts[filled], self.sums[filled] / self.counts[filled]


def percentile_of(counts: np.ndarray, means: np.ndarray, q: float) -> float:
    """Value below which ``q`` per cent of the voxels of a histogram lie.

    Args:
        counts, means: as :meth:`Pool.histogram` returns them.
        q: 0 to 100.
    """
    below = np.cumsum(counts)
    return float(means[np.searchsorted(below, q / 100 * (below[-1] - 1), side="right")])


def moments_of(values: np.ndarray) -> Moments:
    """The moments of a flat array, in float64, a piece at a time."""
    mean = float(values.mean(dtype=np.float64))
    squares = 0.0
    for start in range(0, values.size, _CHUNK):
        difference = values[start : start + _CHUNK].astype(np.float64) - mean
        squares += float(difference @ difference)
    return Moments(values.size, mean, squares, float(values.min()), float(values.max()))


def bins_of(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Histogram of an array by the first bits of its float32 numbers: fine near 0, and no range need be known.

    Returns:
        The numbers of the bins that hold any value, in the order of the values; how many; their sums.
    """
    counts, sums = np.zeros(_BINS, np.int64), np.zeros(_BINS)
    flat = values.ravel()
    for start in range(0, flat.size, _CHUNK):
        piece = flat[start : start + _CHUNK].astype(np.float32)
        bits = piece.view(np.uint32)
        # as bits negative numbers lie above the positive ones and run downwards
        bins = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31)) >> _SHIFT
        counts += np.bincount(bins, minlength=_BINS)
        sums += np.bincount(bins, piece, minlength=_BINS)
    filled = counts.nonzero()[0]
    return filled, counts[filled], sums[filled]
