"""The order and direction of the storage axes."""

from __future__ import annotations

from typing import cast

from faimed3d.spatial.arguments import T, required_geometry


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
    ordered = t.permute(*range(lead), *(lead + axis for axis in order))
    return cast(T, ordered.flip([lead + axis for axis in flips]) if flips else ordered)
