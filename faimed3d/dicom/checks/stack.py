"""Checks of an ordered stack: doubled planes, a mixture of kinds, uneven gaps, drift in the plane.

Each notes what it finds in the volume's problems; the tolerances stand here with their reasons.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from faimed3d.dicom.grouping.attributes import VOLUME_ATTRIBUTES, alike, attributes_of, nearly
from faimed3d.dicom.header.file_header import quote_value
from faimed3d.dicom.header.tags import Tag, name_tag
from faimed3d.dicom.planes.plane import normal_of
from faimed3d.errors import DuplicateSlices, GantryTilt, MissingSlices, MixedSeries, UnevenSlices

__all__ = [
    "check_doubled",
    "check_drift",
    "check_gaps",
    "check_mixture",
    "in_mm",
    "is_even",
    "is_regular",
    "usual_gap",
    "where",
]

# Positions are written with as few as one decimal: each of their three numbers may be 0.05 mm off, the plane 0.09 mm
# off the even grid. For thin slices this is at most a tenth of a gap, for thick ones a hundredth of a gap is allowed
# (highdicom's relative tolerance).
GRID_TOLERANCE_MM = 0.09
GRID_TOLERANCE_THIN = 0.1
GRID_TOLERANCE_THICK = 0.01
# Drift in the plane from the first slice to the last: a quarter of a pixel is below what a cosine of four decimals
# makes of 300 mm. Small pixels may drift as far as positions are rounded.
DRIFT_TOLERANCE_PIXELS = 0.25
# Gaps that are n times the usual one, to a tenth of it, are holes left by n - 1 slices.
MULTIPLE_TOLERANCE = 0.1
# A gap below this share of one beside it is short; this many of them are the gaps between the slices of two stacks that
# lie in each other. Tables that move unevenly stay above the share, and one slice at a wrong place makes one short gap.
SHORT_SHARE = 2 / 3
MOST_SHORT = 2

_EQUAL_TAGS = (
    Tag.SOPClassUID,
    Tag.Modality,
    Tag.ImageType,
    Tag.EchoTime,
    Tag.EchoNumbers,
    Tag.InversionTime,
    Tag.FlipAngle,
    Tag.ConvolutionKernel,
    Tag.KVP,
    Tag.TemporalPositionIdentifier,
    Tag.Units,
    Tag.PhotometricInterpretation,
)
# Where a slice lacks one of these, it may still be like the others
_MAY_LACK = (Tag.EchoNumbers, Tag.InversionTime, Tag.FlipAngle, Tag.KVP, Tag.TemporalPositionIdentifier)
_ROUNDED = (Tag.EchoTime, Tag.InversionTime, Tag.FlipAngle, Tag.KVP)
# Values of other units, or of another kind of image, are no volume however they are read; nor is one slice inverted
# against the others, for which of them is right is unknown
_FATAL = (Tag.SOPClassUID, Tag.Modality, Tag.Units, Tag.PhotometricInterpretation)
_EQUAL_INTEGERS = (Tag.BitsStored, Tag.HighBit, Tag.PixelRepresentation)


def check_doubled(volume):
    if not volume.doubled:
        return
    frame = np.reshape(volume.planes[0].orientation, (2, 3))
    for kept, other in volume.doubled:
        beside = np.linalg.norm(frame @ np.subtract(other.position, kept.position))
        if beside > max(kept.spacing):
            volume.add(
                MixedSeries(
                    f"{volume.name}: {kept.name} and {other.name} lie side by side, {in_mm(beside)} mm apart in one "
                    f"plane ({where(kept)}): more than one stack. Move the files of the others away"
                ),
                fatal=True,
            )
            return
    kept, other = volume.doubled[0]
    more = f" and {len(volume.doubled) - 1} more such pairs" if len(volume.doubled) > 1 else ""
    volume.add(
        DuplicateSlices(
            f"{volume.name}: {kept.name} and {other.name} lie at one position ({where(kept)}){more}, and no time, "
            "echo or acquisition tells them apart. Pass strict=False to drop copies that are equal in every pixel."
        )
    )


def check_mixture(volume):
    planes = volume.planes
    headers = [plane.header for plane in planes]
    for tag in _EQUAL_TAGS:
        values = [header.values.get(tag) or b"" for header in headers]
        if values.count(values[0]) != len(values):
            texts = [value.strip(b" \0").decode("latin-1") for value in values]
            held = [text for text in texts if text or tag not in _MAY_LACK]
            if len(set(held)) > 1 and not (tag in _ROUNDED and nearly(held)):
                volume.add(_mixture(volume, tag, texts), fatal=tag in _FATAL)
    for tag in _EQUAL_INTEGERS:
        values = [(header.values.get(tag), header.order) for header in headers]
        if values.count(values[0]) != len(values):
            texts = [_integer_text(*value) for value in values]
            if len(set(texts)) > 1:
                volume.add(_mixture(volume, tag, texts))
    attributes = [attributes_of(plane) for plane in planes]
    for name in VOLUME_ATTRIBUTES if planes[0].attributes else ("b-value", "gradient"):
        texts = [label.get(name, "") for label in attributes]
        if not alike(name, texts):
            volume.add(_mixture(volume, name, texts))
    scaled = Counter(plane.rescaled for plane in planes)
    if len(scaled) > 1:
        rare, number = scaled.most_common()[-1]
        name = next(plane.name for plane in planes if plane.rescaled == rare)
        held = ("neither of them", "the first alone", "the second alone", "both")[rare]
        volume.add(
            MixedSeries(
                f"{volume.name}: of {name_tag(Tag.RescaleSlope)} and {name_tag(Tag.RescaleIntercept)} {name} has "
                f"{held}, "
                f"unlike {len(planes) - number} other slices: their values have different units"
            ),
            fatal=True,
        )


def _mixture(volume, what, texts):
    """The error of slices that differ in an element (given by its tag) or in a label."""
    tag, what = (what, name_tag(what)) if isinstance(what, int) else (None, what)
    counts = Counter(texts).most_common()
    (usual, _), (rare, number) = counts[0], counts[-1]
    name = volume.planes[texts.index(rare)].name
    return MixedSeries(
        f"{volume.name}: {what} is {quote_value(rare, tag)!r} in {number} of {len(texts)} slices ({name}) and "
        f"{quote_value(usual, tag)!r} in others. Pass strict=False to read them as one volume."
    )


def _integer_text(raw, order):
    return str(int.from_bytes(raw, "little" if order == "<" else "big")) if raw else ""


def check_gaps(volume):
    """Note missing slices and uneven gaps; return whether the planes lie on an even grid."""
    along = volume.along
    gaps = np.diff(along)
    usual = usual_gap(along)
    tolerance = _gap_tolerance(usual)
    if _is_even(along, tolerance):
        return True
    off = np.abs(gaps - usual) > 2 * tolerance
    worst = int(np.argmax(np.abs(gaps - usual)))
    first, second = volume.planes[worst], volume.planes[worst + 1]
    others = int((np.abs(gaps - usual) <= 2 * tolerance).sum())
    text = (
        f"{volume.name}: slice gap {in_mm(gaps[worst])} mm between {first.name} ({where(first)}) and {second.name} "
        f"({where(second)}), {others} others {in_mm(usual)} mm"
    )
    holes = _holes(gaps, usual)
    if holes.any() and not (off & ~holes).any():
        number, places = int((np.round(gaps / usual)[holes] - 1).sum()), int(holes.sum())
        what = "a slice is missing" if number == 1 else f"{number} slices are missing"
        what += f" in {places} places" if places > 1 else ""
        volume.add(MissingSlices(f"{text}: {what}. Pass strict=False to resample."))
    elif _short_gaps(gaps) > MOST_SHORT:
        volume.add(
            UnevenSlices(
                f"{text}: {_short_gaps(gaps)} of the gaps are short, {in_mm(gaps.min())} mm the shortest, so more than "
                "one stack, and no acquisition, time or contrast tells them from each other. Move the files of the "
                "others away"
            ),
            fatal=True,
        )
    elif off.any():
        more = f" ({int(off.sum())} gaps differ)" if off.sum() > 1 else ""
        volume.add(UnevenSlices(f"{text}: the gaps are uneven{more}. Pass strict=False to resample."))
    else:
        volume.add(
            UnevenSlices(
                f"{volume.name}: slice gaps grow from {in_mm(gaps.min())} to {in_mm(gaps.max())} mm: they lie on no "
                "even grid. Pass strict=False to resample."
            )
        )
    return False


def is_regular(along):
    """Whether slices at these distances in mm, in any order, lie on an even grid, some of its places empty or not."""
    along = np.sort(along) - np.min(along)
    gaps, usual = np.diff(along), usual_gap(along)
    if not usual > 0:
        return False
    tolerance = _gap_tolerance(usual)
    return _is_even(along, tolerance) or not ((np.abs(gaps - usual) > 2 * tolerance) & ~_holes(gaps, usual)).any()


def _gap_tolerance(usual):
    return max(GRID_TOLERANCE_THICK * usual, min(GRID_TOLERANCE_MM, GRID_TOLERANCE_THIN * usual))


def is_even(along):
    """Whether slices at these rising distances in mm lie on an even grid, to the tolerance of their gaps."""
    return _is_even(along, _gap_tolerance(usual_gap(along)))


def _is_even(along, tolerance):
    """Whether slices lie within ``tolerance`` of the even grid that fits them best, and no gap stands out."""
    numbers = np.arange(len(along)) - (len(along) - 1) / 2
    step = (numbers @ along) / (numbers @ numbers)
    on_grid = np.abs(along - along.mean() - step * numbers).max() <= tolerance
    return on_grid and not (np.abs(np.diff(along) - usual_gap(along)) > 2 * tolerance).any()


def _holes(gaps, usual):
    multiples = np.round(gaps / usual)
    return (multiples >= 2) & (np.abs(gaps / usual - multiples) <= MULTIPLE_TOLERANCE)


def _short_gaps(gaps):
    beside = np.maximum(np.append(gaps[1:], 0), np.append(0, gaps[:-1]))
    return int((gaps < SHORT_SHARE * beside).sum())


def usual_gap(along):
    """The gap in mm most slices have (to 1 %), the smaller of two equally frequent ones."""
    ordered = np.sort(np.diff(along))
    counts = np.searchsorted(ordered, ordered * 1.01, side="right") - np.arange(len(ordered))
    start = int(np.argmax(counts))
    return float(np.median(ordered[start : start + counts[start]]))


def check_drift(volume):
    """Note a tilted gantry or a slice off the line of the others; return whether the stack is upright."""
    along, across = volume.along, volume.across
    planes = volume.planes
    tolerance = max(DRIFT_TOLERANCE_PIXELS * min(planes[0].spacing), GRID_TOLERANCE_MM)
    if np.abs(across).max() <= tolerance:
        return True
    slope = (along[:, None] * across).sum(0) / (along**2).sum()
    residual = np.abs(across - along[:, None] * slope).max(1)
    if residual.max() <= tolerance:
        angle = math.degrees(math.atan(np.linalg.norm(slope)))
        volume.add(
            GantryTilt(
                f"{volume.name}: the slices drift {in_mm(np.linalg.norm(across[-1]))} mm in their plane over "
                f"{in_mm(along[-1])} mm: a gantry tilt of {angle:.1f} degrees. Pass strict=False to "
                "undo it by resampling."
            )
        )
    else:
        worst = int(np.argmax(np.abs(across - np.median(across, axis=0)).max(1)))
        shift = np.linalg.norm(across[worst] - np.median(across, axis=0))
        volume.add(
            UnevenSlices(
                f"{volume.name}: {planes[worst].name} ({where(planes[worst])}) lies {in_mm(shift)} mm off the line of "
                "the other slices, in its own plane. Pass strict=False to resample."
            )
        )
    return False


def where(plane):
    """Place of a plane along the axis nearest to its normal: ``z 761.2``."""
    normal = [abs(n) for n in normal_of(plane.orientation)]
    axis = normal.index(max(normal))
    return f"{'xyz'[axis]} {in_mm(plane.position[axis])}"


def in_mm(value):
    """Millimetres with one decimal where that is exact to 0.001, else with three."""
    value = float(value) + 0.0
    return f"{value:.1f}" if abs(value - round(value, 1)) < 1e-3 else f"{value:.3f}"
