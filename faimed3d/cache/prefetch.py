"""Tell the system which parts of a mapped file are read next, so that it reads them at once and nothing beside them.

Without it each page is read when it is touched, one after the other, and systems read on beyond it, some by 8 MB: for
patches of a set larger than the memory, that is thirty times the patch.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterable
from typing import Any

from numpy.typing import NDArray

_KNOWN = hasattr(mmap, "MADV_WILLNEED")  # Windows has no such call
if _KNOWN:
    _madvise = ctypes.CDLL(None).madvise
    _madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def read_alone(array: NDArray[Any]) -> None:
    """Let the system read nothing beyond the pages that are touched, in a map of a file; see :func:`will_need`."""
    if _KNOWN:
        _advise(*part_of(array), mmap.MADV_RANDOM)


def part_of(array: NDArray[Any]) -> tuple[int, int]:
    """(address, bytes) of a contiguous array."""
    return array.__array_interface__["data"][0], array.nbytes


def will_need(parts: Iterable[tuple[int, int]]) -> None:
    """Let the system read parts of mapped files in the background; what it has in memory already is left alone.

    Args:
        parts: (address, bytes) of each.
    """
    if _KNOWN:
        for address, count in parts:
            _advise(address, count, mmap.MADV_WILLNEED)


def _advise(address: int, count: int, advice: int) -> None:
    start = address - address % mmap.PAGESIZE
    _madvise(start, address + count - start, advice)  # a hint: whether it is taken does not matter
