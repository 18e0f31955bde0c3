"""Validation on whole volumes, of a network that is trained on patches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from fastai.callback.core import Callback
from fastai.torch_core import get_model
from torch import Tensor

from faimed3d._arguments import whole_per_axis
from faimed3d._keywords import StrictKeywords
from faimed3d.data.regions import region_names
from faimed3d.inference.network import activation_of
from faimed3d.inference.sliding_window import sliding_windows
from faimed3d.losses.scales import full_resolution

_TINY = 1e-7  # probabilities of 0 and 1 have no finite scores


class WholeCases(StrictKeywords, Callback):
    """Let a network that is trained on patches see whole volumes in validation, window by window.

    The probabilities of overlapping windows are blended as in ``learn.predict_volume``. Their logarithms are the
    scores, so that loss and metrics are those of cases, not of patches. ``PatchDataLoaders3D`` bring it to the learners
    of this package.

    Args:
        patch: voxels (D, H, W) of a window, or one number for all three.
        overlap: share of a window that its neighbour covers too, 0 to below 1.
        bs: windows at a time.

    Raises:
        ValueError: an overlap outside of this range.

    >>> from types import SimpleNamespace
    >>> learn = SimpleNamespace(model=torch.nn.Conv3d(1, 2, 3, padding=1), loss_func=None, dls=None, training=False)
    >>> whole = WholeCases(patch=(4, 4, 4))
    >>> whole.learn = learn
    >>> whole.before_batch()
    >>> learn.model(torch.rand(1, 1, 5, 6, 7)).exp().sum(1).allclose(torch.ones(()))
    True
    """

    order = 90  # nothing that may fail lies between it and the network

    def __init__(self, patch: int | Sequence[int], overlap: float = 0.5, bs: int = 1) -> None:
        super().__init__()
        if not 0 <= overlap < 1:
            raise ValueError(f"overlap must be a share from 0 to below 1, got {overlap!r}")
        self.sides, self.overlap, self.windows = whole_per_axis(patch, "patch", least=1), overlap, bs

    def before_batch(self) -> None:
        """Put the windows between the batch and the network, for this one batch of validation."""
        if not self.learn.training:
            self.learn.model = _Once(self.learn, self._scores)

    def after_cancel_batch(self) -> None:
        """Take them away where the network was not called."""
        if isinstance(self.learn.model, _Once):
            self.learn.model = self.learn.model.model

    def _scores(self, model: Callable[..., Any], x: Tensor) -> Tensor:
        """Scores (B, K, D, H, W) of a batch of whole volumes."""
        regions = region_names(self.learn.dls)
        activation = activation_of(self.learn, regions)
        model = get_model(model)  # processes see different numbers of windows, so they must not wait for each other

        def predict(windows: Tensor) -> Tensor:
            return activation(full_resolution(model(windows)).as_subclass(Tensor).float())

        found = []
        for volume in x.as_subclass(Tensor):
            slabs = sliding_windows(predict, volume, self.sides, self.overlap, self.windows)
            found.append(torch.cat(list(slabs), 1))
        probabilities = torch.stack(found)
        each = regions is not None or len(probabilities[0]) == 1
        each = each or bool(((probabilities.sum(1) - 1).abs() > 0.01).any())
        return probabilities.logit_(_TINY) if each else probabilities.clamp_(min=_TINY).log_()


class _Once:
    """Stands for the network of a learner in one call, and gives it back before anything can fail."""

    def __init__(self, learn: Any, scores: Callable[..., Tensor]) -> None:
        self.learn, self.model, self.scores = learn, learn.model, scores

    def __call__(self, *xb: Tensor) -> Tensor:
        self.learn.model = self.model
        if len(xb) != 1 or not isinstance(xb[0], Tensor) or xb[0].ndim != 5:
            raise ValueError("windows slide over one input (B, C, D, H, W); StackVolumes makes one of several")
        return self.scores(self.model, xb[0])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["model"], name)
