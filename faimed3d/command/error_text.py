"""What an error may say in the shell: no value of a header, and what to pass in words of the shell."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

from faimed3d.errors import is_ours

_OPTIONS = {
    "strict=False": "--no-strict",
    "overwrite=True": "--overwrite",
    "outside='warn'": "--outside warn",
    "series=": "--series",
    "like=": "--like ",
}


def text_of_error(error: BaseException) -> str:
    """What an error says, if it is of this library or the system's; of any other one only its kind and place.

    The texts of this library hold no value of a header but those that it may quote; others may hold anything. What they
    advise to pass in Python is named as in the shell.
    """
    if is_ours(error):
        return for_shell(str(error))
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = "/".join(Path(last.filename).parts[-2:])
    return f"{type(error).__name__} in {where}:{last.lineno}. With --debug you see all of it, patient data included"


def for_shell(text: str) -> str:
    """A text of this library, in which what it advises to pass is named as in the shell.

    Args:
        text: of an error.
    """
    for keyword, option in _OPTIONS.items():
        text = re.sub(rf"\b{keyword}", option, text)
    return text
