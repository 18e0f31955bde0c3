"""What makes probabilities of scores, by name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from faimed3d._by_name import UnknownName
from faimed3d.inference.members import Member
from faimed3d.inference.network import activation_of

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda scores: scores.softmax(1),
    "sigmoid": torch.sigmoid,
    "softmax, of one channel sigmoid": lambda scores: scores.softmax(1) if scores.shape[1] > 1 else scores.sigmoid(),
}


def activation_named(name: str) -> Callable[[Tensor], Tensor]:
    """One of :data:`ACTIVATIONS`.

    Args:
        name: of it.

    Raises:
        UnknownName: there is no such one.
    """
    if name not in ACTIVATIONS:
        raise UnknownName(name)
    return ACTIVATIONS[name]


def activation_name(learn: Member, regions: list[str] | None) -> str:
    """Which of :data:`ACTIVATIONS` the loss of a learner brings: found by what it makes of scores, to the bit.

    Args:
        learn: its loss is asked.
        regions: their names, where the channels are regions that may overlap.

    Raises:
        TypeError: none of them.
    """
    asked = activation_of(learn, regions)
    many, one = (6 * torch.arange(24.0 * k).mul(1.7).sin().view(2, k, 2, 2, 3) for k in (3, 1))
    for name, activation in ACTIVATIONS.items():
        if torch.equal(asked(many), activation(many)) and torch.equal(asked(one), activation(one)):
            return name
    kind = type(learn.loss_func).__name__
    raise TypeError(
        f"the activation of the loss, a {kind}, is none of {', '.join(ACTIVATIONS)}, and a model file holds no code: "
        "export a learner whose loss_func is one of faimed3d.losses"
    )
