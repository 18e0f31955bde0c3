"""Percentiles of a volume, and Nyul's landmarks: percentiles of the foreground that are moved to standard values.

L. G. Nyul, J. K. Udupa and X. Zhang, "New variants of a method of MRI scale standardization", IEEE TMI 19 (2000). A
scale that is learned from many images is ``faimed3d.augment.StandardScale``. Voxels that are NaN or infinite take no
part in any statistic; NaN stays NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from faimed3d import _blockwise
from faimed3d.intensity.foreground import foreground_of
from faimed3d.intensity.operation import intensity_operation, without_padding


def percentiles_of(t: Tensor, percentiles: Sequence[float]) -> tuple[float, ...]:
    """Return percentiles of the finite voxels, as numpy's ``'linear'`` blends them; zeros where there is none.

    Args:
        t: tensor of any shape.
        percentiles: 0..100.

    Raises:
        ValueError: one of ``percentiles`` lies outside.

    >>> percentiles_of(torch.arange(11.0), (0, 14, 100))
    (0.0, 1.4, 10.0)
    """
    if not all(0 <= q <= 100 for q in percentiles):
        raise ValueError(f"percentiles must lie in 0..100, got {tuple(percentiles)}")
    finite = _blockwise.finite(_blockwise.flat(without_padding(t)))
    if not finite.numel():
        return (0.0,) * len(percentiles)
    ranks = [(len(finite) - 1) * float(q) / 100 for q in percentiles]
    values = _blockwise.values_at(finite, [*map(math.floor, ranks), *map(math.ceil, ranks)])
    pairs = zip(values[: len(ranks)], values[len(ranks) :], ranks, strict=True)
    return tuple(low + (high - low) * (rank % 1) for low, high, rank in pairs)


def landmarks_of(t: Tensor, percentiles: Sequence[float], foreground: str) -> tuple[float, ...]:
    """Return percentiles of the foreground.

    Args:
        t: tensor of any shape.
        percentiles: 0..100.
        foreground: ``'minimum'`` for the voxels above the smallest value, ``'mean'`` for those above the mean, or
            ``'all'``.

    >>> landmarks_of(torch.tensor([0.0, 0.0, 0.0, 1.0, 2.0, 9.0]), (0, 50, 100), "minimum")
    (1.0, 2.0, 9.0)
    """
    return percentiles_of(foreground_of(_blockwise.flat(without_padding(t)), foreground), percentiles)


@intensity_operation
def match_landmarks(t: Tensor, landmarks: Sequence[float], values: Sequence[float]) -> Tensor:
    """Map ``landmarks`` to ``values``, piecewise linear between and straight on beyond them.

    Args:
        t: tensor of any shape.
        landmarks: those of ``t``, in rising order; of equal ones the first counts.
        values: what each becomes, in rising order. Where all landmarks are equal ``t`` becomes the middle of them.

    Returns:
        Tensor of the shape and geometry of ``t``, float32 (float64 stays float64).

    >>> match_landmarks(torch.tensor([0.0, 1.0, 2.0, 6.0]), (0, 2, 4), (0, 10, 100))
    tensor([  0.,   5.,  10., 190.])
    """
    x = (t if t.dtype in (torch.float32, torch.float64) else t.float()).contiguous()  # torch warns of other strides
    places, index = np.unique(np.asarray(landmarks, dtype=float), return_index=True)
    targets = np.asarray(values, dtype=float)
    if len(places) < 2:
        return torch.where(x.isfinite(), (targets[0] + targets[-1]) / 2, x)
    slopes = np.diff(targets[index]) / np.diff(places)
    starts, ends, gains = (torch.from_numpy(numbers).to(x) for numbers in (places, targets[index], slopes))
    piece = torch.bucketize(x, starts[1:-1].contiguous(), right=True)
    return (x - starts[piece]).mul_(gains[piece]).add_(ends[piece])
