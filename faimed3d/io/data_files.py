"""Which other files the volume of a header needs: the voxels of NIfTI and Analyze pairs, .mhd and .nhdr lie in one."""

from __future__ import annotations

import os

from faimed3d.errors import ReadError
from faimed3d.io.formats import volume_suffix
from faimed3d.io.metaimage import read_metaimage_header
from faimed3d.io.nrrd import read_nrrd_header

_HALVES = (".hdr", ".img", ".hdr.gz", ".img.gz")


def data_files_of(path: str) -> list[str]:
    """Paths of other files of a volume, whether they are there or not; of a header that cannot be read none.

    Args:
        path: the file that is named, such as a ``.mhd``.

    >>> data_files_of("scan.hdr")[:2], data_files_of("scan.nii.gz")
    (['scan.img', 'scan.hdr.gz'], [])
    """
    suffix = volume_suffix(path)
    stem = path[: len(path) - len(suffix)]
    if suffix in _HALVES:
        names = (*_HALVES, *(half.upper() for half in _HALVES))
        return [stem + half for half in names if stem + half != path]
    try:
        if suffix in (".mhd", ".mha"):
            name = read_metaimage_header(path)["ElementDataFile"]
        elif suffix in (".nhdr", ".nrrd"):
            name = read_nrrd_header(path).get("data file", "LOCAL")
        else:
            return []
    except (ReadError, OSError):  # reading says what is wrong
        return []
    return [] if name == "LOCAL" else [os.path.join(os.path.dirname(path), name)]
