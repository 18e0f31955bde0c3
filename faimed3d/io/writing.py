"""An array with its geometry to a file: packed, read back and compared before it gets its name."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from faimed3d._assumed import warn_if_assumed
from faimed3d._atomic import replace_file, sync_file, sync_names, unfinished_folder
from faimed3d._keywords import keywords_of, strict_keywords
from faimed3d.errors import ReadError
from faimed3d.geometry import POSITION_TOLERANCE, Geometry
from faimed3d.io.formats import DICOM_SUFFIXES, FORMATS, READ_SUFFIXES, WRITE_SUFFIXES, volume_suffix
from faimed3d.io.metaimage import metaimage_header_bytes
from faimed3d.io.mgh import mgh_header_bytes, mgh_voxels
from faimed3d.io.nifti import is_pair_header, nifti_header_bytes
from faimed3d.io.nrrd import nrrd_header_bytes
from faimed3d.io.nrrd_segments import Segment, segment_lines
from faimed3d.io.reading import read
from faimed3d.io.writable import writable_volume

_LEVEL = 2  # of isal: packs as small as zlib's 2, four times as fast
_BLOCK = 1 << 20
_LONGEST_NIFTI = 32767


def of_series(args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> list[str]:
    """What writing takes for a DICOM series alone, as ``more`` of ``strict_keywords``."""
    from faimed3d.dicom import write_series  # pydicom takes time to import

    return [name for name in keywords_of(write_series) if name not in ("folder", "array", "geometry")]


def of_mask_files(args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> list[str]:
    """What saving a mask takes for DICOM files, as ``more`` of ``strict_keywords``."""
    from faimed3d.dicom.mask_objects import keywords_of_forms  # pydicom takes time to import

    return list(dict.fromkeys([*of_series(), *keywords_of_forms()]))


@strict_keywords(more=of_series)
def write(
    path: str | os.PathLike[str], array: Any, geometry: Geometry, segments: Sequence[Segment] = (), **dicom: Any
) -> None:
    """Write a volume with its geometry, whole or not at all.

    A path without an extension is a folder for a DICOM series, see :func:`faimed3d.dicom.write_series`. A file is
    written in a temporary folder beside it, read back, compared and renamed; it keeps the permissions of the file that
    it replaces. .nii.gz, .nrrd, .mha and .mgz are compressed.

    Of .nhdr and .mhd the voxels lie in a second file, of a name that is new each time (``scan.mhd`` with
    ``scan.3f9a01c2.raw``); the one that the replaced header had got in this way is deleted at the end. The halves of
    .hdr + .img (NIfTI) have one name for good, so that they alone cannot be replaced at once: a process that is killed
    in between leaves a header without dimensions, which reading refuses, and two processes that write one pair at the
    same time may leave the header of one with the voxels of the other.

    Args:
        path: the file; its extension chooses the format, see ``WRITE_SUFFIXES``. Its folder must exist.
        array: (D,H,W) or channels first (C,D,H,W); bool is written as uint8, float16 and bfloat16 as float32, C = 1 as
            a plain volume. In NIfTI channels
            are the fourth dimension, as of a time series, without a time step; in NRRD and MetaImage they are the
            components of a vector. FreeSurfer's format has few types; what none of them holds exactly is refused.
        geometry: the Geometry. NRRD and MetaImage keep it to 1e-12 of its size, NIfTI's sform to float32: spacing and
            origin to 1e-6 of their size, directions to 1e-6. NIfTI's qform, which some programs prefer, has right
            angles only: directions that miss them by less than 1e-2 of a voxel at the far corner are rounded there,
            others are in the sform alone (SimpleITK refuses to read these). The codes of both forms are those of the
            NIfTI that the geometry was read from, else 1.
        segments: that the header of a .seg.nrrd lists, with their names.
        dicom: for a DICOM series alone: ``template``, ``modality``, ``series_description``, ...

    Raises:
        TypeError: a dtype that cannot be written. FileNotFoundError: no such folder.
        ValueError: the format is unknown, or cannot hold the volume (more than 32767 voxels along one axis in NIfTI).
        FileExistsError: the other half of a .hdr + .img pair is there and belongs to something else.
        OSError: the disk is full or read-only; nothing is left behind.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(f"{folder}/scan.nrrd", np.zeros((2, 3, 4)), Geometry((2, 3, 4), spacing=(1, 2, 3)))
    ...     os.listdir(folder)
    ['scan.nrrd']
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
        from faimed3d.dicom import write_series  # pydicom takes time to import

        warn_if_assumed(geometry, "save")
        write_series(path, array, geometry, **dicom)
        return
    if dicom:
        raise TypeError(f"{path}: {', '.join(dicom)} are for a DICOM series; give a folder (a path without extension)")
    _check_name(path, suffix)
    array = writable_volume(array, geometry)
    warn_if_assumed(geometry, "save")
    if FORMATS[suffix] == "nifti":
        _check_nifti(path, array)
    elif FORMATS[suffix] == "mgh":
        array = mgh_voxels(path, array)
    with unfinished_folder(path) as unfinished:
        if suffix in (".nhdr", ".mhd"):
            _write_header_and_raw(path, suffix, array, geometry, unfinished)
        elif suffix in (".hdr", ".img"):
            _write_pair(path, array, geometry, unfinished)
        else:
            made = os.path.join(unfinished, f"volume{suffix}")
            _write_one(made, suffix, array, geometry, segment_lines(segments, array.shape[-3:]))
            _check_same(made, path, array, geometry)
            replace_file(made, path)


