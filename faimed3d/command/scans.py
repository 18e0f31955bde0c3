"""Which scans are meant: DICOM series by modality and description, and files of other formats."""

from __future__ import annotations

import fnmatch
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import pandas as pd

from faimed3d.data import get_volumetric_files
from faimed3d.dicom import dicom_inventory
from faimed3d.io import volume_suffix
from faimed3d.io.formats import DICOM_SUFFIXES, file_format

Scan: TypeAlias = "pd.Series | Path"

# of series that hold no scan: segmentations and doses have voxels, too
NO_SCANS = ("DOC", "FID", "KO", "PR", "REG", "RTDOSE", "RTPLAN", "RTSTRUCT", "SEG", "SR")


@dataclass(frozen=True)
class Scans:
    """What lies below a path.

    Attributes:
        sources: rows of an inventory for DICOM, paths for files of other formats.
        damaged: what is wrong with DICOM files that belong to none of them.
    """

    sources: list[Scan]
    damaged: list[str] = field(default_factory=list)


def scans_in(
    path: str, out: str, modality: str | None = None, description: str | None = None, keys: set[str] | None = None
) -> Scans:
    """The scans of a path.

    Args:
        path: a file or a folder, which is searched with all below it.
        out: a folder whose files are no scans: that of the results.
        modality, description: as of :func:`chosen`; files of other formats have none.
        keys: of the inventory; None for all.

    Raises:
        FileNotFoundError: no such path.
        ValueError: ``out`` is the folder itself; a key that no volume has.
    """
    if os.path.realpath(path) == os.path.realpath(out):
        raise ValueError(f"{out}: the folder of the results cannot be that of the scans: choose another OUT")
    if os.path.isfile(path) and file_format(path) != "dicom":
        return Scans([Path(path)])
    inventory = dicom_inventory(path)
    table, damaged = chosen(inventory, modality, description), inventory.attrs["damaged"]
    if keys is not None:
        if lost := keys - {*inventory["key"]}:
            raise ValueError(
                f"{path}: has no volume {', '.join(sorted(lost)[:5])}{' ...' * (len(lost) > 5)} ({len(lost)} of the "
                f"{len(keys)} keys). Take the inventory of this very folder"
            )
        table, damaged = table[table["key"].isin(keys)], []
    scans: list[Scan] = [row for _, row in table.iterrows() if not _is_below(row["folder"], out)]
    if os.path.isdir(path) and modality is None and description is None and keys is None:
        files = [file for file in get_volumetric_files(path) if not _is_below(str(file), out)]
        scans += [file for file in files if file.is_file() and volume_suffix(file) not in DICOM_SUFFIXES]
    return Scans(scans, damaged)


def chosen(table: pd.DataFrame, modality: str | None = None, description: str | None = None) -> pd.DataFrame:
    """The rows of an inventory that are wanted, without series that hold no scan.

    Args:
        table: the inventory.
        modality: (0008,0060), such as 'MR'; None for any.
        description: pattern of the description of the series, in which ``*`` is any text; None for any. Capitals count
            as small letters.
    """
    wanted = ~table["modality"].isin(NO_SCANS)
    if modality is not None:
        wanted &= table["modality"] == modality
    if description is not None:
        pattern = re.compile(fnmatch.translate(description.casefold()))
        wanted &= table["description"].map(lambda text: pattern.match(str(text).casefold()) is not None)
    return table[wanted]


def _is_below(path: str, folder: str) -> bool:
    real, above = os.path.realpath(path), os.path.realpath(folder)
    return real == above or real.startswith(above + os.sep)
