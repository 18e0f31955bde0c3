"""Compressed frames to stored words: RLE by pydicom, deflated ones by zlib, all others by SimpleITK (GDCM).

GDCM gets a temporary file that holds one frame and its description alone: given the original, it would apply the
rescale of the header with a pixel type of its own choice and invert MONOCHROME1. RLE frames it refuses where their
segments are longer than the pixels.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Sequence
from functools import cache
from typing import Any, BinaryIO

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import UID, RLELossless, SecondaryCaptureImageStorage

from faimed3d.dicom.header import dataset_bytes
from faimed3d.dicom.pixels.format import PixelFormat
from faimed3d.dicom.pixels.fragments import DEFLATED_FRAMES, Fragment
from faimed3d.errors import DamagedFile, TruncatedFile

_PIXEL_DATA_OB = b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff"  # (7FE0,0010), OB, of undefined length
_SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"


def decode_frame(
    file: BinaryIO, form: PixelFormat, fragments: Sequence[Fragment], frame: int, folder: str
) -> np.ndarray:
    """Decode one frame to its stored words.

    Args:
        file: the open file.
        form: of its pixels.
        fragments: of the frame.
        frame: its number, from 0.
        folder: for a temporary file.

    Returns:
        New array (rows, columns) of ``form.dtype`` in native byte order.

    Raises:
        DamagedFile: the frame cannot be decoded, or not to its size.
        TruncatedFile: a frame of RLE, or a deflated one, has fewer pixels than it should.
    """
    data = frame_bytes(file, fragments)
    name = f"{form.header.path}: frame {frame + 1}"
    if form.header.syntax == DEFLATED_FRAMES:
        return _inflated(data, form, name)
    data = encapsulate([data], has_bot=False)
    words = (
        _with_pydicom(data, form, name) if form.header.syntax == RLELossless else _with_gdcm(data, form, name, folder)
    )
    # the same bits in the words of the header: a codestream may call the numbers unsigned that the header calls signed
    return words.astype(form.dtype.newbyteorder("="), copy=False)


def frame_bytes(file: BinaryIO, fragments: Sequence[Fragment]) -> bytes:
    """The compressed bytes of one frame."""
    pieces = []
    for offset, length in fragments:
        file.seek(offset)
        pieces.append(file.read(length))
    return b"".join(pieces)


def _inflated(data: bytes, form: PixelFormat, name: str) -> np.ndarray:
    """A frame of Deflated Image Frame Compression (PS3.5 section 8.2.16)."""
    need = form.rows * form.columns * form.dtype.itemsize
    try:
        found = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, need + 1)
    except zlib.error as error:
        raise DamagedFile(f"{name} cannot be inflated: {error}") from error
    if len(found) != need:
        fault, text = (TruncatedFile, "ends before") if len(found) < need else (DamagedFile, "goes on behind")
        raise fault(f"{name} {text} its last pixel: {form.rows} x {form.columns} of {form.dtype.itemsize} bytes")
    return np.frombuffer(found, form.dtype).reshape(form.rows, form.columns)


def _with_pydicom(data: bytes, form: PixelFormat, name: str) -> np.ndarray:
    description: dict[str, Any] = {
        "rows": form.rows,
        "columns": form.columns,
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "photometric_interpretation": "MONOCHROME2",
        "bits_allocated": form.dtype.itemsize * 8,
        "bits_stored": form.stored,
        "pixel_representation": int(form.dtype.kind == "i"),
        "pixel_keyword": "PixelData",
    }
    try:
        return get_decoder(RLELossless).as_array(data, index=0, raw=True, **description)[0]
    except RuntimeError as error:  # all else that it refuses was looked at before
        raise TruncatedFile(f"{name} ends before its last pixel: an RLE segment is too short") from error


def _with_gdcm(data: bytes, form: PixelFormat, name: str, folder: str) -> np.ndarray:
    temporary = os.path.join(folder, f"{threading.get_ident()}.dcm")
    with open(temporary, "wb") as target:
        target.write(_file_of_frame(form, data))
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(temporary)
    try:
        words = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        cause = str(error).strip().rpartition("\n")[2].replace(temporary, "the frame")
        raise DamagedFile(f"{name} cannot be decoded: {cause}") from error
    if words.size != form.rows * form.columns:
        raise DamagedFile(f"{name} decodes to {words.shape}, not {form.rows} x {form.columns} pixels")
    return words.reshape(form.rows, form.columns)


def _file_of_frame(form: PixelFormat, data: bytes) -> bytes:
    """A DICOM file of one compressed frame that describes its pixels and nothing else."""
    bits = form.dtype.itemsize * 8
    head = _head(form.header.syntax, form.rows, form.columns, bits, form.stored, form.high, form.dtype.kind == "i")
    return b"".join((head, _PIXEL_DATA_OB, data, _SEQUENCE_END))


@cache  # pydicom takes a millisecond for it, a fifth of what a frame takes
def _head(syntax: str, rows: int, columns: int, bits: int, stored: int, high: int, signed: bool) -> bytes:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = UID("1.2")
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, stored, high
    dataset.PixelRepresentation = int(signed)
    return bytes(dataset_bytes(dataset, "a temporary file"))
