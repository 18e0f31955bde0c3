"""Stacks that lie between each other's slices: an attribute tells them apart, or they are one acquired in passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from faimed3d.dicom.grouping.attributes import TIMES, VOLUME_ATTRIBUTES
from faimed3d.dicom.grouping.candidates import Candidate, by_value, candidates_of, groups_by
from faimed3d.dicom.grouping.gaps import MULTIPLE_TOLERANCE, first_stated_gap, is_even, is_regular, usual_gap
from faimed3d.dicom.grouping.parts import Part, Split, parts_of
from faimed3d.dicom.planes import Plane

_INTERLEAVING = tuple(dict.fromkeys((*VOLUME_ATTRIBUTES, *TIMES)))  # what may tell stacks between each other apart
_SMALLEST_STACK = 3  # slices: the gaps of fewer say nothing


def split_interleaved(part: Part, normal: np.ndarray) -> list[Part]:
    """Split a part where an attribute makes stacks of it that lie between each other's slices.

    Args:
        part: the Part.
        normal: of its planes, array of three.

    Returns:
        Parts; one that no attribute splits as it is. Stacks one behind the other, of thin and of thick slices, stay
        one, and so do even ones that were acquired in two passes.
    """
    if part.repeats or len(part.planes) < 2:
        return [part]
    stacked = _Stacked(part.planes, normal)
    for name in stacked.counts:
        groups = groups_by(stacked.candidates, name)
        if stacked.are_several(name, groups):
            parts = parts_of(Split(name, tuple(groups)), part)
            return [replace(each, interleaved=True) for each in parts]
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
                if self.are_several(name, by_value(known, name), holes=True):
                    return name
        return ""

    def are_several(self, name: str, groups: list[tuple[str, list[Candidate]]], holes: bool = False) -> bool:
        """Whether groups of the candidates by the attribute ``name`` are several stacks, and not one made in passes.

        A scanner that takes slices 0, 2, 4, ... and then 1, 3, 5, ... may write other values in the second pass. The
        gap in the header is then that of all slices together. Where some slices of an even stack have another value,
        groups with holes are left: these are no stacks, but for ``holes``.
        """
        stacks = [self._along[[c.position for c in members]] for _, members in groups]
        if name == "stack" and len(groups) > 1 and min(map(len, stacks)) < _SMALLEST_STACK and not holes:
            return not any(_overlap(one, other) for one, other in combinations(stacks, 2))
        if len(groups) < 2 or not all(len(some) >= _SMALLEST_STACK and is_regular(some) for some in stacks):
            return False
        overlap = _all_overlap(stacks)
        # by its definition (PS3.3 C.7.6.16.2.2, Frame Content) one stack is not another, though it lie behind it
        if not self._even or not overlap:
            return overlap or name == "stack"
        if not holes and not all(map(is_even, stacks)):
            return False
        stated, gap, apart = self._stated, usual_gap(self._along), [usual_gap(some) for some in stacks]
        if name in VOLUME_ATTRIBUTES:
            return abs(stated - gap) >= abs(stated - min(apart)) if stated else name == "stack"
        # slices of one acquisition may overlap, and images be made in any order: a time tells them apart only if the
        # slices with one value touch each other
        if not stated or name == "content time":
            return False
        return all(abs(own / stated - 1) <= MULTIPLE_TOLERANCE for own in apart)


def _overlap(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(one.min() < other.max() and other.min() < one.max())


def _all_overlap(stacks: list[np.ndarray]) -> bool:
    ends = [(along.min(), along.max()) for along in stacks]
    return all(
        any(low < other_high and other_low < high for n, (other_low, other_high) in enumerate(ends) if n != k)
        for k, (low, high) in enumerate(ends)
    )
