"""Find volumes on the disk."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from fastcore.foundation import L

from faimed3d.dicom import is_dicom
from faimed3d.io.formats import DICOM_SUFFIXES, READ_SUFFIXES, volume_suffix

supported_extensions = READ_SUFFIXES
"""Endings of the files that can be read, in lower case; case does not matter. DICOM slices need none."""

HEADERS_OF = {".img": (".hdr",), ".img.gz": (".hdr.gz", ".hdr")}  # halves of a pair: the header stands for both


def get_volumetric_files(path: str | Path, recurse: bool = True, folders: str | Iterable[str] | None = None) -> L:
    """List the volumes below a folder: files of every format that can be read, and each folder of DICOM slices once.

    Files are known by their name, those of DICOM folders by their name or their first bytes. A DICOM folder is listed
    as a whole however many series it holds; ``dicom_inventory`` tells them apart. Of a header with its data file
    (.hdr/.img) the header is listed. Names that begin with a dot are left out; links are followed.

    Args:
        path: folder to search.
        recurse: whether to search below it too.
        folders: names of folders directly below ``path`` to search, instead of all.

    Returns:
        ``L`` of paths, sorted.

    Raises:
        FileNotFoundError: no such folder.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("b.nii.gz", "a.nrrd", "notes.txt"):
    ...         Path(folder, name).touch()
    ...     [path.name for path in get_volumetric_files(folder)]
    ['a.nrrd', 'b.nii.gz']
    """
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such folder")
    wanted = {folders} if isinstance(folders, str) else set(folders or ())
    found: list[Path] = []
    seen = set()
    for name, below, files in os.walk(path, followlinks=True):
        folder = Path(name)
        status = folder.stat()
        identity = (status.st_dev, status.st_ino)
        if identity in seen and status.st_ino:  # links that lead round in circles
            below[:] = []
            continue
        seen.add(identity)
        choose = wanted if folder == path else set()
        below[:] = sorted(n for n in below if recurse and not n.startswith(".") and (n in choose or not choose))
        if not choose:
            found += _volumes_in(folder, sorted(name for name in files if not name.startswith(".")))
    return L(sorted(found))


def _volumes_in(folder: Path, names: list[str]) -> list[Path]:
    volumes, slices, there = [], False, set(names)
    for name in names:
        suffix = volume_suffix(name)
        if suffix in DICOM_SUFFIXES:
            slices = True
        elif suffix in READ_SUFFIXES:
            stem = name[: len(name) - len(suffix)]
            if not any(stem + other in there for other in HEADERS_OF.get(suffix, ())):
                volumes.append(folder / name)
        elif not slices and (not suffix or not suffix[1:].isalpha()) and name != "DICOMDIR":
            slices = is_dicom(folder / name)
    return [*volumes, folder] if slices else volumes
