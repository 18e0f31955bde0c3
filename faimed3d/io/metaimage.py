"""MetaImage (.mha, and .mhd with its .raw or .zraw), read strictly, every byte counted; and its headers for writing.

Reference: MetaIO documentation (https://docs.itk.org/en/latest/learn/metaio.html).
"""

from __future__ import annotations

import math
import os
import re
import warnings
from dataclasses import replace

import numpy as np
from numpy.typing import DTypeLike

from faimed3d._decimals import whole_number
from faimed3d.errors import DamagedFile, MissingGeometry, TruncatedFile, UnsupportedImage
from faimed3d.geometry import Geometry
from faimed3d.io.byte_streams import is_gzip
from faimed3d.io.text_header import close_match, data_file, quote_known, readable, real_number
from faimed3d.io.voxels import Voxels, read_voxels

# By numpy's name, the name that is written first; MET_LONG has 4 bytes on every system in MetaIO
_TYPES = {
    "int8": ("MET_CHAR",),
    "uint8": ("MET_UCHAR",),
    "int16": ("MET_SHORT",),
    "uint16": ("MET_USHORT",),
    "int32": ("MET_INT", "MET_LONG"),
    "uint32": ("MET_UINT", "MET_ULONG"),
    "int64": ("MET_LONG_LONG",),
    "uint64": ("MET_ULONG_LONG",),
    "float32": ("MET_FLOAT",),
    "float64": ("MET_DOUBLE",),
}
_OPTIONAL = ("TransformMatrix", "Offset", "CompressedData", "BinaryDataByteOrderMSB", "ElementNumberOfChannels")
_LINE_INSIDE = re.compile(
    rf"({'|'.join(_OPTIONAL)}|Position|Origin|Rotation|Orientation|ElementByteOrderMSB|HeaderSize|BinaryData)\s*="
)
# Words of the format, which messages may quote
_NAMES = (
    *("ObjectType", "NDims", "Comment", "Name", "ID", "ParentID", "Modality", "BinaryData", "ElementByteOrderMSB"),
    *("CompressedDataSize", "Position", "Origin", "Rotation", "Orientation", "CenterOfRotation", "ElementDataFile"),
    *("ElementSpacing", "ElementSize", "DimSize", "ElementType", "HeaderSize", "AnatomicalOrientation", *_OPTIONAL),
)
_OBJECTS = ("image", "tube", "ellipse", "mesh", "surface", "line", "landmark", "group", "scene", "blob", "contour")
_LONGEST_HEADER = 1 << 20


