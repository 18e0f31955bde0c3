"""Packed streams: members, checksums, cuts."""

import gzip
import zlib

import numpy as np
import pytest

from faimed3d.errors import DamagedFile, TruncatedFile
from faimed3d.io.byte_streams import is_gzip, open_bytes
from faimed3d.io.voxels import Voxels, read_voxels

BIG = np.arange(300_000, dtype="<i4").reshape(3, 100, 1000)  # several blocks


def fast_gzip(data):
    return gzip.compress(data, 1)


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


def test_zlib_stream_reads_in_any_pieces(tmp_path):
    (tmp_path / "a").write_bytes(zlib.compress(BIG.tobytes()))
    with open_bytes(tmp_path / "a", "zlib") as stream:
        pieces = [stream.read(n) for n in (1, 10, 1_000_000, 10**7, 5)]
    assert b"".join(pieces) == BIG.tobytes()
    assert pieces[-1] == b""
