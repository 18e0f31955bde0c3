"""Several planes at each position: tell the volumes of one series apart.

One rule: of the attributes whose values meet at a position, that one splits which leaves the fewest positions empty in
the groups that it makes. What all slices of a volume share by definition (echo, b-value, time point, ...) holds them
together: no other attribute splits a set that it makes a volume of.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from faimed3d.dicom.grouping.attributes import CONTENT, TIMES, VOLUME_ATTRIBUTES
from faimed3d.dicom.grouping.candidates import Candidate, candidates_of, count_positions, groups_by
from faimed3d.dicom.grouping.parts import Part, Split, parts_of
from faimed3d.dicom.grouping.plane_kinds import position_numbers
from faimed3d.dicom.grouping.time_order import CLOCKS, in_order_of_time, split_by_time
from faimed3d.dicom.header import Tag
from faimed3d.dicom.planes import Plane
from faimed3d.dicom.planes.plane import DIMENSIONS

# The fullest group of an attribute that leaves positions empty must have this share of them, else it is of slices
_SMALLEST_SHARE = 0.5
_SMALLEST_SLAB = 3  # slices of one of several stacks that overlap, which have less than that share
# Of the course of time, what has one value in a volume; clocks tick on in it
_NUMBERED = ("time offset", "frame time", "acquisition")


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


def _divide(candidates: list[Candidate], whole: Part) -> Iterator[Part]:
    """Split by one attribute, then each part further."""
    repeats = count_positions(candidates) < len(candidates)
    split = _best_split(candidates) if repeats else None
    if split is None:
        yield replace(whole, planes=tuple(c.plane for c in candidates), repeats=repeats)
        return
    for part, (_, members) in zip(parts_of(split, whole), split.groups, strict=True):
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


# The rule -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Proposal:
    """A split that an attribute would make.

    Attributes:
        split: the split.
        empty: how many positions its groups lack: of a group that holds a position n times, n times as many.
        fullest: the largest share of positions that one of the groups has.
        numbers_volumes: whether it numbers volumes, so that none has two of its values, and not the slices in them.
        makes_slabs: whether its groups are stacks without a hole, several slices each, one behind the other.
    """

    split: Split
    empty: int
    fullest: float
    numbers_volumes: bool
    makes_slabs: bool


def _best_split(candidates: list[Candidate]) -> Split | None:
    """The split that leaves the fewest positions empty; if it leaves any, the order in time is asked before."""
    proposals = []
    for proposal in _proposals(candidates):
        if not proposal.empty:
            return proposal.split
        proposals.append(proposal)
    usable = [
        p for p in proposals if (p.fullest >= _SMALLEST_SHARE or p.makes_slabs) and p.split.attribute not in DIMENSIONS
    ]
    numbering = {p.split.attribute for p in usable if p.numbers_volumes} - CLOCKS
    by_time = split_by_time(candidates, [name for name in _NUMBERED if name in numbering])
    if by_time:
        return by_time
    if numbering:  # what numbers volumes is believed before a clock, whose minute may hold the rests of two
        usable = [p for p in usable if p.split.attribute not in CLOCKS]
    return min(usable, key=lambda proposal: proposal.empty).split if usable else None


def _proposals(candidates: list[Candidate]) -> Iterator[_Proposal]:
    """What each attribute proposes, those first that make another kind of image."""
    count = count_positions(candidates)
    held = None
    for name in (*CONTENT, "stack", *TIMES, *DIMENSIONS):
        groups = groups_by(candidates, name)
        if len(groups) < 2 or sum(count_positions(members) for _, members in groups) == count:
            continue  # its values never meet
        if name in CLOCKS:
            groups = in_order_of_time(groups)
        if name not in VOLUME_ATTRIBUTES:
            held = _held_together(candidates) if held is None else held
            value_of = {c: value for value, members in groups for c in members}
            if any(len({value_of[c] for c in members}) > 1 for members in held):
                continue
        times = [max(Counter(c.position for c in members).values()) for _, members in groups]
        sizes = [len(members) for _, members in groups]
        fullest = max(size / (n * count) for size, n in zip(sizes, times, strict=True))
        numbers = max(times) == 1 and len(groups) < 2 * len(candidates) / count
        slabs = max(times) == 1 and all(_is_slab(members) for _, members in groups)
        yield _Proposal(Split(name, tuple(groups)), sum(times) * count - sum(sizes), fullest, numbers, slabs)


def _is_slab(members: list[Candidate]) -> bool:
    """Whether candidates lie at neighbouring positions, which are numbered along the normal."""
    positions = [candidate.position for candidate in members]
    return len(positions) >= _SMALLEST_SLAB and max(positions) - min(positions) == len(positions) - 1


def _held_together(candidates: list[Candidate]) -> list[list[Candidate]]:
    """The sets of candidates that share what all slices of one volume share, if no position occurs twice in them."""
    sets = defaultdict(list)
    for candidate in candidates:
        sets[tuple(candidate[name] for name in VOLUME_ATTRIBUTES)].append(candidate)
    return [members for members in sets.values() if count_positions(members) == len(members)] if len(sets) > 1 else []
