"""Convolutions of volumes that are smaller than the kernel: their gradients in mixed precision are those in float32."""

import torch
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from faimed3d.training import Autocast
from faimed3d.training.small_convolutions import SmallConvolutions, is_small


def of_three(*choices):
    return st.tuples(*[st.sampled_from(choices)] * 3)


@given(of_three(1, 2, 3, 4, 5), of_three(1, 3, 3, 5), of_three(1, 1, 2), st.sampled_from([1, 8, 16, 32]), st.booleans())
def test_gradients_are_those_in_float32(size, kernel, stride, channels, by_name):
    torch.manual_seed(0)
    conv = nn.Conv3d(channels, 16, kernel, stride, tuple(k // 2 for k in kernel))
    x = torch.randn(2, channels, *size)
    with torch.autocast("cpu", torch.bfloat16), SmallConvolutions():
        how = {"bias": conv.bias, "stride": stride, "padding": conv.padding}
        scores = torch.conv3d(input=x, weight=conv.weight, **how) if by_name else conv(x)
    found = torch.autograd.grad(scores.float().square().mean(), conv.weight)[0]
    exact = torch.autograd.grad(conv(x).square().mean(), conv.weight)[0]
    assert scores.dtype == (torch.float32 if is_small(x, conv.weight, 1) else torch.bfloat16)
    torch.testing.assert_close(found, exact, atol=0.02 * float(exact.abs().max()), rtol=0.02)


def test_a_dilated_kernel_spans_more():
    weight = torch.ones(1, 1, 1, 3, 3)
    assert not is_small(torch.ones(1, 1, 1, 4, 4), weight, 1)
    assert is_small(torch.ones(1, 1, 1, 4, 4), weight, 2)
    assert not is_small(torch.ones(1, 1, 1, 4, 5), weight, (4, 1, 2))


class Formats(Callback):
    """Note in which format each layer computes."""

    def before_fit(self):
        self.found = []
        self.hooks = [layer.register_forward_hook(self.note) for layer in self.learn.model if layer.kernel_size[0] > 1]

    def note(self, layer, inputs, output):
        self.found.append((inputs[0].shape[2], output.dtype))

    def after_fit(self):
        for hook in self.hooks:
            hook.remove()


def test_a_learner_trains_the_layers_of_two_slices_in_float32():
    model = nn.Sequential(*(nn.Conv3d(n, 16, 3, 2 if n == 1 else 1, 1) for n in (1, 16)))
    items = [(torch.randn(1, 4, 6, 8), torch.ones(()))] * 2
    dls = DataLoaders.from_dsets(items, items, bs=2, num_workers=0)
    loss = lambda scores, _: scores.square().mean()  # noqa: E731 - a name for a line
    learn = Learner(dls, model, loss_func=loss, cbs=[Autocast("bf16"), Formats()])
    with learn.no_bar(), learn.no_logging():
        learn.fit(1)
    assert set(learn.formats.found) == {(4, torch.bfloat16), (2, torch.float32)}
