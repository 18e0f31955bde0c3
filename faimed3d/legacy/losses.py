"""Losses of faimed3d 0.0.6. fastai has losses of these names, so no star import gives them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any  # of arguments that are handed on

from faimed3d.losses import DiceLoss3D, OverlapLoss3D, TverskyLoss3D

BaseLoss = OverlapLoss3D


def DiceLoss(
    method: str = "miletari",
    alpha: float = 0.5,
    beta: float = 0.5,
    smooth: float = 1e-5,
    weights: Sequence[float] | None = None,
    **kwargs: Any,
) -> OverlapLoss3D:
    """Make a Dice loss; today ``DiceLoss3D`` and ``TverskyLoss3D``.

    Args:
        method: 'miletari' for squares in the denominator, 'simple' for none, 'tversky' for ``alpha`` and ``beta``.
        alpha, beta: weights of false positives and false negatives with 'tversky'.
        smooth, kwargs: of ``OverlapLoss3D``.
        weights: one number per class; its ``weight``.

    >>> DiceLoss("simple")
    DiceLoss3D()
    """
    kwargs = {"smooth": smooth, "weight": weights, **kwargs}
    if method == "tversky":
        return TverskyLoss3D(alpha, beta, **kwargs)
    if method not in ("miletari", "simple"):
        raise ValueError(f"method must be 'miletari', 'simple' or 'tversky', got {method!r}")
    return DiceLoss3D(squared=method == "miletari", **kwargs)
