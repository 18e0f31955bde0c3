"""Statistics of every channel of every item of (N, C, D, H, W), which NaN and infinite voxels take no part in.

Each takes the fast way first and looks at single voxels only where the result shows that one is not finite.
"""

from __future__ import annotations

import torch
from torch import Tensor

_VOXELS = (2, 3, 4)


def all_finite(x: Tensor) -> bool:
    """Whether the sum of all voxels is finite: never True where one voxel is not."""
    return bool(x.sum().isfinite())


def fill_nonfinite(x: Tensor) -> Tensor:
    """The tensor with the mean of its channel where a voxel is not finite."""
    return x if all_finite(x) else torch.where(x.isfinite(), x, channel_mean(x))


def channel_range(x: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest and largest finite value of each channel, (N, C, 1, 1, 1) each; 0 where there is none."""
    low, high = (v[..., None, None, None] for v in x.flatten(2).aminmax(dim=2))
    if (low.isfinite() & high.isfinite()).all():
        return low, high
    finite = x.isfinite()
    low = torch.where(finite, x, torch.inf).amin(_VOXELS, keepdim=True)
    high = torch.where(finite, x, -torch.inf).amax(_VOXELS, keepdim=True)
    return torch.where(low.isfinite(), low, 0), torch.where(high.isfinite(), high, 0)


def channel_mean(x: Tensor) -> Tensor:
    """Mean of the finite voxels of each channel, (N, C, 1, 1, 1)."""
    mean = x.mean(_VOXELS, keepdim=True)
    if mean.isfinite().all():
        return mean
    finite = x.isfinite()
    return torch.where(finite, x, 0).sum(_VOXELS, keepdim=True) / finite.sum(_VOXELS, keepdim=True).clamp(min=1)


def channel_std(x: Tensor) -> Tensor:
    """Standard deviation of the finite voxels of each channel, (N, C, 1, 1, 1)."""
    distance = x - channel_mean(x)
    count: Tensor | int = x[0, 0].numel()
    if not all_finite(x):
        finite = x.isfinite()
        distance, count = torch.where(finite, distance, 0), finite.sum(_VOXELS, keepdim=True).clamp(min=1)
    return torch.linalg.vector_norm(distance.flatten(2), dim=2)[..., None, None, None] / count**0.5
