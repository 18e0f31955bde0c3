"""All of a training that its next batch depends on, as plain values and tensors."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any  # the state of a training is of many kinds

import torch
from fastai.callback.core import Callback
from fastai.learner import Learner
from fastai.optimizer import OptimWrapper
from fastai.torch_core import get_model, num_distrib
from torch import Tensor, nn

from faimed3d.training.checkpoint_file import packed
from faimed3d.training.random_state import random_state, set_random_state

_NEVER = {"learn", "run"}


def callback_values(learn: Learner) -> dict[str, dict[str, Any]]:
    """Of each callback the attributes that a checkpoint can hold: copies, to see later which have changed."""
    found = {name: _attributes(callback) for name, callback in _named(learn) if not _keeps_itself(callback)}
    return copy.deepcopy(found)


def training_state(learn: Learner, begin: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What a fit has come to: weights, optimizer, scale of the loss, callbacks, random numbers of each process.

    Args:
        learn: between two epochs of a fit, or at its end.
        begin: what :func:`callback_values` gave at the beginning of the fit; what is still so is left out, for it may
            be a setting.
    """
    model = get_model(learn.model)
    weights = model.state_dict()
    scaler = vars(learn).get("scaler")
    return {
        "model": dict(weights),
        "metadata": dict(getattr(weights, "_metadata", {})),  # what our networks were trained on is there
        "gradients": {name: _gradient(p.grad) for name, p in model.named_parameters() if p.grad is not None},
        "loss": dict(learn.loss_func.state_dict()) if isinstance(learn.loss_func, nn.Module) else None,
        "optimizer": learn.opt.state_dict(),
        "scaler": None if scaler is None else scaler.state_dict(),
        "callbacks": {name: _of_callback(callback, begin.get(name, {})) for name, callback in _named(learn)},
        "smooth_loss": {"val": learn.recorder.smooth_loss.val, "count": learn.recorder.smooth_loss.count},
        "train_iter": learn.train_iter,
        "random": _of_each_process(random_state(learn.dls)),
    }


def set_training_state(learn: Learner, state: dict[str, Any], rank: int = 0) -> None:
    """Put a learner where :func:`training_state` was taken.

    Args:
        learn: at the same place of a fit with the same settings.
        state: of :func:`training_state`.
        rank: of this process.
    """
    weights: Any = OrderedDict(state["model"])
    weights._metadata = state["metadata"]  # where torch looks for it
    model = get_model(learn.model)
    model.load_state_dict(weights)
    for name, weight in model.named_parameters():
        gradient = state["gradients"].get(name)
        weight.grad = None if gradient is None else torch.zeros_like(weight).add_(gradient.to(weight.device))
    if isinstance(learn.loss_func, nn.Module):
        learn.loss_func.load_state_dict(state["loss"])
    _set_optimizer(learn.opt, state["optimizer"])
    scaler = vars(learn).get("scaler")
    if scaler is not None and state["scaler"]:
        scaler.load_state_dict(state["scaler"])
    for name, callback in _named(learn):
        _set_callback(callback, state["callbacks"].get(name, {}))
    for name, value in state["smooth_loss"].items():
        setattr(learn.recorder.smooth_loss, name, value)
    learn.smooth_loss = learn.recorder.smooth_loss.value
    learn.train_iter = state["train_iter"]
    set_random_state(state["random"][rank], learn.dls)


def _gradient(gradient: Tensor) -> Tensor:
    """What is gathered for a later step; one number where it is 0, as it is without ``GradientAccumulation``."""
    return gradient if gradient.any() else gradient.new_zeros(())


def _named(learn: Any) -> Iterator[tuple[str, Callback]]:
    """The callbacks by the names of their classes; the second of a class by its number, too."""
    seen: dict[str, int] = {}
    for callback in learn.cbs.sorted("order"):
        name = type(callback).__name__
        seen[name] = seen.get(name, 0) + 1
        if not getattr(type(callback), "keeps_checkpoints", False):
            yield name if seen[name] == 1 else f"{name} {seen[name]}", callback


def _of_callback(callback: Any, begin: Mapping[str, Any]) -> dict[str, Any]:
    if _keeps_itself(callback):
        return {"state_dict": callback.state_dict()}
    now = _attributes(callback)
    return {name: value for name, value in now.items() if name not in begin or not _same(value, begin[name])}


def _attributes(callback: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(callback).items() if name not in _NEVER and packed(value) is not None}


def _same(one: Any, other: Any) -> bool:
    ours, theirs = packed(one), packed(other)
    if ours is None or theirs is None or ours[0] != theirs[0]:
        return False
    return all(torch.equal(tensor, theirs[1][name]) for name, tensor in ours[1].items())


def _set_callback(callback: Any, kept: dict[str, Any]) -> None:
    if _keeps_itself(callback):
        if "state_dict" in kept:
            callback.load_state_dict(kept["state_dict"])
        return
    for name, value in kept.items():
        object.__setattr__(callback, name, value)  # a Callback warns of names that its Learner has


def _keeps_itself(callback: Any) -> bool:
    # a Callback has all attributes of its Learner, and that those of the model
    return all(hasattr(type(callback), name) for name in ("state_dict", "load_state_dict"))


def _set_optimizer(opt: Any, kept: dict[str, Any]) -> None:
    if not isinstance(opt, OptimWrapper):  # torch's own bring their state to the device of the weights
        for (weight, *_), state in zip(opt.all_params(), kept["state"], strict=True):
            for name, value in state.items():
                if isinstance(value, Tensor):
                    state[name] = value.to(weight.device)
    opt.load_state_dict(kept)


def _of_each_process(state: dict[str, Any]) -> list[dict[str, Any]]:
    count = num_distrib()
    if count < 2 or not torch.distributed.is_initialized():
        return [state]
    found: list[Any] = [None] * count
    torch.distributed.all_gather_object(found, state)
    return found
