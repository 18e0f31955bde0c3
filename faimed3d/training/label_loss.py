"""Say when transforms leave nothing, or hardly anything, of the labels: once for each part of the data, in each fit."""

from __future__ import annotations

import warnings
from typing import Any

from fastai.callback.core import Callback

from faimed3d._keywords import StrictKeywords
from faimed3d.augment import RandomCrop3D
from faimed3d.data.block_transforms import MatchMask
from faimed3d.data.label_regions import absent_text
from faimed3d.data.label_tally import LabelCount, LabelTally
from faimed3d.data.regions import region_names
from faimed3d.volume import TensorMask3D

FEW = 0.5  # of the masks with a label: what random crops around anything may well empty
MOST = 0.9  # of the labelled volume that should be left by what is not random


class WarnOfLostLabels(StrictKeywords, Callback):
    """Warn if the transforms cut labels off: masks that hold some are read, and come without any to the network.

    The learners for volumes bring it. It compares the masks as they were read with those of the batches, over one pass
    of each split, and warns where no label is left in more than half of the masks that hold one, where a class is gone
    from all of them, or, of validation, where less than 90 % of the labelled volume is left.

    >>> WarnOfLostLabels().order < 8
    True
    """

    order = 5  # before the batch loses its types and places, and before anything mixes it
    _tally: LabelTally | None = None
    _at = ""

    def __init__(self) -> None:
        super().__init__()

    def before_fit(self) -> None:
        """Forget what was said in the last fit."""
        self._told: set[str] = set()
        self._tally, self._random = _tally_of(self.dls)

    def before_train(self) -> None:
        """Begin to count."""
        self._begin("training")

    def before_validate(self) -> None:
        """Begin to count."""
        self._begin("validation")

    def before_batch(self) -> None:
        """Count the masks of a batch."""
        target = self.yb[0] if len(self.yb) else None
        if self._at and isinstance(target, TensorMask3D) and target.ndim in (4, 5):
            for mask in target:
                self._left.add(mask)

    def after_train(self) -> None:
        """Compare."""
        self._compare()

    def after_validate(self) -> None:
        """Compare."""
        self._compare()

    def after_fit(self) -> None:
        """Keep nothing: the callback is saved with the learner."""
        if self._tally is not None:
            self._tally.wanted = False
        self._tally, self._at = None, ""

    def _begin(self, split: str) -> None:
        self._at = ""
        if self._tally is not None and split not in self._told:
            self._at, self._before, self._left = split, self._tally.count(), LabelTally()
            self._tally.wanted = True

    def _compare(self) -> None:
        split, self._at = self._at, ""
        if not split or self._tally is None:
            return
        self._tally.wanted = False
        read, left = self._tally.count() - self._before, self._left.count()
        if read.masks != left.masks or not read.labelled:  # cut short, or of other blocks
            return
        self._told.add(split)
        shown = zip(region_names(self.dls) or (), read.classes[1:].tolist(), strict=False)
        if split == "training" and (text := absent_text(read.masks, shown)):
            warnings.warn(text, stacklevel=2)
        if text := loss_text(read, left, random=self._random and split == "training", whole=split == "validation"):
            warnings.warn(f"{split}: {text}", stacklevel=2)


def loss_text(read: LabelCount, left: LabelCount, random: bool, whole: bool) -> str:
    """What to say of masks that lost labels between reading and the network; '' for nothing.

    Args:
        read, left: counts before and after the transforms.
        random: the transforms crop at random, which empties some masks.
        whole: the labelled volume should be left, too.
    """
    emptied, kept = read.labelled - left.labelled, left.volume / read.volume
    gone = [str(label) for label in ((read.classes > 0) & (left.classes == 0)).nonzero().flatten().tolist()]
    if emptied <= FEW * read.labelled and (not gone or random) and (kept >= MOST or not whole):
        return ""
    what = f"of {read.labelled} masks with labels, the transforms leave {emptied} without any"
    what += f"; label {', '.join(gone)} is left in none" if gone else ""
    return (
        f"{what}; {max(kept, 0):.0%} of the labelled volume is left. Do PadOrCrop3D, RandomCrop3D or a resampling "
        "cut the labels off? Enlarge the size, favour labels with RandomCrop3D(labels=...), or score with "
        "predict_volume, on whole volumes"
    )


def _tally_of(dls: Any) -> tuple[LabelTally | None, bool]:
    """The tally of the loaders' masks, and whether they crop at random."""
    pipelines = [getattr(dls.train, name, None) for name in ("after_item", "after_batch")] if len(dls.loaders) else []
    steps = [step for pipeline in pipelines for step in getattr(pipeline, "fs", ())]
    found = next((step.tally for step in steps if isinstance(step, MatchMask)), None)
    return found, any(isinstance(step, RandomCrop3D) for step in steps)
