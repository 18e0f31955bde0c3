"""Classes of a mask as contours in the patient, on the planes of the images that they belong to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from faimed3d.dicom.planes import Plane, plane_axes
from faimed3d.dicom.structure_sets.outlining import outline
from faimed3d.dicom.structure_sets.placing import PLANE_TOLERANCE
from faimed3d.errors import UnsupportedImage
from faimed3d.geometry import Geometry

_AXES = ("slices", "rows", "columns")


@dataclass(frozen=True, slots=True)
class ImagePlanes:
    """The planes that contours are to lie in.

    Attributes:
        axis: of the mask (D, H, W) that its own planes are stacked along.
        images: index along that axis -> the image there.
    """

    axis: int
    images: dict[int, Plane]


def image_planes_of(mask: np.ndarray, geometry: Geometry, images: Sequence[Plane]) -> ImagePlanes:
    """Find the axis along which a mask is cut into planes, each with a voxel of a class in the plane of an image.

    Where the pixels lie within a plane need not be the same: contours lie in the patient, not on pixels.

    Args:
        mask: labels (D, H, W).
        geometry: its place.
        images: of one series; where several share a plane, the first counts.

    Raises:
        UnsupportedImage: the images are no parallel planes.
        ValueError: a plane of the mask with a class lies further than a tenth of its gap from any image.
    """
    axes = np.array([plane_axes(plane) for plane in images])
    normal = axes[0, 2]
    extent = max(plane.rows * plane.spacing[0] for plane in images)
    if np.abs(axes[:, :2] @ normal).max() * extent > PLANE_TOLERANCE * min(geometry.spacing):
        raise UnsupportedImage(
            f"{images[0].header.path}: the images beside it are no parallel planes, so no contours lie in them"
        )
    places = np.array([normal @ plane.position for plane in images])
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in geometry.shape], indexing="ij")).reshape(3, -1).T
    reasons = []
    for axis in range(3):
        along = geometry.index_to_world(corners) @ normal
        spread = max(np.ptp(along[corners[:, axis] == end]) for end in np.unique(corners[:, axis]))
        gap = geometry.spacing[2 - axis]
        if spread > PLANE_TOLERANCE * gap:
            continue
        filled = np.flatnonzero(mask.any(axis=tuple(k for k in range(3) if k != axis)))
        centre = (np.array(geometry.shape, float) - 1) / 2
        points = np.tile(centre, (len(filled), 1))
        points[:, axis] = filled
        distance = np.abs((geometry.index_to_world(points) @ normal)[:, None] - places)
        nearest = distance.argmin(1)
        off = distance.min(1) > PLANE_TOLERANCE * gap
        if not off.any():
            return ImagePlanes(axis, {int(k): images[n] for k, n in zip(filled, nearest, strict=True)})
        reasons.append(f"{off.sum()} of the {len(filled)} {_AXES[axis]} with a class lie in the plane of no image")
    raise ValueError(
        f"the mask and the series of {images[0].header.path} have no planes in common"
        f"{': ' + reasons[0] if reasons else ', they are turned against each other'}. Contours lie in the planes of "
        "images: bring the mask there first, mask.resample_like(scan)"
    )


def contours_of(
    mask: np.ndarray, geometry: Geometry, labels: Sequence[int], axis: int
) -> Iterator[tuple[int, int, NDArray[np.float64]]]:
    """(label, plane, points (N, 3) mm) of all contours of classes, in order of the labels and planes.

    Args:
        mask: numbers (D, H, W): 0, and k + 1 where the class is ``labels[k]``.
        geometry: its place.
        labels: of the classes.
        axis: see :class:`ImagePlanes`.
    """
    stack = np.moveaxis(mask, axis, 0)
    for number, (label, box) in enumerate(zip(labels, find_objects(stack), strict=True), 1):
        planes, *corner = (side.start for side in box)
        for plane, inside in enumerate(stack[box] == number, planes):
            for polygon in outline(inside):
                index = np.insert(polygon + corner, axis, plane, axis=1)
                yield label, plane, geometry.index_to_world(index)
