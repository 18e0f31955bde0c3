"""3D ResNets of every depth, built from torchvision's video blocks (Tran et al. 2018, arXiv:1711.11248)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any  # of arguments that are handed on to torchvision

from torch import nn
from torchvision.models.video.resnet import BasicBlock, BasicStem, Bottleneck, Conv3DSimple, VideoResNet, r3d_18

from faimed3d._keywords import StrictKeywords, strict_keywords


class BasicBlock3d(BasicBlock):
    """Two 3x3x3 convolutions and a shortcut: torchvision's video ``BasicBlock``.

    Args:
        inplanes, planes: channels in and out.
        conv_builder: makes the convolutions, ``Conv3DSimple`` or another one of torchvision's video networks.
        stride: of the first convolution.
        downsample: module that brings the input to the shape of the result; needed where they differ.
    """

    def __init__(
        self,
        inplanes: int,
        planes: int,
        conv_builder: Callable[..., nn.Module] = Conv3DSimple,
        stride: int = 1,
        downsample: nn.Module | None = None,
    ) -> None:
        super().__init__(inplanes, planes, conv_builder, stride, downsample)


class Bottleneck3d(Bottleneck):
    """A 1x1x1, a 3x3x3 and a 1x1x1 convolution to four times ``planes``, and a shortcut: torchvision's ``Bottleneck``.

    Args:
        inplanes, planes: channels in, and inside.
        conv_builder, stride, downsample: see :class:`BasicBlock3d`.
    """

    def __init__(
        self,
        inplanes: int,
        planes: int,
        conv_builder: Callable[..., nn.Module] = Conv3DSimple,
        stride: int = 1,
        downsample: nn.Module | None = None,
    ) -> None:
        super().__init__(inplanes, planes, conv_builder, stride, downsample)


class ResNet3D(StrictKeywords, VideoResNet):
    """A ResNet of 3x3x3 convolutions: (B, 3, D, H, W) to scores (B, classes). It divides D by 8, H and W by 16.

    Args:
        block: :class:`BasicBlock3d` or :class:`Bottleneck3d`.
        layers: blocks in each of the four stages.
        num_classes: of the classifier, which the learners cut off.

    >>> import torch
    >>> with torch.device("meta"):  # shapes alone, no computing
    ...     scores = ResNet3D(BasicBlock3d, [1, 1, 1, 1], num_classes=5)(torch.zeros(2, 3, 4, 20, 24))
    >>> scores.shape
    torch.Size([2, 5])
    """

    def __init__(self, block: type[BasicBlock | Bottleneck], layers: Sequence[int], num_classes: int = 400) -> None:
        super().__init__(block, [Conv3DSimple] * 4, list(layers), BasicStem, num_classes)


def _of_resnet(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[str]:
    return ["num_classes"]


@strict_keywords(more=lambda args, kwargs: ["num_classes", "zero_init_residual", "progress"])
def resnet18_3d(weights: Any = None, **kwargs: Any) -> VideoResNet:
    """ResNet of 18 layers: torchvision's ``r3d_18``.

    Args:
        weights: None, or 'DEFAULT' for those of Kinetics-400, which torchvision downloads.
        kwargs: of ``r3d_18``, such as ``num_classes``.

    >>> import torch
    >>> with torch.device("meta"):
    ...     network = resnet18_3d(num_classes=2)
    >>> len(network.layer3)
    2
    """
    return r3d_18(weights=weights, **kwargs)


@strict_keywords(more=_of_resnet)
def resnet34_3d(**kwargs: Any) -> ResNet3D:
    """ResNet of 34 layers, without pretrained weights; ``kwargs`` are those of :class:`ResNet3D`.

    >>> import torch
    >>> with torch.device("meta"):
    ...     network = resnet34_3d(num_classes=2)
    >>> len(network.layer3)
    6
    """
    return ResNet3D(BasicBlock3d, [3, 4, 6, 3], **kwargs)


@strict_keywords(more=_of_resnet)
def resnet50_3d(**kwargs: Any) -> ResNet3D:
    """ResNet of 50 layers, without pretrained weights; ``kwargs`` are those of :class:`ResNet3D`.

    >>> import torch
    >>> with torch.device("meta"):
    ...     network = resnet50_3d(num_classes=2)
    >>> len(network.layer3)
    6
    """
    return ResNet3D(Bottleneck3d, [3, 4, 6, 3], **kwargs)


@strict_keywords(more=_of_resnet)
def resnet101_3d(**kwargs: Any) -> ResNet3D:
    """ResNet of 101 layers, without pretrained weights; ``kwargs`` are those of :class:`ResNet3D`.

    >>> import torch
    >>> with torch.device("meta"):
    ...     network = resnet101_3d(num_classes=2)
    >>> len(network.layer3)
    23
    """
    return ResNet3D(Bottleneck3d, [3, 4, 23, 3], **kwargs)


@strict_keywords(more=_of_resnet)
def resnet152_3d(**kwargs: Any) -> ResNet3D:
    """ResNet of 152 layers, without pretrained weights; ``kwargs`` are those of :class:`ResNet3D`.

    >>> import torch
    >>> with torch.device("meta"):
    ...     network = resnet152_3d(num_classes=2)
    >>> len(network.layer3)
    36
    """
    return ResNet3D(Bottleneck3d, [3, 8, 36, 3], **kwargs)


def conv3x3(in_planes: int, out_planes: int, stride: int = 1, groups: int = 1, dilation: int = 1) -> nn.Conv3d:
    """A 3x3x3 convolution without bias, padded so that stride 1 keeps the size."""
    return nn.Conv3d(in_planes, out_planes, 3, stride, dilation, dilation, groups, bias=False)


def conv1x1(in_planes: int, out_planes: int, stride: int = 1) -> nn.Conv3d:
    """A 1x1x1 convolution without bias."""
    return nn.Conv3d(in_planes, out_planes, 1, stride, bias=False)
