"""Planes to volumes: which images make one series, which volumes it holds, and which of its slices are lost."""

from __future__ import annotations

import os
from collections import defaultdict

import numpy as np

from faimed3d.dicom.checks.completeness import (
    check_between,
    check_count,
    check_steps,
    concatenation_parts,
    instance_number,
)
from faimed3d.dicom.checks.stack import is_regular, usual_gap, where
from faimed3d.dicom.grouping.attributes import alike, attributes_of
from faimed3d.dicom.grouping.plane_kinds import belongs, clusters_of, difference, place_ids
from faimed3d.dicom.grouping.scan import Scan, scan_below
from faimed3d.dicom.grouping.splitting import split_interleaved, split_volumes
from faimed3d.dicom.grouping.volume import Volume, examine
from faimed3d.dicom.header.file_header import quote_value
from faimed3d.dicom.header.tags import Tag, name_tag
from faimed3d.dicom.planes.from_file import planes_of
from faimed3d.dicom.planes.plane import frame_of, orientation_name, single_plane
from faimed3d.errors import MissingSlices, MixedSeries, ReadError

__all__ = ["join_scans", "note_scattered", "volumes_of"]

# What images of one series have in common. The patient's ID is compared, and nothing else is done with it.
_SERIES = (Tag.SeriesInstanceUID, Tag.SeriesNumber, Tag.StudyInstanceUID, Tag.PatientID)
_SEVERAL = 3  # slices from which on a single one that differs is the odd one


def volumes_of(scan, below=True):
    """List the volumes in a scan, ordered by series number and then as their slices differ.

    Localizers and captures that share a series with other images are counted in ``scan.skipped``.

    Args:
        scan: Scan of a folder, or of some files.
        below: whether to look into sub-folders for images that belong to these volumes.
    """
    volumes = _volumes_of(scan)
    if below and scan.folders:
        more = scan_below(scan, {volume.header.text(Tag.SeriesInstanceUID) for volume in volumes} - {""})
        if more:
            note_scattered(volumes, scan, join_scans(scan.images, more))
    return volumes


def join_scans(*images):
    """The volume to which each plane belongs if images (lists of headers) lay in one folder, by header and frame."""
    whole, seen = {}, set()
    headers = [header for some in images for header in some]
    fresh = [h for h in headers if not h.identity or (h.identity not in seen and not seen.add(h.identity))]
    for volume in _volumes_of(Scan("", fresh)):
        for plane in (*volume.planes, *(copy for _, copy in volume.doubled)):
            whole[_key(plane)] = volume
    return whole


def note_scattered(volumes, scan, whole):
    """Note the volumes that images in other folders would change: half of a series is no volume.

    Args:
        volumes: those of the scan.
        scan: Scan of one folder.
        whole: what :func:`join_scans` gives for its images and those elsewhere.
    """
    own = {id(header) for header in scan.images}
    for volume in volumes:
        others = {id(other): other for plane in volume.planes if (other := whole.get(_key(plane)))}
        for other in others.values():
            more = [plane for plane in other.planes if id(plane.header) not in own]
            if more and (len(other.planes) > len(volume.planes) or len(others) > 1):
                place = os.path.relpath(os.path.dirname(more[0].header.path), scan.folder or ".")
                volume.problems.insert(
                    0,
                    MissingSlices(
                        f"{volume.name}: {len(more)} more slices of this volume lie in other folders, {more[0].name} "
                        f"in {place}. Bring them into one, or pass strict=False to leave them out."
                    ),
                )
                break


def _key(plane):
    return id(plane.header), plane.frame, plane.corner


def _volumes_of(scan):
    groups = defaultdict(list)
    for header in scan.images:
        # anonymised files may have lost their UIDs, or all have one: two patients must not become one
        groups[_series_key(header)].append(header)
    volumes = []
    for same in _of_one_uid(groups).values():
        largest = max(same, key=lambda key: len(groups[key]))
        alone = [key for key in same if key[0] and len(groups[key]) == 1 and len(groups[largest]) >= _SEVERAL]
        for key in (key for key in same if key not in alone):
            number = quote_value(key[1], Tag.SeriesNumber) or "absent"
            label = f"series number {number}" if len(same) - len(alone) > 1 else ""
            found = _volumes_of_series(scan, groups[key])
            for volume in found:
                volume.distinct = ", ".join(filter(None, (label, volume.distinct)))
                if key == largest:
                    volume.problems[:0] = [_strange(volume, groups[other][0], other, key) for other in alone]
            volumes += found
    volumes.sort(key=lambda volume: _series_order(volume.header))
    _count_equals(volumes)
    _note_strays(volumes)
    return volumes


