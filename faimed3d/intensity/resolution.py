"""Blur and low resolution: an image as a scanner with longer voxels would have taken it, on its old grid.

NaN and infinite voxels stay where they are and do not spread.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from faimed3d.intensity.channel_statistics import all_finite, fill_nonfinite
from faimed3d.intensity.operation import as_items, intensity_operation
from faimed3d.spatial.axis_matrices import along_axes, coarse_matrix, gaussian_matrix


@intensity_operation
def blur(t: Tensor, std: float | Sequence[float] | Tensor) -> Tensor:
    """Blur with a Gaussian; beyond the ends of the volume its edge goes on.

    Args:
        t: volume (..., D, H, W).
        std: standard deviation in voxels: a number, three along (D, H, W), or (N, 3).

    >>> blur(torch.tensor([[[0.0, 0.0, 1.0, 0.0, 0.0]]]), (0, 0, 0.5))
    tensor([[[2.6387e-04, 1.0645e-01, 7.8657e-01, 1.0645e-01, 2.6387e-04]]])
    """
    x, std = as_items(t, std, each=(3,))
    sides = zip(x.shape[-3:], std.T, strict=True)
    return _along_axes(x, [gaussian_matrix(n, s) if s.any() else None for n, s in sides]).view(t.shape)


@intensity_operation
def lower_resolution(t: Tensor, factor: float | Sequence[float] | Tensor) -> Tensor:
    """Bring to longer voxels, by means, and linearly back to the old grid.

    Args:
        t: volume (..., D, H, W).
        factor: how many times as long: a number, three along (D, H, W), or (N, 3).

    >>> lower_resolution(torch.tensor([[[0.0, 2.0, 4.0, 6.0]]]), (1, 1, 2))
    tensor([[[1., 2., 4., 5.]]])
    """
    x, factor = as_items(t, factor, each=(3,))
    sides = zip(x.shape[-3:], factor.T, strict=True)
    return _along_axes(x, [coarse_matrix(n, f) if (f > 1).any() else None for n, f in sides]).view(t.shape)


def _along_axes(x: Tensor, matrices: list[Tensor | None]) -> Tensor:
    """Apply linear maps to the finite voxels."""
    if all_finite(x):
        return along_axes(x, matrices)
    return torch.where(x.isfinite(), along_axes(fill_nonfinite(x), matrices), x)
