"""One image plane in the patient: a single-frame file, one frame of a multi-frame file, or one tile of a mosaic."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any, cast

import numpy as np

from faimed3d.dicom.header import FileHeader, Tag, name_tag
from faimed3d.errors import DamagedFile, MissingGeometry, ReadError

Numbers = tuple[float, ...]
Pair = tuple[float, float]
Vector = tuple[float, float, float]
Cosines = tuple[float, float, float, float, float, float]

# Direction cosines are written with as few as three decimals; highdicom takes 1e-3 for the angle between the two.
COSINE_TOLERANCE = 2e-3
# Beyond these a number is damaged, not large: a kilometre from the origin, pixels of less than an atom or more than a
# house, slopes and intercepts that float32 makes 0 or infinite for words of 16 bits.
FARTHEST_MM = 1e6
PIXEL_MM = (1e-7, 1e4)
SLOPES = (1e-44, 2e34)
_LARGEST_SIDE = 65535
_OBLIQUE = math.cos(math.radians(20))  # a normal over 20 degrees off all three axes
# What a multi-frame file orders its frames by (PS3.3 C.7.6.17), whatever it is: one of these is the position
DIMENSIONS = tuple(f"dimension {k + 1}" for k in range(9))


@dataclass(frozen=True, slots=True)
class Rescale:
    """How stored values become real ones: real value = slope * stored + intercept.

    Attributes:
        slope, intercept: as the header has them; None where it has none, which counts as 1 and 0.
    """

    slope: float | None = None
    intercept: float | None = None

    @classmethod
    def of_file(cls, header: FileHeader) -> Rescale:
        """That of (0028,1053) RescaleSlope and (0028,1052) RescaleIntercept at the top level of a file.

        Raises:
            DamagedFile: see :meth:`checked`; or a value is no finite number.
        """
        return cls.checked(header, header.number(Tag.RescaleSlope), header.number(Tag.RescaleIntercept))

    @classmethod
    def checked(cls, header: FileHeader, slope: float | None, intercept: float | None) -> Rescale:
        """One whose values float32 can hold.

        Raises:
            DamagedFile: the slope is 0, or makes values 0 or infinite in float32; or the intercept is infinite there.
        """
        if slope == 0:
            raise DamagedFile(f"{header.path}: {name_tag(Tag.RescaleSlope)} is 0, which would erase the image")
        if slope is not None and not SLOPES[0] <= abs(slope) <= SLOPES[1]:
            raise DamagedFile(
                f"{header.path}: {name_tag(Tag.RescaleSlope)} {slope} makes values that float32 cannot hold"
            )
        if intercept is not None and abs(intercept) > SLOPES[1]:
            raise DamagedFile(
                f"{header.path}: {name_tag(Tag.RescaleIntercept)} {intercept} is beyond what float32 can hold"
            )
        return cls(slope, intercept)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Plane:
    """Where one plane lies, how its stored values become real ones, and where its pixels are.

    Attributes:
        header: of its file.
        frame: number of the frame in the file, from 0.
        rows, columns: its size in pixels.
        position: (x, y, z) mm, LPS, of the centre of its first pixel.
        orientation: six direction cosines, along a row and along a column (PS3.3 C.7.6.2.1.1).
        spacing: (between rows, between columns) mm.
        stated_gap: mm between planes as the header states it, else their thickness; None where it states neither.
        rescale: slope and intercept.
        corner: (row, column) of a mosaic tile in its file; None for a whole image.
        attributes: of a frame of a multi-frame file, what tells it from others at its position (see
            ``faimed3d.dicom.grouping.attributes``).
        segments: of a DICOM segmentation, pairs (frame, segment number) at this position; None for images.
        error: what makes the plane unusable, or None. An unusable plane has no size and no position.
        known: what ``faimed3d.dicom.grouping.attributes`` has found of it, which is looked for once.
    """

    header: FileHeader
    _: KW_ONLY
    frame: int = 0
    rows: int = 0
    columns: int = 0
    position: Vector = (math.nan,) * 3
    orientation: Cosines = (math.nan,) * 6
    spacing: Pair = (math.nan,) * 2
    stated_gap: float | None = None
    rescale: Rescale = Rescale()
    corner: tuple[int, int] | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    segments: tuple[tuple[int, int], ...] | None = None
    error: ReadError | None = None
    known: dict[str, str] = field(default_factory=dict, init=False)

    @classmethod
    def placed(
        cls,
        header: FileHeader,
        *,
        frame: int = 0,
        rows: int,
        columns: int,
        position: Numbers | None,
        orientation: Numbers | None,
        spacing: Numbers | None,
        stated_gap: float | None,
        rescale: Rescale,
        attributes: Mapping[str, str] | None = None,
    ) -> Plane:
        """A plane, after checking that its position, orientation and pixel spacing (None: absent) can be such.

        Raises:
            MissingGeometry: one of the three is absent or cannot be one.
        """
        point, cosines, pixel = _checked_geometry(header.path, position, orientation, spacing)
        return cls(
            header,
            frame=frame,
            rows=rows,
            columns=columns,
            position=point,
            orientation=cosines,
            spacing=pixel,
            stated_gap=stated_gap,
            rescale=rescale,
            attributes=attributes or {},
        )

    @classmethod
    def of_file(cls, header: FileHeader) -> Plane:
        """The plane that the top level of a file describes.

        Raises:
            MissingGeometry: as :meth:`placed`.
            DamagedFile: a size, slope or intercept that cannot be one.
        """
        rows, columns = image_size(header)
        return cls.placed(
            header,
            rows=rows,
            columns=columns,
            position=header.vector(Tag.ImagePositionPatient, 3),
            orientation=header.vector(Tag.ImageOrientationPatient, 6),
            spacing=header.vector(Tag.PixelSpacing, 2),
            stated_gap=stated_gap(header),
            rescale=Rescale.of_file(header),
        )

    @property
    def name(self) -> str:
        """File name without folder, with the frame where the file holds several: for messages."""
        base = self.header.path.replace("\\", "/").rpartition("/")[2]
        return f"{base} frame {self.frame + 1}" if self.frame else base

    @property
    def slope(self) -> float:
        """1 where the header has none."""
        return 1.0 if self.rescale.slope is None else self.rescale.slope

    @property
    def intercept(self) -> float:
        """0 where the header has none."""
        return 0.0 if self.rescale.intercept is None else self.rescale.intercept

    @property
    def rescaled(self) -> int:
        """Which of the two the header has: 0 neither, 1 the slope, 2 the intercept, 3 both."""
        return (self.rescale.slope is not None) + 2 * (self.rescale.intercept is not None)

    @property
    def normal(self) -> Vector:
        """Cross product of the row and the column direction."""
        a, b, c, d, e, f = self.orientation
        return b * f - c * e, c * d - a * f, a * e - b * d

    def moved(self, offset: float, **changes: Any) -> Plane:
        """The plane ``offset`` mm further along the normal, with ``changes`` in its other fields."""
        x, y, z = (p + offset * n for p, n in zip(self.position, self.normal, strict=True))
        return replace(self, position=(x, y, z), **changes)


def _checked_geometry(
    path: str, position: Numbers | None, orientation: Numbers | None, spacing: Numbers | None
) -> tuple[Vector, Cosines, Pair]:
    for tag, value in (
        (Tag.PixelSpacing, spacing),
        (Tag.ImagePositionPatient, position),
        (Tag.ImageOrientationPatient, orientation),
    ):
        if value is None:
            raise MissingGeometry(
                f"{path}: {name_tag(tag)} is absent or empty, so the image has no known position and size in the "
                "patient; it is not guessed. Read the pixels alone with pydicom if that is what you need"
            )
    assert position is not None
    assert orientation is not None
    assert spacing is not None
    if min(spacing) <= 0:
        raise MissingGeometry(f"{path}: {name_tag(Tag.PixelSpacing)} must be positive, got {spacing} mm")
    if min(spacing) < PIXEL_MM[0] or max(spacing) > PIXEL_MM[1]:
        raise MissingGeometry(f"{path}: {name_tag(Tag.PixelSpacing)} {spacing} mm cannot be the size of a pixel")
    if max(map(abs, position)) > FARTHEST_MM:
        raise MissingGeometry(
            f"{path}: {name_tag(Tag.ImagePositionPatient)} {position} mm cannot be a position in a patient"
        )
    row, column = orientation[:3], orientation[3:]
    dot = sum(a * b for a, b in zip(row, column, strict=True))
    if max(abs(math.hypot(*row) - 1), abs(math.hypot(*column) - 1), abs(dot)) > COSINE_TOLERANCE:
        raise MissingGeometry(
            f"{path}: {name_tag(Tag.ImageOrientationPatient)} must be two orthogonal unit vectors, got {orientation}"
        )
    return cast(Vector, position), cast(Cosines, orientation), cast(Pair, spacing)


def image_size(header: FileHeader) -> tuple[int, int]:
    """(rows, columns) of the images in a file.

    Raises:
        DamagedFile: one of the two is absent or cannot be one.
    """
    size = []
    for tag in (Tag.Rows, Tag.Columns):
        value = header.integer(tag)
        if value is None:
            raise DamagedFile(f"{header.path}: {name_tag(tag)} is absent")
        if not 1 <= value <= _LARGEST_SIDE:
            raise DamagedFile(f"{header.path}: {name_tag(tag)} must be 1 to {_LARGEST_SIDE}, got {value}")
        size.append(value)
    return size[0], size[1]


def stated_gap(header: FileHeader) -> float | None:
    """mm between the centres of neighbouring planes, else the thickness of one; None where neither is written."""
    for tag in (Tag.SpacingBetweenSlices, Tag.SliceThickness):
        value = header.number(tag)
        # some vendors write the spacing with the sign of the table's movement
        if value:
            return abs(value)
    return None


def orientation_name(plane: Plane) -> str:
    """``axial``, ``coronal``, ``sagittal``, or ``oblique`` where the normal is over 20 degrees off all three axes."""
    normal = [abs(n) for n in plane.normal]
    if max(normal) < _OBLIQUE:
        return "oblique"
    return ("sagittal", "coronal", "axial")[normal.index(max(normal))]


def plane_axes(plane: Plane) -> np.ndarray:
    """Orthonormal rows, float64 (3, 3): the directions along a row and along a column of the image, and the normal."""
    row = np.array(plane.orientation[:3])
    row /= np.linalg.norm(row)
    column = np.array(plane.orientation[3:])
    column -= row * (row @ column)
    column /= np.linalg.norm(column)
    return np.array((row, column, np.cross(row, column)))
