"""Several networks of one task, and the mean of what they say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from fastai.learner import Learner

from faimed3d.inference.exporting import export_model
from faimed3d.inference.folder import predict_folder
from faimed3d.inference.members import Member, Members, refuse_differences
from faimed3d.inference.whole_volume import predict_volume


class Ensemble(Members):
    """Several networks of one task, such as those of the folds; it predicts the mean of their probabilities.

    ``predict_volume``, ``predict_folder`` and ``evaluate`` are those of learners, with all their arguments. A scan is
    read once. What the members prepare alike, step by step, is done once, too; members with another spacing or
    normalization prepare it on their own. The mean is taken where all work on one grid, slices by slices, so that no
    more memory is needed than for one network and its volume; else on the grid of the scan.

    All networks of ``members`` that are learners are in memory at once. Of each :class:`StoredNetwork` the weights are
    read from its file when its turn comes, and dropped after it: one of these is in memory at a time.

    Args:
        members: learners, or stored networks.

    Raises:
        ValueError: no members, or some that differ in classes, regions or storage order.
        TypeError: something that is no member.

    >>> import torch
    >>> from fastai.data.block import DataBlock
    >>> from faimed3d.data import ImageBlock3D, MaskBlock3D
    >>> from faimed3d.losses import CrossEntropyLoss3D
    >>> from faimed3d.volume import TensorDicom3D, TensorMask3D
    >>> scans = [TensorDicom3D(torch.rand(4, 6, 8), {"spacing": (1, 1, 3)}) for _ in range(2)]
    >>> block = DataBlock((ImageBlock3D, MaskBlock3D(["air", "lesion"])), get_y=lambda scan: TensorMask3D(scan > 0.5))
    >>> dls = block.dataloaders(scans, bs=1)
    >>> learners = [Learner(dls, torch.nn.Conv3d(1, 2, 1), loss_func=CrossEntropyLoss3D()) for _ in range(3)]
    >>> mask = Ensemble(learners).predict_volume(scans[0], progress=False)
    >>> mask.shape, mask.codes
    (torch.Size([4, 6, 8]), {0: 'air', 1: 'lesion'})
    """

    predict_volume = predict_volume
    predict_folder = predict_folder
    export_model = export_model

    def __init__(self, members: Sequence[Learner | Member]) -> None:
        members = list(members)
        if not members:
            raise ValueError("an ensemble needs one member at least")
        for member in members:
            if not all(hasattr(member, name) for name in ("dls", "model", "loss_func")):
                raise TypeError(
                    f"a member is a learner or a StoredNetwork, got a {type(member).__name__}: of a file of weights "
                    "make StoredNetwork(file, learn), with a learner whose network they fit"
                )
        refuse_differences(members)
        self.members: list[Any] = members

    @property
    def progress(self) -> Any:
        """That of the first member: there where progress bars are shown, as of learners."""
        return self.members[0].progress

    @contextmanager
    def no_bar(self) -> Iterator[None]:
        """Show no progress bars, as ``learn.no_bar()``."""
        with ExitStack() as stack:
            for member in self.members:
                stack.enter_context(member.no_bar())
            yield

    def __repr__(self) -> str:
        return f"{type(self).__name__} of {len(self.members)}: {', '.join(map(_name, self.members))}"


def _name(member):
    return type(member).__name__ if isinstance(member, Learner) else repr(member)
