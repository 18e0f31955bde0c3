"""Which segments of a stored segmentation are the classes of a mask."""

from __future__ import annotations

import os

import numpy as np

from faimed3d.dicom.segmentation.seg_reading import read_seg
from faimed3d.geometry import Geometry

_TOLERANCE = 0.01  # voxels between the centres of both


def segments_of_classes(path: str | os.PathLike[str], mask: np.ndarray, geometry: Geometry) -> dict[int, int]:
    """Number of the segment by label: the one whose voxels are those of the class, whatever its name.

    Args:
        path: of the segmentation.
        mask: (D, H, W) of whole numbers.
        geometry: its place.

    Raises:
        ValueError: the segmentation holds another mask. Else as :func:`read_seg`.
    """
    array, found, _ = read_seg(path)
    numbers: dict[int, int] = {}  # label -> segment
    count = 0
    for k, plane in enumerate(array):
        index = np.argwhere(plane)
        if not len(index):
            continue
        places = geometry.world_to_index(found.index_to_world(np.insert(index, 0, k, axis=1)))
        nearest = np.rint(places).astype(np.int64)
        inside = ((nearest >= 0) & (nearest < geometry.shape)).all() and np.abs(places - nearest).max() <= _TOLERANCE
        labels = mask[tuple(nearest.T)] if inside else np.zeros(len(index))
        for label, number in {*zip(labels.tolist(), plane[tuple(index.T)].tolist(), strict=True)}:
            if not label or numbers.setdefault(int(label), number) != number:
                raise _another(path)
        count += len(index)
    if count != np.count_nonzero(mask) or len(set(numbers.values())) < len(numbers):
        raise _another(path)
    return numbers


def _another(path: str | os.PathLike[str]) -> ValueError:
    return ValueError(
        f"{os.fsdecode(path)}: the segmentation holds another mask than the one that is measured. Save the mask first, "
        "mask.save(file, like=scan), and name this file"
    )
