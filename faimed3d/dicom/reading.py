"""Read one DICOM volume: scan, choose, check, decode."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from numbers import Integral

import pandas as pd

from faimed3d.dicom.checks.stack import usual_gap
from faimed3d.dicom.grouping.scan import scan_files, scan_folder
from faimed3d.dicom.grouping.series import volumes_of
from faimed3d.dicom.header.file_header import quote_value
from faimed3d.dicom.header.tags import Tag
from faimed3d.dicom.inventory import dicom_inventory, grid_of, volume_key, volume_words
from faimed3d.dicom.pixels.decoding import decode_planes, equal_pixels
from faimed3d.dicom.pixels.repair import resample_stack
from faimed3d.dicom.planes.plane import frame_of
from faimed3d.dicom.segmentation.reading import decode_segments
from faimed3d.errors import DuplicateSlices, MissingSlices, NoImages, SeveralVolumes, UnsupportedImage

__all__ = ["read_dicom"]

_LISTED = 20


def read_dicom(path, series=None, strict=True):
    """Read one volume from a folder of DICOM files, or from one file.

    Slices are ordered along the normal of their plane (the cross product of row and column direction), whatever their
    names and numbers. Values are real ones: stored value times the slice's own slope plus intercept. MONOCHROME1 and
    padding values stay as they are. A binary segmentation gives segment numbers, 0 where there is none.

    Args:
        path: a folder (its sub-folders are not searched unless ``series`` is not in it), or one file.
        series: which volume, where there are several: a SeriesInstanceUID, a row of ``dicom_inventory(path)``, its key,
            or its number in there.
        strict: whether a fault is an error. False warns and repairs what can be repaired rightly: equal copies of a
            slice are dropped, a tilted gantry is undone and uneven gaps are made even by linear interpolation.

    Returns:
        (array, geometry, files): float32 (D, H, W), its Geometry (LPS, mm), and the paths of the files in slice order,
        each once.

    Raises:
        FileNotFoundError: no such path.
        TypeError: path or series of a wrong kind.
        ReadError: a fault of the files, as one of the classes in ``faimed3d.errors``.
    """
    if isinstance(path, (pd.Series, Mapping)) and series is None:
        path, series = path["folder"], path
    path = os.fspath(path)
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path}: no such file or folder")
    if not os.path.isdir(path) and not os.path.isfile(path):
        raise NoImages(f"{path}: neither a file nor a folder")
    return _decode(_choose(path, series), strict)


def _choose(path, series):
    """Return the Volume that is meant, the damaged files around it noted in its problems."""
    if isinstance(series, (pd.Series, Mapping)):
        return _choose_row(series)
    if series is not None and (isinstance(series, bool) or not isinstance(series, (str, Integral))):
        raise TypeError(
            "series must be a series UID, a row of dicom_inventory(path), its key or its number, "
            f"got {type(series).__name__}"
        )
    scan = scan_folder(path) if os.path.isdir(path) else scan_files([path], os.path.dirname(path))
    volumes = volumes_of(scan)
    if isinstance(series, Integral):
        chosen = volumes[series : series + 1] if series >= 0 else []
    elif series is not None:
        chosen = [v for v in volumes if series in (v.header.text(Tag.SeriesInstanceUID), volume_key(v, path))]
    else:
        chosen = [v for v in volumes if not v.placeless] or volumes
    if not chosen and series is not None and os.path.isdir(path) and scan.folders:
        return _choose_below(path, series)
    if not chosen:
        raise _nothing_found(path, scan, volumes, series)
    if len(chosen) > 1:
        lines = [f"  {volumes.index(v)}  {volume_words(v)}" for v in chosen[:_LISTED]]
        if len(chosen) > _LISTED:
            lines.append(f"  and {len(chosen) - _LISTED} more")
        raise SeveralVolumes(
            f"{path}: {len(chosen)} volumes. Say which one with series= and its number here, its series UID where that "
            "is enough, or a row of dicom_inventory(path):\n" + "\n".join(lines)
        )
    return _with_damage(chosen[0], scan)


def _with_damage(volume, scan):
    """Note files that cannot be read and belong, or may belong, to the series of the volume."""
    uid = volume.header.text(Tag.SeriesInstanceUID)
    for header in scan.damaged:
        if header.known_series in ("", uid):
            volume.problems.insert(0, header.error)
            volume.fatal.append(header.error)
    return volume


def _choose_row(row):
    try:
        folder, files, key, problems = row["folder"], row["files"], row["key"], row["problems"]
        row["distinct"], row["slices"]
    except KeyError as error:
        raise TypeError(f"a row given as series must come from dicom_inventory, this one lacks {error}") from error
    for file in files:
        if not os.path.exists(file):
            raise FileNotFoundError(f"{file}: no such file, though the inventory lists it")
    chosen = None
    if not problems:
        # a row without a problem mostly needs its own files alone; among others they may be split by other attributes
        scan = scan_files(files, folder)
        chosen = _as_row(volumes_of(scan), row)
    if chosen is None or chosen.problems:
        scan = scan_folder(folder)
        chosen = _as_row(volumes_of(scan), row)
    if chosen is None:
        raise NoImages(f"{folder}: the volume {key} is no longer as the inventory lists it; make a new one")
    chosen = _with_damage(chosen, scan)
    if problems and not chosen.problems:
        chosen.add(MissingSlices(f"{folder}: {problems} (as the inventory says; if that is mended, make a new one)"))
    return chosen


def _as_row(volumes, row):
    """The one volume that a row of the inventory means; None where there is none, or several."""
    same = [v for v in volumes if v.files == tuple(row["files"]) and v.slices == row["slices"]]
    same = [v for v in same if _as_listed(v, row)]
    named = [v for v in same if v.distinct == row["distinct"]] or same
    return named[0] if len(named) == 1 else None


def _as_listed(volume, row):
    """Whether series and grid of a volume are those of its row: other files may have taken the names."""
    # as text, in which NaN equals NaN
    return all(str(row[name]) == str(value) for name, value in grid_of(volume).items() if name in row)


def _choose_below(path, series):
    inventory = dicom_inventory(path)
    if isinstance(series, Integral):
        rows = inventory.iloc[series : series + 1] if series >= 0 else inventory.iloc[:0]
    else:
        rows = inventory[(inventory["series_uid"] == series) | (inventory["key"] == series)]
    if len(rows) == 1:
        return _choose_row(rows.iloc[0])
    if not len(rows):
        raise NoImages(f"{path}: no volume {series!r} among the {len(inventory)} of dicom_inventory(path)")
    lines = [f"  {number}  {row['key']}  {row['folder']}" for number, row in rows.iloc[:_LISTED].iterrows()]
    raise SeveralVolumes(f"{path}: {len(rows)} volumes of series {series}; choose one by number:\n" + "\n".join(lines))


def _nothing_found(path, scan, volumes, series):
    if series is not None and volumes:
        listed = "\n".join(f"  {k}  {volume_words(v)}" for k, v in enumerate(volumes[:_LISTED]))
        return NoImages(f"{path}: no volume {series!r}; there are {len(volumes)}:\n{listed}")
    if scan.damaged:
        return scan.damaged[0].error
    if scan.colour:
        header = scan.colour[0]
        kind = header.text(Tag.PhotometricInterpretation)
        return UnsupportedImage(
            f"{header.path}: a colour image ((0028,0004) PhotometricInterpretation {quote_value(kind)}), not a "
            f"volume of one "
            f"value per voxel; {scan.summary()}"
        )
    text = f"{path}: no DICOM image; {scan.summary()}"
    if scan.folders:
        text += (
            f". It has {len(scan.folders)} sub-folders, which are not searched: give one of them, or look at "
            "dicom_inventory(path) and pass a row of it as series="
        )
    return NoImages(text)


def _decode(volume, strict):
    segmented = volume.planes[0].segments is not None
    # the repairs interpolate, which would make up labels
    problems = volume.problems if strict or (segmented and volume.geometry is None) else volume.fatal
    if problems:
        raise problems[0]
    for kept, other in volume.doubled:
        if not equal_pixels(kept, other):
            raise DuplicateSlices(
                f"{volume.name}: {kept.name} and {other.name} lie at one position and differ in their pixels: only you "
                "can say which one belongs to the volume; move the other away"
            )
    array = decode_segments(volume.planes) if segmented else decode_planes(volume.planes)
    geometry = volume.geometry
    if geometry is None:
        first = volume.planes[0]
        array, geometry = resample_stack(
            array, first, frame_of(first), volume.along, volume.across, usual_gap(volume.along), volume.name
        )
    for problem in volume.problems:
        warnings.warn(f"read with strict=False: {problem}", stacklevel=3)
    return array, geometry, volume.files
