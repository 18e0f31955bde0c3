"""How the pixels of a file are stored, and its raw bytes."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from faimed3d.dicom.header import FileHeader, Tag, name_tag
from faimed3d.dicom.pixels.fragments import COMPRESSED, Fragment, frame_fragments
from faimed3d.errors import DamagedFile, TruncatedFile, UnsupportedImage

_NATIVE = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
)


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How the pixels of one file are stored.

    Attributes:
        header: of the file.
        dtype: numpy type of the stored words, byte order included.
        rows, columns, frames: as in the header (a mosaic counts as one image).
        stored, high: BitsStored and HighBit (PS3.5 section 8.1.1); 0 for float pixels.
        fragments: for compressed pixels, the fragments of each frame; else None.
        swapped: whether 8-bit pixels lie in big endian words of two bytes.
    """

    header: FileHeader
    dtype: np.dtype
    rows: int
    columns: int
    frames: int
    stored: int = 0
    high: int = 0
    fragments: list[list[Fragment]] | None = None
    swapped: bool = False


def pixel_format(header: FileHeader) -> PixelFormat:
    """The format of the pixels of a file, after checking that the file holds all that its header claims.

    Raises:
        TruncatedFile: fewer bytes than rows * columns * frames need.
        DamagedFile: the description contradicts itself or the bytes.
        UnsupportedImage: bits or transfer syntax that no decoder here reads.
    """
    path = header.path
    rows, columns = header.integer(Tag.Rows, 0), header.integer(Tag.Columns, 0)
    frames = int(header.number(Tag.NumberOfFrames) or 1)
    samples = header.integer(Tag.SamplesPerPixel, 1)
    if samples != 1:
        raise UnsupportedImage(f"{path}: {name_tag(Tag.SamplesPerPixel)} must be 1, got {samples}")
    dtype, stored, high = _words(header)
    fragments = None
    if header.syntax in COMPRESSED:
        if header.pixel_length >= 0:
            raise DamagedFile(f"{path}: the pixels are not encapsulated, though {_syntax_text(header)} says so")
        fragments = frame_fragments(header, frames, rows, columns)
    elif header.syntax not in _NATIVE:
        raise UnsupportedImage(f"{path}: {_syntax_text(header)} cannot be decoded here")
    elif header.pixel_length < 0:
        raise DamagedFile(f"{path}: the pixels are encapsulated, though {_syntax_text(header)} says they are not")
    else:
        _check_length(header, rows, columns, frames, dtype.itemsize)
    # PS3.5 annex A.3 and section 8.1.2: 8-bit pixels in OW are words, so a big endian file has them in swapped pairs
    swapped = header.byte_order == ">" and dtype.itemsize == 1 and header.pixel_vr == b"OW"
    return PixelFormat(header, dtype, rows, columns, frames, stored, high, fragments, swapped)


def _syntax_text(header: FileHeader) -> str:
    return f"{name_tag(Tag.TransferSyntaxUID)} {header.syntax}"


def _words(header: FileHeader) -> tuple[np.dtype, int, int]:
    """(dtype, bits stored, high bit) of the stored words; (dtype, 0, 0) for float pixels."""
    if header.pixel_tag != Tag.PixelData:
        return np.dtype(f"{header.byte_order}f{4 if header.pixel_tag == Tag.FloatPixelData else 8}"), 0, 0
    path = header.path
    allocated = header.integer(Tag.BitsAllocated)
    if allocated not in (8, 16, 32):
        raise UnsupportedImage(f"{path}: {name_tag(Tag.BitsAllocated)} must be 8, 16 or 32, got {allocated}")
    stored = header.integer(Tag.BitsStored, allocated)
    high = header.integer(Tag.HighBit, stored - 1)
    if not (1 <= stored <= allocated and stored - 1 <= high < allocated):
        raise DamagedFile(
            f"{path}: {name_tag(Tag.BitsStored)} {stored} and {name_tag(Tag.HighBit)} {high} do not fit into "
            f"{name_tag(Tag.BitsAllocated)} {allocated}"
        )
    signed = header.integer(Tag.PixelRepresentation)
    if signed not in (0, 1):
        raise DamagedFile(f"{path}: {name_tag(Tag.PixelRepresentation)} must be 0 or 1, got {signed}")
    return np.dtype(f"{header.byte_order}{'ui'[signed]}{allocated // 8}"), stored, high


def _check_length(header: FileHeader, rows: int, columns: int, frames: int, itemsize: int) -> None:
    """Refuse uncompressed pixels of too few bytes, or of so many more that they are not the header's."""
    length, need = header.pixel_length, rows * columns * frames * itemsize
    too_short = length < need
    too_long = length - need >= columns * itemsize and any(stored_bytes(header, need, length - need))
    if too_short or too_long:
        raise (TruncatedFile if too_short else DamagedFile)(
            f"{header.path}: {name_tag(header.pixel_tag)} has {length} bytes, {name_tag(Tag.Rows)} {rows} x "
            f"{name_tag(Tag.Columns)} {columns} x {frames} frames of {itemsize} bytes need {'only ' * too_long}{need}"
        )


def stored_bytes(header: FileHeader, start: int, count: int) -> bytes:
    """``count`` bytes of the pixel element from its byte ``start`` on."""
    if header.deflated:
        return inflated(header)[header.pixel_offset + start : header.pixel_offset + start + count]
    with header.open() as file:
        file.seek(header.pixel_offset + start)
        return file.read(count)


def inflated(header: FileHeader) -> bytes:
    """The deflated data set of a file (PS3.5 section A.5) up to its last pixel.

    Raises:
        DamagedFile: it cannot be inflated. TruncatedFile: it ends before the last pixel.
    """
    assert header.deflated_start is not None
    end = header.pixel_offset + header.pixel_length
    with header.open() as file:
        file.seek(header.deflated_start)
        try:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(file.read(), end)
        except zlib.error as error:
            raise DamagedFile(f"{header.path}: the deflated data set cannot be inflated: {error}") from error
    if len(data) < end:
        raise TruncatedFile(f"{header.path}: the deflated data set ends before the last pixel")
    return data
