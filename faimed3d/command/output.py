"""Files that a subcommand writes: none is replaced unasked, and each is there whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from faimed3d._atomic import replace_file, unfinished_folder


def refuse_existing(path: str, overwrite: bool) -> None:
    """Raise a FileExistsError if a file is there and shall not be replaced."""
    if os.path.lexists(path) and not overwrite:
        raise FileExistsError(f"{path}: is there already and stays. Choose another name, or pass --overwrite")


@contextlib.contextmanager
def finished_file(path: str) -> Iterator[str]:
    """The name of a file to write, which gets the name ``path`` at the end, when it is whole."""
    with unfinished_folder(path) as folder:
        made = os.path.join(folder, os.path.basename(path))
        yield made
        replace_file(made, os.path.abspath(path))
