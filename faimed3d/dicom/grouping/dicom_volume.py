"""One volume: planes ordered along their normal, with what was found wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from faimed3d.dicom.finding import Finding
from faimed3d.dicom.grouping.gaps import drift_tolerance, is_even
from faimed3d.dicom.grouping.parts import Part
from faimed3d.dicom.grouping.plane_kinds import same_position_mm
from faimed3d.dicom.header import FileHeader, Tag
from faimed3d.dicom.planes import PIXEL_MM, Plane, plane_axes
from faimed3d.geometry import Geometry


@dataclass(frozen=True, eq=False)
class Volume:
    """Planes that make one volume, ordered along the slice normal.

    Attributes:
        planes: in slice order, doubled ones left out.
        folder: where its files lie.
        distinct: what tells it from its siblings in the series, in words.
        attributes: the acquisition attributes that tell it from its siblings, where such do.
        doubled: pairs (kept plane, plane at the same position).
        along, across: per plane the distance in mm along the normal, and (x, y) in the plane, from the first plane;
            empty where it cannot be stacked.
        geometry: the grid as the headers give it; None where the planes lie on no even, straight grid.
        interleaved: whether it was told apart from siblings between whose slices its own lie.
        half_lost: an attribute that would tell stacks in it apart, if some slices had not lost it.
        findings: what the checks found, the worst first; made once, by :func:`faimed3d.dicom.checks.check_volume`.
    """

    planes: tuple[Plane, ...]
    folder: str = ""
    distinct: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    doubled: tuple[tuple[Plane, Plane], ...] = ()
    along: np.ndarray = field(default_factory=lambda: np.empty(0))
    across: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))
    geometry: Geometry | None = None
    interleaved: bool = False
    half_lost: str = ""
    findings: tuple[Finding, ...] = ()

    @property
    def header(self) -> FileHeader:
        """Header of the first plane."""
        return self.planes[0].header

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the files in slice order, each once."""
        return tuple(dict.fromkeys(plane.header.path for plane in self.planes))

    @property
    def all_planes(self) -> tuple[Plane, ...]:
        """Its planes, and those at the same positions that were left out."""
        return (*self.planes, *(other for _, other in self.doubled))

    @property
    def name(self) -> str:
        """How messages begin: the folder's name, or the file's."""
        return self.folder.replace("\\", "/").rstrip("/").rpartition("/")[2] or self.planes[0].name

    @property
    def stackable(self) -> bool:
        """Whether its planes have positions in the patient."""
        return self.planes[0].error is None

    @property
    def segmented(self) -> bool:
        """Whether its values are the numbers of segments."""
        return self.planes[0].segments is not None

    @property
    def slices(self) -> int:
        """How many slices it has; 0 where it cannot be stacked."""
        return len(self.planes) if self.stackable else 0

    @property
    def count_text(self) -> str:
        """``1 slice``, ``5 slices``."""
        return f"{len(self.planes)} slice{'s' * (len(self.planes) > 1)}"

    @property
    def never_placed(self) -> bool:
        """Whether it is an intact series of images that never had a position, such as screen captures.

        A slice whose header was damaged may lose its position, too; it has then lost more than that, and is no such
        image.
        """
        return not self.stackable and all(
            plane.header.known_series
            and Tag.ImagePositionPatient not in plane.header.values
            and Tag.ImageOrientationPatient not in plane.header.values
            for plane in self.planes
        )


def stack(part: Part, folder: str = "", distinct: str = "") -> Volume:
    """Order planes of one kind along their normal and set apart those at one position."""
    planes = part.planes
    axes = plane_axes(planes[0])
    positions = np.array([plane.position for plane in planes])
    order = np.argsort(positions @ axes[2], kind="stable")
    along = (positions @ axes[2])[order]
    limit = same_position_mm(planes[0])
    kept, doubled = [0], list(part.copies)
    for k in range(1, len(planes)):
        if along[k] - along[kept[-1]] > limit:
            kept.append(k)
        else:
            doubled.append((planes[order[kept[-1]]], planes[order[k]]))
    ordered = tuple(planes[k] for k in order[kept])
    offsets = (positions[order[kept]] - positions[order[0]]) @ axes.T
    along, across = offsets[:, 2], offsets[:, :2]
    return Volume(
        ordered,
        folder,
        distinct,
        part.attributes,
        tuple(doubled),
        along,
        across,
        _grid(ordered, along, across, axes),
        part.interleaved,
        part.half_lost,
    )


def _grid(planes: tuple[Plane, ...], along: np.ndarray, across: np.ndarray, axes: np.ndarray) -> Geometry | None:
    if len(planes) == 1:
        gap = planes[0].stated_gap or 0
        if not PIXEL_MM[0] <= gap <= PIXEL_MM[1]:
            return None
    elif is_even(along) and is_straight(planes[0], across):
        gap = along[-1] / (len(planes) - 1)
    else:
        return None
    first = planes[0]
    down, right = first.spacing
    return Geometry((len(planes), first.rows, first.columns), (right, down, gap), first.position, axes.T.ravel())


def is_straight(plane: Plane, across: np.ndarray) -> bool:
    """Whether slices lie exactly above each other: none is shifted in its plane by more than the tolerance."""
    return bool(np.abs(across).max() <= drift_tolerance(min(plane.spacing)))
