"""What a tree of folders holds: one row for each volume, from headers alone."""

from __future__ import annotations

import os
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path

import pandas as pd
from fastprogress.fastprogress import progress_bar
from pydicom.datadict import tag_for_keyword
from pydicom.uid import UID

from faimed3d.dicom.checks import CHECKS, ELSEWHERE
from faimed3d.dicom.contents import key_of, quoted, series_and_grid, series_description, survey, volume_key
from faimed3d.dicom.finding import Finding
from faimed3d.dicom.grouping.dicom_volume import Volume
from faimed3d.dicom.grouping.scan import Scan, list_folder, scan_files, scan_folder
from faimed3d.dicom.grouping.whole_series import WholeSeries
from faimed3d.dicom.header import Tag, read_dataset, value_text
from faimed3d.errors import NoImages, no_such

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
_RANK = {check.name: number for number, check in enumerate(CHECKS)}

Tags = dict[object, int]


def dicom_inventory(
    path: str | Path, recurse: bool = True, tags: Sequence[str | int | tuple[int, int]] | None = None
) -> pd.DataFrame:
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

    >>> from pydicom.data import get_testdata_file
    >>> table = dicom_inventory(get_testdata_file("MR_small.dcm"))
    >>> table.loc[0, ["modality", "shape", "orientation", "problems"]].tolist()
    ['MR', (1, 64, 64), 'axial', '']
    """
    path = os.fspath(path)
    numbers: Tags = {tag: _tag_number(tag) for tag in tags or ()}
    if not os.path.exists(path):
        raise no_such(path)
    inventory = _Inventory(path, numbers)
    if os.path.isdir(path):
        folders, closed = _folders(path) if recurse else ([path], 0)
        if closed:
            inventory.skipped["folders without permission to read"] = closed
        for folder in _with_progress(folders):
            inventory.add_folder(folder, below=not recurse)  # what lies below is compared at the end, all at once
        inventory.compare_folders()
    elif os.path.isfile(path):
        inventory.add_folder(os.path.dirname(path), below=False, files=[path])
    else:
        raise NoImages(f"{path}: neither a file nor a folder")
    return inventory.table()


def inventory_of(files: Iterable[str], root: str) -> pd.DataFrame:
    """The volumes of some files, as ``dicom_inventory(root)`` lists them; no other file is looked at.

    Of a series that lies in several folders the others are looked at, too, to compare them.

    Args:
        files: paths below ``root``.
        root: the folder from which keys are made.
    """
    inventory = _Inventory(root, {})
    folders: dict[str, list[str]] = defaultdict(list)
    for file in files:
        folders[os.path.dirname(file)].append(file)
    for folder, inside in folders.items():
        inventory.add_folder(folder, below=False, files=inside)
    inventory.compare_folders()
    return inventory.table()


@dataclass
class _Row:
    """One row of the inventory; ``problems`` are pairs (rank in the table of checks, text)."""

    cells: dict[str, object]
    problems: list[tuple[int, str]] = field(default_factory=list)

    def add(self, findings: Iterable[Finding]) -> None:
        self.problems += [(_RANK[finding.kind], finding.message) for finding in findings]

    def values(self) -> dict[str, object]:
        # sorting keeps the order of problems of one rank
        texts = [text for _, text in sorted(self.problems, key=lambda problem: problem[0])]
        return {**self.cells, "problems": "; ".join(texts)}


class _Inventory:
    """The inventory of a tree while it is made, folder by folder: no header is kept."""

    def __init__(self, root: str, tags: Tags) -> None:
        self.root, self.tags = root, tags
        self.rows: list[_Row] = []
        self.skipped: Counter[str] = Counter()
        self.damaged: list[str] = []
        self.folders_of: dict[str, set[str]] = defaultdict(set)  # by series UID

    def add_folder(self, folder: str, below: bool, files: list[str] | None = None) -> None:
        """Add the volumes of a folder, or of some files in it; a folder that breaks the reading becomes a row."""
        scan = None
        try:
            scan = scan_folder(folder) if files is None else scan_files(files, folder)
            contents = survey(scan, below=below, files=True)
            rows = [self._row(volume) for volume in contents.volumes]
        except Exception as error:  # whatever a damaged file can cause: the other folders are still to be listed
            self.rows.append(self._broken_row(folder, error, scan))
            return
        self.rows += rows
        known = {volume.header.text(Tag.SeriesInstanceUID) for volume in contents.volumes}
        self.damaged += [str(header.error) for header in scan.damaged if header.known_series not in known]
        self.skipped += contents.skipped
        for uid in known - {""}:
            self.folders_of[uid].add(scan.folder)

    def compare_folders(self) -> None:
        """Add to their rows what volumes miss whose series lies in several folders."""
        rows = defaultdict(list)
        for row in self.rows:
            rows[row.cells["key"]].append(row)
        for uid, folders in self.folders_of.items():
            if len(folders) > 1:
                try:
                    self._compare(uid, sorted(folders), rows)
                except Exception as error:  # as in add_folder
                    self.damaged.append(_describe_unforeseen(sorted(folders)[0], error, None))

    def _compare(self, uid: str, folders: list[str], rows: Mapping[object, list[_Row]]) -> None:
        scans = [scan_folder(folder) for folder in folders]
        for scan in scans:
            scan.images = [header for header in scan.images if header.text(Tag.SeriesInstanceUID) == uid]
        whole = WholeSeries(*(scan.images for scan in scans))
        for scan in scans:
            for volume in survey(scan, below=False, whole=whole).volumes:
                elsewhere = [finding for finding in volume.findings if finding.kind == ELSEWHERE]
                for row in rows[volume_key(volume, self.root)]:
                    row.add(elsewhere)

    def table(self) -> pd.DataFrame:
        """The inventory as a DataFrame."""
        rows = [row.values() for row in self.rows]
        table = pd.DataFrame(rows, columns=[*COLUMNS, *map(str, self.tags)])
        table.attrs["skipped"], table.attrs["damaged"] = dict(self.skipped), self.damaged
        return table

    def _row(self, volume: Volume) -> _Row:
        header = volume.header
        cells = {
            "key": volume_key(volume, self.root),
            "folder": volume.folder,
            **series_and_grid(volume),
            "description": series_description(header),
            "modality": quoted(header, Tag.Modality),
            "slices": volume.slices,
            "distinct": volume.distinct,
            "transfer_syntax": UID(header.syntax).name if header.syntax else "",
            "files": volume.files,
        }
        if self.tags:
            cells |= dict(zip(map(str, self.tags), _values(header.path, self.tags), strict=True))
        row = _Row(cells)
        row.add(volume.findings)
        return row

    def _broken_row(self, folder: str, error: Exception, scan: Scan | None) -> _Row:
        cells: dict[str, object] = {
            "key": key_of(folder, self.root),
            "folder": folder,
            "slices": 0,
            "shape": None,
            "spacing": None,
            "files": tuple(header.path for header in scan.images) if scan else (),
        }
        cells = dict.fromkeys((*COLUMNS, *map(str, self.tags)), "") | cells
        return _Row(cells, [(-1, _describe_unforeseen(folder, error, scan))])


def _describe_unforeseen(folder: str, error: Exception, scan: Scan | None) -> str:
    """Describe an exception that nobody foresaw, without values of headers: its text only where these are known."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    text = (
        f"{folder}: could not be looked at: {type(error).__name__} in {os.path.basename(last.filename)}:{last.lineno}"
    )
    if scan is None and not isinstance(error, OSError):
        return text
    said = str(error)
    for value in sorted(_header_values(scan.images if scan else ()), key=len, reverse=True):
        said = said.replace(value, "...")
    return f"{text}: {said}"


def _header_values(headers: Iterable) -> set[str]:
    texts = {raw.decode("latin-1").strip(" \0") for header in headers for raw in header.values.values() if raw}
    return {part for text in texts for part in text.split("\\") if len(part) > 2}


def _folders(root: str) -> tuple[list[str], int]:
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


def _with_progress(folders: list[str]) -> Iterable[str]:
    count = sum(len(os.listdir(folder)) for folder in folders)
    return progress_bar(folders, leave=False) if count >= _LONG_WORK and len(folders) > 1 else folders


def _tag_number(tag: object) -> int:
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


def _values(path: str, tags: Tags) -> list[str]:
    dataset = read_dataset(path, list(tags.values()))
    return [value_text(dataset[number]) if number in dataset else "" for number in tags.values()]
