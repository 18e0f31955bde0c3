"""What can be written: an array of a type that files and SimpleITK hold, with the geometry that is its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from faimed3d.geometry import Geometry

_TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")


def writable_volume(array: Any, geometry: Geometry) -> np.ndarray:
    """The voxels as a native, C-contiguous array of a type that files and SimpleITK hold.

    Args:
        array: (D,H,W) or channels first (C,D,H,W), of numpy or torch; bool becomes uint8, float16 and bfloat16 become
            float32, which holds all of their numbers, C = 1 a plain volume.
        geometry: the Geometry of the same (D,H,W).

    Raises:
        TypeError: an array of another type, or no Geometry.
        ValueError: the shape is no volume's, or not the geometry's.

    >>> writable_volume(np.zeros((1, 2, 3, 4), bool), Geometry((2, 3, 4))).dtype
    dtype('uint8')
    """
    if str(getattr(array, "dtype", "")) == "torch.bfloat16":  # numpy has no such type
        array = array.float()
    array = np.asarray(array)
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    if array.dtype == bool:
        array = array.view(np.uint8)
    elif array.dtype == np.float16:
        array = array.astype(np.float32)
    if array.dtype.name not in _TYPES:
        parts = " (of complex voxels .real, .imag, .abs() or .angle())" if array.dtype.kind == "c" else ""
        raise TypeError(
            f"voxels of type {array.dtype.name} cannot be written; convert them to one of {', '.join(_TYPES)}{parts}"
        )
    if not isinstance(geometry, Geometry):
        raise TypeError(
            f"expected a Geometry, got {type(geometry).__name__}; without one an image has no position in space"
        )
    if array.ndim not in (3, 4) or 0 in array.shape:
        raise ValueError(f"expected an array (D,H,W) or channels first (C,D,H,W), got shape {array.shape}")
    if array.shape[-3:] != geometry.shape:
        raise ValueError(f"the array has (D,H,W) {array.shape[-3:]}, but its geometry is for {geometry.shape}")
    return array[0] if array.ndim == 4 and len(array) == 1 else array
