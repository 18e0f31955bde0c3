"""Distances between slices in mm: which gap is the usual one, whether all are even, and which are left by lost slices.

``along`` is the distance of each slice along the normal of the stack, ``across`` its shift (x, y) in its own plane.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from faimed3d.dicom.planes import Plane

# Positions are written with as few as one decimal: each of their three numbers may be 0.05 mm off, the plane 0.09 mm
# off the even grid. For thin slices this is at most a tenth of a gap, for thick ones a hundredth of a gap is allowed
# (highdicom's relative tolerance).
GRID_TOLERANCE_MM = 0.09
GRID_TOLERANCE_THIN = 0.1
GRID_TOLERANCE_THICK = 0.01
# Drift in the plane from the first slice to the last: a quarter of a pixel is below what a cosine of four decimals
# makes of 300 mm. Small pixels may drift as far as positions are rounded.
DRIFT_TOLERANCE_PIXELS = 0.25
# Gaps that are n times the usual one, to a tenth of it, are holes left by n - 1 slices.
MULTIPLE_TOLERANCE = 0.1
# A gap below this share of one beside it is short. Tables that move unevenly stay above the share.
SHORT_SHARE = 2 / 3


def usual_gap(along: np.ndarray) -> float:
    """The gap that most slices have (to 1 %), the smaller of two equally frequent ones; ``along`` rises."""
    ordered = np.sort(np.diff(along))
    counts = np.searchsorted(ordered, ordered * 1.01, side="right") - np.arange(len(ordered))
    start = int(np.argmax(counts))
    return float(np.median(ordered[start : start + counts[start]]))


def gap_tolerance(usual: float) -> float:
    """By how much a slice may leave the even grid whose gap is ``usual``."""
    return max(GRID_TOLERANCE_THICK * usual, min(GRID_TOLERANCE_MM, GRID_TOLERANCE_THIN * usual))


def is_even(along: np.ndarray) -> bool:
    """Whether slices lie on the even grid that fits them best, and no gap stands out; ``along`` rises."""
    usual = usual_gap(along)
    tolerance = gap_tolerance(usual)
    numbers = np.arange(len(along)) - (len(along) - 1) / 2
    step = (numbers @ along) / (numbers @ numbers)
    on_grid = np.abs(along - along.mean() - step * numbers).max() <= tolerance
    return bool(on_grid and not (np.abs(np.diff(along) - usual) > 2 * tolerance).any())


def is_regular(along: np.ndarray) -> bool:
    """Whether slices, in any order, lie on an even grid of which some positions may be empty."""
    along = np.sort(along) - np.min(along)
    gaps, usual = np.diff(along), usual_gap(along)
    if not usual > 0:
        return False
    return is_even(along) or not ((np.abs(gaps - usual) > 2 * gap_tolerance(usual)) & ~holes(gaps, usual)).any()


def holes(gaps: np.ndarray, usual: float) -> np.ndarray:
    """Which gaps are two or more times the usual one, as if slices were lost there."""
    multiples = np.round(gaps / usual)
    return (multiples >= 2) & (np.abs(gaps / usual - multiples) <= MULTIPLE_TOLERANCE)


def short_gaps(gaps: np.ndarray) -> int:
    """How many gaps are short beside one of their neighbours."""
    beside = np.maximum(np.append(gaps[1:], 0), np.append(0, gaps[:-1]))
    return int((gaps < SHORT_SHARE * beside).sum())


def drift_tolerance(pixel: float) -> float:
    """By how much a slice may be shifted in its plane against the others; ``pixel`` is its smaller side."""
    return max(DRIFT_TOLERANCE_PIXELS * pixel, GRID_TOLERANCE_MM)


def first_stated_gap(planes: Iterable[Plane]) -> float | None:
    """The gap in mm that the header of the first of the planes states that has one."""
    return next((plane.stated_gap for plane in planes if plane.stated_gap), None)
