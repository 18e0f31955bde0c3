"""Studies that come into an archive: each series of images is one, or those that are the channels of one case."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from faimed3d.archive import DicomWeb
from faimed3d.command.channels import channels_in
from faimed3d.command.scans import NO_SCANS, is_described
from faimed3d.command.studies import hash_of


@dataclass(frozen=True)
class SeriesOfArchive:
    """A :class:`~faimed3d.command.studies.Study` in an archive.

    Attributes:
        archive: the archive.
        rows: of its search: one series, or all of a study that may be channels.
        descriptions: of the channels, where there are several.
        signature: how many objects each series has now.
    """

    archive: DicomWeb
    rows: pd.DataFrame
    descriptions: Sequence[str]
    signature: str

    @property
    def key(self) -> str:
        first = self.rows.iloc[0]
        return hash_of(first["study_uid"], *(() if self._is_study else (first["series_uid"],)))

    @property
    def name(self) -> str:
        return f"{'study' if self._is_study else 'series'} {self.key}"

    @property
    def _is_study(self) -> bool:
        return len(self.descriptions) > 1

    def volumes(self) -> pd.DataFrame:
        if self._is_study and all(self.rows["description"]):
            channels_in(self.rows, self.descriptions)  # nothing is fetched where one is missing
        return self.archive.fetch(self.rows)

    def signature_of(self, files: Sequence[str]) -> str:
        return hash_of(*sorted(map(os.path.basename, files)))  # they are named by their identifiers

    def release(self) -> None:
        for folder in self.rows["folder"]:
            shutil.rmtree(str(folder), ignore_errors=True)


class WatchedArchive:
    """The series of images in an archive.

    Args:
        archive: where to look, and where results are stored.
        since: day, as ``20261129``: of studies from then on.
        modality: as of ``DicomWeb.search``.
        descriptions: of the series, as of :func:`~faimed3d.command.scans.chosen`; several are those of channels.
    """

    def __init__(self, archive: DicomWeb, since: str, modality: str | None, descriptions: Sequence[str]) -> None:
        self.archive, self.since, self.modality, self.descriptions = archive, since, modality, descriptions

    def look(self) -> Sequence[SeriesOfArchive]:
        several = len(self.descriptions) > 1
        asked = self.descriptions[0] if self.descriptions and not several else None
        table = self.archive.search(self.modality, asked, StudyDate=f"{self.since}-")
        table = table[~table["modality"].isin(NO_SCANS)]
        if several:  # not every archive tells descriptions; then the files do
            table = table[is_described(table, ["", *self.descriptions])]
        by = ["study_uid"] if several else ["study_uid", "series_uid"]
        return [self._study(rows) for _, rows in table.groupby(by, sort=False)]

    def deliver(self, files: Sequence[str]) -> None:
        self.archive.store(list(files))

    def _study(self, rows: pd.DataFrame) -> SeriesOfArchive:
        # not every archive tells how many there are, and by that it is seen that more came
        counts = [str(row["slices"] or row["folder"].count()) for _, row in rows.iterrows()]
        signature = hash_of(*rows["series_uid"], *counts) if len(self.descriptions) > 1 else counts[0]
        return SeriesOfArchive(self.archive, rows, self.descriptions, signature)
