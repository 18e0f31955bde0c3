"""Surfaces of masks: marching cubes in the patient's millimetres."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from faimed3d.display.arrays import Voxels, as_array, one_mask
from faimed3d.geometry import Geometry

_MOST_FACES = 120_000  # matplotlib draws about this many triangles in two seconds

Box = tuple[slice, ...]  # along D, H, W


class Labels(NamedTuple):
    """The labels of a mask, and where they lie."""

    array: np.ndarray  # (D, H, W), whole numbers
    geometry: Geometry
    has_geometry: bool  # False: for want of one, ``geometry`` has voxels of 1 mm at the origin


def surface(
    mask: Voxels, label: int = 1, geometry: Geometry | None = None, *, step: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """The closed surface of one class, as triangles halfway between the voxels inside and outside.

    It follows the steps of the voxel grid, so its area comes out up to 15 % too large for round shapes. The volume in
    it is right to a few percent for all but the thinnest (``TensorMask3D.calc_volume`` counts voxels).

    Args:
        mask: labels (D, H, W) or (1, D, H, W), whole numbers, torch tensor or numpy array.
        label: the class.
        geometry: where the mask lies. Default: ``mask.geometry``, and without one voxels of 1 mm at the origin.
        step: 1 for every voxel; larger for a coarser, faster mesh, of cells of about ``step`` times the smallest
            spacing along each axis. A class too thin for it keeps every voxel.

    Returns:
        vertices: (N, 3) float64 world positions (x, y, z) in mm, LPS.
        faces: (M, 3) indices of vertices, counter-clockwise seen from outside.

    Raises:
        TypeError: the mask is no array of real numbers.
        ValueError: the mask is not one volume of whole numbers, or no voxel has ``label``.

    >>> vertices, faces = surface(np.ones((2, 3, 4)))
    >>> vertices.min(0), vertices.max(0)
    (array([-0.5, -0.5, -0.5]), array([3.5, 2.5, 1.5]))
    """
    labels = labels_of(mask, geometry)
    boxes = bounding_boxes(labels.array)
    if label not in boxes:
        raise ValueError(f"no voxel has label {label!r}; the mask holds {sorted(boxes)}")
    return surface_in_box(labels, label, boxes[label], strides_of(step, labels.geometry))


def labels_of(mask: Voxels, geometry: Geometry | None) -> Labels:
    """The labels of a mask, checked."""
    array = as_array(one_mask(mask))
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 3 or 0 in array.shape:
        raise ValueError(f"a mask must be (D, H, W) with at least one voxel, got shape {array.shape}")
    if array.dtype.kind == "f":
        if not (array == np.rint(array)).all():
            raise ValueError("a mask must hold whole numbers; threshold probabilities first, such as mask > 0.5")
        array = array.astype(np.int32 if array.max() < 2**31 else np.int64)
    elif array.dtype == bool:
        array = array.view(np.uint8)
    if array.min() < 0:
        raise ValueError(f"the labels of a mask must be 0 or more, got {array.min()}")
    if geometry is None:
        geometry = getattr(mask, "geometry", None)
    if geometry is not None and geometry.shape != array.shape:
        raise ValueError(f"the geometry is for shape {geometry.shape}, the mask has {array.shape}")
    return Labels(array, geometry or Geometry(array.shape, assumed="all"), geometry is not None)


def bounding_boxes(labels: np.ndarray) -> dict[int, Box]:
    """Label -> the slices of its bounding box, for all labels but 0, in rising order."""
    from scipy.ndimage import find_objects

    if labels.max() <= 65535:
        return {label: box for label, box in enumerate(find_objects(labels), 1) if box is not None}
    present = np.unique(labels[labels > 0])  # numbered anew: find_objects makes a list as long as the largest label
    numbers = (np.searchsorted(present, labels) + 1) * (labels > 0)
    return dict(zip(present.tolist(), find_objects(numbers), strict=True))


def surface_in_box(labels: Labels, label: int, box: Box, strides: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and faces of :func:`surface`, of a class whose bounding box is known."""
    from skimage.measure import marching_cubes

    inside = labels.array[box] == label
    field = _share_inside(inside, strides)
    if field.max() <= 0.5:
        strides = (1, 1, 1)
        field = _share_inside(inside, strides)
    vertices, faces, _, _ = marching_cubes(field, 0.5, allow_degenerate=False)
    size = np.array(strides)
    # cell i of the field is the mean of voxels (i - 1) * size ... i * size - 1 of the box
    index = (vertices - 1) * size + (size - 1) / 2 + [part.start for part in box]
    if np.linalg.det(np.reshape(labels.geometry.direction, (3, 3))) < 0:
        faces = faces[:, ::-1]
    return labels.geometry.index_to_world(index), faces


def strides_of(step: int, geometry: Geometry) -> tuple[int, ...]:
    """Voxels (D, H, W) per mesh cell, so that cells are nearly cubes of ``step`` times the smallest spacing."""
    if step < 1:
        raise ValueError(f"step must be at least 1, got {step}")
    spacing = np.array(geometry.spacing[::-1])
    return tuple(int(n) for n in np.maximum(1, np.floor(step * spacing.min() / spacing + 1e-6)))


def drawable_step(labels: Labels) -> int:
    """The smallest step with which all surfaces together have about ``_MOST_FACES`` triangles or fewer."""
    sides = []  # along D, H, W: voxel faces between different labels, once for each class
    for axis in range(3):
        ahead = np.moveaxis(labels.array, axis, 0)
        differ = ahead[1:] != ahead[:-1]
        sides.append(sum(int(np.count_nonzero(differ & (part > 0))) for part in (ahead[1:], ahead[:-1])))
    step = 1
    while step < max(labels.array.shape):
        strides = np.array(strides_of(step, labels.geometry))
        if sum(2 * n * stride / strides.prod() for n, stride in zip(sides, strides, strict=True)) <= _MOST_FACES:
            break
        step += 1
    return step


def _share_inside(inside: np.ndarray, strides: tuple[int, ...]) -> np.ndarray:
    """The share of voxels inside, in blocks of ``strides``, with a border of zeros."""
    padding = [(stride, stride + -size % stride) for size, stride in zip(inside.shape, strides, strict=True)]
    field = np.pad(inside, padding).astype(np.float32)
    if strides == (1, 1, 1):
        return field
    shape = [n for size, stride in zip(field.shape, strides, strict=True) for n in (size // stride, stride)]
    return field.reshape(shape).mean((1, 3, 5))
