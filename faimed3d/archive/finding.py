"""What an archive has that refers to a scan."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from faimed3d._rows import is_row, only_row
from faimed3d.archive.dicom_json import FRAME_UID, MODALITY, SERIES_UID, SOP_UID, Item, text_of
from faimed3d.archive.references import Scan, refers
from faimed3d.archive.series import FIELDS, ArchiveSeries
from faimed3d.dicom.header import Tag, read_header
from faimed3d.dicom.mask_objects import images_of
from faimed3d.errors import NoImages

if TYPE_CHECKING:
    from faimed3d.archive.connection import Connection

_SINGLE = ("SEG", "RTSTRUCT", "SR", "REG", "PR", "KO", "RTDOSE", "RTPLAN")  # each object of these stands for itself
_OF_SERIES = (Tag.StudyInstanceUID, Tag.SeriesInstanceUID)


def scan_of(connection: Connection, source: Any) -> Scan:
    """What objects name when they refer to a scan: its UIDs, as the archive knows it.

    Args:
        connection: to the archive.
        source: see ``DicomWeb.find``.
    """
    study, series = _uids_of(only_row(source))
    uids = [text_of(item, SOP_UID) for item in connection.search("instances", {}, study=study, series=series)]
    first = connection.headers(study, series, uids[0]) if uids else []
    frame = text_of(first[0], FRAME_UID) if first else ""
    return Scan(study, series, frame, frozenset(uids))


def referring(connection: Connection, scan: Scan, modality: str | None) -> Iterator[tuple[Item, str]]:
    """What refers to a scan: (what the archive tells of the series, UID of the object or '' for the whole series)."""
    match = {} if modality is None else {"Modality": modality}
    frameless = replace(scan, frame="")  # images that share a frame of reference lie beside each other
    for item in connection.search("series", match, FIELDS, study=scan.study):
        series, kind = text_of(item, SERIES_UID), text_of(item, MODALITY)
        if series == scan.series or (modality is not None and kind != modality):
            continue
        if kind in _SINGLE:
            for header in connection.headers(scan.study, series):
                if refers(header, scan):
                    yield item, text_of(header, SOP_UID)
        else:
            images = connection.search("instances", {}, page=1, study=scan.study, series=series)
            first = [text_of(image, SOP_UID) for image in islice(images, 1)]
            headers = connection.headers(scan.study, series, first[0]) if first else []
            if any(refers(header, frameless) for header in headers):
                yield item, ""


def _uids_of(source: Any) -> tuple[str, str]:
    """Study and series of what a user calls a scan; nothing is fetched for it."""
    if is_row(source) and isinstance(source["folder"], ArchiveSeries):
        return source["folder"].study_uid, source["folder"].series_uid
    files = images_of(source)
    if isinstance(files, str):
        inside = sorted(os.path.join(files, name) for name in os.listdir(files)) if os.path.isdir(files) else [files]
    else:
        inside = list(files)
    for file in inside:
        header = read_header(file, _OF_SERIES) if os.path.isfile(file) else None
        if header is not None and all(header.text(tag) for tag in _OF_SERIES):
            return header.text(Tag.StudyInstanceUID), header.text(Tag.SeriesInstanceUID)
    raise NoImages(f"{inside[0] if inside else files}: names no study and series, so nothing can refer to it")
