"""What callbacks watch a training by: whether the best epoch would be the one that they take for it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import numpy as np
from fastai.callback.core import Callback
from fastai.callback.tracker import SaveModelCallback, TrackerCallback
from fastai.learner import Metric

_OF_SPLITS = ("train_", "valid_")  # before the names of metrics, with train_metrics=True


def refuse_the_worst(metrics: Iterable[Metric], cbs: Iterable[Callback]) -> None:
    """Raise an error where a callback would take the largest of a metric for the best, and it is the worst.

    fastai takes the largest of all that is not called a loss or an error.

    Args:
        metrics, cbs: of a Learner.

    Raises:
        ValueError: the message says what to pass.
    """
    distances = {metric.name for metric in metrics if getattr(metric, "less_is_better", False)}
    for callback in cbs:
        if isinstance(callback, TrackerCallback) and callback.run and callback.comp is np.greater:
            watched = callback.monitor
            if {watched, *(watched.removeprefix(split) for split in _OF_SPLITS)} & distances:
                kind = type(callback).__name__
                raise ValueError(
                    f"{kind} would take the largest {watched} for the best, but less is better: pass "
                    f"{kind}(monitor={watched!r}, comp=np.less)"
                )


def keep_weights_if_none_were_saved(cbs: Iterable[Callback]) -> None:
    """At the end of a fit let callbacks that have saved no best weights load none: what lies there is of another fit.

    Args:
        cbs: of a Learner, before their own ``after_fit``.
    """
    for callback in cbs:
        if not isinstance(callback, SaveModelCallback) or not callback.run or callback.every_epoch or callback.at_end:
            continue
        if callback.best is None or np.isinf(callback.best):
            callback.run = False  # fastai makes it True again when the fit has ended
            warnings.warn(
                f"{type(callback).__name__}: {callback.monitor} had no value in any epoch, so no weights were saved; "
                "those of the last epoch stay",
                stacklevel=2,
            )
