"""What a tree of folders holds: one row for each volume that can be stacked, from headers alone."""

from __future__ import annotations

import hashlib
import math
import os
from collections import defaultdict
from numbers import Integral

import pandas as pd
from fastprogress.fastprogress import progress_bar
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import tag_for_keyword
from pydicom.uid import UID

from faimed3d.dicom.grouping.scan import list_folder, scan_files, scan_folder
from faimed3d.dicom.grouping.series import join_scans, note_scattered, volumes_of
from faimed3d.dicom.header.file_header import quote_value
from faimed3d.dicom.header.header_table import value_text
from faimed3d.dicom.header.tags import Tag
from faimed3d.dicom.pixels.decoding import describe_pixels
from faimed3d.dicom.planes.enhanced import read_dataset
from faimed3d.dicom.planes.plane import orientation_name
from faimed3d.errors import NoImages, ReadError

__all__ = ["dicom_inventory"]

COLUMNS = (
    "key",
    "folder",
    "series_uid",
    "description",
    "modality",
    "slices",
    "shape",
    "spacing",
    "orientation",
    "distinct",
    "transfer_syntax",
    "problems",
    "files",
)
_LONG_WORK = 1000  # files from which on a progress bar is shown


def dicom_inventory(path, recurse=True, tags=None):
    """List the volumes below a folder, one row each, without reading pixels.

    The files of one series in one folder are grouped as ``read_dicom`` groups them: by orientation and matrix, then by
    what tells slices at one position apart (image type, echo, b-value, time, ...).

    Args:
        path: a folder, or one DICOM file.
        recurse: whether to search sub-folders too (links are followed, each folder is visited once).
        tags: further header elements to add as columns, of each volume's first file: keywords such as
            ``"PatientID"``, numbers or pairs of numbers. The only way to patient data in the table.

    Returns:
        DataFrame with one row per volume: ``key`` (short, stable, without patient data), ``folder``, ``series_uid``,
        ``description``, ``modality``, ``slices``, ``shape`` (D, H, W), ``spacing`` (x, y, z) mm (z is NaN where the
        slices are on no even grid), ``orientation`` (axial, coronal, sagittal or oblique), ``distinct`` (what tells it
        from its siblings), ``transfer_syntax``, ``problems`` (empty, or why ``read_dicom`` will refuse it) and
        ``files`` (paths in slice order). ``attrs["skipped"]`` counts the files left out, by reason;
        ``attrs["damaged"]`` lists those that could not be read and belong to no volume listed.

    Raises:
        FileNotFoundError: no such path.
        TypeError: a tag of a wrong kind.
        ValueError: an unknown keyword.
    """
    path = os.fspath(path)
    tags = {tag: _tag_number(tag) for tag in tags or ()}
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path}: no such file or folder")
    rows, skipped, damaged = [], {}, []
    if os.path.isdir(path):
        folders, closed = _folders(path) if recurse else ([path], 0)
        if closed:
            skipped["folders without permission to read"] = closed
        scans = (scan_folder(folder) for folder in _with_progress(folders))
    elif os.path.isfile(path):
        scans = [scan_files([path], os.path.dirname(path))]
    else:
        raise NoImages(f"{path}: neither a file nor a folder")
    places = defaultdict(set)
    for scan in scans:
        volumes = volumes_of(scan, below=not recurse)  # what lies below is compared at the end, all at once
        known = {volume.header.text(Tag.SeriesInstanceUID) for volume in volumes}
        stray = [h for h in scan.damaged if h.known_series not in known]
        damaged += [str(header.error) for header in stray]
        for volume in volumes:
            rows.append(_row(volume, path, [h for h in scan.damaged if h not in stray], stray, tags))
        for uid in known:
            places[uid].add(scan.folder)
        for reason, count in scan.skipped.items():
            skipped[reason] = skipped.get(reason, 0) + count
    table = pd.DataFrame(rows, columns=[*COLUMNS, *map(str, tags)])
    for uid, folders in places.items():
        if uid and len(folders) > 1:
            _note_spread(table, uid, sorted(folders), path)
    table.attrs["skipped"], table.attrs["damaged"] = skipped, damaged
    return table


