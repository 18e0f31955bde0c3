"""What a plan needs to know of one case: a few numbers, from one look at its image and mask."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any  # of the cells of a table

import numpy as np
import pandas as pd
from scipy import ndimage
from torch import Tensor

from faimed3d._padding import is_padding
from faimed3d.data.running_statistics import VolumeStatistics, bins_of, moments_of
from faimed3d.io.source_header import modality_of
from faimed3d.volume import TensorDicom3D, TensorMask3D

AXES = ("x", "y", "z")
SIZES = ("width", "height", "depth")  # of the storage axes x, y, z
_MOST_LABEL = 2**16 - 1
PERCENTILES = (0.5, 99.5)  # of the foreground, Isensee et al. 2021
EXPECTED = (OSError, ValueError, TypeError, RuntimeError, MemoryError)  # what one faulty case may raise


@dataclass(frozen=True)
class CaseFacts:
    """What is kept of a case: its row of the report, the intensities of its foreground, what its voxels hash to."""

    row: dict[str, Any]
    channels: tuple[VolumeStatistics | None, ...] = ()  # None: no foreground
    digest: str = ""


def measure_case(
    row: pd.Series, read: Callable[[pd.Series], tuple[TensorDicom3D, TensorMask3D | None]], ignore_index: int | None
) -> CaseFacts:
    """The facts of one case; of a case that cannot be read its error in words.

    Args:
        row: of the table of cases.
        read: gives its image (D, H, W) or (C, D, H, W), and its mask (D, H, W) on the grid of the image.
        ignore_index: label of voxels that nobody annotated.
    """
    try:
        image, mask = read(row)
        return _facts(image, mask, ignore_index)
    except EXPECTED as error:
        return CaseFacts({"error": f"{type(error).__name__}: {error}"})


def _facts(image: TensorDicom3D, mask: TensorMask3D | None, ignore_index: int | None) -> CaseFacts:
    voxels = image.as_subclass(Tensor).numpy()
    channels = voxels if voxels.ndim == 4 else voxels[None]
    known = np.isfinite(channels)
    not_finite = int(known.size - known.sum())
    if image.padding:
        padded = is_padding(image, image.padding).numpy()
        known &= ~(padded if padded.ndim == 4 else padded[None])
    found: dict[str, Any] = {"channels": len(channels), **_place(image), "not_finite": not_finite}
    found["modality"] = modality_of(image)
    inside = None
    if mask is not None:
        labels = mask.as_subclass(Tensor).numpy()
        _check_labels(labels, ignore_index)
        classes = _classes(labels, ignore_index)
        found |= {"foreground": sum(voxels for voxels, _ in classes.values()), "classes": classes}
        if found["foreground"]:
            inside = labels > 0
            if ignore_index is not None:
                inside &= labels != ignore_index
    statistics: list[VolumeStatistics | None] = []
    for number, (values, finite) in enumerate(zip(channels, known, strict=True)):
        intensities, of_foreground = _intensities(values, finite, inside)
        suffix = f"_{number}" if number else ""
        found |= {f"{name}{suffix}": value for name, value in intensities.items()}
        some = of_foreground.size > 0
        statistics.append(
            VolumeStatistics(moments_of(of_foreground), 1.0, 0, *bins_of(of_foreground)) if some else None
        )
    found |= dict(zip((f"box_{name}" for name in SIZES), _box(channels, known), strict=True))
    digest = hashlib.blake2b(np.ascontiguousarray(voxels).data, digest_size=16)
    digest.update(str(voxels.shape).encode())
    return CaseFacts(found, tuple(statistics), digest.hexdigest())


def _place(image: TensorDicom3D) -> dict[str, Any]:
    """Size, spacing and orientation by storage axis."""
    geometry = image.geometry
    found: dict[str, Any] = dict(zip(SIZES, image.shape[:-4:-1], strict=True))
    if geometry is None:
        return found | {"stated": False}
    for axis, step in zip(AXES, geometry.spacing, strict=True):
        found[f"spacing_{axis}"] = step
    return found | {"orientation": geometry.orientation, "stated": geometry.stated}


def _box(channels: np.ndarray, known: np.ndarray) -> tuple[int, ...]:
    """Sides (x, y, z) of the smallest box that holds all voxels of any channel above its smallest value."""
    lowest = np.where(known, channels, np.inf).min((1, 2, 3), keepdims=True)
    inside = (known & (channels > lowest)).any(0)
    sides = []
    for axis in (2, 1, 0):
        where = np.flatnonzero(inside.any(tuple(other for other in range(3) if other != axis)))
        sides.append(int(where[-1] - where[0]) + 1 if len(where) else inside.shape[axis])
    return tuple(sides)


def _check_labels(labels: np.ndarray, ignore_index: int | None) -> None:
    """Raise a ``ValueError`` for numbers that are no classes, which a network has from 0 on."""
    for label in (int(labels.min()), int(labels.max())):
        if not 0 <= label <= _MOST_LABEL and label != ignore_index:
            raise ValueError(
                f"the mask holds the label {label}, but labels are numbers of classes, from 0 to {_MOST_LABEL}: "
                "renumber them (faimed3d.masks.reduce_classes), or leave these voxels out by ignore_index"
            )


def _classes(labels: np.ndarray, ignore_index: int | None) -> dict[int, tuple[int, int]]:
    """Voxels and connected components (by faces) of each label but 0 and the one that is left out."""
    unlike = ignore_index is not None and not 0 <= ignore_index <= _MOST_LABEL
    kept = np.where(labels == ignore_index, 0, labels) if unlike else labels
    found = {}
    for number, box in enumerate(ndimage.find_objects(kept.astype(np.int32, copy=False)), 1):
        if box is not None and number != ignore_index:
            inside = kept[box] == number
            found[number] = (int(inside.sum()), int(ndimage.label(inside)[1]))
    return found


def _intensities(
    values: np.ndarray, finite: np.ndarray, inside: np.ndarray | None
) -> tuple[dict[str, Any], np.ndarray]:
    """Numbers of one channel, and the values of its foreground: the labelled voxels, else those above the minimum."""
    whole = values[finite]
    if not whole.size:
        return {"minimum": np.nan, "maximum": np.nan, "background": 1.0}, whole
    low, high = float(whole.min()), float(whole.max())
    found: dict[str, Any] = {"minimum": low, "maximum": high, "background": float((whole == low).mean())}
    found["whole_mean"], found["whole_std"] = float(whole.mean(dtype=np.float64)), float(whole.std(dtype=np.float64))
    found["two_values"] = bool(((whole == low) | (whole == high)).all())
    foreground = values[finite & inside] if inside is not None else whole[whole > low]
    if foreground.size:
        p_low, p_high = np.percentile(foreground, PERCENTILES)
        found |= {"mean": float(foreground.mean(dtype=np.float64)), "std": float(foreground.std(dtype=np.float64))}
        found |= {"p0.5": float(p_low), "p99.5": float(p_high)}
    return found, foreground
