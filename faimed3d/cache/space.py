"""How much of the disk cases will need, from the headers of their sources, before anything is read."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Sequence
from typing import Any

import SimpleITK as sitk

from faimed3d.augment import PadOrCrop3D, Resample3D, Resize3D

_HEADERS = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".hdr")  # what SimpleITK reads without the voxels
_WIDE, _NARROW = 4, 2  # bytes of a voxel: of an image that was interpolated, and of one that keeps its whole numbers


def expected_bytes(image: Any, mask: bool, steps: Sequence[Any]) -> int:
    """About how large the file of a case will be: voxels times bytes, as far as headers and transforms tell.

    A crop to the foreground makes it smaller than that.

    Args:
        image: described source, see ``describe_source``.
        mask: whether it has a mask.
        steps: the item transforms.
    """
    channels = image if isinstance(image, list) else [image]
    shape, spacing = _grid(channels[0])
    width = _NARROW
    for step in steps:
        if isinstance(step, Resample3D) and isinstance(step.spacing, int | float | tuple | list):
            wanted = step.spacing if isinstance(step.spacing, tuple | list) else [step.spacing] * 3
            factors = [old / new if new else 1 for old, new in zip(spacing or wanted, wanted, strict=True)]
            shape = tuple(size * factor for size, factor in zip(shape, factors[::-1], strict=True))
            spacing, width = tuple(wanted), _WIDE
        elif isinstance(step, PadOrCrop3D | Resize3D) and step.size is not None:
            shape = tuple(step.size)
            width = _WIDE if isinstance(step, Resize3D) else width
    return int(math.prod(shape) * (width * len(channels) + mask))


def _grid(described: Any) -> tuple[tuple[float, ...], tuple[float, ...] | None]:
    """(D, H, W) of a source, and (x, y, z) mm where its header tells; of a DICOM folder the voxels alone are right."""
    if "shape" in described:
        return tuple(([1, 1, 1, *described["shape"]])[-3:]), None
    files = described["files"]
    path, size = files[0][0] if files else "", sum(row[1] for row in files)
    if "folder" not in described and path.lower().endswith(_HEADERS):
        reader = sitk.ImageFileReader()
        reader.SetFileName(path)
        try:
            reader.ReadImageInformation()
            extra = math.prod(reader.GetSize()[3:])
            return (reader.GetSize()[2] * extra, *reader.GetSize()[1::-1]), reader.GetSpacing()[:3]
        except (RuntimeError, IndexError):
            pass  # reading says what is wrong; for now its size is enough
    return (size / _NARROW, 1.0, 1.0), None


def in_words(count: float) -> str:
    """Bytes as people read them.

    >>> in_words(1_500_000_000)
    '1.5 GB'
    """
    power = next((k for k in range(4) if count < 999.5 * 1000**k), 4)
    return f"{count / 1000**power:.3g} {('bytes', 'kB', 'MB', 'GB', 'TB')[power]}"


def free_bytes(folder: str | os.PathLike[str]) -> int:
    """Bytes that may still be written where a folder lies."""
    return shutil.disk_usage(folder).free
