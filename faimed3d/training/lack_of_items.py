"""Trainings that nothing would come of, for want of items: refused before they begin."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any  # of loaders, fastai's and torch's

from fastai.callback.core import Callback
from fastai.callback.tracker import TrackerCallback
from fastai.callback.training import GradientAccumulation
from fastai.data.core import DataLoaders

from faimed3d.training.subvolumes import SubsampleShuffle


def has_no_batch(dl: Any) -> bool:
    """Whether a loader gives no batch; of items that nobody can count it is not known, and False."""
    return _batches(dl) == 0


def refuse_lack_of_items(dls: DataLoaders, cbs: Iterable[Callback], epochs: int = 1) -> None:
    """Raise an error where an epoch would train on nothing, or a callback would wait for scores that never come.

    Args:
        dls: of the Learner.
        cbs: its callbacks.
        epochs: of the training.

    Raises:
        ValueError: training has no batch, or fewer items than are gathered for one step; there is no loader of
            validation; or it has no items, and a callback watches its loss or metrics.
    """
    cbs = list(cbs)
    if len(dls.loaders) < 2:
        raise ValueError("the dls have no loader of validation: pass DataLoaders(train, valid)")
    size = getattr(dls.train, "bs", None) or getattr(dls.train, "batch_size", None)
    if has_no_batch(dls.train):
        raise ValueError(
            f"training has {len(dls.train.dataset)} items, fewer than one batch of bs={size}, so no epoch would train "
            "on anything: choose a smaller bs, or drop_last=False"
        )
    gathered = max((callback.n_acc for callback in cbs if isinstance(callback, GradientAccumulation)), default=0)
    parted = any(isinstance(callback, SubsampleShuffle) for callback in cbs)  # which makes more items of a batch
    if gathered and size and not parted and epochs * _batches(dls.train) * size < gathered:
        raise ValueError(
            f"GradientAccumulation({gathered}) takes a step after {gathered} items, and this training has "
            f"{epochs * _batches(dls.train) * size} in {epochs} epochs, so it would take none: give it a smaller number"
        )
    watching = next((callback for callback in cbs if _watches_validation(callback)), None)
    if watching is not None and has_no_batch(dls.valid):
        raise ValueError(
            f"{type(watching).__name__} watches {watching.monitor}, but the validation set is empty: pass "
            "monitor='train_loss', or keep items for validation (valid_pct, valid_col)"
        )


def _batches(dl: Any) -> float:
    try:
        return len(dl)
    except TypeError:  # of an iterable data set
        return float("inf")


def _watches_validation(callback: Any) -> bool:
    tracks = isinstance(callback, TrackerCallback) and callback.run and not getattr(callback, "every_epoch", False)
    return tracks and not callback.monitor.startswith("train_")
