"""Losses of how far probabilities and masks overlap: Tversky, Dice, MCC, Dice + cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any  # of arguments that are handed on

import torch
import torch.nn.functional as F
from torch import Tensor

from faimed3d._keywords import StrictKeywords
from faimed3d.losses.labels import check_labels, flattened, reduced
from faimed3d.losses.lists import each_volume
from faimed3d.losses.scales import are_scales, over_scales
from faimed3d.losses.voxelwise import cross_entropy

_HOOKS_OF_006 = ("compute_loss", "to_one_hot")


class OverlapLoss3D(StrictKeywords):
    """Base of the losses that compare each class's probability map with its mask; inherit and define :meth:`costs`.

    The loss of an item is the mean of the costs of the classes that its target shows. A class that it does not show is
    left out of that mean. To predict such a class is not free: its voxels are then missing from the classes that are
    shown, the background among them. If no counted class is shown (possible without background), the loss is the mean
    probability of the counted classes: 0 if none is predicted.

    A derived class may override :meth:`activation`. A method ``compute_loss`` or ``to_one_hot``, hooks of 0.0.6 that
    nothing calls any more, is a ``TypeError``.

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

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for hook in _HOOKS_OF_006:
            if hook in vars(cls):
                raise TypeError(
                    f"{cls.__name__}.{hook} is a hook of faimed3d 0.0.6 that nothing calls any more: define "
                    "costs(self, probability, shown), which returns the cost (B, C) of each class; activation(self, x) "
                    "may be overridden, and __call__(self, inp, targ) for all of it"
                )

    def __call__(self, inp: Tensor, targ: Tensor) -> Tensor:
        if not isinstance(inp, Tensor) or are_scales(inp):
            return over_scales(self, inp, targ)
        return reduced(self._each(*flattened(inp, targ)), self.reduction)

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
        probability = self.activation(inp.float())
        check_labels(targ, count, self.ignore_index)
        shown = targ[:, None] == torch.arange(count, device=targ.device)[:, None]  # (B, C, N)
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

    def activation(self, x: Tensor | Sequence[Tensor]) -> Any:
        """Probabilities of the classes; of a list of volumes (C, D, H, W), those of each."""
        return each_volume(partial(F.softmax, dim=1), x)

    def decodes(self, x: Tensor | Sequence[Tensor]) -> Any:
        """The most probable class of each voxel."""
        return each_volume(partial(torch.argmax, dim=1), x)

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

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "activation" in vars(cls):
            raise TypeError(
                f"{cls.__name__}.activation would hold for the Dice term alone, for the cross-entropy takes logits: "
                "inherit from DiceLoss3D"
            )

    def _each(self, inp, targ):
        dice = super()._each(inp, targ)
        total, counted = cross_entropy(inp, targ, self.weight, self.ignore_index, self.label_smoothing)
        entropy = total / counted.clamp(min=1e-12)
        return self.dice_weight * dice + self.ce_weight * entropy

    def __repr__(self) -> str:
        return f"DiceCELoss3D(dice_weight={self.dice_weight}, ce_weight={self.ce_weight})"
