"""The state of all random numbers of a training: Python's, numpy's, torch's, and those of its loaders."""

from __future__ import annotations

import random
from typing import Any  # states are of many shapes

import numpy as np
import torch
from fastai.data.core import DataLoaders
from torch import Tensor

from faimed3d.training.network_input import inner


def random_state(dls: DataLoaders) -> dict[str, Any]:
    """The state from which the random numbers go on, as plain values and tensors.

    Args:
        dls: whose loaders draw the order of their items.
    """
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 - what fastai and users draw from
    return {
        "python": random.getstate(),
        "numpy": (name, np.asarray(keys, np.int64), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "loaders": [_of_loader(inner(dl)) for dl in dls.loaders],
    }


def set_random_state(state: dict[str, Any], dls: DataLoaders) -> None:
    """Let the random numbers go on from a state.

    Args:
        state: of :func:`random_state`.
        dls: as many loaders.
    """
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    for number, one in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(one, number)
    for dl, one in zip(dls.loaders, state["loaders"], strict=True):
        _set_loader(inner(dl), one)


def _of_loader(dl: Any) -> Any:
    """fastai's loaders draw by their ``rng``, torch's by a ``generator`` where they have one."""
    if isinstance(getattr(dl, "rng", None), random.Random):
        return dl.rng.getstate()
    generator = getattr(dl, "generator", None)
    return generator.get_state() if isinstance(generator, torch.Generator) else None


def _set_loader(dl: Any, state: Any) -> None:
    if isinstance(state, tuple):
        dl.rng.setstate(state)
    elif isinstance(state, Tensor):
        dl.generator.set_state(state)
