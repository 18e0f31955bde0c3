"""Two volumes of one item: do they lie on one grid, and how is one brought onto the grid of the other?"""

from __future__ import annotations

import warnings
from typing import TypeVar

from torch import Tensor

from faimed3d.errors import UnsupportedImage
from faimed3d.io.source_header import source_name
from faimed3d.volume import TensorDicom3D

Volume = TypeVar("Volume", bound=TensorDicom3D)

_TOLERANCE = 0.05  # of a voxel: what rounding in headers moves the far corner of a volume


def match_storage(volume: Volume, other: TensorDicom3D) -> Volume | None:
    """Store ``volume`` as ``other`` is stored, if their voxels have the same positions; else return None.

    It gets the other's very geometry: spacings that differ in the last digit would round to other sizes on resampling.

    Args:
        volume, other: volumes (..., D, H, W); where one has no geometry, their sizes alone are compared.
    """
    here, there = volume.geometry, other.geometry
    if here is None or there is None:  # a reader of the user's own made them: index by index
        return volume if tuple(volume.shape[-3:]) == tuple(other.shape[-3:]) else None
    if not here.agrees(there, _TOLERANCE):
        volume = volume.reorient(there.orientation)
        here = volume.geometry
        if here is None or not here.agrees(there, _TOLERANCE):
            return None
    return volume.with_voxels(volume.as_subclass(Tensor).contiguous(), lambda geometry: there)


def share_a_space(volume: TensorDicom3D, first: TensorDicom3D, strict: bool = True) -> bool:
    """Whether nothing says that two channels, or masks, of one item lie in different frames of reference.

    Args:
        volume, first: volumes; of those that come from no DICOM file nothing is known.
        strict: raise an error where they do; False: warn.

    Raises:
        UnsupportedImage: their headers name two frames of reference.
    """
    headers = [one._header for one in (first, volume)]
    files = [header.files[0] for header in headers if header is not None and header.format == "dicom"]
    if len(files) < 2:
        return True
    from faimed3d.dicom.header.frames import other_frame  # pydicom takes time to import

    text = other_frame(files, [source_name(one) for one in (first, volume)])
    if text is None:
        return True
    text += "strict=False, as of TensorDicom3D.create (ImageBlock3D, the loaders, predict_volume)"
    if strict:
        raise UnsupportedImage(text)
    warnings.warn(text, stacklevel=3)
    return False


def resampled_onto(volume: Volume, other: TensorDicom3D, labels: str = "nearest") -> Volume:
    """``volume`` on the grid of ``other``; an error if they have no position in common: nothing would stay."""
    here, there = volume.require_geometry("resampling"), other.require_geometry("resampling")
    if here.lies_apart(there):
        raise ValueError(
            f"{source_name(volume)} lies apart from {source_name(other)}, so nothing of it would be left on that grid: "
            f"{difference(volume, other)}. Is it of another patient or examination, or has a header lost its origin?"
        )
    return volume.resample_like(other, labels=labels)


def difference(volume: TensorDicom3D, other: TensorDicom3D) -> str:
    """How the grids of two volumes differ, for messages."""
    here, there = volume.geometry, other.geometry
    if here is None or there is None:
        return f"it has {tuple(volume.shape[-3:])} voxels, the other {tuple(other.shape[-3:])}"
    return f"the one is {here!r}, the other {there!r}"
