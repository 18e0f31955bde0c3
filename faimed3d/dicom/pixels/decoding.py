"""Stored pixels to real values: decode planes straight into one float32 array.

Uncompressed pixels are read into a buffer of one image and scaled into the output from there. Compressed ones are
decoded by SimpleITK (GDCM) from a temporary file that holds the pixels and their description alone: given the original,
GDCM would apply the rescale of the header with a pixel type of its own choice and invert MONOCHROME1.
"""

from __future__ import annotations

import os
import tempfile
import zlib
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from faimed3d.dicom.header.file_header import Header
from faimed3d.dicom.header.tags import Tag, name_tag
from faimed3d.dicom.pixels.encapsulated import COMPRESSED, decode_frame, frames_of
from faimed3d.errors import DamagedFile, TruncatedFile, UnsupportedImage

__all__ = ["decode_planes", "describe_pixels", "equal_pixels", "stored_bytes"]

_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
_THREADED_BYTES = 1 << 22  # below this many bytes of output threads cost more than they save
_MOST_WORKERS = 8
_FRAME_ROOM = 1 << 26  # bytes free in memory from which on temporary frames are put there
_EXACT = 1 << 24  # integers up to here are exact in float32


@dataclass(slots=True)
class PixelFormat:
    """How the pixels of one file are stored.

    Attributes:
        header: the file's Header.
        dtype: numpy type of the stored words, byte order included.
        rows, columns, frames: as in the header (a mosaic counts as one image).
        stored, high: BitsStored and HighBit (PS3.5 section 8.1.1); 0 for float pixels.
        fragments: for compressed pixels, per frame the (offset, length) of its pieces in the file; else None.
        swapped: whether 8-bit pixels lie in big endian words of two bytes.
    """

    header: Header
    dtype: np.dtype
    rows: int
    columns: int
    frames: int
    stored: int
    high: int
    fragments: list | None = None
    swapped: bool = False


def describe_pixels(header):
    """Return the PixelFormat of a file, after checking that the file holds all the pixels its header claims.

    Raises:
        TruncatedFile: fewer bytes than rows * columns * frames need.
        DamagedFile: the description contradicts itself or the bytes.
        UnsupportedImage: bits or transfer syntax that no decoder here reads.
    """
    path = header.path
    rows, columns = header.integer(Tag.Rows), header.integer(Tag.Columns)
    frames = int(header.number(Tag.NumberOfFrames) or 1)
    if header.integer(Tag.SamplesPerPixel, 1) != 1:
        raise UnsupportedImage(
            f"{path}: {name_tag(Tag.SamplesPerPixel)} must be 1, got {header.integer(Tag.SamplesPerPixel)}"
        )
    if header.pixel_tag != 0x7FE00010:
        size = 4 if header.pixel_tag == 0x7FE00008 else 8
        form = PixelFormat(header, np.dtype(f"{header.order}f{size}"), rows, columns, frames, 0, 0)
    else:
        form = _integer_format(header, rows, columns, frames)
    if header.syntax in COMPRESSED:
        if header.length >= 0:
            raise DamagedFile(
                f"{path}: the pixels are not encapsulated, though (0002,0010) TransferSyntaxUID is {header.syntax}"
            )
        form.fragments = frames_of(header, frames, rows, columns)
        return form
    if header.syntax not in _NATIVE:
        raise UnsupportedImage(f"{path}: (0002,0010) TransferSyntaxUID {header.syntax} cannot be decoded here")
    if header.length < 0:
        raise DamagedFile(
            f"{path}: the pixels are encapsulated, though (0002,0010) TransferSyntaxUID is {header.syntax}"
        )
    need = rows * columns * frames * form.dtype.itemsize
    if header.length < need:
        raise TruncatedFile(
            f"{path}: {name_tag(header.pixel_tag)} has {header.length} bytes, {name_tag(Tag.Rows)} {rows} x "
            f"{name_tag(Tag.Columns)} {columns} x {frames} frames of {form.dtype.itemsize} bytes need {need}"
        )
    if header.length - need >= columns * form.dtype.itemsize and any(stored_bytes(header, need, header.length - need)):
        raise DamagedFile(
            f"{path}: {name_tag(header.pixel_tag)} has {header.length} bytes, {name_tag(Tag.Rows)} {rows} x "
            f"{name_tag(Tag.Columns)} {columns} x {frames} frames of {form.dtype.itemsize} bytes need only {need}"
        )
    return form


