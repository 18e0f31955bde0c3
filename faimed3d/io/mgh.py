"""FreeSurfer's .mgh and .mgz: read strictly, and headers for writing.

Reference: https://surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/MghFormat. A header of 284 bytes, big-endian, the voxels
from x, which runs fastest, to the frames, and then text that nobody needs. The world is RAS, ours LPS (see
:mod:`faimed3d.geometry`); the position is that of the centre of the volume.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from faimed3d.errors import DamagedFile, MissingGeometry, TruncatedFile, UnsupportedImage
from faimed3d.geometry import Geometry
from faimed3d.io.byte_streams import named_errors, open_bytes
from faimed3d.io.nifti_geometry import RAS_TO_LPS
from faimed3d.io.voxels import Voxels, read_voxels

_OFFSET = 284
_FIELDS = np.dtype(
    [
        *(("version", ">i4"), ("dims", ">i4", (4,)), ("type", ">i4"), ("dof", ">i4"), ("goodRASFlag", ">i2")),
        *(("delta", ">f4", (3,)), ("Mdc", ">f4", (3, 3)), ("Pxyz_c", ">f4", (3,))),
    ]
)
_TYPES = {0: "uint8", 1: "int32", 3: "float32", 4: "int16", 10: "uint16"}
_WRITTEN_AS = {"int8": "int16", "uint32": "int32", "int64": "int32", "uint64": "int32"}  # where the values fit
_CORONAL = np.array([[-1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # rows are the axes x, y, z; where the file says nothing


def read_mgh(
    path: str | os.PathLike[str], strict: bool = True, dtype: DTypeLike | None = np.float32
) -> tuple[np.ndarray, Geometry, tuple[str, ...]]:
    """Read a .mgh or .mgz file; see :func:`faimed3d.io.read` for arguments and errors.

    Returns:
        (array, geometry, files): array (D,H,W), or (C,D,H,W) of several frames. Where ``goodRASFlag`` is not set, 1 mm
        and coronal slices are assumed, as FreeSurfer does, with a warning.
    """
    path = os.fspath(path)
    header = _read_header(path)
    shape = header["dims"].tolist()[::-1]
    code = int(header["type"])
    if min(shape) < 1:
        raise DamagedFile(f"{path}: every size in the header should be at least 1, got {shape[::-1]}")
    if code not in _TYPES:
        raise UnsupportedImage(
            f"{path}: voxels of FreeSurfer's type {code} are not supported; convert it with mri_convert -odt float"
        )
    full = tuple(shape if shape[0] > 1 else shape[1:])
    geometry = _geometry(path, header, full[-3:])
    voxels = Voxels(path, _OFFSET, np.dtype(_TYPES[code]).newbyteorder(">"), full)
    return read_voxels(voxels, dtype, False), geometry, (path,)  # what follows the voxels is no voxel


def read_mgh_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The header fields of a file, name to value; not the text behind the voxels."""
    header = _read_header(os.fspath(path))
    return {name: header[name].tolist() for name in _FIELDS.names or ()}


def mgh_voxels(path: str, array: np.ndarray) -> np.ndarray:
    """The voxels in a type that the format has, if that holds each of them exactly.

    Raises:
        ValueError: it does not.
    """
    if array.dtype.name in _TYPES.values():
        return array
    wanted = np.dtype(_WRITTEN_AS.get(array.dtype.name, "float32"))
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(wanted)
        exact = np.array_equal(cast.astype(array.dtype), array, equal_nan=array.dtype.kind == "f")
    if not exact or (array.dtype.kind == "u" and array.max() > np.iinfo(wanted).max):
        raise ValueError(
            f"{path}: FreeSurfer's format holds {', '.join(_TYPES.values())}, and {wanted} would change some of these "
            f"{array.dtype.name} voxels; convert them first, or write .nii.gz"
        )
    return cast


def mgh_header_bytes(array: np.ndarray, geometry: Geometry) -> bytes:
    """The header of a file that is written; big-endian voxels follow.

    Args:
        array: (D,H,W) or (C,D,H,W), of a type that the format has.
        geometry: its :class:`~faimed3d.geometry.Geometry`.
    """
    affine = RAS_TO_LPS @ geometry.affine
    sizes = array.shape[:-4:-1]
    header = np.zeros((), _FIELDS)
    header["version"], header["goodRASFlag"] = 1, 1
    header["dims"] = (*sizes, array.shape[0] if array.ndim == 4 else 1)
    header["type"] = next(code for code, name in _TYPES.items() if name == array.dtype.name)
    header["delta"] = geometry.spacing
    header["Mdc"] = (affine[:3, :3] / geometry.spacing).T
    header["Pxyz_c"] = affine[:3, :3] @ (np.array(sizes) / 2) + affine[:3, 3]
    return header.tobytes() + bytes(_OFFSET - _FIELDS.itemsize)


def _read_header(path):
    with named_errors(path), open_bytes(path) as stream:
        start = b""
        while len(start) < _OFFSET and (more := stream.read(_OFFSET - len(start))):
            start += more
    if len(start) < _OFFSET:
        raise TruncatedFile(f"{path}: {len(start)} bytes, but a FreeSurfer header has {_OFFSET}. Copy the file again")
    header = np.frombuffer(start, _FIELDS, 1)[0]
    if header["version"] != 1:
        raise DamagedFile(f"{path}: no FreeSurfer volume: its version should be 1, it is {header['version']}")
    return header


def _geometry(path, header, shape):
    if header["goodRASFlag"] <= 0:
        warnings.warn(
            f"{path}: goodRASFlag is not set, so the file does not say where the patient lies; 1 mm and coronal slices "
            "are assumed, as FreeSurfer does",
            stacklevel=4,
        )
        delta, cosines, centre = np.ones(3), _CORONAL, np.zeros(3)
    else:
        delta, cosines, centre = (header[name].astype(float) for name in ("delta", "Mdc", "Pxyz_c"))
    affine = np.eye(4)
    affine[:3, :3] = cosines.T * delta
    affine[:3, 3] = centre - affine[:3, :3] @ (np.array(shape[::-1]) / 2)
    try:
        if not (delta > 0).all():
            raise ValueError(f"delta should be the voxel sizes, positive numbers, got {delta.tolist()}")
        geometry = Geometry.from_affine(RAS_TO_LPS @ affine, shape)
    except ValueError as error:
        raise MissingGeometry(f"{path}: the header describes no grid in space: {error}. Correct the header") from error
    return geometry if header["goodRASFlag"] > 0 else geometry.replace(assumed="all")
