"""Looking at the training items leaves the random numbers of the training what they are."""

import time
from contextlib import contextmanager

import torch
from fastai.data.core import TfmdDL
from fastai.torch_core import no_random

from faimed3d.augment import input_statistics
from faimed3d.augment.input_statistics import measure_inputs
from faimed3d.basics import TensorDicom3D


class Drawn:
    """Items that are drawn, as patches are."""

    def __len__(self):
        return 6

    def __getitem__(self, number):
        return (TensorDicom3D(torch.rand(1, 2, 3, 4)),)


def test_items_that_are_drawn_in_threads_take_no_numbers_of_the_training(monkeypatch):
    @contextmanager
    def slow(*args, **kwargs):  # threads that began before would be done before the state is kept
        time.sleep(0.1)
        with no_random(*args, **kwargs):
            yield

    monkeypatch.setattr(input_statistics, "no_random", slow)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    measure_inputs(TfmdDL(Drawn(), bs=1, num_workers=0))
    assert torch.equal(torch.rand(4), expected)
