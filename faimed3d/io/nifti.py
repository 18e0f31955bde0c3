"""NIfTI-1, NIfTI-2 and Analyze 7.5, read strictly: every byte counted, the place in the patient from sform or qform.

References: nifti1.h and nifti2.h of the NIfTI Data Format Working Group (https://nifti.nimh.nih.gov); Analyze 7.5 file
format (Mayo Clinic). NIfTI's world is RAS; it becomes LPS (see :mod:`faimed3d.geometry`) in :func:`_to_lps` only.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np

from faimed3d.errors import DamagedFile, MissingGeometry, TruncatedFile, UnsupportedImage
from faimed3d.geometry import Geometry
from faimed3d.io.voxel_data import Voxels, named_errors, open_bytes, read_voxels

__all__ = ["header_beside", "header_fields", "is_nifti", "is_pair_header", "read_nifti"]


def _layout(text):
    """numpy dtype of a header written as 'name type name type ...'."""
    words = text.split()
    return np.dtype(list(zip(words[::2], words[1::2], strict=True)))


_NIFTI1 = _layout("""
    sizeof_hdr i4 data_type S10 db_name S18 extents i4 session_error i2 regular S1 dim_info u1 dim 8i2 intent_p1 f4
    intent_p2 f4 intent_p3 f4 intent_code i2 datatype i2 bitpix i2 slice_start i2 pixdim 8f4 vox_offset f4 scl_slope f4
    scl_inter f4 slice_end i2 slice_code u1 xyzt_units u1 cal_max f4 cal_min f4 slice_duration f4 toffset f4 glmax i4
    glmin i4 descrip S80 aux_file S24 qform_code i2 sform_code i2 quatern_b f4 quatern_c f4 quatern_d f4 qoffset_x f4
    qoffset_y f4 qoffset_z f4 srow_x 4f4 srow_y 4f4 srow_z 4f4 intent_name S16 magic S4
""")
_NIFTI2 = _layout("""
    sizeof_hdr i4 magic S8 datatype i2 bitpix i2 dim 8i8 intent_p1 f8 intent_p2 f8 intent_p3 f8 pixdim 8f8 vox_offset i8
    scl_slope f8 scl_inter f8 cal_max f8 cal_min f8 slice_duration f8 toffset f8 slice_start i8 slice_end i8 descrip S80
    aux_file S24 qform_code i4 sform_code i4 quatern_b f8 quatern_c f8 quatern_d f8 qoffset_x f8 qoffset_y f8
    qoffset_z f8 srow_x 4f8 srow_y 4f8 srow_z 4f8 slice_code i4 xyzt_units i4 intent_code i4 intent_name S16 dim_info u1
    unused_str S15
""")
_ANALYZE = _layout("""
    sizeof_hdr i4 data_type S10 db_name S18 extents i4 session_error i2 regular S1 hkey_un0 S1 dim 8i2 vox_units S4
    cal_units S8 unused1 i2 datatype i2 bitpix i2 dim_un0 i2 pixdim 8f4 vox_offset f4 funused1 f4 funused2 f4
    funused3 f4 cal_max f4 cal_min f4 compressed i4 verified i4 glmax i4 glmin i4 descrip S80 aux_file S24 orient u1
    originator S10 generated S10 scannum S10 patient_id S10 exp_date S10 exp_time S10 hist_un0 S3 views i4 vols_added i4
    start_field i4 field_skip i4 omax i4 omin i4 smax i4 smin i4
""")
_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_COLOURS = {128: 3, 2304: 4}  # RGB24, RGBA32: bytes that lie together
_REFUSED = {1: "1-bit", 32: "complex64", 1536: "float128", 1792: "complex128", 2048: "complex256"}
_MILLIMETRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # unknown (taken as mm), metre, millimetre, micrometre


def is_nifti(start):
    """Whether the first 348 (unpacked) bytes of a file carry the magic of NIfTI-1 or NIfTI-2."""
    return start[344:348] in (b"n+1\0", b"ni1\0") or start[4:8] in (b"n+2\0", b"ni2\0")


def header_beside(path):
    """Whether a .img file has a .hdr beside it, which says what it holds; False for names of other kinds."""
    try:
        header, image = _files(os.fspath(path))
    except (FileNotFoundError, DamagedFile):
        return False
    return header != image == os.fspath(path)


def is_pair_header(path):
    """Whether a file is the header of a NIfTI or Analyze pair; False if there is none."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        start = file.read(540)
    return (is_nifti(start) and b"n+" not in (start[344:346], start[4:6])) or (
        len(start) == 348 and start[:4] in (b"\x5c\1\0\0", b"\0\0\1\x5c")
    )


