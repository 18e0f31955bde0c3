"""AlexNet against torchvision's."""

import pytest
import torch
import torchvision
from tiny_networks import conv_settings
from torch import nn

from faimed3d.models import (
    AlexNet3D,
    create_body,
    create_unet_model_3d,
    in_channels,
    model_sizes,
)


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
