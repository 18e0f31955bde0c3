"""One image plane in the patient: a single-frame file, one frame of a multi-frame file, or one tile of a mosaic."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from faimed3d.dicom.header.file_header import Header
from faimed3d.dicom.header.tags import Tag, name_tag
from faimed3d.errors import DamagedFile, MissingGeometry, ReadError

__all__ = [
    "COSINE_TOLERANCE",
    "FARTHEST_MM",
    "PIXEL_MM",
    "SLOPES",
    "Plane",
    "between_planes",
    "check_scale",
    "frame_of",
    "normal_of",
    "orientation_name",
    "placed",
    "scaling",
    "single_plane",
]

# Direction cosines are written with as few as three decimals; highdicom takes 1e-3 for the angle between the two.
COSINE_TOLERANCE = 2e-3
# Beyond these a number is damaged, not large: a kilometre from the origin, pixels of less than an atom or more than a
# house, slopes and intercepts that float32 makes 0 or infinite for words of 16 bits.
FARTHEST_MM = 1e6
PIXEL_MM = (1e-7, 1e4)
SLOPES = (1e-44, 2e34)
# What a multi-frame file orders its frames by (PS3.3 C.7.6.17), whatever it is: one of these is the position
DIMENSIONS = tuple(f"dimension {k + 1}" for k in range(9))


@dataclass(slots=True, eq=False)
class Plane:
    """Where one plane lies, how its stored values become real ones, and where its pixels are.

    Attributes:
        header: the file's Header.
        frame: number of the frame in the file, from 0.
        rows, columns: its size in pixels.
        position: (x, y, z) mm, LPS, of the centre of its first pixel; None where the header has none.
        orientation: six direction cosines, along a row and along a column (PS3.3 C.7.6.2.1.1); None where absent.
        spacing: (between rows, between columns) mm.
        depth: mm between planes, else their thickness, for a volume of one plane; None where neither is written.
        slope, intercept: real value = slope * stored + intercept.
        rescaled: which of slope and intercept the header has: 0 none, 1 slope, 2 intercept, 3 both.
        corner: (row, column) of a mosaic tile in its file; None for a whole image.
        attributes: what tells a frame of a multi-frame file from others at its position (see ``attributes.py``).
        segments: of a DICOM segmentation, pairs (frame, segment number) at this place; None for images.
        error: the ReadError that makes the plane unusable, or None.
    """

    header: Header
    frame: int = 0
    rows: int = 0
    columns: int = 0
    position: tuple | None = None
    orientation: tuple | None = None
    spacing: tuple | None = None
    depth: float | None = None
    slope: float = 1.0
    intercept: float = 0.0
    rescaled: int = 0
    corner: tuple | None = None
    attributes: dict = field(default_factory=dict)
    segments: tuple | None = None
    error: ReadError | None = None

    @property
    def name(self):
        """File name without folder, with the frame where the file holds several: for messages."""
        base = self.header.path.replace("\\", "/").rpartition("/")[2]
        return f"{base} frame {self.frame + 1}" if self.frame else base


def placed(plane):
    """Check the geometry of a plane and return it.

    Raises:
        MissingGeometry: spacing, position or orientation is absent or cannot be one.
    """
    path = plane.header.path
    for tag, value in (
        (Tag.PixelSpacing, plane.spacing),
        (Tag.ImagePositionPatient, plane.position),
        (Tag.ImageOrientationPatient, plane.orientation),
    ):
        if value is None:
            raise MissingGeometry(
                f"{path}: {name_tag(tag)} is absent or empty, so the image has no known place and size in the patient; "
                "it is not guessed. Read the pixels alone with pydicom if that is what you need"
            )
    if min(plane.spacing) <= 0:
        raise MissingGeometry(f"{path}: {name_tag(Tag.PixelSpacing)} must be positive, got {plane.spacing} mm")
    if min(plane.spacing) < PIXEL_MM[0] or max(plane.spacing) > PIXEL_MM[1]:
        raise MissingGeometry(f"{path}: {name_tag(Tag.PixelSpacing)} {plane.spacing} mm cannot be the size of a pixel")
    if max(map(abs, plane.position)) > FARTHEST_MM:
        raise MissingGeometry(
            f"{path}: {name_tag(Tag.ImagePositionPatient)} {plane.position} mm cannot be a place in a patient"
        )
    row, column = plane.orientation[:3], plane.orientation[3:]
    dot = sum(a * b for a, b in zip(row, column, strict=True))
    if max(abs(math.hypot(*row) - 1), abs(math.hypot(*column) - 1), abs(dot)) > COSINE_TOLERANCE:
        raise MissingGeometry(
            f"{path}: {name_tag(Tag.ImageOrientationPatient)} must be two unit vectors at right angles, "
            f"got {plane.orientation}"
        )
    return plane


def scaling(header):
    """Return (slope, intercept, rescaled) of a file; the identity where it has neither.

    Raises:
        DamagedFile: a slope of 0, or a value that is no finite number or not of this world.
    """
    slope, intercept = header.number(Tag.RescaleSlope), header.number(Tag.RescaleIntercept)
    if slope == 0:
        raise DamagedFile(f"{header.path}: {name_tag(Tag.RescaleSlope)} is 0, which would erase the image")
    check_scale(header, slope, intercept)
    rescaled = (slope is not None) + 2 * (intercept is not None)
    return (1.0 if slope is None else slope), (0.0 if intercept is None else intercept), rescaled


def check_scale(header, slope, intercept):
    """Refuse a slope (None: absent) that makes values 0 or infinite in float32, and an intercept that is infinite."""
    if slope is not None and not SLOPES[0] <= abs(slope) <= SLOPES[1]:
        raise DamagedFile(f"{header.path}: {name_tag(Tag.RescaleSlope)} {slope} makes values that float32 cannot hold")
    if intercept is not None and abs(intercept) > SLOPES[1]:
        raise DamagedFile(
            f"{header.path}: {name_tag(Tag.RescaleIntercept)} {intercept} is beyond what float32 can hold"
        )


def between_planes(header):
    """mm between the centres of neighbouring planes, else the thickness of one; None where neither is written."""
    for tag in (Tag.SpacingBetweenSlices, Tag.SliceThickness):
        value = header.number(tag)
        # some vendors write the spacing with the sign of the table's movement
        if value:
            return abs(value)
    return None


def normal_of(orientation):
    """Cross product of the row and the column direction (six cosines) as a tuple of three."""
    a, b, c, d, e, f = orientation
    return b * f - c * e, c * d - a * f, a * e - b * d


def orientation_name(plane):
    """``axial``, ``coronal``, ``sagittal``, or ``oblique`` where the normal is over 20 degrees off all three axes."""
    normal = [abs(n) for n in normal_of(plane.orientation)]
    if max(normal) < math.cos(math.radians(20)):
        return "oblique"
    return ("sagittal", "coronal", "axial")[normal.index(max(normal))]


def frame_of(plane):
    """Orthonormal rows: along x, along y and the normal of a plane, float64 (3, 3)."""
    row = np.array(plane.orientation[:3])
    row /= np.linalg.norm(row)
    column = np.array(plane.orientation[3:])
    column -= row * (row @ column)
    column /= np.linalg.norm(column)
    return np.array((row, column, np.cross(row, column)))


def single_plane(header, rows, columns):
    """The plane of a single-frame file, its geometry checked."""
    slope, intercept, rescaled = scaling(header)
    return placed(
        Plane(
            header,
            0,
            rows,
            columns,
            header.vector(Tag.ImagePositionPatient, 3),
            header.vector(Tag.ImageOrientationPatient, 6),
            header.vector(Tag.PixelSpacing, 2),
            between_planes(header),
            slope,
            intercept,
            rescaled,
        )
    )
