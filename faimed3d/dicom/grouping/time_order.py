"""Volumes told apart by the order of their images in time: the n-th image at every position is of volume n."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from enum import Enum
from itertools import pairwise

import numpy as np

from faimed3d.dicom.grouping.attributes import VOLUME_ATTRIBUTES, alike, order_keys
from faimed3d.dicom.grouping.candidates import Candidate, by_position
from faimed3d.dicom.grouping.parts import Split

# Values that rise with time at each position, best first
_RANKED = ("time point", "time offset", "trigger time", "frame time", "acquisition time", "content time", "instance")
CLOCKS = frozenset(("acquisition time", "content time"))
_HEART_RATES = 1.5  # the largest of a scan is less than this times the smallest
_HALF_DAY, _DAY = 120000, 240000  # HHMMSS

Keys = Mapping[Candidate, list[tuple[int, float, str]]]
Groups = list[tuple[str, list[Candidate]]]


class Course(Enum):
    """What the values of an attribute over the candidates say of an order of volumes in time."""

    CLEAR = "they run through volume after volume, or through position after position"
    NONE = "they run through neither, so they say nothing"
    CONTRADICTED = "they make sense, and the instance numbers contradict them"


def split_by_time(candidates: list[Candidate], shared: Collection[str]) -> Split | None:
    """The n-th candidate in time at every position is of volume n, if all have as many and the order is clear.

    Args:
        candidates: the Candidates.
        shared: names of attributes that all planes of one volume share.
    """
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
        if course is Course.CLEAR and _agree(volumes, shared):
            return Split(name, tuple((str(n), volume) for n, volume in enumerate(volumes)), by_rank=True)
        if course is not Course.NONE:
            return None  # two elements tell the volumes apart in two ways: neither is to be believed
    return None


def in_order_of_time(groups: Groups) -> Groups:
    """Groups by a clock in the order of time: where it passed midnight among them, the latest values come first.

    They do where more than half a day lies between two values that follow each other. Instance numbers decide, if they
    rise in either order at every position; else a date that is stated does.

    Args:
        groups: (value, candidates), two at least, in the order of the values.
    """
    keys = [order_keys(value) for value, _ in groups]
    if not _over_midnight(keys):
        return groups
    breaks = [b[-1][1] - a[-1][1] for a, b in pairwise(keys)]
    if max(breaks) <= _HALF_DAY:
        return groups
    first = breaks.index(max(breaks)) + 1
    turned = groups[first:] + groups[:first]
    if _numbers_rise(turned):
        return turned
    return groups if len(keys[0]) > 1 or _numbers_rise(groups) else turned


def _numbers_rise(groups: Groups) -> bool:
    """Whether the instance numbers rise from group to group at every position."""
    stacks = by_position(candidate for _, members in groups for candidate in members)
    numbers = [[order_keys(candidate["instance"]) for candidate in stack] for stack in stacks]
    return all(a < b for stack in numbers for a, b in pairwise(stack))


def _course(name: str, volumes: list[list[Candidate]], stacks: list[list[Candidate]], keys: Keys) -> Course:
    """Judge the values of ``name``: the volumes that they make, and the stacks (one for each position) in their order.

    Clocks also tick on between two reconstructions of one acquisition, and start again at midnight: then they are no
    course.
    """
    by_start = sorted(stacks, key=lambda stack: keys[stack[0]])
    volume_after_volume, position_after_position = _in_sequence(volumes, keys), _in_sequence(by_start, keys)
    if name == "instance":
        return Course.CLEAR if _counts_on(volumes, stacks, keys) else Course.NONE
    if name not in (*CLOCKS, "trigger time"):
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
        sure = confirmed if distinct else _go_on_alike(stacks, keys)
        return Course.CLEAR if sure else Course.CONTRADICTED
    if _over_midnight(keys.values()):
        return Course.NONE
    if distinct and not confirmed:
        return Course.CONTRADICTED if volume_after_volume else Course.NONE
    if not distinct and volume_after_volume and not _in_one_order(stacks, volumes, keys):
        return Course.CONTRADICTED
    clear = volume_after_volume or (confirmed and position_after_position)
    return Course.CLEAR if clear else Course.NONE


def _go_on_alike(stacks: list[list[Candidate]], keys: Keys) -> bool:
    """Whether times begin and go on alike at all positions, as far as one heart's beats are alike."""
    times = np.array([[keys[c][-1][1] for c in stack] for stack in stacks])
    steps = np.diff(times, axis=1)
    return bool((steps.max(0) < _HEART_RATES * steps.min(0)).all() and np.ptp(times[:, 0]) < steps.min() / 2)


