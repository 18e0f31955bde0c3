"""Cut a grid into blocks, so that temporaries stay far smaller than a volume."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

_ON_CPU = 1 << 19  # voxels at once: enough for torch's threads, and a few megabytes
_ELSEWHERE = 1 << 22  # few launches, and temporaries far smaller than a volume


def largest_block(volumes: Tensor) -> int:
    """How many voxels of these volumes to work on at once."""
    return _ON_CPU if volumes.is_cpu else _ELSEWHERE


def boxes(shape: Sequence[int], most: int) -> list[tuple[slice, ...]]:
    """Cut a box of ``shape`` into boxes of at most ``most`` voxels, in storage order: tuples of slices.

    >>> boxes((2, 3), 2)
    [(slice(0, 1, None), slice(0, 2, None)), (slice(0, 1, None), slice(2, 3, None)), \
(slice(1, 2, None), slice(0, 2, None)), (slice(1, 2, None), slice(2, 3, None))]
    """
    first, *others = shape
    inner = math.prod(others)
    if inner > most:
        return [(slice(k, k + 1), *box) for k in range(first) for box in boxes(others, most)]
    step, whole = max(1, most // inner), [slice(0, n) for n in others]
    return [(slice(k, min(k + step, first)), *whole) for k in range(0, first, step)]