def read_nifti(path, strict=True, dtype=np.float32):
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
    header_path, image_path = _files(os.fspath(path))
    header, kind = _read_header(header_path, strict)
    if kind != "analyze" and bytes(header["magic"])[:2] == b"n+":
        image_path = header_path
    stored, parts = _stored_type(header_path, header, strict)
    shape, channels = _shape(header_path, header)
    if strict and kind != "analyze" and bytes(header["magic"])[:2] == b"ni" and image_path == header_path:
        raise DamagedFile(
            f"{header_path}: its magic 'ni' says that the voxels lie in a separate .img file, its name that they "
            "follow. Name it .hdr beside its .img, or pass strict=False to read what follows"
        )
    slope, inter = _scaling(header_path, header, kind, strict)
    with np.errstate(all="ignore"):  # of numbers beyond float32: what comes of them is checked
        geometry = _geometry(header_path, header, kind, shape, strict)
    single = kind != "analyze" and image_path == header_path
    _require(header_path, image_path, "voxels")
    offset = _offset(header_path, header, kind, single)
    full = (*channels, *shape, *parts)
    voxels = Voxels(image_path, offset, stored, full, "file", slope, inter)
    if image_path != header_path and os.path.getsize(image_path) == offset + voxels.nbytes:
        voxels.encoding = "raw"  # also if the first voxels look like gzip
    array = read_voxels(voxels, dtype, strict)
    if parts:
        array = np.ascontiguousarray(np.moveaxis(array, -1, 0))
    return array, geometry, (header_path,) if single else (header_path, image_path)


def header_fields(path):
    """All header fields of a file as a dict of name to value, in header order."""
    header, _ = _read_header(_files(os.fspath(path))[0], False)
    fields = {}
    for name in header.dtype.names:
        value = header[name]
        if isinstance(value, bytes):
            fields[name] = value.split(b"\0")[0].decode("latin-1").strip()
        else:
            fields[name] = value.tolist()
    return fields


def _files(path):
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


def _read_header(path, strict):
    with named_errors(path), open_bytes(path) as stream:
        start = b""
        while len(start) < 540 and (more := stream.read(540 - len(start))):
            start += more
    if len(start) < 348:
        raise TruncatedFile(f"{path}: {len(start)} bytes, but a NIfTI header has 348 or 540. Copy the file again")
    analyze = not is_nifti(start) and Path(path).name.lower().endswith((".hdr", ".hdr.gz"))
    if start[4:8] in (b"n+2\0", b"ni2\0"):
        dtype, kind = _NIFTI2, "nifti2"
        if start[8:12] != b"\r\n\x1a\n":
            raise DamagedFile(
                f"{path}: the NIfTI-2 signature is damaged, as by a copy in text mode. Copy the file again"
            )
        if len(start) < 540:
            raise TruncatedFile(f"{path}: {len(start)} bytes, but a NIfTI-2 header has 540. Copy the file again")
    elif is_nifti(start) or analyze:
        dtype, kind = (_ANALYZE, "analyze") if analyze else (_NIFTI1, "nifti1")
    else:
        raise DamagedFile(
            f"{path}: no NIfTI file: bytes 345 to 348 should be 'n+1' or 'ni1', or bytes 5 to 7 'n+2' or 'ni2'"
        )
    if strict and analyze and len(start) > 348:
        raise DamagedFile(
            f"{path}: an Analyze header has 348 bytes, a NIfTI header 352 and the magic 'n+1' or 'ni1'; this one has "
            f"{len(start)} bytes or more, and no magic. Copy the file again, or pass strict=False to read it as Analyze"
        )
    for order in "<>":
        header = np.frombuffer(start, dtype.newbyteorder(order), 1)[0]
        if header["sizeof_hdr"] == dtype.itemsize:
            return header, kind
    size = int.from_bytes(start[:4], "little")
    raise DamagedFile(f"{path}: the header should give its own size as {dtype.itemsize}, it says {size}")


