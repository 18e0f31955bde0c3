"""The check of the pixel description against the file's size, without decoding."""

from __future__ import annotations

from collections.abc import Iterator

from faimed3d.dicom.finding import Fault
from faimed3d.dicom.grouping.dicom_volume import Volume
from faimed3d.dicom.grouping.surroundings import Surroundings
from faimed3d.dicom.pixels import pixel_format
from faimed3d.errors import ReadError


def find_bad_pixel_layout(volume: Volume, around: Surroundings) -> Iterator[Fault]:
    """The first file whose header describes pixels that it cannot hold; compressed ones are left to the decoding."""
    planes = {id(plane.header): plane for plane in volume.planes if not plane.error and plane.segments is None}
    for plane in planes.values():
        if plane.header.pixel_length >= 0 and not plane.header.deflated:
            try:
                pixel_format(plane.header)
            except ReadError as error:
                yield Fault.from_error(error, plane)
                return
