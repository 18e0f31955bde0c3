"""Metrics of fastai, given the voxels that count: those with a label that is a class, of all processes."""

from __future__ import annotations

from typing import Any

import torch
from fastai.learner import Learner, Metric
from fastai.metrics import Dice, DiceMulti
from fastai.torch_core import num_distrib
from torch import Tensor

from faimed3d.training.case_metric import CaseMetric, ReadOff
from faimed3d.training.ignored import left_out


class OneItem:
    """A Learner as a metric sees it, with the voxels of one item that count: scores (1, C, N), labels (1, N)."""

    def __init__(self, learn: Learner, pred: Tensor, y: Tensor) -> None:
        self._learn, self.pred, self.y, self.yb = learn, pred, y, (y,)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._learn, name)


class KeptVoxels(Metric):
    """A metric of fastai that leaves the voxels of a label out, and so counts item by item."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric

    def reset(self) -> None:
        """Forget all items."""
        self.metric.reset()

    def accumulate(self, learn: Learner) -> None:
        """Count the items of the batch."""
        for item in _items(learn):
            if item.y.numel():
                self.metric.accumulate(item)

    @property
    def name(self) -> str:
        """Heading of the column in the table of the epochs."""
        return self.metric.name

    @property
    def value(self) -> Any:
        """What the metric says."""
        return self.metric.value


class PooledOverlap(KeptVoxels):
    """fastai's ``Dice``, ``DiceMulti``, ``JaccardCoeff``, ``JaccardCoeffMulti``, over the items of all processes."""

    def reset(self) -> None:
        """Forget all items."""
        super().reset()
        self.total: Tensor | None = None

    def accumulate(self, learn: Learner) -> None:
        """Count the voxels of each item, and add up those of all processes, each item once."""
        counts = []
        for item in _items(learn):
            self.metric.reset()
            self.metric.accumulate(item)
            counts.append(self._counts())
        each = torch.tensor(counts, dtype=torch.float64)
        if num_distrib() > 1:  # NCCL sends what lies on a GPU
            each = each.to(learn.pred.device)
        total = learn.to_detach(each).sum(0)
        self.total = total if self.total is None else self.total + total

    @property
    def value(self) -> Any:
        """What the metric says."""
        if self.total is None:
            return None
        inter, union = self.total.tolist()[::2], self.total.tolist()[1::2]
        many = isinstance(self.metric, DiceMulti)
        self.metric.inter = dict(enumerate(inter)) if many else inter[0]
        self.metric.union = dict(enumerate(union)) if many else union[0]
        return self.metric.value

    def _counts(self):
        """Common voxels and sum of the voxels of each class, in turn."""
        inter, union = self.metric.inter, self.metric.union
        if not isinstance(inter, dict):
            return [inter, union]
        return [count for label in inter for count in (inter[label], union[label])]


def with_kept_voxels(metric: Metric, learn: Learner) -> Metric:
    """``metric`` as it must be to count the voxels that count; itself where it does so already."""
    if isinstance(metric, CaseMetric | ReadOff | KeptVoxels) or not hasattr(metric, "accumulate"):
        return metric
    skips = left_out(learn) is not None
    if isinstance(metric, Dice | DiceMulti) and (skips or num_distrib() > 1):
        return PooledOverlap(metric)
    voxels = skips and type(metric).accumulate is not Metric.accumulate
    return KeptVoxels(metric) if voxels else metric


def _items(learn: Learner) -> list[OneItem]:
    """The items of a batch, with the voxels that count."""
    pred, y, ignored = learn.pred, learn.y, left_out(learn)
    items = []
    for scores, labels in zip(pred.flatten(2), y.reshape(len(y), -1), strict=True):
        kept = labels != ignored if ignored is not None else slice(None)
        items.append(OneItem(learn, scores[None, :, kept], labels[None, kept]))
    return items
