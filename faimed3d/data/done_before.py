"""What was done to items before a loader gets them: in a cache, or where patches are cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from fastai.data.core import TfmdDL
from fasttransform import Transform


class DoneBefore(Transform):
    """Say which transforms the items of a loader have been through; it does nothing itself.

    What asks a loader for its transforms, such as a learner for those that scale images, finds them here, and nothing
    is done twice.

    Args:
        steps: the transforms, in the order in which they acted.
        orientation: storage order of the items, where all have the same.
        parts: the items are parts of volumes, so nothing can be done by the values of a whole one any more.

    >>> from faimed3d.augment import ZScore3D
    >>> DoneBefore([ZScore3D()])("an item")
    'an item'
    """

    order = -100

    def __init__(self, steps: Iterable[Transform], orientation: str | None = None, parts: bool = False) -> None:
        super().__init__()
        self.steps, self.orientation, self.parts = list(steps), orientation, parts

    @property
    def name(self) -> str:
        """As pipelines show it."""
        return f"{type(self).__name__}({', '.join(type(step).__name__ for step in self.steps)})"

    @property
    def swap_labels(self) -> Mapping[int, int] | None:
        """Pairs of labels that mirroring has exchanged."""
        return next((step.swap_labels for step in self.steps if getattr(step, "swap_labels", None)), None)


def done_before(dl: TfmdDL) -> DoneBefore | None:
    """What a loader says of its items; None where they come from their sources."""
    return next((step for step in dl.after_item.fs if isinstance(step, DoneBefore)), None)


def all_steps(dl: TfmdDL) -> Iterator[Transform]:
    """The transforms that the batches of a loader have been through, those before it included."""
    for pipeline in (dl.after_item, dl.after_batch):
        for step in getattr(pipeline, "fs", ()):
            if isinstance(step, DoneBefore):
                yield from step.steps
            else:
                yield step
