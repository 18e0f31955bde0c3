"""``DicomWeb``: an archive whose scans are rows like those of an inventory."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pandas as pd

from faimed3d._keywords import strict_keywords
from faimed3d._rows import is_row
from faimed3d.archive.connection import Connection, is_this_machine, signature
from faimed3d.archive.fetching import fetch_series
from faimed3d.archive.finding import referring, scan_of
from faimed3d.archive.matching import checked_keyword, checked_value, matches, weakened
from faimed3d.archive.series import FIELDS, ArchiveSeries, row_of, table_of
from faimed3d.archive.storing import objects_in, store_objects
from faimed3d.errors import NoImages

if TYPE_CHECKING:
    from requests.auth import AuthBase

    from faimed3d.dicom.volume_report import VolumeReport

_SMALLEST_PAGE = 100  # series to ask for at once


class DicomWeb:
    """An archive that speaks DICOMweb (PS3.18: QIDO-RS, WADO-RS, STOW-RS), such as Orthanc or a hospital's PACS.

    Its rows are like those of ``dicom_inventory``: whatever takes one fetches the files when it reads them. Nothing
    prints a user, a password or a token, and no patient's data but what is asked for by ``tags``.

    Args:
        url: of the service, such as ``"https://pacs.hospital.org/dicom-web"``.
        auth: ``(user, password)``, a token (bearer), or an object of ``requests.auth``; None: none.
        cache: folder where fetched files stay, for this and later programs: they are a patient's. None: a folder that
            goes when the program ends.
        certificates: file (PEM) of the authority that signs the server's certificate, where the system does not know
            it. Certificates are always checked.
        timeout: seconds that the server may stay silent.
        attempts: how often a request is made while its fault may pass (no answer, a cut transfer, 429 and 5xx), after
            pauses of 0.5, 1, 2, ... seconds.

    Raises:
        ValueError: a url of another kind, or with a user and a password in it.

    >>> pacs = DicomWeb("http://localhost:8042/dicom-web", auth=("user", "secret"))
    >>> pacs
    DicomWeb('http://localhost:8042/dicom-web')
    """

    @strict_keywords
    def __init__(
        self,
        url: str,
        auth: tuple[str, str] | str | AuthBase | None = None,
        cache: str | Path | None = None,
        certificates: str | Path | None = None,
        timeout: float = 60,
        attempts: int = 5,
    ) -> None:
        self.url = _checked_url(url, auth is not None)
        if certificates is not None and not os.path.exists(certificates):
            raise FileNotFoundError(f"{certificates}: no such file of certificates")
        if not isinstance(timeout, int | float) or not timeout > 0 or not isinstance(attempts, int) or attempts < 1:
            raise ValueError(
                "timeout must be seconds above 0 and attempts a whole number from 1 up, "
                f"got {timeout!r} and {attempts!r}"
            )
        self.cache = _temporary_cache() if cache is None else os.path.abspath(cache)
        trusted = None if certificates is None else os.fspath(certificates)
        self._connection = Connection(self.url, signature(auth), trusted, timeout, attempts)

    def __repr__(self) -> str:
        return f"DicomWeb({self.url!r})"

    def __reduce__(self) -> Any:
        raise TypeError(
            "a DicomWeb may hold a password, so it is not pickled, and nor are its rows: pacs.fetch(rows) gives rows "
            "of files, which are"
        )

    def search(
        self,
        modality: str | None = None,
        description: str | None = None,
        *,
        tags: Sequence[str] = (),
        limit: int | None = None,
        **match: str,
    ) -> pd.DataFrame:
        """List the series of the archive, one row each (QIDO-RS).

        Args:
            modality: (0008,0060) Modality, such as ``"MR"``.
            description: (0008,103E) SeriesDescription; ``*`` stands for any text, ``?`` for a letter.
            tags: further elements to add as columns, by keyword: the only way to patient data in the table.
            limit: how many rows at most.
            match: further elements by keyword, such as ``PatientID="4711"`` or ``StudyDate="20260101-20260131"``.

        Returns:
            The columns of ``dicom_inventory``, and ``study_uid``. ``slices`` is the number of objects; what only the
            files can tell (``shape``, ``spacing``, ``files``, ...) is empty.

        Raises:
            ValueError: a keyword that DICOM does not have; a date of another form; a limit below 0.
            TypeError: a value that is neither a text nor a number: one search for each of several.
            ArchiveUnavailable: no answer. ArchiveError: an answer of another kind.

        >>> DicomWeb("http://localhost:8042/dicom-web").search(PatientId="4711")
        Traceback (most recent call last):
        ValueError: search: 'PatientId' is no DICOM keyword, did you mean 'PatientID'?
        """
        named = {"Modality": modality, "SeriesDescription": description, **match}
        wanted = {key: checked_value(key, value) for key, value in named.items() if value is not None}
        if limit is not None and (not isinstance(limit, int) or limit < 0):
            raise ValueError(f"limit must be a number of rows from 0 up, or None for all, got {limit!r}")
        tags = [checked_keyword(tag) for tag in ([tags] if isinstance(tags, str) else tags)]
        fields = dict.fromkeys([*FIELDS, *wanted, *tags])
        page = None if limit is None else max(limit, _SMALLEST_PAGE)
        found = self._connection.search("series", weakened(wanted), list(fields), page)
        chosen = islice((item for item in found if matches(item, wanted)), limit)
        return table_of((row_of(self, item, tags) for item in chosen), tags)

    def find(self, scan: Any, modality: str | None = None) -> pd.DataFrame:
        """List what refers to a scan: its segmentations, structure sets and reports.

        An object refers to a scan whose series it names; one that names no series to a scan whose images it names; one
        that names neither to all scans in its study and its frame of reference.

        Args:
            scan: a row of this archive or of an inventory, a volume read from DICOM files, or their folder.
            modality: of the objects, such as ``"SEG"``, ``"RTSTRUCT"`` or ``"SR"``; None: of any.

        Returns:
            As of :meth:`search`: a row for each segmentation, structure set or report, and one for each other series.

        Raises:
            ArchiveUnavailable: no answer. ArchiveError: an answer of another kind.
        """
        scan = scan_of(self._connection, scan)
        found = referring(self._connection, scan, modality)
        return table_of(row_of(self, item, study=scan.study, object_uid=uid) for item, uid in found)

    def fetch(self, rows: Any) -> pd.DataFrame:
        """Bring the files of rows here (WADO-RS), each object once, whole or not at all.

        What came before a fault stays, and is not fetched again. A row means the files that were fetched for it first,
        as long as they lie there: of a series that grows in the archive, a new search tells.

        Args:
            rows: a row of :meth:`search` or :meth:`find`, or a table of them. Rows of files stay.

        Returns:
            The rows of ``dicom_inventory`` of the files, with ``study_uid``; of an object that is no image, such as a
            structure set, a row with its file.

        Raises:
            ArchiveUnavailable: no answer, or a transfer cut again and again: fetch again to go on.
            ArchiveError: an answer of another kind. DamagedFile: an object that is none, or another one.
        """
        if isinstance(rows, ArchiveSeries):
            return self._fetch(rows)
        table = pd.DataFrame([rows]) if is_row(rows) and not isinstance(rows, pd.DataFrame) else rows
        if not isinstance(table, pd.DataFrame) or "folder" not in table:
            raise TypeError(f"fetch takes a row of search, or a table of such rows, got {type(rows).__name__}")
        found: list[dict[str, Any]] = []
        for _, row in table.iterrows():
            place = row["folder"]
            found += self._fetch(place).to_dict("records") if isinstance(place, ArchiveSeries) else [dict(row)]
        return table_of(found)

    def store(self, source: Any, report: VolumeReport | None = None) -> pd.DataFrame:
        """Store DICOM files (STOW-RS), each object once: what the archive has is not sent again.

        All files are looked at before the first is sent. An object is known by its (0008,0018) SOPInstanceUID, so that
        after a fault the same call sends the rest.

        Args:
            source: a folder with those below it, where other files than DICOM are left out; a file; a list of files.
            report: of :meth:`TensorMask3D.report`, stored as a structured report. The same report is the same object.

        Returns:
            A row for each object: ``file``, ``modality``, ``sop_uid`` and ``result``, 'stored' or 'was there'.

        Raises:
            FileNotFoundError: no such file. NoImages: no DICOM file. DamagedFile: one that no archive takes. Nothing is
                sent then.
            NotStored: some objects are not stored; its ``table`` says why. All others are.
        """
        with tempfile.TemporaryDirectory() as folder:
            objects = objects_in(source)
            if report is not None:
                if not hasattr(report, "save"):
                    raise TypeError(f"report must be what mask.report(like=scan) gives, got {type(report).__name__}")
                file = os.path.join(folder, "report.dcm")
                report.save(file)
                objects += [replace(one, name="the report") for one in objects_in(file)]
            if not objects:
                named = os.fspath(source) if isinstance(source, str | Path) else "an empty list"
                raise NoImages(f"{named}: holds no DICOM file, so there is nothing to store")
            return store_objects(self._connection, objects)

    def _fetch(self, series: ArchiveSeries) -> pd.DataFrame:
        if series.archive is not self:
            return series.archive.fetch(series)
        if not all(os.path.exists(file) for table in series.fetched for files in table["files"] for file in files):
            series.fetched.clear()
        if not series.fetched:
            series.fetched.append(fetch_series(self._connection, series))
        return series.fetched[0]


def _checked_url(url: str, signed: bool) -> str:
    parts = urlsplit(url) if isinstance(url, str) else None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("url must be that of a DICOMweb service, such as 'https://pacs.hospital.org/dicom-web'")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("url must have no user, password or query: pass auth=(user, password) or auth=token")
    if signed and parts.scheme == "http" and not is_this_machine(parts.hostname):
        warnings.warn(
            f"{url}: user, password or token and all data travel unencrypted by http; use https", stacklevel=4
        )
    return url.rstrip("/")


@functools.cache
def _temporary_cache() -> str:
    """A folder that goes with this process."""
    folder, owner = tempfile.mkdtemp(prefix="faimed3d-archive-"), os.getpid()

    def remove() -> None:
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder
