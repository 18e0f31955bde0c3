"""Studies that come into an archive: each series of images is one, and results go back there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any  # a row of the archive

import pandas as pd

from faimed3d.archive import DicomWeb
from faimed3d.command.scans import NO_SCANS
from faimed3d.command.studies import hash_of


@dataclass(frozen=True)
class SeriesOfArchive:
    """A :class:`~faimed3d.command.studies.Study` in an archive.

    Attributes:
        archive: the archive.
        row: of its search.
        signature: how many objects it has now.
    """

    archive: DicomWeb
    row: Any
    signature: str

    @property
    def key(self) -> str:
        return hash_of(self.row["study_uid"], self.row["series_uid"])

    @property
    def name(self) -> str:
        return f"series {self.key}"

    def volumes(self) -> pd.DataFrame:
        return self.archive.fetch(self.row)

    def signature_of(self, files: Sequence[str]) -> str:
        return hash_of(*sorted(map(os.path.basename, files)))  # they are named by their identifiers

    def release(self) -> None:
        shutil.rmtree(str(self.row["folder"]), ignore_errors=True)


class WatchedArchive:
    """The series of images in an archive.

    Args:
        archive: where to look, and where results are stored.
        since: day, as ``20261129``: of studies from then on.
        modality, description: as of ``DicomWeb.search``.
    """

    def __init__(self, archive: DicomWeb, since: str, modality: str | None, description: str | None) -> None:
        self.archive, self.since, self.modality, self.description = archive, since, modality, description

    def look(self) -> Sequence[SeriesOfArchive]:
        table = self.archive.search(self.modality, self.description, StudyDate=f"{self.since}-")
        rows = [row for _, row in table.iterrows() if row["modality"] not in NO_SCANS]
        # not every archive tells how many there are, and by that it is seen that more came
        return [SeriesOfArchive(self.archive, row, str(row["slices"] or row["folder"].count())) for row in rows]

    def deliver(self, files: Sequence[str]) -> None:
        self.archive.store(list(files))
