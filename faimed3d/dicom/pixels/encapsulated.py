"""Compressed frames: find their bytes in the file, check their own headers, decode them with SimpleITK."""

from __future__ import annotations

import os
import struct
import threading
from bisect import bisect_right

import numpy as np
import SimpleITK as sitk

from faimed3d.dicom.header.tags import Tag, name_tag
from faimed3d.errors import DamagedFile, TruncatedFile, UnsupportedImage

__all__ = ["COMPRESSED", "decode_frame", "frames_of"]

_RLE = "1.2.840.10008.1.2.5"
_JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
_JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
_JPEG = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
COMPRESSED = frozenset((_RLE, *_JPEG_2000, *_JPEG_LS, *_JPEG))
_ITEM, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE0DD
_END_MARK = b"\xff\xd9"  # of JPEG, JPEG-LS and JPEG 2000 alike
_END_SEARCH = 64  # bytes before the end of a frame: some writers pad more than the one byte allowed
_MOST_RUN = 64  # bytes that one byte of RLE can stand for: two make a run of 128 (PS3.5 annex G.3)
_DEEPEST = 16  # bits: GDCM drops the lower half of deeper JPEG 2000 words
_SECONDARY_CAPTURE = b"1.2.840.10008.5.1.4.1.1.7"


def frames_of(header, frames, rows, columns):
    """List per frame the (offset, length) of its fragments (PS3.5 annex A.4), after checking each frame's own header.

    Raises:
        TruncatedFile: the file ends before the last fragment or before a frame's end mark.
        DamagedFile: fragments and frames do not match, or a frame is of another size than the header says.
    """
    path = header.path
    with header.open() as file:
        pieces = _fragments(file, header)
        table, pieces = pieces[0], pieces[1:]
        if not pieces:
            raise DamagedFile(f"{path}: {name_tag(0x7FE00010)} holds no compressed frame")
        if frames == 1:
            groups = [pieces]
        elif len(pieces) == frames:
            groups = [[piece] for piece in pieces]
        else:
            groups = _by_offsets(file, path, table, pieces, frames)
        for number, group in enumerate(groups, 1):
            _check_frame(file, header, group, number, rows, columns)
    return groups


def decode_frame(file, form, frame, folder):
    """Decode one frame to its stored words.

    Args:
        file: the open file.
        form: PixelFormat with its fragments.
        frame: number of the frame.
        folder: folder for a temporary file.

    Returns:
        New array (rows, columns) of ``form.dtype`` in native byte order.
    """
    data = b"".join(_read(file, offset, length) for offset, length in form.fragments[frame])
    if form.header.syntax == _RLE:
        return _decode_rle(data, form, frame)
    name = os.path.join(folder, f"{threading.get_ident()}.dcm")
    with open(name, "wb") as target:
        target.write(_minimal_file(form, data))
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(name)
    try:
        words = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        cause = str(error).strip().rpartition("\n")[2].replace(name, "the frame")
        raise DamagedFile(f"{form.header.path}: frame {frame + 1} cannot be decoded: {cause}") from error
    if words.size != form.rows * form.columns:
        raise DamagedFile(
            f"{form.header.path}: frame {frame + 1} decodes to {words.shape}, not {form.rows} x {form.columns} pixels"
        )
    words = words.reshape(form.rows, form.columns)
    # the same bits in the words of the header: a codestream may call the numbers unsigned that the header calls signed
    return words.astype(form.dtype.newbyteorder("="), copy=False)


