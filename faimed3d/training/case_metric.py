"""A metric that is a mean over cases: each class of each item is one, whatever process it was measured in."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Any

import numpy as np
import torch
from fastai.learner import Learner, Metric
from fastai.torch_core import num_distrib
from torch import Tensor

from faimed3d._arguments import is_whole
from faimed3d.losses.scales import full_resolution
from faimed3d.training.ignored import left_out


class CaseMetric(Metric):
    """Mean over the cases; derived classes define :meth:`measure`.

    In distributed validation the cases of all processes count, each of them once.

    Regions that may overlap (``RegionBlock3D``) are measured one by one, and count as classes 1, 2, ... in their order.

    Args:
        classes: labels to measure. Default: all but 0.
        axis: of the classes in the prediction. With one channel, scores above 0 are class 1.
        ignore_index: label whose voxels count as background in both prediction and target. Default: that of the
            ``dls``, else that of the loss.
    """

    missing: float | None = None
    less_is_better = False

    def __init__(self, classes: Sequence[int] | None = None, axis: int = 1, ignore_index: int | None = None) -> None:
        if classes is not None and (isinstance(classes, str) or not all(is_whole(label) for label in classes)):
            raise TypeError(
                f"classes must be labels, whole numbers, got {classes!r}; dice_per_class(dls) names them in columns"
            )
        self.classes, self.axis, self.ignore_index = classes, axis, ignore_index
        self.reset()

    def reset(self) -> None:
        """Forget all cases."""
        self.cases: list[float] = []
        self.labels: list[int] = []  # the class of each case

    def accumulate(self, learn: Learner) -> None:
        """Measure the classes of every item of the batch."""
        scores = full_resolution(learn.pred).detach().as_subclass(Tensor)
        count = scores.shape[self.axis]
        if count > 1 and learn.y.shape == scores.shape:
            self._add(learn, scores, *self._of_regions(learn, scores))
            return
        found = scores.argmax(self.axis) if count > 1 else (scores.select(self.axis, 0) > _limit(learn)).long()
        truth = learn.y.detach().as_subclass(Tensor).reshape(found.shape)
        ignored = left_out(learn) if self.ignore_index is None else self.ignore_index
        if ignored is not None:
            kept = truth != ignored
            found, truth = found * kept, truth * kept
        labels = self._labels(0, max(2, count))
        self._add(learn, scores, self.measure(learn, found, truth, labels), labels)

    def _of_regions(self, learn: Learner, scores: Tensor) -> tuple[Any, list[int]]:
        """Values (B, regions), and the number of each region from 1 on; each is measured on its own."""
        labels = self._labels(1, scores.shape[1] + 1)
        found = scores > _limit(learn)
        truth = learn.y.detach().as_subclass(Tensor) != 0
        each = [self.measure(learn, found[:, n - 1].long(), truth[:, n - 1].long(), [1]) for n in labels]
        return torch.cat([torch.as_tensor(values, dtype=torch.float64) for values in each], 1), labels

    def _labels(self, first: int, end: int) -> list[int]:
        """The labels to measure, of a network that knows those from ``first`` up to ``end``."""
        if self.classes is None:
            return list(range(1, end))
        if wrong := [label for label in self.classes if not first <= label < end]:
            raise ValueError(
                f"{self.name} is asked for the class {wrong[0]}, but the network gives scores of the labels {first} to "
                f"{end - 1}"
            )
        return list(self.classes)

    def _add(self, learn: Learner, scores: Tensor, values: Any, labels: list[int]) -> None:
        values = torch.as_tensor(values, dtype=torch.float64)
        if num_distrib() > 1:  # NCCL sends what lies on a GPU
            values = values.to(scores.device)
        values = learn.to_detach(values)  # of all processes; fastai cuts off what it repeats to fill the last batch
        self.cases += values.flatten().tolist()
        self.labels += labels * len(values)

    def measure(self, learn: Learner, found: Tensor, truth: Tensor, labels: Sequence[int]) -> Any:
        """Values (B, number of labels) of the cases, NaN for what has no value.

        Args:
            learn: says where the targets lie.
            found, truth: labels (B, D, H, W).
            labels: to measure.
        """
        raise NotImplementedError(f"{type(self).__name__} must define measure(self, learn, found, truth, labels)")

    def mean(self, label: int | None = None) -> float:
        """Mean over the cases that have a value, of all classes or of one; NaN if none has."""
        values = [self._counted(case) for case, of in zip(self.cases, self.labels, strict=True) if label in (None, of)]
        values = [value for value in values if np.isfinite(value)]
        return float(np.mean(values)) if values else float("nan")

    @property
    def value(self) -> float:
        """Mean over the cases that have a value; NaN if none has."""
        return self.mean()

    @property
    def excluded(self) -> int:
        """How many cases have no value."""
        return sum(not np.isfinite(self._counted(case)) for case in self.cases)

    def _counted(self, case: float) -> float:
        return self.missing if np.isinf(case) and self.missing is not None else case


def _limit(learn: Learner) -> float:
    """The score above which a voxel is inside: 0, or what the loss of regions decides by."""
    return logit(getattr(getattr(learn, "loss_func", None), "threshold", 0.5))


def logit(probability: float) -> float:
    """The score whose sigmoid is ``probability``, above 0 and below 1."""
    return log(probability / (1 - probability))


class ReadOff(Metric):
    """What is read off a :class:`CaseMetric`, which is listed as well and does the measuring.

    Args:
        metric: that metric.
    """

    def __init__(self, metric: CaseMetric) -> None:
        self.metric = metric

    @property
    def less_is_better(self) -> bool:
        """Whether the least value is the best one."""
        return self.metric.less_is_better

    def accumulate(self, learn: Learner) -> None:
        """Make sure that somebody measures.

        Raises:
            ValueError: the metric is not among those of the Learner.
        """
        if not any(one is self.metric for one in learn.metrics):
            raise ValueError(
                f"{self.name} is read off {self.metric.name}, which is not among the metrics of the Learner and so "
                "measures nothing: list that very object, too, as in metrics=[dice, ExcludedCases(dice)]"
            )


class ClassColumn(ReadOff):
    """Value of one class of a :class:`CaseMetric`."""

    def __init__(self, metric: CaseMetric, label: int, name: str) -> None:
        super().__init__(metric)
        self.label, self._name = label, name

    @property
    def name(self) -> str:
        """Heading of the column in the table of the epochs."""
        return self._name

    @property
    def value(self) -> float:
        """Mean over the cases of the class that have a value; NaN if none has."""
        return self.metric.mean(self.label)
