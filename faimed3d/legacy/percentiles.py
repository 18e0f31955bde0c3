"""Percentiles as faimed3d 0.0.6 took them; today ``faimed3d.intensity.percentiles_of``."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from faimed3d.intensity import landmarks_of, match_landmarks, percentiles_of

__all__ = ["get_landmarks", "get_percentile", "landmarks_of", "match_landmarks", "percentiles_of"]


def get_percentile(t: Tensor, q: float) -> float:
    """The value of the voxel at percentile ``q``: one that is there, no blend of two, as numpy's ``'nearest'``.

    Today ``faimed3d.intensity.percentiles_of``, which blends, as numpy does by default.

    Args:
        t: tensor of any shape and strides.
        q: 0 to 100.

    Returns:
        A Python number.

    Raises:
        ValueError: ``q`` is out of range, or no voxel is finite.

    >>> get_percentile(torch.arange(11.0), 14)
    1.0
    """
    if not 0 <= q <= 100:
        raise ValueError(f"q must be a percentage, 0 to 100, got {q!r}")
    flat = t.as_subclass(Tensor).detach().reshape(-1)
    flat = flat.float() if flat.dtype in (torch.bool, torch.float16, torch.bfloat16) else flat
    flat = flat[flat.isfinite()]
    if not flat.numel():
        raise ValueError("no percentile: the tensor holds no finite voxel")
    return flat.kthvalue(1 + round(0.01 * float(q) * (flat.numel() - 1)))[0].item()


def get_landmarks(t: Tensor, percentiles: Iterable[float]) -> Tensor:
    """:func:`get_percentile` for each of ``percentiles``, as a 1D float tensor.

    >>> get_landmarks(torch.arange(11.0), (0, 50, 100))
    tensor([ 0.,  5., 10.])
    """
    return torch.tensor([float(get_percentile(t, float(q))) for q in percentiles])