def _note_strays(volumes):
    """Note single slices of a UID of their own that lie on the grid of another volume of their series number."""
    alone = defaultdict(list)
    for volume in volumes:
        if len(volume.planes) == 1 and volume.stackable:
            alone[_series_key(volume.header)[1:]].append(volume.planes[0])
    places = {key: np.array([plane.position for plane in planes]) for key, planes in alone.items()}
    for volume in volumes:
        key = _series_key(volume.header)[1:]
        if key not in alone or len(volume.planes) < _SEVERAL or not volume.stackable:
            continue
        for k in np.flatnonzero(_continue(volume, places[key])):
            plane = alone[key][k]
            if (
                belongs(plane, volume.planes[0])
                and _is_like(volume, attributes_of(plane))
                and _has_own_place(plane, volume.planes)
            ):
                volume.problems.insert(
                    0,
                    MixedSeries(
                        f"{volume.name}: {plane.name} lies in line with the {len(volume.planes)} slices of this volume "
                        f"and has another {name_tag(Tag.SeriesInstanceUID)}. Move it away, or pass strict=False to "
                        f"leave "
                        "it out."
                    ),
                )


def _continue(volume, positions):
    """Which positions (N, 3) lie on the even grid of a volume: in a hole of it, or next to its ends."""
    first = volume.planes[0]
    across, along = np.split((positions - first.position) @ frame_of(first).T, [2], axis=1)
    own, along = volume.along, along[:, 0]
    gap = usual_gap(own)
    near = (np.abs(across).max(1) <= min(first.spacing)) & (along > own[0] - 1.5 * gap) & (along < own[-1] + 1.5 * gap)
    near[near] = [is_regular(np.append(own, place)) for place in along[near]]
    return near


def _series_key(header):
    return tuple(header.text(tag) for tag in _SERIES)


def _of_one_uid(groups):
    """Keys of the groups by SeriesInstanceUID."""
    uids = defaultdict(list)
    for key in groups:
        uids[key[0]].append(key)
    return uids


def _strange(volume, header, key, usual):
    names = ", ".join(name_tag(tag) for tag, one, other in zip(_SERIES, key, usual, strict=True) if one != other)
    return MixedSeries(
        f"{volume.name}: {os.path.basename(header.path)} has the series UID of {len(volume.planes)} other slices and "
        f"another {names}. Pass strict=False to leave it out."
    )


def _series_order(header):
    number = header.text(Tag.SeriesNumber)
    return int(number) if number.isascii() and number.isdigit() else 1 << 31


def _count_equals(volumes):
    """Tell volumes of one series UID that are distinct in nothing else by their number, for their keys' sake."""
    equal = defaultdict(list)
    for volume in volumes:
        equal[volume.header.text(Tag.SeriesInstanceUID), volume.distinct].append(volume)
    for (_, distinct), members in equal.items():
        for k, volume in enumerate(members if len(members) > 1 else ()):
            volume.distinct = ", ".join(filter(None, (distinct, f"volume {k + 1} of {len(members)}")))


def _volumes_of_series(scan, headers):
    scouts = [h for h in headers if "LOCALIZER" in h.text(Tag.ImageType).upper().split("\\")]
    if 0 < len(scouts) < len(headers):
        scan.skipped["localizers"] += len(scouts)
        headers = [h for h in headers if h not in scouts]
    planes = [plane for header in headers for plane in planes_of(header)]
    lost = [plane for plane in planes if plane.error]
    clusters = clusters_of([plane for plane in planes if not plane.error])
    if not clusters:
        volume = Volume(lost, scan.folder)
        for error in dict.fromkeys(plane.error for plane in lost):
            volume.add(error, fatal=True)
        return [volume]
    largest = max(len(cluster) for cluster in clusters)
    odd = [cluster for cluster in clusters if len(cluster) == 1 and largest >= 3]
    kept = [cluster for cluster in clusters if cluster not in odd]
    volumes = []
    numbers, parts = {instance_number(plane) for plane in planes}, concatenation_parts(headers)
    for cluster in kept:
        found = _volumes_of_cluster(scan, cluster, _shape_label(cluster[0]) if len(kept) > 1 else "")
        for volume in found:
            examine(volume)
            check_steps(volume, numbers)
        check_between(found)
        volumes += found
    counted = [plane for volume in volumes for plane in volume.planes]
    for volume in volumes:
        check_count(volume, parts, counted)
    captures = [plane for plane in lost if _is_capture(plane, volumes[0])]
    if captures:
        scan.skipped["captures"] += len(captures)
    for plane in lost:
        if plane not in captures:
            for volume in _may_hold(volumes, plane):
                volume.problems.insert(0, plane.error)
                volume.fatal.append(plane.error)
    for (plane,) in odd:
        for volume in _may_hold(volumes, plane):
            volume.problems.insert(0, _odd_one(volume, plane))
    _note_coloured(volumes, scan)
    return volumes


