"""Checks whether all slices are there, as far as the header and the other volumes of the series tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from pydicom.uid import PositronEmissionTomographyImageStorage

from faimed3d.dicom.checks.wording import mm_text, position_text
from faimed3d.dicom.finding import Fault
from faimed3d.dicom.grouping.dicom_volume import Volume
from faimed3d.dicom.grouping.gaps import (
    GRID_TOLERANCE_MM,
    MULTIPLE_TOLERANCE,
    first_stated_gap,
    gap_tolerance,
    is_even,
    usual_gap,
)
from faimed3d.dicom.grouping.identifiers import instance_number, whole_number
from faimed3d.dicom.grouping.surroundings import Surroundings
from faimed3d.dicom.header import Tag, name_tag
from faimed3d.dicom.planes import Plane, plane_axes
from faimed3d.errors import MissingSlices

_AS_IT_IS = "read those that are there"
# Two positions of the table may differ in these alone
_OF_SLABS = {"stack", "frame time", "acquisition", "acquisition time", "content time"}
_SMALLEST_SLAB = 3  # slices


def find_early_end(volume: Volume, around: Surroundings) -> Iterator[Fault]:
    """A volume that ends before its siblings do."""
    for sibling, plane, beyond in _lacking(volume, around):
        if beyond:
            own, others = len(volume.planes), len(sibling.planes)
            sizes = f"{volume.distinct} has {own} slices, {sibling.distinct} has {others}"
            yield Fault(
                MissingSlices,
                f"{volume.name}: {sizes}: the slice beside {plane.name} ({position_text(plane)}) is missing at its end",
                (plane,),
                repair=_AS_IT_IS,
            )
            return


def find_every_nth(volume: Volume, around: Surroundings) -> Iterator[Fault]:
    """An even stack of which only every n-th slice is there, as its numbers and the header's gap both say.

    Either of them alone says nothing: numbers also count the images of another echo, and slices may be thin and far
    apart.
    """
    planes = volume.planes
    own = [number for plane in planes if (number := instance_number(plane)) is not None]
    if len(planes) < 2 or len(set(volume.files)) < len(planes) or len(own) < len(planes):
        return
    steps = set(np.diff(own).tolist())
    step = abs(steps.pop()) if len(steps) == 1 else 0
    ratio, words = _times_the_stated_gap(volume)
    if ratio < 2 or step < 2 or step % ratio:
        return
    if around.instance_numbers.issuperset(range(min(own), max(own) + 1)):
        return  # none is missing: the others are of other volumes
    lost = "every second slice is missing" if ratio == 2 else f"{ratio - 1} of every {ratio} slices are missing"
    yield Fault(
        MissingSlices,
        f"{volume.name}: every slice gap is {words}, and {name_tag(Tag.InstanceNumber)} goes by {step} from slice to "
        f"slice: {lost}",
        planes,
        repair=_AS_IT_IS,
    )


def find_between(volume: Volume, around: Surroundings) -> Iterator[Fault]:
    """An even stack, where a sibling has slices at the positions in between."""
    if len(volume.planes) < 2 or not is_even(volume.along):
        return  # the check of uneven gaps finds what it lacks
    for sibling, plane, beyond in _lacking(volume, around):
        if not beyond:
            words = _times_the_stated_gap(volume)[1] or f"{mm_text(usual_gap(volume.along))} mm"
            yield Fault(
                MissingSlices,
                f"{volume.name}: {volume.distinct} has gaps of {words}, and {plane.name} of {sibling.distinct} lies in "
                f"one ({position_text(plane)}): slices are missing",
                (plane,),
                repair=_AS_IT_IS,
            )
            return


def _lacking(volume: Volume, around: Surroundings) -> Iterator[tuple[Volume, Plane, bool]]:
    """Slices of siblings at positions that a volume lacks: (sibling, slice, whether it lies beyond the volume's ends).

    All volumes of one reconstruction have one set of positions. Those of another kernel or image type may lie on a grid
    of their own, and stacks between each other's slices do: beside them a volume lacks only what its gap has room for.
    """
    family, stated = around.family, first_stated_gap(volume.planes)
    own, first, last = family.positions_of(volume), volume.planes[0], volume.along[-1]
    gap = usual_gap(volume.along) if last else 0.0
    for places, sibling in family.patterns:
        if own >= places or not _alike(stated, first_stated_gap(sibling.planes)):
            continue
        offsets = (np.array([plane.position for plane in sibling.planes]) - first.position) @ plane_axes(first).T
        along, apart = offsets[:, 2], own.isdisjoint(places)
        one_grid = _of_one_reconstruction(volume, sibling) and not (apart and sibling.interleaved)
        elsewhere = apart and (
            np.abs(offsets[:, :2]).max() > max(first.spacing)
            or (not one_grid and len(own) >= len(places))
            or volume.attributes.get("stack") != sibling.attributes.get("stack")
        )
        if elsewhere or _are_slabs(volume, sibling, along, around):
            continue
        room = 2 * gap_tolerance(gap) if one_grid else 0.9 * gap
        new = np.array([family.position_of[plane] not in own for plane in sibling.planes])
        beyond = new & ((along < -room) | (along > last + room))
        between = new & ~beyond & (np.abs(along[:, None] - volume.along).min(1) > 2 * gap_tolerance(gap))
        if not one_grid and (apart or (stated and gap < 1.5 * stated)):
            between[:] = False  # its slices touch each other: there is no room
        for k in np.flatnonzero(beyond | between):
            yield sibling, sibling.planes[k], bool(beyond[k])


def _alike(gap: float | None, other: float | None) -> bool:
    return not gap or not other or abs(gap / other - 1) <= MULTIPLE_TOLERANCE


def _of_one_reconstruction(volume: Volume, other: Volume) -> bool:
    """Whether two volumes have the same positions, if nothing is lost.

    Those of another kernel may have their own, and so may images that were derived from others.
    """
    kernels = {each.attributes.get("kernel") for each in (volume, other)}
    types = {tuple(each.header.text(Tag.ImageType).split("\\")[:2]) for each in (volume, other)}
    return len(kernels) == len(types) == 1


def _are_slabs(volume: Volume, other: Volume, along: np.ndarray, around: Surroundings) -> bool:
    """Whether two volumes are two positions of the table: each ends before the other, and no image's number is missing.

    Args:
        volume, other: the volumes.
        along: distance of the planes of ``other`` along the normal from the first plane of ``volume``.
        around: what lies around them.
    """
    names = {*volume.attributes, *other.attributes}
    told = {name for name in names if volume.attributes.get(name) != other.attributes.get(name)}
    low, high = along[0], along[-1] - volume.along[-1]
    if not told or not told <= _OF_SLABS or min(len(volume.planes), len(other.planes)) < _SMALLEST_SLAB:
        return False
    if low * high <= 0 or min(abs(low), abs(high)) <= GRID_TOLERANCE_MM:
        return False
    numbers = around.instance_numbers
    known = {number for number in numbers if number is not None}
    return len(known) == len(numbers) == len(around.series_planes) == max(known) and min(known) == 1


def _times_the_stated_gap(volume: Volume) -> tuple[int, str]:
    """How many times the gap in the header the even gap of a volume is, and in words; (0, "") if none."""
    header, stated = volume.header, first_stated_gap(volume.planes)
    if not stated or len(volume.planes) < 2 or not is_even(volume.along):
        return 0, ""
    gap = volume.along[-1] / (len(volume.planes) - 1)
    ratio = round(gap / stated)
    if ratio < 2 or abs(gap / stated - ratio) > MULTIPLE_TOLERANCE:
        return 0, ""
    tag = Tag.SpacingBetweenSlices if header.values.get(Tag.SpacingBetweenSlices) else Tag.SliceThickness
    return ratio, f"{mm_text(gap)} mm, {ratio} times {name_tag(tag)} {mm_text(stated)} mm"


def find_lost_parts(volume: Volume, around: Surroundings) -> Iterator[Fault]:
    """Fewer files of a concatenation than its header says (PS3.3 C.7.6.16)."""
    there = around.concatenations.get(volume.header.text(Tag.ConcatenationUID))
    if there:
        total = whole_number(volume.header, Tag.InConcatenationTotalNumber)
        yield from _fewer(volume, Tag.InConcatenationTotalNumber, "files of a concatenation", total, len(there))


def find_few_slices(volume: Volume, around: Surroundings) -> Iterator[Fault]:
    """Fewer slices of a PET volume than its header says (PS3.3 C.8.9.1)."""
    header = volume.header
    if header.text(Tag.SOPClassUID) != PositronEmissionTomographyImageStorage:
        return
    if header.text(Tag.ImageType).upper().split("\\")[:2] == ["DERIVED", "SECONDARY"]:
        return  # of a reformatted volume it is often the number that its source had
    slices = whole_number(header, Tag.NumberOfSlices)
    if slices == len(around.series_planes) and _count_on(around.series_planes):
        return  # some vendors give the number of all volumes of the series
    yield from _fewer(volume, Tag.NumberOfSlices, "slices", slices, len(volume.planes))


def _fewer(volume: Volume, tag: int, what: str, expected: int | None, found: int) -> Iterator[Fault]:
    if expected and found < expected:
        yield Fault(
            MissingSlices,
            f"{volume.name}: {found} {what} are there, {name_tag(tag)} says {expected}",
            volume.planes,
            repair=_AS_IT_IS,
        )


def _count_on(planes: Sequence[Plane]) -> bool:
    """Whether the instance numbers have no hole, or are not there."""
    numbers = {instance_number(plane) for plane in planes}
    known = [number for number in numbers if number is not None]
    return len(known) < len(numbers) or len(numbers) == max(known) - min(known) + 1
