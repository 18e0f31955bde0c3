"""The order and direction of the storage axes."""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor

from faimed3d.spatial.arguments import required_geometry

T = TypeVar("T", bound=Tensor)


def reorient(t: T, code: str) -> T:
    """Reorder and flip the storage axes so that x (W), y (H), z (D) point to the letters of ``code``.

    No voxel moves in the patient and none is interpolated: an oblique volume is brought to the nearest orientation.

    Args:
        t: volume (..., D, H, W) with a geometry.
        code: such as 'LPS' (DICOM, ITK) or 'RAS' (nibabel): the direction in which each of x, y, z grows.

    Raises:
        ValueError: the volume has no geometry, or ``code`` is no orientation.

    >>> import torch
    >>> from faimed3d.volume import TensorDicom3D
    >>> t = TensorDicom3D(torch.arange(24).reshape(2, 3, 4))
    >>> reorient(t, "RPS")[0, 0].tolist(), reorient(t, "RPS").geometry.orientation
    ([3, 2, 1, 0], 'RPS')
    """
    order, flips = required_geometry(t, "reorient").reorientation(code)
    lead = t.ndim - 3
    t = t.permute(*range(lead), *(lead + axis for axis in order))
    return t.flip([lead + axis for axis in flips]) if flips else t
