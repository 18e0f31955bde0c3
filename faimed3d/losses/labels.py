"""Scores and labels of voxels as the losses take them: flat, checked, some left out."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from faimed3d.masks.labels import LABEL_TOLERANCE

NONE = -100  # torch's ignore_index for "no label is left out"


def flattened(inp: Tensor, targ: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B, C, ...) as (B, C, N) and labels (B, ...) or (B, 1, ...) as (B, N) of int64, plain tensors.

    Raises:
        TypeError: no tensors.
        ValueError: prediction and target differ in shape; the labels are fractions.
    """
    if not isinstance(inp, Tensor) or not isinstance(targ, Tensor):
        raise TypeError(
            f"expected scores (B, C, D, H, W), or a list of them (deep supervision), and labels (B, D, H, W); got "
            f"{type(inp).__name__} and {type(targ).__name__}"
        )
    inp, targ = inp.as_subclass(Tensor), targ.as_subclass(Tensor)
    if inp.ndim < 3:
        raise ValueError(f"expected scores (B, C, D, H, W), got {tuple(inp.shape)}")
    space = tuple(inp.shape[2:])
    if tuple(targ.shape) not in ((len(inp), *space), (len(inp), 1, *space)):
        raise ValueError(
            f"scores {tuple(inp.shape)} (B, C, D, H, W) need labels {(len(inp), *space)} (B, D, H, W), "
            f"got {tuple(targ.shape)}"
        )
    if targ.is_floating_point() and not torch.compiler.is_compiling():
        targ = _whole(targ)
    return inp.flatten(2), targ.reshape(len(targ), -1).long()


def _whole(targ: Tensor) -> Tensor:
    """Labels in floats, without the rounding of floats; fractions, which are no labels, are an error."""
    wrong = ~((targ - targ.round()).abs() <= LABEL_TOLERANCE)
    if wrong.any():
        raise ValueError(
            f"the targets hold {targ[wrong][0].item():.6g}, no label: has a transform of batch_tfms changed the masks? "
            "One that changes images alone inherits from IntensityTransform3D"
        )
    return targ.round()


def check_labels(targ: Tensor, count: int, ignored: int | None) -> None:
    """Raise an error for a label that is no class of the scores, and not the one that is left out.

    Args:
        targ: labels of any shape.
        count: of the classes.
        ignored: label that is left out, or None.
    """
    if torch.compiler.is_compiling() or not targ.numel():
        return
    low, high = (int(limit) for limit in targ.aminmax())
    if low >= 0 and high < count:
        return
    known = targ if ignored is None else targ[targ != ignored]
    if not known.numel():
        return
    low, high = (int(limit) for limit in known.aminmax())
    if low < 0 or high >= count:
        raise ValueError(
            f"labels must lie in 0..{count - 1} for scores of {count} classes, got {low}..{high}. If one of them means "
            "'not annotated', pass ignore_index"
        )


def one_per_class(weight: Tensor, inp: Tensor) -> Tensor:
    """Weights of the classes of scores (B, C, N), on their device.

    Raises:
        ValueError: there is not one for each class.
    """
    if weight.numel() != inp.shape[1]:
        raise ValueError(f"weight must hold one number per class: the model gives {inp.shape[1]}, got {weight.numel()}")
    return weight.to(inp.device)


def reduced(each: Tensor, reduction: str, mean: Callable[[], Tensor] | None = None) -> Tensor:
    """The losses of the items (B,) as ``reduction`` asks: 'mean', 'sum', or 'none' for all of them.

    Args:
        each: loss of each item.
        reduction: as of torch's losses.
        mean: the mean, where it is not that of the items.
    """
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    if reduction == "mean" and mean is not None:
        return mean()
    return each if reduction == "none" else getattr(each, reduction)()


def ignored_label(loss: object) -> int | None:
    """The label that a loss leaves out, of ours, of torch's, and of fastai's, which hold one of torch's; None if none.

    That of a cross-entropy for which no label was named is torch's default, :data:`NONE`.
    """
    label = getattr(loss, "ignore_index", None)
    label = getattr(getattr(loss, "func", None), "ignore_index", None) if label is None else label
    return None if label is None else int(label)