def decode_planes(planes, workers=None):
    """Decode planes of one matrix into a new array.

    Args:
        planes: list of Plane, in slice order.
        workers: threads; default: as many as there are processors, for large volumes.

    Returns:
        float32 array (D, H, W) of real values: slope * stored + intercept, rounded once. MONOCHROME1 values stay as
        they are stored, and so do padding values.
    """
    files = defaultdict(list)
    for k, plane in enumerate(planes):
        files[plane.header.path].append((k, plane))
    formats = [describe_pixels(members[0][1].header) for members in files.values()]
    shape = (len(planes), planes[0].rows, planes[0].columns)
    try:
        out = np.empty(shape, dtype=np.float32)
    except MemoryError as error:
        raise UnsupportedImage(
            f"{planes[0].header.path}: {shape[0]} slices of {shape[1]} x {shape[2]} pixels need "
            f"{4 * np.prod(shape, dtype=float) / 2**30:.1f} GiB of memory, which is not to be had"
        ) from error
    jobs = list(zip(formats, files.values(), strict=True))
    compressed = any(form.fragments for form in formats)
    with tempfile.TemporaryDirectory(prefix="faimed3d-", dir=_memory_folder()) if compressed else _Nowhere() as folder:
        if workers is None:
            workers = min(_MOST_WORKERS, _processors()) if out.nbytes >= _THREADED_BYTES else 1
        workers = min(workers, len(jobs))
        if workers < 2:
            _decode_files(jobs, out, folder)
        else:
            # each thread takes every n-th file: the first ones of a folder are not always like the last ones
            with ThreadPoolExecutor(workers) as pool:
                for _ in pool.map(lambda n: _decode_files(jobs[n::workers], out, folder), range(workers)):
                    pass
    return out


def equal_pixels(one, other):
    """Whether two planes hold the same real values in every pixel (NaN equals NaN)."""
    if (one.rows, one.columns) != (other.rows, other.columns):
        return False
    return np.array_equal(decode_planes([one], 1), decode_planes([other], 1), equal_nan=True)


class _Nowhere:
    def __enter__(self):
        return None

    def __exit__(self, *_):
        return None


def _memory_folder():
    """A folder in memory for temporary files of one frame, where there is one with room; None for the usual place."""
    folder = "/dev/shm"
    try:
        status = os.statvfs(folder)
    except (OSError, AttributeError):
        return None
    roomy = status.f_bavail * status.f_frsize >= _FRAME_ROOM
    return folder if roomy and os.access(folder, os.W_OK) else None


def _processors():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _integer_format(header, rows, columns, frames):
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
    dtype = np.dtype(f"{header.order}{'ui'[signed]}{allocated // 8}")
    # PS3.5 annex A.3 and section 8.1.2: 8-bit pixels in OW are words, so a big endian file has them in swapped pairs
    swapped = header.order == ">" and allocated == 8 and header.pixel_vr == b"OW"
    return PixelFormat(header, dtype, rows, columns, frames, stored, high, None, swapped)


