"""A series of an archive, or one object of it: a row of a table before its files are here."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd
from pydicom.datadict import tag_for_keyword

from faimed3d._rows import Elsewhere, Row
from faimed3d.archive.dicom_json import COUNT, MODALITY, SERIES_DESCRIPTION, SERIES_UID, STUDY_UID, Item, text_of
from faimed3d.dicom.inventory import COLUMNS
from faimed3d.errors import SeveralVolumes

if TYPE_CHECKING:
    from faimed3d.archive.dicom_web import DicomWeb

FIELDS = ("StudyInstanceUID", "SeriesInstanceUID", "Modality", "SeriesDescription", "NumberOfSeriesRelatedInstances")


@dataclass(frozen=True)
class ArchiveSeries(Elsewhere):
    """Where the files of a row lie: ``os.fspath`` and ``row`` fetch them; ``str`` is the folder they come to.

    Attributes:
        archive: the archive.
        study_uid, series_uid: (0020,000D) and (0020,000E).
        object_uid: (0008,0018) of the one object that is meant; '' for all of the series.
        told: how many objects there are, as the archive told when it was searched; 0 where it did not.
        fetched: the rows of its files, once they are here: what a row means does not change while it is worked with.
    """

    archive: DicomWeb
    study_uid: str
    series_uid: str
    object_uid: str = ""
    told: int = field(default=0, compare=False)
    fetched: list[pd.DataFrame] = field(default_factory=list, compare=False, repr=False)

    def __str__(self) -> str:
        return os.path.join(self.archive.cache, name_of(self.study_uid, self.series_uid, self.object_uid))

    def __fspath__(self) -> str:
        self.archive.fetch(self)
        return str(self)

    def count(self) -> int:
        """How many objects the archive has of it now; the search of some archives does not tell."""
        found = self.archive._connection.search("instances", {}, study=self.study_uid, series=self.series_uid)
        return sum(1 for _ in found)

    def row(self) -> Row:
        rows = self.archive.fetch(self)
        if len(rows) > 1:
            listed = "\n".join(
                f"  {number}  {row['key']}  {row['description']}, {row['slices']} slices, {row['distinct']}"
                for number, row in enumerate(rows.to_dict("records")[:20])
            )
            raise SeveralVolumes(
                f"series {self.series_uid}: {len(rows)} volumes or objects. Choose among pacs.fetch(row), such as "
                f"pacs.fetch(row).iloc[0]:\n{listed}"
            )
        return rows.iloc[0]


def name_of(*uids: str) -> str:
    """A short name for UIDs: a hash, as UIDs lead to a patient, and as no hash leads out of a folder."""
    return hashlib.blake2b("\n".join(uids).encode(), digest_size=10).hexdigest()


def table_of(rows: Iterable[Mapping[str, Any]], tags: Sequence[str] = ()) -> pd.DataFrame:
    """Rows as a table with the columns of ``dicom_inventory``, and ``study_uid``."""
    return pd.DataFrame(list(rows), columns=[*COLUMNS, "study_uid", *tags])


def row_of(
    archive: DicomWeb, item: Item, tags: Sequence[str] = (), study: str = "", object_uid: str = ""
) -> dict[str, Any]:
    """One row: what only the files can tell is empty in it.

    Args:
        archive: the archive.
        item: what it tells of a series.
        tags: further elements, by keyword.
        study: UID of the study, which an archive need not tell that was asked for the series of one.
        object_uid: of the one object that is meant.
    """
    study, series = study or text_of(item, STUDY_UID), text_of(item, SERIES_UID)
    told = text_of(item, COUNT)
    count = 1 if object_uid else int(told) if told.isdecimal() else 0
    cells: dict[str, Any] = {
        **dict.fromkeys(COLUMNS, ""),
        "key": name_of(study, series, object_uid)[:12],
        "folder": ArchiveSeries(archive, study, series, object_uid, count),
        "series_uid": series,
        "description": printable(text_of(item, SERIES_DESCRIPTION)),
        "modality": printable(text_of(item, MODALITY)),
        "slices": count,
        "shape": None,
        "spacing": None,
        "files": (),
        "study_uid": study,
    }
    return cells | {tag: text_of(item, f"{tag_for_keyword(tag):08X}") for tag in tags}


def printable(text: str) -> str:
    """A text of an archive as a message may quote it."""
    return text if text.isprintable() else "a damaged value"
