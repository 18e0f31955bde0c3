"""Which scans are meant: DICOM series by modality and description, and files of other formats."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from faimed3d._rows import wildcard
from faimed3d.command.channels import channels_in, refuse_other_frames, refuse_twice
from faimed3d.data import get_volumetric_files
from faimed3d.dicom import dicom_inventory
from faimed3d.errors import NoImages, ReadError, SeveralVolumes
from faimed3d.io import volume_suffix
from faimed3d.io.formats import DICOM_SUFFIXES, file_format

Scan: TypeAlias = "pd.Series | Path"

# of series that hold no scan: segmentations and doses have voxels, too
NO_SCANS = ("DOC", "FID", "KO", "PR", "REG", "RTDOSE", "RTPLAN", "RTSTRUCT", "SEG", "SR")


@dataclass(frozen=True)
class Scans:
    """What lies below a path.

    Attributes:
        sources: rows of an inventory for DICOM, paths for files of other formats; lists of these as channels.
        damaged: what is wrong with DICOM files that belong to none of them.
        refused: why the channels of a study were not found.
    """

    sources: list[Scan | list[Scan]]
    damaged: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def scans_in(
    path: str,
    out: str,
    modality: str | None = None,
    descriptions: Sequence[str] = (),
    keys: set[str] | None = None,
    strict: bool = True,
) -> Scans:
    """The scans of a path.

    Args:
        path: a file or a folder, which is searched with all below it.
        out: a folder whose files are no scans: that of the results.
        modality, descriptions: as of :func:`chosen`; files of other formats have none. Several descriptions are those
            of channels, and each study is one case.
        keys: of the inventory; None for all.
        strict: refuse channels that do not share their space.

    Raises:
        FileNotFoundError: no such path.
        ValueError: ``out`` is the folder itself; a key that no volume has.
    """
    if os.path.realpath(path) == os.path.realpath(out):
        raise ValueError(f"{out}: the folder of the results cannot be that of the scans: choose another OUT")
    if os.path.isfile(path) and file_format(path) != "dicom":
        return Scans([Path(path)])
    several = len(descriptions) > 1
    inventory = dicom_inventory(path, tags=["StudyInstanceUID"] if several else None)
    table, damaged = chosen(inventory, modality, descriptions), inventory.attrs["damaged"]
    if keys is not None:
        if lost := keys - {*inventory["key"]}:
            raise ValueError(
                f"{path}: has no volume {', '.join(sorted(lost)[:5])}{' ...' * (len(lost) > 5)} ({len(lost)} of the "
                f"{len(keys)} keys). Take the inventory of this very folder"
            )
        table, damaged = table[table["key"].isin(keys)], []
    table = table.loc[[not _is_below(folder, out) for folder in table["folder"]]]
    if several:
        cases, refused = _cases_of(table, descriptions, strict)
        return Scans(cases, damaged, refused)
    scans: list[Scan | list[Scan]] = [row for _, row in table.iterrows()]
    if os.path.isdir(path) and modality is None and not descriptions and keys is None:
        files = [file for file in get_volumetric_files(path) if not _is_below(str(file), out)]
        scans += [file for file in files if file.is_file() and volume_suffix(file) not in DICOM_SUFFIXES]
    return Scans(scans, damaged)


def one_case(paths: Sequence[str], out: str, strict: bool = True) -> Scans:
    """One case, of whose channels each is a path.

    Args:
        paths: a file or a folder of one scan for each channel, in their order.
        out, strict: as of :func:`scans_in`.

    Raises:
        FileNotFoundError: no such path.
        NoImages: a path holds no scan. SeveralVolumes: it holds several; or two hold the same one.
        UnsupportedImage: the headers of two scans say that they do not share their space.
    """
    found = [scans_in(path, out) for path in paths]
    for path, scans in zip(paths, found, strict=True):
        if not scans.sources:
            raise NoImages(f"{path}: holds no scan, and it is to be a channel{': ' * bool(scans.damaged)}"
                           f"{'; '.join(scans.damaged[:1])}")  # fmt: skip
        if len(scans.sources) > 1:
            raise SeveralVolumes(
                f"{path}: holds {len(scans.sources)} scans, and a channel is one: name its own folder or file. Or give "
                "the folder of all as IN, and --description PATTERN for each channel"
            )
    channels: list[Any] = [scans.sources[0] for scans in found]
    refuse_twice([os.path.realpath(_first_file(one)) for one in channels], "another --channel")
    refuse_other_frames(channels, strict)
    return Scans([channels], [text for scans in found for text in scans.damaged])


def _first_file(scan: Scan) -> Any:
    return scan if isinstance(scan, Path) else scan["files"][0]


def _cases_of(table: pd.DataFrame, descriptions: Sequence[str], strict: bool) -> tuple[list[Any], list[str]]:
    """The channels of each study, and why there are none of another one."""
    cases, refused = [], []
    studies = table["StudyInstanceUID"].where(table["StudyInstanceUID"] != "", table["folder"])
    for _, rows in table.drop(columns="StudyInstanceUID").groupby(studies, sort=False):
        try:
            channels = channels_in(rows, descriptions)
            refuse_other_frames(channels, strict)
        except ReadError as error:
            refused.append(f"{os.path.commonpath({*rows['folder']})}: {error}")
            continue
        cases += [channels] if channels else []
    return cases, refused


def chosen(table: pd.DataFrame, modality: str | None = None, descriptions: Sequence[str] = ()) -> pd.DataFrame:
    """The rows of an inventory that are wanted, without series that hold no scan.

    Args:
        table: the inventory.
        modality: (0008,0060), such as 'MR'; None for any.
        descriptions: patterns of the description of the series, one of which it must meet; none for any. In them ``*``
            is any text and ``?`` a letter; capitals count as small letters.
    """
    wanted = ~table["modality"].isin(NO_SCANS)
    if modality is not None:
        wanted &= table["modality"] == modality
    if descriptions:
        wanted &= is_described(table, descriptions)
    return table[wanted]


def is_described(table: pd.DataFrame, descriptions: Sequence[str]) -> pd.Series:
    """For each row whether its description meets one of some patterns, as of :func:`chosen`."""
    patterns = [wildcard(one) for one in descriptions]
    return table["description"].map(lambda text: any(one.fullmatch(text) for one in patterns)).astype(bool)


def _is_below(path: str, folder: str) -> bool:
    real, above = os.path.realpath(path), os.path.realpath(folder)
    return real == above or real.startswith(above + os.sep)
