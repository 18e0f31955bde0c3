"""How much the mirrored predictions of one scan disagree: a sign of how sure the network is, without the truth."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


class Disagreement:
    """Collects what a network says of windows and of their mirror images, and how far that differs from the mean.

    Args:
        threshold: probability above which a voxel is inside of a region, or a model of one channel says 1.
        overlapping: the channels are regions that may overlap.
    """

    def __init__(self, threshold: float, overlapping: bool) -> None:
        self._threshold, self._by_threshold = threshold, overlapping
        self._same = self._all = self._seen = 0

    def decided(self, probabilities: Tensor) -> Tensor:
        """Labels (B, 1, D, H, W), or regions (B, R, D, H, W).

        Args:
            probabilities: (B, C, D, H, W).
        """
        if self._by_threshold or probabilities.shape[1] == 1:
            return probabilities > self._threshold
        return probabilities.argmax(1, keepdim=True)

    def add(self, each: Sequence[Tensor], mean: Tensor) -> None:
        """Compare what was decided of each mirror image with what is decided by their mean.

        Args:
            each, mean: of :meth:`decided`.
        """
        self._seen += len(each)
        for one in each:
            self._same += int(((one == mean) & (mean != 0)).sum())
            self._all += int((one != 0).sum()) + int((mean != 0).sum())

    @property
    def value(self) -> float:
        """1 - Dice of the foreground, of the mirrored predictions with their mean; NaN where nothing was mirrored.

        Voxels of another class count as those of none. It is 0 where all agree, and where all find nothing.
        """
        if not self._seen:
            return float("nan")
        return 1 - 2 * self._same / self._all if self._all else 0.0
