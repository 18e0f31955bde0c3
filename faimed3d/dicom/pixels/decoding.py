"""Stored pixels to real values: decode planes straight into one float32 array.

Uncompressed pixels are read into a buffer of one image and scaled into the output from there; compressed frames are
decoded one by one, see ``compressed``.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

import numpy as np

from faimed3d._exact import FLOAT32_EXACT
from faimed3d.dicom.header import quiet
from faimed3d.dicom.pixels.compressed import decode_frame
from faimed3d.dicom.pixels.format import PixelFormat, inflated, pixel_format
from faimed3d.dicom.planes import Plane
from faimed3d.errors import TruncatedFile, UnsupportedImage

_THREADED_BYTES = 1 << 22  # below this many bytes of output threads cost more than they save
_MOST_WORKERS = 8
_MEMORY_FOLDER = "/dev/shm"
_MEMORY_ROOM = 1 << 26  # bytes free in memory from which on temporary frames are put there

_File = tuple[PixelFormat, list[tuple[int, Plane]]]  # planes of one file, each with its index in the output


def decode_planes(planes: Sequence[Plane], workers: int | None = None) -> np.ndarray:
    """Decode planes of one matrix into a new array.

    Args:
        planes: in slice order.
        workers: threads; default: as many as there are processors, for large volumes.

    Returns:
        float32 array (D, H, W) of real values: slope * stored + intercept, rounded once. MONOCHROME1 values stay as
        they are stored, and so do padding values.

    Raises:
        TruncatedFile: a file has fewer pixels than its header says.
        DamagedFile: pixels that contradict their description, or cannot be decoded.
        UnsupportedImage: pixels of a kind that is not read here, more than memory holds, or values beyond float32.
    """
    by_path = defaultdict(list)
    for k, plane in enumerate(planes):
        by_path[plane.header.path].append((k, plane))
    files = [(pixel_format(members[0][1].header), members) for members in by_path.values()]
    out = _new_array(planes)
    compressed = any(form.fragments for form, _ in files)
    with contextlib.ExitStack() as stack:
        folder = ""
        if compressed:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="faimed3d-", dir=_memory_folder()))
            stack.enter_context(quiet())  # of padding in RLE segments; here and not in the threads, which share it
        if workers is None:
            workers = min(_MOST_WORKERS, _processors()) if out.nbytes >= _THREADED_BYTES else 1
        workers = min(workers, len(files))
        if workers < 2:
            _decode_files(files, out, folder)
        else:
            # each thread takes every n-th file: the first ones of a folder are not always like the last ones
            with ThreadPoolExecutor(workers) as pool:
                for _ in pool.map(lambda n: _decode_files(files[n::workers], out, folder), range(workers)):
                    pass
    return out


def equal_pixels(one: Plane, other: Plane) -> bool:
    """Whether two planes hold the same real values in every pixel (NaN equals NaN)."""
    if (one.rows, one.columns) != (other.rows, other.columns):
        return False
    return np.array_equal(decode_planes([one], 1), decode_planes([other], 1), equal_nan=True)


def _new_array(planes: Sequence[Plane]) -> np.ndarray:
    first = planes[0]
    shape = (len(planes), first.rows, first.columns)
    try:
        return np.empty(shape, dtype=np.float32)
    except MemoryError as error:
        raise UnsupportedImage(
            f"{first.header.path}: {shape[0]} slices of {shape[1]} x {shape[2]} pixels need "
            f"{4 * np.prod(shape, dtype=float) / 2**30:.1f} GiB of memory, more than is free"
        ) from error


def _memory_folder() -> str | None:
    """A folder in memory for temporary files of one frame, where there is one with room; None for the usual one."""
    try:
        status = os.statvfs(_MEMORY_FOLDER)
    except (OSError, AttributeError):
        return None
    roomy = status.f_bavail * status.f_frsize >= _MEMORY_ROOM
    return _MEMORY_FOLDER if roomy and os.access(_MEMORY_FOLDER, os.W_OK) else None


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _decode_files(files: Sequence[_File], out: np.ndarray, folder: str) -> None:
    buffer = np.empty((0, 0))
    for form, members in files:
        shape = (form.rows, form.columns)
        frame = None
        data_set = inflated(form.header) if form.header.deflated else None
        with form.header.open(0) as file:
            for k, plane in members:
                if plane.frame != frame:
                    frame = plane.frame
                    if form.fragments:
                        words = decode_frame(file, form, form.fragments[frame], frame, folder)
                    else:
                        if buffer.dtype != form.dtype or buffer.shape != shape:
                            buffer = np.empty(shape, dtype=form.dtype)
                        _read_frame(file, form, frame, buffer, data_set)
                        words = buffer
                    words = _significant(words, form)
                if plane.corner:
                    row, column = plane.corner
                    _scale(words[row : row + plane.rows, column : column + plane.columns], plane, out[k])
                else:
                    _scale(words, plane, out[k])


def _read_frame(file: BinaryIO, form: PixelFormat, frame: int, buffer: np.ndarray, data_set: bytes | None) -> None:
    """Fill ``buffer`` with the words of a frame, from the inflated data set where there is one."""
    offset = form.header.pixel_offset + frame * buffer.nbytes
    view = memoryview(buffer.data).cast("B")
    if data_set is not None:
        view[:] = data_set[offset : offset + buffer.nbytes]
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


def _significant(words: np.ndarray, form: PixelFormat) -> np.ndarray:
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


def _scale(words: np.ndarray, plane: Plane, out: np.ndarray) -> None:
    """Write slope * words + intercept into ``out``; exact arithmetic where float32 holds it, else rounded once."""
    slope, intercept = plane.slope, plane.intercept
    whole = words.dtype.kind in "iu"
    if slope == 1 and whole and words.dtype.itemsize < 4 and abs(intercept) < FLOAT32_EXACT / 2:
        if intercept == 0:
            out[...] = words
            return
        if intercept == int(intercept):
            np.add(words, np.float32(intercept), out=out, dtype=np.float32, casting="unsafe")
            return
    if whole:
        _check_exact(words, plane)
    with np.errstate(over="ignore"):
        values = words * np.float64(slope)
        values += intercept
        out[...] = values
    if np.count_nonzero(np.isinf(out)) > np.count_nonzero(np.isinf(words)):
        raise UnsupportedImage(f"{plane.header.path}: {plane.name} has values beyond what float32 can hold")


def _check_exact(words: np.ndarray, plane: Plane) -> None:
    """Refuse whole numbers, which may be labels, that float32 would round."""
    slope, intercept = plane.slope, plane.intercept
    if words.dtype.itemsize == 4 and slope == int(slope) and intercept == int(intercept):
        ends = [float(word) * slope + intercept for word in (words.min(), words.max())]
        if max(map(abs, ends)) > FLOAT32_EXACT:
            raise UnsupportedImage(
                f"{plane.header.path}: {plane.name} has whole numbers from {min(ends):.0f} to {max(ends):.0f}; float32 "
                f"holds them exactly up to {FLOAT32_EXACT} only"
            )
