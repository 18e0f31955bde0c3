"""Planes to volumes: group what belongs together, order it along the slice normal, check it, place it.

Strict reading raises the first of a volume's ``problems``; ``strict=False`` may repair those that are not ``fatal``.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np

from faimed3d.errors import (
    DuplicateSlices,
    GantryTilt,
    MissingGeometry,
    MissingSlices,
    MixedSeries,
    UnevenSlices,
)
from faimed3d.geometry import Geometry

from .image import planes_of
from .plane import normal_of
from .split import split_volumes
from .tags import T, name_tag

__all__ = ["Volume", "frame_of", "orientation_name", "usual_gap", "volumes_of"]

# Planes of one stack: direction cosines that differ by rounding (three decimals differ by up to 1e-3, which is 0.25 mm
# at 250 mm), pixel spacings by less than half a pixel over 1000 pixels.
ORIENTATION_TOLERANCE = 1e-3
PIXEL_SPACING_TOLERANCE = 5e-4
# Two planes at one place: less apart than positions are written (0.01 mm), and than a tenth of a pixel in microscopy.
SAME_PLACE_MM = 0.01
SAME_PLACE_PIXELS = 0.1
# Positions are written with as few as one decimal: a plane may lie 0.05 mm off the even grid. For thin slices this is
# at most a tenth of a gap, for thick ones a hundredth of a gap is allowed (highdicom's relative tolerance).
GRID_TOLERANCE_MM = 0.06
GRID_TOLERANCE_THIN = 0.1
GRID_TOLERANCE_THICK = 0.01
# Drift in the plane from the first slice to the last: a quarter of a pixel is below what a cosine of four decimals
# makes of 300 mm.
DRIFT_TOLERANCE_PIXELS = 0.25
# Gaps that are n times the usual one, to a tenth of it, are holes left by n - 1 slices.
MULTIPLE_TOLERANCE = 0.1

_EQUAL_TAGS = (
    T.SOPClassUID,
    T.Modality,
    T.ImageType,
    T.EchoTime,
    T.ConvolutionKernel,
    T.Units,
    T.DiffusionBValue,
    T.PhotometricInterpretation,
)
_EQUAL_LABELS = ("image type", "component", "echo time", "b-value", "kernel")


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
        series[header.text(T.SeriesInstanceUID)].append(header)
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
        frame = plane.header.text(T.FrameOfReferenceUID)
        key = (plane.rows, plane.columns, frame, plane.orientation, plane.spacing)
        place = known.get(key)
        if place is None:
            place = next((k for k, cluster in enumerate(clusters) if _belongs(key, cluster[0])), len(clusters))
            if place == len(clusters):
                clusters.append([])
            known[key] = place
        clusters[place].append(plane)
    return clusters


def _belongs(key, plane):
    rows, columns, frame, orientation, spacing = key
    return (
        (rows, columns, frame) == (plane.rows, plane.columns, plane.header.text(T.FrameOfReferenceUID))
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
    _check_doubled(volume)
    _check_mixture(volume)
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
    else:
        gap = volume.along[-1] / (len(planes) - 1)
        even = _check_gaps(volume)
        if not (_check_drift(volume, frame) and even):
            return
    down, across = planes[0].spacing
    volume.geometry = Geometry(
        (len(planes), planes[0].rows, planes[0].columns), (across, down, gap), planes[0].position, frame.T.ravel()
    )


def _check_doubled(volume):
    if not volume.doubled:
        return
    kept, other = volume.doubled[0]
    more = f" and {len(volume.doubled) - 1} more such pairs" if len(volume.doubled) > 1 else ""
    volume.add(
        DuplicateSlices(
            f"{volume.name}: {kept.name} and {other.name} lie at one position ({_where(kept)}){more}, and no time, echo or "
            "acquisition tells them apart. Pass strict=False to drop copies that are equal in every pixel."
        )
    )


def _check_mixture(volume):
    planes = volume.planes
    headers = [plane.header for plane in planes]
    for tag in _EQUAL_TAGS:
        values = [header.values.get(tag) or b"" for header in headers]
        if values.count(values[0]) != len(values):
            texts = [value.strip(b" \0") for value in values]
            if len(set(texts)) > 1 and not (tag == T.EchoTime and _nearly(texts)):
                # the inversion of one slice against the others cannot be undone without knowing which is right
                fatal = tag == T.PhotometricInterpretation
                volume.add(_mixture(volume, name_tag(tag), [t.decode("latin-1") for t in texts]), fatal)
    if planes[0].labels:
        for name in _EQUAL_LABELS:
            texts = [plane.labels.get(name, "") for plane in planes]
            if len(set(texts)) > 1:
                volume.add(_mixture(volume, name, texts))
    scaled = sum(plane.rescaled for plane in planes)
    if 0 < scaled < len(planes):
        rare = scaled * 2 <= len(planes)
        name = next(plane.name for plane in planes if plane.rescaled == rare)
        volume.add(
            MixedSeries(
                f"{volume.name}: {name_tag(T.RescaleSlope)} and {name_tag(T.RescaleIntercept)} are "
                f"{'present' if rare else 'absent'} in {name} and not so in {max(scaled, len(planes) - scaled)} other "
                "slices: their values have different units"
            ),
            fatal=True,
        )


def _mixture(volume, what, texts):
    counts = Counter(texts).most_common()
    (usual, _), (rare, number) = counts[0], counts[-1]
    name = volume.planes[texts.index(rare)].name
    return MixedSeries(
        f"{volume.name}: {what} is {rare[:60]!r} in {number} of {len(texts)} slices ({name}) and {usual[:60]!r} in "
        "others. Pass strict=False to read them as one volume."
    )


def _nearly(texts):
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return False
    return max(numbers) - min(numbers) <= 0.01 * max(numbers)  # scanners write the echo time with rounding


def _check_gaps(volume):
    """Note missing slices and uneven gaps; return whether the planes lie on an even grid."""
    along = volume.along
    gaps = np.diff(along)
    usual = usual_gap(along)
    tolerance = max(GRID_TOLERANCE_THICK * usual, min(GRID_TOLERANCE_MM, GRID_TOLERANCE_THIN * usual))
    mean = along[-1] / len(gaps)
    even_grid = np.abs(along - mean * np.arange(len(along))).max() <= tolerance
    off = np.abs(gaps - usual) > 2 * tolerance
    if even_grid and not off.any():
        return True
    multiples = np.round(gaps / usual)
    holes = (multiples >= 2) & (np.abs(gaps / usual - multiples) <= MULTIPLE_TOLERANCE)
    worst = int(np.argmax(np.abs(gaps - usual)))
    first, second = volume.planes[worst], volume.planes[worst + 1]
    others = int((np.abs(gaps - usual) <= 2 * tolerance).sum())
    text = (
        f"{volume.name}: slice gap {_mm(gaps[worst])} mm between {first.name} ({_where(first)}) and {second.name} "
        f"({_where(second)}), {others} others {_mm(usual)} mm"
    )
    if holes.any() and not (off & ~holes).any():
        number = int((multiples[holes] - 1).sum())
        what = "a slice is missing" if number == 1 else f"{number} slices are missing in {int(holes.sum())} places"
        volume.add(MissingSlices(f"{text}: {what}. Pass strict=False to resample."))
    elif off.any():
        more = f" ({int(off.sum())} gaps differ)" if off.sum() > 1 else ""
        volume.add(UnevenSlices(f"{text}: the gaps are uneven{more}. Pass strict=False to resample."))
    else:
        volume.add(
            UnevenSlices(
                f"{volume.name}: slice gaps grow from {_mm(gaps.min())} to {_mm(gaps.max())} mm: the slices lie on no even "
                "grid. Pass strict=False to resample."
            )
        )
    return False


def usual_gap(along):
    """The gap in mm most slices have (to 1 %), the smaller of two equally frequent ones."""
    ordered = np.sort(np.diff(along))
    counts = np.searchsorted(ordered, ordered * 1.01, side="right") - np.arange(len(ordered))
    start = int(np.argmax(counts))
    return float(np.median(ordered[start : start + counts[start]]))


def _check_drift(volume, frame):
    """Note a tilted gantry or a slice off the line of the others; return whether the stack is upright."""
    along, across = volume.along, volume.across
    planes = volume.planes
    tolerance = DRIFT_TOLERANCE_PIXELS * min(planes[0].spacing)
    if np.abs(across).max() <= tolerance:
        return True
    slope = (along[:, None] * across).sum(0) / (along**2).sum()
    residual = np.abs(across - along[:, None] * slope).max(1)
    if residual.max() <= tolerance:
        angle = math.degrees(math.atan(np.linalg.norm(slope)))
        volume.add(
            GantryTilt(
                f"{volume.name}: the slices drift {_mm(np.linalg.norm(across[-1]))} mm in their plane over "
                f"{_mm(along[-1])} mm: a gantry tilt of {angle:.1f} degrees. Pass strict=False to undo it by resampling."
            )
        )
    else:
        worst = int(np.argmax(np.abs(across - np.median(across, axis=0)).max(1)))
        shift = np.linalg.norm(across[worst] - np.median(across, axis=0))
        volume.add(
            UnevenSlices(
                f"{volume.name}: {planes[worst].name} ({_where(planes[worst])}) lies {_mm(shift)} mm off the line of the "
                "other slices, in its own plane. Pass strict=False to resample."
            )
        )
    return False


def _where(plane):
    """Place of a plane along the axis nearest to its normal: ``z 761.2``."""
    normal = [abs(n) for n in normal_of(plane.orientation)]
    axis = normal.index(max(normal))
    return f"{'xyz'[axis]} {_mm(plane.position[axis])}"


def _mm(value):
    """Millimetres with one decimal where that is exact to 0.001, else with three."""
    value = float(value) + 0.0
    return f"{value:.1f}" if abs(value - round(value, 1)) < 1e-3 else f"{value:.3f}"
