"""Atomic writing: a file or folder appears under its name whole or not at all.

It is made in a temporary folder beside its target, written through to the disk, and renamed. The temporary folder goes
when the writing ends, with success or with an exception. A process that is killed leaves it behind, and never half a
target; a later process that writes beside it removes it once nothing in it has changed for a week.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator

UNFINISHED_PREFIX = ".faimed3d-writing-"  # readers of folders leave out what begins so
_ABANDONED_AFTER = 7 * 24 * 3600  # seconds without a change; longer than any process waits between two writes
_swept: set[str] = set()


@contextlib.contextmanager
def unfinished_folder(target: str | os.PathLike[str]) -> Iterator[str]:
    """Make a temporary folder beside ``target``, and remove it at the end with all that is still in it.

    Args:
        target: path of the file or folder to be written; its parent must exist.

    Raises:
        OSError: the folder cannot be made; the error names ``target``. An OSError from within the block that names no
            file outside the temporary folder is raised again with the name of ``target``.
    """
    parent = os.path.dirname(os.path.abspath(target))
    with _errors_naming(target):
        folder = tempfile.mkdtemp(prefix=UNFINISHED_PREFIX, dir=parent)
        try:
            _remove_abandoned(parent, now=os.stat(folder).st_mtime)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def replace_file(source: str, target: str) -> None:
    """Give a finished file its name; it keeps the permissions of the file that it replaces."""
    sync_file(source)
    with contextlib.suppress(FileNotFoundError):
        os.chmod(source, stat.S_IMODE(os.stat(target).st_mode))
    os.replace(source, target)
    sync_names(os.path.dirname(target))


def replace_empty_folder(source: str, target: str) -> None:
    """Give a finished folder its name; an empty one of that name makes way and leaves its permissions.

    Args:
        source: a folder of files.
        target: its path to be.

    Raises:
        FileExistsError: something else lies at ``target``.
    """
    for name in os.listdir(source):
        sync_file(os.path.join(source, name))
    sync_names(source)
    if os.path.isdir(target):
        os.chmod(source, stat.S_IMODE(os.stat(target).st_mode))
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise FileExistsError(f"{target}: something else was written there meanwhile; it stays") from None
        raise
    sync_names(os.path.dirname(target))


def sync_file(path: str) -> None:
    """Wait until what a file holds is on the disk."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def sync_names(folder: str) -> None:
    """Wait until the names in a folder are on the disk, where the system can say so: Windows opens no folder."""
    with contextlib.suppress(OSError):
        number = os.open(folder or ".", os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


@contextlib.contextmanager
def _errors_naming(target):
    """Let errors name the file that was asked for, not the one in a folder nobody knows."""
    try:
        yield
    except OSError as error:
        inner = str(error.filename or "")
        if error.errno is None or (inner and UNFINISHED_PREFIX not in inner):
            raise
        raise OSError(error.errno, f"could not be written: {error.strerror}", os.fspath(target)) from None


def _remove_abandoned(parent, now):
    """Remove what killed processes left in a folder; once per folder and process, for a listing takes time.

    ``now`` is the time of a file made just now: the clock of a file server may differ from ours.
    """
    if parent in _swept:
        return
    _swept.add(parent)
    with contextlib.suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if entry.name.startswith(UNFINISHED_PREFIX) and entry.is_dir(follow_symlinks=False):
                with contextlib.suppress(OSError):  # another process removes it, too
                    if now - _last_change(entry.path) > _ABANDONED_AFTER:
                        shutil.rmtree(entry.path, ignore_errors=True)


def _last_change(folder):
    """Time of the last change of a folder or of anything in it."""
    paths = [os.path.join(inside, name) for inside, folders, files in os.walk(folder) for name in folders + files]
    return max(os.lstat(path).st_mtime for path in [folder, *paths])