def _volumes_of_cluster(scan, cluster, label):
    """Volumes of planes of one kind; those are noted whose last slices their siblings alone have."""
    normal = frame_of(cluster[0])[2]
    parts = split_volumes(cluster, place_ids(cluster))
    volumes = [
        Volume(
            part.planes,
            scan.folder,
            distinct=", ".join(filter(None, (label, part.distinct))),
            attributes=part.attributes,
            doubled=part.doubled,
        )
        for part in split_interleaved(parts, normal)
    ]
    if len(parts) > 1 and len(volumes) == len(parts):
        _note_short(volumes, dict(zip(map(id, cluster), place_ids(cluster), strict=True)), normal)
    return volumes


def _note_short(volumes, ids, normal):
    """Note volumes that end before a sibling which has all their places and more."""
    places = [{ids[id(plane)] for plane in volume.planes} for volume in volumes]
    for volume, own in zip(volumes, places, strict=True):
        longest = max(range(len(volumes)), key=lambda k: len(places[k]) if own < places[k] else 0)
        if not own < places[longest]:
            continue
        along = [normal @ plane.position for plane in volume.planes]
        beyond = [
            plane
            for plane in volumes[longest].planes
            if ids[id(plane)] not in own and not min(along) < normal @ plane.position < max(along)
        ]
        if beyond:
            volume.add(
                MissingSlices(
                    f"{volume.name}: {volume.distinct} has {len(own)} slices, {volumes[longest].distinct} has "
                    f"{len(places[longest])}: the slice beside {beyond[0].name} ({where(beyond[0])}) is missing at its "
                    "end. Pass strict=False to read those that are there."
                )
            )


def _may_hold(volumes, plane):
    """The volumes to which a plane may belong by its attributes; all of them where its attributes fit none."""
    attributes = attributes_of(plane)
    return [volume for volume in volumes if _is_like(volume, attributes)] or volumes


def _is_like(volume, attributes):
    return all(alike(name, (attributes.get(name, ""), value)) for name, value in volume.attributes.items())


def _is_capture(plane, volume):
    """Whether an image without a place is of another class than the slices: a picture of the screen beside them."""
    values = plane.header.values
    return (
        Tag.ImagePositionPatient not in values
        and Tag.ImageOrientationPatient not in values
        and plane.header.text(Tag.SOPClassUID) != volume.header.text(Tag.SOPClassUID)
    )


def _odd_one(volume, plane):
    return MixedSeries(
        f"{volume.name}: {plane.name} differs from the {len(volume.planes)} other slices of its series in "
        f"{difference(plane, volume.planes[0])}. Pass strict=False to leave it out."
    )


def _note_coloured(volumes, scan):
    """Note colour images of a volume's series that lie on its grid, at places of their own: slices that are lost."""
    first = volumes[0].header
    for header in scan.colour:
        if any(header.text(tag) != first.text(tag) for tag in (*_SERIES, Tag.SOPClassUID)):
            continue
        try:
            plane = single_plane(header, header.integer(Tag.Rows), header.integer(Tag.Columns))
        except ReadError:  # without a place of its own it is a capture beside the slices
            continue
        for volume in _may_hold(volumes, plane):
            if belongs(plane, volume.planes[0]) and _has_own_place(plane, volume.planes):
                kind = quote_value(header.text(Tag.PhotometricInterpretation), Tag.PhotometricInterpretation)
                volume.problems.insert(
                    0,
                    MixedSeries(
                        f"{volume.name}: {plane.name} is a slice in colour ({name_tag(Tag.PhotometricInterpretation)} "
                        f"{kind}), the {len(volume.planes)} others are not. Pass strict=False to leave it out."
                    ),
                )


def _has_own_place(plane, planes):
    return len(set(place_ids([*planes, plane]))) > len(planes)


def _shape_label(plane):
    return f"{orientation_name(plane)} {plane.rows}x{plane.columns}"
