"""What predicts: one network with its loaders, or several that must say the same things of the same scan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

from fastai.learner import Learner
from torch import nn

from faimed3d.data.regions import region_names
from faimed3d.data.trained_on import known_of


class Member(Protocol):
    """One network and what belongs to it; fastai's ``Learner`` is one.

    One that has a method ``loaded()``, a context manager, has its weights in memory only within it.
    """

    dls: Any
    model: nn.Module
    loss_func: Any


class Predictor(Protocol):
    """What predicts whole volumes and is no learner: an ensemble."""

    dls: Any
    loss_func: Any
    members: Sequence[Member]


class Members:
    """Several networks; the first of them tells what all have in common."""

    members: list[Any]

    @property
    def dls(self) -> Any:
        """The loaders of the first member."""
        return self.members[0].dls

    @property
    def loss_func(self) -> Any:
        """The loss of the first member, which has the activation."""
        return self.members[0].loss_func


class ShowsBars:
    """What shows progress bars, but within ``no_bar()``, as a learner does."""

    _bars = True

    @property
    def progress(self) -> bool:
        """True where progress bars are shown; absent where they are not, as fastai's callback of that name."""
        if not self._bars:
            raise AttributeError("no progress bars are shown")
        return True

    @contextmanager
    def no_bar(self) -> Iterator[None]:
        """Show no progress bars, as ``learn.no_bar()``."""
        before, self._bars = self._bars, False
        try:
            yield
        finally:
            self._bars = before


def loaded(member: Member) -> AbstractContextManager[Any]:
    """Within this the weights of a member are in memory."""
    if isinstance(member, Learner):  # it would look for the name in its network
        return nullcontext()
    return getattr(member, "loaded", nullcontext)()


def members_of(predictor: Any) -> Sequence[Member]:
    """The networks of a predictor: of a learner its own."""
    return [predictor] if isinstance(predictor, Learner) else predictor.members


def class_codes(learn: Any) -> dict[int, str] | None:
    """Names of the classes, or regions, that are predicted, by label; None where the ``dls`` know none."""
    regions = region_names(learn.dls)
    codes = getattr(learn.dls, "vocab", None) if regions is None else ["background", *regions]
    named = codes is not None and len(codes) and all(isinstance(code, str) for code in codes)
    return dict(enumerate(codes)) if named and codes is not None else None


def refuse_differences(members: Sequence[Member]) -> None:
    """Raise a ValueError if the mean of what some networks say would mix different things."""
    first = members[0]
    for number, member in enumerate(members[1:], 2):
        for what, here, there in (
            ("regions", region_names(first.dls), region_names(member.dls)),
            ("classes", class_codes(first), class_codes(member)),
            ("storage order", known_of(first).orientation, known_of(member).orientation),
        ):
            overlapping = what == "regions"  # labels against regions differ too
            if here != there and (overlapping or None not in (here, there)):
                raise ValueError(
                    f"the members of an ensemble must say the same things of the same voxels, but member {number} has "
                    f"the {what} {_text(there)}, and member 1 {_text(here)}: train them alike, with the same "
                    f"{'regions' if overlapping else 'codes and orientation'}"
                )


def _text(value: Any) -> str:
    if isinstance(value, dict):
        value = list(value.values())
    return ", ".join(value) if isinstance(value, list) else "none" if value is None else str(value)
