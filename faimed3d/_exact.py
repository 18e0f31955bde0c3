"""Which whole numbers a float type holds exactly. Beyond these limits two labels of a mask could become one."""

from __future__ import annotations

from typing import SupportsInt

FLOAT32_EXACT = 2**24  # every whole number from -2**24 to 2**24 is exact in float32
FLOAT64_EXACT = 2**53


def fits_float32(lowest: SupportsInt, highest: SupportsInt) -> bool:
    """Whether float32 holds every whole number from ``lowest`` to ``highest`` exactly.

    >>> fits_float32(0, 2**24), fits_float32(-(2**24) - 1, 0)
    (True, False)
    """
    return int(lowest) >= -FLOAT32_EXACT and int(highest) <= FLOAT32_EXACT
