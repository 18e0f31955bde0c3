"""Bytes to voxels: conversion rules, packed streams, sizes."""

import gzip
import zlib

import numpy as np
import pytest

from faimed3d.errors import DamagedFile, ReadError, TruncatedFile, UnsupportedImage
from faimed3d.io.byte_streams import is_gzip, open_bytes
from faimed3d.io.conversion import convert
from faimed3d.io.voxels import Voxels, check_size, read_voxels

BIG = np.arange(300_000, dtype="<i4").reshape(3, 100, 1000)  # several blocks


def fast_gzip(data):
    return gzip.compress(data, 1)


@pytest.mark.parametrize("encoding", ["raw", "file", "gzip", "zlib", "packed file"])
@pytest.mark.parametrize("dtype", [None, np.float32, np.float64, np.int64])
@pytest.mark.parametrize("order", "<>")
def test_every_encoding_gives_the_same(tmp_path, encoding, dtype, order):
    data = BIG.astype(f"{order}i4").tobytes()
    pack = {"gzip": fast_gzip, "zlib": zlib.compress, "packed file": fast_gzip}.get(encoding, bytes)
    content = pack(b"12345" + data) if encoding in ("file", "packed file") else b"12345" + pack(data)
    (tmp_path / "a").write_bytes(content)
    array = read_voxels(Voxels(tmp_path / "a", 5, f"{order}i4", BIG.shape, encoding.split()[-1]), dtype)
    assert array.dtype == (dtype or np.int32)
    np.testing.assert_array_equal(array, BIG)


def test_gzip_of_several_members(tmp_path):
    data = BIG.tobytes()
    (tmp_path / "a").write_bytes(fast_gzip(data[:1001]) + fast_gzip(data[1001:]))
    assert is_gzip(tmp_path / "a")
    np.testing.assert_array_equal(read_voxels(Voxels(tmp_path / "a", 0, "<i4", BIG.shape)), BIG)
    (tmp_path / "a").write_bytes(fast_gzip(data) + b"garbage after the end")
    with pytest.raises(DamagedFile, match="packed data is damaged"):
        read_voxels(Voxels(tmp_path / "a", 0, "<i4", BIG.shape))


@pytest.mark.parametrize("rest", [b"x", b"garbage", b"\0\0garbage"])
@pytest.mark.parametrize("encoding", ["file", "gzip"])
def test_bytes_after_a_whole_gzip_stream_are_no_cut(tmp_path, encoding, rest):
    data = fast_gzip(b"12345" + BIG[0].tobytes()) if encoding == "file" else b"12345" + fast_gzip(BIG[0].tobytes())
    voxels = Voxels(tmp_path / "a", 5, "<i4", BIG[0].shape, encoding)
    for members in (data, data + fast_gzip(b"")):
        (tmp_path / "a").write_bytes(members + rest)
        with pytest.raises(DamagedFile, match=r"packed data is damaged .*no gzip follow"):
            read_voxels(voxels)
    for cut in (data[:-3], data + fast_gzip(b"")[:5]):
        (tmp_path / "a").write_bytes(cut)
        with pytest.raises(TruncatedFile, match="ends before its end mark"):
            read_voxels(voxels)


def test_stream_that_ends_before_the_voxels(tmp_path):
    (tmp_path / "a").write_bytes(gzip.compress(b"12"))
    with pytest.raises(TruncatedFile, match="ends before byte 5, where the voxels begin"):
        read_voxels(Voxels(tmp_path / "a", 5, "u1", (1, 1, 1)))


def test_size_is_checked_before_allocating(tmp_path):
    (tmp_path / "a").write_bytes(bytes(100))
    with pytest.raises(TruncatedFile, match="but only 90 bytes"):
        check_size(Voxels(tmp_path / "a", 10, "f4", (10**6, 10**6, 10**6)))
    (tmp_path / "a").write_bytes(gzip.compress(bytes(100)))
    with pytest.raises(TruncatedFile, match="packed bytes cannot hold them"):
        check_size(Voxels(tmp_path / "a", 10, "f4", (10**6, 10**6, 10**6)))
    with pytest.raises(TruncatedFile, match="; 0 packed bytes cannot hold them"):
        check_size(Voxels(tmp_path / "a", 10**20, "f4", (1, 1, 1), "zlib"))


def test_memory_that_is_not_there_is_told(tmp_path, monkeypatch):
    def no_memory(*_):
        raise MemoryError

    (tmp_path / "a").write_bytes(bytes(24))
    monkeypatch.setattr("faimed3d.io.voxels.np.empty", no_memory)
    with pytest.raises(ReadError, match="not enough memory"):
        read_voxels(Voxels(tmp_path / "a", 0, "u1", (2, 3, 4), "raw"))


