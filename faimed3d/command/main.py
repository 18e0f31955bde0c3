"""``main``, the entry point: chooses the subcommand, and turns what it raises into one line and an exit code."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any  # of what the warnings module hands over

from faimed3d.command.error_text import for_shell, text_of_error
from faimed3d.command.exit_codes import BAD_INPUT, CANNOT_GO_ON, DONE, INTERRUPTED
from faimed3d.command.parser import make_parser
from faimed3d.errors import PACKAGE, is_ours

_OF_INPUT = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command ``faimed3d``.

    Results go to stdout, all else to stderr: progress where that is a terminal, warnings, errors in one line.

    Args:
        arguments: words after ``faimed3d``; None: those of the process.

    Returns:
        The exit code, see ``faimed3d --help``.

    Raises:
        SystemExit: with code 2 for arguments that are not understood, 0 after ``--help`` and ``--version``.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     main(["inventory", folder])
    no DICOM volume
    0
    """
    options = make_parser().parse_args(arguments)
    code = DONE
    if hasattr(sys.stdout, "reconfigure"):  # names of files may be no text of the terminal's character set
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with _lines_of_warnings(options):
            code = import_module(f"faimed3d.command.{options.subcommand}").run(options)
        sys.stdout.flush()  # here an error is told; at the end of the interpreter it would be its exit code
        return code
    except KeyboardInterrupt:
        print("faimed3d: stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # who reads the output has seen enough
        return code
    except Exception as error:  # the last place where an error can become a line and an exit code
        if options.debug:
            traceback.print_exc()
        print(f"faimed3d: error: {text_of_error(error, options)}", file=sys.stderr)
        is_input = isinstance(error, (ValueError, TypeError, ImportError, *_OF_INPUT)) and is_ours(error)
        return BAD_INPUT if is_input else CANNOT_GO_ON
    finally:
        _drop_unwritten()


def _drop_unwritten() -> None:
    """Let go of output that cannot be written: the interpreter would try again at its end, and fail with code 120."""
    try:
        sys.stdout.flush()
    except OSError:  # it was told above
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


@contextlib.contextmanager
def _lines_of_warnings(options: argparse.Namespace) -> Iterator[None]:
    """Show warnings to users as a line each, without the code that raised them; those to developers not at all."""

    def show(message: Any, category: Any, filename: str, *args: Any, **kwargs: Any) -> None:
        if filename.startswith(PACKAGE):  # other libraries may quote a header
            print(f"faimed3d: warning: {for_shell(str(message), options)}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = show
        yield
