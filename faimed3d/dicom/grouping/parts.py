"""The planes of one volume, as a series is split into volumes step by step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from faimed3d.dicom.grouping.attributes import describe_attribute
from faimed3d.dicom.grouping.candidates import Candidate
from faimed3d.dicom.planes import Plane


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


@dataclass(frozen=True, eq=False)
class Part:
    """Planes of one volume.

    Attributes:
        planes: the planes.
        distinct: in words, what tells it from the other parts.
        attributes: those that its planes share and that tell it apart.
        repeats: whether planes in it share a position, and nothing tells these apart.
        interleaved: whether they lie between the planes of another part.
        copies: pairs (plane, copy of it that was left out).
        half_lost: an attribute that would tell stacks in it apart, if some planes had not lost it; mostly ``''``.
    """

    planes: tuple[Plane, ...]
    distinct: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    repeats: bool = False
    interleaved: bool = False
    copies: tuple[tuple[Plane, Plane], ...] = ()
    half_lost: str = ""


def parts_of(split: Split, part: Part) -> Iterator[Part]:
    """The parts that a decision makes of one."""
    for number, (value, members) in enumerate(split.groups):
        planes = tuple(c.plane for c in members)
        yield Part(
            planes,
            (*part.distinct, describe_attribute(split.attribute, value, number, len(split.groups))),
            part.attributes if split.by_rank else {**part.attributes, split.attribute: value},
            copies=tuple(pair for pair in part.copies if pair[0] in planes),
        )
