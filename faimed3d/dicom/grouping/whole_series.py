"""A series whose images lie in several folders: the volumes that all of them would make together."""

from __future__ import annotations

import os
from collections.abc import Iterable

from faimed3d.dicom.grouping.dicom_volume import Volume
from faimed3d.dicom.grouping.image_groups import group_images
from faimed3d.dicom.grouping.scan import Scan
from faimed3d.dicom.header import FileHeader
from faimed3d.dicom.planes import Plane


class WholeSeries:
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
