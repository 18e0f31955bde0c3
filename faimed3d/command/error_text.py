"""What an error may say in the shell: no value of a header, and what to pass in words of the shell."""

from __future__ import annotations

import argparse
import re
import traceback
from pathlib import Path

from faimed3d.errors import is_ours

# what to pass in Python: its name among the options of a subcommand, and the option
_OPTIONS = {
    "predict_volume([file, file, ...])": ("channel", "IN and --channel FILE for each further one"),
    "strict=False": ("strict", "--no-strict"),
    "resample_to_first=True": ("resample_to_first", "--resample-to-first"),
    "overwrite=True": ("overwrite", "--overwrite"),
    "outside='warn'": ("outside", "--outside warn"),
    "a row of dicom_inventory(path)": ("series", "a key of the table of 'faimed3d inventory'"),
    "series=": ("series", "--series"),
    "like=": ("like", "--like"),
}


def text_of_error(error: BaseException, options: argparse.Namespace) -> str:
    """What an error says, if it is of this library or the system's; of any other one only its kind and place.

    The texts of this library hold no value of a header but those that it may quote; others may hold anything. What they
    advise to pass in Python is named as in the shell.

    Args:
        error: any.
        options: of the subcommand.
    """
    if is_ours(error):
        return for_shell(str(error), options)
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = "/".join(Path(last.filename).parts[-2:])
    return f"{type(error).__name__} in {where}:{last.lineno}. With --debug you see all of it, patient data included"


def for_shell(text: str, options: argparse.Namespace) -> str:
    """A text of this library, in which what it advises to pass is named as in the shell; or as of Python alone.

    Args:
        text: of an error or a warning.
        options: of the subcommand, which say what can be passed to it.
    """
    for words, (name, option) in _OPTIONS.items():
        found = rf"\b{re.escape(words)}"
        if hasattr(options, name):
            text = re.sub(found, option, re.sub(rf"{found}(?=\w)", f"{option} ", text))
        else:
            text = re.sub(found, r"in Python \g<0>", text)
    return text
