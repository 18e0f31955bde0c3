"""Rows of inventories: what is one, and how the row of a series in an archive becomes one of files on this machine."""

from __future__ import annotations

import os
import re
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from faimed3d.errors import NoImages, SeveralVolumes

if TYPE_CHECKING:
    import pandas as pd

Row: TypeAlias = "Mapping[str, Any] | pd.Series"


class Elsewhere(os.PathLike[str]):
    """The ``folder`` of a row whose files lie on another machine: they come here when they are asked for.

    ``os.fspath`` is the folder of the files that came; ``str`` tells it without fetching.
    """

    @abstractmethod
    def row(self) -> Row:
        """The row as ``dicom_inventory`` makes it of the files, once they are here.

        Raises:
            SeveralVolumes: it is of several volumes.
        """


def is_row(source: Any) -> bool:
    """Whether something is a row of an inventory, so far as it says where its files lie.

    >>> is_row({"folder": "scan"}), is_row("scan")
    (True, False)
    """
    return _is_mapping(source) and "folder" in source


def here(row: Row) -> Row:
    """A row whose files are on this machine; those of an archive are fetched."""
    place = row.get("folder")
    return place.row() if isinstance(place, Elsewhere) else row


def place_of(row: Row) -> tuple[str, Row | None]:
    """What :func:`faimed3d.io.read` takes as path and as series for a row: of a structure set its one file.

    >>> place_of({"folder": "patient", "modality": "RTSTRUCT", "files": ("patient/contours.dcm",)})
    ('patient/contours.dcm', None)
    """
    row = here(row)
    if row.get("modality") == "RTSTRUCT" and len(row["files"]) == 1:
        return row["files"][0], None
    return row["folder"], row


def only_row(source: Any) -> Any:
    """The row of a table with one row; what is no table of an inventory, as it is.

    Raises:
        NoImages: a table without rows. SeveralVolumes: one with several.

    >>> import pandas as pd
    >>> only_row(pd.DataFrame([{"folder": "scan"}]))["folder"], only_row("scan")
    ('scan', 'scan')
    """
    if not hasattr(source, "iloc") or not hasattr(source, "columns") or "folder" not in source:
        return source
    if len(source) == 1:
        return source.iloc[0]
    if not len(source):
        raise NoImages("a table without rows, where one row was expected: nothing was found that it could list")
    raise SeveralVolumes(f"a table of {len(source)} rows, where one was expected: choose it, as by table.iloc[0]")


def wildcard(pattern: str) -> re.Pattern[str]:
    """A pattern of DICOM (PS3.4 C.2.2.2.4) for ``fullmatch``: ``*`` is any text, ``?`` a letter, in whatever case.

    >>> bool(wildcard("t2*[b50]").fullmatch("T2 tse [B50]")), bool(wildcard("t2").fullmatch("T2 tse"))
    (True, False)
    """
    parts = ({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in pattern.strip())
    return re.compile("".join(parts), re.IGNORECASE | re.DOTALL)


def _is_mapping(source: Any) -> bool:
    return isinstance(source, Mapping) or (hasattr(source, "iloc") and not hasattr(source, "columns"))
