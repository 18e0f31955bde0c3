"""The command ``faimed3d``: list an archive, look, convert, predict, and serve new studies, from the shell.

``parser.py`` says what can be asked for and imports nothing heavy; each subcommand is a module of its name with a
function ``run``, imported when it is asked for.
"""

from faimed3d.command.main import main

__all__ = ["main"]
