"""Whether all slices of a volume are there, as far as its header says how many, or how far apart, they are."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from faimed3d.dicom.checks.stack import MULTIPLE_TOLERANCE, in_mm, is_even, where
from faimed3d.dicom.grouping.plane_kinds import place_ids
from faimed3d.dicom.header.tags import Tag, name_tag
from faimed3d.dicom.planes.plane import frame_of
from faimed3d.errors import DamagedFile, MissingSlices

__all__ = ["check_between", "check_count", "check_steps", "concatenation_parts", "instance_number"]

_PET = "1.2.840.10008.5.1.4.1.1.128"


def check_steps(volume, numbers):
    """Note an even stack of which only every n-th slice is there, as its numbers and the header's gap both say.

    Either of them alone says nothing: numbers also count the images of another echo, and slices may be thin and far
    apart.

    Args:
        volume: the Volume, examined.
        numbers: set of the instance numbers of all images of the series.
    """
    planes, own = volume.planes, [instance_number(plane) for plane in volume.planes]
    if len(planes) < 2 or len(set(volume.files)) < len(planes) or None in own:
        return
    steps = set(np.diff(own).tolist())
    step = abs(steps.pop()) if len(steps) == 1 else 0
    ratio, words = _times_the_stated_gap(volume)
    if ratio < 2 or step < 2 or step % ratio:
        return
    if numbers.issuperset(range(min(own), max(own) + 1)):
        return  # none is missing: the others are of other volumes
    volume.add(
        MissingSlices(
            f"{volume.name}: every slice gap is {words}, and {name_tag(Tag.InstanceNumber)} goes by {step} from "
            f"slice to "
            f"slice: of {ratio} slices, {ratio - 1} {'is' if ratio == 2 else 'are'} missing. Pass strict=False to read "
            "those that are there."
        )
    )


def _times_the_stated_gap(volume):
    """How many times the gap in the header the even gap of a volume is, and in words; (0, "") if none."""
    header, stated = volume.header, volume.planes[0].depth
    if not stated or len(volume.planes) < 2 or not is_even(volume.along):
        return 0, ""
    gap = volume.along[-1] / (len(volume.planes) - 1)
    ratio = round(gap / stated)
    if ratio < 2 or abs(gap / stated - ratio) > MULTIPLE_TOLERANCE:
        return 0, ""
    tag = Tag.SpacingBetweenSlices if header.values.get(Tag.SpacingBetweenSlices) else Tag.SliceThickness
    return ratio, f"{in_mm(gap)} mm, {ratio} times {name_tag(tag)} {in_mm(stated)} mm"


def check_between(volumes):
    """Note even stacks whose headers state a smaller gap, where a sibling has slices at the places in between.

    Args:
        volumes: Volumes of one kind of planes, examined.
    """
    sparse = [(volume, *found) for volume in volumes if (found := _times_the_stated_gap(volume))[0]]
    if not sparse or len(volumes) < 2:
        return
    owners = {plane: volume for volume in volumes for plane in volume.planes}
    # one plane of each place and thickness: those of hundreds of time points are mostly the same
    places = place_ids(list(owners))
    planes = list({(place, plane.depth): plane for place, plane in zip(places, owners, strict=True)}.values())
    for volume, ratio, words in sparse:
        first = volume.planes[0]
        steps = (np.array([plane.position for plane in planes]) - first.position) @ frame_of(first)[2] / first.depth
        between = (steps > 0) & (steps < volume.along[-1] / first.depth) & (np.round(steps) % ratio > 0)
        found = np.flatnonzero(between & (np.abs(steps - np.round(steps)) <= MULTIPLE_TOLERANCE))
        # of another thickness it is another reconstruction, whose places are its own
        found = [k for k in found if planes[k].depth and abs(planes[k].depth / first.depth - 1) <= MULTIPLE_TOLERANCE]
        if found:
            plane = planes[found[0]]
            volume.add(
                MissingSlices(
                    f"{volume.name}: {volume.distinct} has gaps of {words}, and {plane.name} of "
                    f"{owners[plane].distinct} lies in one ({where(plane)}): slices are missing. Pass strict=False to "
                    "read those that are there."
                )
            )


def check_count(volume, parts, counted):
    """Note a volume with fewer slices than its header says: parts of a concatenation, slices of a PET volume.

    Args:
        volume: the Volume.
        parts: numbers of the files that are there, by ConcatenationUID: see :func:`concatenation_parts`.
        counted: the planes of all volumes of the series: some vendors give the number of these.
    """
    header = volume.header
    there = parts.get(header.text(Tag.ConcatenationUID))
    total = _whole_number(header, Tag.InConcatenationTotalNumber) if there else None
    slices = _whole_number(header, Tag.NumberOfSlices) if header.text(Tag.SOPClassUID) == _PET else None
    if (slices == len(counted) and _count_on(counted)) or header.text(Tag.ImageType).upper().split("\\")[:2] == [
        "DERIVED",
        "SECONDARY",
    ]:
        slices = None  # of a reformatted volume it is often what its source had
    for tag, what, expected, found in (
        (Tag.InConcatenationTotalNumber, "files of a concatenation", total, len(there or ())),
        (Tag.NumberOfSlices, "slices", slices, len(volume.planes)),
    ):
        if expected and found < expected:
            volume.add(
                MissingSlices(
                    f"{volume.name}: {found} {what} are there, {name_tag(tag)} says {expected}. Pass strict=False to "
                    "read those that are there."
                )
            )


def _count_on(planes):
    """Whether the instance numbers have no hole, or are not there."""
    numbers = {instance_number(plane) for plane in planes}
    return None in numbers or len(numbers) == max(numbers) - min(numbers) + 1


def concatenation_parts(headers):
    """Numbers of the files of each concatenation (PS3.3 C.7.6.16, Multi-frame Functional Groups) by its UID."""
    parts = defaultdict(set)
    for header in headers:
        if uid := header.text(Tag.ConcatenationUID):
            parts[uid].add(_whole_number(header, Tag.InConcatenationNumber))
    return parts


def _whole_number(header, tag):
    try:
        return header.integer(tag)
    except DamagedFile:  # of no use here, and no harm to the pixels
        return None


def instance_number(plane):
    """(0020,0013) InstanceNumber of a plane's file; None where it is no whole number."""
    text = plane.header.text(Tag.InstanceNumber)
    return int(text) if text.isascii() and text.isdigit() else None
