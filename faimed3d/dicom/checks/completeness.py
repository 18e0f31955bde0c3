"""Checks whether all slices are there, as far as the header and the other volumes of the series tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from pydicom.uid import PositronEmissionTomographyImageStorage

from faimed3d.dicom.checks.wording import mm_text, position_text
from faimed3d.dicom.finding import Fault
from faimed3d.dicom.grouping.dicom_volume import Volume
from faimed3d.dicom.grouping.gaps import MULTIPLE_TOLERANCE, first_stated_gap, is_even
from faimed3d.dicom.grouping.identifiers import instance_number, whole_number
from faimed3d.dicom.grouping.surroundings import Surroundings
from faimed3d.dicom.header import Tag, name_tag
from faimed3d.dicom.planes import Plane, plane_axes
from faimed3d.errors import MissingSlices

_AS_IT_IS = "read those that are there"


def find_early_end(volume: Volume, around: Surroundings) -> Iterator[Fault]:
    """A volume that ends before a sibling that has all its positions and more."""
    family = around.family
    if not family.by_attributes:
        return
    own = {family.position_of[plane] for plane in volume.planes}
    longer = [k for k, positions in enumerate(family.positions) if own < positions]
    if not longer:
        return
    longest = max(longer, key=lambda k: len(family.positions[k]))
    normal = plane_axes(volume.planes[0])[2]
    along = [normal @ plane.position for plane in volume.planes]
    beyond = [
        plane
        for plane in family.volumes[longest].planes
        if family.position_of[plane] not in own and not min(along) < normal @ plane.position < max(along)
    ]
    if beyond:
        yield Fault(
            MissingSlices,
            f"{volume.name}: {volume.distinct} has {len(own)} slices, {family.volumes[longest].distinct} has "
            f"{len(family.positions[longest])}: the slice beside {beyond[0].name} ({position_text(beyond[0])}) is "
            "missing at its end",
            tuple(beyond),
            repair=_AS_IT_IS,
        )


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
    """An even stack whose header states a smaller gap, where a sibling has slices at the positions in between."""
    family = around.family
    if len(family.volumes) < 2:
        return
    ratio, words = _times_the_stated_gap(volume)
    first, planes, stated = volume.planes[0], family.representatives, first_stated_gap(volume.planes)
    if not ratio or not stated:
        return
    steps = (np.array([plane.position for plane in planes]) - first.position) @ plane_axes(first)[2] / stated
    inside = (steps > 0) & (steps < volume.along[-1] / stated) & (np.round(steps) % ratio > 0)
    for k in np.flatnonzero(inside & (np.abs(steps - np.round(steps)) <= MULTIPLE_TOLERANCE)):
        plane = planes[k]
        # of another thickness it is another reconstruction, whose positions are its own
        if plane.stated_gap and abs(plane.stated_gap / stated - 1) <= MULTIPLE_TOLERANCE:
            yield Fault(
                MissingSlices,
                f"{volume.name}: {volume.distinct} has gaps of {words}, and {plane.name} of "
                f"{family.owners[plane].distinct} lies in one ({position_text(plane)}): slices are missing",
                (plane,),
                repair=_AS_IT_IS,
            )
            return


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