def _decode_rle(data, form, frame):
    """Words of an RLE frame (PS3.5 annex G): one segment for each byte of a word, the highest first.

    GDCM refuses frames whose segments are longer than the pixels themselves, and is six times slower.
    """
    count, size = form.rows * form.columns, form.dtype.itemsize
    starts = struct.unpack_from("<16I", data)
    segments = starts[0]
    edges = [*starts[1 : segments + 1], len(data)]
    if segments != size or edges != sorted(edges) or edges[0] < 64:
        raise DamagedFile(
            f"{form.header.path}: frame {frame + 1} has {segments} RLE segments at {edges[:-1]}, expected "
            f"{size} in order"
        )
    words = np.empty((count, size), dtype=np.uint8)
    for k in range(size):
        segment = _unpack_runs(data[edges[k] : edges[k + 1]], count)
        if len(segment) < count:
            raise TruncatedFile(
                f"{form.header.path}: RLE segment {k + 1} of frame {frame + 1} ends after {len(segment)} of "
                f"{count} pixels"
            )
        words[:, size - 1 - k] = np.frombuffer(segment, dtype=np.uint8, count=count)
    little = words.view(form.dtype.newbyteorder("<")).reshape(form.rows, form.columns)
    return little.astype(form.dtype.newbyteorder("="), copy=False)


def _unpack_runs(data, count):
    """Decode PackBits up to ``count`` bytes, or as many as there are."""
    result, position, end = bytearray(), 0, len(data)
    while len(result) < count and position < end:
        code = data[position]
        if code < 128:
            result += data[position + 1 : position + 2 + code]
            position += code + 2
        elif code > 128:
            result += data[position + 1 : position + 2] * (257 - code)
            position += 2
        else:
            position += 1
    return result


def _fragments(file, header):
    """(offset, length) of all items of the encapsulated pixels, the offset table first."""
    path, position, pieces = header.path, header.offset, []
    while True:
        head = _read(file, position, 8)
        if len(head) < 8:
            raise TruncatedFile(f"{path}: the compressed pixels end without (FFFE,E0DD) SequenceDelimitationItem")
        group, element, length = struct.unpack("<HHI", head)
        position += 8
        tag = group << 16 | element
        if tag == _SEQUENCE_END:
            break
        if tag != _ITEM or length == 0xFFFFFFFF:
            raise DamagedFile(f"{path}: expected a fragment (FFFE,E000) at byte {position - 8}, got {name_tag(tag)}")
        if position + length > header.size:
            raise TruncatedFile(
                f"{path}: a fragment claims {length} bytes of compressed pixels, the file has {header.size - position}"
            )
        pieces.append((position, length))
        position += length
    if not pieces:
        raise DamagedFile(f"{path}: the compressed pixels have no offset table (FFFE,E000)")
    return pieces


def _by_offsets(file, path, table, pieces, frames):
    """Assign several fragments to each frame, by the basic offset table or by their end marks."""
    first = pieces[0][0] - 8
    if table[1] == 4 * frames:
        starts = [first + offset for offset in struct.unpack(f"<{frames}I", _read(file, *table))]
        groups = [[] for _ in starts]
        places = {position - 8 for position, _ in pieces}
        if starts == sorted(set(starts)) and all(start in places for start in starts):
            for position, length in pieces:
                groups[bisect_right(starts, position - 8) - 1].append((position, length))
            return groups
    elif not table[1]:
        groups = [[]]
        for piece in pieces:
            groups[-1].append(piece)
            if _END_MARK in _read(file, piece[0] + max(0, piece[1] - _END_SEARCH), min(piece[1], _END_SEARCH)):
                groups.append([])
        if len(groups) == frames + 1 and not groups[-1]:
            return groups[:-1]
    raise DamagedFile(
        f"{path}: {len(pieces)} fragments of compressed pixels and {name_tag(Tag.NumberOfFrames)} {frames}, and no "
        "offset table that assigns them"
    )


