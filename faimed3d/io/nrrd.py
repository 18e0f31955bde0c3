"""NRRD (.nrrd, and .nhdr with its data file), read strictly, every byte counted; and its headers for writing.

Reference: Definition of the NRRD file format (https://teem.sourceforge.net/nrrd/format.html).
"""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from faimed3d._decimals import whole_number
from faimed3d.errors import DamagedFile, MissingGeometry, TruncatedFile, UnsupportedImage
from faimed3d.geometry import Geometry
from faimed3d.io.byte_streams import is_gzip
from faimed3d.io.text_header import close_match, data_file, quote_known, readable, real_number
from faimed3d.io.voxels import Voxels, read_voxels

# By numpy's name, the name that is written first
_TYPES = {
    "int8": ("signed char", "int8", "int8_t"),
    "uint8": ("unsigned char", "uchar", "uint8", "uint8_t"),
    "int16": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "uint16": ("unsigned short", "ushort", "unsigned short int", "uint16", "uint16_t"),
    "int32": ("int", "signed int", "int32", "int32_t"),
    "uint32": ("unsigned int", "uint", "uint32", "uint32_t"),
    "int64": (
        *("long long int", "long long", "longlong", "signed long long", "signed long long int", "int64", "int64_t"),
    ),
    "uint64": ("unsigned long long int", "unsigned long long", "ulonglong", "uint64", "uint64_t"),
    "float32": ("float",),
    "float64": ("double",),
}
_TO_LPS = {
    "left-posterior-superior": (1, 1, 1),
    "lps": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
    "las": (1, -1, 1),
}
_NO_PATIENT = ("scanner-xyz", "3d-right-handed", "3d-left-handed", "")
_TWO_SPELLINGS = (
    *("block size", "old min", "old max", "data file", "line skip", "byte skip", "sample units"),
    *("axis mins", "axis maxs"),
)
_OTHER_SPELLINGS = {"centerings": "centers", **{name.replace(" ", ""): name for name in _TWO_SPELLINGS}}
_FIELDS = (
    *("dimension", "type", "encoding", "endian", "content", "min", "max", "number", "sizes", "spacings", "thicknesses"),
    *("centers", "labels", "units", "kinds", "space", "space dimension", "space units", "space origin"),
    *("space directions", "measurement frame", *_TWO_SPELLINGS),
)
_SPATIAL_KINDS = ("domain", "space")
_MILLIMETRES = {
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre"), 1.0),
    **dict.fromkeys(("um", "µm", "micron", "microns", "micrometer"), 0.001),
    **dict.fromkeys(("", "none", "???"), 1.0),  # unknown, taken as mm
    "cm": 10.0,
    "m": 1000.0,
}
# Words of the format, which messages may quote
_ENCODINGS = ("raw", "txt", "text", "ascii", "hex", "gz", "gzip", "bz2", "bzip2")
_KINDS = (*_SPATIAL_KINDS, "list", "vector", "covariant-vector", "point", "normal", "scalar", "time", "???", "none")
_SPACES = tuple(f"{name}{time}" for name in (*_TO_LPS, *_NO_PATIENT[:-1]) for time in ("", "-time", "t"))
_LONGEST_HEADER = 1 << 20


def read_nrrd(
    path: str | os.PathLike[str], strict: bool = True, dtype: DTypeLike | None = np.float32
) -> tuple[np.ndarray, Geometry, tuple[str, ...]]:
    """Read a NRRD file; see :func:`faimed3d.io.read` for arguments, errors and the order of axes.

    Returns:
        (array, geometry, files). One axis without a space direction (a vector, a list of time points) becomes channels,
        first. A file that names no space (LPS, RAS or LAS) is taken as LPS with a warning, as SimpleITK does silently.
    """
    path = os.fspath(path)
    fields, _, end = _read_header(path)
    stored = _stored_type(path, fields)
    sizes = _numbers(path, fields, "sizes", whole_number)
    rank = _numbers(path, fields, "dimension", whole_number)[0]
    if len(sizes) != rank or min(sizes) < 1:
        raise DamagedFile(
            f"{path}: dimension {rank} and sizes {sizes} do not go together; each size should be at least 1"
        )
    channel = _channel_axis(path, fields, sizes)
    shape = tuple(n for axis, n in enumerate(sizes) if axis != channel)[::-1]
    with np.errstate(all="ignore"):  # of numbers beyond float64: what comes of them is checked
        geometry = _geometry(path, fields, shape, channel)
    data_path, offset, encoding = _data(path, fields, end, math.prod(sizes) * stored.itemsize)
    array = read_voxels(Voxels(data_path, offset, stored, sizes[::-1], encoding), dtype, strict)
    if channel is not None:
        array = np.ascontiguousarray(np.moveaxis(array, rank - 1 - channel, 0))
        array = array[0] if len(array) == 1 else array
    return array, geometry, (path,) if data_path == path else (path, data_path)


