"""Studies that come into a folder: DICOM files by (0020,000D) StudyInstanceUID, other volumes file by file."""

from __future__ import annotations

import errno
import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any  # what a file says: a UID, or names of files

import pandas as pd
from pydicom.uid import MediaStorageDirectoryStorage

from faimed3d.command.studies import hash_of
from faimed3d.data.files import HEADERS_OF
from faimed3d.dicom.header import Tag, read_header
from faimed3d.dicom.inventory import inventory_of
from faimed3d.errors import NoImages
from faimed3d.io.data_files import data_files_of
from faimed3d.io.formats import DICOM_SUFFIXES, READ_SUFFIXES, volume_suffix

Signature = tuple[int, int]  # size and time of the last change of the content, in ns


@dataclass(frozen=True)
class FilesOfStudy:
    """A :class:`~faimed3d.command.studies.Study` in a folder.

    Attributes:
        key, name: as of all studies.
        root: the watched folder.
        files: path -> signature; of another format than DICOM the file to read comes first, its data file behind it.
        uid: StudyInstanceUID; '' of files of a folder that are named as DICOM and have none, None of another format.
    """

    key: str
    name: str
    root: str
    files: dict[str, Signature]
    uid: str | None

    @property
    def signature(self) -> str:
        return self.signature_of(list(self.files))

    def signature_of(self, files: Sequence[str]) -> str:
        marks = ((os.path.relpath(path, self.root), *self.files[path]) for path in files)
        return hash_of(*map(str, sorted(marks)))

    def release(self) -> None:
        """The files stay where they are."""

    def volumes(self) -> pd.DataFrame:
        for path in self.files:
            if not os.access(path, os.R_OK):  # that may pass, and is no fault of the study
                raise PermissionError(errno.EACCES, "may not be read", path)
        if self.uid is None:
            files = tuple(self.files)
            return pd.DataFrame(
                [{"key": self.key, "folder": files[0], "description": "", "modality": "", "files": files}]
            )
        table = inventory_of(sorted(self.files), self.root)
        if not len(table) and table.attrs["damaged"]:
            raise NoImages(table.attrs["damaged"][0])
        if not len(table) and not self.uid:
            raise NoImages(f"{self.name}: no image, though named as DICOM")
        return table


class WatchedFolder:
    """The studies below a folder.

    Names that begin with a dot are left out: receivers give such to files that are not whole.

    Args:
        root: the folder.
        without: folder whose files are no studies: that of the results.
    """

    def __init__(self, root: str, without: str) -> None:
        if not os.path.isdir(root):
            raise FileNotFoundError(f"{root}: no such folder")
        self.root, self._without = root, os.path.realpath(without)
        if os.path.realpath(root) == self._without:
            raise ValueError(f"{root}: the folder that is watched cannot be that of the results: pass another --out")
        # what was found in files that were looked at before: a UID or None, of another format the data files
        self._known: dict[str, tuple[Signature, Any]] = {}

    def look(self) -> Sequence[FilesOfStudy]:
        groups: dict[tuple[str, str | None], dict[str, Signature]] = defaultdict(dict)  # by place, and UID
        files, found = dict(self._files()), {}
        for path, signature in files.items():
            suffix = volume_suffix(path)
            if suffix in READ_SUFFIXES and suffix not in DICOM_SUFFIXES:
                stem = path[: len(path) - len(suffix)]
                if not any(stem + other in files for other in HEADERS_OF.get(suffix, ())):  # a pair is its header
                    beside = self._looked_up(path, signature, data_files_of)
                    found[path] = signature, beside
                    of_one = {path: signature, **{other: files[other] for other in beside if other in files}}
                    groups[os.path.relpath(path, self.root), None] = of_one
                continue
            uid = self._looked_up(path, signature, _study_of)
            if uid is not None:
                place = "" if uid else os.path.relpath(os.path.dirname(path), self.root)
                groups[place, uid][path] = signature
            if uid or uid is None:  # those without may only be closed to us now
                found[path] = signature, uid
        self._known = found
        return [self._study(place, uid, files) for (place, uid), files in groups.items()]

    def deliver(self, files: Sequence[str]) -> None:
        """Results are where they belong."""

    def _looked_up(self, path: str, signature: Signature, look: Callable[[str], Any]) -> Any:
        """What a file says, which is read again where it has changed."""
        known = self._known.get(path)
        return known[1] if known is not None and known[0] == signature else look(path)

    def _study(self, place: str, uid: str | None, files: dict[str, Signature]) -> FilesOfStudy:
        is_file = uid is None or len(files) == 1
        name = next(iter(files)) if is_file else os.path.commonpath({os.path.dirname(path) for path in files})
        return FilesOfStudy(hash_of(place, uid or ""), name, self.root, files, uid)

    def _files(self) -> Iterator[tuple[str, Signature]]:
        """All files below the folder, ordered by name; each folder once, though links may lead round in circles."""
        waiting, seen = [self.root], set()
        while waiting:
            folder = waiting.pop()
            real = os.path.realpath(folder)
            if real in seen or real == self._without:
                continue
            seen.add(real)
            try:
                with os.scandir(folder) as listed:
                    entries = sorted((one for one in listed if not one.name.startswith(".")), key=lambda one: one.name)
            except (FileNotFoundError, PermissionError) as error:
                if folder == self.root:
                    raise
                if isinstance(error, PermissionError):  # else it went meanwhile
                    warnings.warn(f"{folder}: may not be read, so no study in it is served", stacklevel=3)
                continue
            below = []
            for entry in entries:
                try:
                    if entry.is_dir():
                        below.append(entry.path)
                    elif entry.is_file():
                        status = entry.stat()
                        yield entry.path, (status.st_size, status.st_mtime_ns)
                except OSError:  # it went meanwhile, or is a link that leads round in a circle
                    continue
            waiting += reversed(below)


def _study_of(path: str) -> str | None:
    """The StudyInstanceUID of a DICOM file; '' where it has none or cannot be read; None for files that are no part."""
    try:
        header = read_header(path, (Tag.StudyInstanceUID, Tag.MediaStorageSOPClassUID))
    except OSError:  # it went meanwhile, or may not be read yet: who reads the study says so
        return ""
    if header is None:
        return "" if volume_suffix(path) in DICOM_SUFFIXES else None
    if header.text(Tag.MediaStorageSOPClassUID) == MediaStorageDirectoryStorage:  # a DICOMDIR
        return None
    return header.text(Tag.StudyInstanceUID)
