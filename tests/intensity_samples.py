"""Volumes of the kinds that scanners give, and types of numbers, for tests of intensity."""

import numpy as np
import torch

DTYPES = [
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.uint16,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
]
KINDS = ["ct", "mr", "unit", "crowded", "wide", "far"]
SHAPE = (2, 1, 6, 7, 8)
LARGE = (9, 90, 100)  # above the size from which the table of cells is used


def volume(kind, shape=(7, 50, 60), seed=0):
    rng = np.random.default_rng(seed)
    count = int(np.prod(shape))
    if kind == "ct":  # whole numbers with a peak of air
        values = np.where(rng.random(count) < 0.45, rng.normal(-1010, 12, count), rng.normal(20, 180, count))
        values = values.round().clip(-1024, 3071)
    elif kind == "mr":
        values = rng.gamma(2, 120, count)
    elif kind == "unit":
        values = rng.random(count)
    elif kind == "crowded":  # half of the breaks in one cell of the table
        values = np.where(rng.random(count) < 0.5, rng.normal(0, 1e-7, count), rng.normal(1000, 200, count))
    elif kind == "wide":  # whole numbers in a range too wide to count
        values = rng.integers(-(2**23), 2**23, count)
    elif kind == "far":
        values = rng.normal(1e6, 1, count)
    return torch.from_numpy(values.astype(np.float32)).view(shape)


def normal(shape=SHAPE, seed=0):
    """Normally distributed values."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def column(*values):
    """Settings of a batch of items."""
    return torch.tensor(values, dtype=torch.float64)