def _check_name(path, suffix):
    if suffix in DICOM_SUFFIXES:
        raise ValueError(
            f"{path}: a DICOM series is one file for each slice; give the folder to write it to (a path without "
            f"extension), or one of {', '.join(WRITE_SUFFIXES)}. A mask becomes one DICOM file with like=scan"
        )
    if suffix == ".npy":
        raise ValueError(f"{path}: .npy holds no geometry; use numpy.save, or one of {', '.join(WRITE_SUFFIXES)}")
    if os.path.basename(path).lower() in READ_SUFFIXES:
        raise ValueError(f"{path}: an extension without a name before it")
    if suffix not in WRITE_SUFFIXES:
        raise ValueError(f"{path}: cannot write {suffix}; choose one of {', '.join(WRITE_SUFFIXES)}")
    folder = os.path.dirname(path)
    if not os.path.isdir(folder or "."):
        raise FileNotFoundError(f"{path}: the folder {folder} does not exist; create it first")
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path}: is a folder, not a file")


def _check_nifti(path, array):
    if max(array.shape) > _LONGEST_NIFTI:
        raise ValueError(
            f"{path}: NIfTI holds at most {_LONGEST_NIFTI} voxels along an axis, got {array.shape}; write .nrrd instead"
        )


def _write_one(made, suffix, array, geometry, pairs):
    """Header and voxels in one file."""
    if suffix in (".nii", ".nii.gz"):
        _store(made, nifti_header_bytes(array, geometry), array, "whole" if suffix == ".nii.gz" else None)
    elif FORMATS[suffix] == "mgh":
        packing = "whole" if suffix == ".mgz" else None
        _store(made, mgh_header_bytes(array, geometry), array, packing, order=">")
    elif suffix == ".nrrd":
        _store(made, nrrd_header_bytes(array, geometry, "gzip", pairs=pairs), _together(array), "gzip")
    else:
        head = metaimage_header_bytes(array, geometry, 0)
        _store(made, head, _together(array), "zlib")
        with open(made, "r+b") as file:
            file.write(metaimage_header_bytes(array, geometry, os.path.getsize(made) - len(head)))


def _write_header_and_raw(path, suffix, array, geometry, unfinished):
    """A header and a data file of a name that no file had before, so that no header ever points at other voxels."""
    folder, name = os.path.split(path)
    stem = re.sub(r"[^A-Za-z0-9_.-]", "_", name[: len(name) - len(suffix)])[:200]
    data_name = f"{stem}.{secrets.token_hex(4)}.raw"
    made, data = os.path.join(unfinished, f"volume{suffix}"), os.path.join(unfinished, data_name)
    if suffix == ".nhdr":
        _store(made, nrrd_header_bytes(array, geometry, "raw", data_name))
    else:
        _store(made, metaimage_header_bytes(array, geometry, data_name=data_name))
    _store(data, b"", _together(array))
    _check_same(made, path, array, geometry)
    before, final = _data_of(path, stem), os.path.join(folder, data_name)
    if os.path.exists(path):
        os.chmod(data, os.stat(path).st_mode & 0o777)
    sync_file(data)
    os.rename(data, final)
    sync_names(folder)
    try:
        replace_file(made, path)
    except BaseException:
        if os.path.lexists(made):  # a signal may come when the header has its name already
            os.unlink(final)
        raise
    if before is not None and os.path.isfile(os.path.join(folder, before)):
        os.unlink(os.path.join(folder, before))


