"""Fragments of compressed pixels: where each frame lies in the file, and whether its own header fits the file's.

pydicom finds the fragments. Which of them make a frame is decided here: pydicom's ``generate_frames`` reads every frame
on the way, warns where frames are missing, and takes an offset table that points between fragments as it is.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Sequence
from typing import BinaryIO

from pydicom.encaps import parse_basic_offsets, parse_fragments
from pydicom.uid import (
    JPEG2000,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from faimed3d.dicom.header import FileHeader, Tag, name_tag
from faimed3d.errors import DamagedFile, TruncatedFile, UnsupportedImage

Fragment = tuple[int, int]  # offset of its bytes in the file, how many they are

DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"  # Deflated Image Frame Compression, which pydicom 3.0 does not know
JPEG_2000 = frozenset((JPEG2000Lossless, JPEG2000))
_JPEG = frozenset((JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1))
COMPRESSED = frozenset((DEFLATED_FRAMES, RLELossless, JPEGLSLossless, JPEGLSNearLossless)) | JPEG_2000 | _JPEG
_ITEM_HEAD = 8  # bytes of a tag and a length before each fragment
_DELIMITER = b"\xfe\xff\xdd\xe0"
_END_MARK = b"\xff\xd9"  # of JPEG, JPEG-LS and JPEG 2000 alike
_END_SEARCH = 64  # bytes before the end of a frame: some writers pad more than the one byte allowed
_FIRST_READ = 4096  # bytes of a frame: most frame headers end before
_MOST_RUN = 64  # bytes that one byte of RLE can stand for: two make a run of 128 (PS3.5 annex G.3)
_RLE_HEAD = 64  # bytes
_DEEPEST = 16  # bits: GDCM drops the lower half of deeper JPEG 2000 words


def frame_fragments(header: FileHeader, frames: int, rows: int, columns: int) -> list[list[Fragment]]:
    """List the fragments of each frame (PS3.5 annex A.4), after checking each frame's own header.

    Raises:
        TruncatedFile: the file ends before the last fragment or before a frame's end mark.
        DamagedFile: fragments and frames do not match, or a frame is of another size than the header says.
        UnsupportedImage: words of more bits than the decoder keeps.
    """
    with header.open() as file:
        offsets, fragments = _fragments(file, header)
        if frames == 1:
            groups = [fragments]
        elif len(fragments) == frames:
            groups = [[fragment] for fragment in fragments]
        else:
            groups = _by_offsets(fragments, offsets, frames) if offsets else _by_end_marks(file, fragments, frames)
        if not groups:
            raise DamagedFile(
                f"{header.path}: {len(fragments)} fragments of compressed pixels and {name_tag(Tag.NumberOfFrames)} "
                f"{frames}, and no offset table that assigns them"
            )
        for number, group in enumerate(groups, 1):
            _check_frame(file, header, group, number, rows, columns)
    return groups


def _fragments(file: BinaryIO, header: FileHeader) -> tuple[list[int], list[Fragment]]:
    """The basic offset table, and all fragments behind it."""
    path = header.path
    file.seek(header.pixel_offset)
    try:
        offsets = parse_basic_offsets(file)
        _, starts = parse_fragments(file)
    except struct.error:
        raise TruncatedFile(f"{path}: the compressed pixels end within their offset table") from None
    except ValueError as error:
        raise DamagedFile(f"{path}: {name_tag(Tag.PixelData)}: {error}") from None
    if not starts:
        raise DamagedFile(f"{path}: {name_tag(Tag.PixelData)} holds no compressed frame")
    (length,) = struct.unpack("<4xI", _read(file, starts[-1], _ITEM_HEAD))
    end = starts[-1] + _ITEM_HEAD + length
    if end > header.size:
        raise TruncatedFile(
            f"{path}: a fragment claims {length} bytes of compressed pixels, the file has "
            f"{header.size - end + length} left"
        )
    # pydicom takes the end of the file for the end of the pixels
    delimiter = _read(file, end, _ITEM_HEAD)
    if len(delimiter) < _ITEM_HEAD or not delimiter.startswith(_DELIMITER):
        raise TruncatedFile(f"{path}: the compressed pixels end without (FFFE,E0DD) SequenceDelimitationItem")
    edges = [*starts, end]
    return offsets, [
        (start + _ITEM_HEAD, edge - start - _ITEM_HEAD) for start, edge in zip(starts, edges[1:], strict=True)
    ]


def _by_offsets(fragments: Sequence[Fragment], offsets: Sequence[int], frames: int) -> list[list[Fragment]]:
    """Fragments of each frame by the basic offset table; none where the table does not fit them."""
    starts = [offset - _ITEM_HEAD for offset, _ in fragments]
    first = [starts[0] + offset for offset in offsets]
    if len(first) != frames or first != sorted(set(first)) or not set(first) <= set(starts):
        return []
    groups: list[list[Fragment]] = [[] for _ in first]
    for start, fragment in zip(starts, fragments, strict=True):
        groups[bisect_right(first, start) - 1].append(fragment)
    return groups


def _by_end_marks(file: BinaryIO, fragments: Sequence[Fragment], frames: int) -> list[list[Fragment]]:
    """Fragments of each frame by the end marks of the frames; none where they are not as many."""
    groups: list[list[Fragment]] = [[]]
    for fragment in fragments:
        groups[-1].append(fragment)
        if _END_MARK in _tail(file, fragment):
            groups.append([])
    return groups[:-1] if len(groups) == frames + 1 and not groups[-1] else []


def _check_frame(
    file: BinaryIO, header: FileHeader, group: Sequence[Fragment], number: int, rows: int, columns: int
) -> None:
    """Hold a frame's own header against that of the file; ``number`` counts from 1."""
    name = f"{header.path}: frame {number}"
    offset, length = group[0]
    head = _read(file, offset, min(length, _FIRST_READ))
    bits = header.integer(Tag.BitsAllocated, 0)
    allocated = max(bits, 8)  # single bits come in bytes, for JPEG and RLE know none
    if header.syntax == DEFLATED_FRAMES:
        return  # without a header
    if header.syntax == RLELossless:
        size = sum(length for _, length in group)
        _check_rle(name, head, size, allocated // 8)
        if size * _MOST_RUN < rows * columns // (8 if bits == 1 else 1):
            raise TruncatedFile(f"{name} of {rows} x {columns} pixels cannot lie in {size} bytes of RLE")
        return
    described = _jpeg_2000_frame if header.syntax in JPEG_2000 else _jpeg_frame
    # a marker segment longer than what was read is legal and rare: read all of the fragment then
    frame = described(head) or described(_read(file, offset, length))
    if frame is None:
        raise DamagedFile(f"{name} does not begin as {header.syntax} says, but with {head[:4]!r}")
    high, wide, bits, samples = frame
    if (high, wide) != (rows, columns):
        raise DamagedFile(
            f"{name} is {high} x {wide} pixels, {name_tag(Tag.Rows)} x {name_tag(Tag.Columns)} say {rows} x {columns}"
        )
    # the decoders scale deeper words down, or crash on them
    if not 1 <= bits <= allocated or samples != 1:
        raise DamagedFile(
            f"{name} has {samples} samples of {bits} bits, {name_tag(Tag.BitsAllocated)} says 1 of at most {allocated}"
        )
    if bits > _DEEPEST:
        raise UnsupportedImage(
            f"{name} has {bits} bits, compressed frames of more than {_DEEPEST} cannot be decoded here"
        )
    if _END_MARK not in _tail(file, group[-1]):
        raise TruncatedFile(f"{name} of the compressed pixels ends without its end mark")


def _check_rle(name: str, head: bytes, size: int, word: int) -> None:
    """Refuse an RLE frame (PS3.5 annex G) whose segments are not one for each byte of a word, in their order."""
    if len(head) < _RLE_HEAD:
        raise DamagedFile(f"{name} has no RLE header")
    count, *offsets = struct.unpack_from("<16I", head)
    edges = [_RLE_HEAD, *offsets[:count], size]
    if count != word or edges != sorted(edges):
        raise DamagedFile(f"{name} has {count} RLE segments at {offsets[:count]}, expected {word} in order")


def _jpeg_frame(data: bytes) -> tuple[int, int, int, int] | None:
    """(rows, columns, bits, samples) of a JPEG or JPEG-LS stream by its frame header; None where there is none."""
    position = 2
    if data[:2] != b"\xff\xd8":
        return None
    while position + 10 <= len(data):
        if data[position] != 0xFF:
            return None
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            bits, rows, columns, samples = struct.unpack_from(">BHHB", data, position + 4)
            return rows, columns, bits, samples
        position += 2 + struct.unpack_from(">H", data, position + 2)[0]
    return None


def _jpeg_2000_frame(data: bytes) -> tuple[int, int, int, int] | None:
    """(rows, columns, bits, samples) of a JPEG 2000 stream, bare or boxed, by its SIZ segment; None without one."""
    start = data.find(b"\xff\x4f\xff\x51")
    if start < 0 or start + 43 > len(data):
        return None
    width, height, left, top = struct.unpack_from(">4I", data, start + 8)
    samples, depth = struct.unpack_from(">HB", data, start + 40)
    return height - top, width - left, (depth & 0x7F) + 1, samples  # the highest bit of the depth is the sign


def _tail(file: BinaryIO, fragment: Fragment) -> bytes:
    offset, length = fragment
    return _read(file, offset + max(0, length - _END_SEARCH), min(length, _END_SEARCH))


def _read(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)
