"""Whether a mask lies where the images do that it is to belong to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from faimed3d.dicom.header import WANTED, read_header
from faimed3d.dicom.image_planes import planes_of
from faimed3d.dicom.planes import Plane
from faimed3d.geometry import Geometry

_SIDES = np.array(list(np.ndindex(2, 2, 2))) - 0.5  # of a slab, along row, column and normal


def refuse_apart(mask: np.ndarray, geometry: Geometry, files: Sequence[str]) -> None:
    """Refuse a mask of which nothing lies within the images: it is of another scan, or has lost its place.

    Args:
        mask: (D, H, W) labels, 0 is background.
        geometry: its place.
        files: the images. Of a single plane, which may stand for its series, and where an image does not say where it
            lies, nothing is refused here.

    Raises:
        ValueError: the labelled voxels and the images lie apart.
    """
    if not mask.any():
        return
    planes = []
    for file in files:
        header = read_header(file, WANTED)
        if header is None or header.error:
            return
        planes += planes_of(header)
    if len(planes) < 2 or any(plane.error for plane in planes):
        return
    filled = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    box = geometry.regrid([one[-1] - one[0] + 1 for one in filled], offset=[one[0] for one in filled])
    assert box is not None  # sizes of at least 1 are a grid
    places = box.world_to_index(np.concatenate([_corners(plane) for plane in planes]))
    low, high = places.min(0), places.max(0)
    if (high < -0.5).any() or (low > np.array(box.shape) - 0.5).any():
        raise ValueError(
            f"nothing of this mask lies within the images of {files[0]} ({len(files)} files): its labels lie in the "
            f"{box!r}. Is it of another scan, or was its place lost on the way? mask.resample_like(scan) would say so"
        )


def _corners(plane: Plane) -> np.ndarray:
    """The eight corners of an image as a slab, (8, 3) mm."""
    between_rows, between_columns = plane.spacing
    along = np.array([plane.orientation[:3], plane.orientation[3:], plane.normal])
    sizes = np.array([plane.columns * between_columns, plane.rows * between_rows, plane.stated_gap or 0.0])
    half_pixels = np.array([between_columns, between_rows, 0.0]) / 2
    middle = np.array(plane.position) + (sizes / 2 - half_pixels) * [1, 1, 0] @ along
    return middle + _SIDES * sizes @ along
