"""``learn.fit_poly``: the learning rate falls by a power of what is left of the training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from fastai.callback.core import Callback
from fastai.callback.schedule import ParamScheduler
from fastai.learner import Learner
from fastcore.basics import patch_to
from fastcore.foundation import L


@dataclass(frozen=True)
class Poly:
    """A value that falls from ``start`` to 0 as ``(1 - done) ** power``.

    Args:
        start: one value, or one for each parameter group.
        power: 1 is a straight line.

    >>> float(Poly(0.01, 0.9)(0.5))
    0.005358867312681466
    """

    start: np.ndarray | float
    power: float

    def __call__(self, done: float) -> np.ndarray:
        """The value when this part of the training is done, 0 to 1."""
        return self.start * max(1 - done, 0.0) ** self.power


def fit_poly(
    learn: Learner,
    n_epoch: int,
    lr: float | slice | None = None,
    power: float = 0.9,
    wd: float | None = None,
    cbs: Callback | Sequence[Callback] | None = None,
    reset_opt: bool = False,
    start_epoch: int = 0,
) -> None:
    """Fit with the learning rate ``lr * (1 - done) ** power``: ``learn.fit_poly(n_epoch, lr)``, for any ``Learner``.

    nnU-Net's schedule (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z). nnU-Net changes the rate once an epoch;
    here it falls with each batch, through the same values at the beginning of each epoch, so that short trainings end
    near 0, too. The momentum stays what ``opt_func`` says: nnU-Net's optimizer is
    ``partial(OptimWrapper, opt=torch.optim.SGD, momentum=0.99, nesterov=True)`` with ``lr=1e-2, wd=3e-5``.

    Args:
        learn: any Learner.
        n_epoch: epochs of the whole training.
        lr: at the beginning; a slice for several parameter groups. Default: ``learn.lr``.
        power: 1 is a straight line.
        wd, cbs, reset_opt, start_epoch: as of fastai's ``fit_one_cycle``; with ``start_epoch`` the rate is that which
            the whole training has there.

    Raises:
        ValueError: ``power`` is not above 0.

    >>> import torch
    >>> from fastai.data.core import DataLoaders
    >>> items = [(torch.ones(1), torch.ones(1))] * 2
    >>> dls = DataLoaders.from_dsets(items, items, bs=1, num_workers=0)
    >>> learn = Learner(dls, torch.nn.Linear(1, 1), torch.nn.functional.mse_loss)
    >>> with learn.no_bar(), learn.no_logging():
    ...     learn.fit_poly(2, lr=0.1)
    >>> [round(float(lr), 3) for lr in learn.recorder.lrs]
    [0.1, 0.077, 0.054, 0.029]
    """
    if not power > 0:
        raise ValueError(f"power must be above 0, got {power!r}")
    if reset_opt or learn.opt is None:
        learn.create_opt()
    learn.opt.set_hyper("lr", learn.lr if lr is None else lr)
    start = np.array([hyper["lr"] for hyper in learn.opt.hypers])
    scheduler = ParamScheduler({"lr": Poly(start, power)})
    learn.fit(n_epoch, cbs=scheduler + L(cbs), wd=wd, start_epoch=start_epoch)


if not hasattr(Learner, "fit_poly"):
    patch_to(Learner)(fit_poly)  # fastai's own way: a new name, none replaced
