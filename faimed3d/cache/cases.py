"""The cases of a cache: a table of them, and the file of each."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from fastai.data.block import TransformBlock
from fasttransform import Pipeline

from faimed3d.cache.case_file import CaseFile
from faimed3d.cache.case_reading import CaseReading
from faimed3d.cache.sources import FileStatus, changed_file
from faimed3d.cache.space import in_words
from faimed3d.data.cells import VolumeColumn
from faimed3d.data.columns import TargetColumn
from faimed3d.errors import ReadError

SUFFIX = ".safetensors"
_CASE = re.compile(rf"[0-9a-f]{{64}}{re.escape(SUFFIX)}")
_LISTED = 5


class CacheError(ValueError):
    """Cases of a cache could not be made, or are not there.

    Args:
        text: what is wrong, and what to do.
        failed: index of the row -> what went wrong with it.

    >>> CacheError("1 case could not be made", {3: "empty"}).failed
    {3: 'empty'}
    """

    def __init__(self, text: str, failed: Mapping[Any, str] | None = None) -> None:
        super().__init__(text)
        self.failed = dict(failed or {})


class StaleCache(CacheError):
    """Files that cases were made of are not what they were.

    >>> issubclass(StaleCache, CacheError)
    True
    """


@dataclass(frozen=True, eq=False, repr=False)
class Cache:
    """Cases that are read once and lie ready in a folder, one file each, as :func:`preprocess` makes them.

    ``len(cache)`` is the number of cases; ``cache[i]`` is the :class:`CaseFile` of row ``i`` of ``cache.table``.

    Args:
        folder: where the files lie.
        table: the rows of the cases, in order.
        fn_col, label_col: columns of the image and of the target.
        reading: the arguments of reading, and the transforms.
        path, suff: as of :func:`preprocess`.
        keys: of the cases, in order.
        sources: of the cases, described.
        y_block: block of targets that are no masks.

    >>> import tempfile
    >>> import numpy as np
    >>> from faimed3d.cache import preprocess
    >>> table = pd.DataFrame({"image": [np.zeros((2, 3, 4))], "mask": [np.ones((2, 3, 4), np.uint8)]})
    >>> folder = tempfile.TemporaryDirectory()
    >>> cache = preprocess(table, folder.name, label_col="mask", n_jobs=1, progress=False)
    >>> len(cache), cache[0].shape, cache.codes
    (1, (1, 2, 3, 4), ('0', '1'))
    >>> folder.cleanup()
    """

    folder: Path
    table: pd.DataFrame
    fn_col: Any
    label_col: Any
    reading: CaseReading
    path: Path
    suff: str
    keys: tuple[str, ...]
    sources: tuple[Any, ...] = field(default=())
    y_block: Any = None

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, i: int) -> CaseFile:
        self.require_all()
        case = CaseFile(self.file(i))
        if case.key != self.keys[i]:
            raise CacheError(
                f"{case.path}: holds the case of another key, {case.key}: were files of the cache renamed? Call "
                "preprocess again, with the same arguments, which makes this case anew"
            )
        return case

    def __iter__(self) -> Iterator[CaseFile]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        missing = f", {len(self.missing)} not made yet" if self.missing else ""
        return f"Cache({len(self)} cases in {self.folder}{missing})"

    def file(self, i: int) -> Path:
        """Where the file of a case lies, or will lie.

        Args:
            i: number of the row; -1 is the last one.
        """
        return self.folder / f"{self.keys[operator.index(i)]}{SUFFIX}"

    @property
    def missing(self) -> list[int]:
        """Numbers of the rows whose case was not made yet, as other parts of ``part=(k, n)`` will."""
        there = {entry.name for entry in self.folder.iterdir()} if self.folder.is_dir() else set()
        return [i for i, key in enumerate(self.keys) if f"{key}{SUFFIX}" not in there]

    def require_all(self) -> None:
        """Raise a ``CacheError`` if cases are not there; once they were, they are not looked for again."""
        if not vars(self).get("_complete"):
            if missing := self.missing:
                raise CacheError(
                    f"{self.folder}: {len(missing)} of {len(self)} cases are not there yet, such as row "
                    f"{self.table.index[missing[0]]!r}: run the other parts, part=(k, n), or preprocess without part"
                )
            vars(self)["_complete"] = True

    def check(self) -> None:
        """Look whether every source file is what it was when its case was made: one look at the status of each file.

        Raises:
            StaleCache: one has changed, or is gone; the message names the cases.
            CacheError: cases are not there.
        """
        self.require_all()
        status = FileStatus()
        changed = {
            index: file
            for index, source in zip(self.table.index, self.sources, strict=True)
            if (file := changed_file(source, status)) is not None
        }
        if changed:
            listed = "; ".join(f"row {index!r}: {file}" for index, file in list(changed.items())[:_LISTED])
            more = f"; and {len(changed) - _LISTED} more" if len(changed) > _LISTED else ""
            raise StaleCache(
                f"{self.folder}: the files of {len(changed)} of {len(self)} cases have changed, or are gone, since the "
                f"cache was made ({listed}{more}): call preprocess again, with the same arguments, which makes these "
                "cases anew",
                {index: f"{file} has changed" for index, file in changed.items()},
            )

    @property
    def item_tfms(self) -> list[Any]:
        """The transforms that the cases went through, in the order in which they act."""
        return list(Pipeline(list(self.reading.item_tfms)).fs) if self.reading.item_tfms else []

    @property
    def orientation(self) -> str | None:
        """Storage order of all cases, before their transforms, such as 'LPS'; None where nothing was known."""
        return self.reading.orientation

    @cached_property
    def codes(self) -> tuple[str, ...] | None:
        """Names of the labels, from 0 on: those that were given, else numbers; None where the target is no mask."""
        if not self.reading.masks:
            return None
        return self.reading.codes or tuple(map(str, range(max(2, 1 + max(self.labels, default=0)))))

    @cached_property
    def labels(self) -> tuple[int, ...]:
        """Labels that the masks hold, without ``ignore_index``."""
        if not self.reading.masks:
            return ()
        found = {int(label) for case in self for label in case.labels}
        return tuple(sorted(found - {self.reading.ignore_index}))

    def raw_blocks(self) -> tuple[TransformBlock, ...]:
        """Blocks that read the raw scans of the table as the cases were read: of the image, and of the target.

        With ``get_x``, ``get_y`` and ``item_tfms`` they are what a fastai ``DataBlock`` needs.
        """
        if self.reading.masks:
            return self.reading.blocks(self.codes)
        return (*self.reading.blocks(), deepcopy(self.y_block))  # its classes are those of one training side

    @property
    def get_x(self) -> VolumeColumn:
        """Reads the source of the image from a row of the table."""
        return VolumeColumn(self.fn_col, self.path, self.suff)

    @property
    def get_y(self) -> Any:  # a transform
        """Reads the target from a row of the table: the source of the mask, or what the column holds."""
        return VolumeColumn(self.label_col, self.path) if self.reading.masks else TargetColumn(self.label_col)

    def unused(self) -> list[Path]:
        """Files of cases in the folder that are none of these: of other arguments, sources or versions."""
        known = {f"{key}{SUFFIX}" for key in self.keys}
        return sorted(path for path in self.folder.iterdir() if _CASE.fullmatch(path.name) and path.name not in known)

    def prune(self) -> str:
        """Delete the files of :meth:`unused`; another cache in this folder will have to make its cases anew.

        Returns:
            How many they were, and how many bytes.
        """
        files = self.unused()
        total = sum(path.stat().st_size for path in files)
        for path in files:
            path.unlink(missing_ok=True)
        return f"{len(files)} files, {in_words(total)}"


def is_case(path: Path, key: str) -> bool:
    """Whether a whole file of that key lies there; one that was cut when it was copied is none."""
    try:
        return path.is_file() and CaseFile(path).key == key
    except (ReadError, OSError):
        return False
