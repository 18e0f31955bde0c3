"""The report of a folder of predictions as one page: every case in the viewer, what is wrong first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from faimed3d.browser.case import mean_dice
from faimed3d.browser.list_heads import head_of
from faimed3d.browser.page import Entry
from faimed3d.browser.view import share_of, view_3d, write_page
from faimed3d.inference.dicom_results import object_there
from faimed3d.inference.members import class_codes
from faimed3d.inference.plausibility import implausible, unusual_volumes
from faimed3d.inference.source import Source, read_as_prepared, read_as_told
from faimed3d.io.formats import volume_suffix
from faimed3d.volume import TensorMask3D

_FAILED, _FLAGGED, _FINE = -2.0, 1.5, 2.0  # ranks; a mean Dice with the truth is 0 to 1


def write_case_page(
    learn: Any,  # what predict_folder takes
    path: Path,
    sources: Sequence[Source],
    table: pd.DataFrame,
    truths: Sequence[Any] | None,
    form: str | None,
    told: Mapping[str, Any],
) -> None:
    """Write the page of ``predict_folder``: failed cases first, then the worst Dice, then the implausible.

    Args:
        learn: reads the sources, as it read them for the predictions.
        path: the ``.html`` file.
        sources: the cases.
        table: the report, one row for each.
        truths: true masks, paths or tensors, or None.
        form: of the DICOM objects of the results; None for other files.
        told: arguments of ``predict_volume``, some of which say how sources are read.
    """
    classes = table.attrs["classes"]
    volumes = [{} if row["error"] else {name: float(row[name]) for name in classes} for _, row in table.iterrows()]
    unusual = unusual_volumes(volumes)
    known = [None] * len(sources) if truths is None else truths
    rows = [row for _, row in table.iterrows()]

    def entries() -> Iterator[Entry]:
        for source, row, truth, flags in zip(sources, rows, known, unusual, strict=True):
            try:
                yield _entry(learn, source, row, truth, flags, form, told, share_of(len(rows)))
            except Exception as error:  # one case that cannot be shown must not take the page of all others
                yield Entry(
                    None, {}, head_of(_name(row), None, flags=[f"cannot be shown: {type(error).__name__}"]), _FAILED
                )

    write_page(path, entries(), "Predictions")


def _entry(
    learn: Any,
    source: Source,
    row: pd.Series,
    truth: Any,
    flags: Sequence[str],
    form: str | None,
    told: Mapping[str, Any],
    most: int,
) -> Entry:
    if row["error"]:
        kind = row["error"].partition(":")[0]
        return Entry(
            None, {}, head_of(_name(row), None, flags=[f"failed ({kind}): see the table of the report"]), _FAILED
        )
    image = read_as_prepared(
        learn, read_as_told(learn, source, told.get("strict", True), told.get("series"), told.get("like"))
    )
    if form is None:
        mask = TensorMask3D.create(row["output"], dtype=None)
    elif Path(row["output"]).exists():
        mask = object_there(Path(row["output"]), form, image)
    else:  # of no class no object is written
        mask = TensorMask3D(torch.zeros(image.shape[-3:]), like=image)
    mask.codes = mask.codes or class_codes(learn)
    facts, all_flags = [], [*flags]
    if truth is None or truth is pd.NA or (isinstance(truth, float) and np.isnan(truth)):
        view = view_3d(image, mask, names=("prediction", "other"))
        found, rank = view.case.labels[0], None
    else:
        known = truth if isinstance(truth, TensorMask3D) else TensorMask3D.create(truth, dtype=None)
        if known.geometry is None or not known.geometry.stated:
            known = TensorMask3D(known, like=mask)
        known.codes = known.codes or class_codes(learn)
        view = view_3d(image, known, mask, names=("truth", "prediction"))
        view.shown = "errors"
        found, rank = view.case.labels[1], mean_dice(*view.case.labels[:2])
        facts.append(f"Dice with the truth: {rank:.3f}")
    all_flags += implausible(found)
    all_flags += ["warned while it was read or predicted: see the table of the report"] if row["warnings"] else []
    if rank is None:
        rank = _FLAGGED if all_flags else _FINE
    return view.entry(most, head_of(_name(row), view.case, view.position, facts, all_flags), rank)


def _name(row: pd.Series) -> str:
    name = Path(row["output"]).name
    return name[: len(name) - len(volume_suffix(name))]
