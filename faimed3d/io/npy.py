""".npy files, never unpickled: numbers alone, counted before allocating."""

from __future__ import annotations

import os
from tokenize import TokenError

import numpy as np
from numpy.typing import DTypeLike

from faimed3d.errors import DamagedFile, UnsupportedImage
from faimed3d.geometry import Geometry
from faimed3d.io.conversion import convert
from faimed3d.io.voxels import Voxels, read_voxels


def read_npy(
    path: str | os.PathLike[str], strict: bool = True, dtype: DTypeLike | None = np.float32
) -> tuple[np.ndarray, Geometry, tuple[str, ...]]:
    """Read a .npy file of shape (D,H,W) or (C,D,H,W); see :func:`faimed3d.io.read` for arguments and errors.

    Returns:
        (array, geometry, files). The format holds no geometry: 1 mm, origin 0, identity are assumed, as for an array.
    """
    path = os.fspath(path)
    shape, fortran, stored, offset = _read_header(path)
    if len(shape) not in (3, 4) or min(shape) < 1:
        raise UnsupportedImage(f"{path}: an array of shape {shape}; a volume is (D,H,W) or (C,D,H,W), no side 0")
    shape = shape[::-1] if fortran else shape
    if stored.kind == "b":  # a byte other than 0 and 1 is no bool
        array = read_voxels(Voxels(path, offset, np.dtype(np.uint8), shape, "raw"), bool, strict)
        array = convert(array, dtype, path)
    else:
        array = read_voxels(Voxels(path, offset, stored, shape, "raw"), dtype, strict)
    if fortran:
        array = np.ascontiguousarray(array.T)
    return array, Geometry(array.shape[-3:], assumed="all"), (path,)


def read_npy_header(path: str | os.PathLike[str]) -> dict[str, str]:
    """The header of a file: shape, order, dtype."""
    shape, fortran, stored, _ = _read_header(os.fspath(path))
    return {"shape": str(shape), "fortran_order": str(fortran), "descr": stored.str}


def _read_header(path):
    with open(path, "rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            if version > (2, 0):
                raise UnsupportedImage(
                    f"{path}: .npy version {version}, which only named fields need; save a plain array"
                )
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, stored = read(file)
        except UnsupportedImage:
            raise
        except (ValueError, TypeError, SyntaxError, EOFError, RecursionError, MemoryError, TokenError) as error:
            raise DamagedFile(f"{path}: the .npy header is damaged or cut. Copy the file again") from error
        offset = file.tell()
    if not all(type(n) is int for n in shape):  # numpy takes True for one
        raise DamagedFile(f"{path}: the shape in the .npy header is no tuple of whole numbers. Copy the file again")
    if stored.hasobject:
        raise UnsupportedImage(f"{path}: an array of Python objects, which only pickle can read; pickle is never used")
    return shape, fortran, stored, offset