def _stored_type(path, header, strict):
    """numpy dtype of one number, and () or the count of numbers in a colour voxel."""
    code, bits = int(header["datatype"]), int(header["bitpix"])
    if code in _REFUSED:
        raise UnsupportedImage(
            f"{path}: voxels of type {_REFUSED[code]} (datatype {code}) are not supported; save it as real numbers up "
            "to "
            "64 bits (of a complex image magnitude and phase, each as a volume)"
        )
    if code not in _TYPES and code not in _COLOURS:
        raise DamagedFile(f"{path}: datatype {code} in the header is none of NIfTI's")
    parts = (_COLOURS[code],) if code in _COLOURS else ()
    stored = np.dtype(_TYPES.get(code, "u1"))
    if strict and bits != stored.itemsize * 8 * (parts or (1,))[0]:
        raise DamagedFile(
            f"{path}: datatype {code} ({stored.name}) and bitpix {bits} in the header contradict each other. "
            "Pass strict=False to trust datatype"
        )
    if header.dtype["sizeof_hdr"].isnative:
        return stored, parts
    return stored.newbyteorder(), parts


def _shape(path, header):
    """((D, H, W), () or (C,))."""
    dim = [int(n) for n in header["dim"]]
    rank = dim[0]
    if not 1 <= rank <= 7:
        raise DamagedFile(f"{path}: dim[0] in the header should be 1 to 7, it is {rank}")
    sizes = dim[1 : rank + 1]
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


def _scaling(path, header, kind, strict):
    """(slope, inter), slope None for no scaling: nifti1.h says so for slope 0, writers also put NaN for 'not set'."""
    if kind == "analyze":
        if strict and np.isfinite(header["funused1"]) and header["funused1"] not in (0, 1):
            raise UnsupportedImage(
                f"{path}: an Analyze file with {float(header['funused1'])} in funused1, which SPM reads as a scale "
                "factor "
                "and others do not. Pass strict=False for the stored numbers, or save it as NIfTI"
            )
        return None, 0.0
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or np.isnan(slope) or int(header["datatype"]) in _COLOURS:
        return None, 0.0
    if not (np.isfinite(slope) and np.isfinite(inter)):
        raise DamagedFile(f"{path}: scl_slope {slope} and scl_inter {inter} in the header should be finite numbers")
    return (None, 0.0) if (slope, inter) == (1, 0) else (slope, inter)


def _offset(path, header, kind, single):
    offset = float(header["vox_offset"])
    if kind == "analyze":
        offset = abs(offset)
    if single and offset == 0:
        return header.dtype.itemsize + 4
    smallest = header.dtype.itemsize if single else 0
    if not (offset.is_integer() and offset >= smallest):
        raise DamagedFile(f"{path}: vox_offset should be a whole number of at least {smallest}, it is {offset}")
    return int(offset)


