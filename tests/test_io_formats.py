"""Which format a file is."""

import gzip

import numpy as np
import pytest

from faimed3d.errors import DamagedFile, TruncatedFile, UnsupportedImage
from faimed3d.io.formats import READ_SUFFIXES, file_format, volume_suffix


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a.nii", ".nii"),
        ("a.b.NII.GZ", ".nii.gz"),
        ("folder.d/a.img.gz", ".img.gz"),
        ("a.tar.gz", ".gz"),
        (".nii.gz", ".gz"),
        ("1.2.840", ".840"),
        ("a", ""),
    ],
)
def test_volume_suffix(name, suffix):
    assert volume_suffix(name) == suffix


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"<!DOCTYPE html><html>", "a web page or XML text"),
        (b"\xef\xbb\xbf\n <HTML>", "a web page or XML text"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"/annex/objects/MD5E-s1--0.nii.gz\n", "git-annex pointer"),
        (b"PK\x03\x04 and so on", "zip archive"),
        (b"\x89PNG\r\n\x1a\n", "a photograph format"),
        (b"II*\0rest", "a TIFF"),
        (b'{"message": "not found"}', "JSON text"),
    ],
)
@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd", "a.dcm", "a.mha", "a"])
def test_names_what_lies_there_instead(tmp_path, content, text, name):
    for packed in (False, True):
        (tmp_path / name).write_bytes(gzip.compress(content) if packed else content)
        with pytest.raises(DamagedFile, match=text):
            file_format(tmp_path / name)


def test_names_no_format_that_is_refused():
    assert not {".mnc", ".h5", ".hdf5", ".vtk", ".gipl", ".gipl.gz", ".mrc", ".rec"} & set(READ_SUFFIXES)


def test_empty_file(tmp_path):
    (tmp_path / "a.nii").write_bytes(b"")
    with pytest.raises(TruncatedFile, match=r"a\.nii: the file is empty"):
        file_format(tmp_path / "a.nii")


@pytest.mark.parametrize("name", ["a.txt", "a", "a.raw"])
def test_unknown_content_and_name(tmp_path, name):
    (tmp_path / name).write_bytes(b"nothing known" * 50)
    with pytest.raises(UnsupportedImage, match=r"neither the extension .* nor the content"):
        file_format(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "name", "text"),
    [
        (b"CDF\x01", "a.nii", "a MINC or NetCDF file.* convert it to NIfTI with mnc2nii"),
        (b"anything", "A.MNC", "a MINC or NetCDF file"),
        (b"\x89HDF\r\n\x1a\n", "a.mnc", "a MINC or NetCDF file"),
        (b"\x89HDF\r\n\x1a\n", "a.vtk", r"an HDF5 file.* mnc2nii; save others as \.nrrd"),
        (b"anything", "a.h5", "an HDF5 file"),
        (b"anything", "a.hdf5", "an HDF5 file"),
    ],
)
def test_refuses_minc_and_hdf5(tmp_path, content, name, text):
    """SimpleITK reads MINC mirrored, and HDF5 out of handles that an earlier damaged file left open."""
    for packed in (False, True):
        (tmp_path / name).write_bytes(gzip.compress(content) if packed else content)
        with pytest.raises(UnsupportedImage, match=text):
            file_format(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "name", "text"),
    [
        (b"# vtk DataFile Version 3.0\n", "a.nii", "a VTK file"),
        (b"anything", "a.VTK", "a VTK file"),
        (b"anything", "a.gipl", "a GIPL file"),
        (b"anything", "a.gipl.gz", "a GIPL file"),
        (b"anything", "a.mrc", "an MRC file"),
        (b"anything", "a.rec", "an MRC or Philips REC file"),
    ],
)
def test_refuses_formats_without_a_strict_reader(tmp_path, content, name, text):
    """SimpleITK fills a cut VTK file with its last number, and takes negative spacing of GIPL and MRC."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnsupportedImage, match=rf"{text}.*open it where it was made, and save it as \.nrrd"):
        file_format(tmp_path / name)


@pytest.mark.parametrize("mark", [b"DICM", b"NUMPY"])
def test_packed_dicom_and_npy(tmp_path, mark):
    np.save(tmp_path / "a.npy", np.zeros((2, 3, 4)))
    content = bytes(128) + b"DICM" if mark == b"DICM" else (tmp_path / "a.npy").read_bytes()
    (tmp_path / "b.gz").write_bytes(gzip.compress(content))
    with pytest.raises(UnsupportedImage, match="packed with gzip; unpack it first"):
        file_format(tmp_path / "b.gz")


def test_content_without_mark_goes_by_name(tmp_path):
    for name, expected in (("a.nii", "nifti"), ("a.hdr", "nifti"), ("a.dcm", "dicom")):
        (tmp_path / name).write_bytes(bytes(400))
        assert file_format(tmp_path / name) == expected
