"""Scores on several scales, of networks with deep supervision: which they are, their weights, their labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def are_scales(scores: object) -> bool:
    """Whether these are scores of one thing on several scales.

    That is: a list or tuple of (B, C, D, H, W) with the same B and C, as of nnU-Net or SegResNetDS; or one tensor (B,
    scales, C, D, H, W), as of MONAI's DynUNet.
    """
    if isinstance(scores, Tensor):
        return scores.ndim == 6
    if not isinstance(scores, list | tuple) or not scores:
        return False
    tensors = [x for x in scores if isinstance(x, Tensor) and x.ndim == 5]
    return len(tensors) == len(scores) and len({tuple(x.shape[:2]) for x in tensors}) == 1


def finest_first(scores: Any) -> list[Tensor]:
    """The scores (B, C, D, H, W) of all scales, those of most voxels first; of equal ones the order stays.

    Raises:
        TypeError: these are no scores on several scales.
    """
    if not are_scales(scores):
        came = type(scores).__name__
        if isinstance(scores, list | tuple):
            came += f" of {[tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__ for x in scores]}"
        raise TypeError(
            "expected scores (B, C, D, H, W), or a list of them on several scales with the same B and C (deep "
            f"supervision); got a {came}"
        )
    heads = list(scores.unbind(1)) if isinstance(scores, Tensor) else list(scores)
    return sorted(heads, key=lambda head: -head.shape[2:].numel())


def full_resolution(scores: Any) -> Any:
    """The finest of the scores on several scales; anything else as it is."""
    return finest_first(scores)[0] if are_scales(scores) else scores


def halving_weights(count: int) -> list[float]:
    """Weights 1, 1/2, 1/4, ... over their sum, as of nnU-Net (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z).

    >>> halving_weights(2)
    [0.6666666666666666, 0.3333333333333333]
    """
    total = 2 - 0.5 ** (count - 1)
    return [0.5**number / total for number in range(count)]


def labels_at(targ: Tensor, size: Sequence[int]) -> Tensor:
    """Labels (..., D, H, W) on a grid of ``size`` over the same field of view: that of the voxel at each centre."""
    for axis, (n, wanted) in enumerate(zip(targ.shape[-3:], size, strict=True), targ.ndim - 3):
        if n != wanted:
            index = (2 * torch.arange(wanted, device=targ.device) + 1) * n // (2 * wanted)
            targ = targ.index_select(axis, index)
    return targ


def over_scales(
    loss: Callable[..., Tensor], scores: Any, targ: Tensor, weights: Sequence[float] | None = None, **kwargs: Any
) -> Tensor:
    """The weighted sum of a loss over all scales.

    Args:
        loss: takes scores (B, C, d, h, w) and labels (B, d, h, w).
        scores: see :func:`are_scales`.
        targ: labels (B, D, H, W) or (B, 1, D, H, W), of the size of the finest scores.
        weights: one for each scale, from the finest on; they are divided by their sum. Default:
            :func:`halving_weights`.
        kwargs: of the loss.

    Raises:
        ValueError: the finest scores have another size than the labels; or there is not one weight for each scale.
    """
    heads = finest_first(scores)
    if not isinstance(targ, Tensor) or tuple(targ.shape[-3:]) != tuple(heads[0].shape[-3:]):
        came = tuple(targ.shape) if isinstance(targ, Tensor) else type(targ).__name__
        raise ValueError(
            f"deep supervision: the finest of the {len(heads)} scores are {tuple(heads[0].shape)} (B, C, D, H, W), but "
            f"the labels are {came}: one of the scales must have their size"
        )
    weights = halving_weights(len(heads)) if weights is None else [float(weight) for weight in weights]
    if len(weights) != len(heads):
        raise ValueError(
            f"deep supervision: the network gives {len(heads)} scales, weights holds {len(weights)} numbers"
        )
    targ = targ.as_subclass(Tensor)
    parts = []
    for head, weight in zip(heads, weights, strict=True):
        if weight:
            part = loss(head, labels_at(targ, head.shape[2:]), **kwargs)
            part = part.flatten(1).mean(1) if part.ndim > 1 else part  # torch's losses of each voxel
            parts.append(weight / sum(weights) * part)
    return torch.stack(parts).sum(0)
