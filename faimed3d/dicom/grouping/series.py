"""From the images of a folder to volumes: which make one series, which volumes it holds, and what lies around them."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from faimed3d.dicom.grouping.attributes import VOLUME_ATTRIBUTES, alike, attributes_of
from faimed3d.dicom.grouping.gaps import is_regular, usual_gap
from faimed3d.dicom.grouping.plane_kinds import (
    are_one_kind,
    group_by_kind,
    has_own_position,
    have_one_layout,
    position_numbers,
)
from faimed3d.dicom.grouping.scan import Scan
from faimed3d.dicom.grouping.splitting import split_by_attributes, split_interleaved
from faimed3d.dicom.grouping.volume import Volume, stack
from faimed3d.dicom.header import FileHeader, Tag, quote_value
from faimed3d.dicom.image_planes import planes_of
from faimed3d.dicom.planes import Plane, orientation_name, plane_axes
from faimed3d.errors import DamagedFile, ReadError

# What images of one series have in common. The patient's ID is compared, and nothing else is done with it.
SERIES_TAGS = (Tag.SeriesInstanceUID, Tag.SeriesNumber, Tag.StudyInstanceUID, Tag.PatientID)
IDENTITY_TAGS = (*SERIES_TAGS, Tag.FrameOfReferenceUID)
_SEVERAL = 3  # slices from which on a single one that differs is the odd one


@dataclass(frozen=True, eq=False)
class Family:
    """The volumes that the planes of one kind were split into.

    Attributes:
        volumes: the volumes.
        by_attributes: whether attributes alone tell them apart, so that all of them should have the same positions.
    """

    volumes: tuple[Volume, ...] = ()
    by_attributes: bool = False

    @cached_property
    def owners(self) -> Mapping[Plane, Volume]:
        """The volume of each plane."""
        return {plane: volume for volume in self.volumes for plane in volume.planes}

    @cached_property
    def position_of(self) -> Mapping[Plane, int]:
        """A number for each plane, equal for planes at one position."""
        planes = list(self.owners)
        return dict(zip(planes, position_numbers(planes), strict=True))

    @cached_property
    def positions(self) -> tuple[frozenset[int], ...]:
        """The numbers of the positions of each volume."""
        return tuple(frozenset(self.position_of[plane] for plane in volume.planes) for volume in self.volumes)

    @cached_property
    def representatives(self) -> tuple[Plane, ...]:
        """One plane of each position and thickness: those of hundreds of time points are mostly the same."""
        return tuple({(n, plane.stated_gap): plane for plane, n in self.position_of.items()}.values())


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


@dataclass(frozen=True, eq=False)
class Grouped:
    """The volumes of a folder, each with what lies around it, and how many images were left out, by reason."""

    volumes: tuple[tuple[Volume, Surroundings], ...]
    skipped: Counter[str]


def group_images(scan: Scan) -> Grouped:
    """Find the volumes in a scan, ordered by series number and then as their slices differ."""
    groups = defaultdict(list)
    for header in scan.images:
        # anonymised files may have lost their UIDs, or all have one: two patients must not become one
        groups[_series_key(header)].append(header)
    by_uid = defaultdict(list)
    for key in groups:
        by_uid[key[0]].append(key)
    volumes: list[tuple[Volume, Surroundings]] = []
    loners: list[Plane] = []
    skipped: Counter[str] = Counter()
    for keys in by_uid.values():
        largest = max(keys, key=lambda key: len(groups[key]))
        alone = [key for key in keys if key[0] and len(groups[key]) == 1 and len(groups[largest]) >= _SEVERAL]
        series = [key for key in keys if key not in alone]
        loners += [plane for key in alone for plane in planes_of(groups[key][0]) if not plane.error]
        for key in series:
            number = quote_value(key[1], Tag.SeriesNumber) or "absent"
            found = _group_series(scan, groups[key], f"series number {number}" if len(series) > 1 else "")
            renumbered = tuple(groups[other][0] for other in alone) if key == largest else ()
            volumes += [(volume, replace(around, renumbered=renumbered)) for volume, around in found.volumes]
            skipped += found.skipped
    volumes.sort(key=lambda pair: _series_order(pair[0].header))
    volumes = list(_number_equals(volumes))
    in_line = _single_slices_in_line([volume for volume, _ in volumes])
    unidentified = _unidentified_beside([volume for volume, _ in volumes], loners)
    return Grouped(
        tuple(
            (
                volume,
                replace(
                    around,
                    in_line=in_line.get(volume, ()),
                    unidentified=unidentified.get(volume, ()),
                    damaged=_damaged_files(scan, volume),
                ),
            )
            for volume, around in volumes
        ),
        skipped,
    )


def _series_key(header: FileHeader) -> tuple[str, ...]:
    return tuple(header.text(tag) for tag in SERIES_TAGS)


def _series_order(header: FileHeader) -> int:
    number = header.text(Tag.SeriesNumber)
    return int(number) if number.isascii() and number.isdigit() else 1 << 31


def _number_equals(volumes: list[tuple[Volume, Surroundings]]) -> Iterator[tuple[Volume, Surroundings]]:
    """Tell volumes of one series UID that are distinct in nothing else by their number, for their keys' sake."""
    total = Counter(_name_key(volume) for volume, _ in volumes)
    seen: Counter[tuple[str, str]] = Counter()
    for volume, around in volumes:
        key = _name_key(volume)
        seen[key] += 1
        if total[key] > 1:
            distinct = _joined(volume.distinct, f"volume {seen[key]} of {total[key]}")
            yield replace(volume, distinct=distinct), around
        else:
            yield volume, around


