"""Checks of the slices among themselves: doubled ones, a mixture, thickness, gaps, drift in the plane."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from faimed3d.dicom.checks.wording import mm_text, position_text
from faimed3d.dicom.finding import Fault
from faimed3d.dicom.grouping.attributes import TIMES, VOLUME_ATTRIBUTES, alike, attributes_of, nearly
from faimed3d.dicom.grouping.dicom_volume import Volume, is_straight
from faimed3d.dicom.grouping.gaps import drift_tolerance, gap_tolerance, holes, is_even, short_gaps, usual_gap
from faimed3d.dicom.grouping.identifiers import KIND_TAGS
from faimed3d.dicom.grouping.surroundings import Surroundings
from faimed3d.dicom.header import Tag, name_tag, quote_value
from faimed3d.dicom.planes import PIXEL_MM, plane_axes
from faimed3d.errors import DuplicateSlices, GantryTilt, MissingGeometry, MissingSlices, MixedSeries, UnevenSlices

_MOST_SHORT = 2  # more short gaps than one slice at a wrong position makes: the gaps between the slices of two stacks

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
# A slice that lacks one of these may still be like the others
_MAY_LACK = (Tag.EchoNumbers, Tag.InversionTime, Tag.FlipAngle, Tag.KVP, Tag.TemporalPositionIdentifier)
_ROUNDED = (Tag.EchoTime, Tag.InversionTime, Tag.FlipAngle, Tag.KVP)
# Nothing makes one volume of these; nor of a slice that is inverted against the others: which are right is unknown.
_NEVER_ONE = (*KIND_TAGS, Tag.PhotometricInterpretation)
_EQUAL_INTEGERS = (Tag.BitsStored, Tag.HighBit, Tag.PixelRepresentation)
_RESCALED = ("neither of them", "the first alone", "the second alone", "both")
_AS_ONE = "read them as one volume"


def find_stacks_side_by_side(volume: Volume, around: Surroundings) -> Iterator[Fault]:
    """Slices at one position along the normal that lie beside each other in their plane."""
    if not volume.doubled:
        return
    in_plane = plane_axes(volume.planes[0])[:2]
    for kept, other in volume.doubled:
        apart = np.linalg.norm(in_plane @ np.subtract(other.position, kept.position))
        if apart > max(kept.spacing):
            yield Fault(
                MixedSeries,
                f"{volume.name}: {kept.name} and {other.name} lie side by side, {mm_text(apart)} mm apart in one plane "
                f"({position_text(kept)}): more than one stack",
                (kept, other),
                way_out="Move the files of the others away",
            )
            return


def find_doubled(volume: Volume, around: Surroundings) -> Iterator[Fault]:
    """Several slices at one position."""
    if not volume.doubled or any(find_stacks_side_by_side(volume, around)):
        return
    kept, other = volume.doubled[0]
    more = f" and {len(volume.doubled) - 1} more such pairs" if len(volume.doubled) > 1 else ""
    yield Fault(
        DuplicateSlices,
        f"{volume.name}: {kept.name} and {other.name} lie at one position ({position_text(kept)}){more}, and "
        f"{_what_tells(volume)}",
        tuple(plane for pair in volume.doubled for plane in pair),
        repair="drop copies that are equal in every pixel",
    )


def _what_tells(volume: Volume) -> str:
    """Why doubled slices are not two volumes."""
    pairs = [(attributes_of(kept), attributes_of(other)) for kept, other in volume.doubled]
    differing = [name for name in (*VOLUME_ATTRIBUTES, *TIMES) if all(a.get(name) != b.get(name) for a, b in pairs)]
    if not differing:
        return "no time, echo or acquisition tells them apart"
    names = ", ".join(dict.fromkeys(differing))
    return f"what differs in them ({names}) makes no whole volumes"


def find_mixture(volume: Volume, around: Surroundings) -> Iterator[Fault]:
    """Slices that differ in what all slices of a volume share."""
    yield from _other_texts(volume)
    yield from _other_integers(volume)
    yield from _other_attributes(volume, around)
    yield from _other_rescaling(volume)
    yield from _half_lost(volume)


def _other_texts(volume: Volume) -> Iterator[Fault]:
    for tag in _EQUAL_TAGS:
        values = [plane.header.values.get(tag) or b"" for plane in volume.planes]
        if values.count(values[0]) != len(values):
            texts = [value.strip(b" \0").decode("latin-1") for value in values]
            held = [text for text in texts if text or tag not in _MAY_LACK]
            if len(set(held)) > 1 and not (tag in _ROUNDED and nearly(held)):
                yield _mixture(volume, name_tag(tag), texts, tag, "" if tag in _NEVER_ONE else _AS_ONE)


def _other_integers(volume: Volume) -> Iterator[Fault]:
    for tag in _EQUAL_INTEGERS:
        values = [(plane.header.values.get(tag), plane.header.byte_order) for plane in volume.planes]
        if values.count(values[0]) != len(values):
            texts = [_integer_text(*value) for value in values]
            if len(set(texts)) > 1:
                yield _mixture(volume, name_tag(tag), texts, tag)


def _other_attributes(volume: Volume, around: Surroundings) -> Iterator[Fault]:
    attributes = [attributes_of(plane) for plane in volume.planes]
    own = VOLUME_ATTRIBUTES if volume.planes[0].attributes else ("b-value", "gradient", "spin labelling")
    for name in (*own, *around.family.times):  # what tells siblings apart is one in each of them
        texts = [each.get(name, "") for each in attributes]
        if not alike(name, texts):
            yield _mixture(volume, name, texts)


def _other_rescaling(volume: Volume) -> Iterator[Fault]:
    count = Counter(plane.rescaled for plane in volume.planes)
    if len(count) > 1:
        rare, number = count.most_common()[-1]
        plane = next(plane for plane in volume.planes if plane.rescaled == rare)
        yield Fault(
            MixedSeries,
            f"{volume.name}: of {name_tag(Tag.RescaleSlope)} and {name_tag(Tag.RescaleIntercept)} {plane.name} has "
            f"{_RESCALED[rare]}, unlike {len(volume.planes) - number} other slices: their values have different units",
            (plane,),
        )


def _half_lost(volume: Volume) -> Iterator[Fault]:
    name = volume.half_lost
    if name:
        planes = tuple(plane for plane in volume.planes if name not in attributes_of(plane))
        yield Fault(
            MixedSeries,
            f"{volume.name}: {name} tells stacks apart that lie between each other's slices, and {len(planes)} of "
            f"{len(volume.planes)} slices lack it ({planes[0].name})",
            planes,
            repair=_AS_ONE,
        )


def _mixture(volume: Volume, what: str, texts: Sequence[str], tag: int | None = None, repair: str = _AS_ONE) -> Fault:
    """The fault of slices that differ in ``what``; ``texts`` holds the value of each slice."""
    counts = Counter(texts).most_common()
    (usual, _), (rare, number) = counts[0], counts[-1]
    planes = tuple(plane for plane, text in zip(volume.planes, texts, strict=True) if text == rare)
    return Fault(
        MixedSeries,
        f"{volume.name}: {what} is {quote_value(rare, tag)!r} in {number} of {len(texts)} slices ({planes[0].name}) "
        f"and {quote_value(usual, tag)!r} in others",
        planes,
        repair=repair,
    )


def _integer_text(raw: bytes | None, order: str) -> str:
    if raw and len(raw) > 8:  # an element with a damaged length
        return f"{len(raw)} bytes"
    return str(int.from_bytes(raw, "little" if order == "<" else "big")) if raw else ""


def find_unknown_thickness(volume: Volume, around: Surroundings) -> Iterator[Fault]:
    """A single slice whose header does not say how thick it is."""
    if len(volume.planes) > 1:
        return
    (plane,) = volume.planes
    if not plane.stated_gap:
        yield Fault(
            MissingGeometry,
            f"{plane.header.path}: a single slice, and neither {name_tag(Tag.SliceThickness)} nor "
            f"{name_tag(Tag.SpacingBetweenSlices)} says how thick it is",
            volume.planes,
        )
    elif not PIXEL_MM[0] <= plane.stated_gap <= PIXEL_MM[1]:
        yield Fault(
            MissingGeometry,
            f"{plane.header.path}: a single slice, and its {name_tag(Tag.SliceThickness)} or "
            f"{name_tag(Tag.SpacingBetweenSlices)} {plane.stated_gap} mm cannot be a thickness",
            volume.planes,
        )


def find_uneven_gaps(volume: Volume, around: Surroundings) -> Iterator[Fault]:
    """Gaps between slices that are not all equal: holes, or slices that lie off the even grid."""
    if len(volume.planes) < 2 or volume.geometry or is_even(volume.along):
        return
    gaps, usual = np.diff(volume.along), usual_gap(volume.along)
    differs = np.abs(gaps - usual) > 2 * gap_tolerance(usual)
    worst = int(np.argmax(np.abs(gaps - usual)))
    first, second = volume.planes[worst], volume.planes[worst + 1]
    text = (
        f"{volume.name}: slice gap {mm_text(gaps[worst])} mm between {first.name} ({position_text(first)}) and "
        f"{second.name} ({position_text(second)}), {int((~differs).sum())} others {mm_text(usual)} mm"
    )
    lost = holes(gaps, usual)
    if lost.any() and not (differs & ~lost).any():
        number, times = int((np.round(gaps / usual)[lost] - 1).sum()), int(lost.sum())
        what = "a slice is missing" if number == 1 else f"{number} slices are missing"
        what += f" in {times} places" if times > 1 else ""
        beside = tuple(plane for k in np.flatnonzero(lost) for plane in volume.planes[k : k + 2])
        yield Fault(MissingSlices, f"{text}: {what}", beside, repair="resample")
    elif short_gaps(gaps) > _MOST_SHORT:
        yield Fault(
            UnevenSlices,
            f"{text}: {short_gaps(gaps)} of the gaps are short, {mm_text(gaps.min())} mm the shortest, so more than "
            "one stack, and no acquisition, time or contrast tells them from each other",
            volume.planes,
            way_out="Move the files of the others away",
        )
    elif differs.any():
        more = f" ({int(differs.sum())} gaps differ)" if differs.sum() > 1 else ""
        yield Fault(UnevenSlices, f"{text}: the gaps are uneven{more}", (first, second), repair="resample")
    else:
        yield Fault(
            UnevenSlices,
            f"{volume.name}: slice gaps grow from {mm_text(gaps.min())} to {mm_text(gaps.max())} mm: they lie on no "
            "even grid",
            volume.planes,
            repair="resample",
        )


def find_drift(volume: Volume, around: Surroundings) -> Iterator[Fault]:
    """Slices that are shifted in their own plane: by a tilted gantry, or one off the line of the others."""
    along, across, planes = volume.along, volume.across, volume.planes
    if len(planes) < 2 or is_straight(planes[0], across):
        return
    slope = (along[:, None] * across).sum(0) / (along**2).sum()
    residual = np.abs(across - along[:, None] * slope).max(1)
    if residual.max() <= drift_tolerance(min(planes[0].spacing)):
        angle = math.degrees(math.atan(np.linalg.norm(slope)))
        yield Fault(
            GantryTilt,
            f"{volume.name}: the slices drift {mm_text(np.linalg.norm(across[-1]))} mm in their plane over "
            f"{mm_text(along[-1])} mm: a gantry tilt of {angle:.1f} degrees",
            planes,
            repair="undo it by resampling",
        )
    else:
        shifts = np.linalg.norm(across - np.median(across, axis=0), axis=1)
        worst = int(np.argmax(np.abs(across - np.median(across, axis=0)).max(1)))
        yield Fault(
            UnevenSlices,
            f"{volume.name}: {planes[worst].name} ({position_text(planes[worst])}) lies {mm_text(shifts[worst])} mm "
            "off the line of the other slices, in its own plane",
            (planes[worst],),
            repair="resample",
        )
