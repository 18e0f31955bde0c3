"""Volumes in bricks: every box of every grid of bricks, and what is told to the system."""

import mmap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faimed3d.cache import bricks, prefetch
from faimed3d.cache.bricks import from_bricks, to_bricks


@given(data=st.data())
def test_any_box_of_any_bricks(data):
    shape = tuple(data.draw(st.integers(1, most)) for most in (2, 9, 10, 11))
    side = data.draw(st.integers(1, 12))
    volume = np.random.default_rng(0).permutation(np.prod(shape)).reshape(shape).astype(np.int16)
    stored = to_bricks(volume, side)
    assert np.array_equal(np.sort(stored, None), np.arange(volume.size))
    first = volume[0, :side, :side, :side]
    assert np.array_equal(stored[0, : first.size], first.reshape(-1))
    corner = [data.draw(st.integers(0, n - 1)) for n in shape[1:]]
    size = [data.draw(st.integers(1, n - a)) for n, a in zip(shape[1:], corner, strict=True)]
    box = tuple(slice(a, a + n) for a, n in zip(corner, size, strict=True))
    assert np.array_equal(from_bricks(stored, shape[1:], side, corner, size), volume[(slice(None), *box)])


def test_the_system_is_told_of_the_touched_bricks_and_of_no_others(monkeypatch):
    told = []
    monkeypatch.setattr(bricks, "will_need", lambda parts: told.extend(parts))
    volume = np.arange(2 * 7 * 9 * 11, dtype=np.int16).reshape(2, 7, 9, 11)
    stored = to_bricks(volume, 4)
    found = from_bricks(stored, (7, 9, 11), 4, (3, 5, 2), (2, 4, 3))
    begin = stored.ctypes.data
    covered = np.concatenate([np.arange(start, start + count, 2) for start, count in told])
    touched = np.zeros(volume.shape, bool)
    touched[:, 0:8, 4:9, 0:8] = True
    assert np.array_equal(np.sort(stored.reshape(-1)[(covered - begin) // 2]), np.sort(volume[touched]))
    assert np.isin(found, volume[touched]).all()


@pytest.mark.skipif(not hasattr(mmap, "MADV_WILLNEED"), reason="this system takes no such hints")
def test_hints_begin_at_pages(monkeypatch):
    given_to_system = []
    monkeypatch.setattr(prefetch, "_madvise", lambda *hint: given_to_system.append(hint))
    prefetch.will_need([(mmap.PAGESIZE + 10, 20)])
    assert given_to_system == [(mmap.PAGESIZE, 30, mmap.MADV_WILLNEED)]
