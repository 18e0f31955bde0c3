"""Any loss of voxels over all scales of a network with deep supervision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from faimed3d._keywords import StrictKeywords
from faimed3d.losses.labels import ignored_label
from faimed3d.losses.scales import are_scales, finest_first, over_scales


class DeepSupervision(StrictKeywords):
    """A loss over all scales of a network that gives its scores on several (deep supervision).

    The labels are brought to each scale by the nearest voxel. The losses of this package do this by themselves, with
    the default weights; this class is for other weights and for other losses. Scores on one scale go to the loss as
    they are. Metrics and predictions take the finest scores.

    Args:
        loss: takes scores (B, C, D, H, W) and labels (B, D, H, W), such as ``nn.CrossEntropyLoss()``.
        weights: one for each scale, from the finest on; they are divided by their sum. Default: 1, 1/2, 1/4, ..., those
            of nnU-Net (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z).

    Raises:
        ValueError: ``weights`` are no positive numbers or zeros; in training: the finest scores have another size than
            the labels, or there is not one weight for each scale.
        TypeError: in training: the network gives something else than scores.

    >>> import torch
    >>> from faimed3d.losses import DiceLoss3D
    >>> scores = [torch.zeros(1, 2, 4, 6, 8), torch.zeros(1, 2, 2, 3, 4)]
    >>> DeepSupervision(DiceLoss3D(), weights=[1, 0.5])(scores, torch.zeros(1, 4, 6, 8))
    tensor(0.3333)
    """

    def __init__(self, loss: Callable[..., Tensor], weights: Sequence[float] | None = None) -> None:
        if weights is not None and (not len(weights) or min(weights) < 0 or sum(weights) <= 0):
            raise ValueError(f"weights must be numbers of 0 or more, not all 0, got {weights!r}")
        self.loss, self.weights = loss, weights

    def __call__(self, inp: Any, targ: Tensor, **kwargs: Any) -> Tensor:
        if isinstance(inp, Tensor) and not are_scales(inp):
            return self.loss(inp, targ, **kwargs)
        return over_scales(self.loss, inp, targ, self.weights, **kwargs)

    @property
    def y_int(self) -> bool:
        """Whether the targets are labels, which must not be blended."""
        return bool(getattr(self.loss, "y_int", True))

    @property
    def ignore_index(self) -> int | None:
        """The label that the loss leaves out, or None."""
        return ignored_label(self.loss)

    @property
    def reduction(self) -> str:
        """How the loss puts its items together."""
        return getattr(self.loss, "reduction", "mean")

    @reduction.setter
    def reduction(self, value: str) -> None:
        if hasattr(self.loss, "reduction"):
            self.loss.reduction = value

    def activation(self, x: Any) -> Tensor:
        """Probabilities of the classes, from the finest scores."""
        x = finest_first(x)[0] if are_scales(x) else x
        activation = getattr(self.loss, "activation", None)
        return x.softmax(1) if activation is None else activation(x)

    def decodes(self, x: Any) -> Tensor:
        """The most probable class of each voxel, from the finest scores."""
        x = finest_first(x)[0] if are_scales(x) else x
        decodes = getattr(self.loss, "decodes", None)
        return x.argmax(1) if decodes is None else decodes(x)

    def __repr__(self) -> str:
        return f"DeepSupervision({self.loss!r})"
