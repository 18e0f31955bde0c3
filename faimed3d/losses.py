"""Losses for labels of voxels: cross-entropy, focal loss, Dice, Tversky, MCC, and Dice + cross-entropy.

Predictions are logits ``(B, C, D, H, W)``, targets whole numbers ``(B, D, H, W)`` (a channel axis of 1 is allowed).
All have fastai's ``activation``, ``decodes`` and ``reduction``, so ``predict``, ``get_preds`` and ``Interpretation``
work. ``reduction='none'`` gives one number per voxel for cross-entropy and focal loss, one per item for the others.

fastai's own ``CrossEntropyLossFlat(axis=1)`` and ``FocalLossFlat(axis=1)`` are for 2D images. On volumes they swap C
and W of the prediction but H and W of the target, so each voxel is compared with the label of another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any  # of arguments that are handed on

import torch
import torch.nn.functional as F
from fastai.losses import CrossEntropyLossFlat, FocalLossFlat
from torch import Tensor

from faimed3d.legacy.moved_modules import find_name

__all__ = [
    "CrossEntropyLoss3D",
    "DiceCELoss3D",
    "DiceLoss3D",
    "FocalLoss3D",
    "MCCLoss",
    "OverlapLoss3D",
    "TverskyLoss3D",
]


class CrossEntropyLoss3D(CrossEntropyLossFlat):
    """Cross-entropy of every voxel: fastai's ``CrossEntropyLossFlat``, with the axes right for volumes.

    Args:
        args, kwargs: of ``nn.CrossEntropyLoss``, such as weight, ignore_index, label_smoothing.
        axis: of the classes in the prediction.

    Raises:
        ValueError: prediction and target differ in shape.

    >>> logits = torch.tensor([0.0, 9.0]).reshape(1, 2, 1, 1, 1).expand(1, 2, 2, 3, 4)
    >>> round(float(CrossEntropyLoss3D()(logits, torch.ones(1, 2, 3, 4))), 4)
    0.0001
    """

    def __init__(self, *args: Any, axis: int = 1, **kwargs: Any) -> None:
        super().__init__(*args, axis=axis, **kwargs)

    def __call__(self, inp: Tensor, targ: Tensor, **kwargs: Any) -> Tensor:
        return super().__call__(*_flattened(inp, targ), **kwargs)


class FocalLoss3D(FocalLossFlat):
    """Focal loss of every voxel (Lin et al. 2017, arXiv:1708.02002): easy voxels count less than in cross-entropy.

    Args:
        args, kwargs: of fastai's ``FocalLossFlat``: gamma, weight.
        axis: of the classes in the prediction.

    Raises:
        ValueError: prediction and target differ in shape.

    >>> logits = torch.tensor([0.0, 3.0]).reshape(1, 2, 1, 1, 1).expand(1, 2, 2, 3, 4)
    >>> round(float(FocalLoss3D(gamma=2.0)(logits, torch.ones(1, 2, 3, 4))), 4)
    0.0001
    """

    def __init__(self, *args: Any, axis: int = 1, **kwargs: Any) -> None:
        super().__init__(*args, axis=axis, **kwargs)

    def __call__(self, inp: Tensor, targ: Tensor, **kwargs: Any) -> Tensor:
        return super().__call__(*_flattened(inp, targ), **kwargs)


class OverlapLoss3D:
    """Base of the losses that compare each class's probability map with its mask; inherit and define :meth:`costs`.

    The loss of an item is the mean of the costs of the classes that its target shows. A class that it does not show is
    left out of that mean. To predict such a class is not free: its voxels are then missing from the classes that are
    shown, the background among them. If no counted class is shown (possible without background), the loss is the mean
    probability of the counted classes: 0 if none is predicted.

    Args:
        include_background: count class 0.
        weight: one number per class, 0 to leave a class out; None weighs all alike.
        ignore_index: voxels of this label are left out of everything; None for no such label.
        smooth: voxels added above and below the fractions of the costs, against division by 0.
        reduction: 'mean' or 'sum' over the items, 'none' for one number per item.

    Raises:
        ValueError: prediction and target differ in shape, or a label is no class of the prediction.

    >>> class Missed(OverlapLoss3D):
    ...     def costs(self, probability, shown):
    ...         return 1 - (probability * shown).sum(-1) / shown.sum(-1).clamp(min=1)
    >>> Missed()(torch.zeros(1, 4, 2, 3, 4), torch.zeros(1, 2, 3, 4))
    tensor(0.7500)
    """

    y_int = True

    def __init__(
        self,
        include_background: bool = True,
        weight: Sequence[float] | Tensor | None = None,
        ignore_index: int | None = None,
        smooth: float = 1e-5,
        reduction: str = "mean",
    ) -> None:
        self.include_background = include_background
        self.weight = None if weight is None else torch.as_tensor(weight, dtype=torch.float32)
        self.ignore_index, self.smooth, self.reduction = ignore_index, smooth, reduction

    def __call__(self, inp: Tensor, targ: Tensor) -> Tensor:
        return _reduced(self._each(*_flattened(inp, targ)), self.reduction)

    def costs(self, probability: Tensor, shown: Tensor) -> Tensor:
        """Cost of each class (B, C), 0 for a perfect prediction. Costs of classes that are not shown are not used.

        Args:
            probability: (B, C, N) of N voxels; 0 where a voxel is ignored.
            shown: (B, C, N) bool, whether a voxel shows a class; False where it is ignored.
        """
        raise NotImplementedError(f"{type(self).__name__} must define costs(self, probability, shown)")

    def _each(self, inp, targ):
        """Loss of each item, from logits (B, C, N) and labels (B, N)."""
        count = inp.shape[1]
        if count < 2:
            raise ValueError(f"expected scores of at least two classes (background is one), got {count}")
        probability = F.softmax(inp.float(), 1)
        shown = _one_hot(targ, count, self.ignore_index)
        if self.ignore_index is not None:
            probability = probability * (targ != self.ignore_index)[:, None]
        weight = self._weights(count, inp.device)
        weights = weight * shown.any(-1)
        total = weights.sum(1)
        cost = (self.costs(probability, shown) * weights).sum(1) / total.clamp(min=1e-12)
        absent = (probability.sum(-1) * weight).sum(1) / (weight.sum() * targ.shape[1])
        return torch.where(total > 0, cost, absent)

    def _weights(self, count, device):
        weight = torch.ones(count, device=device) if self.weight is None else self.weight.to(device)
        if len(weight) != count:
            raise ValueError(f"weight must hold one number per class: the model gives {count}, got {len(weight)}")
        if not self.include_background:
            weight = weight.clone()
            weight[0] = 0
        return weight

    def activation(self, x: Tensor) -> Tensor:
        """Probabilities of the classes."""
        return F.softmax(x, dim=1)

    def decodes(self, x: Tensor) -> Tensor:
        """The most probable class of each voxel."""
        return x.argmax(dim=1)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class TverskyLoss3D(OverlapLoss3D):
    """1 - Tversky index of each class, averaged over the classes that the item shows (arXiv:1706.05721).

    The index is ``TP / (TP + alpha * FP + beta * FN)`` of the probabilities: a larger ``beta`` punishes what is missed.

    Args:
        alpha: weight of false positives.
        beta: weight of false negatives.
        kwargs: of :class:`OverlapLoss3D`.

    Raises:
        ValueError: a weight is negative, or both are 0.

    >>> TverskyLoss3D(alpha=0.2, beta=0.8)(torch.zeros(1, 2, 2, 3, 4), torch.zeros(1, 2, 3, 4))
    tensor(0.4444)
    """

    def __init__(self, alpha: float = 0.3, beta: float = 0.7, **kwargs: Any) -> None:
        if min(alpha, beta) < 0 or alpha + beta == 0:
            raise ValueError(f"alpha and beta must not be negative, nor both 0; got {alpha} and {beta}")
        super().__init__(**kwargs)
        self.alpha, self.beta = alpha, beta

    def costs(self, probability: Tensor, shown: Tensor) -> Tensor:
        """1 - index of each class."""
        true = (probability * shown).sum(-1)
        wrong, missed = probability.sum(-1) - true, shown.sum(-1) - true
        return 1 - (true + self.smooth) / (true + self.alpha * wrong + self.beta * missed + self.smooth)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(alpha={self.alpha}, beta={self.beta})"


class DiceLoss3D(TverskyLoss3D):
    """1 - soft Dice of each class: :class:`TverskyLoss3D` with alpha = beta = 0.5.

    fastai's ``DiceLoss`` works on volumes as well. It sums over items and classes, and there a class that an item does
    not show costs up to 1, however good the prediction.

    Args:
        squared: square the probabilities in the denominator (Milletari et al. 2016, V-Net, arXiv:1606.04797).
        kwargs: of :class:`OverlapLoss3D`.

    >>> DiceLoss3D()(torch.zeros(1, 2, 2, 3, 4), torch.zeros(1, 2, 3, 4))
    tensor(0.3333)
    """

    def __init__(self, squared: bool = False, **kwargs: Any) -> None:
        super().__init__(alpha=0.5, beta=0.5, **kwargs)
        self.squared = squared

    def costs(self, probability: Tensor, shown: Tensor) -> Tensor:
        """1 - Dice of each class."""
        if not self.squared:
            return super().costs(probability, shown)
        true = (probability * shown).sum(-1)
        return 1 - (true + self.smooth) / ((probability.square().sum(-1) + shown.sum(-1)) / 2 + self.smooth)

    def __repr__(self) -> str:
        return f"DiceLoss3D({'squared=True' if self.squared else ''})"


class MCCLoss(OverlapLoss3D):
    """1 - Matthews correlation coefficient of each class, averaged over the classes that the item shows; 0 to 2.

    Unlike Dice, it also counts the voxels that rightly do *not* have the class, so a prediction that finds the class
    everywhere costs much. A class that fills the whole item has no coefficient: there the cost is the share missed.
    After Abhishek and Hamarneh 2021, arXiv:2010.13454.

    Args:
        kwargs: of :class:`OverlapLoss3D`; ``smooth`` is added to the covariance and the two variances.

    >>> labels = torch.arange(24).reshape(1, 2, 3, 4) % 2
    >>> round(float(MCCLoss()(torch.zeros(1, 2, 2, 3, 4), labels)), 4)  # undecided
    1.0
    """

    def costs(self, probability: Tensor, shown: Tensor) -> Tensor:
        """1 - coefficient of each class."""
        count = shown.sum((1, 2))[:, None].clamp(min=1)  # voxels that are not ignored
        true, found, actual = ((x.sum(-1) / count) for x in (probability * shown, probability, shown))
        smooth = self.smooth / count
        both = (found * (1 - found) + smooth) * (actual * (1 - actual) + smooth)
        coefficient = (true - found * actual + smooth) / both.clamp(min=1e-30).sqrt()
        return torch.where(actual < 1, 1 - coefficient, 1 - found)


class DiceCELoss3D(DiceLoss3D):
    """Soft Dice + cross-entropy: the first sees small structures, the second has a gradient everywhere.

    Args:
        dice_weight, ce_weight: of the two terms.
        label_smoothing: of the cross-entropy.
        kwargs: of :class:`DiceLoss3D`; ``weight`` and ``ignore_index`` hold for both terms.

    >>> DiceCELoss3D(ce_weight=0.5)(torch.zeros(1, 2, 2, 3, 4), torch.zeros(1, 2, 3, 4))
    tensor(0.6799)
    """

    def __init__(
        self, dice_weight: float = 1.0, ce_weight: float = 1.0, label_smoothing: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.dice_weight, self.ce_weight, self.label_smoothing = dice_weight, ce_weight, label_smoothing

    def _each(self, inp, targ):
        dice = super()._each(inp, targ)
        weight = None if self.weight is None else self.weight.to(inp.device)
        ignored = -100 if self.ignore_index is None else self.ignore_index
        voxels = F.cross_entropy(
            inp.float(), targ, weight, ignore_index=ignored, reduction="none", label_smoothing=self.label_smoothing
        )
        counted = torch.ones_like(voxels) if weight is None else weight[targ.clamp(min=0, max=len(weight) - 1)]
        counted = counted * (targ != ignored)
        entropy = voxels.sum(1) / counted.sum(1).clamp(min=1e-12)
        return self.dice_weight * dice + self.ce_weight * entropy

    def __repr__(self) -> str:
        return f"DiceCELoss3D(dice_weight={self.dice_weight}, ce_weight={self.ce_weight})"


def __getattr__(name: str) -> Any:  # PEP 562
    return find_name("losses", name)


def _flattened(inp, targ):
    """Logits (B, C, ...) as (B, C, N) and labels (B, ...) or (B, 1, ...) as (B, N) of int64, plain tensors."""
    inp, targ = inp.as_subclass(Tensor), targ.as_subclass(Tensor)
    if inp.ndim < 3:
        raise ValueError(f"expected scores (B, C, D, H, W), got {tuple(inp.shape)}")
    space = tuple(inp.shape[2:])
    if tuple(targ.shape) not in ((len(inp), *space), (len(inp), 1, *space)):
        raise ValueError(
            f"scores {tuple(inp.shape)} (B, C, D, H, W) need labels {(len(inp), *space)} (B, D, H, W), "
            f"got {tuple(targ.shape)}"
        )
    return inp.flatten(2), targ.reshape(len(targ), -1).long()


def _one_hot(targ, count, ignored):
    """Which voxel shows which class: bool (B, C, N)."""
    known = targ if ignored is None else targ[targ != ignored]
    if known.numel() and not torch.compiler.is_compiling():
        low, high = (int(limit) for limit in known.aminmax())
        if low < 0 or high >= count:
            raise ValueError(f"labels must lie in 0..{count - 1} for scores of {count} classes, got {low}..{high}")
    return targ[:, None] == torch.arange(count, device=targ.device)[:, None]


def _reduced(each, reduction):
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    return each if reduction == "none" else getattr(each, reduction)()