def _name_key(volume: Volume) -> tuple[str, str]:
    return volume.header.text(Tag.SeriesInstanceUID), volume.distinct


def _joined(*words: str) -> str:
    return ", ".join(filter(None, words))


def _damaged_files(scan: Scan, volume: Volume) -> tuple[FileHeader, ...]:
    """Files that cannot be read and are, or may be, of the series of a volume."""
    uid = volume.header.text(Tag.SeriesInstanceUID)
    return tuple(header for header in scan.damaged if header.known_series in ("", uid))


# One series -----------------------------------------------------------------------------------------------------------


def _group_series(scan: Scan, headers: list[FileHeader], label: str) -> Grouped:
    skipped: Counter[str] = Counter()
    scouts = [h for h in headers if "LOCALIZER" in h.text(Tag.ImageType).upper().split("\\")]
    if 0 < len(scouts) < len(headers):
        skipped["localizers"] += len(scouts)
        headers = [h for h in headers if h not in scouts]
    planes = [plane for header in headers for plane in planes_of(header)]
    unplaced = [plane for plane in planes if plane.error]
    kinds = group_by_kind(plane for plane in planes if not plane.error)
    if not kinds:
        volume = Volume(tuple(unplaced), scan.folder, label)
        return Grouped(((volume, Surroundings(unplaced=volume.planes)),), skipped)
    several = max(map(len, kinds)) >= _SEVERAL
    odd = [kind[0] for kind in kinds if len(kind) == 1 and several]
    kept = [kind for kind in kinds if len(kind) > 1 or not several]
    families = [
        _split_kind(scan.folder, kind, _joined(label, _kind_label(kind[0]) if len(kept) > 1 else "")) for kind in kept
    ]
    volumes = [volume for family in families for volume in family.volumes]
    captures = [plane for plane in unplaced if _is_capture(plane, volumes[0])]
    if captures:
        skipped["captures"] += len(captures)
    claims = _Claims(volumes)
    common = Surroundings(
        series_planes=tuple(plane for volume in volumes for plane in volume.planes),
        instance_numbers=frozenset(map(instance_number, planes)),
        concatenations=_concatenation_parts(headers),
    )
    unplaced_of = claims.sort([plane for plane in unplaced if plane not in captures])
    odd_of = claims.sort(odd)
    coloured_of = claims.sort(_colour_planes(scan, volumes[0].header))
    return Grouped(
        tuple(
            (
                volume,
                replace(
                    common,
                    family=family,
                    unplaced=unplaced_of.get(volume, ()),
                    odd=odd_of.get(volume, ()),
                    coloured=tuple(p for p in coloured_of.get(volume, ()) if _fills_a_position(p, volume)),
                ),
            )
            for family in families
            for volume in family.volumes
        ),
        skipped,
    )


