"""Encoders and networks of three tiny stages, and what a network's convolutions are."""

from torch import nn


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


def conv_settings(model):
    """Of every convolution: channels out and in, side of the kernel, stride, groups, whether it has a bias."""
    return [
        (m.out_channels, m.in_channels, m.kernel_size[0], m.stride[0], m.groups, m.bias is not None)
        for m in model.modules()
        if isinstance(m, nn.Conv2d | nn.Conv3d)
    ]
