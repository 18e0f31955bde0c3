"""Networks for volumes, and the learners over them."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from fastai.callback.core import Callback
from fastai.callback.training import GradientAccumulation
from fastai.data.block import CategoryBlock, DataBlock, MultiCategoryBlock, RegressionBlock, TransformBlock
from fastai.data.transforms import ColReader, IndexSplitter
from fastai.interpret import Interpretation
from fastai.layers import NormType, SequentialEx
from fastai.learner import Learner, load_learner
from fastai.losses import BaseLoss, BCEWithLogitsLossFlat, CrossEntropyLossFlat
from fastai.torch_core import set_seed
from torch import nn
from torchvision.models.video import mc3_18, r2plus1d_18, r3d_18
from torchvision.ops import StochasticDepth

from faimed3d import models
from faimed3d.augment import Clip3D, Normalize3D, ZScore3D
from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.data.blocks import ImageBlock3D, MaskBlock3D
from faimed3d.losses import DiceCELoss3D, MCCLoss
from faimed3d.models import (
    AdaptiveConcatPool3d,
    AlexNet3D,
    BasicBlock3d,
    Bottleneck3d,
    ConvLayerDynamicPadding,
    ConvTranspose3D,
    DropConnect,
    DynamicDeepLab,
    DynamicUnet3D,
    EfficientNet,
    MBConvBlock,
    ResizeToOrig,
    ResNet3D,
    UNet3D,
    adapt_first_conv,
    conv1x1,
    conv3x3,
    create_body,
    create_cnn_model_3d,
    create_deeplab_model_3d,
    create_head,
    create_unet_model_3d,
    dummy_eval,
    efficientnet_b0,
    encoder_split,
    in_channels,
    model_sizes,
    num_features_model,
    resnet18_3d,
    resnet34_3d,
    resnet50_3d,
    resnet101_3d,
    resnet152_3d,
)
from faimed3d.training import KeepGeometry, cnn_learner_3d, deeplab_learner_3d, default_loss, unet_learner_3d

SHAPE = (6, 9, 12)


def tiny_encoder():
    """Three stages; the second shrinks in plane only, the third all axes."""

    def stage(n, m, stride):
        return nn.Sequential(nn.Conv3d(n, m, 3, stride=stride, padding=1), nn.BatchNorm3d(m), nn.ReLU())

    return nn.Sequential(stage(3, 4, 1), stage(4, 6, (1, 2, 2)), stage(6, 8, 2))


def tiny_network():
    """As torchvision's networks are: stages, a pool, a classifier."""
    stages = list(tiny_encoder())
    network = nn.Module()
    for number, stage in enumerate(stages):
        network.add_module(f"layer{number}", stage)
    network.add_module("avgpool", nn.AdaptiveAvgPool3d(1))
    network.add_module("fc", nn.Linear(8, 5))
    return network


