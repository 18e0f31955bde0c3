"""Several planes at each position: tell the volumes of one series apart.

Each rule looks at the candidates and returns a :class:`Split`, its decision, or None where it has nothing to say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import pairwise

import numpy as np

from faimed3d.dicom.grouping.attributes import (
    CONTENT,
    TIMES,
    VOLUME_ATTRIBUTES,
    alike,
    describe_attribute,
    order_keys,
)
from faimed3d.dicom.grouping.candidates import Candidate, by_position, by_value, candidates_of, count_positions
from faimed3d.dicom.grouping.gaps import MULTIPLE_TOLERANCE, first_stated_gap, is_regular, usual_gap
from faimed3d.dicom.grouping.identifiers import instance_number
from faimed3d.dicom.grouping.plane_kinds import position_numbers
from faimed3d.dicom.header import Tag
from faimed3d.dicom.planes import Plane
from faimed3d.dicom.planes.plane import DIMENSIONS

# An attribute may split a set whose groups are not all complete (an aborted time point) if each has this share of the
# positions
_SMALLEST_SHARE = 0.5
# Values that rise with time at each position, best first
_RANKED = ("time point", "time offset", "trigger time", "frame time", "acquisition time", "content time", "instance")
_CLOCKS = ("acquisition time", "content time")
# What images may lack because they were acquired without it; where some lack another attribute, they have lost it
_MAY_BE_ABSENT = ("component", "kernel", "gradient", "velocity encoding", "spin labelling")
_HALF_DAY, _DAY = 120000, 240000  # HHMMSS
_INTERLEAVING = tuple(dict.fromkeys((*VOLUME_ATTRIBUTES, *TIMES)))  # what may tell stacks between each other apart
_SMALLEST_STACK = 3  # slices: the gaps of fewer say nothing

Keys = Mapping[Candidate, list[tuple[int, float, str]]]


@dataclass(frozen=True, eq=False)
class Split:
    """The decision that an attribute tells volumes apart.

    Attributes:
        attribute: its name.
        groups: (value, candidates) of each volume, in order.
        by_rank: the n-th candidate at every position is in group n, so the candidates of a group share no value.
    """

    attribute: str
    groups: tuple[tuple[str, list[Candidate]], ...]
    by_rank: bool = False


class Course(Enum):
    """What the values of an attribute over the candidates say of an order of volumes in time."""

    CLEAR = "they run through volume after volume, or through position after position"
    NONE = "they run through neither, so they say nothing"
    CONTRADICTED = "they make sense, and the instance numbers contradict them"


@dataclass(frozen=True, eq=False)
class Part:
    """Planes of one volume.

    Attributes:
        planes: the planes.
        distinct: in words, what tells it from the other parts.
        attributes: those that its planes share and that tell it apart.
        copies: pairs (plane, copy of it that was left out).
        half_lost: an attribute that would tell stacks in it apart, if some planes had not lost it; mostly ``''``.
    """

    planes: tuple[Plane, ...]
    distinct: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    copies: tuple[tuple[Plane, Plane], ...] = ()
    half_lost: str = ""


def split_by_attributes(planes: Sequence[Plane]) -> list[Part]:
    """Split planes of one kind into volumes in which each position occurs once, where attributes allow.

    Returns:
        Parts in the order of their attributes. A part in which a position still occurs twice could not be told apart.
    """
    positions = position_numbers(planes)
    if len(set(positions)) == len(positions):
        return [Part(tuple(planes))]
    candidates = candidates_of(planes, positions)
    kept, copies = _without_copies(candidates)
    return [
        replace(part, copies=tuple(pair for pair in copies if pair[0] in part.planes)) if copies else part
        for part in _divide(kept, Part(()))
    ]


def split_interleaved(part: Part, normal: np.ndarray) -> list[Part]:
    """Split a part where an attribute makes stacks of it that lie between each other's slices.

    Args:
        part: the Part.
        normal: of its planes, array of three.

    Returns:
        Parts; one that no attribute splits as it is. Stacks one behind the other, of thin and of thick slices, stay
        one, and so do even ones that were acquired in two passes: see :func:`_are_several`.
    """
    if len(part.planes) < 2 * _SMALLEST_STACK:
        return [part]
    stacked = _Stacked(part.planes, normal)
    for name in stacked.counts:
        groups = _groups(stacked.candidates, name)
        if stacked.are_several(name, groups):
            return list(_parts_of(Split(name, tuple(groups)), part))
    return [replace(part, half_lost=stacked.half_lost_attribute())]


class _Stacked:
    """Planes as candidates in their order along the normal, none of them at the position of another."""

    def __init__(self, planes: Sequence[Plane], normal: np.ndarray) -> None:
        along = np.array([plane.position for plane in planes]) @ normal
        order = np.argsort(along, kind="stable")
        self.candidates = candidates_of([planes[k] for k in order], range(len(planes)))
        having = Counter(name for c in self.candidates for name in c.attributes)
        self.counts = {name: having[name] for name in _INTERLEAVING if name in having}  # how many have each attribute
        self._along = along[order]
        self._even = is_regular(along)
        self._stated = first_stated_gap(planes)

    def half_lost_attribute(self) -> str:
        """Name of an attribute that would tell stacks apart, if some of the planes had not lost it; else ``''``."""
        for name, count in self.counts.items():
            if count < len(self.candidates):
                known = [c for c in self.candidates if name in c.attributes]
                if self.are_several(name, by_value(known, name)):
                    return name
        return ""

    def are_several(self, name: str, groups: list[tuple[str, list[Candidate]]]) -> bool:
        """Whether groups of the candidates by the attribute ``name`` are several stacks: see :func:`_are_several`."""
        stacks = [self._along[[c.position for c in members]] for _, members in groups]
        if len(groups) < 2 or not all(map(_is_stack, stacks)):
            return False
        return _are_several(name, self._stated, self._along, stacks, self._even)


def _parts_of(split: Split, part: Part) -> Iterator[Part]:
    """The parts that a decision makes of one."""
    for number, (value, members) in enumerate(split.groups):
        planes = tuple(c.plane for c in members)
        yield Part(
            planes,
            (*part.distinct, describe_attribute(split.attribute, value, number, len(split.groups))),
            part.attributes if split.by_rank else {**part.attributes, split.attribute: value},
            tuple(pair for pair in part.copies if pair[0] in planes),
        )


def _divide(candidates: list[Candidate], whole: Part) -> Iterator[Part]:
    """Split by one attribute, then each part further."""
    split = None
    if count_positions(candidates) < len(candidates):
        split = _by_complete_values(candidates) or _by_rank(candidates) or _by_incomplete_values(candidates)
    if split is None:
        yield replace(whole, planes=tuple(c.plane for c in candidates))
        return
    for part, (_, members) in zip(_parts_of(split, whole), split.groups, strict=True):
        yield from _divide(members, part)


def _without_copies(candidates: list[Candidate]) -> tuple[list[Candidate], list[tuple[Plane, Plane]]]:
    """Leave out candidates that repeat another by instance, frame, position and attributes."""
    seen: dict[object, Candidate] = {}
    kept, copies = [], []
    for candidate in candidates:
        uid = candidate.plane.header.text(Tag.SOPInstanceUID)
        same = (uid, candidate.plane.frame, candidate.position, tuple(candidate.attributes.items()))
        # anonymised files may all have one UID: then it says nothing of them
        first = seen.setdefault(same, candidate) if uid else candidate
        if first is candidate:
            kept.append(candidate)
        else:
            copies.append((first.plane, candidate.plane))
    return kept, copies


def _groups(candidates: list[Candidate], name: str) -> list[tuple[str, list[Candidate]]]:
    """The candidates by the value of an attribute, in the order of the values; none where some of them have lost it."""
    groups = by_value(candidates, name)
    if len(groups) < 2 or groups[0][0] or name in _MAY_BE_ABSENT:
        return groups
    return groups if _lacked_by_whole_stacks(groups) else []


def _lacked_by_whole_stacks(groups: list[tuple[str, list[Candidate]]]) -> bool:
    """Whether images lack an attribute because they were acquired without it, and have not lost it one by one.

    Then the groups are whole stacks, one or several each, through which the instance numbers run in the same way.
    """
    steps, lengths = set(), set()
    for _, members in groups:
        numbers = [
            sorted(number for c in stack if (number := instance_number(c.plane)) is not None)
            for stack in by_position(sorted(members, key=lambda c: c.position))
        ]
        repeats = len(numbers[0])
        if repeats * len(numbers) < len(members) or any(len(stack) != repeats for stack in numbers):
            return False  # a number is absent, or an image
        lengths.add(len(numbers))
        steps |= {
            later - earlier for below, above in pairwise(numbers) for earlier, later in zip(below, above, strict=True)
        }
    return len(lengths) == 1 and len(steps) == 1


# Stacks between each other's slices -----------------------------------------------------------------------------------


def _is_stack(along: np.ndarray) -> bool:
    return len(along) >= _SMALLEST_STACK and is_regular(along)


def _are_several(name: str, stated: float | None, along: np.ndarray, stacks: list[np.ndarray], even: bool) -> bool:
    """Whether stacks that the attribute ``name`` tells apart are several volumes, and not one acquired in passes.

    A scanner that takes slices 0, 2, 4, ... and then 1, 3, 5, ... may write other values in the second pass. The gap in
    the header (``stated``; None or 0 where it has none) is then that of all slices together.
    """
    overlap = _all_overlap(stacks)
    # by its definition (PS3.3 C.7.6.16.2.2, Frame Content) one stack is not another, though it lie behind it
    if not even or not overlap:
        return overlap or name == "stack"
    gap, apart = usual_gap(np.sort(along)), [usual_gap(np.sort(some)) for some in stacks]
    if name in VOLUME_ATTRIBUTES:
        return abs(stated - gap) >= abs(stated - min(apart)) if stated else name == "stack"
    # slices of one acquisition may overlap, and images be made in any order: a time tells them apart only if the slices
    # with one value touch each other
    if not stated or name == "content time":
        return False
    return all(abs(own / stated - 1) <= MULTIPLE_TOLERANCE for own in apart)


def _all_overlap(stacks: list[np.ndarray]) -> bool:
    ends = [(along.min(), along.max()) for along in stacks]
    return all(
        any(low < other_high and other_low < high for n, (other_low, other_high) in enumerate(ends) if n != k)
        for k, (low, high) in enumerate(ends)
    )


# Rules ----------------------------------------------------------------------------------------------------------------


def _by_complete_values(candidates: list[Candidate]) -> Split | None:
    """By an attribute each value of which occurs at every position."""
    count = count_positions(candidates)
    for name in (*CONTENT, "stack", *TIMES, *DIMENSIONS):
        groups = _groups(candidates, name)
        if len(groups) > 1 and all(count_positions(members) == count for _, members in groups):
            return Split(name, tuple(groups))
    return None


def _by_incomplete_values(candidates: list[Candidate]) -> Split | None:
    """By an attribute whose values occur at half the positions or more, and none twice at one.

    The last value of a time may occur at any number: the acquisition was aborted. Other contents, such as a b-value,
    may come several times: further attributes then split what has it.
    """
    count = count_positions(candidates)
    for name in (*CONTENT, "stack", *TIMES):
        groups = _groups(candidates, name)
        if len(groups) < 2:
            continue
        sizes = [(len(members), count_positions(members)) for _, members in groups]
        aborted = name in TIMES and all(distinct == count for _, distinct in sizes[:-1])
        least = 1 if aborted else max(2, _SMALLEST_SHARE * count)
        if all((size == distinct or name in CONTENT) and distinct >= least for size, distinct in sizes):
            return Split(name, tuple(groups))
    return None


def _by_rank(candidates: list[Candidate]) -> Split | None:
    """The n-th candidate in time at every position is of volume n, if all have as many and the order is clear."""
    stacks = by_position(candidates)
    repeats = len(stacks[0])
    if any(len(stack) != repeats for stack in stacks):
        return None
    for name in _RANKED:
        known = sum(name in c.attributes for c in candidates)
        if not known:
            continue
        if known < len(candidates):
            return None  # some images lost it, so the order cannot be checked
        keys = {c: order_keys(c[name]) for c in candidates}
        if any(len({str(keys[c]) for c in stack}) < repeats for stack in stacks):
            continue
        ranked = [sorted(stack, key=keys.__getitem__) for stack in stacks]
        volumes = [list(volume) for volume in zip(*ranked, strict=True)]
        course = _course(name, volumes, ranked, keys)
        if course is Course.CLEAR and _agree(volumes):
            return Split(name, tuple((str(n), volume) for n, volume in enumerate(volumes)), by_rank=True)
        if course is not Course.NONE:
            return None  # two elements tell the volumes apart in two ways: neither is to be believed
    return None


def _course(name: str, volumes: list[list[Candidate]], stacks: list[list[Candidate]], keys: Keys) -> Course:
    """Judge the values of ``name``: the volumes that they make, and the stacks (one for each position) in their order.

    Clocks also tick on between two reconstructions of one acquisition, and start again at midnight: then they are no
    course.
    """
    by_start = sorted(stacks, key=lambda stack: keys[stack[0]])
    volume_after_volume, position_after_position = _in_sequence(volumes, keys), _in_sequence(by_start, keys)
    if name == "instance":
        return Course.CLEAR if _counts_on(volumes, stacks, keys) else Course.NONE
    if name not in (*_CLOCKS, "trigger time"):
        # a time that all slices of one volume share is no time of slices: where another volume has two, some are lost
        if len(set(_have_one_time(volumes, keys))) > 1:
            return Course.CONTRADICTED
        return Course.CLEAR if volume_after_volume or position_after_position else Course.NONE
    numbers = {c: order_keys(c["instance"]) for stack in stacks for c in stack}
    distinct = all(
        numbers[a] != numbers[b] for stack in stacks for a, b in pairwise(sorted(stack, key=numbers.__getitem__))
    )
    confirmed = all(numbers[a] < numbers[b] for stack in stacks for a, b in pairwise(stack))
    if distinct and confirmed and not _counts_on(volumes, stacks, numbers):
        return Course.CONTRADICTED  # images are lost, so the n-th of one position may not belong to the n-th of another
    if name == "trigger time":
        # counted from each heart beat, so the same times come again at the next position
        return Course.CLEAR if confirmed or not distinct else Course.CONTRADICTED
    if _over_midnight(keys.values()):
        return Course.NONE
    if distinct and not confirmed:
        return Course.CONTRADICTED if volume_after_volume else Course.NONE
    clear = volume_after_volume or (confirmed and position_after_position)
    return Course.CLEAR if clear else Course.NONE


def _have_one_time(volumes: list[list[Candidate]], keys: Keys) -> list[bool]:
    """Of each volume, whether its planes have one time, to a hundredth of the shortest step from volume to volume."""
    times = [[keys[c][0][1] for c in volume] for volume in volumes]
    step = min(later - earlier for earlier, later in pairwise(sorted(map(min, times))))
    return [max(volume) - min(volume) <= step / 100 for volume in times]


def _counts_on(volumes: list[list[Candidate]], stacks: list[list[Candidate]], numbers: Keys) -> bool:
    """Whether instance numbers count on as if none were missing.

    They do if they go by the same steps at every position, and from position to position.
    """
    by_start = sorted(stacks, key=lambda stack: numbers[stack[0]])
    try:
        table = np.array([[_as_integer(numbers[c]) for c in stack] for stack in by_start], dtype=float)
    except ValueError:
        return False
    if np.ptp(np.diff(table, axis=1), axis=0).any():
        return False
    if _in_sequence(volumes, numbers):
        return True
    steps = np.diff(table[:, 0])
    return len(steps) > 0 and _in_sequence(by_start, numbers) and not (steps % steps.min()).any()


def _as_integer(key: list[tuple[int, float, str]]) -> float:
    """Number of an instance, and of the frame in it where its file has several."""
    if not 1 <= len(key) <= 2 or any(kind or value % 1 for kind, value, _ in key):
        raise ValueError("no whole number")
    return key[0][1] * (1 << 24 if len(key) == 2 else 1) + (key[1][1] if len(key) == 2 else 0)


def _agree(volumes: list[list[Candidate]]) -> bool:
    """Whether the planes of each volume are alike in what all slices of one volume share."""
    return all(alike(name, {c[name] for c in volume}) for name in VOLUME_ATTRIBUTES for volume in volumes)


def _in_sequence(groups: list[list[Candidate]], keys: Keys) -> bool:
    return all(max(keys[c] for c in a) < min(keys[c] for c in b) for a, b in pairwise(groups))


def _over_midnight(keys: Iterable[list[tuple[int, float, str]]]) -> bool:
    """Whether times (HHMMSS) of one date, or of none, lie more than half a day apart."""
    known = list(keys)
    *dates, clock = zip(*known, strict=True) if len(set(map(len, known))) == 1 else ((),)
    times = [time for _, time, _ in clock]
    return bool(times) and all(len(set(date)) == 1 for date in dates) and _HALF_DAY < max(times) - min(times) < _DAY
