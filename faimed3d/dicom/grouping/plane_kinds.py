"""Which planes are of one kind (matrix, pixel spacing, orientation, frame of reference), and which at one position."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from faimed3d.dicom.header import Tag, name_tag
from faimed3d.dicom.planes import Plane, plane_axes

# Planes of one stack: direction cosines that differ by rounding (three decimals differ by up to 1e-3, which is 0.25 mm
# at 250 mm), pixel spacings by less than half a pixel over 1000 pixels.
ORIENTATION_TOLERANCE = 1e-3
PIXEL_SPACING_TOLERANCE = 5e-4
# Two planes at one position: less apart than positions are written (0.01 mm), in microscopy than a tenth of a pixel.
SAME_POSITION_MM = 0.01
SAME_POSITION_PIXELS = 0.1
_SEVERAL = 3  # images from which on frames of reference that are all different are no frames


def group_by_kind(planes: Iterable[Plane]) -> list[list[Plane]]:
    """Group planes of one matrix, pixel spacing, orientation and frame of reference."""
    known: dict[Hashable, int] = {}
    groups: list[list[Plane]] = []
    kinds: dict[Hashable, _Kinds] = defaultdict(_Kinds)
    for plane in planes:
        exact = (plane.rows, plane.columns, plane.orientation, plane.spacing)
        number = known.get(exact)
        if number is None:
            number = known[exact] = kinds[exact[:2]].number_of(plane, len(groups))
            if number == len(groups):
                groups.append([])
        groups[number].append(plane)
    return [each for group in groups for each in _by_world(group)]


def _by_world(planes: list[Plane]) -> Iterable[list[Plane]]:
    """Group planes of one layout by their frame of reference.

    A series has one (PS3.3 C.7.4.1). One that no two of several images share tells none from the others: archives have
    made each UID anew.
    """
    worlds = defaultdict(list)
    for plane in planes:
        worlds[_world(plane)].append(plane)
    named = [members for world, members in worlds.items() if world]
    if len(named) >= _SEVERAL and max(map(len, named)) == 1 and planes[0].segments is None:
        return [planes]
    return worlds.values()


class _Kinds:
    """The orientations and pixel spacings seen so far, in arrays: a plane is compared with thousands at once."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.orientations, self.spacings = np.empty((8, 6)), np.empty((8, 2))

    def number_of(self, plane: Plane, new: int) -> int:
        """Number of the first kind that the plane is like; where there is none, it is a kind of its own, ``new``."""
        count = len(self.numbers)
        cosines = np.abs(self.orientations[:count] - plane.orientation).max(1)
        ratios = np.abs(self.spacings[:count] / plane.spacing - 1).max(1)
        like = np.flatnonzero((cosines <= ORIENTATION_TOLERANCE) & (ratios <= PIXEL_SPACING_TOLERANCE))
        if len(like):
            return self.numbers[like[0]]
        if count == len(self.orientations):
            self.orientations = np.concatenate([self.orientations, np.empty_like(self.orientations)])
            self.spacings = np.concatenate([self.spacings, np.empty_like(self.spacings)])
        self.orientations[count], self.spacings[count] = plane.orientation, plane.spacing
        self.numbers.append(new)
        return new


def are_one_kind(plane: Plane, other: Plane) -> bool:
    """Whether two planes may be slices of one volume, by what :func:`group_by_kind` compares."""
    return _world(plane) == _world(other) and have_one_layout(plane, other)


def have_one_layout(plane: Plane, other: Plane) -> bool:
    """Whether two planes are alike in matrix, pixel spacing and orientation, whatever their frame of reference."""
    return (
        (plane.rows, plane.columns) == (other.rows, other.columns)
        and _cosine_difference(plane, other) <= ORIENTATION_TOLERANCE
        and _spacing_difference(plane, other) <= PIXEL_SPACING_TOLERANCE
    )


def describe_difference(plane: Plane, other: Plane) -> str:
    """Say in words why two planes are not of one kind."""
    if (plane.rows, plane.columns) != (other.rows, other.columns):
        return f"matrix: {plane.rows} x {plane.columns}, not {other.rows} x {other.columns} {name_tag(Tag.Rows)}"
    if _spacing_difference(plane, other) > PIXEL_SPACING_TOLERANCE:
        return f"{name_tag(Tag.PixelSpacing)}: {plane.spacing} mm, not {other.spacing} mm"
    if _cosine_difference(plane, other) > ORIENTATION_TOLERANCE:
        return f"{name_tag(Tag.ImageOrientationPatient)}: {plane.orientation}, not {other.orientation}"
    return name_tag(Tag.FrameOfReferenceUID)


def _world(plane: Plane) -> Hashable:
    """What planes of one volume share: the frame of reference, and for a segmentation its file and so its numbers."""
    frame = plane.header.text(Tag.FrameOfReferenceUID)
    return frame if plane.segments is None else (frame, plane.header.path)


def _cosine_difference(plane: Plane, other: Plane) -> float:
    return max(abs(a - b) for a, b in zip(plane.orientation, other.orientation, strict=True))


def _spacing_difference(plane: Plane, other: Plane) -> float:
    return max(abs(a / b - 1) for a, b in zip(plane.spacing, other.spacing, strict=True))


def same_position_mm(plane: Plane) -> float:
    """How far apart, in mm, planes may lie that count as at one position."""
    return min(SAME_POSITION_MM, SAME_POSITION_PIXELS * min(plane.spacing))


def position_numbers(planes: Sequence[Plane]) -> list[int]:
    """Return a number for each plane, equal for planes at one position."""
    offsets = np.array([plane.position for plane in planes]) @ plane_axes(planes[0]).T
    limit = same_position_mm(planes[0])
    numbers = np.zeros(len(planes), dtype=np.int64)
    for axis in (2, 0, 1):
        order = np.argsort(offsets[:, axis], kind="stable")
        steps = np.diff(offsets[order, axis], prepend=offsets[order[:1], axis]) > limit
        level = np.empty_like(numbers)
        level[order] = np.cumsum(steps)
        numbers = np.unique(numbers * (level.max() + 1) + level, return_inverse=True)[1]
    return numbers.tolist()


def has_own_position(plane: Plane, planes: Sequence[Plane]) -> bool:
    """Whether no plane of a volume lies where ``plane`` does."""
    return len(set(position_numbers([*planes, plane]))) > len(planes)