def _split_kind(folder: str, planes: list[Plane], label: str) -> Family:
    """The volumes of planes of one kind."""
    normal = plane_axes(planes[0])[2]
    parts = split_by_attributes(planes)
    final = [each for part in parts for each in split_interleaved(part, normal)]
    volumes = [
        stack(part.planes, folder, _joined(label, *part.distinct), part.attributes, part.copies) for part in final
    ]
    return Family(tuple(volumes), by_attributes=len(parts) == len(final) > 1)


def _kind_label(plane: Plane) -> str:
    return f"{orientation_name(plane)} {plane.rows}x{plane.columns}"


class _Claims:
    """To which volumes of a series an image may belong by its attributes."""

    def __init__(self, volumes: Sequence[Volume]) -> None:
        self.volumes = volumes

    def sort(self, planes: Iterable[Plane]) -> dict[Volume, tuple[Plane, ...]]:
        """The planes by volume; one whose attributes fit none may belong to each."""
        found: dict[Volume, tuple[Plane, ...]] = defaultdict(tuple)
        for plane in planes:
            attributes = attributes_of(plane)
            fitting = [volume for volume in self.volumes if _shares_attributes(volume, attributes)]
            for volume in fitting or self.volumes:
                found[volume] += (plane,)
        return found


def _shares_attributes(volume: Volume, attributes: Mapping[str, str]) -> bool:
    return all(alike(name, (attributes.get(name, ""), value)) for name, value in volume.attributes.items())


def _is_capture(plane: Plane, volume: Volume) -> bool:
    """Whether an image without a position is of another class than the slices: a picture of the screen beside them."""
    values = plane.header.values
    return (
        Tag.ImagePositionPatient not in values
        and Tag.ImageOrientationPatient not in values
        and plane.header.text(Tag.SOPClassUID) != volume.header.text(Tag.SOPClassUID)
    )


def _colour_planes(scan: Scan, first: FileHeader) -> Iterator[Plane]:
    """The colour images of the series of ``first`` that have a position."""
    for header in scan.colour:
        if all(header.text(tag) == first.text(tag) for tag in (*SERIES_TAGS, Tag.SOPClassUID)):
            try:
                yield Plane.of_file(header)
            except ReadError:  # without a position of its own it is a capture beside the slices
                continue


def _fills_a_position(plane: Plane, volume: Volume) -> bool:
    return are_one_kind(plane, volume.planes[0]) and has_own_position(plane, volume.planes)


def instance_number(plane: Plane) -> int | None:
    """(0020,0013) InstanceNumber of a plane's file; None where it is no whole number."""
    text = plane.header.text(Tag.InstanceNumber)
    return int(text) if text.isascii() and text.isdigit() else None


def whole_number(header: FileHeader, tag: int) -> int | None:
    """Value of an integer element; None where it is absent or damaged: of no use, and no harm to the pixels."""
    try:
        return header.integer(tag)
    except DamagedFile:
        return None


def _concatenation_parts(headers: Iterable[FileHeader]) -> dict[str, frozenset[int | None]]:
    """Numbers of the files of each concatenation (PS3.3 C.7.6.16, Multi-frame Functional Groups) by its UID."""
    parts: dict[str, frozenset[int | None]] = defaultdict(frozenset)
    for header in headers:
        if uid := header.text(Tag.ConcatenationUID):
            parts[uid] |= {whole_number(header, Tag.InConcatenationNumber)}
    return dict(parts)


# Slices that strayed --------------------------------------------------------------------------------------------------


def _single_slices_in_line(volumes: list[Volume]) -> dict[Volume, tuple[Plane, ...]]:
    """Single slices with a series UID of their own that lie on the grid of another volume of their series number."""
    singles = defaultdict(list)
    for volume in volumes:
        if volume.slices == 1:
            singles[_series_key(volume.header)[1:]].append(volume.planes[0])
    found = {}
    for volume in volumes:
        key = _series_key(volume.header)[1:]
        if key in singles and volume.slices >= _SEVERAL:
            found[volume] = tuple(
                plane
                for plane in _in_line(volume, singles[key])
                if _shares_attributes(volume, attributes_of(plane)) and _fills_a_position(plane, volume)
            )
    return found


