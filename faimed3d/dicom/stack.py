"""Planes to volumes: group what belongs together, order it along the slice normal, check it, place it.

Strict reading raises the first of a volume's ``problems``; ``strict=False`` may repair those that are not ``fatal``.
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from faimed3d.errors import MissingGeometry, MissingSlices, MixedSeries, ReadError
from faimed3d.geometry import Geometry

from .check import check_doubled, check_drift, check_gaps, check_mixture, check_steps
from .cluster import belongs, clusters_of, difference, place_ids, same_place
from .header import shown
from .image import planes_of
from .plane import PIXEL_MM, frame_of, orientation_name, single_plane
from .scan import Scan, scan_below
from .split import split_interleaved, split_volumes
from .tags import T, name_tag

__all__ = ["Volume", "volumes_of"]


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
    volumes = _volumes_of(scan)
    if scan.folders:
        _note_lost_below(volumes, scan)
    return volumes


def _volumes_of(scan):
    series = defaultdict(list)
    for header in scan.images:
        uid = header.text(T.SeriesInstanceUID)
        # without a series UID two patients must not become one
        series[uid, "" if uid else header.text(T.StudyInstanceUID)].append(header)
    volumes = []
    for headers in sorted(series.values(), key=_series_order):
        volumes += _volumes_of_series(scan, headers)
    return volumes


def _note_lost_below(volumes, scan):
    """Note the volumes to which images in sub-folders would add slices: half of a series is no volume."""
    below = scan_below(scan, {volume.header.text(T.SeriesInstanceUID) for volume in volumes} - {""})
    if not below:
        return
    whole = {
        (id(plane.header), plane.frame, plane.corner): other
        for other in _volumes_of(Scan(scan.folder, scan.images + below))
        for plane in other.planes
    }
    for volume in volumes:
        first = volume.planes[0]
        other = whole.get((id(first.header), first.frame, first.corner), volume)
        more = [plane for plane in other.planes if plane.header in below]
        if more and len(other.planes) > len(volume.planes):
            folder = os.path.relpath(os.path.dirname(more[0].header.path), scan.folder or ".")
            volume.problems.insert(
                0,
                MissingSlices(
                    f"{volume.name}: {len(other.planes) - len(volume.planes)} more slices of this volume lie in "
                    f"sub-folders, {more[0].name} in {folder}. Move them here, or pass strict=False to leave them out."
                ),
            )


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
    clusters = clusters_of([plane for plane in planes if not plane.error])
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
        for part in split_interleaved(split_volumes(cluster, place_ids(cluster)), frame_of(cluster[0])[2]):
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
                f"{difference(plane, reference)}. Pass strict=False to leave it out."
            )
        )
    for volume in volumes:
        _examine(volume)
    _note_coloured(main, scan)
    return volumes


def _note_coloured(volume, scan):
    """Note colour images of the volume's series that lie on its grid, at places of their own: slices that are lost."""
    first = volume.planes[0]
    uid = first.header.text(T.SeriesInstanceUID)
    for header in scan.colour:
        if header.text(T.SeriesInstanceUID) != uid or header.text(T.SOPClassUID) != first.header.text(T.SOPClassUID):
            continue
        try:
            plane = single_plane(header, header.integer(T.Rows), header.integer(T.Columns))
        except ReadError:  # without a place of its own it is a capture beside the slices
            continue
        if belongs(plane, first) and len(set(place_ids([*volume.planes, plane]))) > len(volume.planes):
            volume.add(
                MixedSeries(
                    f"{volume.name}: {plane.name} is a slice in colour ({name_tag(T.PhotometricInterpretation)} "
                    f"{shown(header.text(T.PhotometricInterpretation), T.PhotometricInterpretation)}), the "
                    f"{len(volume.planes)} others are not. Pass strict=False to leave it out."
                )
            )
            return


def _shape_label(plane):
    return f"{orientation_name(plane)} {plane.rows}x{plane.columns}"


def _examine(volume):
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
        if even:
            check_steps(volume, gap)
        if not (check_drift(volume) and even):
            return
    down, across = planes[0].spacing
    volume.geometry = Geometry(
        (len(planes), planes[0].rows, planes[0].columns), (across, down, gap), planes[0].position, frame.T.ravel()
    )
