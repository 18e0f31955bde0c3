"""3D ResNets and their parts."""

import pytest
import torch
from torch import nn

from faimed3d.models import (
    BasicBlock3d,
    Bottleneck3d,
    ResNet3D,
    conv1x1,
    conv3x3,
    create_body,
    num_features_model,
    resnet18_3d,
    resnet34_3d,
    resnet50_3d,
    resnet101_3d,
    resnet152_3d,
)


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
