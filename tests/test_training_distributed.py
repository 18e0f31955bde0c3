"""Metrics of a distributed validation are those of all cases, each counted once."""

import builtins
import socket

import numpy as np
import pytest
from cached_cases import make_cache
from fastai.learner import Learner
from torch import multiprocessing
from two_processes import process, training, values

from faimed3d.augment import ZScore3D
from faimed3d.training import distributed as module

IGNORED = (None, 255, -1)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return make_cache(tmp_path_factory.mktemp("cases"), item_tfms=[ZScore3D()])


@pytest.fixture(scope="module")
def found(cache):
    """What the metrics say in each of two processes, for each label that is left out; and what a training gave."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = multiprocessing.Manager().dict()
    multiprocessing.start_processes(process, (port, IGNORED, cache, found), nprocs=2, start_method="fork")
    return dict(found)


@pytest.mark.parametrize("number", range(len(IGNORED)), ids=str)
def test_each_metric_has_the_value_of_one_process(found, number):
    alone = values(IGNORED[number])
    assert len(alone) == 11
    assert found[0][number] == pytest.approx(alone)
    assert found[1][number] == pytest.approx(alone)


def test_two_processes_train_as_one_does_with_batches_of_twice_the_size(found, cache):
    parameters, epochs = training(cache, 4)
    for rank in range(2):
        here, said = found[f"training {rank}"]
        for one, two in zip(parameters, here, strict=True):
            np.testing.assert_allclose(one, two, atol=1e-5)
        for one, two in zip(epochs, said, strict=True):
            assert one[2:] == pytest.approx(two[2:], rel=1e-4)  # metrics are of all cases, fastai's losses nearly


class TestContext:
    def test_is_a_method_before_fastai_has_imported_its_own(self):
        assert hasattr(Learner, "distrib_ctx")

    def test_the_extra_is_named_where_accelerate_is_absent(self, monkeypatch):
        real = builtins.__import__

        def without(name, *args, **kwargs):
            if name.split(".")[0] == "accelerate":
                raise ImportError(name)
            return real(name, *args, **kwargs)

        monkeypatch.setattr(builtins, "__import__", without)
        monkeypatch.setattr("importlib.import_module", lambda name: without(name))
        learn = object.__new__(Learner)
        with pytest.raises(ImportError, match=r"learn\.distrib_ctx needs accelerate: .*'distributed'"):
            module.distrib_ctx(learn)
