"""The headers of files that are written: NIfTI-1, NRRD and MetaImage, each as bytes.

References: as of the modules that read them, :mod:`~faimed3d.io.nifti`, :mod:`~faimed3d.io.nrrd` and
:mod:`~faimed3d.io.metaimage`. Voxels follow little-endian. NIfTI keeps channels as the fourth axis, slower than space;
the other two keep them together in each voxel.
"""

from __future__ import annotations

import numpy as np

from faimed3d.geometry import POSITION_TOLERANCE, Geometry

__all__ = ["METAIMAGE_TYPES", "NRRD_TYPES", "metaimage_head", "nifti_head", "nrrd_head"]

NRRD_TYPES = {
    "uint8": "unsigned char",
    "int8": "signed char",
    "uint16": "unsigned short",
    "int16": "short",
    "uint32": "unsigned int",
    "int32": "int",
    "uint64": "unsigned long long int",
    "int64": "long long int",
    "float32": "float",
    "float64": "double",
}
METAIMAGE_TYPES = {
    "uint8": "MET_UCHAR",
    "int8": "MET_CHAR",
    "uint16": "MET_USHORT",
    "int16": "MET_SHORT",
    "uint32": "MET_UINT",
    "int32": "MET_INT",
    "uint64": "MET_ULONG_LONG",
    "int64": "MET_LONG_LONG",
    "float32": "MET_FLOAT",
    "float64": "MET_DOUBLE",
}


def nifti_head(array, geometry, pair=False):
    """The header of a NIfTI-1 file.

    The sform is exact to float32. The qform is the nearest grid with orthogonal axes, for it can hold no other; it is
    left unset where its quaternion of float32 misses the grid by more than ``POSITION_TOLERANCE``. Channels are the
    fourth axis, which is time for programs that ask; its step and unit are left unknown.

    Args:
        array: (D,H,W) or (C,D,H,W).
        geometry: its :class:`~faimed3d.geometry.Geometry`.
        pair: whether the voxels lie in a file of their own.
    """
    from nibabel.nifti1 import Nifti1Header, Nifti1PairHeader

    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    affine = to_ras @ geometry.affine
    header = (Nifti1PairHeader if pair else Nifti1Header)(endianness="<")
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape[::-1] if array.ndim == 3 else (*array.shape[:0:-1], array.shape[0]))
    header.set_xyzt_units("mm")
    header.set_qform(affine, code=1)  # 1: the coordinates of the scanner
    header.set_sform(affine, code=1)
    if not geometry.agrees(Geometry.from_affine(to_ras @ header.get_qform(), geometry.shape), POSITION_TOLERANCE):
        header["qform_code"] = 0
    header["scl_slope"], header["scl_inter"] = 1, 0
    if not pair:
        header.set_data_offset(352)
    return header.binaryblock + bytes(4)  # no extension follows


def nrrd_head(array, geometry, encoding, data_file=None):
    """The header of a NRRD file, its numbers exact; ``data_file`` is the name of the file of a detached header."""
    lines = [
        "NRRD0004",
        f"type: {NRRD_TYPES[array.dtype.name]}",
        f"dimension: {array.ndim}",
        "space: left-posterior-superior",
        f"sizes: {_row(_sizes(array))}",
        f"space directions: {'none ' if array.ndim == 4 else ''}{' '.join(map(_vector, _steps(geometry)))}",
        f"kinds: {'vector ' if array.ndim == 4 else ''}domain domain domain",
        "endian: little",
        f"encoding: {encoding}",
        f"space origin: {_vector(geometry.origin)}",
    ]
    if data_file:
        lines.append(f"data file: {data_file}")
    return ("\n".join(lines) + "\n" + ("" if data_file else "\n")).encode("ascii")


def metaimage_head(array, geometry, packed=None, data_file="LOCAL"):
    """The header of a MetaImage file, its numbers exact.

    Args:
        packed: bytes of the voxels once they are packed; None: they are not packed. The header has the same length for
            every number.
        data_file: name of the file of the voxels.
    """
    fields = {
        "ObjectType": "Image",
        "NDims": 3,
        "BinaryData": True,
        "BinaryDataByteOrderMSB": False,
        "CompressedData": packed is not None,
        **({} if packed is None else {"CompressedDataSize": f"{packed:20d}"}),
        # row k of the file is axis k
        "TransformMatrix": _row(np.reshape(geometry.direction, (3, 3)).T.ravel()),
        "Offset": _row(geometry.origin),
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": _row(geometry.spacing),
        "DimSize": _row(array.shape[:-4:-1]),
        **({"ElementNumberOfChannels": len(array)} if array.ndim == 4 else {}),
        "ElementType": METAIMAGE_TYPES[array.dtype.name],
        "ElementDataFile": data_file,
    }
    return "".join(f"{name} = {value}\n" for name, value in fields.items()).encode("ascii")


def _sizes(array):
    """Sizes, fastest axis first: channels, x, y, z."""
    return array.shape[::-1] if array.ndim == 3 else (array.shape[0], *array.shape[:0:-1])


def _steps(geometry):
    """World vectors from one voxel to the next along x, y, z."""
    return geometry.affine[:3, :3].T


def _row(values):
    return " ".join(repr(value.item() if hasattr(value, "item") else value) for value in values)


def _vector(values):
    return f"({','.join(repr(float(value)) for value in values)})"
