"""From the bytes of a file to one array: every encoding, sizes checked first."""

import gzip
import zlib

import numpy as np
import pytest

from faimed3d.errors import ReadError, TruncatedFile
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
