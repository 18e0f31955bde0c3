"""Files as streams of unpacked bytes, read once from front to back: plain, gzip or zlib, checksums checked."""

from __future__ import annotations

import contextlib
import gzip
import math
import os
import zlib
from collections.abc import Iterator
from typing import Any

from faimed3d.errors import DamagedFile, ReadError, TruncatedFile


def is_gzip(path: str | os.PathLike[str]) -> bool:
    """Whether the file begins as gzip does (RFC 1952), whatever its name."""
    with open(path, "rb") as file:
        return file.read(3) == b"\x1f\x8b\x08"


@contextlib.contextmanager
def named_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what goes wrong inside a packed stream into an error that names the file.

    Raises:
        TruncatedFile: the stream was cut. DamagedFile: a wrong checksum, or bytes that nobody packed.
        ReadError: not enough memory.
    """
    from isal import isal_zlib

    try:
        yield
    except EOFError as error:
        raise TruncatedFile(
            f"{path}: the gzip stream ends before its end mark; the file was cut. Copy it again"
        ) from error
    except (gzip.BadGzipFile, zlib.error, isal_zlib.error) as error:  # type: ignore[misc]  # in isal's stubs no class
        raise DamagedFile(f"{path}: the packed data is damaged ({error}). Copy the file again") from error
    except MemoryError as error:
        raise ReadError(f"{path}: not enough memory for the volume that the header describes") from error


def open_bytes(path: str | os.PathLike[str], encoding: str = "file", offset: int = 0) -> Any:
    """Open a file to be read once from front to back, unpacked: gzip with its CRC checked, zlib with its Adler-32.

    Args:
        path: the file.
        encoding: 'file' (gzip if the content says so, else plain; from byte 0 on), 'raw', 'gzip' or 'zlib'.
        offset: the byte at which the stream begins, for all but 'file'.

    Returns:
        A context manager with ``read``; a plain file has ``readinto`` and ``seek``, too.
    """
    if encoding == "file":
        offset, encoding = 0, "gzip" if is_gzip(path) else "raw"
    file = open(path, "rb", buffering=0 if encoding == "raw" else 1 << 16)  # noqa: SIM115 - the caller closes it
    file.seek(offset)
    if encoding == "raw":
        return file
    return (_GzipStream if encoding == "gzip" else _ZlibStream)(file)


class _PackedStream:
    """A stream of unpacked bytes that closes the packed file with it."""

    def __init__(self, file):
        self._file = file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()


class _GzipStream(_PackedStream):
    """A gzip stream of any number of members whose end is told from bytes that follow it."""

    def __init__(self, file):
        from isal import igzip

        super().__init__(file)
        self._start, self._unpacked = file.tell(), igzip.IGzipFile(fileobj=file, mode="rb")

    def read(self, size=-1):
        try:
            return self._unpacked.read(size)
        except EOFError:  # too few bytes for a member: one that was cut, or none at all
            if self._rest()[:3] not in (b"", b"\x1f", b"\x1f\x8b", b"\x1f\x8b\x08"):
                raise gzip.BadGzipFile("bytes that are no gzip follow the end of the stream") from None
            raise

    def _rest(self):
        """What follows the last whole member, without padding by zeros; b'' if a member was cut."""
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


class _ZlibStream(_PackedStream):
    """A zlib (or gzip) stream as MetaImage writes it, read in pieces; reading past its end checks the checksum."""

    def __init__(self, file):
        from isal import isal_zlib

        super().__init__(file)
        start = file.tell()
        gzipped = file.read(2) == b"\x1f\x8b"
        file.seek(start)
        self._unpack = isal_zlib.decompressobj(31 if gzipped else 15)

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
