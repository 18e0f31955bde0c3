"""NIfTI-1, NIfTI-2 and Analyze 7.5, read strictly, every byte counted; and headers of NIfTI-1 for writing.

nibabel takes headers apart and puts them together; which of them are taken, and what they mean, is decided here.

References: nifti1.h and nifti2.h of the NIfTI Data Format Working Group (https://nifti.nimh.nih.gov); Analyze 7.5 file
format (Mayo Clinic).
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike

from faimed3d.errors import DamagedFile, TruncatedFile, UnsupportedImage
from faimed3d.geometry import Geometry
from faimed3d.io.byte_streams import named_errors, open_bytes
from faimed3d.io.nifti_geometry import analyze_geometry, nifti_geometry, set_forms
from faimed3d.io.voxels import Voxels, read_voxels

if TYPE_CHECKING:  # nibabel takes a third of a second to import
    from nibabel.analyze import AnalyzeHeader

_NO_VOXELS = (0, 255)  # codes of datatype: 'none', 'all'


def is_nifti(start: bytes) -> bool:
    """Whether the first 348 (unpacked) bytes of a file carry the magic of NIfTI-1 or NIfTI-2."""
    return start[344:348] in (b"n+1\0", b"ni1\0") or start[4:8] in (b"n+2\0", b"ni2\0")


def header_beside(path: str | os.PathLike[str]) -> bool:
    """Whether a .img file has a .hdr beside it, which says what it holds; False for names of other kinds."""
    try:
        header, image = _pair_of(os.fspath(path))
    except (FileNotFoundError, DamagedFile):
        return False
    return header != image == os.fspath(path)


def is_pair_header(path: str) -> bool:
    """Whether a file is the header of a NIfTI or Analyze pair; False if there is none."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        start = file.read(540)
    return (is_nifti(start) and b"n+" not in (start[344:346], start[4:6])) or (
        len(start) == 348 and start[:4] in (b"\x5c\1\0\0", b"\0\0\1\x5c")
    )


def read_nifti(
    path: str | os.PathLike[str], strict: bool = True, dtype: DTypeLike | None = np.float32
) -> tuple[np.ndarray, Geometry, tuple[str, ...]]:
    """Read a NIfTI-1/2 or Analyze file, plain or packed, single or a pair.

    Args:
        path: the .nii, .nii.gz, .hdr or .img file. Its content says whether it is packed and which version it is.
        strict: refuse a header that contradicts itself or the file (see :func:`faimed3d.io.read`).
        dtype: dtype of the array, None for the stored one.

    Returns:
        (array, geometry, files): array (D,H,W), or (C,D,H,W) where the 4th or 5th dimension (time or vector) is longer
        than 1 and for RGB(A). The geometry is the sform's if ``sform_code`` > 0, else the qform's if ``qform_code`` > 0
        (the order nibabel takes; ITK prefers the qform), with a warning where they differ by more than half a voxel.
        With neither: voxel sizes alone, LPS axes and origin 0, as SimpleITK does it, and a warning that the file does
        not say where the patient lies. ``xyzt_units`` metre and micrometre become mm.

    Raises:
        TruncatedFile, DamagedFile, MissingGeometry, UnsupportedImage, ReadError: see :func:`faimed3d.io.read`.
    """
    header_path, image_path = _pair_of(os.fspath(path))
    header = _read_header(header_path, strict)
    analyze = "magic" not in header.keys()  # noqa: SIM118 - a header iterates over its fields, but has no `in`
    magic = b"" if analyze else header["magic"].item()[:2]
    if magic == b"n+":
        image_path = header_path
    stored, colours = _stored_type(header_path, header, strict)
    shape, channels = _shape(header_path, header)
    if strict and magic == b"ni" and image_path == header_path:
        raise DamagedFile(
            f"{header_path}: its magic 'ni' says that the voxels lie in a separate .img file, its name that they "
            "follow. Name it .hdr beside its .img, or pass strict=False to read what follows"
        )
    slope, inter = (_analyze_scaling if analyze else _scaling)(header_path, header, strict)
    with np.errstate(all="ignore"):  # of numbers beyond float32: what comes of them is checked
        geometry = (analyze_geometry if analyze else nifti_geometry)(header_path, header, shape, strict)
    single = not analyze and image_path == header_path
    _require(header_path, image_path, "voxels")
    offset = _offset(header_path, header, analyze, single)
    full = (*channels, *shape, *colours)
    voxels = Voxels(image_path, offset, stored, full, "file", slope, inter)
    if image_path != header_path and os.path.getsize(image_path) == offset + voxels.nbytes:
        voxels = replace(voxels, encoding="raw")  # also if the first voxels look like gzip
    array = read_voxels(voxels, dtype, strict)
    if colours:
        array = np.ascontiguousarray(np.moveaxis(array, -1, 0))
    return array, geometry, (header_path,) if single else (header_path, image_path)


