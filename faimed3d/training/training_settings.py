"""What makes one training another one: a text for each of its settings, to compare a checkpoint with what runs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from fastai.callback.schedule import ParamScheduler
from fastai.data.core import TfmdDL
from fastai.learner import Learner
from fastai.torch_core import get_model

from faimed3d.training.network_input import inner, step_text

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_SHORT = 200  # characters; of longer texts a checksum is kept
_PLACES = (0.0, 0.3, 0.7)  # of a training, where a schedule is looked at


def training_settings(learn: Learner) -> dict[str, str]:
    """The settings of a fit that has just begun: network, loss, optimizer, schedule, batches, transforms, callbacks.

    Args:
        learn: at the beginning of a fit, before its first batch.
    """
    model = get_model(learn.model)
    shapes = "; ".join(f"{name} {tuple(value.shape)}" for name, value in model.named_parameters())
    found = {
        "epochs": str(learn.n_epoch),
        "network": f"{type(model).__name__} {shapes}",
        "loss": _name(learn.loss_func),
        "optimizer": f"{_name(learn.opt_func)}, {len(learn.opt.hypers)} parameter groups",
        "learning rate": ", ".join(f"{hyper['lr']:.6g}" for hyper in learn.opt.hypers),
        "schedule": "; ".join(_schedules(learn)) or "none",
        "batches": f"{len(learn.dls.train)} of {getattr(inner(learn.dls.train), 'bs', None)}",
        "transforms": "; ".join(_transforms(inner(learn.dls.train))) or "none",
        "callbacks": ", ".join(sorted(type(callback).__name__ for callback in learn.cbs if _counts(callback))),
    }
    return {name: _short(_ADDRESS.sub("", text)) for name, text in found.items()}


def differences(kept: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What two trainings do not share, in words.

    Args:
        kept: settings of the checkpoint.
        now: of the training that runs.

    >>> differences({"epochs": "10", "loss": "a"}, {"epochs": "20", "loss": "a"})
    ['epochs 10 (here 20)']
    """
    found = []
    for name in dict.fromkeys([*kept, *now]):
        there, here = kept.get(name), now.get(name)
        if there != here:
            found.append(f"other {name}" if _is_sum(there, here) else f"{name} {there} (here {here})")
    return found


def _counts(callback: Any) -> bool:
    """Whether a callback can change what is learned; bars and tables cannot."""
    return type(callback).__name__ not in ("ProgressCallback", "CSVLogger", "ShowGraphCallback", "SkipToEpoch")


def _name(thing: Any) -> str:
    if isinstance(thing, partial):
        settings = ", ".join(f"{key}={_name(value)}" for key, value in sorted(thing.keywords.items()))
        return f"{_name(thing.func)}({settings})"
    return getattr(thing, "__qualname__", None) or repr(thing)


def _schedules(learn: Any) -> Iterator[str]:
    for callback in learn.cbs:
        if isinstance(callback, ParamScheduler):
            for name, value in callback.scheds.items():
                values = [np.atleast_1d(np.asarray(value(place), dtype=float)) for place in _PLACES]
                yield f"{name} {' '.join(f'{one:.6g}' for one in np.concatenate(values))}"


def _transforms(dl: Any) -> Iterator[str]:
    if isinstance(dl, TfmdDL):
        for step in (*dl.after_item.fs, *dl.after_batch.fs):
            yield step_text(step)


def _short(text: str) -> str:
    return text if len(text) <= _SHORT else f"sha256 {hashlib.sha256(text.encode()).hexdigest()}"


def _is_sum(*texts: str | None) -> bool:
    return any(text is not None and text.startswith("sha256 ") for text in texts)
