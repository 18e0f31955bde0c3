"""Voxels as one flat row, worked on in chunks that stay in the cache."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Job = TypeVar("Job")
Result = TypeVar("Result")

CHUNK = 1 << 16  # voxels worked on at once on a CPU: the temporaries stay in its cache
_SHARES = 2  # of the jobs for each thread
DEVICE_CHUNK = 1 << 24  # on a GPU: few launches, and temporaries far smaller than a volume


def flat(t: Tensor) -> Tensor:
    """Return ``t`` as a plain 1D tensor of a type that can be sorted and counted, without a copy where it can be."""
    if not isinstance(t, Tensor):
        raise TypeError(f"expected a tensor, got {type(t).__name__}")
    if t.is_complex():
        raise TypeError(f"expected a tensor of real numbers, got {t.dtype}; use .abs(), .angle(), .real or .imag")
    flat = t.detach().as_subclass(Tensor).reshape(-1)
    if flat.dtype == torch.bool:
        return flat.view(torch.uint8)
    if flat.is_floating_point():
        return flat if flat.dtype in (torch.float32, torch.float64) else flat.float()
    return flat if flat.dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64) else flat.long()


def uses_cpu(t: Tensor) -> bool:
    """Whether to take the ways that are fast on a CPU; the others run anywhere (a test switches this off)."""
    return t.is_cpu


def slices(length: int, step: int) -> Iterator[slice]:
    """The slices of ``step`` voxels that make up a row of ``length``."""
    return (slice(start, start + step) for start in range(0, length, step))


def finite(flat: Tensor) -> Tensor:
    """Return the finite voxels of a flat tensor: the tensor itself where all are."""
    if not flat.is_floating_point() or not flat.numel() or all(map(math.isfinite, extremes(flat))):
        return flat
    if uses_cpu(flat):
        values = flat.numpy()
        return torch.from_numpy(values[np.isfinite(values)])  # in a tenth of torch's time
    return flat[flat.isfinite()]


def extremes(flat: Tensor) -> tuple[float, float]:
    """Smallest and largest value; NaN where one is NaN."""
    low, high = torch.stack(flat.aminmax()).tolist()
    return low, high


def ordered(flat: Tensor) -> Tensor:
    """Sort a flat tensor. numpy's sort of numbers uses the vector unit: 10 to 20 times faster than torch's on a CPU."""
    return torch.from_numpy(np.sort(flat.numpy())) if uses_cpu(flat) else flat.sort()[0]


def values_at(flat: Tensor, ranks: list[int]) -> list[float]:
    """Return the values that would stand at a few ``ranks`` if a flat tensor were sorted."""
    if uses_cpu(flat):
        return np.partition(flat.numpy(), sorted(set(ranks)))[ranks].tolist()
    return flat.sort()[0][ranks].tolist()


def in_threads(work: Callable[[Job], Result], jobs: Iterable[Job]) -> list[Result]:
    """Return ``work(job)`` of each job, in as many threads as torch may use (one in a loader's worker).

    A thread takes several jobs at a time: threads that take them one by one wait for each other. Each call works on its
    job in pieces that fit into the cache. torch's own threads meet after every operation, which takes many times longer
    on pieces of this size as soon as another program wants the processor.
    """
    jobs = list(jobs)
    count = max(1, min(torch.get_num_threads(), len(jobs)))
    if count == 1:
        return [work(job) for job in jobs]

    def several(share: slice) -> list[Result]:
        return [work(job) for job in jobs[share]]

    with ThreadPoolExecutor(count) as pool:
        shares = slices(len(jobs), math.ceil(len(jobs) / (_SHARES * count)))
        return list(chain.from_iterable(pool.map(several, shares)))
