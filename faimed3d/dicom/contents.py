"""What one folder holds: its volumes, grouped and checked, and what was left out."""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter
from dataclasses import dataclass, replace

from pydicom.charset import convert_encodings, decode_bytes

from faimed3d.dicom.checks import check_volume
from faimed3d.dicom.grouping.dicom_volume import Volume
from faimed3d.dicom.grouping.image_groups import group_images
from faimed3d.dicom.grouping.scan import Scan, scan_below
from faimed3d.dicom.grouping.surroundings import Surroundings
from faimed3d.dicom.grouping.whole_series import WholeSeries
from faimed3d.dicom.header import FileHeader, Tag, quote_value
from faimed3d.dicom.planes import orientation_name


@dataclass(frozen=True, eq=False)
class Contents:
    """The volumes of a folder, and how many files were left out, by reason."""

    volumes: tuple[Volume, ...]
    skipped: Counter[str]

    def summary(self, scan: Scan) -> str:
        """Counts in words: ``28 images, skipped: 1 report, 2 files that are not DICOM``."""
        text = f"{len(scan.images)} images"
        if self.skipped:
            text += ", skipped: " + ", ".join(f"{n} {reason}" for reason, n in sorted(self.skipped.items()))
        return text


def survey(scan: Scan, below: bool = True, whole: WholeSeries | None = None, files: bool = False) -> Contents:
    """Group the images of a scan into volumes and check these.

    Args:
        scan: Scan of a folder, or of some files.
        below: look into sub-folders for images that belong to these volumes.
        whole: the volumes that the images of this and of other folders would make together; for ``below=False``.
        files: check the pixels' layout as well, for which files are opened.
    """
    grouped = group_images(scan)
    if below and scan.folders:
        series = {volume.header.text(Tag.SeriesInstanceUID) for volume, _ in grouped.volumes} - {""}
        more = scan_below(scan, series)
        whole = WholeSeries(scan.images, more) if more else None
    return Contents(
        tuple(_checked(volume, around, scan, whole, files) for volume, around in grouped.volumes),
        scan.skipped + grouped.skipped,
    )


def _checked(volume: Volume, around: Surroundings, scan: Scan, whole: WholeSeries | None, files: bool) -> Volume:
    if whole is not None:
        around = replace(around, elsewhere=whole.missing_from(volume, scan.images))
    return replace(volume, findings=check_volume(volume, around, files))


# A volume in words ----------------------------------------------------------------------------------------------------


def volume_key(volume: Volume, root: str) -> str:
    """Short name of a volume, stable for a tree wherever it lies, and without patient data."""
    return key_of(volume.folder, root, volume.header.text(Tag.SeriesInstanceUID), volume.distinct)


def key_of(folder: str, root: str, *words: str) -> str:
    """Hash of a folder, as seen from ``root``, and of words that tell what is meant in it."""
    folder = os.path.relpath(folder or ".", root if os.path.isdir(root) else os.path.dirname(root) or ".")
    text = "\n".join((folder.replace(os.sep, "/"), *words))
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()


def describe_volume(volume: Volume) -> str:
    """One line on a volume for a message, as the inventory describes it."""
    plane, header = volume.planes[0], volume.header
    parts = [
        series_description(header) or "without description",
        quoted(header, Tag.Modality),
        f"{len(volume.planes)} slice{'s' * (len(volume.planes) > 1)} of {plane.rows} x {plane.columns}",
        orientation_name(plane) if volume.stackable else "cannot be stacked",
        volume.distinct,
        f"series {quoted(header, Tag.SeriesInstanceUID)}",
    ]
    return ", ".join(part for part in parts if part)


def series_and_grid(volume: Volume) -> dict[str, object]:
    """Columns of the inventory that say of which series a volume is, and on which grid it lies."""
    plane, spacing, shape = volume.planes[0], None, None
    if volume.stackable:
        shape = (len(volume.planes), plane.rows, plane.columns)
        spacing = volume.geometry.spacing if volume.geometry else (plane.spacing[1], plane.spacing[0], math.nan)
    return {
        "series_uid": quoted(volume.header, Tag.SeriesInstanceUID),
        "shape": shape,
        "spacing": spacing,
        "orientation": orientation_name(plane) if volume.stackable else "",
    }


def quoted(header: FileHeader, tag: int) -> str:
    """Value of an element as a message may quote it."""
    return quote_value(header.text(tag), tag)


def series_description(header: FileHeader) -> str:
    """(0008,103E) SeriesDescription, decoded by the character set of the file."""
    raw = header.values.get(Tag.SeriesDescription)
    if not raw:
        return ""
    try:
        encodings = convert_encodings(header.text(Tag.SpecificCharacterSet).split("\\"))
        text = decode_bytes(raw, encodings, set())
    except Exception:  # an unknown or wrong character set: the bytes as they are say more than nothing
        text = raw.decode("latin-1")
    text = text.strip(" \0")
    return text if text.isprintable() else "a damaged value"
