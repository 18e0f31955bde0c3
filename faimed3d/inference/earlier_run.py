"""What an earlier run has left in a folder: whether a file there is the prediction of this very case."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from fastai.learner import Learner

from faimed3d.errors import ReadError
from faimed3d.inference.members import Predictor
from faimed3d.inference.source import Source, read_as_prepared, read_as_told, text_of
from faimed3d.volume import TensorMask3D

_TOLERANCE = 0.05  # of a voxel: what rounding in headers moves the far corner of a volume


def sources_of(report: Path | None) -> dict[str, str]:
    """Output -> source, as the report of an earlier run has them; none where there is no such report.

    Args:
        report: CSV file; None for none.
    """
    if report is None or not report.is_file():
        return {}
    with contextlib.suppress(ValueError, KeyError):  # a table of another kind
        table = pd.read_csv(report, dtype=str, keep_default_na=False)
        return {str(Path(row["output"]).name): row["source"] for _, row in table.iterrows() if not row["error"]}
    return {}


def refuse_of_another(
    learn: Learner | Predictor,
    source: Source,
    output: Path,
    mask: TensorMask3D,
    earlier: Mapping[str, str],
    told: Mapping[str, Any],
) -> None:
    """Raise a ValueError if a file that is there is no prediction of ``source``: of another scan of the same name.

    The report of the earlier run says what a file was predicted from. Without one the grids are compared, for which the
    scan is read; a scan that is gone cannot be compared.

    Args:
        learn: reads the source.
        source: the case.
        output, mask: the file that is there, and what it holds.
        earlier: of :func:`sources_of`.
        told: arguments of ``predict_volume``; some say how the source is read.
    """
    before, text = earlier.get(output.name), text_of(source)
    advice = "pass overwrite=True, another folder for out, or names"
    if before is not None and text != f"a {type(source).__name__}":
        if before != text and Path(before).resolve() != Path(text).resolve():
            raise ValueError(
                f"{output} is there already, and the report beside it says that it was predicted from {before}: "
                f"{advice}. If the scans were moved, delete the report; the grids of scans and masks are compared then"
            )
        return
    with contextlib.suppress(ReadError, OSError):
        told_source = read_as_told(source, told.get("strict", True), told.get("series"), told.get("like"))
        there = read_as_prepared(learn, told_source).geometry
        if mask.geometry is not None and there is not None and not mask.geometry.agrees(there, _TOLERANCE):
            raise ValueError(
                f"{output} is there already, but lies elsewhere: {mask.geometry!r}, not {there!r}: {advice}"
            )
