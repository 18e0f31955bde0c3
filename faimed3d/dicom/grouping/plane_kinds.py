"""Which planes are of one kind, and which lie at one place."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from faimed3d.dicom.header.tags import Tag, name_tag
from faimed3d.dicom.planes.plane import frame_of

__all__ = ["belongs", "clusters_of", "difference", "place_ids", "same_place"]

# Planes of one stack: direction cosines that differ by rounding (three decimals differ by up to 1e-3, which is 0.25 mm
# at 250 mm), pixel spacings by less than half a pixel over 1000 pixels.
ORIENTATION_TOLERANCE = 1e-3
PIXEL_SPACING_TOLERANCE = 5e-4
# Two planes at one place: less apart than positions are written (0.01 mm), and than a tenth of a pixel in microscopy.
SAME_PLACE_MM = 0.01
SAME_PLACE_PIXELS = 0.1


def clusters_of(planes):
    """Group planes of one matrix, pixel spacing, orientation and frame of reference."""
    known, clusters, kinds = {}, [], defaultdict(_Kinds)
    for plane in planes:
        key = (plane.rows, plane.columns, _world(plane), plane.orientation, plane.spacing)
        place = known.get(key)
        if place is None:
            place = known[key] = kinds[key[:3]].number_of(plane, len(clusters))
            if place == len(clusters):
                clusters.append([])
        clusters[place].append(plane)
    return clusters


class _Kinds:
    """Orientations and pixel spacings that differ, each with a number: thousands are compared with at once."""

    def __init__(self):
        self.numbers, self.orientations, self.spacings = [], np.empty((8, 6)), np.empty((8, 2))

    def number_of(self, plane, fresh):
        """Number of the kind that a plane is of; a new kind gets ``fresh``."""
        count = len(self.numbers)
        turns = np.abs(self.orientations[:count] - plane.orientation).max(1)
        growths = np.abs(self.spacings[:count] / plane.spacing - 1).max(1)
        like = np.flatnonzero((turns <= ORIENTATION_TOLERANCE) & (growths <= PIXEL_SPACING_TOLERANCE))
        if len(like):
            return self.numbers[like[0]]
        if count == len(self.orientations):
            self.orientations = np.concatenate([self.orientations, np.empty_like(self.orientations)])
            self.spacings = np.concatenate([self.spacings, np.empty_like(self.spacings)])
        self.orientations[count], self.spacings[count] = plane.orientation, plane.spacing
        self.numbers.append(fresh)
        return fresh


def belongs(plane, other):
    """Whether two planes may be slices of one volume: equal matrix and world, orientation and spacing to rounding."""
    return (
        (plane.rows, plane.columns, _world(plane)) == (other.rows, other.columns, _world(other))
        and _turn(plane, other) <= ORIENTATION_TOLERANCE
        and _growth(plane, other) <= PIXEL_SPACING_TOLERANCE
    )


def difference(plane, other):
    """In words, why two planes do not belong to one volume."""
    if (plane.rows, plane.columns) != (other.rows, other.columns):
        return f"matrix: {plane.rows} x {plane.columns}, not {other.rows} x {other.columns} {name_tag(Tag.Rows)}"
    if _growth(plane, other) > PIXEL_SPACING_TOLERANCE:
        return f"{name_tag(Tag.PixelSpacing)}: {plane.spacing} mm, not {other.spacing} mm"
    if _turn(plane, other) > ORIENTATION_TOLERANCE:
        return f"{name_tag(Tag.ImageOrientationPatient)}: {plane.orientation}, not {other.orientation}"
    return name_tag(Tag.FrameOfReferenceUID)


def _world(plane):
    """What planes of one volume share: the frame of reference, and for a segmentation its file and so its numbers."""
    frame = plane.header.text(Tag.FrameOfReferenceUID)
    return frame if plane.segments is None else (frame, plane.header.path)


def _turn(plane, other):
    return max(abs(a - b) for a, b in zip(plane.orientation, other.orientation, strict=True))


def _growth(plane, other):
    return max(abs(a / b - 1) for a, b in zip(plane.spacing, other.spacing, strict=True))


def same_place(plane):
    """mm within which two planes count as at one place."""
    return min(SAME_PLACE_MM, SAME_PLACE_PIXELS * min(plane.spacing))


def place_ids(planes):
    """A number for each plane, equal for planes at the same place."""
    offsets = np.array([plane.position for plane in planes]) @ frame_of(planes[0]).T
    limit = same_place(planes[0])
    ids = np.zeros(len(planes), dtype=np.int64)
    for axis in (2, 0, 1):
        order = np.argsort(offsets[:, axis], kind="stable")
        steps = np.diff(offsets[order, axis], prepend=offsets[order[:1], axis]) > limit
        level = np.empty_like(ids)
        level[order] = np.cumsum(steps)
        ids = np.unique(ids * (level.max() + 1) + level, return_inverse=True)[1]
    return ids.tolist()
