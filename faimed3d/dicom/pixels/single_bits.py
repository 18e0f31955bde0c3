"""Frames of single bits, as of binary segmentations: packed, or compressed in the ways that are seen of them."""

from __future__ import annotations

import io
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.uid import RLELossless

from faimed3d.dicom.header import FileHeader, Tag, quiet
from faimed3d.dicom.pixels.compressed import decode_frame, frame_bytes
from faimed3d.dicom.pixels.format import PixelFormat, stored_bytes
from faimed3d.dicom.pixels.fragments import COMPRESSED, DEFLATED_FRAMES, JPEG_2000, frame_fragments
from faimed3d.errors import DamagedFile, TruncatedFile


def decode_bits(header: FileHeader, rows: int, columns: int, frames: Sequence[int]) -> Iterator[NDArray[np.bool_]]:
    """Decode frames of single bits, of (0028,0100) BitsAllocated 1.

    Args:
        header: of the file.
        rows, columns: of a frame.
        frames: their numbers, from 0.

    Yields:
        The pixels (rows, columns) of each of them.

    Raises:
        DamagedFile: a frame cannot be decoded, not to its size, or to more than two values.
        TruncatedFile: a frame has fewer pixels than it should.
    """
    if header.syntax in COMPRESSED:
        yield from _decompressed(header, rows, columns, frames)
        return
    count = rows * columns
    for frame in frames:
        start, end = frame * count, (frame + 1) * count
        raw = stored_bytes(header, start // 8, math.ceil(end / 8) - start // 8)  # frames begin within a byte
        yield _unpacked(np.frombuffer(raw, np.uint8), rows, columns, start % 8)


def _decompressed(header: FileHeader, rows: int, columns: int, frames: Sequence[int]) -> Iterator[NDArray[np.bool_]]:
    total = int(header.number(Tag.NumberOfFrames) or 1)
    fragments = frame_fragments(header, total, rows, columns)
    form = PixelFormat(header, np.dtype(np.uint8), rows, columns, total, 8, 7, fragments)
    packed = replace(form, rows=1, columns=math.ceil(rows * columns / 8))
    with header.open(0) as file, tempfile.TemporaryDirectory(prefix="faimed3d-") as folder, quiet():

        def decoded(form: PixelFormat, frame: int) -> NDArray[np.uint8]:
            return decode_frame(file, form, fragments[frame], frame, folder)

        for frame in frames:
            name = f"{header.path}: frame {frame + 1}"
            if header.syntax == DEFLATED_FRAMES:  # PS3.5 section 8.2.16: of packed bits, each from a byte on
                yield _unpacked(decoded(packed, frame)[0], rows, columns)
                continue
            if header.syntax == RLELossless:  # of packed bits, or of a byte for each
                try:
                    words = decoded(form, frame)
                except TruncatedFile:
                    yield _unpacked(decoded(packed, frame)[0], rows, columns)
                    continue
            elif header.syntax in JPEG_2000:
                words = _with_pillow(file, form, frame, name)
            else:
                words = decoded(form, frame)
            if len(np.unique(words[words != 0])) > 1:
                raise DamagedFile(f"{name} has more than two values, and its pixels are single bits")
            yield words != 0


def _with_pillow(file: BinaryIO, form: PixelFormat, frame: int, name: str) -> NDArray[np.uint8]:
    """A frame of JPEG 2000; GDCM refuses those of a single bit."""
    assert form.fragments is not None
    try:
        with Image.open(io.BytesIO(frame_bytes(file, form.fragments[frame])), formats=["JPEG2000"]) as image:
            words = np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for a stream that it cannot read
        raise DamagedFile(f"{name} cannot be decoded: {type(error).__name__}") from error
    if words.shape != (form.rows, form.columns):
        raise DamagedFile(f"{name} decodes to {words.shape}, not {form.rows} x {form.columns} pixels")
    return words


def _unpacked(raw: NDArray[np.uint8], rows: int, columns: int, first: int = 0) -> NDArray[np.bool_]:
    """Packed bits from ``first`` on; the first pixel is the lowest bit (PS3.5 section 8.1.1 and annex D)."""
    bits = np.unpackbits(raw, bitorder="little")[first:][: rows * columns]
    return bits.reshape(rows, columns).view(bool)
