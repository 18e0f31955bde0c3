"""Which format a file is: by its content, and by its name where the content does not tell."""

from __future__ import annotations

import os
from typing import Any

from faimed3d._rows import is_row, place_of
from faimed3d.errors import DamagedFile, TruncatedFile, UnsupportedImage
from faimed3d.io.byte_streams import is_gzip, named_errors, open_bytes
from faimed3d.io.nifti import header_beside, is_nifti

FORMATS = {  # by suffix; DICOM's are apart, for its files come in folders
    ".nii": "nifti",
    ".nii.gz": "nifti",
    ".hdr": "nifti",
    ".hdr.gz": "nifti",
    ".img": "nifti",
    ".img.gz": "nifti",
    ".nrrd": "nrrd",
    ".nhdr": "nrrd",
    ".mha": "metaimage",
    ".mhd": "metaimage",
    ".mgh": "mgh",
    ".mgz": "mgh",
    ".mgh.gz": "mgh",
    ".npy": "npy",
}
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
READ_SUFFIXES = (*FORMATS, *DICOM_SUFFIXES)
WRITE_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".hdr", ".img", ".mgz", ".mgh")

# SimpleITK does not turn MINC's RAS world, and takes voxels from HDF5 handles that a damaged file has left open
_MINC = "a MINC or NetCDF file, of which left and right would be read wrong; convert it to NIfTI with mnc2nii"
_HDF5 = (
    "an HDF5 file, in which a cut is not noticed; if it is MINC, convert it to NIfTI with mnc2nii; save others as .nrrd"
)
# SimpleITK fills a cut VTK file with the last number it found, and accepts missing and negative spacing in all three
_UNSEEN = "in which a cut or missing voxel size is not noticed; open it where it was made, and save it as .nrrd or .nii"
_VTK, _GIPL, _MRC = (f"{name}, {_UNSEEN}" for name in ("a VTK file", "a GIPL file", "an MRC file"))
_REFUSED_MARKS = (
    *((b"CDF\1", _MINC), (b"CDF\2", _MINC), (b"\x89HDF\r\n\x1a\n", _HDF5)),
    (b"# vtk DataFile", _VTK),
)
_REFUSED_SUFFIXES = {
    **{".mnc": _MINC, ".h5": _HDF5, ".hdf5": _HDF5, ".vtk": _VTK, ".gipl": _GIPL, ".gipl.gz": _GIPL, ".mrc": _MRC},
    ".rec": f"an MRC or Philips REC file, {_UNSEEN}",
}
_FOREIGN = (
    (
        (b"<!doctype", b"<html", b"<?xml", b"<head"),
        "a web page or XML text, as after a failed download; download it again",
    ),
    ((b"version https://git-lfs",), "a Git LFS pointer, not the file itself; run 'git lfs pull'"),
    ((b"/annex/objects", b"../.git/annex"), "a git-annex pointer, not the file itself; run 'git annex get'"),
    (
        (b"ii*\0", b"mm\0*"),
        "a TIFF, which holds neither spacing nor position; stack its pages with numpy, or save it as NRRD",
    ),
    ((b"pk\x03\x04",), "a zip archive; unpack it first"),
    ((b"\x89png", b"\xff\xd8\xff", b"bm6", b"gif8"), "a photograph format, which holds no volume"),
    ((b'{"', b"{\n"), "JSON text, not an image"),
)


def volume_suffix(path: str | os.PathLike[str]) -> str:
    """The extension of a volume file in lower case, '.nii.gz' and the like as one; '' for none.

    >>> volume_suffix("Case.1/T1.NII.GZ")
    '.nii.gz'
    """
    name = os.path.basename(os.fspath(path)).lower()
    base, ext = os.path.splitext(name)
    double = os.path.splitext(base)[1] + ext
    if ext == ".gz" and (double in READ_SUFFIXES or double in _REFUSED_SUFFIXES):
        return double
    return ext


def file_format(path: str) -> str:
    """Name the format of a file: 'nifti', 'nrrd', 'metaimage', 'mgh', 'npy' or 'dicom'.

    Raises:
        TruncatedFile: the file is empty. DamagedFile: it is a web page, a pointer, ... instead of an image.
        UnsupportedImage: neither content nor name are those of a volume; it is MINC, HDF5, VTK, GIPL or MRC.
    """
    if os.path.getsize(path) == 0:
        raise TruncatedFile(f"{path}: the file is empty (0 bytes). Copy it again")
    if header_beside(path):  # voxels may begin like anything
        return "nifti"
    with named_errors(path), open_bytes(path) as stream:
        start = b""
        while len(start) < 4096 and (more := stream.read(4096 - len(start))):
            start += more
    suffix = volume_suffix(path)
    if is_nifti(start):
        return "nifti"
    if start.startswith(b"NRRD0"):
        return "nrrd"
    if start.startswith(b"\x93NUMPY"):
        if is_gzip(path):
            raise UnsupportedImage(f"{path}: a .npy file packed with gzip; unpack it first (gunzip)")
        return "npy"
    if start[128:132] == b"DICM":
        if is_gzip(path):
            raise UnsupportedImage(f"{path}: a DICOM file packed with gzip; unpack it first (gunzip)")
        return "dicom"
    for mark, what in _REFUSED_MARKS:
        if start.startswith(mark):
            raise UnsupportedImage(f"{path}: the content is that of {_MINC if suffix == '.mnc' else what}")
    words = start[:512].lower().lstrip(b"\xef\xbb\xbf \t\r\n")
    for marks, what in _FOREIGN:
        if words.startswith(marks):
            raise DamagedFile(f"{path}: the content is {what}")
    if suffix not in (".img", ".img.gz") and (
        b"ElementDataFile" in start or words.startswith((b"objecttype", b"ndims"))
    ):
        return "metaimage"
    if suffix in FORMATS:
        return FORMATS[suffix]
    if suffix in _REFUSED_SUFFIXES:
        raise UnsupportedImage(f"{path}: {suffix} is the name of {_REFUSED_SUFFIXES[suffix]}")
    from faimed3d.dicom import is_dicom  # pydicom takes time to import

    if suffix in DICOM_SUFFIXES or is_dicom(path):
        return "dicom"
    raise UnsupportedImage(
        f"{path}: neither the extension {suffix!r} nor the content is that of a volume format. Supported: "
        f"{', '.join(READ_SUFFIXES)} and DICOM folders"
    )


def structure_set_in(source: Any) -> str | None:
    """The file of an RT Structure Set that a path means, itself or in a folder, or a row; None for all else."""
    if is_row(source) and source.get("modality") == "RTSTRUCT":
        source = place_of(source)[0]
    if not isinstance(source, str | os.PathLike):
        return None
    path = os.fspath(source)
    if not os.path.isdir(path) and not (os.path.isfile(path) and file_format(path) == "dicom"):
        return None
    from faimed3d.dicom.structure_sets.source import structure_set_in  # pydicom takes time to import

    return structure_set_in(path)
