"""The callback that makes fastai's parts for pictures right on volumes, or refuses them. Each ``Learner`` gets it."""

from __future__ import annotations

from fastai.callback.core import Callback
from fastai.learner import defaults

from faimed3d._keywords import StrictKeywords
from faimed3d.losses.scales import full_resolution
from faimed3d.training.kept_voxels import KeptVoxels, with_kept_voxels
from faimed3d.training.mixing import FOR_VOLUMES
from faimed3d.training.monitored import keep_weights_if_none_were_saved, refuse_the_worst
from faimed3d.training.pairing import refuse_wrong_pairs


class ForVolumes(StrictKeywords, Callback):
    """Make what fastai has for pictures right on volumes. Every Learner gets it with ``faimed3d.training``.

    - ``CutMix``, ``MixUp`` and ``ChannelsLast`` become those for volumes, see :class:`CutMix3D`.
    - Metrics and predictions get the finest of scores on several scales (deep supervision).
    - fastai's metrics leave out the label that the ``dls`` or the loss leave out (``ignore_index``), and its ``Dice``,
      ``DiceMulti``, ``JaccardCoeff`` and ``JaccardCoeffMulti`` count the cases of all processes in distributed runs.
    - A loss that would compare voxels with the labels of others is refused.
    - So is a callback that would keep the epoch with the largest distance (``SaveModelCallback(monitor="hd95_mm")``).
    - ``SaveModelCallback`` loads no file of an earlier training where its metric had no value in any epoch.

    Raises:
        ValueError: at the first batch, for a loss such as fastai's ``CrossEntropyLossFlat(axis=1)``; for such a
            callback when a fit begins.

    >>> from fastai.learner import Learner
    >>> from fastai.callback.mixup import CutMix
    >>> arguments = {"cbs": [CutMix(), ForVolumes()]}  # of a Learner that was made before faimed3d was imported
    """

    order = -11  # before all that acts on volumes
    checked = False

    def __init__(self) -> None:
        super().__init__()

    def before_fit(self) -> None:
        """Put what volumes need in the place of what pictures need."""
        for callback in self.learn.cbs:
            kind = FOR_VOLUMES.get(type(callback))
            if kind is not None:
                object.__setattr__(callback, "__class__", kind)  # a Callback warns of names that a Learner has
        refuse_the_worst(self.learn.metrics, self.learn.cbs)
        self.learn.metrics = [with_kept_voxels(metric, self.learn) for metric in self.learn.metrics]
        self.checked = False

    def after_loss(self) -> None:
        """Keep the finest scores for metrics and predictions; look once in each fit how the loss pairs voxels."""
        self.learn.pred = full_resolution(self.learn.pred)
        if not self.checked and len(self.learn.yb) == 1:
            refuse_wrong_pairs(self.learn.loss_func, self.learn.pred, self.learn.yb[0])
            self.checked = True

    def after_fit(self) -> None:
        """Give the Learner its metrics back, and no weights of another training."""
        keep_weights_if_none_were_saved(self.learn.cbs)
        self.learn.metrics = [m.metric if isinstance(m, KeptVoxels) else m for m in self.learn.metrics]


if ForVolumes not in defaults.callbacks:  # fastai's own way: so it adds Recorder and ProgressCallback
    defaults.callbacks.append(ForVolumes)
