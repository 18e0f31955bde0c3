"""``faimed3d predict``: the masks of many scans by a model file."""

from __future__ import annotations

import argparse
import errno
import sys
import warnings
from contextlib import nullcontext

import pandas as pd

from faimed3d.command.error_text import for_shell
from faimed3d.command.exit_codes import CANNOT_GO_ON, DONE, SOME_FAILED
from faimed3d.command.progress import bars_on_stderr
from faimed3d.command.scans import scans_in
from faimed3d.errors import NoImages
from faimed3d.inference import load_model

_FULL = rf"^OSError: \[Errno (?:{errno.ENOSPC}|{getattr(errno, 'EDQUOT', errno.ENOSPC)})\]"


def run(options: argparse.Namespace) -> int:
    """Predict, name the cases that failed, and say where the results are."""
    model = load_model(options.model, device=options.device)
    keys = None if options.cases is None else _keys_of(options.cases)
    with bars_on_stderr():
        scans = scans_in(options.input, options.output, options.modality, options.description, keys)
    for text in scans.damaged:
        print(f"faimed3d: damaged: {text}", file=sys.stderr)
    if not scans.sources:
        raise NoImages(f"{options.input}: no scan is chosen. 'faimed3d inventory' lists what there is")
    options_of_form = {"form": options.form} if options.form in ("seg", "rtstruct") else {"suffix": ".nii.gz"}
    if options.memory is not None:
        options_of_form["memory"] = options.memory
    if options.outside is not None:
        options_of_form["outside"] = options.outside
    with bars_on_stderr(), warnings.catch_warnings(), nullcontext() if sys.stderr.isatty() else model.no_bar():
        warnings.filterwarnings("ignore", r"\d+ of \d+ cases failed")  # they are named below
        table = model.predict_folder(
            scans.sources, options.output, overwrite=options.overwrite, report=options.report, strict=options.strict,
            **options_of_form,
        )  # fmt: skip
    failed = table[table["error"] != ""]
    for row in failed.itertuples():
        name = f"{row.folder}, {row.series} ({row.key})" if row.key else row.source
        text = for_shell(row.error)
        if row.output in table.attrs["foreign"] and not options.debug:
            text = f"{row.error.partition(':')[0]}, whose text may hold patient data: it is in the report"
        print(f"faimed3d: failed: {name}: {text}", file=sys.stderr)
    before = int(((table["error"] == "") & table["seconds"].isna()).sum())
    there = f", {before} of them there already" if before else ""
    print(f"{len(table) - len(failed)} of {len(table)} cases done{there}: {options.output}")
    if failed["error"].str.contains(_FULL).any():
        return CANNOT_GO_ON
    return SOME_FAILED if len(failed) or scans.damaged else DONE


def _keys_of(path: str) -> set[str]:
    """The keys in a table as ``faimed3d inventory --csv`` writes it, whose unwanted rows somebody has deleted."""
    # spreadsheets of some countries write semicolons, and texts in a character set of their own; keys are plain letters
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        head = file.readline()
        file.seek(0)
        table = pd.read_csv(file, dtype=str, sep=";" if ";" in head else ",")
    if "key" not in table:
        raise ValueError(f"{path}: has no column 'key', as a table of 'faimed3d inventory FOLDER --csv' has")
    return {*table["key"].dropna()}
