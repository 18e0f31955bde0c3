"""Read one DICOM volume: scan, choose, check, decode."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from faimed3d._rows import Row, here
from faimed3d.dicom.contents import Contents, describe_volume, series_and_grid, survey, volume_key
from faimed3d.dicom.finding import Fault, Finding, Severity
from faimed3d.dicom.grouping.dicom_volume import Volume
from faimed3d.dicom.grouping.gaps import usual_gap
from faimed3d.dicom.grouping.scan import Scan, scan_files, scan_folder
from faimed3d.dicom.header import WANTED, Tag, quote_value, read_header
from faimed3d.dicom.inventory import dicom_inventory
from faimed3d.dicom.pixels import decode_planes, equal_pixels, padding_of_planes, resample_stack
from faimed3d.dicom.pixels.padding import Ranges
from faimed3d.dicom.recollection import volumes_of_files, volumes_of_folder
from faimed3d.dicom.segmentation.planes import SEGMENTATIONS
from faimed3d.dicom.segmentation.segment_decoding import decode_segments
from faimed3d.errors import (
    DuplicateSlices,
    MissingSlices,
    NoImages,
    ReadError,
    SeveralVolumes,
    UnsupportedImage,
    no_such,
)
from faimed3d.geometry import Geometry

_LISTED = 20


class DicomVolume(NamedTuple):
    """What :func:`read_dicom` returns.

    Attributes:
        array: float32 (D, H, W) of real values.
        geometry: its Geometry (LPS, mm).
        files: paths of the files in slice order, each once.
    """

    array: np.ndarray
    geometry: Geometry
    files: tuple[str, ...]


def read_dicom(path: str | Path | Row, series: str | int | Row | None = None, strict: bool = True) -> DicomVolume:
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
        (array, geometry, files), that is float32 (D, H, W), its Geometry (LPS, mm), and the paths of the files in slice
        order, each once.

    Raises:
        FileNotFoundError: no such path.
        TypeError: path or series of a wrong kind.
        ReadError: a fault of the files, as one of the classes in ``faimed3d.errors``.

    >>> from pydicom.data import get_testdata_file
    >>> array, geometry, files = read_dicom(get_testdata_file("MR_small.dcm"))
    >>> array.shape, geometry.spacing
    ((1, 64, 64), (0.3125, 0.3125, 0.8))
    """
    return read_volume(path, series, strict)[0]


def read_volume(
    path: str | Path | Row | list[str], series: str | int | Row | None = None, strict: bool = True
) -> tuple[DicomVolume, Ranges]:
    """What :func:`read_dicom` reads, and the ranges (low, high) of its values that are padding.

    ``path`` may be a list of files, too, which are looked at without what lies beside them.
    """
    if isinstance(path, list):
        return _decode(_choose_of_files(path, series), strict)
    if isinstance(path, (pd.Series, Mapping)) and series is None:
        series = here(path)
        path = series["folder"]
    path = os.fsdecode(path)  # type: ignore[arg-type] # no row any more
    if not os.path.exists(path):
        raise no_such(path)
    if not os.path.isdir(path) and not os.path.isfile(path):
        raise NoImages(f"{path}: neither a file nor a folder")
    return _decode(_choose(path, series), strict)


# Which volume ---------------------------------------------------------------------------------------------------------


def _choose(path: str, series: str | int | Row | None) -> Volume:
    if isinstance(series, (pd.Series, Mapping)):
        return _choose_row(series)
    if series is not None and (isinstance(series, bool) or not isinstance(series, (str, Integral))):
        raise TypeError(
            "series must be a series UID, a row of dicom_inventory(path), its key or its number, "
            f"got {type(series).__name__}"
        )
    series = int(series) if isinstance(series, Integral) else series
    found = volumes_of_folder(path) if os.path.isdir(path) else volumes_of_files([path], os.path.dirname(path))
    chosen = _chosen_among(found.volumes, path, series)
    if len(chosen) == 1:
        return chosen[0]
    scan, contents = found.fresh or _looked_at_again(path)
    volumes = contents.volumes
    chosen = _chosen_among(volumes, path, series)
    if not chosen and series is not None and os.path.isdir(path) and scan.folders:
        return _choose_below(path, series)
    if not chosen:
        raise _nothing_found(path, scan, contents, series)
    if len(chosen) > 1:
        raise SeveralVolumes(
            f"{path}: {len(chosen)} volumes. Say which one with series= and its number here, its series UID where that "
            "is enough, or a row of dicom_inventory(path):\n"
            + _listed([f"{volumes.index(v)}  {describe_volume(v)}" for v in chosen])
        )
    return chosen[0]


