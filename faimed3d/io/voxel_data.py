"""From the bytes of a file to the voxels of one array: counted before allocating, checksummed, converted in blocks.

Every file format that keeps its voxels as one run of numbers (NIfTI, Analyze, NRRD, MetaImage, npy) reads them here.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import struct
import zlib

import numpy as np

from faimed3d.errors import DamagedFile, ReadError, TruncatedFile, UnsupportedImage

__all__ = ["Voxels", "check_size", "convert", "is_gzip", "named_errors", "open_bytes", "read_voxels"]

_BLOCK = 1 << 19  # bytes converted at a time: raw block and result stay in the cache
_DEFLATE_LIMIT = 1032  # deflate packs at most 1032 bytes into one
_COUNT_FIRST = 1 << 26  # larger claims, of over 16 times the packed bytes, are counted if no trailer confirms them
_EXACT = 2**53  # float64 holds the whole numbers up to here


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

    def __init__(self, path, offset, stored, shape, encoding="file", slope=None, inter=0.0):
        self.path, self.offset, self.stored, self.shape = os.fspath(path), int(offset), np.dtype(stored), tuple(shape)
        self.encoding, self.slope, self.inter = encoding, slope, inter

    @property
    def nbytes(self):
        """Bytes of all voxels as they are stored."""
        return math.prod(self.shape) * self.stored.itemsize


def is_gzip(path):
    """Whether the file begins as gzip does (RFC 1952), whatever its name."""
    with open(path, "rb") as file:
        return file.read(3) == b"\x1f\x8b\x08"


@contextlib.contextmanager
def named_errors(path):
    """Turn what goes wrong inside a packed stream into an error that names the file."""
    import gzip

    from isal import isal_zlib

    try:
        yield
    except EOFError as error:
        raise TruncatedFile(
            f"{path}: the gzip stream ends before its end mark; the file was cut. Copy it again"
        ) from error
    except (gzip.BadGzipFile, zlib.error, isal_zlib.error) as error:
        raise DamagedFile(f"{path}: the packed data is damaged ({error}). Copy the file again") from error
    except MemoryError as error:
        raise ReadError(f"{path}: not enough memory for the volume that the header describes") from error


def open_bytes(path, encoding="file", offset=0):
    """Open a file to be read once from front to back, unpacked: gzip with its CRC checked, zlib with its Adler-32.

    Args:
        path: the file.
        encoding, offset: as in :class:`Voxels`; for 'file' the stream begins at byte 0, else at ``offset``.
    """
    if encoding == "file":
        offset, encoding = 0, "gzip" if is_gzip(path) else "raw"
    file = open(path, "rb", buffering=0 if encoding == "raw" else 1 << 16)  # noqa: SIM115 - the caller closes it
    file.seek(offset)
    if encoding == "raw":
        return file
    if encoding == "gzip":
        return _Packed(_GzipFile(file), file)
    return _Packed(_ZlibFile(file), file)


class _Packed:
    """A stream of unpacked bytes that closes the packed file with it."""

    def __init__(self, stream, file):
        self.read, self._file = stream.read, file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()


class _GzipFile:
    """A gzip stream of any number of members whose end is told from bytes that follow it."""

    def __init__(self, file):
        from isal import igzip

        self._file, self._start, self._unpacked = file, file.tell(), igzip.IGzipFile(fileobj=file, mode="rb")

    def read(self, size=-1):
        import gzip

        try:
            return self._unpacked.read(size)
        except EOFError:  # too few bytes for a member: one that was cut, or none at all
            if self._rest()[:3] not in (b"", b"\x1f", b"\x1f\x8b", b"\x1f\x8b\x08"):
                raise gzip.BadGzipFile("bytes that are no gzip follow the end of the stream") from None
            raise

    def _rest(self):
        """What follows the last whole member, without padding by zeros; of a cut member b''."""
        from isal import isal_zlib

        self._file.seek(self._start)
        packed = self._file.read(1 << 16)
        while packed.startswith(b"\x1f\x8b\x08"):
            member = isal_zlib.decompressobj(31)
            while packed and not member.eof:
                member.decompress(packed, 1 << 20)
                packed = member.unused_data if member.eof else member.unconsumed_tail or self._file.read(1 << 16)
            if not member.eof:
                return b""
            packed = (packed + self._file.read(1 << 16)).lstrip(b"\0")
        return packed


class _ZlibFile(io.RawIOBase):
    """A zlib (or gzip) stream as MetaImage writes it, read in pieces; reading past its end checks the checksum."""

    def __init__(self, file):
        from isal import isal_zlib

        start = file.tell()
        gzipped = file.read(2) == b"\x1f\x8b"
        file.seek(start)
        self._file, self._unpack = file, isal_zlib.decompressobj(31 if gzipped else 15)

    def read(self, size=-1):
        pieces, missing = [], size if size >= 0 else math.inf
        while missing > 0 and not self._unpack.eof:
            packed = self._unpack.unconsumed_tail or self._file.read(1 << 16)
            piece = self._unpack.decompress(packed, min(missing, 1 << 20))
            if not packed and not piece:
                raise EOFError
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)


def check_size(voxels, strict=True):
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
            "of "
            "voxels are there. The file was cut or its header is damaged; copy it again"
        )
    if there > needed and strict:
        raise DamagedFile(
            f"{voxels.path}: the header describes {_describe(voxels)}, {needed} bytes, but {there} bytes follow it, "
            "so the "
            "sizes or the type in the header may be wrong. Pass strict=False to read the first ones and ignore the rest"
        )


def read_voxels(voxels, dtype=np.float32, strict=True):
    """Read all voxels into one new C-contiguous array.

    Args:
        voxels: a :class:`Voxels`.
        dtype: dtype of the result. None keeps the stored one (scaled values become float32, or float64 where the
            stored numbers are wider than float32 holds).
        strict: refuse bytes that are left over.

    Returns:
        Array of ``voxels.shape``, native byte order. NaN and infinities stay.

    Raises:
        ReadError: a stored integer has no exact counterpart in ``dtype``, or a float overflows it.
        TruncatedFile, DamagedFile: fewer bytes than the header says, a wrong checksum, bytes left over.
    """
    check_size(voxels, strict)
    stored, count = voxels.stored, math.prod(voxels.shape)
    native = stored.newbyteorder("=")
    convert = _Conversion(voxels, native, dtype)
    with named_errors(voxels.path), open_bytes(voxels.path, voxels.encoding, voxels.offset) as stream:
        out = np.empty(count, convert.dtype)
        if voxels.encoding == "file":
            _skip(stream, voxels)
        filled = 0
        if convert.copies and stored.isnative and hasattr(stream, "readinto"):
            view = memoryview(out).cast("B")
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


def convert(array, dtype, name):
    """Cast an array under the rules of :func:`read_voxels`; ``name`` is the file in its error texts."""
    array = np.ascontiguousarray(array)
    change = _Conversion(Voxels(name, 0, array.dtype, array.shape), array.dtype, dtype)
    if change.copies:
        return array
    out = np.empty(array.shape, change.dtype)
    change(array.reshape(-1), out.reshape(-1))
    return out


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


class _Conversion:
    """Stored numbers to values of the wanted dtype: scaled, checked, block by block.

    Integers that the wanted dtype cannot hold exactly are refused: two labels must never become one.
    """

    def __init__(self, voxels, stored, dtype):
        if stored.kind == "c":
            raise UnsupportedImage(
                f"{voxels.path}: the voxels are complex ({stored.name}). Save magnitude and phase, each as a volume"
            )
        if stored.kind not in "buif" or stored.itemsize > 8:
            raise UnsupportedImage(
                f"{voxels.path}: voxels of type {stored.name} are not supported; numbers up to 64 bits are"
            )
        wide = stored.itemsize > (2 if stored.kind in "iu" else 4)
        if dtype is None:
            dtype = stored if voxels.slope is None else np.float64 if wide else np.float32
        self.path, self.stored, self.dtype = voxels.path, stored, np.dtype(dtype)
        self.slope, self.inter = voxels.slope, voxels.inter
        if self.dtype.kind not in "buif":
            raise TypeError(f"dtype must be a real number type or None, got {self.dtype.name}")
        self.copies = self.slope is None and self.stored == self.dtype
        whole64 = stored.kind in "iu" and stored.itemsize == 8  # numpy calls int64 -> float64 safe; it rounds
        self.safe = np.can_cast(stored, self.dtype, "safe") and not (whole64 and self.dtype.kind == "f")
        self.whole = (
            stored.kind in "iu" and self.slope is not None and self.slope.is_integer() and self.inter.is_integer()
        )
        if self.slope is not None:  # is float64, in which is scaled, too narrow for the largest value there can be?
            limit = np.iinfo(stored).max if stored.kind in "iu" else np.finfo(stored).max
            largest = max(float(limit), float(limit) * abs(self.slope) + abs(self.inter))
            self.beyond = largest > (_EXACT if self.whole else np.finfo(np.float64).max)
        # whole numbers of 16 bits scaled by small whole numbers are exact in float32
        self.exact32 = (
            self.slope is not None
            and self.dtype == np.float32
            and not wide
            and stored.kind in "iu"
            and self.slope == 1
            and float(self.inter).is_integer()
            and abs(self.inter) < 2**23
        )

    def __call__(self, values, out):
        if self.slope is None:
            if self.safe or self.copies:
                out[:] = values
            else:
                self._checked(values, out, values.dtype.kind != "f")
        elif self.exact32:
            np.add(values, np.float32(self.inter), out=out, dtype=np.float32)
        else:
            scaled = values.astype(np.float64)
            with np.errstate(over="ignore"):
                scaled *= self.slope
                scaled += self.inter
            if self.beyond:
                self._check_scaled(values, scaled)
            self._checked(scaled, out, self.whole)

    def _check_scaled(self, values, scaled):
        if self.whole:
            wrong = (np.abs(scaled) >= _EXACT) | (values > _EXACT) | (values < -_EXACT)
        else:
            wrong = np.isinf(scaled) & np.isfinite(values)
        if wrong.any():
            raise ReadError(
                f"{self.path}: {self.stored.name} values scaled by {self.slope:g} and {self.inter:g} are beyond what "
                "float64 holds exactly, so that some would become one. Save them without scaling"
            )

    def _checked(self, values, out, whole):
        """Cast ``values`` into ``out``; ``whole`` numbers must come out exactly, others may be rounded in a float."""
        with np.errstate(all="ignore"):
            out[:] = values
            if whole or out.dtype.kind != "f":
                if whole and out.dtype.kind == "f" and _magnitude(values) <= 2 ** (np.finfo(out.dtype).nmant + 1):
                    return
                wrong = _changed(values, out)
            else:
                wrong = np.isinf(out) & np.isfinite(values)
        if wrong.any():
            value = values[np.argmax(wrong)]
            raise ReadError(
                f"{self.path}: the value {value} ({self.stored.name} in the file) cannot be held by {out.dtype.name}. "
                f"Pass dtype=None to keep the stored type, or a wider dtype"
            )


def _magnitude(values):
    return max(-int(values.min()), int(values.max()), 0) if len(values) else 0


def _changed(values, out):
    """Where a cast changed the value, told without a second rounding."""
    kind = values.dtype.kind, out.dtype.kind
    if kind[0] == "f":
        return ~((out == values) & np.isfinite(values))
    if kind[1] == "b":
        return (values != 0) & (values != 1)
    if kind[1] == "f":  # back in its own type, which is exact, for comparing int64 with float64 rounds
        limits = np.iinfo(values.dtype)
        inside = (out >= float(limits.min)) & (out < float(limits.max + 1))
        return ~inside | (np.where(inside, out, 0).astype(values.dtype) != values)
    limits = np.iinfo(out.dtype)
    return (values < limits.min) | (values > limits.max)