def read_nrrd_header(path: str | os.PathLike[str]) -> dict[str, str]:
    """All header fields and key/value pairs of a file, name to text, in file order."""
    fields, pairs, _ = _read_header(os.fspath(path))
    return {readable(name): readable(value) for name, value in {**pairs, **fields}.items()}


def nrrd_header_bytes(
    array: np.ndarray, geometry: Geometry, encoding: str, data_name: str | None = None, pairs: Sequence[str] = ()
) -> bytes:
    """The header of a NRRD file that is written, its numbers exact; little-endian voxels follow.

    Args:
        array: (D,H,W) or (C,D,H,W); channels lie together in each voxel.
        geometry: its :class:`~faimed3d.geometry.Geometry`.
        encoding: 'raw' or 'gzip'.
        data_name: name of the file that holds the voxels; None: they follow the header.
        pairs: key/value pairs (``'key:=value'``); with them channels are a list (layers of segments), else a vector.
    """
    channels = array.ndim == 4
    sizes = (len(array), *array.shape[:0:-1]) if channels else array.shape[::-1]
    steps = geometry.affine[:3, :3].T  # mm from one voxel to the next, along x, y, z
    lines = [
        "NRRD0004",
        f"type: {_TYPES[array.dtype.name][0]}",
        f"dimension: {array.ndim}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, sizes))}",
        f"space directions: {'none ' if channels else ''}{' '.join(map(_vector, steps))}",
        f"kinds: {('list ' if pairs else 'vector ') if channels else ''}domain domain domain",
        "endian: little",
        f"encoding: {encoding}",
        f"space origin: {_vector(geometry.origin)}",
        *pairs,
    ]
    if data_name:
        lines.append(f"data file: {data_name}")
    return ("\n".join(lines) + "\n" + ("" if data_name else "\n")).encode()


def _read_header(path):
    """(fields, key/value pairs, byte at which attached data begin)."""
    if is_gzip(path):
        raise UnsupportedImage(f"{path}: a NRRD file packed as a whole; unpack it first (gunzip)")
    with open(path, "rb") as file:
        start = file.read(_LONGEST_HEADER)
    lines, position, fields, pairs, ended = [], 0, {}, {}, False
    while (stop := start.find(b"\n", position)) >= 0:
        line = start[position:stop].rstrip(b"\r")
        position = stop + 1
        if not line:
            ended = True
            break
        lines.append(line)
    if not ended and (position < len(start) or len(start) == _LONGEST_HEADER):
        raise TruncatedFile(
            f"{path}: the NRRD header has no end: no empty line, nor, as where the voxels lie in another file, a line "
            "break after its last line. The file was cut; copy it again. If it is whole, add the line break"
        )
    if not lines or not re.fullmatch(rb"NRRD000[1-6]", lines[0].strip()):
        raise DamagedFile(f"{path}: no NRRD file: its first line should be 'NRRD0001' to 'NRRD0006'")
    for number, raw in enumerate(lines[1:], 2):
        line = raw.decode("utf-8", "surrogateescape")
        if line.startswith("#") or not line.strip():
            continue
        key, mark, value = line.partition(": ")
        if ":=" in key:  # a key/value pair, which may carry the name of a field
            key, mark, value = line.partition(":=")
            pairs[key.strip()] = value.strip()
            continue
        if not mark:
            key, mark, value = line.partition(":")
        key = key.strip().lower()
        key = _OTHER_SPELLINGS.get(key, key)
        if not mark:
            raise DamagedFile(f"{path}: the header is damaged: line {number} has no ':'")
        if key not in _FIELDS:
            near = close_match(key, [*_FIELDS, *_OTHER_SPELLINGS])
            meant = f"; perhaps {near!r} was meant" if near else ""
            raise DamagedFile(f"{path}: the header is damaged: line {number} is no field of NRRD{meant}")
        if key in fields:
            raise DamagedFile(f"{path}: the header is damaged: {key!r} stands there twice")
        fields[key] = value.strip()
    if not ended and "data file" not in fields:
        raise TruncatedFile(f"{path}: the NRRD header has no end (an empty line); the file was cut. Copy it again")
    return fields, pairs, position


