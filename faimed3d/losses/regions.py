"""The loss of regions that may overlap: binary cross-entropy + Dice of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from faimed3d._arguments import share
from faimed3d.losses.labels import reduced
from faimed3d.losses.lists import each_volume
from faimed3d.losses.scales import are_scales, over_scales


class RegionLoss3D:
    """Binary cross-entropy + soft Dice of each region, for masks that may overlap.

    Scores are logits (B, R, D, H, W) for a sigmoid, targets 0 or 1 of the same shape, as ``RegionBlock3D`` gives them.
    A region that an item does not show is left out of its mean of Dice, and counts in the cross-entropy.

    Args:
        dice_weight, bce_weight: of the two terms.
        weight: one number per region, for both terms; None weighs all alike.
        threshold: probability above which a voxel is inside, for ``decodes``.
        smooth: voxels added above and below the fraction of Dice, against division by 0.
        reduction: 'mean' or 'sum' over the items, 'none' for one number per item.

    Raises:
        ValueError: prediction and target differ in shape.

    >>> logits = torch.tensor([9.0, -9.0]).view(1, 2, 1, 1, 1).expand(1, 2, 2, 3, 4)
    >>> round(float(RegionLoss3D()(logits, (logits > 0).byte())), 3)
    0.0
    """

    y_int = True  # MixUp mixes the losses

    def __init__(
        self,
        dice_weight: float = 1.0,
        bce_weight: float = 1.0,
        weight: Sequence[float] | Tensor | None = None,
        threshold: float = 0.5,
        smooth: float = 1e-5,
        reduction: str = "mean",
    ) -> None:
        self.dice_weight, self.bce_weight, self.threshold = dice_weight, bce_weight, share(threshold, "threshold")
        self.weight = None if weight is None else torch.as_tensor(weight, dtype=torch.float32)
        self.smooth, self.reduction = smooth, reduction

    def __call__(self, inp: Tensor, targ: Tensor) -> Tensor:
        if not isinstance(inp, Tensor) or are_scales(inp):
            return over_scales(self, inp, targ)
        return reduced(self._each(inp, targ), self.reduction)

    def _each(self, inp: Tensor, targ: Tensor) -> Tensor:
        inp, targ = inp.as_subclass(Tensor), targ.as_subclass(Tensor)
        if inp.shape != targ.shape:
            raise ValueError(
                f"scores of regions and their masks must have one shape (B, R, D, H, W), got {tuple(inp.shape)} and "
                f"{tuple(targ.shape)}: RegionBlock3D gives such masks; for labels (B, D, H, W) use DiceCELoss3D"
            )
        scores = (inp if inp.dtype == torch.float64 else inp.float()).flatten(2)
        truth = targ.flatten(2).to(scores.dtype)
        weight = torch.ones(inp.shape[1]) if self.weight is None else self.weight
        if len(weight) != inp.shape[1]:
            raise ValueError(
                f"weight must hold one number per region: the model gives {inp.shape[1]}, got {len(weight)}"
            )
        weight = weight.to(scores)
        entropy = F.binary_cross_entropy_with_logits(scores, truth, reduction="none").mean(-1)
        probability = scores.sigmoid()
        both = (probability * truth).sum(-1)
        dice = (2 * both + self.smooth) / (probability.sum(-1) + truth.sum(-1) + self.smooth)
        shown = weight * (truth.sum(-1) > 0)
        lost = ((1 - dice) * shown).sum(1) / shown.sum(1).clamp(min=1e-12)
        return self.dice_weight * lost + self.bce_weight * (entropy * weight).sum(1) / weight.sum().clamp(min=1e-12)

    def activation(self, x: Tensor | Sequence[Tensor]) -> Any:
        """Probability of each region; of a list of volumes (R, D, H, W), those of each."""
        return each_volume(torch.sigmoid, x)

    def decodes(self, x: Tensor | Sequence[Tensor]) -> Any:
        """Masks of the regions, from their probabilities: uint8, 1 inside."""
        return each_volume(lambda scores: (scores > self.threshold).to(torch.uint8), x)

    def __repr__(self) -> str:
        return f"RegionLoss3D(dice_weight={self.dice_weight}, bce_weight={self.bce_weight})"