def _note_spread(table, uid, folders, root):
    """Note the volumes of a series in several folders that would be others if all of it lay in one."""
    scans = [scan_folder(folder) for folder in folders]
    for scan in scans:
        scan.images = [header for header in scan.images if header.text(Tag.SeriesInstanceUID) == uid]
    whole = join_scans(*(scan.images for scan in scans))
    for scan in scans:
        volumes = volumes_of(scan, below=False)
        for volume in volumes:
            volume.problems.clear()
        note_scattered(volumes, scan, whole)
        for volume in volumes:
            row = (table["key"] == volume_key(volume, root)).to_numpy()
            for problem in volume.problems:
                table.loc[row, "problems"] = [
                    "; ".join(filter(None, (str(problem), old))) for old in table.loc[row, "problems"]
                ]


def volume_key(volume, root):
    """Short name of a volume, stable for a tree wherever it lies, and without patient data."""
    folder = os.path.relpath(volume.folder or ".", root if os.path.isdir(root) else os.path.dirname(root) or ".")
    text = "\n".join((folder.replace(os.sep, "/"), volume.header.text(Tag.SeriesInstanceUID), volume.distinct))
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()


def volume_words(volume):
    """One line on a volume for a message, as the inventory describes it."""
    plane, header = volume.planes[0], volume.header
    parts = [
        description_of(header) or "without description",
        _plain(header, Tag.Modality),
        f"{len(volume.planes)} slice{'s' * (len(volume.planes) > 1)} of {plane.rows} x {plane.columns}",
        orientation_name(plane) if volume.stackable else "cannot be stacked",
        volume.distinct,
        f"series {_plain(header, Tag.SeriesInstanceUID)}",
    ]
    return ", ".join(part for part in parts if part)


def _plain(header, tag):
    return quote_value(header.text(tag), tag)


def description_of(header):
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


def _folders(root):
    """(the folder and all below it, each once, though links may lead round in circles; how many may not be read)."""
    found, seen, waiting, closed = [], set(), [root], 0
    while waiting:
        folder = waiting.pop()
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen and status.st_ino:
                continue
            seen.add((status.st_dev, status.st_ino))
            below = list_folder(folder)[2]
        except PermissionError:
            if folder == root:
                raise
            closed += 1
            continue
        found.append(folder)
        waiting += reversed(below)
    return found, closed


def _with_progress(folders):
    count = sum(len(os.listdir(folder)) for folder in folders)
    return progress_bar(folders, leave=False) if count >= _LONG_WORK and len(folders) > 1 else folders


def _row(volume, root, damaged, stray, tags):
    header = volume.header
    uid = header.text(Tag.SeriesInstanceUID)
    problems = [h.error for h in damaged if h.known_series == uid]
    problems += [h.error for h in stray if not h.known_series]
    problems += volume.problems
    try:
        for each in {id(p.header): p.header for p in volume.planes if not p.error and p.segments is None}.values():
            if each.length >= 0 and not each.deflated:
                describe_pixels(each)
    except ReadError as error:
        problems.append(error)
    grid = grid_of(volume)
    extra = _extra(header.path, tags) if tags else []
    return (
        volume_key(volume, root),
        volume.folder,
        grid["series_uid"],
        description_of(header),
        _plain(header, Tag.Modality),
        volume.slices,
        grid["shape"],
        grid["spacing"],
        grid["orientation"],
        volume.distinct,
        UID(header.syntax).name if header.syntax else "",
        "; ".join(map(str, problems)),
        volume.files,
        *extra,
    )


def grid_of(volume):
    """Columns of the inventory that say which series a volume is of, and on which grid it lies."""
    plane, spacing, shape = volume.planes[0], None, None
    if volume.stackable:
        shape = (len(volume.planes), plane.rows, plane.columns)
        x, y = plane.spacing[1], plane.spacing[0]
        spacing = volume.geometry.spacing if volume.geometry else (x, y, math.nan)
    return {
        "series_uid": volume.header.text(Tag.SeriesInstanceUID),
        "shape": shape,
        "spacing": spacing,
        "orientation": orientation_name(plane) if volume.stackable else "",
    }


def _tag_number(tag):
    if isinstance(tag, str):
        number = tag_for_keyword(tag)
        if number is None:
            raise ValueError(f"tags: {tag!r} is no DICOM keyword")
        return number
    if isinstance(tag, Integral) and not isinstance(tag, bool):
        return int(tag)
    if isinstance(tag, tuple) and len(tag) == 2 and all(isinstance(part, Integral) for part in tag):
        return int(tag[0]) << 16 | int(tag[1])
    raise TypeError(f"tags must be keywords, numbers or pairs (group, element), got {tag!r}")


def _extra(path, tags):
    dataset = read_dataset(path, list(tags.values()))
    return [value_text(dataset[number]) if number in dataset else "" for number in tags.values()]
