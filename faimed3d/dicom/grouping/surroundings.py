"""What lies around a volume: the other volumes of its series, and images that may belong to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from faimed3d.dicom.grouping.attributes import CONTENT, TIMES
from faimed3d.dicom.grouping.dicom_volume import Volume
from faimed3d.dicom.grouping.gaps import first_stated_gap
from faimed3d.dicom.grouping.plane_kinds import position_numbers
from faimed3d.dicom.header import FileHeader
from faimed3d.dicom.planes import Plane


@dataclass(frozen=True, eq=False)
class Family:
    """The volumes that the planes of one kind were split into.

    Attributes:
        volumes: the volumes.
    """

    volumes: tuple[Volume, ...] = ()

    @cached_property
    def position_of(self) -> Mapping[Plane, int]:
        """A number for each plane, equal for planes at one position."""
        planes = [plane for volume in self.volumes for plane in volume.planes]
        return dict(zip(planes, position_numbers(planes), strict=True))

    def positions_of(self, volume: Volume) -> frozenset[int]:
        """The numbers of the positions of a volume."""
        return frozenset(map(self.position_of.__getitem__, volume.planes))

    @cached_property
    def times(self) -> tuple[str, ...]:
        """The attributes of the course of time that tell some of the volumes apart."""
        return tuple(name for name in TIMES if any(name in volume.attributes for volume in self.volumes))

    @cached_property
    def patterns(self) -> tuple[tuple[frozenset[int], Volume], ...]:
        """Pairs (positions, a volume that has them), the most first; of volumes that differ in time alone the first."""
        found: dict[object, tuple[frozenset[int], Volume]] = {}
        for volume in self.volumes:
            places = self.positions_of(volume)
            attributes = tuple((name, v) for name, v in volume.attributes.items() if name in CONTENT)
            key = (places, first_stated_gap(volume.planes), attributes, volume.interleaved)
            found.setdefault(key, (places, volume))
        return tuple(sorted(found.values(), key=lambda pair: -len(pair[0])))


@dataclass(frozen=True, eq=False)
class Surroundings:
    """The images around a volume that tell whether it is whole, and alone.

    Attributes:
        family: the volumes from planes of its kind, itself among them.
        series_planes: the planes of all volumes of its series.
        instance_numbers: those of all images of its series; None stands for images without one.
        concatenations: numbers of the files that are there, by ConcatenationUID.
        unplaced: images of its series whose position cannot be used, if they may belong to the volume.
        odd: single images of its series that are of another kind, if they may belong to the volume.
        coloured: colour images of its series at positions of their own on its grid.
        renumbered: single images of its series UID with another series number, study or patient.
        in_line: single images of another series UID that continue it, or lie in one of its gaps.
        unidentified: images between its slices or next to its ends that may be of its series and world: a UID, number
            or ID that would tell is absent there, or in this volume.
        elsewhere: images in other folders that belong to it.
        damaged: files that cannot be read and may be of its series.
    """

    family: Family = field(default_factory=Family)
    series_planes: tuple[Plane, ...] = ()
    instance_numbers: frozenset[int | None] = frozenset()
    concatenations: Mapping[str, frozenset[int | None]] = field(default_factory=dict)
    unplaced: tuple[Plane, ...] = ()
    odd: tuple[Plane, ...] = ()
    coloured: tuple[Plane, ...] = ()
    renumbered: tuple[FileHeader, ...] = ()
    in_line: tuple[Plane, ...] = ()
    unidentified: tuple[Plane, ...] = ()
    elsewhere: tuple[Plane, ...] = ()
    damaged: tuple[FileHeader, ...] = ()
