"""Planes to volumes: group what belongs together, order it along the slice normal, check it, place it.

Strict reading raises the first of a volume's ``problems``; ``strict=False`` may repair those that are not ``fatal``.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from faimed3d.errors import MissingGeometry, MixedSeries
from faimed3d.geometry import Geometry

from .check import check_doubled, check_drift, check_gaps, check_mixture
from .image import planes_of
from .plane import PIXEL_MM, normal_of
from .split import split_volumes
from .tags import T, name_tag

__all__ = ["Volume", "frame_of", "orientation_name", "volumes_of"]

# Planes of one stack: direction cosines that differ by rounding (three decimals differ by up to 1e-3, which is 0.25 mm
# at 250 mm), pixel spacings by less than half a pixel over 1000 pixels.
ORIENTATION_TOLERANCE = 1e-3
PIXEL_SPACING_TOLERANCE = 5e-4
# Two planes at one place: less apart than positions are written (0.01 mm), and than a tenth of a pixel in microscopy.
SAME_PLACE_MM = 0.01
SAME_PLACE_PIXELS = 0.1


@dataclass(eq=False)
class Volume:
    """Planes that make one volume, ordered along the slice normal.

    Attributes:
        planes: in slice order, doubled ones left out.
        folder: where its files lie.
        distinct: what tells it from its siblings in the series, in words.
        problems: ReadErrors, the worst first.
        fatal: those of the problems that ``strict=False`` cannot repair.
        doubled: pairs (kept plane, plane at the same place).
        geometry: the grid as the headers give it; None where the planes are on no even grid.
        along, across: per plane the distance in mm along the normal, and (x, y) in the plane, from the first plane.
    """

    planes: list
    folder: str = ""
    distinct: str = ""
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
    def placeless(self):
        """Whether it is an intact series of images that never had a place in the patient, such as screen captures.

        A slice whose header was damaged may lose its place, too; it then has lost more than that, and is no such image.
        """
        return not self.stackable and all(
            plane.header.known_series
            and T.ImagePositionPatient not in plane.header.values
            and T.ImageOrientationPatient not in plane.header.values
            for plane in self.planes
        )

    def add(self, error, fatal=False):
        """Note a problem."""
        self.problems.append(error)
        if fatal:
            self.fatal.append(error)


def volumes_of(scan):
    """List the volumes in a scan, ordered by series number and then as their slices differ.

    Localizers that share a series with other images are counted in ``scan.skipped``.
    """
    series = defaultdict(list)
    for header in scan.images:
        uid = header.text(T.SeriesInstanceUID)
        # without a series UID two patients must not become one
        series[uid, "" if uid else header.text(T.StudyInstanceUID)].append(header)
    volumes = []
    for headers in sorted(series.values(), key=_series_order):
        volumes += _volumes_of_series(scan, headers)
    return volumes


def _series_order(headers):
    number = headers[0].text(T.SeriesNumber)
    return (int(number) if number.isdigit() else 1 << 31), headers[0].path


def _volumes_of_series(scan, headers):
    scouts = [h for h in headers if "LOCALIZER" in h.text(T.ImageType).upper().split("\\")]
    if 0 < len(scouts) < len(headers):
        scan.skipped["localizers"] += len(scouts)
        headers = [h for h in headers if h not in scouts]
    planes = [plane for header in headers for plane in planes_of(header)]
    lost = [plane for plane in planes if plane.error]
    clusters = _clusters([plane for plane in planes if not plane.error])
    if not clusters:
        volume = Volume(lost, scan.folder)
        for error in dict.fromkeys(plane.error for plane in lost):
            volume.add(error, fatal=True)
        return [volume]
    largest = max(len(cluster) for cluster in clusters)
    odd = [cluster for cluster in clusters if len(cluster) == 1 and largest >= 3]
    kept = [cluster for cluster in clusters if cluster not in odd]
    volumes = []
    for cluster in kept:
        parts = split_volumes(cluster, _place_ids(cluster))
        for part in parts:
            volume = Volume(part.planes, scan.folder, distinct=part.distinct, doubled=part.doubled)
            if len(kept) > 1:
                volume.distinct = ", ".join(filter(None, (_shape_label(cluster[0]), part.distinct)))
            volumes.append(volume)
    main = max(volumes, key=lambda volume: len(volume.planes))
    for plane in lost:
        main.add(plane.error, fatal=True)
    for (plane,) in odd:
        reference = main.planes[0]
        main.add(
            MixedSeries(
                f"{main.name}: {plane.name} differs from the {len(main.planes)} other slices of its series in "
                f"{_difference(plane, reference)}. Pass strict=False to leave it out."
            )
        )
    for volume in volumes:
        _examine(volume)
    return volumes


def _clusters(planes):
    """Group planes of one matrix, pixel spacing, orientation and frame of reference."""
    known, clusters = {}, []
    for plane in planes:
        key = (plane.rows, plane.columns, _world(plane), plane.orientation, plane.spacing)
        place = known.get(key)
        if place is None:
            place = next((k for k, cluster in enumerate(clusters) if _belongs(key, cluster[0])), len(clusters))
            if place == len(clusters):
                clusters.append([])
            known[key] = place
        clusters[place].append(plane)
    return clusters


def _world(plane):
    """What planes of one volume share: the frame of reference, and for a segmentation its file and so its numbers."""
    frame = plane.header.text(T.FrameOfReferenceUID)
    return frame if plane.segments is None else (frame, plane.header.path)


def _belongs(key, plane):
    rows, columns, frame, orientation, spacing = key
    return (
        (rows, columns, frame) == (plane.rows, plane.columns, _world(plane))
        and max(abs(a - b) for a, b in zip(orientation, plane.orientation, strict=True)) <= ORIENTATION_TOLERANCE
        and max(abs(a / b - 1) for a, b in zip(spacing, plane.spacing, strict=True)) <= PIXEL_SPACING_TOLERANCE
    )


def _difference(plane, other):
    if (plane.rows, plane.columns) != (other.rows, other.columns):
        return f"matrix: {plane.rows} x {plane.columns}, not {other.rows} x {other.columns} {name_tag(T.Rows)}"
    if max(abs(a / b - 1) for a, b in zip(plane.spacing, other.spacing, strict=True)) > PIXEL_SPACING_TOLERANCE:
        return f"{name_tag(T.PixelSpacing)}: {plane.spacing} mm, not {other.spacing} mm"
    gap = max(abs(a - b) for a, b in zip(plane.orientation, other.orientation, strict=True))
    if gap > ORIENTATION_TOLERANCE:
        return f"{name_tag(T.ImageOrientationPatient)}: {plane.orientation}, not {other.orientation}"
    return name_tag(T.FrameOfReferenceUID)


def _shape_label(plane):
    return f"{orientation_name(plane)} {plane.rows}x{plane.columns}"


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


def _same_place(plane):
    return min(SAME_PLACE_MM, SAME_PLACE_PIXELS * min(plane.spacing))


def _place_ids(planes):
    """A number for each plane, equal for planes at the same place."""
    offsets = np.array([plane.position for plane in planes]) @ frame_of(planes[0]).T
    limit = _same_place(planes[0])
    ids = np.zeros(len(planes), dtype=np.int64)
    for axis in (2, 0, 1):
        order = np.argsort(offsets[:, axis], kind="stable")
        steps = np.diff(offsets[order, axis], prepend=offsets[order[:1], axis]) > limit
        level = np.empty_like(ids)
        level[order] = np.cumsum(steps)
        ids = np.unique(ids * (level.max() + 1) + level, return_inverse=True)[1]
    return ids.tolist()


def _examine(volume):
    """Order the planes of a volume, note its problems, set its geometry."""
    planes = volume.planes
    frame = frame_of(planes[0])
    positions = np.array([plane.position for plane in planes])
    order = np.argsort(positions @ frame[2], kind="stable")
    planes = [planes[k] for k in order]
    along = (positions @ frame[2])[order]
    limit = _same_place(planes[0])
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
                    f"{planes[0].header.path}: a single slice, and neither {name_tag(T.SliceThickness)} nor "
                    f"{name_tag(T.SpacingBetweenSlices)} says how thick it is"
                ),
                fatal=True,
            )
            return
        if not PIXEL_MM[0] <= gap <= PIXEL_MM[1]:
            volume.add(
                MissingGeometry(
                    f"{planes[0].header.path}: a single slice, and its {name_tag(T.SliceThickness)} or "
                    f"{name_tag(T.SpacingBetweenSlices)} {gap} mm cannot be a thickness"
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
