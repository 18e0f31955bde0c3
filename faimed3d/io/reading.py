"""One file or folder to (array, geometry, header): the content says which format it is, and its module reads it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from faimed3d._file_signature import file_signature
from faimed3d.errors import ReadError, UnsupportedImage, no_such
from faimed3d.geometry import Geometry
from faimed3d.io.conversion import convert
from faimed3d.io.formats import file_format
from faimed3d.io.metaimage import read_metaimage
from faimed3d.io.mgh import read_mgh
from faimed3d.io.nifti import read_nifti
from faimed3d.io.npy import read_npy
from faimed3d.io.nrrd import read_nrrd
from faimed3d.io.source_header import SourceHeader

_READERS = {"nifti": read_nifti, "nrrd": read_nrrd, "metaimage": read_metaimage, "mgh": read_mgh, "npy": read_npy}


def read(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    series: Any = None,
    strict: bool = True,
    dtype: DTypeLike | None = np.float32,
) -> tuple[np.ndarray, Geometry, SourceHeader]:
    """Read a volume from a file of any supported format, or from a DICOM folder or its files.

    Args:
        path: the file or folder, or a list of the DICOM files of one series, in any order. The content decides the
            format; a wrong or missing extension does no harm.
        series: which series of a DICOM folder, see :func:`faimed3d.dicom.read_dicom`.
        strict: refuse what contradicts itself. False warns, or takes the trustworthy half: bytes that follow the voxels
            are ignored, the datatype wins over bitpix, a usable sform over unusable voxel sizes or the other way round,
            missing spacing of MetaImage is 1 mm. It never accepts a cut file, a wrong checksum or sizes below 1. Where
            the format lets position or orientation be absent, they are assumed (0; L, P, S) with a warning.
        dtype: dtype of the array, float32 by default; None keeps the stored one (for labels). DICOM gives float32.

    Returns:
        (array, geometry, header). The array is C-contiguous and native, (D,H,W), or (C,D,H,W), channels first, where
        the file has a fourth axis (time, vector components) longer than 1, several channels, or colours (3 of RGB, 4 of
        RGBA). The geometry is in LPS mm (see :mod:`faimed3d.geometry`). NaN and infinities stay what they are.

    Raises:
        FileNotFoundError: no such file or folder, or the other half of a pair is missing.
        TruncatedFile: fewer bytes than the header says; found before memory is taken.
        DamagedFile: the header contradicts itself, the checksum is wrong, or the file is of another kind altogether.
        MissingGeometry: spacing, position or orientation is missing, 0 or not finite.
        UnsupportedImage: two dimensions, five with two beyond space longer than 1, complex numbers, ...
        ReadError: base of all these; also for integers that ``dtype`` cannot hold exactly (labels above 2**24 in
            float32: pass ``dtype=None``), for volumes that do not fit into memory, and for a file that another process
            writes meanwhile.

    >>> import tempfile
    >>> from faimed3d.io import write
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(f"{folder}/scan.nii.gz", np.zeros((2, 3, 4)), Geometry((2, 3, 4), spacing=(1, 2, 3)))
    ...     array, geometry, header = read(f"{folder}/scan.nii.gz")
    >>> array.dtype, geometry.spacing, header
    (dtype('float32'), (1.0, 2.0, 3.0), SourceHeader(1 file))
    """
    if isinstance(path, list | tuple):
        return _read_dicom(dicom_files(path), series, strict, dtype)
    path = os.fspath(path)  # type: ignore[arg-type] # no list any more
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if not os.path.exists(path):
        if os.path.islink(path):
            raise FileNotFoundError(f"{path}: a link to a file that is not there")
        raise no_such(path)
    if os.path.isdir(path):
        return _read_dicom(path, series, strict, dtype)
    if not os.path.isfile(path):
        raise UnsupportedImage(f"{path}: a device or a pipe, neither a file nor a folder")
    with _unchanged(path):
        kind = file_format(path)
        if kind == "dicom":
            return _read_dicom(path, series, strict, dtype)
        if series is not None:
            raise ValueError(
                f"{path}: series chooses a volume of a DICOM folder; this is one {kind} file. Leave series out"
            )
        array, geometry, files = _READERS[kind](path, strict, dtype)
        return array, geometry, SourceHeader(files, kind)


def dicom_files(paths: Sequence[Any]) -> list[str]:
    """The names in a list of files that should be the slices of one DICOM series, which is what a list means.

    Raises:
        TypeError: they are no paths. FileNotFoundError: one is not there.
        ValueError: none, a folder, or a file of another format.
    """
    from faimed3d.dicom import is_dicom  # pydicom takes time to import

    if not len(paths):
        raise ValueError("a list of no files: expected the DICOM files of one series, or the path of a file or folder")
    for path in paths:
        if not isinstance(path, str | os.PathLike):
            raise TypeError(
                "source must be a path or a list of the DICOM files of one series, got list with a "
                f"{type(path).__name__}: stack arrays and tensors first, np.stack(arrays); to ImageBlock3D an item may "
                "be a list of volumes, its channels"
            )
    files = [os.fsdecode(path) for path in paths]
    for file in files:
        if not os.path.exists(file):
            raise FileNotFoundError(f"{file}: no such file, in a list of {len(files)}")
        if os.path.isdir(file):
            raise ValueError(f"{file}: a folder in a list of {len(files)}; a list is files: give the folder alone")
        if not is_dicom(file):
            raise ValueError(
                f"{file}: no DICOM file, in a list of {len(files)}. A list is the slices of one DICOM series; read "
                "volumes one by one, and for channels give ImageBlock3D a list of files as an item, or torch.stack them"
            )
    return files


@contextlib.contextmanager
def _unchanged(path):
    """Refuse what was read while another process wrote the file: header and voxels may be of two files.

    It is enough to look at the file that was asked for: a pair that is written anew gets a new header at the end, and a
    header with a data file of its own another data file.
    """
    before = _signature(path)
    try:
        yield
    except (ReadError, FileNotFoundError) as error:
        if _signature(path) != before:
            raise _changed(path) from error
        raise
    if _signature(path) != before:
        raise _changed(path)


def _signature(path):
    try:
        return file_signature(os.stat(path))
    except FileNotFoundError:
        return None


def _changed(path):
    return ReadError(f"{path}: the file changed while it was read. Read it again when it is written")


def _read_dicom(path, series, strict, dtype):
    from faimed3d.dicom.volume_reading import read_volume  # pydicom takes time to import

    (array, geometry, files), padding = read_volume(path, series=series, strict=strict)
    if dtype is not None and np.dtype(dtype) != array.dtype:
        array = convert(array, dtype, os.path.dirname(path[0]) if isinstance(path, list) else path)
    return array, geometry, SourceHeader(tuple(os.fspath(file) for file in files), "dicom", padding)
