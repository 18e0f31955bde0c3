"""Losses of each voxel: cross-entropy and focal loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any  # of arguments that are handed on

import torch
import torch.nn.functional as F
from fastai.losses import CrossEntropyLossFlat, FocalLoss, FocalLossFlat
from torch import Tensor, nn

from faimed3d._keywords import keywords_of, of_bases, strict_keywords
from faimed3d.losses.labels import NONE, check_labels, flattened, one_per_class, reduced
from faimed3d.losses.lists import each_volume
from faimed3d.losses.scales import are_scales, over_scales


class CrossEntropyLoss3D(CrossEntropyLossFlat):
    """Cross-entropy of every voxel: fastai's ``CrossEntropyLossFlat``, with the axes right for volumes.

    If ``ignore_index`` leaves no voxel, the loss is 0 (torch gives NaN).

    Args:
        args, kwargs: of ``nn.CrossEntropyLoss``, such as weight, label_smoothing, reduction.
        axis: of the classes in the prediction.
        ignore_index: voxels of this label are left out; None for no such label.

    Raises:
        ValueError: prediction and target differ in shape, or a label is no class of the prediction.

    >>> logits = torch.tensor([0.0, 9.0]).reshape(1, 2, 1, 1, 1).expand(1, 2, 2, 3, 4)
    >>> round(float(CrossEntropyLoss3D()(logits, torch.ones(1, 2, 3, 4))), 4)
    0.0001
    """

    @strict_keywords(more=lambda args, kwargs: [*keywords_of(nn.CrossEntropyLoss), *of_bases(args, kwargs)])
    def __init__(self, *args: Any, axis: int = 1, ignore_index: int | None = None, **kwargs: Any) -> None:
        super().__init__(*args, axis=axis, ignore_index=NONE if ignore_index is None else ignore_index, **kwargs)

    @property
    def ignore_index(self) -> int:
        """The label that is left out; -100 if none was named."""
        return self.func.ignore_index

    def __call__(self, inp: Tensor, targ: Tensor) -> Tensor:
        if not isinstance(inp, Tensor) or are_scales(inp):
            return over_scales(self, inp, targ)
        inp, targ = flattened(inp, targ)
        func = self.func
        total, count = cross_entropy(inp, targ, func.weight, self.ignore_index, func.label_smoothing)
        if self.reduction == "sum":
            return total.sum()
        return reduced(
            total / count.clamp(min=1e-12), self.reduction, lambda: total.sum() / count.sum().clamp(min=1e-12)
        )

    def activation(self, x: Tensor | Sequence[Tensor]) -> Tensor | Sequence[Tensor]:
        """Probabilities of the classes; of a list of volumes (C, D, H, W), those of each."""
        return each_volume(super().activation, x)

    def decodes(self, x: Tensor | Sequence[Tensor]) -> Tensor | Sequence[Tensor]:
        """The most probable class of each voxel."""
        return each_volume(super().decodes, x)


class FocalLoss3D(FocalLossFlat):
    """Focal loss of every voxel (Lin et al. 2017, arXiv:1708.02002): easy voxels count less than in cross-entropy.

    Args:
        args, kwargs: of fastai's ``FocalLossFlat``: gamma, weight, reduction.
        axis: of the classes in the prediction.
        ignore_index: voxels of this label are left out; None for no such label.

    Raises:
        ValueError: prediction and target differ in shape, or a label is no class of the prediction.

    >>> logits = torch.tensor([0.0, 3.0]).reshape(1, 2, 1, 1, 1).expand(1, 2, 2, 3, 4)
    >>> round(float(FocalLoss3D(gamma=2.0)(logits, torch.ones(1, 2, 3, 4))), 4)
    0.0001
    """

    @strict_keywords(more=lambda args, kwargs: [*keywords_of(FocalLoss), *of_bases(args, kwargs)])
    def __init__(self, *args: Any, axis: int = 1, ignore_index: int | None = None, **kwargs: Any) -> None:
        super().__init__(*args, axis=axis, **kwargs)
        self.ignore_index = ignore_index

    def __call__(self, inp: Tensor, targ: Tensor) -> Tensor:
        if not isinstance(inp, Tensor) or are_scales(inp):
            return over_scales(self, inp, targ)
        inp, targ = flattened(inp, targ)
        check_labels(targ, inp.shape[1], self.ignore_index)
        ignored = NONE if self.ignore_index is None else self.ignore_index
        weight = None if self.func.weight is None else one_per_class(self.func.weight, inp)
        entropy = F.cross_entropy(_exact(inp), targ, weight, ignore_index=ignored, reduction="none")
        total = ((1 - torch.exp(-entropy)) ** self.func.gamma * entropy).sum(1)
        if self.reduction == "sum":
            return total.sum()
        count = (targ != ignored).sum(1)
        return reduced(total / count.clamp(min=1), self.reduction, lambda: total.sum() / count.sum().clamp(min=1))

    def activation(self, x: Tensor | Sequence[Tensor]) -> Tensor | Sequence[Tensor]:
        """Probabilities of the classes; of a list of volumes (C, D, H, W), those of each."""
        return each_volume(super().activation, x)

    def decodes(self, x: Tensor | Sequence[Tensor]) -> Tensor | Sequence[Tensor]:
        """The most probable class of each voxel."""
        return each_volume(super().decodes, x)


def cross_entropy(
    inp: Tensor, targ: Tensor, weight: Tensor | None, ignored: int | None, smoothing: float
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each item, summed over its voxels, and the sum of the weights of these voxels: (B,) each.

    Args:
        inp: logits (B, C, N).
        targ: labels (B, N), int64.
        weight: of each class, or None.
        ignored: label of voxels that are left out, or None.
        smoothing: of the labels, as ``label_smoothing`` of ``nn.CrossEntropyLoss``.
    """
    check_labels(targ, inp.shape[1], ignored)
    left_out = NONE if ignored is None else ignored
    weight = None if weight is None else one_per_class(weight, inp)
    voxels = F.cross_entropy(
        _exact(inp), targ, weight, ignore_index=left_out, reduction="none", label_smoothing=smoothing
    )
    kept = targ != left_out
    if weight is None:
        counted = kept.sum(1).to(voxels.dtype)
    else:
        counted = (weight[targ.clamp(min=0, max=len(weight) - 1)] * kept).sum(1)
    return voxels.sum(1), counted


def _exact(inp: Tensor) -> Tensor:
    """Logits in which a sum over a volume does not overflow."""
    return inp if inp.dtype == torch.float64 else inp.float()
