"""Several planes at each position: tell the volumes of one series apart."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from .check import is_regular
from .labels import CONTENT, TIMES, distinct_label, labels_of, order_keys
from .tags import T

__all__ = ["Part", "split_interleaved", "split_volumes"]

# A label may split a set whose parts are not all complete (an aborted time point) if each has this share of positions
_SMALLEST_SHARE = 0.5
# Values that rise with time at each position, best first
_RANKS = ("time point", "time offset", "trigger time", "frame time", "acquisition time", "content time", "instance")
_CLOCKS = ("acquisition time", "content time")
_HALF_DAY, _DAY = 120000, 240000  # HHMMSS
_SMALLEST_STACK = 3  # slices: the gaps of fewer say nothing


@dataclass
class Part:
    """Planes of one volume, what tells it from the other parts, and copies (kept plane, copy) left out of it."""

    planes: list
    distinct: str = ""
    doubled: list = field(default_factory=list)


def split_volumes(planes, places):
    """Split planes of one orientation and matrix into volumes in which each place occurs once, where labels allow.

    Args:
        planes: list of Plane.
        places: a number for each, equal for planes at the same place.

    Returns:
        Parts in the order of their labels. A part in which a place still occurs twice could not be told apart.
    """
    if len(set(places)) == len(places):
        return [Part(planes)]
    planes, places, copies = _without_copies(planes, places)
    labels = [labels_of(plane) for plane in planes]
    parts = [
        Part([planes[k] for k in members], ", ".join(words))
        for members, words in _split(list(range(len(planes))), places, labels, [])
    ]
    for kept, copy in copies:
        next(part for part in parts if kept in part.planes).doubled.append((kept, copy))
    return parts


def split_interleaved(parts, normal):
    """Split the parts of uneven gaps where a label makes stacks of them that lie between each other's slices.

    Args:
        parts: list of Part.
        normal: of their planes, array of three.

    Returns:
        Parts; those that no label splits as they are. Stacks one behind the other, of thin and of thick slices, stay
        one.
    """
    return [each for part in parts for each in _interleaved(part, normal)]


def _interleaved(part, normal):
    along = np.array([plane.position for plane in part.planes]) @ normal
    if len(along) < 2 * _SMALLEST_STACK or is_regular(along):
        return [part]
    labels = [labels_of(plane) for plane in part.planes]
    for name in (*CONTENT, "stack", *TIMES):
        groups = _parts(range(len(labels)), labels, name)
        places = [along[members] for _, members in groups]
        if len(groups) > 1 and all(map(_is_stack, places)) and _all_overlap(places):
            return [
                Part(
                    planes := [part.planes[k] for k in members],
                    ", ".join(filter(None, (part.distinct, distinct_label(name, value, index, len(groups))))),
                    [pair for pair in part.doubled if pair[0] in planes],
                )
                for index, (value, members) in enumerate(groups)
            ]
    return [part]


def _is_stack(along):
    return len(along) >= _SMALLEST_STACK and is_regular(along)


def _all_overlap(places):
    ends = [(along.min(), along.max()) for along in places]
    return all(
        any(low < other_high and other_low < high for n, (other_low, other_high) in enumerate(ends) if n != k)
        for k, (low, high) in enumerate(ends)
    )


def _without_copies(planes, places):
    """Take out planes that repeat the SOP instance (and frame) of another one at the same place."""
    seen, kept, copies = {}, [], []
    for k, (plane, place) in enumerate(zip(planes, places, strict=True)):
        uid = plane.header.text(T.SOPInstanceUID)
        first = seen.setdefault((uid, plane.frame, place), k) if uid else k
        if first == k:
            kept.append(k)
        else:
            copies.append((planes[first], plane))
    return [planes[k] for k in kept], [places[k] for k in kept], copies


def _split(members, places, labels, words):
    """Return [(members, words)]: split by one label, then each part further."""
    count = len({places[k] for k in members})
    if count == len(members):
        return [(members, words)]
    choice = _complete_split(members, places, labels, count) or _rank_split(members, places, labels, count)
    choice = choice or _partial_split(members, places, labels, count)
    if not choice:
        return [(members, words)]
    name, parts = choice
    result = []
    for index, (value, part) in enumerate(parts):
        result += _split(part, places, labels, [*words, distinct_label(name, value, index, len(parts))])
    return result


def _parts(members, labels, name):
    parts = defaultdict(list)
    for k in members:
        parts[labels[k].get(name, "")].append(k)
    return sorted(parts.items(), key=lambda part: order_keys(part[0]))


def _complete_split(members, places, labels, count):
    """A label each value of which occurs at every place."""
    for name in (*CONTENT, "stack", *TIMES):
        parts = _parts(members, labels, name)
        if len(parts) > 1 and all(len({places[k] for k in part}) == count for _, part in parts):
            return name, parts
    return None


def _partial_split(members, places, labels, count):
    """A label whose values occur at least at half of the places, and none twice at one; the last time at any number."""
    for name in (*CONTENT, "stack", *TIMES):
        parts = _parts(members, labels, name)
        if len(parts) < 2:
            continue
        sizes = [(len(part), len({places[k] for k in part})) for _, part in parts]
        aborted = name in TIMES and all(distinct == count for _, distinct in sizes[:-1])
        least = 1 if aborted else max(2, _SMALLEST_SHARE * count)
        if all(size == distinct >= least for size, distinct in sizes):
            return name, parts
    return None


def _rank_split(members, places, labels, count):
    """The n-th plane in time at every place makes volume n, if every place has as many and their order is clear."""
    numbers = Counter(places[k] for k in members)
    repeats = len(members) // count
    if set(numbers.values()) != {repeats}:
        return None
    stacks = defaultdict(list)
    for k in members:
        stacks[places[k]].append(k)
    for name in _RANKS:
        if not all(name in labels[k] for k in members):
            continue
        keys = {k: order_keys(labels[k][name]) for k in members}
        if any(len({str(keys[k]) for k in stack}) < repeats for stack in stacks.values()):
            continue
        ranked = [sorted(stack, key=keys.__getitem__) for stack in stacks.values()]
        parts = [[stack[rank] for stack in ranked] for rank in range(repeats)]
        if _is_course(name, parts, ranked, keys, labels):
            return name, [(str(rank), part) for rank, part in enumerate(parts)]
        if name == "trigger time":
            return None  # heart phases that the instance numbers contradict: neither is to be believed
    return None


def _is_course(name, parts, ranked, keys, labels):
    """Whether values run through volume after volume, or through place after place, and not at random.

    Clocks also tick on between two reconstructions of one acquisition, and start again at midnight.
    """
    by_place = sorted(ranked, key=lambda stack: keys[stack[0]])
    if name not in (*_CLOCKS, "trigger time"):
        return _in_sequence(parts, keys) or _in_sequence(by_place, keys)
    numbers = [[order_keys(labels[k].get("instance", "")) for k in stack] for stack in ranked]
    distinct = all(a != b for stack in numbers for a, b in pairwise(sorted(stack)))
    confirmed = all(a < b for stack in numbers for a, b in pairwise(stack))
    if name == "trigger time":
        # counted from each heart beat, so the same times come again at the next place
        return confirmed or not distinct
    if _over_midnight(keys.values()) or (distinct and not confirmed):
        return False
    return _in_sequence(parts, keys) or (confirmed and _in_sequence(by_place, keys))


def _in_sequence(groups, keys):
    return all(max(keys[k] for k in a) < min(keys[k] for k in b) for a, b in pairwise(groups))


def _over_midnight(keys):
    """Whether times (HHMMSS) of one date, or of none, lie more than half a day apart."""
    *dates, times = zip(*keys, strict=True) if len(set(map(len, keys))) == 1 else ((),)
    times = [time for _, time, _ in times]
    return bool(times) and all(len(set(date)) == 1 for date in dates) and _HALF_DAY < max(times) - min(times) < _DAY
