"""EfficientNets against torchvision's, and their parts."""

import pytest
import torch
import torchvision
from fastai.layers import NormType
from tiny_networks import conv_settings
from torch import nn
from torchvision.ops import StochasticDepth

from faimed3d import models
from faimed3d.models import (
    ConvLayerDynamicPadding,
    DropConnect,
    EfficientNet,
    MBConvBlock,
    create_body,
    efficientnet_b0,
    model_sizes,
)


def parameters_of_cubes(model):
    """How many parameters a network of pictures has when each square kernel becomes a cube."""
    kernels = {m.weight: m.kernel_size[0] for m in model.modules() if isinstance(m, nn.Conv2d)}
    return sum(p.numel() * kernels.get(p, 1) for p in model.parameters())


class TestEfficientNets:
    @pytest.mark.parametrize("number", range(8))
    def test_are_torchvisions_with_cubes_for_squares(self, number):
        with torch.device("meta"):
            ours = getattr(models, f"efficientnet_b{number}")(num_classes=1000)
            theirs = getattr(torchvision.models, f"efficientnet_b{number}")()
        assert conv_settings(ours) == conv_settings(theirs)
        assert sum(p.numel() for p in ours.parameters()) == parameters_of_cubes(theirs)
        assert all(len(set(m.kernel_size)) == 1 for m in ours.modules() if isinstance(m, nn.Conv3d))
        rates, expected = ([m.p for m in model.modules() if isinstance(m, StochasticDepth)] for model in (ours, theirs))
        assert rates == pytest.approx(expected)
        drop, other = ([m.p for m in model.modules() if isinstance(m, nn.Dropout)] for model in (ours, theirs))
        assert drop == other

    @pytest.mark.parametrize("size", [(3, 20, 9), (1, 40, 33)])
    @pytest.mark.parametrize("n_in", [1, 2, 3])
    def test_take_volumes_of_any_size_and_channels(self, size, n_in):
        model = efficientnet_b0(ni=n_in, num_classes=5).eval()
        assert model(torch.rand(2, n_in, *size)).shape == (2, 5)

    def test_serve_as_encoders_without_their_head(self):
        with torch.device("meta"):
            body = create_body(efficientnet_b0, n_in=1)
        assert [size[1] for size in model_sizes(body)] == [32, 16, 24, 40, 80, 112, 192, 320]
        assert model_sizes(body)[-1][2:] == (2, 2, 2)
        assert len(body) == 8

    def test_have_no_weights_to_begin_with(self):
        with pytest.raises(TypeError, match="efficientnet_b0 takes neither weights nor pretrained"):
            create_body(efficientnet_b0, pretrained=True)

    def test_train(self):
        model = EfficientNet(1, 2)
        model(torch.rand(2, 1, 4, 40, 40)).sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())

    def test_have_the_activation_and_norm_asked_for_everywhere(self):
        with torch.device("meta"):
            model = EfficientNet(act_cls=nn.ReLU, norm_type=NormType.Instance)
        assert not any(isinstance(m, nn.SiLU | nn.BatchNorm3d) for m in model.modules())
        assert sum(isinstance(m, nn.ReLU) for m in model.modules()) == 49
        stem = EfficientNet()[0]
        assert isinstance(list(stem)[-1], nn.SiLU)


class TestPartsOfEfficientNets:
    @pytest.mark.parametrize("ks", [1, 2, 3, 4, (2, 3, 4)])
    @pytest.mark.parametrize("stride", [1, 2])
    def test_layers_keep_the_size_whatever_the_kernel(self, ks, stride):
        out = ConvLayerDynamicPadding(1, 2, ks, stride)(torch.rand(2, 1, 5, 6, 7))
        assert out.shape[2:] == ((5, 6, 7) if stride == 1 else (3, 3, 4))

    def test_a_block_is_skipped_for_some_items_in_training_only(self):
        drop, x = DropConnect(0.5), torch.ones(400, 1, 1, 1, 2)
        kept = drop(x)[:, 0, 0, 0, 0]
        assert set(kept.tolist()) == {0, 2}
        assert kept.mean() == pytest.approx(1, abs=0.2)
        assert torch.equal(drop.eval()(x), x)
        with pytest.raises(ValueError, match="p must be a probability from 0 to below 1, got 1"):
            DropConnect(1)

    def test_a_block_adds_its_input_where_the_shapes_agree(self):
        x = torch.rand(1, 4, 3, 4, 5)
        for block, added in ((MBConvBlock(4, 4), True), (MBConvBlock(4, 4, id_skip=False), False)):
            block.eval()
            nn.init.zeros_(block.narrow[0].weight)
            assert torch.allclose(
                block(x), x if added else torch.zeros_like(x), atol=2e-3
            )  # fastai's norms begin at 1e-3
        assert MBConvBlock(4, 6, stride=2).eval()(x).shape == (1, 6, 2, 2, 3)

    def test_the_squeeze_can_be_left_out(self):
        assert MBConvBlock(4, 4, se_ratio=None).weigh is None
        assert MBConvBlock(4, 4, se_ratio=None)(torch.rand(2, 4, 3, 4, 5)).shape == (2, 4, 3, 4, 5)
