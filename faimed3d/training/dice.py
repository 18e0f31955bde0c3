"""Dice of the foreground in the table of the epochs: all classes together, or each on its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from fastai.data.core import DataLoaders
from fastai.learner import Learner, Metric
from torch import Tensor

from faimed3d.data.regions import region_names
from faimed3d.training.case_metric import CaseMetric, ClassColumn


class Dice3D(CaseMetric):
    """Mean Dice of the foreground: of each class of each item, all but the background.

    A class that neither prediction nor target shows has no Dice and is left out (NaN); a class that only one of them
    shows counts 0. fastai's ``DiceMulti`` counts the background, and the voxels of all items as one.

    Args:
        classes: labels to measure. Default: all but 0.
        axis: of the classes in the prediction. With one channel, scores above 0 are class 1.
        ignore_index: label of voxels that are left out. Default: that of the ``dls``, else that of the loss.

    Attributes:
        cases: Dice of each class of each item.

    >>> from types import SimpleNamespace
    >>> target = torch.tensor([0, 1, 1, 2]).reshape(1, 1, 1, 4)
    >>> scores = torch.nn.functional.one_hot(target.clamp(max=1), 3).movedim(-1, 1).float()  # class 2 is taken for 1
    >>> metric = Dice3D()
    >>> metric.accumulate(SimpleNamespace(pred=scores, y=target, to_detach=lambda x: x))
    >>> metric.cases
    [0.8, 0.0]
    """

    name = "dice"

    def measure(self, learn: Learner, found: Tensor, truth: Tensor, labels: Sequence[int]) -> Tensor:
        """Dice (B, number of labels); NaN where neither shows the class."""
        return dice_of_classes(found, truth, labels)


def dice_per_class(classes: DataLoaders | Iterable[str]) -> list[Metric]:
    """Metrics for a Learner: Dice of the foreground, and of each of its classes in a column of its own.

    Args:
        classes: names of the classes from 0, the background, on; or the ``dls``, which know them.

    Raises:
        ValueError: the ``dls`` know no names.

    >>> [metric.name for metric in dice_per_class(["background", "liver", "spleen"])]
    ['dice', 'dice_liver', 'dice_spleen']
    """
    names = getattr(classes, "vocab", None) if isinstance(classes, DataLoaders) else [*classes]
    if isinstance(classes, DataLoaders) and (regions := region_names(classes)):
        names = ["background", *regions]
    if not names:
        raise ValueError("the dls do not name their classes: give MaskBlock3D its codes, or pass the names")
    dice = Dice3D()
    return [dice, *(ClassColumn(dice, label, f"dice_{name}") for label, name in enumerate(names) if label)]


def dice_of_classes(found: Tensor, truth: Tensor, labels: Sequence[int]) -> Tensor:
    """Dice of each class of each item, (B, number of labels) float64; NaN where neither shows the class.

    Args:
        found, truth: labels (B, D, H, W).
        labels: to measure.
    """
    columns = []
    for label in labels:
        here, there = (found == label).flatten(1), (truth == label).flatten(1)
        both, either = (here & there).sum(1).double(), (here.sum(1) + there.sum(1)).double()
        columns.append(torch.where(either > 0, 2 * both / either, torch.nan))
    return torch.stack(columns, 1).cpu() if columns else torch.zeros(len(found), 0)
