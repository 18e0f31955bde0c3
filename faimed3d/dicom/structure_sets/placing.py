"""Contours in the patient to polygons in the planes of a grid."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from faimed3d.dicom.structure_sets.rois import CLOSED, CLOSED_XOR, Roi
from faimed3d.errors import UnsupportedImage
from faimed3d.geometry import Geometry

PLANE_TOLERANCE = 0.1
"""How far a contour may lie from the plane of its voxels' centres, in parts of the gap between planes."""

_AXES = ("slices", "rows", "columns")


class Placed(NamedTuple):
    """The contours of one ROI on a grid.

    Attributes:
        axis: of (D, H, W) that its planes are stacked along.
        planes: index along that axis -> polygons (N, 2) of voxel indices along the two other axes.
        exclusive: the contours say themselves that they are combined by exclusive or (CLOSEDPLANAR_XOR).
        flat: how many contours enclose no area.
    """

    axis: int
    planes: dict[int, list[NDArray[np.float64]]]
    exclusive: bool
    flat: int


def place(roi: Roi, geometry: Geometry, path: str) -> Placed:
    """Bring the contours of an ROI to the planes of a grid that they lie in.

    The plane is found by its position, whatever images the contour refers to: all points lie within a tenth of the gap
    between planes from the centres of its voxels. Planes may be slices, or run along another axis of the grid.

    Raises:
        UnsupportedImage: a contour that is not closed, that lies between planes of the grid or across them; or planes
            of one ROI along several axes.
    """
    where = f"{path}: ROI {roi.name!r}"
    other = [kind for kind in roi.kinds if kind not in (CLOSED, CLOSED_XOR)]
    if other:
        raise UnsupportedImage(
            f"{where} has contours of the kind {', '.join(other)}, which enclose no voxels: read others, rois=[...] of "
            "faimed3d.dicom.read_rtstruct"
        )
    found: list[tuple[int, NDArray[np.float64]]] = []
    flat = 0
    for number, contour in enumerate(roi.contours, 1):
        index = geometry.world_to_index(contour.points)
        spread = np.ptp(index, axis=0)
        if len(index) < 3 or np.sort(spread)[1] <= 1e-6:  # one or two points, or all on a line along an axis
            flat += 1
            continue
        found.append((number, index))
    spreads = np.array([np.ptp(index, axis=0) for _, index in found]).reshape(-1, 3)
    # the axis that all of them lie across; one alone may be as thin along another axis
    axis = int(spreads.max(0).argmin()) if len(found) else 0
    planes: dict[int, list[NDArray[np.float64]]] = {}
    for (number, index), spread in zip(found, spreads, strict=True):
        if spread[axis] > 2 * PLANE_TOLERANCE:
            raise _across(f"{where}, contour {number}", spread, len(found))
        along = index[:, axis]
        plane = int(np.rint(np.clip(np.median(along), -1e9, 1e9)))
        if np.abs(along - plane).max() > PLANE_TOLERANCE:
            raise UnsupportedImage(
                f"{where}, contour {number} lies between the {_AXES[axis]} of the grid, at {np.median(along):.2f} of "
                f"them (a tenth of a gap is allowed). Make the mask on the images that it was drawn on, "
                "TensorMask3D.create(file, like=those), and bring it here with mask.resample_like(image)"
            )
        planes.setdefault(plane, []).append(np.round(np.delete(index, axis, axis=1), 6))
    return Placed(axis, planes, CLOSED not in roi.kinds, flat)


def _across(where: str, spread: NDArray[np.float64], count: int) -> UnsupportedImage:
    alone = spread.min() <= 2 * PLANE_TOLERANCE and count > 1
    what = "lies in planes along another axis than the ROI's other contours" if alone else "lies across the grid"
    return UnsupportedImage(
        f"{where} {what}: its points span {spread[0]:.2f} slices, {spread[1]:.2f} rows and {spread[2]:.2f} columns, so "
        "it is in none of its planes. Make the mask on the images that it was drawn on, TensorMask3D.create(file, "
        "like=those), and bring it here with mask.resample_like(image)"
    )