def _choose_of_files(files: list[str], series: str | int | Row | None) -> Volume:
    """The one volume of a list of files, all of which should belong to it unless ``series`` chooses."""
    if isinstance(series, (pd.Series, Mapping)):
        raise TypeError("a row of an inventory names its files itself: give the row alone, not with a list of files")
    folders = {os.path.dirname(file) for file in files}
    folder = folders.pop() if len(folders) == 1 else os.path.commonpath(os.path.abspath(f) for f in files)
    found = volumes_of_files(files, folder)
    chosen = _chosen_among(found.volumes, folder, series)
    if len(chosen) != 1:
        scan = scan_files(files, folder)
        contents = survey(scan)
        if not _chosen_among(contents.volumes, folder, series):
            raise _nothing_found(f"a list of {len(files)} files in {folder}", scan, contents, series)
        raise SeveralVolumes(
            f"a list of {len(files)} files in {folder}: {len(chosen)} volumes. List the files of one, or say which one "
            "with series= and its number here:\n"
            + _listed(
                [f"{contents.volumes.index(v)}  {describe_volume(v)}" for v in contents.volumes if not v.never_placed]
            )
        )
    volume = chosen[0]
    used = {*volume.files, *(other.header.path for _, other in volume.doubled)}
    if series is None and (unused := [file for file in files if file not in used]):
        raise UnsupportedImage(
            f"{unused[0]}: one of {len(unused)} files, of {len(files)} in a list, that hold no slice of its volume: "
            "leave them out, or choose with series="
        )
    return volume


def _chosen_among(volumes: Sequence[Volume], path: str, series: str | int | None) -> list[Volume]:
    if isinstance(series, int):
        return list(volumes[series : series + 1]) if series >= 0 else []
    if series is not None:
        return [v for v in volumes if series in (v.header.text(Tag.SeriesInstanceUID), volume_key(v, path))]
    return [v for v in volumes if not v.never_placed] or list(volumes)


def _looked_at_again(path: str) -> tuple[Scan, Contents]:
    """Scan and contents for a message, of which only the volumes are known."""
    scan = scan_folder(path) if os.path.isdir(path) else scan_files([path], os.path.dirname(path))
    return scan, survey(scan)