def trained_network(pretrained=False):
    """As old torchvision's functions were."""
    return tiny_network()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four volumes of two channels, and masks: label 1 where the first channel is bright."""
    root = tmp_path_factory.mktemp("models")
    random = np.random.default_rng(0)
    rows = []
    for number in range(4):
        mask = np.zeros(SHAPE, np.uint8)
        mask[1:5, 2:7, 3 + number : 8] = 1
        row = {"mask": f"{root}/mask{number}.nii.gz"}
        TensorMask3D(mask).save(row["mask"])
        for channel in ("a", "b"):
            row[channel] = f"{root}/{channel}{number}.nii.gz"
            TensorDicom3D(random.normal(0, 0.1, SHAPE).astype(np.float32) + mask).save(row[channel])
        rows.append({**row, "kind": "xy"[number % 2], "size": float(mask.sum()), "both": "x y" if number else "x"})
    return pd.DataFrame(rows)


def read_two(row):
    return [row["a"], row["b"]]


def make_dls(table, block, get_y, bs=2):
    data = DataBlock((ImageBlock3D, block), get_x=read_two, get_y=get_y, splitter=IndexSplitter([2, 3]))
    return data.dataloaders(table, bs=bs, num_workers=0)


@pytest.fixture
def dls(folder):
    set_seed(0)
    return make_dls(folder, MaskBlock3D(["background", "box"]), ColReader("mask"))


class TestCreateBody:
    def test_keeps_the_stages_before_the_pool(self):
        body = create_body(tiny_network)
        assert [tuple(size) for size in model_sizes(body, (8, 8, 8))] == [
            (1, 4, 8, 8, 8),
            (1, 6, 8, 4, 4),
            (1, 8, 4, 2, 2),
        ]

    def test_cuts_where_it_is_told(self):
        assert len(create_body(tiny_network, cut=2)) == 2
        assert len(create_body(tiny_network, cut=lambda network: nn.Sequential(network.layer0))) == 1 + 2

    @pytest.mark.parametrize("n_in", [1, 2, 3, 4])
    def test_takes_as_many_channels_as_asked(self, n_in):
        body = create_body(tiny_network, n_in=n_in)
        assert in_channels(body) == n_in
        assert body(torch.zeros(1, n_in, 4, 5, 6)).shape == (1, 8, 2, 2, 2)

    @pytest.mark.parametrize("n_in", [1, 2, 4, 5, 6])
    def test_the_same_picture_in_every_channel_gives_the_old_answer(self, n_in):
        old, picture = nn.Conv3d(3, 4, 3), torch.rand(1, 1, 4, 5, 6)
        new = adapt_first_conv(nn.Sequential(copy.deepcopy(old)), n_in)
        assert torch.allclose(
            new(picture.expand(1, n_in, -1, -1, -1)), old(picture.expand(1, 3, -1, -1, -1)), atol=1e-5
        )

    def test_reads_the_shapes_without_touching_state(self):
        body = create_body(tiny_network)
        before = copy.deepcopy(body.state_dict())
        body.train()
        assert num_features_model(body) == 8
        assert body.training
        assert all(torch.equal(value, before[key]) for key, value in body.state_dict().items())

    def test_dummy_eval_computes(self):
        assert dummy_eval(create_body(tiny_network), (4, 8, 8)).shape == (1, 8, 2, 2, 2)

    @pytest.mark.parametrize("arch", [r3d_18, mc3_18, r2plus1d_18])
    def test_the_default_weights_come_through_torchvision_with_their_hash_checked(self, arch, monkeypatch):
        asked = []

        def load(self, *args, **kwargs):
            asked.append(kwargs)
            return model.state_dict()

        with torch.device("meta"):
            model = arch(num_classes=400)
            monkeypatch.setattr("torchvision.models._api.WeightsEnum.get_state_dict", load)
            monkeypatch.setattr(nn.Module, "load_state_dict", lambda self, state, **kwargs: None)
            body = create_body(arch, n_in=3, pretrained=True)
        assert asked == [{"progress": True, "check_hash": True}]
        assert len(body) == 5

    def test_without_weights_nothing_is_asked_for(self, monkeypatch):
        def load(*args, **kwargs):
            raise AssertionError("asked for weights")

        monkeypatch.setattr("torchvision.models._api.WeightsEnum.get_state_dict", load)
        assert in_channels(create_body(r3d_18, n_in=1)) == 1

    def test_weights_of_an_arch_of_ones_own(self):
        def arch(pretrained=False):
            network = tiny_network()
            nn.init.constant_(network.layer0[0].weight, 3.0 if pretrained else 1.0)
            return network

        assert (create_body(arch, n_in=1, pretrained=True)[0][0].weight == 9).all()
        network = arch()
        assert create_body(network)[0] is network.layer0

    def test_refuses_what_it_cannot_use(self):
        with pytest.raises(TypeError, match=r"arch must be a function that builds a 3D network, .* got 'r3d_18'"):
            create_body("r3d_18")
        with pytest.raises(TypeError, match="tiny_network takes neither weights nor pretrained"):
            create_body(tiny_network, pretrained=True)
        with pytest.raises(TypeError, match=r"dict must build a network .* it gave a dict"):
            create_body(dict)
        with pytest.raises(ValueError, match="Linear has no 3D convolution"):
            create_body(nn.Linear(2, 2))
        with pytest.raises(ValueError, match="n_in must be at least 1, got 0"):
            create_body(tiny_network, n_in=0)
        with pytest.raises(ValueError, match="has 2 groups: its number of channels cannot be changed"):
            adapt_first_conv(nn.Conv3d(4, 4, 1, groups=2), 1)


class TestDynamicUnet3D:
    @pytest.mark.parametrize("size", [(4, 8, 8), (5, 9, 13), (1, 7, 2), (16, 3, 6)])
    @pytest.mark.parametrize("n_in", [1, 2])
    def test_gives_a_score_to_every_voxel_of_any_size(self, size, n_in):
        model = create_unet_model_3d(tiny_network, 3, n_in=n_in).eval()
        assert model(torch.rand(1, n_in, *size)).shape == (1, 3, *size)

    @pytest.mark.parametrize("arch", [r3d_18, mc3_18, r2plus1d_18])
    def test_takes_torchvisions_video_networks(self, arch):
        with torch.device("meta"):
            model = create_unet_model_3d(arch, 2)
            assert model(torch.rand(2, 1, 9, 17, 24)).shape == (2, 2, 9, 17, 24)

    def test_trains_on_r3d_18(self):
        model = create_unet_model_3d(r3d_18, 2, n_in=2)
        scores = model(torch.rand(2, 2, 4, 18, 16))
        assert scores.shape == (2, 2, 4, 18, 16)
        scores.sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())

    def test_has_a_skip_for_each_change_of_any_axis(self):
        assert DynamicUnet3D(tiny_encoder(), 2).skips == [1, 0]

    def test_without_batch_norm_uses_none(self):
        model = DynamicUnet3D(tiny_encoder(), 2, norm_type=NormType.Instance)
        rest = nn.ModuleList([model.middle, model.blocks, model.final])
        assert not any("BatchNorm" in type(module).__name__ for module in rest.modules())
        assert any(isinstance(module, nn.InstanceNorm3d) for module in rest.modules())

    def test_has_no_batch_norm_of_pictures(self):
        model = DynamicUnet3D(tiny_encoder(), 2)
        assert not any(isinstance(module, nn.BatchNorm2d | nn.Conv2d) for module in model.modules())

    def test_options_of_the_last_layers(self):
        x = torch.rand(1, 3, 4, 8, 8)
        squeezed = DynamicUnet3D(tiny_encoder(), 1, y_range=(2, 3), bottle=True).eval()(x)
        assert squeezed.min() >= 2
        assert squeezed.max() <= 3
        assert DynamicUnet3D(tiny_encoder(), 2, last_cross=False).eval()(x).shape == (1, 2, 4, 8, 8)

    def test_can_be_copied_and_pickled(self):
        model, x = DynamicUnet3D(tiny_encoder(), 2).eval(), torch.rand(1, 3, 4, 8, 8)
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert torch.equal(other(x), model(x))

    @pytest.mark.parametrize("make", [lambda: DynamicUnet3D(tiny_encoder(), 2), lambda: UNet3D(3, 2, (4, 8))])
    def test_compiles_in_one_graph(self, make):
        model, x = make().eval(), torch.rand(1, 3, 5, 8, 7)
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        assert torch.allclose(compiled(x), model(x), atol=1e-6)

    @pytest.mark.parametrize("make", [lambda: DynamicUnet3D(tiny_encoder(), 2), lambda: UNet3D(3, 2, (4, 8))])
    def test_trains_in_mixed_precision(self, make):
        model = make()
        with torch.autocast("cpu", torch.bfloat16):
            scores = model(torch.rand(2, 3, 5, 8, 7))
        assert scores.dtype == torch.bfloat16
        loss = DiceCELoss3D()(scores, torch.zeros(2, 5, 8, 7, dtype=torch.int64))
        loss.backward()
        assert loss.dtype == torch.float32
        assert all(p.grad.isfinite().all() for p in model.parameters())

    def test_splits_into_two_halves_of_the_encoder_and_the_rest(self):
        model = DynamicUnet3D(tiny_encoder(), 2)
        groups = encoder_split(model)
        assert len(groups) == 3
        assert sum(len(group) for group in groups) == len(list(model.parameters()))
        assert groups[0][0] is model.encoder[0][0].weight
        assert groups[1][0] is model.encoder[2][0].weight

    def test_refuses_what_is_no_encoder(self):
        with pytest.raises(TypeError, match=r"encoder must be an nn.Sequential of stages .* got Conv3d"):
            DynamicUnet3D(nn.Conv3d(1, 2, 3), 2)
        with pytest.raises(ValueError, match="every stage of the encoder must give"):
            DynamicUnet3D(nn.Sequential(nn.Conv3d(1, 2, 3), nn.Flatten()), 2)


class TestUNet3D:
    @pytest.mark.parametrize("size", [(4, 8, 8), (5, 9, 13), (3, 2, 7)])
    def test_gives_a_score_to_every_voxel_of_any_size(self, size):
        model = UNet3D(2, 3, widths=(4, 6, 8))
        assert model(torch.rand(1, 2, *size)).shape == (1, 3, *size)

    def test_shrinks_the_axes_it_is_told(self):
        model = UNet3D(1, 2, widths=(4, 6), strides=[(1, 2, 2)])
        assert model.encoder[1](model.encoder[0](torch.rand(1, 1, 3, 8, 8))).shape == (1, 6, 3, 4, 4)
        with pytest.raises(ValueError, match="each of the 2 levels below the first; got 1 entries"):
            UNet3D(1, 2, widths=(4, 6, 8), strides=[2])


class TestDeepLab:
    @pytest.mark.parametrize("size", [(4, 8, 8), (5, 9, 13), (1, 7, 2)])
    def test_gives_a_score_to_every_voxel_of_any_size(self, size):
        model = create_deeplab_model_3d(tiny_network, 3, n_in=2, width=6).eval()
        assert model(torch.rand(1, 2, *size)).shape == (1, 3, *size)

    def test_joins_the_finest_stage(self):
        assert DynamicDeepLab(tiny_encoder(), 2, width=6).early == 0

    def test_trains_on_one_volume_at_a_time(self):
        model = create_deeplab_model_3d(tiny_network, 2, width=6)
        model(torch.rand(1, 1, 8, 8, 8)).sum().backward()
        assert all(p.grad.isfinite().all() for p in model.parameters())

    def test_splits_as_the_u_net_does(self):
        model = DynamicDeepLab(tiny_encoder(), 2, width=6)
        assert sum(len(group) for group in encoder_split(model)) == len(list(model.parameters()))

    def test_refuses_what_is_no_encoder(self):
        with pytest.raises(TypeError, match=r"at least two stages .* got Conv3d"):
            DynamicDeepLab(nn.Conv3d(1, 2, 3), 2)


class TestResNets:
    @pytest.mark.parametrize(
        ("arch", "million", "features"),
        [(resnet18_3d, 33.2, 512), (resnet34_3d, 63.5, 512), (resnet50_3d, 46.2, 2048), (resnet101_3d, 85.2, 2048),
         (resnet152_3d, 117.4, 2048)],
    )  # fmt: skip
    def test_have_their_depth_and_serve_as_encoders(self, arch, million, features):
        with torch.device("meta"):
            body = create_body(arch, n_in=3)
        assert sum(p.numel() for p in body.parameters()) / 1e6 == pytest.approx(million, abs=0.1)
        assert num_features_model(body) == features


def conv_settings(model):
    """Of every convolution: channels out and in, side of the kernel, stride, groups, whether it has a bias."""
    return [
        (m.out_channels, m.in_channels, m.kernel_size[0], m.stride[0], m.groups, m.bias is not None)
        for m in model.modules()
        if isinstance(m, nn.Conv2d | nn.Conv3d)
    ]


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


class TestAlexNet3D:
    def test_has_the_channels_and_kernels_of_alexnet(self):
        with torch.device("meta"):
            ours, theirs = AlexNet3D(3, 1000), torchvision.models.alexnet()
        found = [
            (m.out_channels, m.in_channels, m.kernel_size[2], m.stride[2], m.groups, True)
            for m in ours.modules()
            if isinstance(m, nn.Conv3d)
        ]
        assert found == conv_settings(theirs)
        linear = [[m.weight.shape for m in net.modules() if isinstance(m, nn.Linear)] for net in (ours, theirs)]
        assert linear[0] == linear[1]

    @pytest.mark.parametrize("size", [(1, 1, 1), (3, 20, 9), (5, 64, 70)])
    def test_takes_volumes_of_any_size(self, size):
        assert AlexNet3D(2, 4).eval()(torch.rand(1, 2, *size)).shape == (1, 4)

    @pytest.mark.parametrize("n_in", [1, 2, 3])
    def test_serves_as_an_encoder(self, n_in):
        with torch.device("meta"):
            body = create_body(AlexNet3D, n_in=n_in)
            unet = create_unet_model_3d(AlexNet3D, 2, n_in=n_in)
            assert unet(torch.rand(1, n_in, 5, 64, 70)).shape == (1, 2, 5, 64, 70)
        assert [tuple(size[1:]) for size in model_sizes(body)][-1] == (256, 64, 2, 2)
        assert in_channels(body) == n_in


class TestPartsOfResNets:
    @pytest.mark.parametrize(("block", "out"), [(BasicBlock3d, 6), (Bottleneck3d, 24)])
    def test_blocks_take_a_stride_and_a_shortcut(self, block, out):
        x = torch.rand(2, 4, 3, 5, 6)
        shortcut = nn.Sequential(conv1x1(4, out, 2), nn.BatchNorm3d(out))
        assert block(4, 6, stride=2, downsample=shortcut)(x).shape == (2, out, 2, 3, 3)
        assert block.expansion * 6 == out

    def test_build_the_resnets(self):
        with torch.device("meta"):
            network = ResNet3D(Bottleneck3d, [1, 1, 1, 1], num_classes=7)
        assert network.fc.out_features == 7
        assert isinstance(network.layer3[0], Bottleneck3d)

    def test_convolutions_keep_the_size(self):
        x = torch.rand(1, 4, 3, 5, 6)
        assert conv3x3(4, 2)(x).shape == conv1x1(4, 2)(x).shape == (1, 2, 3, 5, 6)
        assert conv3x3(4, 4, groups=2, dilation=2)(x).shape == x.shape
        assert conv3x3(4, 2, stride=2)(x).shape == conv1x1(4, 2, stride=2)(x).shape == (1, 2, 2, 3, 3)
        assert conv3x3(4, 2).bias is conv1x1(4, 2).bias is None


class TestPartsOfUnets:
    @pytest.mark.parametrize("blur", [False, True])
    @pytest.mark.parametrize(("scale", "size"), [(2, (6, 10, 14)), ((1, 2, 3), (3, 10, 21))])
    def test_transposed_convolution_enlarges_by_its_scale(self, scale, size, blur):
        layer = ConvTranspose3D(4, 2, scale=scale, blur=blur)
        assert layer(torch.rand(1, 4, 3, 5, 7)).shape == (1, 2, *size)
        assert ConvTranspose3D(4)(torch.rand(1, 4, 1, 1, 1)).shape == (1, 4, 2, 2, 2)

    @pytest.mark.parametrize("mode", ["trilinear", "nearest"])
    def test_resize_to_orig_in_fastais_sequence(self, mode):
        layers = SequentialEx(nn.Conv3d(1, 2, 3, stride=2, padding=1), ResizeToOrig(mode))
        assert layers(torch.rand(1, 1, 5, 7, 8)).shape == (1, 2, 5, 7, 8)
        assert SequentialEx(nn.Identity(), ResizeToOrig(mode))(torch.ones(1, 1, 2, 3, 4)).shape == (1, 1, 2, 3, 4)


@pytest.mark.parametrize("arch", [efficientnet_b0, AlexNet3D])
class TestLearnersOverThem:
    def test_classes(self, folder, arch):
        dls = make_dls(folder, CategoryBlock, ColReader("kind"))
        learn = cnn_learner_3d(dls, arch)
        with learn.no_bar(), learn.no_logging():
            learn.fit(1, 1e-3)
        assert np.isfinite(learn.recorder.values[0][0])
        assert in_channels(learn.model[0]) == 2

    def test_labels(self, dls, arch):
        learn = unet_learner_3d(dls, arch, loss_func=MCCLoss())
        with learn.no_bar(), learn.no_logging():
            learn.fit(1, 1e-3)
        assert np.isfinite(learn.recorder.values[0][0])


class TestCnn:
    def test_concat_pool_gives_maximum_and_mean(self):
        x = torch.arange(24.0).reshape(1, 1, 2, 3, 4)
        assert AdaptiveConcatPool3d()(x).flatten().tolist() == [23, 11.5]
        assert AdaptiveConcatPool3d((1, 3, 2))(x).shape == (1, 2, 1, 3, 2)

    @pytest.mark.parametrize("concat_pool", [True, False])
    def test_head_takes_volumes_of_any_size(self, concat_pool):
        head = create_head(8, 3, concat_pool=concat_pool, lin_ftrs=[5], ps=0.1).eval()
        for size in ((1, 2, 3), (4, 4, 4)):
            assert head(torch.rand(2, 8, *size)).shape == (2, 3)
        assert create_head(8, 3, pool=False).eval()(torch.rand(2, 8)).shape == (2, 3)

    def test_model_of_body_and_head(self):
        model = create_cnn_model_3d(tiny_network, 3, n_in=2, ps=0.0)
        assert model(torch.rand(2, 2, 5, 8, 7)).shape == (2, 3)
        own = create_cnn_model_3d(tiny_network, 3, custom_head=nn.Flatten(), init=None)
        assert own(torch.rand(2, 1, 4, 4, 4)).shape == (2, 8 * 2)


class TestUnetLearner:
    def test_knows_channels_classes_and_loss_from_the_dls(self, dls):
        learn = unet_learner_3d(dls, tiny_network)
        assert in_channels(learn.model) == 2
        assert learn.model(torch.rand(1, 2, 4, 4, 4)).shape[1] == 2
        assert isinstance(learn.loss_func, DiceCELoss3D)
        assert isinstance(learn.keep_geometry, KeepGeometry)

    def test_learns_the_bright_box_and_survives_export(self, dls, tmp_path):
        learn = unet_learner_3d(dls, UNet3D, model_args={"widths": (8, 16)}, path=tmp_path)
        with learn.no_bar(), learn.no_logging():
            learn.fit(6, 2e-2)
            prediction, _, _ = learn.predict([str(path) for path in (dls.items["a"][0], dls.items["b"][0])])
            probabilities, targets, losses = learn.get_preds(with_loss=True)
        truth = TensorMask3D.create(dls.items["mask"][0])
        assert ((prediction == truth).float().mean()) > 0.95
        assert torch.allclose(probabilities.sum(1), torch.ones(2, *SHAPE), atol=1e-5)
        assert targets.shape == (2, *SHAPE)
        assert losses.shape == (2,)
        with learn.no_bar(), learn.no_logging():
            worst, which = Interpretation.from_learner(learn).top_losses(1)
        assert worst.item() == pytest.approx(losses.max().item(), rel=1e-4)
        assert which.tolist() == [losses.argmax().item()]
        learn.export("learner.pkl")
        with pytest.warns(UserWarning, match="load_learner.*pickle"):
            loaded = load_learner(tmp_path / "learner.pkl")
        x = torch.rand(1, 2, *SHAPE)
        assert torch.equal(loaded.model.eval()(x), learn.model.eval()(x))

    def test_freezes_what_is_pretrained_and_trains_at_different_rates(self, dls):
        learn = unet_learner_3d(dls, trained_network, pretrained=True)
        first = learn.model.encoder[0][0].weight
        frozen = first.detach().clone()
        with learn.no_bar(), learn.no_logging():
            learn.fit(1, 1e-2)
            assert torch.equal(first, frozen)
            learn.unfreeze()
            learn.fine_tune(1, 1e-2)
        assert not torch.equal(first, frozen)
        assert len({hyper["lr"] for hyper in learn.opt.hypers}) == 3

    @pytest.mark.parametrize("make", [unet_learner_3d, deeplab_learner_3d, cnn_learner_3d])
    def test_fine_tune_leaves_no_random_weights_frozen(self, folder, make):
        block, get_y = (CategoryBlock, "kind") if make is cnn_learner_3d else (MaskBlock3D(["air", "box"]), "mask")
        learn = make(make_dls(folder, block, ColReader(get_y)), tiny_network)
        learn.freeze()
        assert all(parameter.requires_grad for parameter in learn.model.parameters())
        pretrained = make(learn.dls, trained_network, pretrained=True)
        assert not all(parameter.requires_grad for parameter in pretrained.model.parameters())
        assert len(pretrained.opt.param_lists) == 3

    def test_accumulates_gradients_as_fastai_does(self, dls):
        class Steps(Callback):
            count = 0

            def after_step(self):
                Steps.count += 1

        learn = unet_learner_3d(dls, tiny_network, cbs=[GradientAccumulation(4), Steps])
        with learn.no_bar(), learn.no_logging():
            learn.fit(2, 1e-3)
        assert Steps.count == 1  # four items: two epochs of one batch of two

    def test_what_is_passed_goes_before_what_is_inferred(self, dls):
        loss = CrossEntropyLossFlat(axis=1)
        learn = unet_learner_3d(
            dls, tiny_network, n_out=5, n_in=3, loss_func=loss, splitter=lambda m: [[*m.parameters()]]
        )
        assert learn.model(torch.rand(1, 3, 4, 4, 4)).shape[1] == 5
        assert learn.loss_func is loss
        learn.create_opt()
        assert len(learn.opt.param_lists) == 1

    def test_refuses_what_it_cannot_infer(self, folder):
        flat = DataBlock((TransformBlock(TensorDicom3D.create), MaskBlock3D(["a", "b"])), get_x=ColReader("a"),
                         get_y=ColReader("mask"), splitter=IndexSplitter([3]))  # fmt: skip
        with pytest.raises(ValueError, match=r"images \(B, C, D, H, W\), got \(1, 6, 9, 12\): ImageBlock3D"):
            unet_learner_3d(flat.dataloaders(folder, bs=2), tiny_network)
        plain = DataBlock((ImageBlock3D, TransformBlock(TensorMask3D.create)), get_x=ColReader("a"),
                          get_y=ColReader("mask"), splitter=IndexSplitter([3]))  # fmt: skip
        with pytest.raises(ValueError, match="do not say how many classes there are: give MaskBlock3D its codes"):
            unet_learner_3d(plain.dataloaders(folder, bs=2), tiny_network)
        with pytest.raises(ValueError, match="UNet3D has no pretrained weights"):
            unet_learner_3d(plain.dataloaders(folder, bs=2), UNet3D, n_out=2, pretrained=True)


class TestNormalization:
    """Scans in HU or in the units of MR are brought to mean 0 and sd 1, as nothing else does it."""

    def loaders(self, folder, item=(), batch=()):
        table = folder.copy()
        for column in ("a", "b"):
            for number, path in enumerate(folder[column]):
                table.loc[number, column] = path.replace(".nii.gz", "_mr.nii.gz")
                (TensorDicom3D.create(path) * 1000 + 500).save(table.loc[number, column])
        data = DataBlock((ImageBlock3D, MaskBlock3D(["air", "box"])), get_x=read_two, get_y=ColReader("mask"),
                         splitter=IndexSplitter([2, 3]), item_tfms=item, batch_tfms=batch)  # fmt: skip
        return data.dataloaders(table, bs=2, num_workers=0)

    @staticmethod
    def added(dls):
        return [transform for transform in dls.train.after_batch.fs if isinstance(transform, Normalize3D)]

    @pytest.mark.parametrize("make", [unet_learner_3d, deeplab_learner_3d])
    def test_is_added_once_where_nothing_scales(self, folder, make):
        dls = self.loaders(folder)
        before, masks = dls.one_batch()
        assert before.mean() > 400
        make(dls, tiny_network)
        make(dls, tiny_network)
        assert len(self.added(dls)) == 1
        for loader in dls:
            images, targets = loader.one_batch()
            for channel in range(2):
                assert abs(images[:, channel].mean()) < 0.2
                assert abs(images[:, channel].std() - 1) < 0.3
            assert set(targets.unique().tolist()) == {0, 1}
        assert masks.dtype == targets.dtype == torch.int64

    @pytest.mark.parametrize("given", [{"item": ZScore3D()}, {"batch": Normalize3D(600.0, 400.0)}])
    def test_is_not_added_where_a_transform_scales(self, folder, given):
        dls = self.loaders(folder, **given)
        count = len(self.added(dls))
        unet_learner_3d(dls, tiny_network)
        assert len(self.added(dls)) == count

    def test_is_added_to_what_is_only_clipped(self, folder):
        dls = self.loaders(folder, item=Clip3D(-1000, 1000))
        unet_learner_3d(dls, tiny_network)
        assert len(self.added(dls)) == 1

    def test_can_be_left_out(self, folder):
        dls = self.loaders(folder)
        cnn_learner_3d(dls, tiny_network, normalize=False)
        assert not self.added(dls)
        assert dls.one_batch()[0].mean() > 400

    def test_predicted_volumes_are_prepared_alike(self, folder):
        dls = self.loaders(folder)
        learn = unet_learner_3d(dls, UNet3D, model_args={"widths": (8, 16)})
        with learn.no_bar(), learn.no_logging():
            learn.fit(2, 2e-2)
            scores, _ = learn.get_preds()
        row = dls.valid_ds.items.iloc[1]
        found = learn.predict_volume([row["a"], row["b"]])
        assert found.any()
        assert (found == scores[1].argmax(0)).float().mean() > 0.999


class TestDeepLabLearner:
    def test_trains(self, dls):
        learn = deeplab_learner_3d(dls, tiny_network, model_args={"width": 6})
        with learn.no_bar(), learn.no_logging():
            learn.fine_tune(1, 1e-3)
            scores, _ = learn.get_preds()
        assert scores.shape == (2, 2, *SHAPE)


class TestCnnLearner:
    @pytest.mark.parametrize(
        ("block", "get_y", "n_out", "loss"),
        [
            (CategoryBlock, ColReader("kind"), 2, CrossEntropyLossFlat),
            (MultiCategoryBlock, ColReader("both", label_delim=" "), 2, BCEWithLogitsLossFlat),
            (RegressionBlock, ColReader("size"), 1, BaseLoss),
        ],
        ids=["categories", "several", "numbers"],
    )
    def test_takes_the_loss_of_the_blocks_and_trains(self, folder, block, get_y, n_out, loss):
        set_seed(0)
        learn = cnn_learner_3d(make_dls(folder, block, get_y), tiny_network, model_args={"lin_ftrs": [8]})
        assert type(learn.loss_func) is loss
        with learn.no_bar(), learn.no_logging():
            learn.fine_tune(1, 1e-3)
            predictions, _ = learn.get_preds()
        assert predictions.shape == (2, n_out)

    def test_a_target_without_a_loss_is_an_error(self, folder):
        dls = make_dls(folder, TransformBlock, ColReader("size"))
        with pytest.raises(ValueError, match="do not say which loss suits their targets"):
            default_loss(dls)


class TestPlainLearner:
    def test_any_network_trains(self, dls):
        network = nn.Sequential(nn.Conv3d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 2, 1))
        learn = Learner(dls, network, loss_func=DiceCELoss3D())
        with learn.no_bar(), learn.no_logging():
            before = learn.validate()[0]
            learn.fit(4, 2e-2)
            assert learn.validate()[0] < before
