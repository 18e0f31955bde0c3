"""3D ResNets of every depth, built from torchvision's video blocks; encoders for the learners."""

from __future__ import annotations

from torch import nn
from torchvision.models.video.resnet import BasicBlock, BasicStem, Bottleneck, Conv3DSimple, VideoResNet, r3d_18

__all__ = [
    "BasicBlock3d",
    "Bottleneck3d",
    "ResNet3D",
    "conv1x1",
    "conv3x3",
    "resnet18_3d",
    "resnet34_3d",
    "resnet50_3d",
    "resnet101_3d",
    "resnet152_3d",
]


class BasicBlock3d(BasicBlock):
    """Two 3x3x3 convolutions and a shortcut: torchvision's video ``BasicBlock``.

    Args:
        inplanes, planes: channels in and out.
        conv_builder: makes the convolutions, ``Conv3DSimple`` or another one of torchvision's video networks.
        stride: of the first convolution.
        downsample: module that brings the input to the shape of the result; needed where they differ.
    """

    def __init__(self, inplanes, planes, conv_builder=Conv3DSimple, stride=1, downsample=None):
        super().__init__(inplanes, planes, conv_builder, stride, downsample)


class Bottleneck3d(Bottleneck):
    """A 1x1x1, a 3x3x3 and a 1x1x1 convolution to four times ``planes``, and a shortcut: torchvision's ``Bottleneck``.

    Args:
        inplanes, planes: channels in, and inside.
        conv_builder, stride, downsample: see :class:`BasicBlock3d`.
    """

    def __init__(self, inplanes, planes, conv_builder=Conv3DSimple, stride=1, downsample=None):
        super().__init__(inplanes, planes, conv_builder, stride, downsample)


class ResNet3D(VideoResNet):
    """A ResNet of 3x3x3 convolutions; it divides D by 8, H and W by 16.

    Args:
        block: :class:`BasicBlock3d` or :class:`Bottleneck3d`.
        layers: blocks in each of the four stages.
        num_classes: of the classifier, which the learners cut off.
    """

    def __init__(self, block, layers, num_classes=400):
        super().__init__(block, [Conv3DSimple] * 4, list(layers), BasicStem, num_classes)


def resnet18_3d(weights=None, **kwargs):
    """ResNet of 18 layers: torchvision's ``r3d_18``, with its Kinetics-400 weights if asked for."""
    return r3d_18(weights=weights, **kwargs)


def resnet34_3d(**kwargs):
    """ResNet of 34 layers, without weights."""
    return ResNet3D(BasicBlock3d, [3, 4, 6, 3], **kwargs)


def resnet50_3d(**kwargs):
    """ResNet of 50 layers, without weights."""
    return ResNet3D(Bottleneck3d, [3, 4, 6, 3], **kwargs)


def resnet101_3d(**kwargs):
    """ResNet of 101 layers, without weights."""
    return ResNet3D(Bottleneck3d, [3, 4, 23, 3], **kwargs)


def resnet152_3d(**kwargs):
    """ResNet of 152 layers, without weights."""
    return ResNet3D(Bottleneck3d, [3, 8, 36, 3], **kwargs)


def conv3x3(in_planes, out_planes, stride=1, groups=1, dilation=1):
    """A 3x3x3 convolution without bias, padded so that stride 1 keeps the size."""
    return nn.Conv3d(in_planes, out_planes, 3, stride, dilation, dilation, groups, bias=False)


def conv1x1(in_planes, out_planes, stride=1):
    """A 1x1x1 convolution without bias."""
    return nn.Conv3d(in_planes, out_planes, 1, stride, bias=False)
