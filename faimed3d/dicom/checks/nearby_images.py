"""Checks of what lies around a volume: files that cannot be read, images that strayed in, slices that lie elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator

from faimed3d.dicom.finding import Fault
from faimed3d.dicom.grouping.dicom_volume import Volume
from faimed3d.dicom.grouping.identifiers import IDENTITY_TAGS, SERIES_TAGS, identity
from faimed3d.dicom.grouping.plane_kinds import describe_difference
from faimed3d.dicom.grouping.surroundings import Surroundings
from faimed3d.dicom.grouping.whole_series import relative_folder
from faimed3d.dicom.header import Tag, name_tag, quote_value
from faimed3d.errors import MissingSlices, MixedSeries

_LEAVE_IT_OUT = "leave it out"


def find_damaged_files(volume: Volume, around: Surroundings) -> Iterator[Fault]:
    """Files that cannot be read and are, or may be, of the series."""
    for header in around.damaged:
        if header.error:
            yield Fault.from_error(header.error)


def find_unplaced(volume: Volume, around: Surroundings) -> Iterator[Fault]:
    """Images of the series without a usable position, orientation or size."""
    for error, plane in {plane.error: plane for plane in around.unplaced if plane.error}.items():
        yield Fault.from_error(error, plane)


def find_elsewhere(volume: Volume, around: Surroundings) -> Iterator[Fault]:
    """Slices of the volume in other folders."""
    if around.elsewhere:
        plane = around.elsewhere[0]
        yield Fault(
            MissingSlices,
            f"{volume.name}: {len(around.elsewhere)} more slices of this volume lie in other folders, {plane.name} in "
            f"{relative_folder(plane.header, volume.folder)}",
            around.elsewhere,
            way_out="Bring them into one",
            repair="leave them out",
        )


def find_in_line(volume: Volume, around: Surroundings) -> Iterator[Fault]:
    """Single slices of another series UID that continue the volume."""
    for plane in around.in_line:
        yield Fault(
            MixedSeries,
            f"{volume.name}: {plane.name} lies in line with the {len(volume.planes)} slices of this volume and has "
            f"another {name_tag(Tag.SeriesInstanceUID)}",
            (plane,),
            way_out="Move it away",
            repair=_LEAVE_IT_OUT,
        )


def find_unidentified(volume: Volume, around: Surroundings) -> Iterator[Fault]:
    """Images among or next to the slices, where they or these lack the UID, number or ID that would tell them apart."""
    if around.unidentified:
        plane = around.unidentified[0]
        pairs = zip(IDENTITY_TAGS, identity(volume.header), identity(plane.header), strict=True)
        absent = ", ".join(name_tag(tag) for tag, here, there in pairs if here != there)
        count = f"{len(around.unidentified)} images lie" if len(around.unidentified) > 1 else "an image lies"
        yield Fault(
            MixedSeries,
            f"{volume.name}: {count} among or next to the {volume.count_text} of this volume ({plane.name}), and "
            f"only one side has {absent}, so they may belong together",
            around.unidentified,
            way_out="Restore the element or move the images away",
            repair="leave them out",
        )


def find_renumbered(volume: Volume, around: Surroundings) -> Iterator[Fault]:
    """Single images of the series UID with another series number, study or patient."""
    for header in around.renumbered:
        names = ", ".join(name_tag(tag) for tag in SERIES_TAGS if header.text(tag) != volume.header.text(tag))
        yield Fault(
            MixedSeries,
            f"{volume.name}: {os.path.basename(header.path)} has the series UID of {len(volume.planes)} other slices "
            f"and another {names}",
            repair=_LEAVE_IT_OUT,
        )


def find_coloured(volume: Volume, around: Surroundings) -> Iterator[Fault]:
    """Colour images at positions of their own: slices that are lost."""
    for plane in around.coloured:
        kind = quote_value(plane.header.text(Tag.PhotometricInterpretation), Tag.PhotometricInterpretation)
        yield Fault(
            MixedSeries,
            f"{volume.name}: {plane.name} is a slice in colour ({name_tag(Tag.PhotometricInterpretation)} {kind}), the "
            f"{len(volume.planes)} others are not",
            (plane,),
            repair=_LEAVE_IT_OUT,
        )


def find_odd(volume: Volume, around: Surroundings) -> Iterator[Fault]:
    """Single images of the series with another matrix, pixel spacing, orientation or frame of reference."""
    for plane in around.odd:
        yield Fault(
            MixedSeries,
            f"{volume.name}: {plane.name} differs from the {len(volume.planes)} other slices of its series in "
            f"{describe_difference(plane, volume.planes[0])}",
            (plane,),
            repair=_LEAVE_IT_OUT,
        )
