"""UNet3D with residual blocks, kernels of each level and deep supervision; the default one as it always was."""

import copy
import math

import pytest
import torch
from fastai.data.core import DataLoaders
from fastai.layers import BatchNorm, ConvLayer, NormType
from fastai.torch_core import apply_init
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from faimed3d.models import UNet3D, UnetBlock3D
from faimed3d.models.levels import ResidualBlock3D
from faimed3d.training import Dice3D, unet_learner_3d
from faimed3d.volume import TensorMask3D

RESIDUAL = {"widths": (4, 6, 8, 8), "blocks": (1, 2, 1, 1), "kernels": [(1, 3, 3), 3, 3, 3], "up_convs": 1,
            "strides": [(1, 2, 2), 2, 2], "deep_supervision": True}  # fmt: skip


class Before(nn.Module):
    """UNet3D as it was before it had more than widths and strides."""

    def __init__(self, n_in, n_out, widths, strides):
        super().__init__()
        layer = {"norm_type": NormType.Instance, "act_cls": nn.LeakyReLU, "ndim": 3}
        self.encoder, self.blocks, n = nn.ModuleList(), nn.ModuleList(), n_in
        for width, stride in zip(widths, [1, *strides], strict=True):
            self.encoder.append(
                nn.Sequential(ConvLayer(n, width, stride=stride, **layer), ConvLayer(width, width, **layer))
            )
            n = width
        for width in widths[-2::-1]:
            block = nn.Module()
            block.shrink = ConvLayer(n, n // 2, ks=1, **layer)
            block.act = nn.LeakyReLU()
            block.conv1 = ConvLayer(n // 2 + width, width, **layer)
            block.conv2 = ConvLayer(width, width, **layer)
            apply_init(nn.Sequential(block.conv1, block.conv2), nn.init.kaiming_normal_)
            self.blocks.append(block)
            n = width
        self.final = ConvLayer(n, n_out, ks=1, ndim=3, act_cls=None, norm_type=None)

    def forward(self, x):
        kept = []
        for stage in self.encoder:
            x = stage(x)
            kept.append(x)
        kept.pop()
        for block in self.blocks:
            skip = kept.pop()
            x = F.interpolate(block.shrink(x), skip.shape[2:], mode="trilinear", align_corners=False)
            x = block.conv2(block.conv1(torch.cat([x, block.act(skip)], 1)))
        return self.final(x)


class TestAsBefore:
    @pytest.mark.parametrize(("widths", "strides"), [((4, 6, 8), [(1, 2, 2), 2]), ((4, 8), [2])])
    def test_the_default_network_is_the_same_to_the_bit(self, widths, strides):
        torch.manual_seed(3)
        before = Before(2, 3, widths, strides)
        torch.manual_seed(3)
        now = UNet3D(2, 3, widths, strides)
        assert list(now.state_dict()) == list(before.state_dict())
        assert all(torch.equal(a, b) for a, b in zip(now.parameters(), before.parameters(), strict=True))
        x = torch.rand(2, 2, 5, 8, 7)
        scores = [net(x) for net in (before, now)]
        assert torch.equal(*scores)
        for each in scores:
            each.square().sum().backward()
        assert all(torch.equal(a.grad, b.grad) for a, b in zip(now.parameters(), before.parameters(), strict=True))


step = st.one_of(st.integers(1, 3), st.tuples(*[st.integers(1, 3)] * 3))
side = st.one_of(st.sampled_from([1, 3, 5]), st.tuples(*[st.sampled_from([1, 3, 5])] * 3))


@st.composite
def networks(draw):
    levels = draw(st.integers(2, 5))

    def each(entry, count):
        return st.lists(entry, min_size=count, max_size=count)

    options = {
        "widths": draw(each(st.sampled_from([2, 4]), levels)),
        "strides": draw(st.one_of(st.integers(1, 3), each(step, levels - 1))),
        "kernels": draw(st.one_of(st.sampled_from([1, 3]), each(side, levels))),
        "blocks": draw(st.one_of(st.none(), st.integers(1, 2), each(st.integers(1, 2), levels))),
        "up_convs": draw(st.integers(1, 2)),
        "norm_type": draw(st.sampled_from([NormType.Instance, NormType.Batch])),
    }
    return options, draw(st.tuples(*[st.integers(2, 9)] * 3))


@settings(max_examples=12)
@given(networks())
def test_any_network_scores_each_voxel_on_each_scale(case):
    options, size = case
    steps = options["strides"]
    levels = len(options["widths"])
    steps = [steps] * (levels - 1) if isinstance(steps, int) else steps
    sizes = [size]
    for one in steps:  # a stride takes each s-th voxel
        by = (one,) * 3 if isinstance(one, int) else one
        sizes.append(tuple(math.ceil(n / s) for n, s in zip(sizes[-1], by, strict=True)))
    if math.prod(sizes[-1]) == 1:
        return  # cannot be normalized
    torch.manual_seed(0)
    net = UNet3D(2, 3, deep_supervision=True, **options)
    x = torch.rand(2, 2, *size)
    scores = net(x)
    scales = max(levels - 2, 1)
    assert [tuple(head.shape) for head in scores] == [(2, 3, *one) for one in sizes[:scales]]
    sum(head.square().sum() for head in scores).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    plain = UNet3D(2, 3, **options)
    heads = {f"heads.{number}.0.{name}" for number in range(scales - 1) for name in ("weight", "bias")}
    assert set(net.state_dict()) - set(plain.state_dict()) == heads
    plain.load_state_dict({name: value for name, value in net.state_dict().items() if "heads" not in name})
    with torch.no_grad():
        assert torch.equal(net.eval()(x), plain.eval()(x))


class TestResidualBlock:
    @pytest.mark.parametrize("stride", [1, (1, 2, 3), (7, 2, 9)])
    @pytest.mark.parametrize("width", [3, 4])
    def test_begins_as_its_shortcut(self, stride, width):
        block = ResidualBlock3D(4, width, stride, ks=3)
        x = torch.randn(2, 4, 5, 7, 6)
        by = (stride,) * 3 if isinstance(stride, int) else stride
        pad = [(-n) % s for n, s in zip(x.shape[2:], by, strict=True)]
        padded = F.pad(x, (0, pad[2], 0, pad[1], 0, pad[0]), value=torch.nan)
        blocks = padded.unfold(2, by[0], by[0]).unfold(3, by[1], by[1]).unfold(4, by[2], by[2])
        expected = blocks.flatten(5).nanmean(-1)
        if width != 4:
            conv = block.shortcut[-1][0]
            expected = F.conv3d(expected, conv.weight)
            spread = expected.var((2, 3, 4), correction=0, keepdim=True)
            expected = (expected - expected.mean((2, 3, 4), True)) / (spread + 1e-5).sqrt()
        assert torch.allclose(block(x), F.leaky_relu(expected), atol=3e-3)  # fastai's norms begin with a bias of 0.001

    def test_both_convolutions_and_the_last_norm_learn(self):
        block = ResidualBlock3D(4, 4)
        block(torch.randn(1, 4, 3, 4, 5)).square().sum().backward()
        assert block.convs[1][1].weight.grad.abs().max() > 0
        assert not block.convs[1][1].weight.any()


class TestLayout:
    def test_is_that_of_the_residual_encoder_of_nnunet(self):
        net = UNet3D(1, 3, widths=(8, 16, 32), blocks=(1, 3, 4), up_convs=1, strides=2)

        def norm(n):
            return 2 * n

        def block(n, m):
            return 27 * n * m + 27 * m * m + 2 * norm(m) + (n * m + norm(m) if n != m else 0)

        down = [27 * 8 + norm(8), block(8, 8)]  # the stem is a convolution
        down += [block(8, 16), *[block(16, 16)] * 2, block(16, 32), *[block(32, 32)] * 3]
        up = [32 * 16 + norm(16) + 27 * 32 * 16 + norm(16), 16 * 8 + norm(8) + 27 * 16 * 8 + norm(8), 8 * 3 + 3]
        assert sum(p.numel() for p in net.parameters()) == sum(down) + sum(up)

    def test_a_kernel_of_one_slice_never_mixes_slices(self):
        net = UNet3D(1, 2, widths=(4, 6), kernels=[(1, 3, 3), 3])
        convs = nn.Sequential(*[m for m in net.encoder[0].modules() if isinstance(m, nn.Conv3d)])
        x = torch.rand(1, 1, 3, 5, 6)
        changed = x.clone()
        changed[:, :, 1] += 1
        same = (convs(x) == convs(changed)).all(dim=(0, 1, 3, 4))
        assert same.tolist() == [True, False, True]

    def test_what_it_refuses(self):
        for arguments, text in [
            ({"kernels": (3, 3)}, r"kernels must be one number, or one entry for each of the 3 levels; got 2 entries"),
            ({"kernels": 2}, "kernels must have odd sides, which keep the size of a volume, got 2"),
            ({"kernels": [(1, 3), 3, 3]}, r"kernels: each entry must be one whole number or three \(D, H, W\)"),
            ({"blocks": (1, 2)}, r"blocks must be one number, or one entry for each of the 3 levels; got 2 entries"),
            ({"blocks": 0}, "blocks must be whole numbers of 1 or more, got 0"),
            ({"up_convs": 3}, "a step up has 1 or 2 convolutions, got 3"),
            ({"strides": [2, 0]}, "strides: each entry must be one whole number or three .* at least 1, got 0"),
        ]:
            with pytest.raises(ValueError, match=text):
                UNet3D(1, 2, widths=(4, 6, 8), **arguments)

    def test_batch_norm_of_the_skip_stays(self):
        assert isinstance(UnetBlock3D(4, 2, ks=(1, 3, 3), convs=1).bn, type(BatchNorm(2, ndim=3)))


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    net = UNet3D(1, 2, **RESIDUAL)
    for parameter in net.parameters():  # away from the zeros of the last norms
        nn.init.normal_(parameter, std=0.3)
    return net


class TestElsewhere:
    @pytest.mark.filterwarnings("ignore:.*torch.jit", "ignore::torch.jit.TracerWarning")
    @pytest.mark.parametrize("how", ["script", "trace", "fx", "export"])
    def test_evaluating_it_can_be_scripted_traced_and_exported(self, net, how):
        model, x = copy.deepcopy(net).eval(), torch.rand(1, 1, 5, 9, 12)
        made = {
            "script": lambda: torch.jit.script(model),
            "trace": lambda: torch.jit.trace(model, x),
            "fx": lambda: torch.fx.symbolic_trace(model),
            "export": lambda: torch.export.export(model, (x,)).module(),
        }[how]()
        with torch.no_grad():
            assert torch.allclose(made(x), model(x), atol=1e-4)

    def test_training_it_compiles_in_one_graph_with_the_same_gradients(self):
        model = UNet3D(1, 2, (2, 2, 4), blocks=1, up_convs=1, deep_supervision=True)
        x = torch.rand(2, 1, 3, 6, 5)
        gradients = []
        for run in (model, torch.compile(model, backend="aot_eager", fullgraph=True)):
            model.zero_grad()
            sum(scores.square().sum() for scores in run(x)).backward()
            gradients.append([p.grad.clone() for p in model.parameters()])
        assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in zip(*gradients, strict=True))

    def test_channels_last_gives_the_same(self, net):
        x = torch.rand(2, 1, 5, 8, 7)
        last = copy.deepcopy(net).to(memory_format=torch.channels_last_3d)
        for one, other in zip(net(x), last(x.to(memory_format=torch.channels_last_3d)), strict=True):
            assert torch.allclose(one, other, atol=1e-4)

    def test_a_learner_trains_it_on_all_scales_and_scores_the_finest(self):
        torch.manual_seed(0)
        masks = [TensorMask3D((torch.rand(6, 8, 10) > 0.5).long()) for _ in range(2)]
        items = [(mask[None].float() + 0.1 * torch.randn(1, 6, 8, 10), mask) for mask in masks]
        dls = DataLoaders.from_dsets(items, items, bs=2, num_workers=0)
        learn = unet_learner_3d(dls, UNet3D, n_out=2, normalize=False, metrics=Dice3D(), **RESIDUAL)
        with learn.no_bar(), learn.no_logging():
            learn.fit(12, 5e-2)
            losses = [row[1] for row in learn.recorder.values]
            scores, _ = learn.get_preds()
        assert losses[-1] < 0.7 * losses[0]
        assert scores.shape == (2, 2, 6, 8, 10)
