"""Callbacks for volumes: the geometry of the targets, several inputs as channels, the best weights again.

Put them into a ``Learner``'s ``cbs``. They act while a ``Learner`` trains, validates and collects predictions;
``learn.predict_volume`` runs the network without them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from fastai.callback.core import Callback
from fastai.callback.tracker import TrackerCallback
from torch import Tensor

from faimed3d._keywords import StrictKeywords
from faimed3d.geometry import Geometry
from faimed3d.volume import TensorDicom3D

_TOLERANCE = 0.05  # of a voxel: how far the grids of two inputs may lie apart


class KeepGeometry(StrictKeywords, Callback):
    """Keep the ``Geometry`` of each target of the batch for the metrics: fastai drops it before the model runs.

    Attributes:
        geometries: one ``Geometry`` or None for each target; None outside of a batch, and for targets of other kinds.

    >>> from faimed3d.training import HausdorffDistance95
    >>> arguments = {"metrics": HausdorffDistance95(), "cbs": KeepGeometry()}  # of a Learner
    """

    order = 8  # before CastToTensor
    geometries: list[Geometry | None] | None = None

    def __init__(self) -> None:
        super().__init__()

    def before_batch(self) -> None:
        """Note where the targets lie."""
        target = self.yb[0] if len(self.yb) else None
        self.geometries = [item.geometry for item in target] if isinstance(target, TensorDicom3D) else None

    def after_validate(self) -> None:
        """Forget it."""
        self.geometries = None

    def after_fit(self) -> None:
        """Forget it."""
        self.geometries = None


class StackVolumes(StrictKeywords, Callback):
    """Join several images of an item into one input, as its channels: T1, T2 and FLAIR from three ``ImageBlock3D``.

    ``ImageBlock3D`` does so by itself where an item is a list of files, and can then bring all to the grid of the
    first. This callback is for items whose images have transforms of their own. The images are (B, C, D, H, W).

    Raises:
        ValueError: in training, where the images differ in size or lie on different grids in the patient.

    >>> stack = StackVolumes()
    >>> stack.learn = type("Learner", (), {"xb": (torch.zeros(2, 1, 3, 4, 5), torch.ones(2, 1, 3, 4, 5))})()
    >>> stack.before_batch()
    >>> stack.learn.xb[0].shape
    torch.Size([2, 2, 3, 4, 5])
    """

    order = 7  # before KeepGeometry and CastToTensor, while batches know where they lie

    def __init__(self) -> None:
        super().__init__()

    def before_batch(self) -> None:
        """Join the inputs."""
        first, *others = self.learn.xb
        for number, x in enumerate(others, 2):
            self._check(first, x, number)
        if others:
            self.learn.xb = (torch.cat(self.learn.xb, 1),)

    @staticmethod
    def _check(first, x, number):
        if not isinstance(x, Tensor) or x.ndim != 5 or x.shape[2:] != first.shape[2:] or len(x) != len(first):
            came = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(
                f"StackVolumes joins images (B, C, D, H, W) of one size, but input 1 is {tuple(first.shape)} and "
                f"input {number} is {came}: use Resample3D and PadOrCrop3D, or ResampleLike(), among the item_tfms"
            )
        if not isinstance(x, TensorDicom3D) or not isinstance(first, TensorDicom3D):
            return
        for item, (one, other) in enumerate(zip(first, x, strict=True)):
            here, there = one.geometry, other.geometry
            if here is not None and there is not None and not here.agrees(there, _TOLERANCE):
                raise ValueError(
                    f"StackVolumes: inputs 1 and {number} of item {item} of the batch lie on different grids: "
                    f"{here!r} and {there!r}. ResampleLike() among the item_tfms brings them onto one grid"
                )


class ReloadBestFit(StrictKeywords, TrackerCallback):
    """Save the weights whenever they are the best so far; load them again after epochs without a better value.

    Args:
        fname: file below ``learn.path / learn.model_dir``, without extension. It holds the optimizer as well.
        monitor, comp, min_delta: see fastai's ``TrackerCallback``.
        patience: load after this many epochs without a better value; a reload starts the count anew.

    Attributes:
        reloaded: the epochs of this fit after which the best weights were loaded.

    Raises:
        ValueError: ``patience`` is below 1.

    >>> ReloadBestFit(monitor="valid_loss", patience=3).patience
    3
    """

    order = TrackerCallback.order + 2  # after SaveModelCallback

    def __init__(
        self,
        fname: str = "best",
        monitor: str = "valid_loss",
        comp: Callable | None = None,
        min_delta: float = 0.0,
        patience: int = 1,
    ) -> None:
        if patience < 1:
            raise ValueError(f"patience must be at least 1 epoch, got {patience!r}")
        super().__init__(monitor=monitor, comp=comp, min_delta=min_delta)
        self.fname, self.patience = fname, patience
        self.reloaded: list[int] = []

    def before_fit(self) -> None:
        """Find what is monitored."""
        super().before_fit()
        self.started = False  # learn.validate comes by here too, and has no epoch of training

    def before_train(self) -> None:
        """Start to count anew with each fit; what an earlier fit has saved is not loaded."""
        if not self.started:
            self.started, self.wait, self.saved, self.reloaded = True, 0, False, []

    def after_epoch(self) -> None:
        """Save, wait or load."""
        if not self.started:
            return
        super().after_epoch()
        if self.new_best:
            self.learn.save(self.fname)
            self.saved, self.wait = True, 0
            return
        self.wait += 1
        if self.wait >= self.patience and self.saved:
            with warnings.catch_warnings():
                # on loading fastai names a module of numpy that has been renamed
                warnings.filterwarnings("ignore", "numpy.core is deprecated", DeprecationWarning)
                self.learn.load(self.fname, weights_only=False)
            self.reloaded.append(self.epoch)
            self.wait = 0
