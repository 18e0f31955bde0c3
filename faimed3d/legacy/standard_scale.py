"""The functions of faimed3d 0.0.6 that learn a standard scale; today ``faimed3d.augment.StandardScale.fit``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from faimed3d.augment.standard_scale import StandardScale

__all__ = ["find_standard_scale", "standard_scale_from_filelist"]


def find_standard_scale(
    inputs: Tensor | Iterable[Tensor | Path | str],
    i_min: float = 1,
    i_max: float = 99,
    i_s_min: float = 1,
    i_s_max: float = 100,
    l_percentile: int = 10,
    u_percentile: int = 90,
    step: int = 10,
) -> StandardScale:
    """Learn a standard scale with the landmarks of faimed3d 0.0.6; :meth:`StandardScale.fit` is the name of today.

    The foreground is what lies above the mean. The scale maps percentile ``i_min`` of each image to ``i_s_min`` and
    ``i_max`` to ``i_s_max`` (0.0.6 had the two exchanged).

    Args:
        inputs: list of images: tensors, files, DICOM folders; or one image (D, H, W) or (C, D, H, W), or a batch
            (B, C, D, H, W).
        i_min, i_max: first and last percentile.
        i_s_min, i_s_max: their values on the standard scale.
        l_percentile, u_percentile, step: first and last of the percentiles between, and their distance.

    Returns:
        ``StandardScale``; its ``values`` and ``percentiles`` are what 0.0.6 returned as a pair.

    >>> import torch
    >>> find_standard_scale([torch.arange(1001.0)]).values[::5]
    (1.0, 50.5, 100.0)
    """
    if isinstance(inputs, Tensor):
        inputs = inputs if inputs.ndim == 5 else [inputs]
    percentiles = (i_min, *range(l_percentile, u_percentile + 1, step), i_max)
    return StandardScale.fit(inputs, percentiles, "mean", i_s_min, i_s_max)


def standard_scale_from_filelist(fns: Iterable[Path | str]) -> StandardScale:
    """Learn a standard scale from files and DICOM folders: :func:`find_standard_scale`, under another name of 0.0.6.

    >>> standard_scale_from_filelist([])
    Traceback (most recent call last):
    ValueError: no scale: every item is constant, or there are none
    """
    return find_standard_scale(fns)
