"""``faimed3d inventory``: the table of the DICOM volumes below a folder, as text and as CSV."""

from __future__ import annotations

import argparse
import math

import pandas as pd

from faimed3d.command.exit_codes import DONE
from faimed3d.command.output import finished_file, refuse_existing
from faimed3d.command.progress import bars_on_stderr
from faimed3d.dicom import dicom_inventory

_SHOWN = ("key", "modality", "slices", "spacing", "orientation", "description", "distinct", "folder")


def run(options: argparse.Namespace) -> int:
    """List the volumes; what cannot be read is a row or a line of the list, and no failure."""
    if options.csv:
        refuse_existing(options.csv, options.overwrite)
    with bars_on_stderr():
        table = dicom_inventory(options.folder)
    if options.csv:
        with finished_file(options.csv) as made:
            table.drop(columns="files").to_csv(made, index=False, errors="backslashreplace")
    for line in lines_of(table):
        print(line)
    return DONE


def lines_of(table: pd.DataFrame) -> list[str]:
    """The inventory as lines of text, problems below their row, and what was left out at the end."""
    shown = [name for name in _SHOWN if name != "distinct" or table[name].ne("").any()]
    rows = [[_text(row[name]) for name in shown] for _, row in table.iterrows()]
    widths = [max(map(len, column)) for column in zip(shown, *rows, strict=True)]
    lines = []
    if rows:
        lines.append(_aligned(shown, widths))
    for cells, problems in zip(rows, table["problems"], strict=True):
        lines.append(_aligned(cells, widths))
        lines += [f"    {problem}" for problem in str(problems).splitlines()]
    bad = int(table["problems"].ne("").sum())
    total = f"{len(rows)} volume{'s' * (len(rows) != 1)}" if rows else "no DICOM volume"
    lines.append(f"{total}{f', {bad} of them with problems' if bad else ''}")
    lines += [f"left out: {count} {what}" for what, count in sorted(table.attrs["skipped"].items())]
    return lines + [f"damaged: {text}" for text in table.attrs["damaged"]]


def _aligned(cells, widths):
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _text(cell):
    """A cell in words; a spacing as 1x1x3, with ? where the slices are on no even grid."""
    if isinstance(cell, tuple):
        return "x".join("?" if math.isnan(number) else f"{number:g}" for number in cell)
    return "" if cell is None else str(cell)