def read_nifti_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """All header fields of a file, name to value, in the order of the file."""
    header = _read_header(_pair_of(os.fspath(path))[0], strict=False)
    values = ((name, header[name].tolist()) for name in header.keys())  # noqa: SIM118 - see above
    return {
        name: value.split(b"\0")[0].decode("latin-1").strip() if isinstance(value, bytes) else value
        for name, value in values
    }


def nifti_header_bytes(
    array: np.ndarray,
    geometry: Geometry,
    pair: bool = False,
    scaling: tuple[float, float] = (1, 0),
    labels: bool = False,
) -> bytes:
    """The header of a NIfTI-1 file that is written; little-endian voxels follow.

    The sform is exact to float32. The qform can hold orthogonal axes alone: it is the nearest such grid, and is left
    unset where its quaternion of float32 misses the grid by more than ``POSITION_TOLERANCE``. Their codes are those of
    the file that the geometry comes from, else 1, the coordinates of the scanner; of a place that is assumed 2, aligned
    to something. Channels are the fourth axis, which is time for programs that ask; its step and unit are left unknown.

    Args:
        array: (D,H,W) or (C,D,H,W).
        geometry: its :class:`~faimed3d.geometry.Geometry`.
        pair: whether the voxels lie in a file of their own.
        scaling: (slope, inter): the values are slope * stored + inter.
        labels: whether the voxels are labels, said by intent_code NIFTI_INTENT_LABEL.
    """
    from nibabel.nifti1 import Nifti1Header, Nifti1PairHeader

    header = (Nifti1PairHeader if pair else Nifti1Header)(endianness="<")
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape[::-1] if array.ndim == 3 else (*array.shape[:0:-1], array.shape[0]))
    header.set_xyzt_units("mm")
    set_forms(header, geometry)
    header["scl_slope"], header["scl_inter"] = scaling
    if labels:
        header.set_intent("label")
    if not pair:
        header.set_data_offset(352)
    return header.binaryblock + bytes(4)  # no extension follows


def _pair_of(path):
    """The header file and the image file of ``path``; one and the same for .nii."""
    folder, name = os.path.split(path)
    stem, packed = (name[:-3], name[-3:]) if name.lower().endswith(".gz") else (name, "")
    base, ext = os.path.splitext(stem)
    if ext.lower() not in (".hdr", ".img"):
        return path, path
    other = {".hdr": ".img", ".img": ".hdr"}[ext.lower()]
    ends = (other + packed, other, other + ".gz")
    cases = (str.upper, str.lower) if ext.isupper() else (str.lower, str.upper)
    candidates = [os.path.join(folder, base + case(end)) for end in ends for case in cases]
    partner = next((c for c in candidates if os.path.exists(c)), candidates[0])
    if ext.lower() == ".hdr":
        return path, partner
    _require(path, partner, "header")
    return partner, path


def _require(path, other, what):
    """Check that the other half of a pair is a file."""
    if not os.path.exists(other):
        raise FileNotFoundError(f"{path}: its {what} should lie in {other}, which does not exist")
    if not os.path.isfile(other):
        raise DamagedFile(f"{path}: its {what} should lie in {other}, which is a folder or a device")


def _read_header(path: str, strict: bool) -> AnalyzeHeader:
    """The header of a file, in the class that nibabel has for its version; it has no ``magic`` if it is of Analyze."""
    from nibabel.analyze import AnalyzeHeader
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    with named_errors(path), open_bytes(path) as stream:
        start = b""
        while len(start) < 540 and (more := stream.read(540 - len(start))):
            start += more
    if len(start) < 348:
        raise TruncatedFile(f"{path}: {len(start)} bytes, but a NIfTI header has 348 or 540. Copy the file again")
    if start[4:8] in (b"n+2\0", b"ni2\0"):
        kind: type[AnalyzeHeader] = Nifti2Header
        if start[8:12] != b"\r\n\x1a\n":
            raise DamagedFile(
                f"{path}: the NIfTI-2 signature is damaged, as by a copy in text mode. Copy the file again"
            )
        if len(start) < 540:
            raise TruncatedFile(f"{path}: {len(start)} bytes, but a NIfTI-2 header has 540. Copy the file again")
    elif is_nifti(start):
        kind = Nifti1Header
    elif Path(path).name.lower().endswith((".hdr", ".hdr.gz")):
        kind = AnalyzeHeader
        if strict and len(start) > 348:
            raise DamagedFile(
                f"{path}: an Analyze header has 348 bytes, a NIfTI header 352 and the magic 'n+1' or 'ni1'; this one "
                f"has {len(start)} bytes or more, and no magic. Copy the file again, or pass strict=False to read it "
                "as Analyze"
            )
    else:
        raise DamagedFile(
            f"{path}: no NIfTI file: bytes 345 to 348 should be 'n+1' or 'ni1', or bytes 5 to 7 'n+2' or 'ni2'"
        )
    for order in "<>":
        header = kind(start[: kind.sizeof_hdr], order, check=False)  # nibabel's checks mend silently, or only log
        if header["sizeof_hdr"] == kind.sizeof_hdr:
            return header
    size = int.from_bytes(start[:4], "little")
    raise DamagedFile(f"{path}: the header should give its own size as {kind.sizeof_hdr}, it says {size}")