def read_metaimage(
    path: str | os.PathLike[str], strict: bool = True, dtype: DTypeLike | None = np.float32
) -> tuple[np.ndarray, Geometry, tuple[str, ...]]:
    """Read a MetaImage file; see :func:`faimed3d.io.read` for arguments, errors and the order of axes.

    Returns:
        (array, geometry, files). ``ElementNumberOfChannels`` or a fourth dimension longer than 1 become channels,
        first. Without Offset or TransformMatrix 0 and identity are taken, the format's defaults, with a warning.
    """
    path = os.fspath(path)
    fields, end = _read_header(path)
    if strict:
        _check_names(path, fields)
    if fields.get("ObjectType", "Image") != "Image":
        raise UnsupportedImage(
            f"{path}: ObjectType {quote_known(fields['ObjectType'], _OBJECTS)} in the header is no image"
        )
    code = fields.get("ElementType", "").removesuffix("_ARRAY")
    name = next((name for name, codes in _TYPES.items() if code in codes), None)
    parts = _whole(path, fields, "ElementNumberOfChannels", 1)
    if name is None:
        raise DamagedFile(f"{path}: ElementType in the header is none of MetaImage's number types, such as MET_SHORT")
    order = _one(path, fields, ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"), _true, strict)
    stored = np.dtype(name).newbyteorder(">" if order else "<")
    rank = _whole(path, fields, "NDims", 0)
    sizes = _numbers(path, fields, "DimSize", whole_number)
    if len(sizes) != rank or min(sizes, default=0) < 1 or parts < 1:
        raise DamagedFile(f"{path}: NDims {rank}, DimSize {sizes} and {parts} channels do not go together")
    if rank < 3:
        raise UnsupportedImage(f"{path}: an image of {rank} dimensions {sizes}; a volume has 3. Stack its slices first")
    times = math.prod(sizes[3:])
    if rank > 4 or (times > 1 and parts > 1):
        raise UnsupportedImage(
            f"{path}: {rank} dimensions {sizes} with {parts} channels; channels first (C,D,H,W) holds one dimension "
            "beyond the third. Save the parts as separate files"
        )
    scaling = {"ElementToIntensityFunctionSlope": [1.0], "ElementToIntensityFunctionOffset": [0.0]}
    if any(name in fields and _numbers(path, fields, name) != neutral for name, neutral in scaling.items()):
        raise UnsupportedImage(
            f"{path}: ElementToIntensityFunction (a scaling) is not supported; save the scaled values"
        )
    geometry = _geometry(path, fields, rank, tuple(sizes[2::-1]), strict)
    shape = (*((times,) if times > 1 else ()), *sizes[2::-1], *((parts,) if parts > 1 else ()))
    voxels = _data(path, fields, end, stored, shape, strict)
    array = read_voxels(voxels, dtype, strict)
    if parts > 1:
        array = np.ascontiguousarray(np.moveaxis(array, -1, 0))
    return array, geometry, (path,) if voxels.path == path else (path, voxels.path)


def read_metaimage_header(path: str | os.PathLike[str]) -> dict[str, str]:
    """All header fields of a file, name to text, in file order."""
    return {readable(name): readable(value) for name, value in _read_header(os.fspath(path))[0].items()}


def metaimage_header_bytes(
    array: np.ndarray, geometry: Geometry, packed: int | None = None, data_name: str = "LOCAL"
) -> bytes:
    """The header of a MetaImage file that is written, its numbers exact; little-endian voxels follow.

    Args:
        array: (D,H,W) or (C,D,H,W); channels lie together in each voxel.
        geometry: its :class:`~faimed3d.geometry.Geometry`.
        packed: bytes of the voxels once they are packed; None: they are not packed. The header has the same length for
            every number.
        data_name: name of the file that holds the voxels; 'LOCAL': they follow the header.
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
        "ElementType": _TYPES[array.dtype.name][0],
        "ElementDataFile": data_name,
    }
    return "".join(f"{name} = {value}\n" for name, value in fields.items()).encode("ascii")


def _read_header(path):
    """(fields, byte at which local data begin)."""
    if is_gzip(path):
        raise UnsupportedImage(f"{path}: a MetaImage file packed as a whole; unpack it first (gunzip)")
    with open(path, "rb") as file:
        start = file.read(_LONGEST_HEADER)
    fields, position = {}, 0
    while "ElementDataFile" not in fields:
        stop = start.find(b"\n", position)
        line = start[position : stop if stop >= 0 else len(start)].decode("utf-8", "surrogateescape")
        position = stop + 1 if stop >= 0 else len(start)
        key, mark, value = line.partition("=")
        if mark:
            if key.strip() in fields:
                raise DamagedFile(f"{path}: the header gives {_quote_name(key.strip())} twice")
            fields[key.strip()] = value.strip()
        elif line.strip():
            raise DamagedFile(f"{path}: a header line without '=' after {len(fields)} fields; the header is damaged")
        if stop < 0 and "ElementDataFile" not in fields:
            raise TruncatedFile(
                f"{path}: the header does not end with ElementDataFile; the file was cut. Copy it again"
            )
    return fields, position


def _check_names(path, fields):
    """Refuse a damaged name or line of those whose absence would go unseen; other names are free in this format."""
    for known in _OPTIONAL:
        if known not in fields and (close := close_match(known, fields)):
            raise DamagedFile(
                f"{path}: the header has {close!r} but no {known!r}; it may be damaged. Correct it, or pass "
                "strict=False"
            )
    for name, value in fields.items():
        if found := _LINE_INSIDE.search(value):
            raise DamagedFile(
                f"{path}: {_quote_name(name)} in the header has swallowed {found[1]}: the end of its line is lost. "
                "Correct it, or pass strict=False"
            )


def _true(path, fields, name):
    value = fields.get(name, "False").lower()
    if value not in ("true", "t", "1", "false", "f", "0"):
        raise DamagedFile(f"{path}: {name} in the header should be True or False, got {quote_known(fields[name])}")
    return value in ("true", "t", "1")


def _one(path, fields, names, parse, strict):
    """Value of the one field that goes by several names; None if there is none of them."""
    found = {name: parse(path, fields, name) for name in names if name in fields}
    first = next(iter(found), None)
    for name, value in list(found.items())[1:]:
        if not (np.shape(value) == np.shape(found[first]) and np.allclose(value, found[first], 1e-4, 1e-6)):
            text = f"{path}: {first} and {name} in the header say the same thing differently"
            if strict:
                raise DamagedFile(f"{text}. Correct it, or pass strict=False to take {first}")
            warnings.warn(f"{text}; {first} is taken", stacklevel=5)
    return found.get(first)


def _quote_name(name):
    return name if name in _NAMES else "a field"


def _numbers(path, fields, name, kind=real_number):
    if name not in fields:
        raise DamagedFile(f"{path}: the header has no {name}")
    try:
        return [kind(word) for word in fields[name].split()]
    except ValueError:
        raise DamagedFile(f"{path}: {name} in the header should be numbers, got {quote_known(fields[name])}") from None


def _whole(path, fields, name, default):
    values = _numbers(path, fields, name, whole_number) if name in fields else [default]
    if len(values) != 1:
        raise DamagedFile(f"{path}: {name} in the header should be one number, got {quote_known(fields[name])}")
    return values[0]


def _geometry(path, fields, rank, shape, strict):
    def field(names, default, count):
        values = _one(path, fields, names, _numbers, strict)
        if values is None:
            warnings.warn(f"{path}: the header has no {names[0]}; {default} is taken", stacklevel=5)
            return default
        if len(values) != count:
            raise MissingGeometry(f"{path}: {names[0]} in the header should be {count} numbers, got {values}")
        return values

    spacing = next((name for name in ("ElementSpacing", "ElementSize") if name in fields), None)
    if spacing is None and strict:
        raise MissingGeometry(
            f"{path}: the header has no ElementSpacing. Correct it, or pass strict=False to take 1 mm"
        )
    spacing = field((spacing or "ElementSpacing",), [1.0] * rank, rank)
    origin = field(("Offset", "Position", "Origin"), [0.0] * rank, rank)
    identity = np.eye(rank).ravel().tolist()
    matrix = np.reshape(field(("TransformMatrix", "Rotation", "Orientation"), identity, rank * rank), (rank, rank))
    if rank == 4 and (np.any(matrix[3, :3]) or np.any(matrix[:3, 3])):
        raise UnsupportedImage(f"{path}: the fourth axis is turned into space; no volume of 3 spatial axes")
    try:
        return Geometry(shape, spacing[:3], origin[:3], matrix[:3, :3].T.ravel())  # row k of the file is axis k
    except ValueError as error:
        raise MissingGeometry(f"{path}: the header describes no grid in space: {error}") from error


def _data(path, fields, end, stored, shape, strict):
    name = fields["ElementDataFile"]
    if "LOCAL".startswith(name) and name != "LOCAL":
        raise TruncatedFile(f"{path}: the header ends within ElementDataFile; the file was cut. Copy it again")
    if "BinaryData" in fields and not _true(path, fields, "BinaryData"):
        raise UnsupportedImage(f"{path}: the voxels are written as text; save them as binary data")
    data_path, offset = path, end
    if name.upper() != "LOCAL":
        data_path, offset = data_file(path, name), 0
    packed = _true(path, fields, "CompressedData")
    if "CompressedDataSize" in fields and not packed:
        raise DamagedFile(f"{path}: the header gives CompressedDataSize, but not CompressedData = True")
    skip = _whole(path, fields, "HeaderSize", 0)
    voxels = Voxels(data_path, offset, stored, shape, "zlib" if packed else "raw")
    if skip == -1 and not packed:
        voxels = replace(voxels, offset=max(os.path.getsize(data_path) - voxels.nbytes, offset))
    elif skip > 0 and name.upper() != "LOCAL":
        voxels = replace(voxels, offset=skip)
    elif skip:
        raise DamagedFile(f"{path}: HeaderSize {skip} in the header cannot be")
    stated, there = _whole(path, fields, "CompressedDataSize", 0), os.path.getsize(data_path) - voxels.offset
    if strict and stated not in (0, there):  # 0 is MetaIO's word for unknown
        raise (TruncatedFile if stated > there else DamagedFile)(
            f"{path}: CompressedDataSize {stated} in the header, but {there} bytes are there. Copy the file again, or "
            "pass strict=False to trust the checksum of the packed voxels"
        )
    return voxels


def _row(values):
    return " ".join(repr(value.item() if hasattr(value, "item") else value) for value in values)
