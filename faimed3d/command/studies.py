"""A study that is to be served, wherever it came from, and when it is whole."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import pandas as pd


class Study(Protocol):
    """What belongs together: the files of one study, or a series of an archive."""

    @property
    def key(self) -> str:
        """Short, stable, without patient data."""

    @property
    def name(self) -> str:
        """For the log: a folder, a file, or a description."""

    @property
    def signature(self) -> str:
        """Of what there is of it: another one means that something came or changed."""

    def volumes(self) -> pd.DataFrame:
        """Its volumes as rows of an inventory, whose files are on this machine.

        Raises:
            ReadError: it holds none that can be read.
        """

    def signature_of(self, files: Sequence[str]) -> str:
        """Of some of its files, as of all."""

    def release(self) -> None:
        """All is done: what was fetched may go."""


class StudySource(Protocol):
    """Where studies come to."""

    def look(self) -> Sequence[Study]:
        """All that is there now."""

    def deliver(self, files: Sequence[str]) -> None:
        """Bring results to where they belong, those that are not there yet."""


@dataclass
class Settling:
    """Which studies have not changed for a time: the others are still being received.

    Args:
        quiet: seconds without a change.
    """

    quiet: float
    _since: dict[str, tuple[str, float]] = field(default_factory=dict)

    def settled(self, studies: Sequence[Study], now: float) -> list[Study]:
        """Those that are as they were ``quiet`` seconds ago, and at each look since; the longest unchanged first.

        Args:
            studies: all that there are now.
            now: seconds of a clock that never goes back.
        """
        before, self._since = self._since, {}
        for study in studies:
            signature, since = before.get(study.key, ("", now))
            self._since[study.key] = study.signature, since if signature == study.signature else now
        waiting = sorted(studies, key=lambda study: self._since[study.key][1])
        return [study for study in waiting if now - self._since[study.key][1] >= self.quiet]


def hash_of(*words: str) -> str:
    """A short name for words: UIDs lead to a patient, and no hash leads out of a folder."""
    return hashlib.blake2b("\0".join(words).encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
