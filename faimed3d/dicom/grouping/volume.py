"""One volume: planes ordered along their normal, checked and placed.

Strict reading raises the first of a volume's ``problems``; ``strict=False`` may repair those that are not ``fatal``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from faimed3d.dicom.checks.stack import check_doubled, check_drift, check_gaps, check_mixture
from faimed3d.dicom.grouping.plane_kinds import same_place
from faimed3d.dicom.header.tags import Tag, name_tag
from faimed3d.dicom.planes.plane import PIXEL_MM, frame_of
from faimed3d.errors import MissingGeometry
from faimed3d.geometry import Geometry

__all__ = ["Volume", "examine"]


@dataclass(eq=False)
class Volume:
    """Planes that make one volume, ordered along the slice normal.

    Attributes:
        planes: in slice order, doubled ones left out.
        folder: where its files lie.
        distinct: what tells it from its siblings in the series, in words.
        attributes: the same as attributes (see ``attributes.py``), where it is attributes that do.
        problems: ReadErrors, the worst first.
        fatal: those of the problems that ``strict=False`` cannot repair.
        doubled: pairs (kept plane, plane at the same place).
        geometry: the grid as the headers give it; None where the planes are on no even grid.
        along, across: per plane the distance in mm along the normal, and (x, y) in the plane, from the first plane.
    """

    planes: list
    folder: str = ""
    distinct: str = ""
    attributes: dict = field(default_factory=dict)
    problems: list = field(default_factory=list)
    fatal: list = field(default_factory=list)
    doubled: list = field(default_factory=list)
    geometry: Geometry | None = None
    along: np.ndarray | None = None
    across: np.ndarray | None = None

    @property
    def header(self):
        """Header of the first plane."""
        return self.planes[0].header

    @property
    def files(self):
        """Paths of the files in slice order, each once."""
        return tuple(dict.fromkeys(plane.header.path for plane in self.planes))

    @property
    def name(self):
        """How messages begin: the folder's name, or the file's."""
        return self.folder.replace("\\", "/").rstrip("/").rpartition("/")[2] or self.planes[0].name

    @property
    def stackable(self):
        """Whether any plane has a place in the patient."""
        return self.planes[0].error is None

    @property
    def slices(self):
        """How many slices it has; 0 where it cannot be stacked."""
        return len(self.planes) if self.stackable else 0

    @property
    def placeless(self):
        """Whether it is an intact series of images that never had a place in the patient, such as screen captures.

        A slice whose header was damaged may lose its place, too; it then has lost more than that, and is no such image.
        """
        return not self.stackable and all(
            plane.header.known_series
            and Tag.ImagePositionPatient not in plane.header.values
            and Tag.ImageOrientationPatient not in plane.header.values
            for plane in self.planes
        )

    def add(self, error, fatal=False):
        """Note a problem."""
        self.problems.append(error)
        if fatal:
            self.fatal.append(error)


def examine(volume):
    """Order the planes of a volume, note its problems, set its geometry."""
    planes = volume.planes
    frame = frame_of(planes[0])
    positions = np.array([plane.position for plane in planes])
    order = np.argsort(positions @ frame[2], kind="stable")
    planes = [planes[k] for k in order]
    along = (positions @ frame[2])[order]
    limit = same_place(planes[0])
    kept = [0]
    for k in range(1, len(planes)):
        if along[k] - along[kept[-1]] > limit:
            kept.append(k)
        else:
            volume.doubled.append((planes[kept[-1]], planes[k]))
    volume.planes = planes = [planes[k] for k in kept]
    offsets = (positions[order[kept]] - positions[order[0]]) @ frame.T
    volume.along, volume.across = offsets[:, 2], offsets[:, :2]
    check_doubled(volume)
    check_mixture(volume)
    if len(planes) == 1:
        gap = planes[0].depth
        if not gap:
            volume.add(
                MissingGeometry(
                    f"{planes[0].header.path}: a single slice, and neither {name_tag(Tag.SliceThickness)} nor "
                    f"{name_tag(Tag.SpacingBetweenSlices)} says how thick it is"
                ),
                fatal=True,
            )
            return
        if not PIXEL_MM[0] <= gap <= PIXEL_MM[1]:
            volume.add(
                MissingGeometry(
                    f"{planes[0].header.path}: a single slice, and its {name_tag(Tag.SliceThickness)} or "
                    f"{name_tag(Tag.SpacingBetweenSlices)} {gap} mm cannot be a thickness"
                ),
                fatal=True,
            )
            return
    else:
        gap = volume.along[-1] / (len(planes) - 1)
        even = check_gaps(volume)
        if not (check_drift(volume) and even):
            return
    down, across = planes[0].spacing
    volume.geometry = Geometry(
        (len(planes), planes[0].rows, planes[0].columns), (across, down, gap), planes[0].position, frame.T.ravel()
    )