def _to_lps(affine):
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def _geometry(path, header, kind, shape, strict):
    pixdim = np.asarray(header["pixdim"], float)
    spacing = pixdim[1:4]
    if kind == "analyze":
        spacing = np.abs(spacing)
        _check_spacing(path, spacing, "")
        warnings.warn(
            f"{path}: an Analyze file says neither where the patient lies nor which side is left; origin 0 and axes "
            "L, P, S are assumed",
            stacklevel=4,
        )
        return Geometry(shape, spacing)
    unit = int(header["xyzt_units"]) & 7
    if unit not in _MILLIMETRES:
        raise MissingGeometry(
            f"{path}: xyzt_units gives length unit {unit}; NIfTI has 0 unknown, 1 m, 2 mm, 3 micrometre"
        )
    scale = _MILLIMETRES[unit]
    for name in ("sform_code", "qform_code"):
        if strict and not 0 <= int(header[name]) <= 5:
            raise MissingGeometry(
                f"{path}: {name} should be 0 to 5, it is {int(header[name])}. Correct the header, or pass "
                "strict=False to "
                "take every positive code as set"
            )
    usable = np.isfinite(spacing).all() and spacing.min() > 0
    sform_code, qform_code = int(header["sform_code"]), int(header["qform_code"])
    sform = _sform(header, shape, scale) if sform_code > 0 else None
    if strict or sform is None:
        _check_spacing(path, spacing, ", or pass strict=False to take the sform alone" if sform is not None else "")
    if sform_code > 0 and sform is None and strict:
        rows = [header[f"srow_{axis}"].tolist() for axis in "xyz"]
        raise MissingGeometry(
            f"{path}: sform_code is {sform_code}, but srow_x, srow_y, srow_z {rows} place no grid in space. "
            "Correct the header, or pass strict=False to do without the sform"
        )
    if sform_code > 0 and sform is None:
        warnings.warn(f"{path}: the sform is set but places no grid in space; it is left out", stacklevel=4)
    qform = _qform(path, header, shape, scale, strict and sform is None) if qform_code > 0 and usable else None
    if sform is not None:
        if qform is not None and qform.distance(sform) > _noticeable(sform):
            warnings.warn(
                f"{path}: sform and qform differ by up to {qform.distance(sform):.3g} mm; the sform is taken",
                stacklevel=4,
            )
        elif usable and np.abs(np.array(sform.spacing) / (spacing * scale) - 1).max() > 1e-2:
            warnings.warn(
                f"{path}: pixdim says spacing {(spacing * scale).tolist()} mm, the sform {sform.spacing}; "
                "the sform is taken",
                stacklevel=4,
            )
        return sform
    if qform is not None:
        return qform
    unset = "neither sform_code nor qform_code is set" if max(sform_code, qform_code) <= 0 else "no form is usable"
    warnings.warn(
        f"{path}: {unset}, so the file does not say where the patient lies or which side is left; origin 0 and axes "
        "L, P, S are assumed",
        stacklevel=4,
    )
    return Geometry(shape, spacing * scale)


def _noticeable(geometry):
    """mm by which two forms of one grid may differ: half a voxel, or what the float32 of a quaternion costs."""
    extent = max(n * s for n, s in zip(geometry.shape[::-1], geometry.spacing, strict=True))
    return max(min(geometry.spacing) / 2, 1e-3 * extent)


def _check_spacing(path, spacing, way_out):
    if not (np.isfinite(spacing).all() and spacing.min() > 0):
        raise MissingGeometry(
            f"{path}: pixdim[1..3] should be the voxel sizes, positive numbers, got {spacing.tolist()}. "
            f"Correct the header{way_out}"
        )


def _sform(header, shape, scale):
    affine = np.eye(4)
    affine[:3] = [header["srow_x"], header["srow_y"], header["srow_z"]]
    affine[:3] *= scale
    try:
        return Geometry.from_affine(_to_lps(affine), shape)
    except ValueError:
        return None


def _qform(path, header, shape, scale, strict):
    """Geometry of method 2 in nifti1.h: a unit quaternion, an offset, and qfac in pixdim[0]."""
    b, c, d = (float(header[f"quatern_{axis}"]) for axis in "bcd")
    offset = np.array([header["qoffset_x"], header["qoffset_y"], header["qoffset_z"]], float) * scale
    norm = b * b + c * c + d * d
    if not (norm <= 1 + 1e-5 and np.isfinite(offset).all() and np.isfinite(header["pixdim"][0])):
        if strict:
            raise MissingGeometry(
                f"{path}: qform_code is set, but quatern_b, c, d ({b}, {c}, {d}) and qoffset {offset.tolist()} place "
                "no grid "
                "in space. Correct the header, or pass strict=False to do without position and orientation"
            )
        return None
    if strict and header["pixdim"][0] not in (-1, 0, 1):
        raise MissingGeometry(
            f"{path}: pixdim[0] (qfac, the side to which the third axis turns) should be -1, 0 or 1, it is "
            f"{header['pixdim'][0]}. Correct the header, or pass strict=False to take its sign"
        )
    a = np.sqrt(max(1 - norm, 0))
    a, b, c, d = np.array([a, b, c, d]) / np.sqrt(a * a + norm)
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    if header["pixdim"][0] < 0:
        rotation[:, 2] *= -1
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = rotation, offset
    affine = _to_lps(affine)
    spacing = np.asarray(header["pixdim"][1:4], float) * scale
    return Geometry(shape, spacing, affine[:3, 3], affine[:3, :3])
