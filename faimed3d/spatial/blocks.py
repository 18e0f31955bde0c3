"""Cut a grid into blocks that stay in the cache, and work on them in threads where that is faster."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from torch import Tensor

from faimed3d import _blockwise

Job = TypeVar("Job")

_ON_CPU = 1 << 19  # voxels at once: enough that Python's own time does not count, and a few megabytes
_ELSEWHERE = 1 << 22  # few launches, and temporaries far smaller than a volume


def largest_block(volumes: Tensor) -> int:
    """How many voxels of these volumes to work on at once."""
    return _ON_CPU if _in_threads(volumes) else _ELSEWHERE


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


def work_on(jobs: Iterable[Job], work: Callable[[Job], None], volumes: Tensor) -> None:
    """Do all jobs: on a CPU in threads, elsewhere and where gradients are recorded one after the other."""
    if _in_threads(volumes):
        _blockwise.in_threads(work, jobs)
    else:
        for job in jobs:
            work(job)


def set_all(part: Tensor, value: float) -> None:
    """Set all voxels of a part of a result. On a CPU by numpy: torch's own threads would spin for a while after it."""
    if part.is_cpu:
        part.numpy().fill(value)
    else:
        part.fill_(value)


def _in_threads(volumes: Tensor) -> bool:
    return _blockwise.uses_cpu(volumes) and not volumes.requires_grad
