"""What the viewer shows of a case: images and labels on one grid, as plain arrays, and the names and sizes of classes.

Nothing of a header gets here but the window of a CT.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from faimed3d.browser.straight_grids import on_straight_grid
from faimed3d.display.arrays import Limits, PlainVolume, Voxels, as_array, geometry_of, one_mask, value_range
from faimed3d.display.colors import RGB, class_color
from faimed3d.display.default_window import default_window, robust_limits
from faimed3d.display.slice_view import stored_alike
from faimed3d.display.surfaces import Box, bounding_boxes, labels_of
from faimed3d.geometry import Geometry
from faimed3d.intensity import WINDOWS, window_limits
from faimed3d.masks.codes import class_name
from faimed3d.masks.labels import is_mask, label_counts
from faimed3d.spatial import resample_like

_ERRORS: tuple[tuple[str, RGB], ...] = (
    ("agreement", (0.24, 0.71, 0.29)),
    ("missed", (0.26, 0.52, 0.96)),
    ("false", (0.9, 0.1, 0.29)),
    ("wrong class", (1.0, 0.88, 0.1)),
)


@dataclass(frozen=True, slots=True)
class ShownClass:
    """A class of a mask as the legend lists it.

    Args:
        label: its label in the mask.
        name: its name, or 'class 3'.
        color: red, green, blue, each 0 to 1.
        mm3: its volume.
        position: (x, y, z) mm, LPS, of a voxel amid its largest slice.
    """

    label: int
    name: str
    color: RGB
    mm3: float
    position: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Picture:
    """An image: (C, D, H, W), and for each channel the window at first and the range of its values."""

    name: str
    voxels: np.ndarray
    windows: tuple[Limits, ...]  # (centre, width)
    ranges: tuple[Limits, ...]  # (lowest, highest)
    is_ct: bool


@dataclass(frozen=True, slots=True)
class Labels:
    """A mask (D, H, W), its classes numbered from 1 without gaps in the order of ``classes``."""

    name: str
    voxels: np.ndarray
    classes: tuple[ShownClass, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """Images and masks on one straight grid; the first image is the one that masks lie over.

    Args:
        geometry: the grid.
        pictures: at least one; an empty image under a mask that has none.
        labels: masks, and the errors of the second against the first.
        notes: what a reader must know of what he sees, such as that it was resampled.
    """

    geometry: Geometry
    pictures: tuple[Picture, ...]
    labels: tuple[Labels, ...]
    notes: tuple[str, ...] = field(default=())


def make_case(
    volume: Voxels,
    mask: Voxels | None,
    other: Voxels | None,
    window: str | Sequence[float] | None,
    names: tuple[str, str],
) -> Case:
    """Bring everything onto the grid of the image, and look up windows, classes and their volumes.

    Args:
        volume, mask, other, window, names: of :func:`faimed3d.browser.view_3d`.

    Raises:
        TypeError, ValueError: as there.
    """
    _require_volume("view_3d", volume)
    notes: list[str] = []
    straight, was_sheared = on_straight_grid(volume)
    if was_sheared:
        notes.append("resampled: the axes of the scan are not at right angles to each other")
    masks = [("mask", names[0], mask)] if mask is not None else []
    if _holds_labels(volume):
        masks.insert(0, ("volume", "mask", volume))
        base = torch.zeros(1, *volume.shape[-3:], dtype=torch.uint8)
        pictures = [Picture("", base.numpy(), ((0.5, 1.0),), ((0.0, 1.0),), False)]
    else:
        pictures = [_picture("image", straight, window)]
    if other is not None:
        _require_volume("other", other)
        if _holds_labels(other) or (mask is not None and as_array(other).dtype.kind in "biu"):
            masks.append(("other", names[1], other))
        else:
            moved, note = _moved_image(other, straight)
            notes += [note] if note else []
            pictures.append(_picture("second image" if names[1] == "other" else names[1], moved, None))
    geometry = geometry_of(straight) or Geometry(tuple(straight.shape[-3:]), assumed="all")
    codes = next((found for *_, one in masks if (found := getattr(one, "codes", None))), None)
    labels = [_labels(argument, name, one, straight, geometry, codes) for argument, name, one in masks]
    if len(labels) == 2:
        labels.append(errors_of(labels[0], labels[1], geometry))
    return Case(geometry, tuple(pictures), tuple(labels), tuple(notes))


def value_at(case: Case, position: Sequence[float], channel: int = 0) -> float | None:
    """The value of the first image in the voxel that holds a position (x, y, z) mm; None outside of the volume."""
    index = tuple(np.rint(case.geometry.world_to_index(position)).astype(int))
    if any(not 0 <= i < n for i, n in zip(index, case.geometry.shape, strict=True)):
        return None
    return case.pictures[0].voxels[(channel, *index)].item()


def errors_of(truth: Labels, found: Labels, geometry: Geometry) -> Labels:
    """Where two masks agree, what the second misses, what it finds falsely, and where it takes one class for another.

    Args:
        truth, found: masks on one grid.
        geometry: that grid.
    """
    label_of = [np.array([0, *(one.label for one in mask.classes)]) for mask in (truth, found)]
    here, there = label_of[0][truth.voxels], label_of[1][found.voxels]
    numbers = np.zeros(here.shape, np.uint8)
    numbers[(here > 0) & (here == there)] = 1
    numbers[(here > 0) & (there == 0)] = 2
    numbers[(here == 0) & (there > 0)] = 3
    numbers[(here > 0) & (there > 0) & (here != there)] = 4
    counts, boxes = np.bincount(numbers.reshape(-1), minlength=5), bounding_boxes(numbers)
    shown = [number for number in range(1, 5) if number in boxes]
    classes = tuple(
        ShownClass(
            number,
            *_ERRORS[number - 1],
            float(counts[number] * geometry.voxel_volume),
            _amid(numbers, number, boxes[number], geometry),
        )
        for number in shown
    )
    return Labels("errors", _numbered(numbers, shown), classes)


def mean_dice(truth: Labels, found: Labels) -> float:
    """The mean over classes that either mask shows of the Dice coefficient; 1 where neither shows any.

    Args:
        truth, found: masks on one grid.
    """
    labels = sorted({one.label for mask in (truth, found) for one in mask.classes})
    number = [{one.label: k for k, one in enumerate(mask.classes, 1)} for mask in (truth, found)]
    scores = []
    for label in labels:
        inside = [mask.voxels == number[k].get(label, -1) for k, mask in enumerate((truth, found))]
        scores.append(2 * np.count_nonzero(inside[0] & inside[1]) / sum(map(np.count_nonzero, inside)))
    return float(np.mean(scores)) if scores else 1.0


def _require_volume(what: str, t: Any) -> None:  # refused if it is no volume
    shape = tuple(as_array(t).shape)
    if len(shape) not in (3, 4) or 0 in shape:
        raise ValueError(
            f"{what}: a viewer shows one volume (D, H, W), or (C, D, H, W) with channels or time points, got shape "
            f"{shape}; take one item of a batch, batch[0]"
        )


def _holds_labels(t: Any) -> bool:  # a tensor or an array
    return is_mask(t) or as_array(t).dtype == bool


def _moved_image(other: Any, volume: Any) -> tuple[Any, str]:  # tensors and arrays alike
    """A second image on the grid of the first, and what was done for it."""
    here, there = geometry_of(other), geometry_of(volume)
    if here is None or there is None or here.agrees(there):
        if tuple(other.shape[-3:]) != tuple(volume.shape[-3:]):
            raise ValueError(
                f"other has {tuple(other.shape[-3:])} voxels (D, H, W) and the volume {tuple(volume.shape[-3:])}, and "
                "where they lie is not known of both: give tensors with a geometry, such as TensorDicom3D(x, like=...)"
            )
        return other, ""
    return resample_like(other, there), "the second image was resampled to the voxels of the first"


def _picture(name: str, t: Any, window: str | Sequence[float] | None) -> Picture:
    array = as_array(t)
    array = array if array.ndim == 4 else array[None]
    plain = [PlainVolume(one, geometry_of(t), False) for one in array]
    ct = default_window(t, plain[:1])
    ranges = tuple(value_range(one) for one in array)
    if window is not None or ct is not None:
        low, high = window_limits(ct if window is None else window)  # type: ignore[arg-type]  # one of them is given
        windows = [((low + high) / 2, high - low)] * len(array)
    else:
        windows = [((low + high) / 2, high - low) for low, high in map(robust_limits, array)]
    return Picture(name, array, tuple(windows), ranges, ct is not None or isinstance(window, str))


def presets(picture: Picture) -> dict[str, Limits]:
    """Windows (centre, width) to choose from, by name."""
    low, high = picture.ranges[0]
    found = {"at first": picture.windows[0], "all values": ((low + high) / 2, (high - low) or 1.0)}
    return {**found, **{name.replace("_", " "): one for name, one in WINDOWS.items()}} if picture.is_ct else found


def _labels(
    argument: str, name: str, mask: Any, volume: Any, geometry: Geometry, codes: Mapping[int, str] | None
) -> Labels:
    try:
        mask = one_mask(mask)
        checked = labels_of(mask, None)
        mask, _ = on_straight_grid(mask)
        mask = mask[0] if mask.ndim == 4 else mask
        array = labels_of(stored_alike(mask, volume if volume.ndim == 3 else volume[0]), None).array
    except ValueError as error:
        raise ValueError(
            f"{argument}: {error}. Bring a mask of another grid onto that of the image first, with "
            "mask.resample_like(image)"
        ) from None
    counts = label_counts(torch.from_numpy(checked.array))
    boxes = bounding_boxes(array)
    codes = getattr(mask, "codes", None) or codes
    classes = tuple(
        ShownClass(
            label,
            class_name(label, codes),
            class_color(label),
            float(counts[label] * checked.geometry.voxel_volume),
            _amid(array, label, box, geometry),
        )
        for label, box in boxes.items()
    )
    return Labels(name, _numbered(array, list(boxes)), classes)


def _numbered(array: np.ndarray, labels: list[int]) -> np.ndarray:
    """Numbers 1, 2, ... in place of labels, in the smallest type."""
    dtype = np.uint8 if len(labels) < 256 else np.int16
    if labels and labels[-1] < 65536:
        table = np.zeros(labels[-1] + 1, dtype)
        table[labels] = np.arange(1, len(labels) + 1)
        return table[array]
    return ((np.searchsorted(labels, array) + 1) * (array > 0)).astype(dtype)


def _amid(array: np.ndarray, label: int, box: Box, geometry: Geometry) -> tuple[float, float, float]:
    """The position of a voxel of the label in the slice along D that has most of it, near their middle."""
    inside = array[box] == label
    d = int(inside.sum((1, 2)).argmax())
    rows, columns = inside[d].nonzero()
    nearest = int(((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2).argmin())
    index = np.array([d, rows[nearest], columns[nearest]]) + [part.start for part in box]
    x, y, z = geometry.index_to_world(index).tolist()
    return x, y, z
