""".npy files: numbers alone, never pickle."""

import io

import numpy as np
import pytest

from faimed3d.errors import DamagedFile, ReadError, TruncatedFile, UnsupportedImage
from faimed3d.geometry import Geometry
from faimed3d.io.npy import read_npy, read_npy_header

VOXELS = (np.random.default_rng(0).normal(size=(2, 3, 4)) * 50).astype("f4")


def save(path, array=VOXELS, **options):
    np.save(path, array, **options)
    return path


@pytest.mark.parametrize("dtype", ["u1", "i1", "<i2", ">i2", ">i4", "<u8", "f2", ">f4", "f8", "?"])
@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("channels", [(), (5,)])
def test_equals_numpy(tmp_path, dtype, order, channels):
    array = np.abs(np.random.default_rng(0).normal(size=(*channels, 2, 3, 4)) * 50).astype(dtype, order=order)
    path = save(tmp_path / "a.npy", array)
    got, geometry, files = read_npy(path, dtype=None)
    assert got.dtype == array.dtype.newbyteorder("=")
    assert got.flags.c_contiguous
    np.testing.assert_array_equal(got, np.load(path))
    np.testing.assert_array_equal(read_npy(path)[0], array.astype("f4"))
    assert geometry == Geometry((2, 3, 4), assumed="all")
    assert files == (str(path),)


def test_header_fields(tmp_path):
    fields = read_npy_header(save(tmp_path / "a.npy"))
    assert fields == {"shape": "(2, 3, 4)", "fortran_order": "False", "descr": "<f4"}


def test_python_objects_are_never_unpickled(tmp_path):
    array = np.empty((2, 3, 4), object)
    with pytest.raises(UnsupportedImage, match="pickle is never used"):
        read_npy(save(tmp_path / "a.npy", array, allow_pickle=True))


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (VOXELS[0], r"an array of shape \(3, 4\); a volume is"),
        (VOXELS[:0], "no side 0"),
        (VOXELS.astype("c8"), "complex"),
        (VOXELS.astype("longdouble"), "not supported"),
        (VOXELS.astype("U5"), "not supported"),
        (np.zeros((2, 3, 4), [("a", "f4"), ("b", "i2")]), "not supported"),
    ],
)
def test_refuses_what_is_no_volume(tmp_path, array, text):
    with pytest.raises(UnsupportedImage, match=text):
        read_npy(save(tmp_path / "a.npy", array))


@pytest.mark.parametrize("strict", [True, False])
def test_refuses_a_size_that_is_no_number(tmp_path, strict):
    path = save(tmp_path / "a.npy")
    path.write_bytes(path.read_bytes().replace(b"(2, 3, 4)", b"(True,12)"))
    with pytest.raises(DamagedFile, match=r"the shape in the \.npy header is no tuple of whole numbers"):
        read_npy(path, strict)


def test_refuses_bytes_that_are_no_bool(tmp_path):
    path = save(tmp_path / "a.npy", VOXELS > 0)
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    with pytest.raises(ReadError, match=r"the value 7 .* cannot be held by bool"):
        read_npy(path)


def test_every_cut_and_extra_byte_is_noticed(tmp_path):
    path = save(tmp_path / "a.npy")
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        text = r"the \.npy header is damaged or cut" if length < len(content) - VOXELS.nbytes else "but only"
        with pytest.raises((TruncatedFile, DamagedFile), match=text):
            read_npy(path)
    path.write_bytes(content + b"x")
    with pytest.raises(DamagedFile, match="but 97 bytes follow"):
        read_npy(path)
    np.testing.assert_array_equal(read_npy(path, strict=False)[0], VOXELS)


def test_refuses_huge_claims_and_later_versions(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"shape": (30000,) * 3, "fortran_order": False, "descr": "<f4"})
    (tmp_path / "a.npy").write_bytes(header.getvalue() + bytes(100))
    with pytest.raises(TruncatedFile, match="30000x30000x30000"):
        read_npy(tmp_path / "a.npy")
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x03\x00" + save(tmp_path / "b.npy").read_bytes()[8:])
    with pytest.raises(UnsupportedImage, match=r"version \(3, 0\)"):
        read_npy(tmp_path / "a.npy")


def test_mutated_headers_are_refused_or_read_as_numpy_does(tmp_path):
    random = np.random.default_rng(0)
    whole = save(tmp_path / "a.npy").read_bytes()
    for _ in range(200):
        content = bytearray(whole)
        content[random.integers(0, 90)] = random.integers(0, 256)
        (tmp_path / "a.npy").write_bytes(content)
        try:
            array = read_npy(tmp_path / "a.npy", dtype=None)[0]
        except ReadError:
            continue
        np.testing.assert_array_equal(array, np.load(tmp_path / "a.npy"))
