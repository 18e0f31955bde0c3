"""Progress bars of long work on stderr where that is a terminal, and nowhere else."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def bars_on_stderr() -> Iterator[None]:
    """Send what is printed meanwhile to stderr if it is a terminal: fastprogress prints to stdout, whatever that is."""
    if not sys.stderr.isatty():
        with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
            yield
        return
    with contextlib.redirect_stdout(sys.stderr):
        try:
            yield
        finally:
            print("\r\x1b[K", end="", flush=True)  # a bar that is left ends without a new line
