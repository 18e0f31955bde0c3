"""Operations whose result lies on another straight grid: padding, interpolation, pooling."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from faimed3d.tracking.rules import listed, rule


@rule("pad", home=(F,))
def _pad(x, result, pad, mode="constant", value=None):
    before, after = [0] * len(x.shape), [0] * len(x.shape)
    for k, (low, high) in enumerate(zip(pad[::2], pad[1::2], strict=True)):
        before[-1 - k], after[-1 - k] = low, high
    if not x.shared and any((*before[: x.lead], *after[: x.lead])):
        return None
    size, offset = result.shape[-3:], [-width for width in before[x.lead :]]
    return x.map(lambda geometry: geometry.regrid(size, offset=offset))


@rule("interpolate upsample", home=(F,))
def _interpolate(
    x,
    result,
    size=None,
    scale_factor=None,
    mode="nearest",
    align_corners=None,
    recompute_scale_factor=None,
    antialias=False,
):
    axes = len(x.shape) - 2  # torch reads (N, C, spatial...): of a 4D tensor it resizes H and W only
    old, new = x.shape[-3:], result.shape[-3:]
    factors = [None] * 3
    if scale_factor is not None and not recompute_scale_factor:
        given = listed(scale_factor)
        factors[-axes:] = given if len(given) == axes else given * axes
    scale, offset = [], []
    for axis in range(3):
        touched = axis >= 3 - axes
        step = _interpolated(old[axis], new[axis], factors[axis], mode, align_corners) if touched else (1, 0)
        if step is None:
            return None
        scale.append(step[0])
        offset.append(step[1])
    return x.map(lambda geometry: geometry.regrid(new, scale, offset))


def _interpolated(old, new, factor, mode, align_corners):
    """(scale, offset) of one axis: output voxel i is taken from input position ``scale * i + offset``.

    As in PyTorch's UpSample.h: with ``align_corners`` the first and last voxels coincide, else the outer edges do.
    ``nearest`` takes voxel ``floor(i * scale)``, ``nearest-exact`` ``floor((i + 0.5) * scale)``: even grids only for
    whole ratios, where shrinking picks voxels and enlarging cuts each voxel into equal parts.
    """
    scale = 1 / factor if factor else old / new
    if mode in ("linear", "bilinear", "trilinear", "bicubic"):
        if align_corners:
            if new == 1:
                return 1, 0
            return (old - 1) / (new - 1), 0
        return scale, (scale - 1) / 2
    if mode in ("nearest", "nearest-exact"):
        if float(scale).is_integer():
            return scale, 0 if mode == "nearest" else scale // 2
        return (scale, (scale - 1) / 2) if abs(1 / scale - round(1 / scale)) < 1e-9 else None
    if mode == "area":
        return (old // new, (old // new - 1) / 2) if old % new == 0 else None
    return None


def _windows(x, result, axes, kernel_size, stride=None, padding=0, dilation=1):
    """Pooling windows over the last ``axes`` axes: the result lies at their centres."""
    new = (result if isinstance(result, Tensor) else result[0]).shape[-3:]
    kernel, stride, padding, dilation = (
        list(listed(value)) * (axes if len(listed(value)) == 1 else 1)
        for value in (kernel_size, kernel_size if stride in (None, [], ()) else stride, padding, dilation)
    )
    scale, offset = [1] * (3 - axes), [0] * (3 - axes)
    for k in range(axes):
        scale.append(stride[k])
        offset.append(dilation[k] * (kernel[k] - 1) / 2 - padding[k])
    return x.map(lambda geometry: geometry.regrid(new, scale, offset))


def _adaptive(x, result, output_size, return_indices=False):
    """Adaptive pooling is on an even grid only where it divides the input into equal windows."""
    old, new = x.shape[-3:], (result if isinstance(result, Tensor) else result[0]).shape[-3:]
    if 0 in new or any(n % m for n, m in zip(old, new, strict=True)):
        return None
    scale = [n // m for n, m in zip(old, new, strict=True)]
    return x.map(lambda geometry: geometry.regrid(new, scale, [(step - 1) / 2 for step in scale]))


def _register_pooling(axes):
    home = (torch, F, torch._C._nn)

    @rule(f"avg_pool{axes}d", home=home)
    def average(x, result, kernel_size, stride=None, padding=0, *args, **kwargs):
        return _windows(x, result, axes, kernel_size, stride, padding)

    @rule(f"max_pool{axes}d max_pool{axes}d_with_indices _max_pool{axes}d", home=home)
    def maximum(x, result, kernel_size, stride=None, padding=0, dilation=1, *args, **kwargs):
        return _windows(x, result, axes, kernel_size, stride, padding, dilation)

    @rule(f"lp_pool{axes}d", home=home)
    def power(x, result, norm_type, kernel_size, stride=None, *args, **kwargs):
        return _windows(x, result, axes, kernel_size, stride)

    rule(
        f"adaptive_avg_pool{axes}d adaptive_max_pool{axes}d "
        f"adaptive_max_pool{axes}d_with_indices _adaptive_max_pool{axes}d",
        home=home,
    )(_adaptive)


for _axes in (1, 2, 3):
    _register_pooling(_axes)
