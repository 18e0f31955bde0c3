"""What ``faimed3d serve`` has done: one small JSON file for each study, written whole or not at all, and a lock."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any  # of what JSON holds

from faimed3d.command.output import finished_file
from faimed3d.errors import DamagedFile

_FOLDER = "served"  # within the folder of the results
_FORMAT = 1
_LOCK, _SINCE, _MADE_BY = "lock", "since.txt", "made_by.txt"

WRITTEN, DELIVERED, EMPTY, FAILED = "written", "delivered", "nothing found", "failed"


@dataclass
class CaseRecord:
    """What became of one volume.

    Attributes:
        signature: of its files, as they were when it was looked at.
        outcome: ``WRITTEN`` (the result is here, and may not be in the archive yet), ``DELIVERED``, ``EMPTY`` (no
            class was found, so that no object can be written) or ``FAILED`` (refused, too).
        outputs: names of the files of the result.
        why: of a failed case.
    """

    signature: str
    outcome: str
    outputs: list[str] = field(default_factory=list)
    why: str = ""


@dataclass
class StudyRecord:
    """What became of a study.

    Attributes:
        signature: of its files, when all of it was done; '' while there is something to do.
        why: why it holds nothing that could be read, if so.
        cases: by the key of the volume.
    """

    signature: str = ""
    why: str = ""
    cases: dict[str, CaseRecord] = field(default_factory=dict)


class Records:
    """The records of all studies in ``OUT/served``; they are read and written while they are ``locked``.

    Args:
        out: folder of the results.
    """

    def __init__(self, out: str) -> None:
        self.folder = os.path.join(out, _FOLDER)

    def read(self, key: str) -> StudyRecord:
        """The record of a study; an empty one where there is none.

        Raises:
            DamagedFile: the file is no record: nobody can say what was done.
        """
        path = self._path(key)
        try:
            with open(path, encoding="utf-8") as file:
                content = json.load(file)
            if content.pop("format") != _FORMAT:
                raise KeyError
            cases = {name: CaseRecord(**case) for name, case in content.pop("cases").items()}
            names = [name for case in cases.values() for name in case.outputs]
            if any(os.path.basename(name) != name for name in names):  # they are removed when their scan changes
                raise ValueError
            return StudyRecord(**content, cases=cases)
        except FileNotFoundError:
            return StudyRecord()
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DamagedFile(
                f"{path}: is no record of faimed3d serve that this version can read. Delete it, and its study is "
                "served anew"
            ) from None

    def write(self, key: str, record: StudyRecord) -> None:
        """Keep a record."""
        content: dict[str, Any] = {"format": _FORMAT, **asdict(record)}
        with finished_file(self._path(key)) as made, open(made, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)

    def first_day(self, day: str, renew: bool = False) -> str:
        """The day from which studies of an archive are served: that of the first start, or a new one.

        Args:
            day: of this start, as 20261129.
            renew: whether it takes the place of the one before.
        """
        path = os.path.join(self.folder, _SINCE)
        if os.path.exists(path) and not renew:
            with open(path, encoding="utf-8") as file:
                return file.read().strip()
        with finished_file(path) as made, open(made, "w", encoding="utf-8") as file:
            file.write(day)
        return day

    def refuse_others(self, made_by: Mapping[str, str]) -> None:
        """Note by what the results are made; nobody could tell which of them are of which model.

        Args:
            made_by: what makes them now, such as the model.

        Raises:
            ValueError: something else made those that are there.
        """
        path = os.path.join(self.folder, _MADE_BY)
        content = "".join(f"{name} {value}\n" for name, value in made_by.items())
        if not os.path.exists(path):
            with finished_file(path) as made, open(made, "w", encoding="utf-8") as file:
                file.write(content)
            return
        with open(path, encoding="utf-8") as file:
            before = dict(line.split(" ", 1) for line in file.read().splitlines() if " " in line)
        if other := [name for name, value in made_by.items() if before.get(name) != value]:
            raise ValueError(
                f"{os.path.dirname(self.folder)}: holds results of another {' and '.join(other)}, and studies that "
                f"were served are not served again. Give another --out; or delete {path}, and new studies are served "
                "into this one"
            )

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder, which is made if need be: two processes would do everything twice.

        The lock goes with the process, however it ends.

        Raises:
            FileExistsError: another process holds it.
        """
        os.makedirs(self.folder, exist_ok=True)
        path = os.path.join(self.folder, _LOCK)
        with open(path, "a", encoding="utf-8") as file:
            try:
                _lock(file.fileno())
            except (BlockingIOError, PermissionError):  # the latter on Windows
                raise FileExistsError(
                    f"{os.path.dirname(self.folder)}: another faimed3d serve works with this folder. Give each its own"
                ) from None
            yield

    def _path(self, key: str) -> str:
        return os.path.join(self.folder, f"{key}.json")


def _lock(number: int) -> None:
    """Lock an open file, or raise an OSError if another process has locked it."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(number, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        return
    fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
