"""From the images of a folder to volumes: which make one series, which volumes it holds, and what lies around them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from faimed3d.dicom.grouping.attributes import attributes_of
from faimed3d.dicom.grouping.dicom_volume import Volume, stack
from faimed3d.dicom.grouping.identifiers import SERIES_TAGS, instance_number, series_key, whole_number
from faimed3d.dicom.grouping.interleaved_stacks import split_interleaved
from faimed3d.dicom.grouping.plane_kinds import group_by_kind
from faimed3d.dicom.grouping.scan import Scan
from faimed3d.dicom.grouping.strays import (
    fills_a_position,
    lies_across,
    shares_attributes,
    single_slices_in_line,
    unidentified_beside,
)
from faimed3d.dicom.grouping.surroundings import Family, Surroundings
from faimed3d.dicom.grouping.volume_splitting import split_by_attributes
from faimed3d.dicom.header import FileHeader, Tag, quote_value
from faimed3d.dicom.image_planes import planes_of
from faimed3d.dicom.planes import Plane, orientation_name, plane_axes
from faimed3d.errors import ReadError

_SEVERAL = 3  # slices from which on a single one that differs is the odd one


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
        groups[series_key(header)].append(header)
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
            loners += dict.fromkeys(plane for _, around in found.volumes for plane in around.odd)
            skipped += found.skipped
    volumes.sort(key=lambda pair: _series_order(pair[0].header))
    volumes = list(_number_equals(volumes))
    in_line = single_slices_in_line([volume for volume, _ in volumes])
    unidentified = unidentified_beside([volume for volume, _ in volumes], loners)
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
    stacks = [kind for kind in kinds if len(kind) > 1]
    odd = [kind[0] for kind in kinds if several and len(kind) == 1 and not all(lies_across(kind[0], s) for s in stacks)]
    kept = [kind for kind in kinds if kind[0] not in odd]
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
                    coloured=tuple(p for p in coloured_of.get(volume, ()) if fills_a_position(p, volume)),
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
    parts = [each for part in split_by_attributes(planes) for each in split_interleaved(part, normal)]
    return Family(tuple(stack(part, folder, _joined(label, *part.distinct)) for part in parts))


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
            fitting = [volume for volume in self.volumes if shares_attributes(volume, attributes)]
            for volume in fitting or self.volumes:
                found[volume] += (plane,)
        return found


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


def _concatenation_parts(headers: Iterable[FileHeader]) -> dict[str, frozenset[int | None]]:
    """Numbers of the files of each concatenation (PS3.3 C.7.6.16, Multi-frame Functional Groups) by its UID."""
    parts: dict[str, frozenset[int | None]] = defaultdict(frozenset)
    for header in headers:
        if uid := header.text(Tag.ConcatenationUID):
            parts[uid] |= {whole_number(header, Tag.InConcatenationNumber)}
    return dict(parts)
