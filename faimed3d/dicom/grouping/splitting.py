"""Several planes at each position: tell the volumes of one series apart."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from faimed3d.dicom.checks.stack import MULTIPLE_TOLERANCE, is_regular, usual_gap
from faimed3d.dicom.grouping.attributes import (
    CONTENT,
    DIMENSIONS,
    TIMES,
    VOLUME_ATTRIBUTES,
    alike,
    attributes_of,
    describe_attribute,
    order_keys,
    rounded,
)
from faimed3d.dicom.header.tags import Tag

__all__ = ["Part", "split_interleaved", "split_volumes"]

# An attribute may split a set whose parts are not all complete (an aborted time point) if each has this share of the
# positions
_SMALLEST_SHARE = 0.5
# Values that rise with time at each position, best first
_RANKS = ("time point", "time offset", "trigger time", "frame time", "acquisition time", "content time", "instance")
_CLOCKS = ("acquisition time", "content time")
_HALF_DAY, _DAY = 120000, 240000  # HHMMSS
_SMALLEST_STACK = 3  # slices: the gaps of fewer say nothing


@dataclass
class Part:
    """Planes of one volume.

    Attributes:
        planes: the planes.
        distinct: in words, what tells it from the other parts.
        attributes: the same as attributes (see ``attributes.py``), where it is attributes that do.
        doubled: copies left out of it, pairs (kept plane, copy).
    """

    planes: list
    distinct: str = ""
    attributes: dict = field(default_factory=dict)
    doubled: list = field(default_factory=list)


def split_volumes(planes, places):
    """Split planes of one orientation and matrix into volumes in which each place occurs once, where attributes allow.

    Args:
        planes: list of Plane.
        places: a number for each, equal for planes at the same place.

    Returns:
        Parts in the order of their attributes. A part in which a place still occurs twice could not be told apart.
    """
    if len(set(places)) == len(places):
        return [Part(planes)]
    attributes = rounded([attributes_of(plane) for plane in planes], places)
    members, copies = _without_copies(planes, places, attributes)
    parts = [
        Part([planes[k] for k in part], ", ".join(words), shared)
        for part, words, shared in _split(members, places, attributes, [], {})
    ]
    for kept, copy in copies:
        next(part for part in parts if kept in part.planes).doubled.append((kept, copy))
    return parts


def split_interleaved(parts, normal):
    """Split the parts where an attribute makes stacks of them that lie between each other's slices.

    Args:
        parts: list of Part.
        normal: of their planes, array of three.

    Returns:
        Parts; those that no attribute splits as they are. Stacks one behind the other, of thin and of thick slices,
        stay one, and so do even ones that were acquired in two passes: see :func:`_are_several`.
    """
    return [each for part in parts for each in _interleaved(part, normal)]


def _interleaved(part, normal):
    along = np.array([plane.position for plane in part.planes]) @ normal
    if len(along) < 2 * _SMALLEST_STACK:
        return [part]
    attributes = rounded([attributes_of(plane) for plane in part.planes], range(len(along)))
    even = is_regular(along)
    for name in dict.fromkeys((*VOLUME_ATTRIBUTES, *TIMES)):
        groups = _parts(range(len(attributes)), attributes, name)
        places = [along[members] for _, members in groups]
        if len(groups) < 2 or not all(map(_is_stack, places)):
            continue
        if _are_several(name, part.planes[0].depth, along, places, even):
            return [
                Part(
                    planes := [part.planes[k] for k in members],
                    ", ".join(filter(None, (part.distinct, describe_attribute(name, value, index, len(groups))))),
                    {**part.attributes, name: value},
                    [pair for pair in part.doubled if pair[0] in planes],
                )
                for index, (value, members) in enumerate(groups)
            ]
    return [part]


def _is_stack(along):
    return len(along) >= _SMALLEST_STACK and is_regular(along)


def _are_several(name, stated, along, places, even):
    """Whether stacks that the attribute ``name`` tells apart are several, and not one acquired in passes.

    A scanner that takes slices 0, 2, 4, ... and then 1, 3, 5, ... may write other values in the second pass. The gap in
    the header (``stated``; None or 0 where it has none) is then that of all slices together.
    """
    overlap = _all_overlap(places)
    # by its definition (PS3.3 C.7.6.16.2.2, Frame Content) one stack is not another, though it lie behind it
    if not even or not overlap:
        return overlap or name == "stack"
    gap, apart = usual_gap(np.sort(along)), [usual_gap(np.sort(some)) for some in places]
    if name in VOLUME_ATTRIBUTES:
        return abs(stated - gap) >= abs(stated - min(apart)) if stated else name == "stack"
    # slices of one acquisition may overlap, and images be made in any order: a time tells them apart only if the slices
    # with one value touch each other
    return name != "content time" and bool(stated) and all(abs(own / stated - 1) <= MULTIPLE_TOLERANCE for own in apart)


def _all_overlap(places):
    ends = [(along.min(), along.max()) for along in places]
    return all(
        any(low < other_high and other_low < high for n, (other_low, other_high) in enumerate(ends) if n != k)
        for k, (low, high) in enumerate(ends)
    )


def _without_copies(planes, places, attributes):
    """Numbers of the planes that repeat no other one, by instance, frame, place and attributes; and the copies."""
    seen, kept, copies = {}, [], []
    for k, (plane, place) in enumerate(zip(planes, places, strict=True)):
        uid = plane.header.text(Tag.SOPInstanceUID)
        # anonymised files may all have one UID: then it says nothing of them
        first = seen.setdefault((uid, plane.frame, place, tuple(attributes[k].items())), k) if uid else k
        if first == k:
            kept.append(k)
        else:
            copies.append((planes[first], plane))
    return kept, copies


def _split(members, places, attributes, words, shared):
    """Return [(members, words, attributes)]: split by one attribute, then each part further."""
    count = len({places[k] for k in members})
    if count == len(members):
        return [(members, words, shared)]
    choice = _complete_split(members, places, attributes, count) or _rank_split(members, places, attributes, count)
    choice = choice or _partial_split(members, places, attributes, count)
    if not choice:
        return [(members, words, shared)]
    name, parts, ranked = choice
    result = []
    for index, (value, part) in enumerate(parts):
        known = shared if ranked else {**shared, name: value}
        result += _split(part, places, attributes, [*words, describe_attribute(name, value, index, len(parts))], known)
    return result


def _parts(members, attributes, name):
    parts = defaultdict(list)
    for k in members:
        parts[attributes[k].get(name, "")].append(k)
    return sorted(parts.items(), key=lambda part: order_keys(part[0]))


def _complete_split(members, places, attributes, count):
    """An attribute each value of which occurs at every place."""
    for name in (*CONTENT, "stack", *TIMES, *DIMENSIONS):
        parts = _parts(members, attributes, name)
        if len(parts) > 1 and all(len({places[k] for k in part}) == count for _, part in parts):
            return name, parts, False
    return None


def _partial_split(members, places, attributes, count):
    """An attribute whose values occur at half the places or more, and none twice at one; the last time at any number.

    Other contents, such as a b-value, may come several times: further attributes then split what has it.
    """
    for name in (*CONTENT, "stack", *TIMES):
        parts = _parts(members, attributes, name)
        if len(parts) < 2:
            continue
        sizes = [(len(part), len({places[k] for k in part})) for _, part in parts]
        aborted = name in TIMES and all(distinct == count for _, distinct in sizes[:-1])
        least = 1 if aborted else max(2, _SMALLEST_SHARE * count)
        if all((size == distinct or name in CONTENT) and distinct >= least for size, distinct in sizes):
            return name, parts, False
    return None


def _rank_split(members, places, attributes, count):
    """The n-th plane in time at every place makes volume n, if every place has as many and their order is clear."""
    numbers = Counter(places[k] for k in members)
    repeats = len(members) // count
    if set(numbers.values()) != {repeats}:
        return None
    stacks = defaultdict(list)
    for k in members:
        stacks[places[k]].append(k)
    for name in _RANKS:
        named = sum(name in attributes[k] for k in members)
        if 0 < named < len(members) and name != "instance":
            return None  # images lost it: what the others say cannot be checked
        if not named:
            continue
        keys = {k: order_keys(attributes[k][name]) for k in members}
        if any(len({str(keys[k]) for k in stack}) < repeats for stack in stacks.values()):
            continue
        ranked = [sorted(stack, key=keys.__getitem__) for stack in stacks.values()]
        parts = [[stack[rank] for stack in ranked] for rank in range(repeats)]
        course = _is_course(name, parts, ranked, keys, attributes)
        if course and _agree(parts, attributes):
            return name, [(str(rank), part) for rank, part in enumerate(parts)], True
        if course is not False:
            return None  # two elements tell the volumes apart in two ways: neither is to be believed
    return None


def _is_course(name, parts, ranked, keys, attributes):
    """Whether values run through volume after volume, or through place after place, and not at random.

    Returns:
        None where the instance numbers contradict values that make sense. Clocks also tick on between two
        reconstructions of one acquisition, and start again at midnight; they then are no course.
    """
    by_place = sorted(ranked, key=lambda stack: keys[stack[0]])
    in_turn, place_after_place = _in_sequence(parts, keys), _in_sequence(by_place, keys)
    if name == "instance":
        return _counts_on(parts, ranked, keys)
    if name not in (*_CLOCKS, "trigger time"):
        # a time that all slices of one volume share is no time of slices: where another volume has two, some are lost
        return None if len(set(_have_one_time(parts, keys))) > 1 else in_turn or place_after_place
    numbers = {k: order_keys(attributes[k].get("instance", "")) for stack in ranked for k in stack}
    distinct = all(numbers[a] != numbers[b] for stack in ranked for a, b in pairwise(sorted(stack, key=numbers.get)))
    confirmed = all(numbers[a] < numbers[b] for stack in ranked for a, b in pairwise(stack))
    if distinct and confirmed and not _counts_on(parts, ranked, numbers):
        return None  # images are lost, so the n-th of one place may not belong to the n-th of another
    if name == "trigger time":
        # counted from each heart beat, so the same times come again at the next place
        return True if confirmed or not distinct else None
    if _over_midnight(keys.values()):
        return False
    if distinct and not confirmed:
        return None if in_turn else False
    return in_turn or (confirmed and place_after_place)


def _have_one_time(parts, keys):
    """Of each part, whether its planes have one time, to a hundredth of the shortest step from part to part."""
    times = [[keys[k][0][1] for k in part] for part in parts]
    step = min(later - earlier for earlier, later in pairwise(sorted(map(min, times))))
    return [max(part) - min(part) <= step / 100 for part in times]


def _counts_on(parts, ranked, numbers):
    """Whether instance numbers count on as if none were missing: the same steps at every place, and between places."""
    by_place = sorted(ranked, key=lambda stack: numbers[stack[0]])
    try:
        table = np.array([[_as_integer(numbers[k]) for k in stack] for stack in by_place], dtype=float)
    except ValueError:
        return False
    if np.ptp(np.diff(table, axis=1), axis=0).any():
        return False
    if _in_sequence(parts, numbers):
        return True
    steps = np.diff(table[:, 0])
    return _in_sequence(by_place, numbers) and not (steps % steps.min()).any()


def _as_integer(key):
    """Number of an instance, and of the frame in it where its file has several."""
    if not 1 <= len(key) <= 2 or any(kind or value % 1 for kind, value, _ in key):
        raise ValueError("no whole number")
    return key[0][1] * (1 << 24 if len(key) == 2 else 1) + (key[1][1] if len(key) == 2 else 0)


def _agree(parts, attributes):
    """Whether the planes of each part are alike in what all slices of one volume share."""
    for name in VOLUME_ATTRIBUTES:
        for part in parts:
            if not alike(name, {attributes[k].get(name, "") for k in part}):
                return False
    return True


def _in_sequence(groups, keys):
    return all(max(keys[k] for k in a) < min(keys[k] for k in b) for a, b in pairwise(groups))


def _over_midnight(keys):
    """Whether times (HHMMSS) of one date, or of none, lie more than half a day apart."""
    *dates, times = zip(*keys, strict=True) if len(set(map(len, keys))) == 1 else ((),)
    times = [time for _, time, _ in times]
    return bool(times) and all(len(set(date)) == 1 for date in dates) and _HALF_DAY < max(times) - min(times) < _DAY
