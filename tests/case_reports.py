"""Reports on data sets that were never read: tables as ``describe_cases`` gives them, from sizes and spacings."""

import numpy as np
import pandas as pd

from faimed3d.plan.report import CaseReport

AXES, SIZES = ("x", "y", "z"), ("width", "height", "depth")


def report_of(sizes, spacings, orientations=None, task="segmentation", codes=("background", "organ"), **columns):
    """A report; ``sizes`` and ``spacings`` are (cases, 3) along the storage axes x, y, z; None: nobody stated them."""
    sizes = np.asarray(sizes)
    table = pd.DataFrame({"case": [f"case {k}" for k in range(len(sizes))], "channels": 1, "error": "", "oddities": ""})
    for number, (axis, name) in enumerate(zip(AXES, SIZES, strict=True)):
        table[name] = table[f"box_{name}"] = sizes[:, number]
        table[f"spacing_{axis}"] = 1.0 if spacings is None else np.asarray(spacings)[:, number]
    table["orientation"] = "LPS" if orientations is None else list(orientations)
    table["stated"] = spacings is not None
    values = {"modality": "", "minimum": 0.0, "maximum": 900.0, "background": 0.1, "whole_mean": 200.0,
              "whole_std": 90.0,
              "two_values": False, "mean": 300.0, "std": 50.0, "p0.5": 100.0, "p99.5": 600.0}  # fmt: skip
    for name, value in {**values, **columns}.items():
        table[name] = value
    if task == "segmentation":
        table["foreground"] = 20
        for label in range(1, len(codes)):
            table[f"voxels_{label}"], table[f"components_{label}"] = 20, 1
    else:
        table["class"] = [codes[k % len(codes)] for k in range(len(table))]
    report = CaseReport(table)
    report.attrs.update(
        task=task,
        codes=list(codes),
        intensities=[{"mean": 40.0, "std": 120.0, "low": -160.0, "high": 240.0, "voxels": 1000}],
        columns={"fn_col": "image", "label_col": "mask" if task == "segmentation" else "label", "ignore_index": None,
                 "path": ".", "resample_masks": False, "like": None, "resample_to_first": False, "strict": True},
    )  # fmt: skip
    return report


def table_of(report):
    """A table of as many cases."""
    return pd.DataFrame({"image": report["case"], report.attrs["columns"]["label_col"]: report["case"]})