def _data_of(path, stem):
    """Name of the data file that was written together with the header that lies there; None for all others."""
    if not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        lines = file.read(_BLOCK).decode("latin-1").splitlines()
    found = re.fullmatch(rf"(?:data file: |ElementDataFile = )({re.escape(stem)}\.[0-9a-f]{{8}}\.raw)", lines[-1:][0])
    return found[1] if found else None


def _write_pair(path, array, geometry, unfinished):
    """The two files of a NIfTI pair.

    Their names are fixed, so they cannot both change at once: between them lies a header that no reader takes.
    """
    header, image = _pair_names(path)
    made = [os.path.join(unfinished, name) for name in ("volume.hdr", "volume.img")]
    head = nifti_header_bytes(array, geometry, pair=True)
    _store(made[0], head)
    _store(made[1], b"", array)
    _check_same(made[0], path, array, geometry)
    before, between = (os.path.join(unfinished, name) for name in ("before.hdr", "between.hdr"))
    if os.path.exists(header):
        shutil.copy2(header, before)
    _store(between, head[:40] + bytes(16) + head[56:])  # of no dimensions
    try:
        replace_file(between, header)
        replace_file(made[1], image)
        replace_file(made[0], header)
    except BaseException:
        if not os.path.lexists(made[1]):  # its image has its name already
            if os.path.lexists(made[0]):
                replace_file(made[0], header)
        elif os.path.lexists(before):
            replace_file(before, header)
        elif not os.path.lexists(between):
            os.unlink(header)
        raise


def _pair_names(path):
    """(header, image) of a pair, after checking that no file of another kind would be overwritten unasked."""
    base, extension = os.path.splitext(path)
    other = {".hdr": ".img", ".img": ".hdr"}[extension.lower()]
    other = base + (other.upper() if extension.isupper() else other)
    header, image = (path, other) if extension.lower() == ".hdr" else (other, path)
    if os.path.isdir(other):
        raise IsADirectoryError(f"{other}: is a folder, where the other half of {path} would be written")
    if os.path.lexists(other) and not is_pair_header(header):
        raise FileExistsError(
            f"{other}: would be overwritten, but is not the other half of a NIfTI or Analyze pair with {path}. "
            "Choose another name, or delete it"
        )
    return header, image


def _together(array):
    """Blocks of an array whose channels lie together in each voxel; an array without channels as it is."""
    if array.ndim == 3:
        return array
    return (np.moveaxis(array[:, k], 0, -1) for k in range(array.shape[1]))


def _store(made, head, voxels=(), packing=None, order="<"):
    """Write the header, then the voxels, an array or blocks; packed as 'gzip' or 'zlib', or the file as a 'whole'."""
    from isal import isal_zlib

    with open(made, "wb") as file:
        if packing is None:
            file.write(head)
            for block in _bytes(voxels, 1 << 26, order):
                file.write(block)
            return
        pack = isal_zlib.compressobj(_LEVEL, wbits=15 if packing == "zlib" else 31)
        file.write(pack.compress(head) if packing == "whole" else head)
        for block in _bytes(voxels, _BLOCK, order):
            file.write(pack.compress(block))
        file.write(pack.flush())


def _bytes(voxels, most, order):
    for block in [voxels] if isinstance(voxels, np.ndarray) else voxels:
        view = memoryview(np.ascontiguousarray(block, block.dtype.newbyteorder(order))).cast("B")
        for start in range(0, len(view), most):
            yield view[start : start + most]


def _check_same(made, path, array, geometry):
    """Read back what lies on the disk: not every failed write is noticed, and no header holds every grid."""
    try:
        found, grid, _ = read(made, dtype=None)
    except ReadError as error:
        raise OSError(f"{path}: could not be written whole (is the disk full?): {error}") from error
    if not grid.agrees(geometry, POSITION_TOLERANCE):
        raise ValueError(f"{path}: this format cannot hold the {geometry!r}; it would become {grid!r}")
    if (found.dtype, found.shape) != (array.dtype, array.shape) or not _same_bytes(found, array):
        raise OSError(f"{path}: could not be written: the file holds other voxels when it is read back")


def _same_bytes(one, other):
    """Whether two arrays hold the same bytes, NaN included, told without a copy of them."""
    one, other = (array.reshape(-1).view(np.uint8) for array in (one, other))
    return all(np.array_equal(one[k : k + _BLOCK], other[k : k + _BLOCK]) for k in range(0, len(one), _BLOCK))
