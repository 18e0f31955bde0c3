"""The window of a CT that is shown without one: the header's, or that of soft tissue."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from faimed3d.display.arrays import Limits, PlainVolume, Voxels, value_range

_SAMPLE = 1_000_000  # voxels, evenly spread, that choose the limits of an image that is no CT
_ROBUST = (0.5, 99.5)  # percentiles
_LOOKED_AT = 100_000  # voxels, evenly spread: enough to know a CT
_AIR = (-1100, -900)  # HU
_LEAST_AIR = 0.05  # of the voxels; values spread evenly over the range of a phase image have 0.03 there
_LEAST_MAXIMUM = 100  # HU


def default_window(t: Voxels | Iterable[Voxels], volumes: Sequence[PlainVolume]) -> str | tuple[float, float] | None:
    """The window for volumes that are shown without one; None for images that are no CT.

    Values tell a CT, for a scaled CT is none any more: a part of them are those of air. A DICOM header of another
    modality has the last word.

    Args:
        t: what is shown.
        volumes: the same as arrays.

    >>> from faimed3d.display.arrays import all_volumes
    >>> ct = np.linspace(-1000, 1000, 1000).reshape(10, 10, 10)
    >>> default_window([ct], all_volumes([ct])), default_window([ct / 2], all_volumes([ct / 2]))
    ('soft_tissue', None)
    """
    if not all(_like_ct(volume.array) for volume in volumes):
        return None
    header = getattr(t if hasattr(t, "shape") else next(iter(t), None), "_header", None)
    if header is None or header.format != "dicom" or not header.files:
        return "soft_tissue"
    rows = replace(header, files=header.files[:1]).table().set_index("tags").iloc[:, 0]
    if rows.get("0008|0060", "CT") != "CT":
        return None
    centre, width = (_first_number(rows.get(tag)) for tag in ("0028|1050", "0028|1051"))
    return (centre, width) if math.isfinite(centre) and width > 0 else "soft_tissue"


def robust_limits(array: np.ndarray) -> Limits:
    """(low, high) of the values without the outermost half percent at both ends; never equal.

    >>> robust_limits(np.array([*range(1000), 1e9]))
    (5.0, 995.0)
    """
    sample = array.reshape(-1)[:: max(1, array.size // _SAMPLE)]
    low, high = np.percentile(sample[np.isfinite(sample)], _ROBUST) if np.isfinite(sample).any() else (0.0, 1.0)
    if not low < high:
        low, high = value_range(array)
    return (float(low), float(high)) if low < high else (float(low) - 0.5, float(high) + 0.5)


def _like_ct(array: np.ndarray) -> bool:
    flat = array.reshape(-1)[:: max(1, array.size // _LOOKED_AT)]
    low, high = _AIR
    return bool(((flat >= low) & (flat <= high)).mean() >= _LEAST_AIR and flat.max() >= _LEAST_MAXIMUM)


def _first_number(value: object) -> float:
    """The first of the numbers in a header field (a CT may name several windows); NaN where there is none."""
    try:
        return float(str(value).split("\\")[0])
    except ValueError:
        return math.nan