def _numbers(path, fields, name, kind=real_number):
    try:
        values = [kind(word) for word in fields[name].split()]
    except KeyError:
        raise DamagedFile(f"{path}: the header has no field {name!r}") from None
    except ValueError:
        values = []
    if not values:
        raise DamagedFile(f"{path}: the header field {name!r} should be numbers, got {quote_known(fields[name])}")
    return values


def _stored_type(path, fields):
    name = fields.get("type", "")
    code = next((code for code, names in _TYPES.items() if name.lower() in names), None)
    if code is None:
        if name == "block":
            raise UnsupportedImage(f"{path}: voxels of type 'block' are no numbers")
        raise DamagedFile(f"{path}: the type in the header is none of NRRD's, got {quote_known(name)}")
    stored = np.dtype(code)
    if stored.itemsize == 1:
        return stored
    endian = fields.get("endian", "").lower()
    if endian not in ("little", "big") and fields.get("encoding", "").lower() not in ("ascii", "text", "txt"):
        raise DamagedFile(f"{path}: endian in the header should be 'little' or 'big'")
    return stored.newbyteorder("<" if endian == "little" else ">")


def _vectors(path, fields, name):
    """The vectors of a field such as '(1,0,0) none (0,1,0)', None for none."""
    text = fields[name].strip()
    if not re.fullmatch(r"((none|\([^()]*\))\s*)+", text):
        raise DamagedFile(
            f"{path}: {name!r} in the header should be vectors such as (1,0,0), got {quote_known(text, ('none',))}"
        )
    vectors = []
    for inside in re.findall(r"none|\(([^()]*)\)", text):
        try:
            vectors.append([real_number(word.strip()) for word in inside.split(",")] if inside else None)
        except ValueError:
            raise DamagedFile(
                f"{path}: {name!r} in the header should be vectors of numbers, got {quote_known(text)}"
            ) from None
    return vectors


def _channel_axis(path, fields, sizes):
    """Which axis holds channels, fastest axis 0; None for a plain volume."""
    rank = len(sizes)
    kinds = fields.get("kinds", "").lower().split()
    if any(kind in ("complex", "3d-complex") for kind in kinds):
        raise UnsupportedImage(f"{path}: the voxels are complex. Save magnitude and phase, each as a volume")
    if rank < 3 or (rank == 3 and kinds and any(k not in (*_SPATIAL_KINDS, "???", "none") for k in kinds)):
        raise UnsupportedImage(
            f"{path}: sizes {sizes} with kinds {quote_known(' '.join(kinds), _KINDS)}: no volume of 3 spatial axes. "
            "Stack its slices first"
        )
    if rank == 3:
        return None
    if rank > 4:
        raise UnsupportedImage(
            f"{path}: {rank} axes {sizes}; a volume has 3 and one for channels. Save the parts as files"
        )
    others = []
    if "space directions" in fields:
        others = [axis for axis, vector in enumerate(_vectors(path, fields, "space directions")) if vector is None]
    elif len(kinds) == rank:
        others = [axis for axis, kind in enumerate(kinds) if kind not in _SPATIAL_KINDS]
    if len(others) != 1:
        raise UnsupportedImage(
            f"{path}: 4 axes {sizes}, but the header does not say which one is not spatial ('none' in space "
            "directions, or kinds). Save it with such a field, or the parts as separate files"
        )
    return others[0]