def _listed(lines: list[str]) -> str:
    more = [f"and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else []
    return "\n".join(f"  {line}" for line in lines[:_LISTED] + more)


def _choose_row(row: Row) -> Volume:
    try:
        row = here(row)
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
        chosen = _as_row(volumes_of_files(files, folder).volumes, row)
    if chosen is None or chosen.findings:
        chosen = _as_row(volumes_of_folder(folder).volumes, row)
    if chosen is None and problems:
        raise NoImages(f"{folder}: there is no such volume as {key}, of which the inventory says: {problems}")
    if chosen is None:
        raise NoImages(f"{folder}: the volume {key} is no longer as the inventory lists it; make a new one")
    if problems and not chosen.findings:
        # it lies in this and other folders, which the inventory compared
        fault = Fault(
            MissingSlices,
            f"{folder}: {problems} (as the inventory says; if that is mended, make a new one)",
            repair="read the slices in this folder",
        )
        return replace(chosen, findings=(Finding("a problem in the inventory", Severity.FOREIGN, fault),))
    return chosen


def _as_row(volumes: Sequence[Volume], row: Row) -> Volume | None:
    """The one volume that a row of the inventory means; None where there is none, or several."""
    same = [v for v in volumes if v.files == tuple(row["files"]) and v.slices == row["slices"]]
    same = [v for v in same if _is_on_the_grid_of(v, row)]
    named = [v for v in same if v.distinct == row["distinct"]] or same
    return named[0] if len(named) == 1 else None


def _is_on_the_grid_of(volume: Volume, row: Row) -> bool:
    """Whether series and grid of a volume are those of a row: other files may have taken the names."""
    # as text, in which NaN equals NaN
    return all(str(row[name]) == str(value) for name, value in series_and_grid(volume).items() if name in row)


def _choose_below(path: str, series: str | int) -> Volume:
    inventory = dicom_inventory(path)
    if isinstance(series, Integral):
        rows = inventory.iloc[series : series + 1] if series >= 0 else inventory.iloc[:0]
    else:
        rows = inventory[(inventory["series_uid"] == series) | (inventory["key"] == series)]
    if len(rows) == 1:
        return _choose_row(rows.iloc[0])
    if not len(rows):
        raise NoImages(f"{path}: no volume {series!r} among the {len(inventory)} of dicom_inventory(path)")
    listed = _listed([f"{number}  {row['key']}  {row['folder']}" for number, row in rows.iterrows()])
    raise SeveralVolumes(f"{path}: {len(rows)} volumes of series {series}; choose one by number:\n{listed}")


def _nothing_found(path: str, scan: Scan, contents: Contents, series: str | int | None) -> ReadError:
    volumes = contents.volumes
    if series is not None and volumes:
        listed = _listed([f"{k}  {describe_volume(v)}" for k, v in enumerate(volumes)])
        return NoImages(f"{path}: no volume {series!r}; there are {len(volumes)}:\n{listed}")
    if scan.damaged:
        return scan.damaged[0].error
    if scan.colour:
        header = scan.colour[0]
        kind = quote_value(header.text(Tag.PhotometricInterpretation))
        return UnsupportedImage(
            f"{header.path}: a colour image ((0028,0004) PhotometricInterpretation {kind}), not a volume of one value "
            f"per voxel; {contents.summary(scan)}"
        )
    if scan.structure_sets:
        return _contours(scan.structure_sets[0])
    text = f"{path}: no DICOM image"
    if contents.skipped:
        text += f"; {contents.summary(scan)}"
    if scan.folders:
        text += (
            f". It has {len(scan.folders)} sub-folders, which are not searched: give one of them, or as "
            "series= a row of dicom_inventory(path)"
        )
    return NoImages(text)


def _contours(file: str, beside: str = "") -> ReadError:
    return UnsupportedImage(
        f"{file}: an RT structure set{beside}: contours, and no voxels. They become a mask on the grid of the image "
        "that they were drawn on: TensorMask3D.create(file, like=image), or faimed3d.dicom.read_rtstruct(file, "
        "like=image), which takes the names of ROIs too"
    )


def refuse_images_as_mask(folder: str, files: Sequence[str]) -> None:
    """Refuse the images of a folder as a mask where a structure set lies beside them, whose contours were meant.

    Args:
        folder: what was asked for.
        files: of the volume that was read.

    Raises:
        UnsupportedImage: the volume is no segmentation, and the folder holds an RT structure set.
    """
    header = read_header(files[0], WANTED)
    if header is not None and header.text(Tag.SOPClassUID) not in SEGMENTATIONS:
        sets = scan_folder(folder).structure_sets
        if sets:
            raise _contours(sets[0], ", and the other images of the folder are no mask")


# Its voxels -----------------------------------------------------------------------------------------------------------


def _decode(volume: Volume, strict: bool) -> tuple[DicomVolume, Ranges]:
    # the repairs interpolate, which would make up labels
    mend = not strict and not (volume.segmented and volume.geometry is None)
    for finding in volume.findings:
        if not (mend and finding.mendable):
            raise finding.exception
    for kept, other in volume.doubled:
        if not equal_pixels(kept, other):
            raise DuplicateSlices(
                f"{volume.name}: {kept.name} and {other.name} lie at one position and differ in their pixels: only you "
                "can say which one belongs to the volume; move the other away"
            )
    array = decode_segments(volume.planes) if volume.segmented else decode_planes(volume.planes)
    padding = () if volume.segmented else padding_of_planes(volume.planes, array)
    geometry = volume.geometry
    if geometry is None:
        array, geometry = _resampled(volume, array, padding)
    for finding in volume.findings:
        warnings.warn(f"read with strict=False to {finding.fault.repair}: {finding.fault.text}", stacklevel=3)
    return DicomVolume(array, geometry, volume.files), padding


def _resampled(volume: Volume, array: np.ndarray, padding: Ranges) -> tuple[np.ndarray, Geometry]:
    """Bring slices onto an even grid; a voxel of the result is padding if one of those that it is mixed of is."""
    first, gap = volume.planes[0], usual_gap(volume.along)
    if padding and not np.isnan(array).any():
        for low, high in padding:
            array[(array >= low) & (array <= high)] = np.nan
        mixed, geometry = resample_stack(array, first, volume.along, volume.across, gap, volume.name)
        mixed[np.isnan(mixed)] = padding[0][0]
        return mixed, geometry
    return resample_stack(array, first, volume.along, volume.across, gap, volume.name)