def _check_frame(file, header, group, number, rows, columns):
    path = header.path
    head = _read(file, group[0][0], min(group[0][1], 4096))
    if header.syntax == _RLE:
        if len(head) < 64 or not 1 <= struct.unpack_from("<I", head)[0] <= 15:
            raise DamagedFile(f"{path}: frame {number} has no RLE header")
        size = sum(length for _, length in group)
        if size * _MOST_RUN < rows * columns:
            raise TruncatedFile(f"{path}: {size} bytes of RLE cannot be frame {number} of {rows} x {columns} pixels")
        return
    described = _jpeg_2000_frame if header.syntax in _JPEG_2000 else _jpeg_frame
    # a marker segment longer than what was read is legal and rare: read all of the frame then
    frame = described(head) or described(_read(file, *group[0]))
    if frame is None:
        raise DamagedFile(f"{path}: frame {number} does not begin as {header.syntax} says, but with {head[:4]!r}")
    *size, bits, samples = frame
    if size != [rows, columns]:
        raise DamagedFile(
            f"{path}: frame {number} is {size[0]} x {size[1]} pixels, {name_tag(Tag.Rows)} x "
            f"{name_tag(Tag.Columns)} say "
            f"{rows} x {columns}"
        )
    # the decoders scale deeper words down, or crash on them
    allocated = header.integer(Tag.BitsAllocated)
    if not 1 <= bits <= allocated or samples != 1:
        raise DamagedFile(
            f"{path}: frame {number} has {samples} samples of {bits} bits, {name_tag(Tag.BitsAllocated)} says 1 of at "
            f"most {allocated}"
        )
    if bits > _DEEPEST:
        raise UnsupportedImage(
            f"{path}: frame {number} has {bits} bits, compressed frames of more than {_DEEPEST} cannot be decoded here"
        )
    position, length = group[-1]
    tail = _read(file, position + max(0, length - _END_SEARCH), min(length, _END_SEARCH))
    if _END_MARK not in tail:
        raise TruncatedFile(f"{path}: frame {number} of the compressed pixels ends without its end mark")


def _jpeg_frame(data):
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


def _jpeg_2000_frame(data):
    """(rows, columns, bits, samples) of a JPEG 2000 stream, bare or boxed, by its SIZ segment; None without one."""
    start = data.find(b"\xff\x4f\xff\x51")
    if start < 0 or start + 43 > len(data):
        return None
    width, height, left, top = struct.unpack_from(">4I", data, start + 8)
    samples, depth = struct.unpack_from(">HB", data, start + 40)
    return height - top, width - left, (depth & 0x7F) + 1, samples  # the highest bit of the depth is the sign


def _read(file, offset, length):
    file.seek(offset)
    return file.read(length)


def _minimal_file(form, data):
    """A DICOM file of one compressed frame that describes its pixels and nothing else."""
    bits = form.dtype.itemsize * 8
    meta = _element(2, 1, b"OB", b"\0\1") + _element(2, 2, b"UI", _SECONDARY_CAPTURE) + _element(2, 3, b"UI", b"1.2")
    meta += _element(2, 0x10, b"UI", form.header.syntax.encode("ascii"))
    meta = _element(2, 0, b"UL", struct.pack("<I", len(meta))) + meta
    body = _element(8, 0x16, b"UI", _SECONDARY_CAPTURE) + _element(8, 0x18, b"UI", b"1.2")
    body += _element(0x28, 2, b"US", struct.pack("<H", 1)) + _element(0x28, 4, b"CS", b"MONOCHROME2")
    for element, value in (
        (0x10, form.rows),
        (0x11, form.columns),
        (0x100, bits),
        (0x101, form.stored),
        (0x102, form.high),
        (0x103, int(form.dtype.kind == "i")),
    ):
        body += _element(0x28, element, b"US", struct.pack("<H", value))
    pad = b"\0" * (len(data) % 2)
    body += struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF)
    body += struct.pack("<HHI", 0xFFFE, 0xE000, 0) + struct.pack("<HHI", 0xFFFE, 0xE000, len(data) + len(pad))
    return b"".join((b"\0" * 128, b"DICM", meta, body, data, pad, struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)))


def _element(group, element, vr, value):
    if len(value) % 2:
        value += b"\0" if vr in (b"UI", b"OB") else b" "
    if vr == b"OB":
        return struct.pack("<HH2sHI", group, element, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", group, element, vr, len(value)) + value
