"""From files to an archive: each object once, and a word on each."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from fastprogress.fastprogress import progress_bar
from pydicom.uid import MediaStorageDirectoryStorage

from faimed3d._atomic import UNFINISHED_PREFIX
from faimed3d.archive.dicom_json import FAILED, NAMED_UID, REASON, REFERENCED, SOP_UID, items_of, text_of
from faimed3d.dicom.header import Tag, read_header
from faimed3d.errors import ArchiveError, ArchiveUnavailable, DamagedFile, NotStored

if TYPE_CHECKING:
    from faimed3d.archive.connection import Connection

STORED, PRESENT = "stored", "was there"
_NAMED = 5  # files in a message
_LONG_WORK = 50  # objects from which on a progress bar is shown
_IN_OBJECT = (Tag.StudyInstanceUID, Tag.SeriesInstanceUID, Tag.SOPInstanceUID, Tag.Modality)  # in its order
_DUPLICATE = 0x0111
_REASONS = {  # PS3.18 table I.2-2
    0xA7: "out of resources",
    0xA9: "the data set does not match its SOP class",
    0xC0: "cannot be understood",
}


@dataclass(frozen=True)
class LocalObject:
    """One file that is to be stored.

    Attributes:
        path: of the file.
        name: how messages and tables name it.
        study, series, uid: (0020,000D), (0020,000E) and (0008,0018).
        modality: (0008,0060).
    """

    path: str
    name: str
    study: str
    series: str
    uid: str
    modality: str


def objects_in(source: Any) -> list[LocalObject]:
    """The DICOM objects of a folder and those below it, of a file, or of a list of files.

    Of a folder other files are left out; a file that is named must be one.

    Raises:
        FileNotFoundError: no such file. DamagedFile: no DICOM file, a damaged one, or one without identifiers.
    """
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        if not os.path.exists(path):
            raise FileNotFoundError(f"{path}: no such file or folder")
        if os.path.isdir(path):
            files = [file for file in sorted(Path(path).rglob("*")) if file.is_file() and not _unfinished(file)]
            return [one for file in files if (one := _object_of(str(file))) is not None]
        source = [path]
    if not isinstance(source, list | tuple):
        raise TypeError(f"store takes a folder, a file or a list of files, got {type(source).__name__}")
    return [_required(os.fspath(file)) for file in source]


def store_objects(connection: Connection, objects: Sequence[LocalObject]) -> pd.DataFrame:
    """Store what the archive does not have.

    Returns:
        A row for each object: ``file``, ``modality``, ``sop_uid``, and ``result``: 'stored' or 'was there'.

    Raises:
        NotStored: some are not stored; its table says why. All others are.
    """
    results: list[str] = []
    known: dict[tuple[str, str], set[str]] = {}  # what the archive has, by study and series
    gone = False
    for one in progress_bar(objects, leave=False) if len(objects) >= _LONG_WORK else objects:
        try:
            there = known.get((one.study, one.series))
            if there is None and not gone:
                there = known[one.study, one.series] = _stored(connection, one)
            # a list may end early: where the archive has others of its series, an object is asked for by its UID
            if there and (one.uid in there or (not gone and _is_stored(connection, one))):
                results.append(PRESENT)
            elif gone or there is None:
                results.append("not sent: the archive did not answer before")
            else:
                results.append(_store(connection, one))
                there.add(one.uid)
        except ArchiveUnavailable as error:
            gone = True
            results.append(str(error))
        except ArchiveError as error:
            results.append(str(error))
    table = pd.DataFrame(
        {
            "file": [one.name for one in objects],
            "modality": [one.modality for one in objects],
            "sop_uid": [one.uid for one in objects],
            "result": results,
        }
    )
    failed = table[~table["result"].isin((STORED, PRESENT))]
    if len(failed):
        named = "\n".join(f"  {row.file}: {row.result}" for row in failed.head(_NAMED).itertuples())
        more = f"\n  and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
        raise NotStored(
            f"{connection.url}: {len(failed)} of {len(table)} objects are not stored. Store all of them again: those "
            f"that are stored are left out.\n{named}{more}",
            table,
        )
    return table


def _store(connection: Connection, one: LocalObject) -> str:
    """Store one object, and make sure that it is there."""
    reply = connection.store(one.path, before=lambda: {} if _is_stored(connection, one) else None)
    for item in items_of(reply, FAILED):
        code = text_of(item, REASON)
        reason = int(code) if code.isdecimal() else 0
        if reason == _DUPLICATE:
            return PRESENT
        raise ArchiveError(f"refused: {_REASONS.get(reason >> 8, 'failure')} (reason {reason:04X}H)")
    named = any(text_of(item, NAMED_UID) == one.uid for item in items_of(reply, REFERENCED))
    if not named and not _is_stored(connection, one):
        raise ArchiveError("the archive took it and does not list it")
    return STORED


def _is_stored(connection: Connection, one: LocalObject) -> bool:
    return one.uid in _stored(connection, one, {"SOPInstanceUID": one.uid})


def _stored(connection: Connection, one: LocalObject, match: Mapping[str, str] | None = None) -> set[str]:
    """The objects of its series that the archive has."""
    found = connection.search("instances", match or {}, study=one.study, series=one.series)
    return {text_of(item, SOP_UID) for item in found}


def _required(path: str) -> LocalObject:
    found = _object_of(path)
    if found is None:
        raise DamagedFile(f"{path}: no DICOM file with a preamble (PS3.10), so no archive takes it")
    return found


def _unfinished(path: Path) -> bool:
    return any(part.startswith(UNFINISHED_PREFIX) for part in path.parts)


def _object_of(path: str) -> LocalObject | None:
    header = read_header(path, (*_IN_OBJECT, Tag.MediaStorageSOPClassUID))
    with open(path, "rb") as file:
        whole = file.read(132)[128:] == b"DICM"
    if header is None or not whole or header.text(Tag.MediaStorageSOPClassUID) == MediaStorageDirectoryStorage:
        return None
    if header.error is not None:
        raise header.error
    found = LocalObject(path, path, *(header.text(tag) for tag in _IN_OBJECT))
    if not (found.study and found.series and found.uid):
        raise DamagedFile(f"{path}: lacks an identifier of its study, its series or itself, so no archive takes it")
    return found
