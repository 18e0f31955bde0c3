"""What ``propose`` is asked for, as far as it can be judged before a case is read, or from the report alone."""

from __future__ import annotations

import warnings
from typing import Any

import pandas as pd
import torch

from faimed3d.data.columns import columns_by_name
from faimed3d.data.splitting import named_groups, patient_column
from faimed3d.plan.checking import DEVICES
from faimed3d.plan.folds import make_folds
from faimed3d.plan.report import CaseReport


def kind_of(device: Any) -> str:
    """The kind of a device that can train."""
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except (RuntimeError, TypeError):
        kind = ""
    if kind not in DEVICES:
        raise ValueError(f"device must be one of {', '.join(map(repr, DEVICES))}, got {device!r}")
    return kind


def refuse_other_report(report: Any, df: pd.DataFrame) -> None:
    """Raise where a report is none of ``describe_cases``, or of other rows than the table."""
    if not isinstance(report, pd.DataFrame) or not {"task", "codes", "columns", "intensities"} <= set(report.attrs):
        raise TypeError("report must be of describe_cases(df), with its attrs, which a file of it does not keep")
    if not report.index.equals(df.index):
        raise ValueError(
            f"report is of other rows than the table, {len(report)} of them for {len(df)}: give the table that "
            "describe_cases has read"
        )


def warn_of_absent(report: CaseReport) -> None:
    """Warn of labels that have a name, or lie below those of the masks, and that no mask shows."""
    shown = {name.removeprefix("voxels_"): report[name].sum() for name in report if name.startswith("voxels_")}
    absent = [label for label, voxels in shown.items() if not voxels]
    named = report.attrs["codes"]
    absent += [str(label) for label in range(1, len(named)) if str(label) not in shown]
    if report.attrs["task"] == "segmentation" and absent and len(absent) < len(named) - 1:
        warnings.warn(
            f"no mask holds a voxel of {', '.join(named[int(label)] for label in absent[:5])}"
            f"{', ...' if len(absent) > 5 else ''}, though the network has a class for each label up to the highest: "
            "renumber the labels of the masks (faimed3d.masks.reduce_classes) to leave them out",
            stacklevel=4,
        )


class Patients:
    """Whose the cases are, and the folds that the table says; looked at before anything is read."""

    def __init__(self, df: pd.DataFrame, group_col: Any) -> None:
        if not isinstance(df, pd.DataFrame):
            raise TypeError(f"df must be a DataFrame, one row a case, got {type(df).__name__}")
        self.column = patient_column(df) if group_col is None else columns_by_name(df, group_col)
        self.of_cases = pd.Series(range(len(df))) if self.column is None else named_groups(df, self.column)
        self.folds = make_folds(df, group_col=self.column) if "fold" in df.columns else None
