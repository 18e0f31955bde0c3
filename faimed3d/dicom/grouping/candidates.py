"""Planes that may belong to one volume: each with the number of its position and its acquisition attributes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from faimed3d.dicom.grouping.attributes import MAY_BE_ABSENT, NUMERIC, attributes_of, order_keys, representatives
from faimed3d.dicom.grouping.identifiers import instance_number
from faimed3d.dicom.planes import Plane


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A plane, where it lies and how it was acquired.

    Attributes:
        plane: the Plane.
        position: a number, equal for planes at one position.
        attributes: text by name, see :func:`attributes_of`; values that scanners merely rounded apart are equal.
    """

    plane: Plane
    position: int
    attributes: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        """Value of an attribute, ``''`` where the plane lacks it."""
        return self.attributes.get(name, "")


def candidates_of(planes: Sequence[Plane], positions: Sequence[int]) -> list[Candidate]:
    """Return the candidates of planes of one kind.

    Args:
        planes: of one orientation and matrix.
        positions: a number for each, equal for planes at one position.
    """
    found = [Candidate(p, n, attributes_of(p)) for p, n in zip(planes, positions, strict=True)]
    same = {name: _representatives(name, found) for name in NUMERIC}
    return [
        Candidate(c.plane, c.position, {name: same.get(name, {}).get(v, v) for name, v in c.attributes.items()})
        for c in found
    ]


def _representatives(name: str, candidates: Iterable[Candidate]) -> dict[str, str]:
    positions = defaultdict(set)
    for candidate in candidates:
        if candidate[name]:
            positions[candidate[name]].add(candidate.position)
    return representatives(name, positions)


def by_value(candidates: Iterable[Candidate], name: str) -> list[tuple[str, list[Candidate]]]:
    """Group candidates by the value of an attribute, in the order of the values; those without it are ``''``."""
    groups = defaultdict(list)
    for candidate in candidates:
        groups[candidate[name]].append(candidate)
    return sorted(groups.items(), key=lambda group: order_keys(group[0]))


def by_position(candidates: Iterable[Candidate]) -> list[list[Candidate]]:
    """Group candidates by their position."""
    stacks = defaultdict(list)
    for candidate in candidates:
        stacks[candidate.position].append(candidate)
    return list(stacks.values())


def count_positions(candidates: Iterable[Candidate]) -> int:
    """Number of different positions."""
    return len({candidate.position for candidate in candidates})


def groups_by(candidates: list[Candidate], name: str) -> list[tuple[str, list[Candidate]]]:
    """The candidates by the value of an attribute, in the order of the values; none where some of them have lost it."""
    groups = by_value(candidates, name)
    if len(groups) < 2 or groups[0][0] or name in MAY_BE_ABSENT:
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
