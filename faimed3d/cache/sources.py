"""Which files a case is made of, with size and time of each: what tells later whether they are what they were.

A source is described as plain JSON. Of a DICOM folder every file counts, of a header its data file, too; what lies in
memory is described by its content.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from fastcore.foundation import L
from torch import Tensor

from faimed3d.cache.descriptions import describe, describe_array, digest
from faimed3d.dicom.grouping.scan import files_below, list_folder
from faimed3d.errors import no_such
from faimed3d.io.data_files import data_files_of
from faimed3d.volume import TensorDicom3D

Status = tuple[int, int]  # bytes, and time of the last change in ns

_TICK_NS, _COARSE_NS = 50 * 10**6, 2 * 10**9  # of the clocks of files; of those that know whole seconds alone


class FileStatus:
    """Size and time of files, each looked up once: many volumes may lie in one folder."""

    def __init__(self) -> None:
        self._files: dict[str, Status | None] = {}
        self._folders: dict[str, list[str]] = {}

    def of(self, path: str) -> Status | None:
        """Of a file; None where there is none."""
        if path not in self._files:
            try:
                status = os.stat(path)
                self._files[path] = status.st_size, status.st_mtime_ns
            except (FileNotFoundError, NotADirectoryError):
                self._files[path] = None
        return self._files[path]

    def inside(self, folder: str) -> list[str]:
        """The files in and below a folder that reading looks at; empty where there is no such folder."""
        if folder not in self._folders:
            try:
                files, links, folders = list_folder(folder)
                self._folders[folder] = [*files, *links, *files_below(folders)]
            except (FileNotFoundError, NotADirectoryError):
                self._folders[folder] = []
        return self._folders[folder]


def describe_source(source: Any, status: FileStatus) -> Any:
    """What a cell of a table says of a volume, as plain JSON with every file, its size and its time.

    Args:
        source: as ``VolumeColumn`` returns it: path, row of a DICOM inventory, array, image, or a list of these.
        status: looks up files.

    Raises:
        FileNotFoundError: there is no such file or folder.
    """
    if isinstance(source, list | tuple | L):
        return [describe_source(one, status) for one in source]
    if isinstance(source, str | Path):
        return _describe_path(os.path.abspath(source), status)
    if isinstance(source, pd.Series | Mapping):
        row = {str(name): value for name, value in dict(source).items() if name not in ("folder", "files")}
        folder = os.path.abspath(source["folder"])
        return {"volume": digest(describe(row)), **_describe_folder(folder, status)}
    if isinstance(source, np.ndarray | Tensor):
        return describe_array(source)
    return describe_array(TensorDicom3D.create(source))  # an image of another library


def _describe_path(path: str, status: FileStatus) -> dict[str, Any]:
    if os.path.isdir(path):
        return _describe_folder(path, status)
    found = [(file, status.of(file)) for file in (path, *data_files_of(path))]
    if found[0][1] is None:
        raise no_such(path)
    return {"files": [[file, *known] for file, known in found if known is not None]}


def _describe_folder(folder: str, status: FileStatus) -> dict[str, Any]:
    files = [(os.path.relpath(file, folder), status.of(file)) for file in status.inside(folder)]
    return {"folder": folder, "files": [[name, *(known or (0, 0))] for name, known in files]}


def changed_file(described: Any, status: FileStatus) -> str | None:
    """The first file of a described source that is not what it was; None where all are.

    Args:
        described: of :func:`describe_source`.
        status: looks up files.
    """
    for part in _parts(described):
        folder = part.get("folder")
        if folder is None:
            now = {file: status.of(file) for file, *_ in part["files"]}
        else:
            now = {os.path.relpath(file, folder): status.of(file) or (0, 0) for file in status.inside(folder)}
        then = {file: tuple(known) for file, *known in part["files"]}
        for name in {**then, **now}:
            if then.get(name) != now.get(name):
                return name if folder is None else os.path.join(folder, name)
    return None


def wait_until_settled(described: Any) -> None:
    """Wait until what is read now cannot change without its time changing, too: clocks of files tick slowly."""
    newest = max((row[2] for part in _parts(described) for row in part["files"]), default=0)
    tick = _TICK_NS if newest % 10**9 else _COARSE_NS
    age = time.time_ns() - newest  # below 0 where the clock of a server is ahead
    if age < tick:
        time.sleep(min(tick, tick - age) / 1e9)


def _parts(described: Any) -> Iterator[dict[str, Any]]:
    if isinstance(described, list):
        for one in described:
            yield from _parts(one)
    elif isinstance(described, dict) and "files" in described:
        yield described
