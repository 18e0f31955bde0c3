"""The polynomial schedule against its formula."""

from functools import partial

import numpy as np
import pytest
import torch
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.losses import MSELossFlat
from fastai.optimizer import SGD, Adam, OptimWrapper
from fastcore.foundation import L
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from faimed3d.training import fit_poly

nesterov = partial(OptimWrapper, opt=torch.optim.SGD, momentum=0.99, nesterov=True)


def learner(batches=3, opt_func=SGD, **kwargs):
    items = [(torch.rand(2), torch.rand(1)) for _ in range(2 * batches)]
    dls = DataLoaders.from_dsets(items, items[:2], bs=2, num_workers=0)
    return Learner(dls, nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)), MSELossFlat(), opt_func=opt_func, **kwargs)


def fit(learn, *args, **kwargs):
    with learn.no_bar(), learn.no_logging():
        learn.fit_poly(*args, **kwargs)
    return learn


@settings(max_examples=25)
@given(
    st.integers(1, 5), st.integers(1, 4), st.floats(1e-4, 10), st.floats(0.1, 3), st.sampled_from([SGD, Adam, nesterov])
)
def test_falls_with_each_batch_through_the_values_of_nnunet(epochs, batches, lr, power, opt_func):
    learn = fit(learner(batches, opt_func), epochs, lr, power)
    steps = epochs * batches
    expected = [lr * (1 - step / steps) ** power for step in range(steps)]
    assert np.allclose(learn.recorder.lrs, expected, rtol=1e-6)
    of_nnunet = [lr * (1 - epoch / epochs) ** power for epoch in range(epochs)]  # its PolyLRScheduler
    assert np.allclose(learn.recorder.lrs[::batches], of_nnunet, rtol=1e-6)
    assert learn.recorder.hps["lr"] == pytest.approx(expected)


def test_a_later_start_has_the_rate_of_the_whole_training():
    whole, rest = (fit(learner(), 4, 0.1, start_epoch=start).recorder.lrs for start in (0, 2))
    assert rest == pytest.approx(whole[6:])


def test_each_parameter_group_has_its_own_rate():
    learn = learner(splitter=lambda model: L(model[0], model[1]).map(lambda layer: list(layer.parameters())))
    fit(learn, 2, slice(0.01, 0.1))
    assert [hyper["lr"] for hyper in learn.opt.hypers] == pytest.approx([0.01 * (1 / 6) ** 0.9, 0.1 * (1 / 6) ** 0.9])


def test_the_optimizer_keeps_its_momentum_and_is_made_anew_on_request():
    learn = fit(learner(opt_func=nesterov, wd=3e-5), 1, 0.1)
    (hyper,) = learn.opt.hypers
    assert (hyper["mom"], hyper["nesterov"], hyper["wd"]) == (0.99, True, 3e-5)
    first = learn.opt
    assert fit(learn, 1).opt is first
    assert learn.recorder.lrs[0] == learn.lr
    assert fit(learn, 1, reset_opt=True).opt is not first
    assert fit(learn, 1, wd=0.5).opt.hypers[0]["wd"] == 0.5


def test_a_power_that_does_not_fall_is_refused():
    with pytest.raises(ValueError, match="power must be above 0, got 0"):
        fit_poly(learner(), 1, power=0)
