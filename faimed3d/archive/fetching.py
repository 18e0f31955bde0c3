"""From an archive to a folder: each object once, whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pandas as pd
from fastprogress.fastprogress import progress_bar

from faimed3d._atomic import replace_file, unfinished_folder
from faimed3d.archive.dicom_json import SOP_UID, text_of
from faimed3d.archive.series import ArchiveSeries, name_of, table_of
from faimed3d.dicom.header import Tag, read_header
from faimed3d.dicom.inventory import COLUMNS, dicom_inventory
from faimed3d.errors import ArchiveError, DamagedFile

if TYPE_CHECKING:
    from faimed3d.archive.connection import Connection

_AT_ONCE = 4  # requests: the way there and back of one is used by the others
_LONG_WORK = 50  # objects from which on a progress bar is shown
_IDENTITY = (Tag.SOPInstanceUID, Tag.SeriesInstanceUID, Tag.StudyInstanceUID, Tag.Modality)


def fetch_series(connection: Connection, series: ArchiveSeries) -> pd.DataFrame:
    """Bring the objects of a series into its folder, and list what they are.

    Objects that lie there are not fetched again: what was cut goes on where it stopped. What the archive has no more,
    goes.

    Returns:
        The rows of ``dicom_inventory``, with ``study_uid``; an object that is no image has a row of its own.
    """
    match = {"SOPInstanceUID": series.object_uid} if series.object_uid else {}
    found = connection.search("instances", match, study=series.study_uid, series=series.series_uid)
    listed = {text_of(item, SOP_UID) for item in found} - {""}
    if series.object_uid:
        listed &= {series.object_uid}
    if not listed:
        raise ArchiveError(f"{connection.url}: series {series.series_uid} has no such objects (any more)")
    if len(listed) < series.told:  # slices at the end might lack, and nothing in the others tells
        raise ArchiveError(
            f"{connection.url}: series {series.series_uid}: the archive lists {len(listed)} objects of {series.told} "
            "that it has. If some were removed since, search again"
        )
    folder = str(series)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    paths = {uid: os.path.join(folder, f"{name_of(uid)}.dcm") for uid in sorted(listed)}
    missing = [uid for uid, path in paths.items() if not os.path.exists(path)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        done = pool.map(lambda uid: _fetch_object(connection, series, uid, paths[uid]), missing)
        for _ in progress_bar(done, total=len(missing), leave=False) if len(missing) >= _LONG_WORK else done:
            pass
    for name in set(os.listdir(folder)) - {os.path.basename(path) for path in paths.values()}:
        if name.endswith(".dcm"):
            with contextlib.suppress(FileNotFoundError):  # another process removes it, too
                os.remove(os.path.join(folder, name))
    return _rows(series, list(paths.values()))


def _fetch_object(connection: Connection, series: ArchiveSeries, uid: str, path: str) -> None:
    with unfinished_folder(path) as folder:
        new = os.path.join(folder, "object.dcm")
        connection.fetch(series.study_uid, series.series_uid, uid, new)
        header = read_header(new, _IDENTITY)
        if header is None:
            raise DamagedFile(f"{connection.url}, object {uid}: what came is no DICOM object")
        if header.error is not None:
            raise DamagedFile(f"{connection.url}, object {uid}: what came is damaged or cut")
        if header.text(Tag.SOPInstanceUID) != uid or header.text(Tag.SeriesInstanceUID) != series.series_uid:
            raise DamagedFile(f"{connection.url}, object {uid}: another object came")
        replace_file(new, path)


def _rows(series: ArchiveSeries, files: Sequence[str]) -> pd.DataFrame:
    table = dicom_inventory(str(series), recurse=False)
    volumes = set().union(*table["files"]) if len(table) else set()
    others = [_other_row(series, file) for file in files if file not in volumes]
    table = table.assign(study_uid=series.study_uid)
    return table_of([*table.to_dict("records"), *others])


def _other_row(series: ArchiveSeries, file: str) -> dict[str, Any]:
    """The row of an object that is no image: a structure set, a report."""
    header = read_header(file, _IDENTITY)
    cells: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    return cells | {
        "key": name_of(os.path.basename(file))[:12], "folder": str(series), "series_uid": series.series_uid,
        "modality": header.text(Tag.Modality) if header else "", "slices": 1, "shape": None, "spacing": None,
        "problems": "holds no image", "files": (file,), "study_uid": series.study_uid,
    }  # fmt: skip