def _decode_files(jobs, out, folder):
    buffer = None
    for form, members in jobs:
        shape = (form.rows, form.columns)
        frame = None
        inflated = _inflated(form.header) if form.header.deflated else None
        with form.header.open(0) as file:
            for k, plane in members:
                if plane.frame != frame or frame is None:
                    frame = plane.frame
                    if form.fragments:
                        words = decode_frame(file, form, frame, folder)
                    else:
                        if buffer is None or buffer.dtype != form.dtype or buffer.shape != shape:
                            buffer = np.empty(shape, dtype=form.dtype)
                        _read_frame(file, form, frame, buffer, inflated)
                        words = buffer
                    words = _significant(words, form)
                if plane.corner:
                    row, column = plane.corner
                    _scale(words[row : row + plane.rows, column : column + plane.columns], plane, out[k])
                else:
                    _scale(words, plane, out[k])


def _read_frame(file, form, frame, buffer, inflated):
    offset = form.header.offset + frame * buffer.nbytes
    view = memoryview(buffer).cast("B")
    if inflated is not None:
        view[:] = inflated[offset : offset + buffer.nbytes]
    else:
        file.seek(offset)
        done = 0
        while done < len(view):
            count = file.readinto(view[done:])
            if not count:
                raise TruncatedFile(f"{form.header.path}: the file became shorter while it was read")
            done += count
    if form.swapped:
        pairs = np.frombuffer(view, dtype=np.uint8)
        even = len(pairs) // 2 * 2
        view[:even] = pairs[:even].reshape(-1, 2)[:, ::-1].tobytes()


def _significant(words, form):
    """Keep the stored bits of each word alone, sign extended: the others may hold overlays or nothing defined."""
    bits = words.dtype.itemsize * 8
    if not form.stored or form.stored == bits:
        return words
    if words.dtype.kind == "u" and form.high == form.stored - 1:
        words &= words.dtype.type((1 << form.stored) - 1)
        return words
    np.left_shift(words, bits - 1 - form.high, out=words)
    np.right_shift(words, bits - form.stored, out=words)
    return words


def _scale(words, plane, out):
    """Write slope * words + intercept into ``out``; exact arithmetic where float32 holds it, else rounded once."""
    slope, intercept = plane.slope, plane.intercept
    if slope == 1 and words.dtype.kind in "iu" and words.dtype.itemsize < 4 and abs(intercept) < _EXACT / 2:
        if intercept == 0:
            out[...] = words
            return
        if intercept == int(intercept):
            np.add(words, np.float32(intercept), out=out, dtype=np.float32, casting="unsafe")
            return
    if words.dtype.kind in "iu":
        _check_exact(words, plane)
    with np.errstate(over="ignore"):
        values = words * np.float64(slope)
        values += intercept
        out[...] = values
    if np.count_nonzero(np.isinf(out)) > np.count_nonzero(np.isinf(words)):
        raise UnsupportedImage(f"{plane.header.path}: {plane.name} has values beyond what float32 can hold")


def _check_exact(words, plane):
    """Refuse whole numbers, which may be labels, that float32 would round."""
    if words.dtype.itemsize == 4 and plane.slope == int(plane.slope) and plane.intercept == int(plane.intercept):
        ends = [float(word) * plane.slope + plane.intercept for word in (words.min(), words.max())]
        if max(map(abs, ends)) > _EXACT:
            raise UnsupportedImage(
                f"{plane.header.path}: {plane.name} has whole numbers from {min(ends):.0f} to {max(ends):.0f}, float32 "
                f"holds them exactly up to {_EXACT} only"
            )


def _inflated(header):
    with header.open() as file:
        file.seek(header.start)
        try:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(file.read(), header.offset + header.length)
        except zlib.error as error:
            raise DamagedFile(f"{header.path}: the deflated data set cannot be inflated: {error}") from error
    if len(data) < header.offset + header.length:
        raise TruncatedFile(f"{header.path}: the deflated data set ends before the last pixel")
    return data


def stored_bytes(header, start, count):
    """``count`` bytes of the pixel element from its byte ``start`` on."""
    if header.deflated:
        return _inflated(header)[header.offset + start : header.offset + start + count]
    with header.open() as file:
        file.seek(header.offset + start)
        return file.read(count)
