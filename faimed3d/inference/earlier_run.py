"""What an earlier run has left in a folder: whether a file there is the prediction of this very case by this model."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from fastai.learner import Learner
from fastai.torch_core import get_model
from torch import Tensor

from faimed3d.errors import ReadError
from faimed3d.inference.members import Predictor, loaded, members_of
from faimed3d.inference.model_file import digest_of
from faimed3d.inference.source import Source, read_as_prepared, read_as_told, text_of
from faimed3d.volume import TensorMask3D

Rows = Mapping[str, Mapping[str, str]]  # of a report, by the names of outputs

_TOLERANCE = 0.05  # of a voxel: what rounding in headers moves the far corner of a volume


def rows_of(report: Path | None) -> dict[str, dict[str, str]]:
    """The rows of the cases that the report of an earlier run has, by the names of their outputs.

    Args:
        report: CSV file; None for none.

    Raises:
        ValueError: the file is no report, and would be lost.
    """
    if report is None or not report.exists():
        return {}
    try:
        table = pd.read_csv(report, dtype=str, keep_default_na=False)
    except pd.errors.EmptyDataError:
        return {}
    except (ValueError, OSError):
        table = pd.DataFrame()
    if not {"source", "output", "error"} <= {*table}:
        raise ValueError(f"{report}: is no report of an earlier run, so it stays. Choose another name for the report")
    return {Path(row["output"]).name: row for row in table.to_dict("records") if not row["error"]}


def as_written(text: str) -> str:
    """A text as a report has it: names of files need not be text of any character set."""
    return text.encode("utf-8", "backslashreplace").decode()


def mark_of_model(learn: Learner | Predictor) -> str:
    """A short name for the weights of all networks: one of a file has that of the learner that was exported."""
    total = hashlib.blake2b(digest_size=6)
    for member in members_of(learn):
        with loaded(member):
            state = get_model(member.model).state_dict()
            total.update(digest_of({name: one.as_subclass(Tensor).cpu() for name, one in state.items()}).encode())
    return total.hexdigest()


def mark_of_files(paths: Iterable[str | os.PathLike[str]]) -> str:
    """A short name for the state of files, by their sizes and times; '' where there are none.

    Args:
        paths: of files, and of folders whose files are meant.
    """
    found = []
    for path in paths:
        with contextlib.suppress(OSError):  # what is no path here, such as the name of a class
            files = [one.path for one in os.scandir(path) if one.is_file()] if os.path.isdir(path) else [path]
            states = [os.stat(file) for file in files]
            found += [f"{state.st_size} {state.st_mtime_ns}" for state in states]
    return hashlib.blake2b("\n".join(sorted(found)).encode(), digest_size=6).hexdigest() if found else ""


def refuse_of_another(
    learn: Learner | Predictor,
    source: Source,
    output: Path,
    mask: TensorMask3D,
    earlier: Rows,
    marks: Mapping[str, str],
    told: Mapping[str, Any],
) -> None:
    """Raise a ValueError if a file that is there is no prediction of ``source`` as it is by this model.

    The report of the earlier run says what a file was predicted from, and by which model. Without one the grids are
    compared, for which the scan is read; a scan that is gone cannot be compared.

    Args:
        learn: reads the source.
        source: the case.
        output, mask: the file that is there, and what it holds.
        earlier: of :func:`rows_of`.
        marks: ``model`` and ``state`` as the report has them: names for the weights, and for the files of the source.
        told: arguments of ``predict_volume``; some say how the source is read.
    """
    row, text = earlier.get(as_written(output.name), {}), as_written(text_of(source))
    before = row.get("source")
    advice = "pass overwrite=True, another folder for out, or names"
    if _differs("model", row, marks):
        raise ValueError(
            f"{output} is there already, and the report beside it says that another model has predicted it: pass "
            "overwrite=True, or another folder for out"
        )
    if before is not None and text != f"a {type(source).__name__}":
        if before != text and Path(before).resolve() != Path(text).resolve():
            raise ValueError(
                f"{output} is there already, and the report beside it says that it was predicted from {before}: "
                f"{advice}. If the scans were moved, delete the report; the grids of scans and masks are compared then"
            )
        if _differs("state", row, marks):
            raise ValueError(
                f"{output} is there already, but the files of the scan are others than they were when it was predicted:"
                " pass overwrite=True. If they are what they were, delete the report; the grids are compared then"
            )
        return
    with contextlib.suppress(ReadError, OSError):
        told_source = read_as_told(learn, source, told.get("strict", True), told.get("series"), told.get("like"))
        there = read_as_prepared(learn, told_source).geometry
        if mask.geometry is not None and there is not None and not mask.geometry.agrees(there, _TOLERANCE):
            raise ValueError(
                f"{output} is there already, but lies elsewhere: {mask.geometry!r}, not {there!r}: {advice}"
            )


def _differs(what: str, row: Mapping[str, str], marks: Mapping[str, str]) -> bool:
    """Whether both say what it is, and not the same; reports of older versions say nothing."""
    return bool(row.get(what) and marks.get(what)) and row[what] != marks[what]
