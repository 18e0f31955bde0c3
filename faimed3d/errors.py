"""What can be wrong with a file, a folder or an archive: one exception for each fault, all of them ``ReadError``."""

from __future__ import annotations

import os
import traceback
from typing import Any

__all__ = [
    "ArchiveError",
    "ArchiveUnavailable",
    "ChangedFile",
    "DamagedFile",
    "DuplicateSlices",
    "GantryTilt",
    "MissingGeometry",
    "MissingSlices",
    "MixedSeries",
    "NoImages",
    "NotStored",
    "ReadError",
    "SeveralVolumes",
    "TruncatedFile",
    "UnevenSlices",
    "UnsuitedScan",
    "UnsupportedImage",
    "UnsupportedModel",
]


class ReadError(ValueError):
    """A file or folder was refused; the message names it, the fault and the way out.

    >>> import tempfile
    >>> from faimed3d.io import read
    >>> with tempfile.TemporaryDirectory() as empty_folder:
    ...     try:
    ...         read(empty_folder)
    ...     except ReadError as error:
    ...         print(type(error).__name__)
    NoImages
    """


class NoImages(ReadError):
    """A folder holds no image that belongs to a volume."""


class SeveralVolumes(ReadError):
    """A folder holds several volumes and the caller has not said which one is meant."""


class MixedSeries(ReadError):
    """Slices of one series differ in what must be equal: matrix, pixel spacing, orientation, kind of image."""


class UnevenSlices(ReadError):
    """The gaps between slices differ."""


class MissingSlices(UnevenSlices):
    """The gaps between slices differ as if slices were missing."""


class DuplicateSlices(ReadError):
    """Two slices lie at one position."""


class GantryTilt(ReadError):
    """The slices drift in their own plane: the stack is sheared."""


class MissingGeometry(ReadError):
    """A header lacks spacing, position or orientation, or holds a value that cannot be one."""


class TruncatedFile(ReadError):
    """A file is shorter than its header says."""


class DamagedFile(ReadError):
    """A file's header or content contradicts itself or its checksum."""


class ChangedFile(ReadError):
    """A file was replaced by another since it was opened."""


class UnsupportedImage(ReadError):
    """The image is intact but of a kind that is no scalar volume (RGB, complex, 2D, ...)."""


class ArchiveError(ReadError):
    """An archive refuses what was asked of it, does not have it, or sends something else."""


class ArchiveUnavailable(ArchiveError):
    """An archive does not answer, is overloaded, or breaks off: what was asked for may work later."""


class NotStored(ArchiveError):
    """Some objects are not in the archive.

    Attributes:
        table: what became of each object, as ``DicomWeb.store`` returns it.
    """

    def __init__(self, message: str, table: Any = None) -> None:
        super().__init__(message)
        self.table = table


class UnsupportedModel(ReadError):
    """A model file is intact, but it is of another format, or needs a network or transform that is not known here."""


class UnsuitedScan(ReadError):
    """A scan is not such as the network was trained on."""


def no_such(path: str) -> FileNotFoundError:
    """The error for a path of nothing; it says what in the name of the path may be the reason.

    >>> str(no_such("scans\\\\a.nii"))
    'scans\\\\a.nii: no such file or folder; its parts are separated as on Windows: write / for \\\\'
    """
    reasons = (
        (path.startswith("file:/"), "leave file:// out"),
        ("['" in path and path.endswith("]"), "the text of a list, as CSV files keep it: give each file a column"),
        ("://" in path or path.startswith(("http:/", "https:/", "s3:/")), "an address: download it, and pass the file"),
        (os.sep == "/" and "\\" in path, "its parts are separated as on Windows: write / for \\"),
        (any(part != part.strip() for part in path.split("/")), "there are blanks at the ends of its names"),
        ("~" in path.split("/"), "~ is not replaced by your folder: os.path.expanduser(path) does so"),
    )
    reason = next((f"; {text}" for applies, text in reasons if applies), "")
    return FileNotFoundError(f"{path}: no such file or folder{reason}")


PACKAGE = os.path.dirname(os.path.abspath(__file__))


def is_ours(error: BaseException) -> bool:
    """Whether an error was raised in this library, or comes from the system; the text of another may quote a header."""
    frames = traceback.extract_tb(error.__traceback__)
    return isinstance(error, (OSError, ReadError)) or (bool(frames) and frames[-1].filename.startswith(PACKAGE))