class TestConversion:
    @pytest.mark.parametrize(
        ("stored", "value", "dtype"),
        [
            ("i4", 2**24 + 1, "f4"),
            ("u4", 2**32 - 1, "f4"),
            ("i4", -(2**24) - 1, "f4"),
            ("i8", 2**53 + 1, "f8"),
            ("i8", 2**63 - 1, "f8"),
            ("u8", 2**64 - 1, "f8"),
            ("u8", 2**63, "i8"),
            ("i8", -1, "u8"),
            ("i2", 300, "u1"),
            ("i2", -1, "u2"),
            ("u1", 2, "?"),
            ("i2", 2049, "f2"),
            ("u2", 65535, "f2"),
            ("f4", 0.5, "i2"),
            ("f4", np.nan, "i2"),
            ("f4", np.inf, "i4"),
            ("f8", 1e300, "f4"),
            ("f4", 1e6, "f2"),
        ],
    )
    def test_refuses_a_value_that_would_change(self, stored, value, dtype):
        array = np.array([1, value], stored)
        with pytest.raises(ReadError, match=r"cannot be held by .* Pass dtype=None"):
            convert(array, dtype, "a.nii")

    @pytest.mark.parametrize(
        ("stored", "value", "dtype"),
        [
            ("i4", 2**24 + 2, "f4"),
            ("u4", 2**31, "f4"),
            ("i8", -(2**63), "f8"),
            ("i8", 2**53, "f8"),
            ("u8", 2**63, "f4"),
            ("i2", -32768, "f4"),
            ("u8", 255, "u1"),
            ("f8", 7.0, "i2"),
            ("f8", np.inf, "f4"),
            ("u1", 1, "?"),
        ],
    )
    def test_keeps_a_value_that_fits(self, stored, value, dtype):
        got = convert(np.array([1, value], stored), dtype, "a.nii")
        assert got.dtype == np.dtype(dtype)
        assert got[1] == value

    def test_fractions_are_rounded_and_nan_stays(self):
        got = convert(np.array([0.1, np.nan], "f8"), np.float32, "a.nii")
        assert got[0] == np.float32(0.1)
        assert np.isnan(got[1])

    def test_refuses_other_kinds(self):
        with pytest.raises(UnsupportedImage, match="the voxels are complex"):
            convert(np.zeros(3, "c8"), None, "a.nii")
        with pytest.raises(UnsupportedImage, match="are not supported"):
            convert(np.zeros(3, "U3"), None, "a.nii")
        with pytest.raises(TypeError, match="dtype must be a real number type or None, got complex64"):
            convert(np.zeros(3), np.complex64, "a.nii")


class TestScaling:
    def read(self, path, values, slope, inter, dtype=None):
        path.write_bytes(values.tobytes())
        return read_voxels(Voxels(path, 0, values.dtype, values.shape, "raw", float(slope), float(inter)), dtype)

    @pytest.mark.parametrize("stored", ["i8", "u8"])
    @pytest.mark.parametrize("dtype", [None, "f8", "i8", "u8", "f4"])
    @pytest.mark.parametrize(("value", "slope", "inter"), [(2**53 + 1, 1, 1), (2**53 + 1, 1, -(2**53)), (2**52, 3, 0)])
    def test_labels_beyond_float64_are_refused(self, tmp_path, stored, dtype, value, slope, inter):
        with pytest.raises(ReadError, match="beyond what float64 holds exactly, so that two could become one"):
            self.read(tmp_path / "a", np.array([0, value], stored), slope, inter, dtype)

    def test_labels_up_to_there_are_exact(self, tmp_path):
        values = np.array([2**53 - 2, 0, 2**52], "i8")
        np.testing.assert_array_equal(self.read(tmp_path / "a", values, 1, 1), values + 1)
        assert self.read(tmp_path / "a", values, 1, 1, "i8").dtype == np.int64

    def test_fractions_are_rounded_as_ever(self, tmp_path):
        values = np.array([2**60, 3], "i8")
        np.testing.assert_array_equal(self.read(tmp_path / "a", values, 0.5, 0), values * 0.5)

    def test_what_overflows_is_refused(self, tmp_path):
        with pytest.raises(ReadError, match="beyond what float64 holds"):
            self.read(tmp_path / "a", np.array([1e300, 1]), 1e30, 0)
        assert np.isinf(self.read(tmp_path / "a", np.array([np.inf, 1]), 1e30, 0)[0])


def test_zlib_stream_reads_in_any_pieces(tmp_path):
    (tmp_path / "a").write_bytes(zlib.compress(BIG.tobytes()))
    with open_bytes(tmp_path / "a", "zlib") as stream:
        pieces = [stream.read(n) for n in (1, 10, 1_000_000, 10**7, 5)]
    assert b"".join(pieces) == BIG.tobytes()
    assert pieces[-1] == b""