def _unidentified_beside(volumes: list[Volume], loners: list[Plane]) -> dict[Volume, tuple[Plane, ...]]:
    """Planes in a volume or next to it that are of another, where one lacks what would tell them apart.

    Args:
        volumes: all of a folder.
        loners: planes that are in none of them.
    """
    planes_of_identity = defaultdict(list)
    for plane in (*loners, *(plane for volume in volumes if volume.stackable for plane in volume.all_planes)):
        planes_of_identity[identity(plane.header)].append(plane)
    found: dict[Volume, tuple[Plane, ...]] = defaultdict(tuple)
    for volume in volumes if len(planes_of_identity) > 1 else ():
        own = identity(volume.header)
        for other, planes in planes_of_identity.items():
            if volume.stackable and other != own and _may_be_equal(own, other):
                found[volume] += tuple(
                    plane
                    for plane in _beside(volume, planes)
                    if have_one_layout(plane, volume.planes[0]) and _contradicts_nothing(volume.planes[0], plane)
                )
    return found


def _may_be_equal(one: Iterable[str], other: Iterable[str]) -> bool:
    """Whether texts are equal wherever both sides have one."""
    return all(not a or not b or a == b for a, b in zip(one, other, strict=True))


def identity(header: FileHeader) -> tuple[str, ...]:
    """What images of one volume share: their series, and the frame of reference."""
    return tuple(header.text(tag) for tag in IDENTITY_TAGS)


def _contradicts_nothing(plane: Plane, other: Plane) -> bool:
    """Whether two planes are alike in what all slices of one volume share, as far as both have it."""
    one, two = attributes_of(plane), attributes_of(other)
    return all(alike(name, (one[name], two[name])) for name in VOLUME_ATTRIBUTES if one.get(name) and two.get(name))


def _in_line(volume: Volume, planes: list[Plane]) -> list[Plane]:
    """Which planes lie on the even grid of a volume: in a hole of it, or next to its ends."""
    return [plane for plane, along in _beside(volume, planes).items() if is_regular(np.append(volume.along, along))]


def _beside(volume: Volume, planes: list[Plane]) -> dict[Plane, float]:
    """The planes between the slices of a volume or next to its ends, with their distance along its normal."""
    first, own = volume.planes[0], volume.along
    gap = max(usual_gap(own) if len(own) > 1 else 0.0, (first.stated_gap or 0.0) if len(own) < _SEVERAL else 0.0)
    offsets = (np.array([plane.position for plane in planes]) - first.position) @ plane_axes(first).T
    aligned = np.abs(offsets[:, :2]).max(1) <= min(first.spacing)
    near = aligned & (offsets[:, 2] > own[0] - 1.5 * gap) & (offsets[:, 2] < own[-1] + 1.5 * gap)
    return {planes[k]: float(offsets[k, 2]) for k in np.flatnonzero(near)}


# Series in several folders --------------------------------------------------------------------------------------------


class Whole:
    """The volumes that images of several folders would make if they lay in one."""

    def __init__(self, *images: Iterable[FileHeader]) -> None:
        headers, seen = [], set()
        for header in (header for some in images for header in some):
            if not header.identity or header.identity not in seen:
                seen.add(header.identity)
                headers.append(header)
        self._volumes = {
            _plane_key(plane): volume
            for volume, _ in group_images(Scan("", headers)).volumes
            for plane in volume.all_planes
        }

    def missing_from(self, volume: Volume, own: Iterable[FileHeader]) -> tuple[Plane, ...]:
        """Planes elsewhere that belong to a volume: half of a series is no volume.

        Args:
            volume: the Volume.
            own: headers of the images in its folder.
        """
        here = {id(header) for header in own}
        others = {id(found): found for plane in volume.planes if (found := self._volumes.get(_plane_key(plane)))}
        for other in others.values():
            more = tuple(plane for plane in other.planes if id(plane.header) not in here)
            if more and (len(other.planes) > len(volume.planes) or len(others) > 1):
                return more
        return ()


def _plane_key(plane: Plane) -> tuple[object, ...]:
    return id(plane.header), plane.frame, plane.corner


def relative_folder(header: FileHeader, folder: str) -> str:
    """The folder of a file as seen from another folder."""
    return os.path.relpath(os.path.dirname(header.path), folder or ".")
