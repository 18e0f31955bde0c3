"""The predicted memory of a training step against torch's own accounts of one."""

import contextlib

import pytest
import torch
from fastai.layers import NormType
from fastai.optimizer import SGD, Adam
from fastai.torch_core import to_float
from torch import nn
from torch.profiler import ProfilerActivity, profile

from faimed3d.losses import DiceCELoss3D
from faimed3d.models import UNet3D, create_cnn_model_3d, create_unet_model_3d
from faimed3d.training import training_memory


def size(tensors):
    return sum(t.numel() * t.element_size() for t in tensors)


def measured(model, x, y, loss_func, opt_func, dtype):
    """The most bytes that are alive in the second step, in which gradients and the optimizer's values are there."""
    opt = opt_func(list(model.parameters()), lr=1e-3)

    def step():
        with torch.autocast("cpu", dtype) if dtype != torch.float32 else contextlib.nullcontext():
            scores = model(x)
        loss_func(to_float(scores), y).backward()
        opt.step()
        opt.zero_grad()

    step()
    values = [value for state in opt.state.values() for value in state.values() if isinstance(value, torch.Tensor)]
    there = size([*model.parameters(), *model.buffers(), x, y, *values, *(p.grad for p in model.parameters())])
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        step()
    events = [event for event in found.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return there + most


def plain_sgd(params, lr):
    return SGD(params, lr, mom=0)


def encoder(n_in):
    def stage(n, m, stride):
        return nn.Sequential(nn.Conv3d(n, m, 3, stride, 1, bias=False), nn.BatchNorm3d(m), nn.ReLU())

    return nn.Sequential(stage(n_in, 16, 1), stage(16, 16, 1), stage(16, 32, 2))


NETS = {
    "small": lambda: UNet3D(1, 3),
    "batch norm": lambda: UNet3D(1, 2, widths=(8, 16, 16), norm_type=NormType.Batch, act_cls=nn.ReLU),
    "thick slices": lambda: UNet3D(1, 2, (8, 16, 32), strides=[(1, 2, 2), 2], kernels=[(1, 3, 3), 3, 3]),
    "residual": lambda: UNet3D(1, 4, (8, 16, 32, 32), blocks=(1, 2, 2, 2), up_convs=1, deep_supervision=True),
    "wide": lambda: UNet3D(1, 2, widths=(8, 128)),
    "encoder": lambda: create_unet_model_3d(encoder(1), 2, n_in=1),
}


# of batches of one, and of few channels in bfloat16, a CPU unfolds its convolutions in memory of its own
@pytest.mark.parametrize(
    ("name", "shape", "dtype", "opt_func"),
    [
        ("small", (3, 1, 23, 21, 25), torch.bfloat16, Adam),
        ("small", (2, 1, 28, 20, 30), torch.float32, Adam),
        ("batch norm", (2, 1, 24, 21, 27), torch.float32, Adam),
        ("thick slices", (2, 1, 20, 28, 20), torch.float32, plain_sgd),
        ("residual", (2, 1, 26, 26, 20), torch.bfloat16, plain_sgd),
        ("wide", (2, 1, 16, 20, 28), torch.float32, Adam),
        ("encoder", (3, 1, 26, 23, 21), torch.float32, Adam),
    ],
)
def test_is_that_of_a_real_step_within_fifteen_percent(name, shape, dtype, opt_func):
    model = NETS[name]()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    predicted = training_memory(model, shape, dtype=dtype, optimizer_values=2 if opt_func is Adam else 0)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    y = torch.zeros(shape[0], *shape[2:], dtype=torch.int64)
    real = measured(model, torch.rand(shape), y, DiceCELoss3D(), opt_func, dtype)
    assert predicted == pytest.approx(real, rel=0.15)


class TestTrainingMemory:
    def test_of_scores_of_volumes(self):
        shape, loss = (3, 3, 20, 24, 28), nn.CrossEntropyLoss()
        model = create_cnn_model_3d(encoder(3), 2, n_in=3)
        y = torch.zeros(3, dtype=torch.int64)
        real = measured(model, torch.rand(shape), y, loss, Adam, torch.float32)
        assert training_memory(model, shape) == pytest.approx(real, rel=0.15)

    def test_another_loss_with_its_target_and_a_network_that_is_not_there(self):
        shape = (1, 1, 64, 64, 64)
        with torch.device("meta"):
            model = UNet3D(1, 2, widths=(4, 8))
        usual = training_memory(model, shape)
        loss = nn.BCEWithLogitsLoss()
        other = training_memory(model, shape, loss_func=loss, target=((1, 2, 64, 64, 64), torch.float32))
        assert other < usual
        assert model.training
        assert next(model.parameters()).device.type == "meta"

    def test_frozen_weights_need_neither_gradients_nor_the_optimizer(self):
        model = UNet3D(1, 2, widths=(8, 64))
        whole = training_memory(model.eval(), (1, 1, 4, 4, 4))
        assert not model.training
        for parameter in model.encoder.parameters():
            parameter.requires_grad_(False)
        frozen = training_memory(model, (1, 1, 4, 4, 4))
        assert whole - frozen > 3 * size(model.encoder.parameters())

    def test_layers_that_stand_at_two_places_stay_what_they_are(self):
        class Twice(nn.Module):
            def __init__(self):
                super().__init__()
                self.first = nn.Conv3d(1, 2, 1)
                self.chain = nn.ModuleList([nn.Sequential(self.first, nn.BatchNorm3d(2))])

            def forward(self, x):
                return self.chain[0](x)

        model = Twice()
        weights = [model.first.weight, model.chain[0][0].weight]
        training_memory(model, (2, 1, 3, 4, 5))
        assert weights[0] is weights[1] is model.first.weight is model.chain[0][0].weight

    def test_a_shape_of_one_volume_is_refused(self):
        with pytest.raises(ValueError, match=r"shape must be that of a batch, \(B, C, D, H, W\), got \(1, 4, 4, 4\)"):
            training_memory(UNet3D(), (1, 4, 4, 4))