def _in_one_order(stacks: list[list[Candidate]], volumes: list[list[Candidate]], keys: Keys) -> bool:
    """Whether the positions of each volume were acquired in the same order, as far as the times tell."""
    times = np.array([[keys[c][-1][1] for c in stack] for stack in stacks]).T
    orders = [np.sign(np.subtract.outer(row, row)) for row in times]
    return len(set(_have_one_time(volumes, keys))) == 1 and all((orders[0] * order >= 0).all() for order in orders)


def _have_one_time(volumes: list[list[Candidate]], keys: Keys) -> list[bool]:
    """Of each volume, whether its planes have one time, to a hundredth of the shortest step from volume to volume."""
    times = [[keys[c][-1][1] for c in volume] for volume in volumes]
    step = min(later - earlier for earlier, later in pairwise(sorted(map(min, times))))
    return [max(volume) - min(volume) <= step / 100 for volume in times]


def _counts_on(volumes: list[list[Candidate]], stacks: list[list[Candidate]], numbers: Keys) -> bool:
    """Whether instance numbers count on as if none were missing.

    They do if they go by the same steps at every position, and from position to position. Where they begin behind 1,
    images may be lost at both ends of the series; if it begins within a volume, its positions are in no order.
    """
    by_start = sorted(stacks, key=lambda stack: numbers[stack[0]])
    try:
        table = np.array([[_as_integer(numbers[c]) for c in stack] for stack in by_start], dtype=float)
    except ValueError:
        return False
    if np.ptp(np.diff(table, axis=1), axis=0).any():
        return False
    if _in_sequence(volumes, numbers):
        along = np.diff([stack[0].position for stack in by_start])
        return bool(table.min() <= 1 or (along > 0).all() or (along < 0).all())
    steps = np.diff(table[:, 0])
    return len(steps) > 0 and _in_sequence(by_start, numbers) and not (steps % steps.min()).any()


def _as_integer(key: list[tuple[int, float, str]]) -> float:
    """Number of an instance, and of the frame in it where its file has several."""
    if not 1 <= len(key) <= 2 or any(kind or value % 1 for kind, value, _ in key):
        raise ValueError("no whole number")
    return key[0][1] * (1 << 24 if len(key) == 2 else 1) + (key[1][1] if len(key) == 2 else 0)


def _agree(volumes: list[list[Candidate]], shared: Collection[str]) -> bool:
    """Whether the planes of each volume are alike in what all slices of one volume share."""
    return all(alike(name, {c[name] for c in volume}) for name in (*VOLUME_ATTRIBUTES, *shared) for volume in volumes)


def _in_sequence(groups: list[list[Candidate]], keys: Keys) -> bool:
    return all(max(keys[c] for c in a) < min(keys[c] for c in b) for a, b in pairwise(groups))


def _over_midnight(keys: Iterable[list[tuple[int, float, str]]]) -> bool:
    """Whether times (HHMMSS) of one date, or of none, lie more than half a day apart."""
    known = list(keys)
    *dates, clock = zip(*known, strict=True) if len(set(map(len, known))) == 1 else ((),)
    times = [time for _, time, _ in clock]
    return bool(times) and all(len(set(date)) == 1 for date in dates) and _HALF_DAY < max(times) - min(times) < _DAY
