"""Whether a loss of fastai or torch compares each voxel with its own label: a verdict, as the advice to be given."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastai.losses import (
    BaseLoss,
    CrossEntropyLossFlat,
    FocalLossFlat,
    LabelSmoothingCrossEntropy,
    LabelSmoothingCrossEntropyFlat,
)
from torch import Tensor, nn

from faimed3d.losses import CrossEntropyLoss3D, DeepSupervision, FocalLoss3D

_ELEMENTWISE = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss)


def loss_for_pictures(loss: Any) -> str | None:
    """What to use on volumes for a loss of fastai that is right for 2D images alone; None if it is none of these.

    >>> loss_for_pictures(CrossEntropyLossFlat(axis=1))
    'CrossEntropyLoss3D()'
    """
    loss = _innermost(loss)
    if isinstance(loss, CrossEntropyLoss3D | FocalLoss3D):
        return None
    if isinstance(loss, CrossEntropyLossFlat):
        return "CrossEntropyLoss3D()"
    if isinstance(loss, FocalLossFlat):
        return f"FocalLoss3D(gamma={loss.func.gamma})"
    if isinstance(loss, LabelSmoothingCrossEntropyFlat):
        return f"CrossEntropyLoss3D(label_smoothing={loss.func.eps})"
    if isinstance(loss, LabelSmoothingCrossEntropy):
        return f"CrossEntropyLoss3D(label_smoothing={loss.eps})"
    return None


def refuse_loss_for_pictures(loss: Any) -> None:
    """Raise an error for a loss that is right for 2D images alone."""
    advice = loss_for_pictures(loss)
    if advice is not None:
        name = type(_innermost(loss)).__name__
        raise ValueError(
            f"fastai's {name} takes the axes of 2D images: on volumes (B, C, D, H, W) it compares voxels with the "
            f"labels of others, or takes an axis of space for the classes. Pass loss_func={advice}"
        )


def refuse_wrong_pairs(loss: Any, pred: Any, target: Any) -> None:
    """Raise an error where a loss would compare a voxel with the label of another one, or with several.

    Args:
        loss: of a Learner.
        pred: scores (B, C, D, H, W); anything else passes.
        target: (B, D, H, W) or (B, C, D, H, W); anything else passes.

    Raises:
        ValueError: the message says what to use.
    """
    tensors = isinstance(pred, Tensor) and isinstance(target, Tensor)
    if not tensors or pred.ndim != 5 or target.ndim not in (4, 5):
        return
    refuse_loss_for_pictures(loss)
    loss = _innermost(loss)
    shapes = tuple(pred.shape), tuple(target.shape)
    if shapes[0] == shapes[1]:
        return
    flat = isinstance(loss, BaseLoss) and not isinstance(loss, CrossEntropyLoss3D | FocalLoss3D)
    if isinstance(loss, _ELEMENTWISE) or (flat and loss.axis % 5 != 4):
        raise ValueError(
            f"{loss!r} compares numbers one by one, but the network gives {shapes[0]} and the target is {shapes[1]}: "
            "its voxels would be paired with those of others. Give both one shape: masks (B, D, H, W) have no axis of "
            "channels, target[:, None] adds it; or use a loss for labels, such as DiceCELoss3D"
        )


def _innermost(loss: Any) -> Any:
    """The loss within what fastai and :class:`DeepSupervision` put round it."""
    while True:
        if isinstance(loss, partial):
            loss = loss.func
        elif isinstance(loss, DeepSupervision):
            loss = loss.loss
        elif hasattr(getattr(loss, "__self__", None), "old_lf"):  # MixUp has put its own in front
            loss = loss.__self__.old_lf
        else:
            return loss
