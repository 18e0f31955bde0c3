"""Folders in which files are made before they get their names: what is written appears whole or not at all.

Such a folder lies beside its target, is called ``.writing-...`` and holds a locked file while its process lives. The
lock is the kernel's, which lets go of it when the process ends in whatever way, so that a folder without one is
nobody's: the next process that writes there removes it.

A reader tells by :func:`state_of` that a file was replaced meanwhile.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import stat
import tempfile
import threading

try:
    import fcntl
except ImportError:  # Windows has no flock: folders left behind stay there
    fcntl = None  # type: ignore[assignment]

__all__ = ["SCRATCH_PREFIX", "put", "scratch_folder", "state_of"]

SCRATCH_PREFIX = ".writing-"
_LOCK = ".lock"
_swept: set[str] = set()


@contextlib.contextmanager
def scratch_folder(target):
    """Make a folder beside ``target``, and remove it at the end with all that is still in it.

    It is removed as well when SIGTERM ends the process, unless the program handles that signal itself. After SIGKILL or
    a loss of power it stays, with what was written so far, until a later process writes beside it.

    Args:
        target: path of the file or folder to be written; its parent must exist.

    Raises:
        OSError: the folder cannot be made; the error names ``target``. Any OSError from within the block that has
            nothing to say about another file is raised again with the name of ``target``.
    """
    parent = os.path.dirname(os.path.abspath(target))
    _sweep(parent)
    with _named(target), _tidy_end() as ending:
        folder = tempfile.mkdtemp(prefix=SCRATCH_PREFIX, dir=parent)
        owner, lock = os.getpid(), None
        try:
            lock = _own(folder)
            ending.may_come(True)
            yield folder
        finally:
            ending.may_come(False)
            if os.getpid() == owner:  # a forked child may come here, too
                shutil.rmtree(folder, ignore_errors=True)
            if lock is not None:
                os.close(lock)


def put(source, final):
    """Give a finished file its name; it keeps the permissions of the file that it replaces."""
    with contextlib.suppress(FileNotFoundError):
        os.chmod(source, stat.S_IMODE(os.stat(final).st_mode))
    os.replace(source, final)


def state_of(status):
    """What of an ``os.stat_result`` is another for another content: size, and times of content and status in ns.

    The number of a file is left out: some network file systems give a new one to a file that they forgot.
    """
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


@contextlib.contextmanager
def _named(target):
    """Let errors name the file that was asked for, not the one in a folder nobody knows."""
    try:
        yield
    except OSError as error:
        inner = str(error.filename or "")
        if error.errno is None or (inner and SCRATCH_PREFIX not in inner):
            raise
        raise OSError(error.errno, f"could not be written: {error.strerror}", os.fspath(target)) from None


def _own(folder):
    """Put the locked file into the folder, under its name only when it is locked."""
    new = os.path.join(folder, f"{_LOCK}-new")
    lock = _locked(new, os.O_CREAT)
    if lock is not None:
        os.rename(new, os.path.join(folder, _LOCK))
    return lock


def _locked(path, flags=0):
    """File descriptor with an exclusive lock on ``path``; None if another process holds it or there are no locks."""
    if fcntl is None:
        return None
    number = os.open(path, os.O_RDWR | flags, 0o600)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held by its owner, or a file system without locks
        os.close(number)
        return None
    return number


def _sweep(parent):
    """Remove folders that processes left behind when they were killed; once per folder, for a listing takes time."""
    if parent in _swept or fcntl is None:
        return
    _swept.add(parent)
    with contextlib.suppress(OSError), os.scandir(parent) as entries:
        left = [e.path for e in entries if e.name.startswith(SCRATCH_PREFIX) and e.is_dir(follow_symlinks=False)]
        for folder in left:
            # without the locked file it is of another program, or its owner has only just made it
            with contextlib.suppress(OSError):
                lock = _locked(os.path.join(folder, _LOCK))
                if lock is not None:
                    shutil.rmtree(folder, ignore_errors=True)
                    os.close(lock)


class _Ended(BaseException):
    """SIGTERM came."""


class _Ending:
    """Handler of SIGTERM that raises where it may, and else notes that it came.

    In a child that another thread forked meanwhile nothing is to be removed, and nobody looks at the note: it ends.
    """

    def __init__(self):
        self.allowed = self.came = False
        self.owner = os.getpid()

    def __call__(self, number, frame):
        if os.getpid() != self.owner:
            _end_at_once()
        self.came = True
        self.may_come(self.allowed)

    def may_come(self, allowed):
        self.allowed = allowed and not self.came
        if allowed and self.came:
            raise _Ended


@contextlib.contextmanager
def _tidy_end():
    """Let SIGTERM, where it would end the process at once, end it after the block was left, as by that signal.

    A program's own handler is left alone. So are child processes: torch's workers have a handler that Python does not
    know of.
    """
    ending = _Ending()
    main = threading.current_thread() is threading.main_thread() and multiprocessing.parent_process() is None
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield ending
        return
    signal.signal(signal.SIGTERM, ending)
    try:
        yield ending
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if ending.came:
            _end_at_once()


def _end_at_once():
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
