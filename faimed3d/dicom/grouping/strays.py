"""Images outside of a volume that may belong to it, by their position and by what tells them apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from faimed3d.dicom.grouping.attributes import VOLUME_ATTRIBUTES, alike, attributes_of
from faimed3d.dicom.grouping.dicom_volume import Volume
from faimed3d.dicom.grouping.gaps import is_regular, usual_gap
from faimed3d.dicom.grouping.identifiers import KIND_TAGS, identity, series_key
from faimed3d.dicom.grouping.plane_kinds import are_one_kind, has_own_position, have_one_layout
from faimed3d.dicom.planes import Plane, plane_axes

_ACROSS = 0.5  # cosine between the normals of planes that lie across each other: 60 degrees or more
_SEVERAL = 3  # slices from which on the usual gap can be relied on


def shares_attributes(volume: Volume, attributes: Mapping[str, str]) -> bool:
    """Whether attributes are those that tell a volume from its siblings."""
    return all(alike(name, (attributes.get(name, ""), value)) for name, value in volume.attributes.items())


def fills_a_position(plane: Plane, volume: Volume) -> bool:
    """Whether a plane lies on the grid of a volume, where it has no slice."""
    return are_one_kind(plane, volume.planes[0]) and has_own_position(plane, volume.planes)


def lies_across(plane: Plane, planes: Sequence[Plane]) -> bool:
    """Whether a plane cuts through those of a stack, as a scout does, and is no slice that lost its orientation.

    Such a slice would still have its first pixel on the line of the others.
    """
    axes = plane_axes(planes[0])
    aside = (np.array([each.position for each in planes]) - plane.position) @ axes[:2].T
    return bool(abs(axes[2] @ plane.normal) < _ACROSS and np.abs(aside).max(1).min() > max(planes[0].spacing))


def single_slices_in_line(volumes: list[Volume]) -> dict[Volume, tuple[Plane, ...]]:
    """Single slices with a series UID of their own that lie on the grid of another volume of their series number."""
    singles = defaultdict(list)
    for volume in volumes:
        if volume.slices == 1:
            singles[series_key(volume.header)[1:]].append(volume.planes[0])
    found = {}
    for volume in volumes:
        key = series_key(volume.header)[1:]
        if key in singles and volume.slices >= _SEVERAL:
            found[volume] = tuple(
                plane
                for plane in _in_line(volume, singles[key])
                if shares_attributes(volume, attributes_of(plane)) and fills_a_position(plane, volume)
            )
    return found


def unidentified_beside(volumes: list[Volume], loners: list[Plane]) -> dict[Volume, tuple[Plane, ...]]:
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
                    for plane in _beside(volume, planes, 2.5)  # of those next to it one may be lost
                    if have_one_layout(plane, volume.planes[0]) and _contradicts_nothing(volume.planes[0], plane)
                )
    return found


def _may_be_equal(one: Iterable[str], other: Iterable[str]) -> bool:
    """Whether texts are equal wherever both sides have one."""
    return all(not a or not b or a == b for a, b in zip(one, other, strict=True))


def _contradicts_nothing(plane: Plane, other: Plane) -> bool:
    """Whether two planes are alike in what all slices of one volume share, as far as both have it."""
    if not _may_be_equal(*([p.header.text(tag) for tag in KIND_TAGS] for p in (plane, other))):
        return False
    one, two = attributes_of(plane), attributes_of(other)
    return all(alike(name, (one[name], two[name])) for name in VOLUME_ATTRIBUTES if one.get(name) and two.get(name))


def _in_line(volume: Volume, planes: list[Plane]) -> list[Plane]:
    """Which planes lie on the even grid of a volume: in a hole of it, or next to its ends."""
    near = _beside(volume, planes, 1.5)
    return [plane for plane, along in near.items() if is_regular(np.append(volume.along, along))]


def _beside(volume: Volume, planes: list[Plane], reach: float) -> dict[Plane, float]:
    """The planes in a volume or up to ``reach`` gaps beyond its ends, with their distance along its normal."""
    first, own = volume.planes[0], volume.along
    gap = max(usual_gap(own) if len(own) > 1 else 0.0, (first.stated_gap or 0.0) if len(own) < _SEVERAL else 0.0)
    offsets = (np.array([plane.position for plane in planes]) - first.position) @ plane_axes(first).T
    aligned = np.abs(offsets[:, :2]).max(1) <= min(first.spacing)
    near = aligned & (offsets[:, 2] > own[0] - reach * gap) & (offsets[:, 2] < own[-1] + reach * gap)
    return {planes[k]: float(offsets[k, 2]) for k in np.flatnonzero(near)}
