"""From where and how a file stores its voxels to one array: counted before allocating, read and converted in blocks.

Every file format that keeps its voxels as one run of numbers (NIfTI, Analyze, NRRD, MetaImage, npy) reads them here.
"""

from __future__ import annotations

import math
import os
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from faimed3d.errors import DamagedFile, TruncatedFile
from faimed3d.io.byte_streams import is_gzip, named_errors, open_bytes
from faimed3d.io.conversion import Conversion

_BLOCK = 1 << 19  # bytes converted at a time: raw block and result stay in the cache
_DEFLATE_LIMIT = 1032  # deflate packs at most 1032 bytes into one
_COUNT_FIRST = 1 << 26  # larger claims, of over 16 times the packed bytes, are counted if no trailer confirms them


@dataclass(frozen=True)
class Voxels:
    """Where and how a file stores its voxels.

    Args:
        path: the file that holds them.
        offset: byte of the file (of the unpacked stream, where the whole file is packed) at which they begin.
        stored: numpy dtype of one stored number, with byte order.
        shape: array shape in C order, slowest axis first.
        encoding: 'file' (plain, or gzip if the content says so, ``offset`` counted in the unpacked bytes), 'raw',
            'gzip' or 'zlib' (packed from ``offset`` on).
        slope, inter: value = slope * stored + inter; None for no scaling.
    """

    path: str | os.PathLike[str]
    offset: int
    stored: np.dtype
    shape: tuple[int, ...]
    encoding: str = "file"
    slope: float | None = None
    inter: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "stored", np.dtype(self.stored))

    @property
    def nbytes(self) -> int:
        """Bytes of all voxels as they are stored."""
        return math.prod(self.shape) * self.stored.itemsize


def check_size(voxels: Voxels, strict: bool = True) -> None:
    """Compare the bytes that the header promises with those that the file has, before anything is allocated.

    Raises:
        TruncatedFile: the voxels cannot be all there.
        DamagedFile: bytes are left over (``strict`` only): the sizes or the type in the header are wrong.
    """
    path, needed = voxels.path, voxels.nbytes
    size = os.path.getsize(path)
    packed = voxels.encoding in ("gzip", "zlib") or (voxels.encoding == "file" and is_gzip(path))
    if not packed:
        _compare(voxels, max(size - voxels.offset, 0), strict)
        return
    start = 0 if voxels.encoding == "file" else voxels.offset
    total = needed + (voxels.offset if voxels.encoding == "file" else 0)
    there = max(size - start, 0)
    if total > there * _DEFLATE_LIMIT:
        raise TruncatedFile(
            f"{path}: the header describes {_describe(voxels)}, {needed} bytes of voxels; "
            f"{there} packed bytes cannot hold them. The header is damaged or the file was cut"
        )
    if total > max(_COUNT_FIRST, 16 * there) and not (
        voxels.encoding != "zlib" and _gzip_length(path) == total % 2**32
    ):
        with named_errors(path), open_bytes(path, voxels.encoding, voxels.offset) as stream:
            unpacked = sum(map(len, iter(lambda: stream.read(_BLOCK), b"")))
        _compare(voxels, unpacked - (total - needed), strict)


def _gzip_length(path):
    with open(path, "rb") as file:
        file.seek(-4, os.SEEK_END)
        return struct.unpack("<I", file.read(4))[0]


def _describe(voxels):
    return f"{'x'.join(map(str, voxels.shape))} voxels of {voxels.stored.name}"


def _compare(voxels, there, strict):
    needed = voxels.nbytes
    if there < needed:
        raise TruncatedFile(
            f"{voxels.path}: the header describes {_describe(voxels)}, {needed} bytes, but only {max(there, 0)} bytes "
            "of voxels are there. The file was cut or its header is damaged; copy it again"
        )
    if there > needed and strict:
        raise DamagedFile(
            f"{voxels.path}: the header describes {_describe(voxels)}, {needed} bytes, but {there} bytes follow it, "
            "so the sizes or the type in the header may be wrong. Pass strict=False to read the first ones and ignore "
            "the rest"
        )


def read_voxels(voxels: Voxels, dtype: DTypeLike | None = np.float32, strict: bool = True) -> np.ndarray:
    """Read all voxels into one new C-contiguous array.

    Args:
        voxels: a :class:`Voxels`.
        dtype: dtype of the result, see :class:`~faimed3d.io.conversion.Conversion`; None keeps the stored one.
        strict: refuse bytes that are left over.

    Returns:
        Array of ``voxels.shape``, native byte order. NaN and infinities stay.

    Raises:
        ReadError: a stored integer has no exact counterpart in ``dtype``, or a float overflows it.
        TruncatedFile, DamagedFile: fewer bytes than the header says, a wrong checksum, bytes left over.
    """
    check_size(voxels, strict)
    stored = voxels.stored
    convert = Conversion(stored.newbyteorder("="), dtype, str(voxels.path), voxels.slope, voxels.inter)
    with named_errors(voxels.path), open_bytes(voxels.path, voxels.encoding, voxels.offset) as stream:
        out = np.empty(math.prod(voxels.shape), convert.dtype)
        if voxels.encoding == "file":
            _skip(stream, voxels)
        filled = 0
        if convert.copies and stored.isnative and hasattr(stream, "readinto"):
            view = out.data.cast("B")
            while filled < len(view):
                got = stream.readinto(view[filled : filled + (1 << 26)])
                if not got:
                    break
                filled += got
        else:
            for block in _blocks(stream, voxels.nbytes):
                values = np.frombuffer(block, stored, len(block) // stored.itemsize)
                first = filled // stored.itemsize
                convert(values, out[first : first + len(values)])
                filled += len(block)
        left = 0
        while filled == voxels.nbytes and (more := len(stream.read(_BLOCK))):  # to the end: the checksum lies there
            left += more
        _compare(voxels, filled + left, strict)
    return out.reshape(voxels.shape)


def _skip(stream, voxels):
    if hasattr(stream, "seek"):
        stream.seek(voxels.offset)
        return
    left = voxels.offset
    while left:
        got = len(stream.read(min(left, _BLOCK)))
        if not got:
            raise TruncatedFile(
                f"{voxels.path}: the unpacked file ends before byte {voxels.offset}, where the voxels begin"
            )
        left -= got


def _blocks(stream, total):
    """Yield ``total`` bytes in blocks that all hold whole numbers; less if the stream ends."""
    if hasattr(stream, "readinto"):
        buffer = memoryview(bytearray(min(_BLOCK, total)))
        while total:
            want, got = min(len(buffer), total), 0
            while got < want and (more := stream.readinto(buffer[got:want])):
                got += more
            yield buffer[:got]
            total = total - got if got == want else 0
        return
    while total:
        want = min(_BLOCK, total)
        block = stream.read(want)
        while block and len(block) < want and (more := stream.read(want - len(block))):
            block += more
        yield block
        total = total - len(block) if len(block) == want else 0
