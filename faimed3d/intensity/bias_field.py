"""Bias field of MR: the uneven sensitivity of the coil, put into an image or taken out of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from faimed3d._arguments import whole_per_axis
from faimed3d.intensity.channel_statistics import channel_range
from faimed3d.intensity.operation import Volume, as_channels, as_items, intensity_operation
from faimed3d.spatial.axis_matrices import smooth_field

_COARSE_MM = 4  # voxels on which the field is fitted: it changes over centimetres
_LEAST_VOXELS = 8  # along an axis of the grid on which the field is fitted


@intensity_operation
def apply_bias_field(t: Tensor, log_field: Tensor) -> Tensor:
    """Multiply by a smooth field; the minimum (background) stays.

    Args:
        t: volume (..., D, H, W).
        log_field: (d, h, w) or (N, d, h, w), logarithms of the field at control points of cubic B-splines, at least 4
            along each axis.

    >>> apply_bias_field(torch.tensor([[[0.0, 1.0, 2.0]]]), torch.full((4, 4, 4), 2.0).log())
    tensor([[[0., 2., 4.]]])
    """
    x, control = as_items(t, log_field, each=tuple(log_field.shape[-3:]))
    low, _ = channel_range(x)
    field = smooth_field(control[:, None].to(x), x.shape[-3:]).exp_()
    return field.mul(x - low).add_(low).view(t.shape)


def correct_bias_field(
    t: Volume,
    mask: Tensor | np.ndarray | None = None,
    iterations: int = 20,
    levels: int = 3,
    shrink: int | Sequence[int] | None = None,
) -> Volume:
    """Divide an MR image by the smooth field of its coil's sensitivity, which the N4 algorithm finds in it.

    N. J. Tustison et al., "N4ITK: Improved N3 Bias Correction", IEEE TMI 29 (2010); the filter is SimpleITK's. The
    field is fitted on coarse voxels and applied to all; its mean logarithm in the mask is 0, so values keep their size.
    It takes seconds to minutes, so it is no transform for a loader.

    Args:
        t: image (..., D, H, W), no value below 0; every channel is corrected on its own. A mask comes back as it is.
        mask: voxels (D, H, W) to fit the field on, where not 0. Default: those above Otsu's threshold.
        iterations: at most, at each level; 3, as faimed3d 0.0.6 had, leave most of the field.
        levels: of refinement; each halves the distance of the field's control points.
        shrink: voxels (D, H, W) that become one for the fit, or one number. Default: as make voxels of about 4 mm,
            which needs the geometry; a plain tensor has voxels of 1 mm.

    Returns:
        Tensor of the shape and geometry of ``t``, float32 (float64 stays float64). NaN stays NaN.

    Raises:
        ValueError: a value is below 0 (CT has no such field), there is nothing to fit on, or no geometry.

    >>> ball = torch.linspace(-1, 1, 12) ** 2
    >>> ball = (ball + ball[:, None] + ball[:, None, None] < 0.8) * 100.0 + torch.arange(12.0)
    >>> correct_bias_field(ball, iterations=2).shape
    torch.Size([12, 12, 12])
    """
    factors = _shrink_factors(t) if shrink is None else whole_per_axis(shrink, "shrink", least=1)
    return _corrected(t, mask, factors, iterations, levels)


@intensity_operation
def _corrected(t: Tensor, mask: Any, factors: tuple[int, ...], iterations: int, levels: int) -> Tensor:
    channels = as_channels(t)
    inside = None
    if mask is not None:
        plain = mask.detach().cpu().as_subclass(Tensor).numpy() if isinstance(mask, Tensor) else np.asarray(mask)
        inside = plain != 0
        if inside.shape != channels.shape[1:]:
            raise ValueError(f"the mask has {inside.shape} voxels (D, H, W), the image {channels.shape[1:]}")
    corrected = [
        (channel / _sensitivity(channel, inside, factors, iterations, levels).astype(channel.dtype))
        for channel in channels
    ]
    return torch.from_numpy(np.stack(corrected)).view(t.shape).to(t.device)


def _shrink_factors(t: Tensor) -> tuple[int, ...]:
    """How many voxels (D, H, W) become one, so that the coarse ones are of about 4 mm."""
    spacing = t.require_geometry("correct_bias_field").spacing if hasattr(t, "require_geometry") else (1.0, 1.0, 1.0)
    steps = zip(spacing[::-1], t.shape[-3:], strict=True)
    return tuple(max(1, min(round(_COARSE_MM / mm), n // _LEAST_VOXELS)) for mm, n in steps)


def _sensitivity(
    values: np.ndarray, inside: np.ndarray | None, factors: tuple[int, ...], iterations: int, levels: int
) -> np.ndarray:
    """The field at every voxel of one channel (D, H, W), as float64."""
    import SimpleITK as sitk  # takes a while to load, and most of the room does without

    values = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    if values.min() < 0:
        raise ValueError(
            f"correct_bias_field is for MR magnitudes, and this image has values down to {values.min():g}; a CT has no "
            "coil whose field could be corrected"
        )
    # The fit counts in parts of the field of view: voxels of 1 give the same field whatever digits a spacing ends in.
    image = sitk.GetImageFromArray(values)
    if inside is None:
        inside = values > 0
        if values.max() > values.min():
            inside = sitk.GetArrayFromImage(sitk.OtsuThreshold(image, 0, 1, 200)) != 0
    inside = inside & (values > 0)
    if inside.sum() < 2 or values[inside].min() == values[inside].max():
        raise ValueError("there is nothing to fit the field on: the mask holds no two different values above 0")
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    corrector.SetMaximumNumberOfIterations([iterations] * levels)
    step = factors[::-1]
    corrector.Execute(sitk.Shrink(image, step), sitk.Shrink(sitk.GetImageFromArray(inside.astype(np.uint8)), step))
    logarithm = sitk.GetArrayFromImage(corrector.GetLogBiasFieldAsImage(image)).astype(np.float64)
    return np.exp(logarithm - logarithm[inside].mean())
