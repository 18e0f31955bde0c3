"""One file or folder to (array, geometry, header), and an array with its geometry to a file.

The one door to volumes on disk. Each format has a room of its own (:mod:`~faimed3d.io.nifti`,
:mod:`~faimed3d.io.nrrd`, :mod:`~faimed3d.io.metaimage`, :mod:`~faimed3d.io.npy`, :mod:`faimed3d.dicom`) where it is
read; the content of a file decides which, not its name. Files are written in :mod:`~faimed3d.io.writing`. SimpleITK
images are taken and given, but none of its readers and writers is used: they do not notice cuts, take names for drives
and patterns, and end the process at a name that is no UTF-8.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from dataclasses import dataclass

import numpy as np

from faimed3d._file_signature import file_signature
from faimed3d.errors import ReadError, UnsupportedImage
from faimed3d.geometry import Geometry
from faimed3d.io.formats import READ_SUFFIXES, WRITE_SUFFIXES, file_format, volume_suffix
from faimed3d.io.voxel_data import convert
from faimed3d.io.writing import check_shape, writable, write_file

__all__ = ["READ_SUFFIXES", "WRITE_SUFFIXES", "Header", "from_sitk", "read", "to_sitk", "volume_suffix", "write"]

_TECHNICAL = frozenset(
    (  # of NRRD, MetaImage and npy, whose fields are all text
        *("type", "dimension", "space", "space dimension", "sizes", "space directions", "space origin", "space units"),
        *("kinds", "endian", "encoding", "spacings", "axis mins", "axis maxs", "centers", "thicknesses"),
        *("ObjectType", "NDims", "DimSize", "BinaryData", "BinaryDataByteOrderMSB", "ElementByteOrderMSB", "Offset"),
        *("CompressedData", "CompressedDataSize", "TransformMatrix", "CenterOfRotation", "AnatomicalOrientation"),
        *("ElementSpacing", "ElementSize", "ElementType", "ElementNumberOfChannels", "HeaderSize"),
        *("shape", "fortran_order", "descr"),
    )
)


@dataclass(frozen=True, slots=True, repr=False)
class Header:
    """Where the header of a volume can be read; it holds file names and no header value.

    Args:
        files: the files that the volume came from; of DICOM one a slice, in slice order.
        format: 'dicom', 'nifti', 'nrrd', 'metaimage' or 'npy'; '' without files.
    """

    files: tuple[str, ...] = ()
    format: str = ""

    def table(self, deidentify=False):
        """Read the header from the files, anew at each call: they are data about a patient.

        Args:
            deidentify: leave out identifying tags; of formats other than DICOM keep technical fields alone. No
                substitute for a reviewed de-identification.

        Returns:
            DataFrame: column ``tags`` (of DICOM like ``0008|0005``, else names of header fields), then one column for
            each slice file (of other formats for the header file), named by its path.
        """
        import pandas as pd

        if self.format == "dicom":
            return _dicom().header_table(list(self.files), deidentify=deidentify)
        if not self.files:
            return pd.DataFrame({"tags": []})
        path = self.files[0]
        fields = _module(self.format).header_fields(path)
        if deidentify:
            fields = {name: value for name, value in fields.items() if _is_technical(name, value)}
        return pd.DataFrame({"tags": list(fields), path: list(fields.values())}, dtype=object)

    def __repr__(self):
        return f"Header({len(self.files)} file{'' if len(self.files) == 1 else 's'})"


def read(path, series=None, strict=True, dtype=np.float32):
    """Read a volume from a file of any supported format or from a DICOM folder.

    Args:
        path: the file or folder. The content decides the format; a wrong or missing extension does no harm.
        series: which series of a DICOM folder, see :func:`faimed3d.dicom.read_dicom`.
        strict: refuse what contradicts itself. False warns, or takes the trustworthy half: bytes that follow the voxels
            are ignored, the datatype wins over bitpix, a usable sform over unusable voxel sizes or the other way round,
            missing spacing of MetaImage is 1 mm. It never accepts a cut file, a wrong checksum or sizes below 1. Where
            the format lets position or orientation be absent, they are assumed (0; L, P, S) with a warning.
        dtype: dtype of the array, float32 by default; None keeps the stored one (for labels). DICOM gives float32.

    Returns:
        (array, geometry, header). The array is C-contiguous and native: (D,H,W), or (C,D,H,W), channels first, where
        the file has a fourth axis (time, vector components) longer than 1, several channels, or colours (RGB: 3, RGBA:
        4). The geometry is in LPS mm (see :mod:`faimed3d.geometry`). NaN and infinities stay what they are.

    Raises:
        FileNotFoundError: no such file or folder, or the other half of a pair is missing.
        TruncatedFile: fewer bytes than the header says; found before memory is taken.
        DamagedFile: the header contradicts itself, the checksum is wrong, or the file is of another kind altogether.
        MissingGeometry: spacing, position or orientation is missing, 0 or not finite.
        UnsupportedImage: two dimensions, five with two beyond space longer than 1, complex numbers, ...
        ReadError: base of all these; also for integers that ``dtype`` cannot hold exactly (labels above 2**24 in
            float32: pass ``dtype=None``), for volumes that do not fit into memory, and for a file that another process
            writes meanwhile.
    """
    path = os.fspath(path)
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if not os.path.exists(path):
        what = "a link to a file that is not there" if os.path.islink(path) else "no such file or folder"
        raise FileNotFoundError(f"{path}: {what}")
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
        module = _module(kind)
        array, geometry, files = getattr(module, f"read_{kind}")(path, strict, dtype)
        return array, geometry, Header(tuple(files), kind)


@contextlib.contextmanager
def _unchanged(path):
    """Refuse what was read while another process wrote the file: the header may be of the old one, voxels of the new.

    A pair that is written anew gets a new header at the end, and a header with a data file another data file.
    """
    before = _state(path)
    try:
        yield
    except (ReadError, FileNotFoundError) as error:
        if _state(path) != before:
            raise _changed(path) from error
        raise
    if _state(path) != before:
        raise _changed(path)


def _state(path):
    try:
        return file_signature(os.stat(path))
    except FileNotFoundError:
        return None


def _changed(path):
    return ReadError(f"{path}: the file changed while it was read. Read it again when it is written")


def _module(name):
    return importlib.import_module(f".{name}", __package__)


def _dicom():
    return importlib.import_module("faimed3d.dicom")


def _read_dicom(path, series, strict, dtype):
    array, geometry, files = _dicom().read_dicom(path, series=series, strict=strict)
    if dtype is not None and np.dtype(dtype) != array.dtype:
        array = convert(array, dtype, path)
    return array, geometry, Header(tuple(os.fspath(file) for file in files), "dicom")


def from_sitk(image):
    """Turn a SimpleITK image into (array, geometry).

    Args:
        image: a ``SimpleITK.Image`` of 3 dimensions, scalar or vector, or of 4 whose fourth axis is not spatial.

    Returns:
        A copy of the voxels in their own dtype, (D,H,W) or channels first (C,D,H,W), and the :class:`Geometry`.

    Raises:
        TypeError: no SimpleITK image.
        UnsupportedImage: two dimensions, complex numbers, a label map object.
    """
    import SimpleITK as sitk

    if not isinstance(image, sitk.Image):
        raise TypeError(f"expected a SimpleITK.Image, got {type(image).__name__}")
    rank, parts = image.GetDimension(), image.GetNumberOfComponentsPerPixel()
    name = image.GetPixelIDTypeAsString()
    if rank not in (3, 4) or (rank == 4 and parts > 1):
        raise UnsupportedImage(
            f"a SimpleITK image of {rank} dimensions {image.GetSize()} with {parts} components is no volume"
        )
    if "complex" in name or "label" in name:
        raise UnsupportedImage(f"a SimpleITK image of {name} voxels is not supported; convert it to real numbers first")
    matrix = np.reshape(image.GetDirection(), (rank, rank))
    if rank == 4 and (matrix[3, :3].any() or matrix[:3, 3].any()):
        raise UnsupportedImage(
            f"a SimpleITK image of 4 spatial dimensions (direction {image.GetDirection()}) is no volume"
        )
    array = sitk.GetArrayFromImage(image)
    if parts > 1 or (rank == 3 and array.ndim == 4):
        array = np.ascontiguousarray(np.moveaxis(array, -1, 0))
    if array.ndim == 4 and len(array) == 1:
        array = array[0]
    geometry = Geometry(array.shape[-3:], image.GetSpacing()[:3], image.GetOrigin()[:3], matrix[:3, :3].ravel())
    return array, geometry


def to_sitk(array, geometry):
    """Turn an array and its geometry into a SimpleITK image.

    Args:
        array: (D,H,W), or channels first (C,D,H,W), which becomes a vector image (C = 1: a scalar one). bool becomes
            uint8.
        geometry: the :class:`Geometry` of the same (D,H,W).

    Raises:
        TypeError: a dtype that SimpleITK has not (float16, bfloat16, complex, ...), or no Geometry.
        ValueError: the shape is no volume's, or not the geometry's.
    """
    import SimpleITK as sitk

    array = writable(array)
    check_shape(array, geometry)
    if array.ndim == 4 and len(array) == 1:
        array = array[0]
    vector = array.ndim == 4
    image = sitk.GetImageFromArray(
        np.ascontiguousarray(np.moveaxis(array, 0, -1)) if vector else array, isVector=vector
    )
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    return image


def write(path, array, geometry, **dicom):
    """Write a volume with its geometry, whole or not at all.

    A path without an extension is a folder for a DICOM series, see :func:`faimed3d.dicom.write_series`. A file is
    written in a temporary folder beside it, read back, compared and renamed; it keeps the permissions of the file that
    it replaces. .nii.gz, .nrrd and .mha are compressed.

    Of .nhdr and .mhd the voxels lie in a second file, of a name that is new each time (``scan.mhd`` with
    ``scan.3f9a01c2.raw``); the one that the replaced header had got in this way is deleted at the end. The halves of
    .hdr + .img (NIfTI) have one name for good, so that they alone cannot be replaced at once: a process that is killed
    in between leaves a header without dimensions, which reading refuses, and two processes that write one pair at the
    same time may leave the header of one with the voxels of the other.

    Args:
        path: the file; its extension chooses the format, see ``WRITE_SUFFIXES``. Its folder must exist.
        array: (D,H,W) or channels first (C,D,H,W); bool is written as uint8, C = 1 as a plain volume. In NIfTI channels
            are the fourth dimension, as of a time series, without a time step; in NRRD and MetaImage they are the
            components of a vector.
        geometry: the :class:`Geometry`. NRRD and MetaImage keep it to 1e-12 of its size, NIfTI's sform to float32:
            spacing and origin to 1e-6 of their size, directions to 1e-6. NIfTI's qform, which some programs prefer, has
            right angles only: directions that miss them by less than 1e-2 of a voxel at the far corner are rounded.
        dicom: for a DICOM series alone: ``template``, ``modality``, ``series_description``, ...

    Raises:
        TypeError: a dtype that cannot be written. FileNotFoundError: no such folder.
        ValueError: the format is unknown, or cannot hold the volume (a sheared direction or more than 32767 voxels
            along one axis in NIfTI).
        FileExistsError: the other half of a .hdr + .img pair is there and belongs to something else.
        OSError: the disk is full or read-only; nothing is left behind.
    """
    path = os.fspath(path)
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    bare = path.rstrip(os.sep + (os.altsep or ""))
    if bare != path and volume_suffix(bare) in WRITE_SUFFIXES:
        raise ValueError(f"{path}: ends like a folder but has the name of a file; leave the {os.sep} out")
    suffix = volume_suffix(path)
    named = os.path.basename(path).lower() in READ_SUFFIXES
    if (not suffix and not named) or (os.path.isdir(path) and suffix not in WRITE_SUFFIXES):
        return _dicom().write_series(path, array, geometry, **dicom)
    if dicom:
        raise TypeError(f"{path}: {', '.join(dicom)} are for a DICOM series; give a folder (a path without extension)")
    write_file(path, array, geometry, read)


def _is_technical(name, value):
    """Whether a header field is known to hold no text about a patient; numbers in a text field may be an ID."""
    return isinstance(value, int | float | list) or name in _TECHNICAL