def _stored_type(path, header, strict):
    """numpy dtype of one number, and () or (the count of numbers in a colour voxel,)."""
    from nibabel.nifti1 import data_type_codes  # Analyze has fewer, but writers put NIfTI's there, too

    code, bits = int(header["datatype"]), int(header["bitpix"])
    if code not in data_type_codes.label or code in _NO_VOXELS:
        raise DamagedFile(f"{path}: datatype {code} in the header is none of NIfTI's")
    voxel, name = data_type_codes.dtype[code], data_type_codes.label[code]
    if not voxel.names and (voxel.kind not in "iuf" or voxel.itemsize > 8):
        raise UnsupportedImage(
            f"{path}: voxels of type {name} (datatype {code}) are not supported; save them as real numbers of up to 64 "
            "bits (complex ones as magnitude and phase, each as a volume)"
        )
    if strict and bits != voxel.itemsize * 8:
        raise DamagedFile(
            f"{path}: datatype {code} ({name}) and bitpix {bits} in the header contradict each other. "
            "Pass strict=False to trust datatype"
        )
    if voxel.names:
        return np.dtype(np.uint8), (len(voxel.names),)
    return voxel.newbyteorder(header.endianness), ()


def _shape(path, header):
    """((D, H, W), () or (C,))."""
    rank, *sizes = header["dim"].tolist()
    if not 1 <= rank <= 7:
        raise DamagedFile(f"{path}: dim[0] in the header should be 1 to 7, it is {rank}")
    sizes = sizes[:rank]
    if min(sizes) < 1:
        raise DamagedFile(f"{path}: every size in the header should be at least 1, got {sizes}")
    if rank < 3:
        raise UnsupportedImage(f"{path}: an image of {rank} dimensions {sizes}; a volume has 3. Stack its slices first")
    longer = [n for n in sizes[3:] if n > 1]
    if len(longer) > 1:
        raise UnsupportedImage(
            f"{path}: {len(sizes)} dimensions {sizes}: several beyond the third are longer than 1, but channels first "
            "(C,D,H,W) holds one. Save the parts as separate files"
        )
    return tuple(sizes[2::-1]), tuple(longer)


def _scaling(path, header, strict):
    """(slope, inter), slope None for no scaling: nifti1.h says so for slope 0, writers also put NaN for 'not set'."""
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or np.isnan(slope) or header.get_data_dtype().names:
        return None, 0.0
    if not (np.isfinite(slope) and np.isfinite(inter)):
        raise DamagedFile(f"{path}: scl_slope {slope} and scl_inter {inter} in the header should be finite numbers")
    return (None, 0.0) if (slope, inter) == (1, 0) else (slope, inter)


def _analyze_scaling(path, header, strict):
    """Analyze has none, but SPM puts one into a field that is free."""
    factor = float(header["funused1"])
    if strict and np.isfinite(factor) and factor not in (0, 1):
        raise UnsupportedImage(
            f"{path}: an Analyze file with {factor} in funused1, which SPM reads as a scale factor and others do not. "
            "Pass strict=False for the stored numbers, or save it as NIfTI"
        )
    return None, 0.0


def _offset(path, header, analyze, single):
    """The byte at which the voxels begin."""
    offset = float(header["vox_offset"])
    if analyze:
        offset = abs(offset)
    if single and offset == 0:
        return header.sizeof_hdr + 4
    smallest = header.sizeof_hdr if single else 0
    if not (offset.is_integer() and offset >= smallest):
        raise DamagedFile(f"{path}: vox_offset should be a whole number of at least {smallest}, it is {offset}")
    return int(offset)
