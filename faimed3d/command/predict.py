"""``faimed3d predict``: the masks of many scans by a model file."""

from __future__ import annotations

import argparse
import errno
import sys
import warnings
from contextlib import nullcontext

import pandas as pd

from faimed3d.command.channels import refuse_other_count
from faimed3d.command.error_text import for_shell
from faimed3d.command.exit_codes import CANNOT_GO_ON, DONE, SOME_FAILED
from faimed3d.command.progress import bars_on_stderr
from faimed3d.command.scans import Scans, one_case, scans_in
from faimed3d.errors import NoImages
from faimed3d.inference import StoredModel, load_model

_FULL = rf"^OSError: \[Errno (?:{errno.ENOSPC}|{getattr(errno, 'EDQUOT', errno.ENOSPC)})\]"

_ADVICE = (
    "Give the first as IN and each further one as --channel SCAN, in their order; or --description PATTERN for each, "
    "and each study below IN is a case"
)


def run(options: argparse.Namespace) -> int:
    """Predict, name the cases that failed, and say where the results are."""
    model = load_model(options.model, device=options.device, resample_to_first=options.resample_to_first)
    with bars_on_stderr():
        scans = _scans(model, options)
    for text in scans.damaged:
        print(f"faimed3d: damaged: {text}", file=sys.stderr)
    for text in scans.refused:
        print(f"faimed3d: passed over: {for_shell(text, options)}", file=sys.stderr)
    if not scans.sources:
        raise NoImages(f"{options.input}: no scan is chosen. 'faimed3d inventory' lists what there is")
    asked = {
        "form": None if options.form == "nii" else options.form, "memory": options.memory, "outside": options.outside
    }  # fmt: skip
    how = {name: value for name, value in asked.items() if value is not None}
    with bars_on_stderr(), warnings.catch_warnings(), nullcontext() if sys.stderr.isatty() else model.no_bar():
        warnings.filterwarnings("ignore", r"\d+ of \d+ cases failed")  # they are named below
        table = model.predict_folder(
            scans.sources, options.output, overwrite=options.overwrite, report=options.report, strict=options.strict,
            **how,
        )  # fmt: skip
    failed = table[table["error"] != ""]
    for row in failed.itertuples():
        name = f"{row.folder}, {row.series} ({row.key})" if row.key else row.source
        text = for_shell(row.error, options)
        if row.output in table.attrs["foreign"] and not options.debug:
            text = f"{row.error.partition(':')[0]}, whose text may hold patient data: it is in the report"
        print(f"faimed3d: failed: {name}: {text}", file=sys.stderr)
    before = int(((table["error"] == "") & table["seconds"].isna()).sum())
    there = f", {before} of them there already" if before else ""
    print(f"{len(table) - len(failed)} of {len(table)} cases done{there}: {options.output}")
    if failed["error"].str.contains(_FULL).any():
        return CANNOT_GO_ON
    return SOME_FAILED if len(failed) or scans.damaged or scans.refused else DONE


def _scans(model: StoredModel, options: argparse.Namespace) -> Scans:
    """The cases that are meant, each of as many channels as the model takes."""
    if options.channel:
        if options.description or options.modality or options.cases:
            raise ValueError(
                "--channel is of one case, whose scans are all named: leave out --description, --modality and --cases"
            )
        refuse_other_count(model, 1 + len(options.channel), _ADVICE)
        return one_case([options.input, *options.channel], options.output, options.strict)
    if options.description:
        refuse_other_count(model, len(options.description), _ADVICE)
    keys = None if options.cases is None else _keys_of(options.cases)
    found = scans_in(options.input, options.output, options.modality, options.description, keys, options.strict)
    if any(isinstance(source, pd.Series) for source in found.sources):  # a file may hold all channels
        refuse_other_count(model, 1, _ADVICE)
    return found


def _keys_of(path: str) -> set[str]:
    """The keys in a table as ``faimed3d inventory --csv`` writes it, whose unwanted rows somebody has deleted."""
    # spreadsheets of some countries write semicolons, and texts in a character set of their own; keys are plain letters
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        head = file.readline()
        file.seek(0)
        try:
            table = pd.read_csv(file, dtype=str, sep=";" if ";" in head else ",")
        except (pd.errors.EmptyDataError, pd.errors.ParserError):
            table = pd.DataFrame()
    if "key" not in table:
        raise ValueError(f"{path}: has no column 'key', as a table of 'faimed3d inventory FOLDER --csv' has")
    return {*table["key"].dropna()}