def _geometry(path, fields, shape, channel):
    scale = _unit(path, fields, channel)
    space = fields.get("space", "").lower()
    if "space directions" in fields:
        vectors = [v for v in _vectors(path, fields, "space directions") if v is not None]
        origin = _vectors(path, fields, "space origin")[0] if fields.get("space origin") else [0.0, 0.0, 0.0]
        if "space origin" not in fields:
            warnings.warn(f"{path}: the header has no 'space origin'; voxel 0 is put at 0, 0, 0", stacklevel=4)
        if len(vectors) != 3 or origin is None or any(len(v) != 3 for v in [*vectors, origin]):
            raise MissingGeometry(
                f"{path}: space directions {vectors} and space origin {origin} should be 3 vectors and 1, of 3 numbers"
            )
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = np.transpose(vectors), origin
        affine[:3] *= scale
        if space in _TO_LPS:
            affine[:3] *= np.array(_TO_LPS[space])[:, None]
        else:
            _warn_no_space(path, space)
        try:
            return Geometry.from_affine(affine, shape)
        except ValueError as error:
            raise MissingGeometry(
                f"{path}: space directions and space origin describe no grid in space: {error}"
            ) from error
    if "spacings" not in fields:
        raise MissingGeometry(f"{path}: the header has neither 'space directions' nor 'spacings'. Correct the header")
    spacing = _numbers(path, fields, "spacings")
    origin = _numbers(path, fields, "axis mins") if "axis mins" in fields else None
    if channel is not None:
        spacing = spacing[:channel] + spacing[channel + 1 :]
        origin = origin[:channel] + origin[channel + 1 :] if origin else None
    _warn_no_space(path, space)
    try:
        if origin is not None:  # an axis min is the border of the first voxel, unless the samples are nodes
            centers = fields.get("centers", "").split()
            spatial = [word for axis, word in enumerate(centers) if axis != channel] or ["cell"] * 3
            origin = np.add(origin, [0 if c == "node" else s / 2 for c, s in zip(spatial, spacing, strict=True)])
        return Geometry(shape, np.multiply(spacing, scale), np.multiply([0.0] * 3 if origin is None else origin, scale))
    except ValueError as error:
        raise MissingGeometry(f"{path}: spacings and axis mins describe no grid in space: {error}") from error


def _unit(path, fields, channel):
    """mm of one unit; ``space units`` has a word for each axis of space, ``units`` for each axis of the array."""
    words = _words(fields.get("space units", ""))
    words += [word for axis, word in enumerate(_words(fields.get("units", ""))) if axis != channel]
    scales = {_MILLIMETRES.get(word) for word in words} or {1.0}
    if len(scales) > 1 or None in scales:
        raise MissingGeometry(
            f"{path}: space units and units should be one of mm, cm, m, um, the same for all axes of space, got "
            f"{quote_known(' '.join(words), _MILLIMETRES)}"
        )
    return scales.pop()


def _words(text):
    """The words of a field such as '"mm" "mm" ""', in lower case."""
    return [word.strip('" ').lower() for word in re.findall(r'"[^"]*"|[^\s"]+', text)]


def _warn_no_space(path, space):
    if space not in _NO_PATIENT:
        raise MissingGeometry(
            f"{path}: space {quote_known(space, _SPACES)} in the header is none that can be placed in the patient; "
            f"{', '.join(_TO_LPS)} can"
        )
    warnings.warn(
        f"{path}: the header {'gives space ' + repr(space) if space else 'names no space'}, so it does not say where "
        "left, posterior and superior are; LPS is assumed",
        stacklevel=5,
    )


def _data(path, fields, end, needed):
    """(file, offset, encoding) of the voxels."""
    encoding = fields.get("encoding", "").lower()
    packed = {"raw": "raw", "gz": "gzip", "gzip": "gzip"}.get(encoding)
    if packed is None:
        raise UnsupportedImage(
            f"{path}: encoding {quote_known(encoding, _ENCODINGS)} is not supported; save it as raw or gzip"
        )
    name = fields.get("data file")
    data_path, offset = path, end
    if name is not None:
        data_path, offset = data_file(path, name), 0
    lines, skip = (
        _numbers(path, fields, field, whole_number)[0] if field in fields else 0 for field in ("line skip", "byte skip")
    )
    if lines < 0 or skip < -1 or (skip == -1 and packed != "raw"):
        raise DamagedFile(f"{path}: line skip {lines} or byte skip {skip} in the header cannot be")
    if skip == -1:
        return data_path, max(os.path.getsize(data_path) - needed, offset), packed
    if packed == "gzip" and skip:
        raise UnsupportedImage(f"{path}: byte skip inside packed data is not supported; save it without")
    return data_path, _after_lines(data_path, offset, lines) + skip, packed


def _after_lines(path, offset, count):
    """The byte behind ``count`` lines from ``offset`` on, or the end of the file."""
    with open(path, "rb") as file:
        file.seek(offset)
        while count > 0 and (line := file.readline(_LONGEST_HEADER)):  # a piece of it, if there are no line breaks
            count -= line.endswith(b"\n")
        return file.tell()


def _vector(values):
    return f"({','.join(repr(float(value)) for value in values)})"
