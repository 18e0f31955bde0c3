"""3D ResNets of every depth, built from torchvision's video blocks; encoders for the learners."""

from __future__ import annotations

from torchvision.models.video.resnet import BasicBlock, BasicStem, Bottleneck, Conv3DSimple, VideoResNet, r3d_18

__all__ = ["ResNet3D", "resnet18_3d", "resnet34_3d", "resnet50_3d", "resnet101_3d", "resnet152_3d"]


class ResNet3D(VideoResNet):
    """A ResNet of 3x3x3 convolutions; it divides D by 8, H and W by 16.

    Args:
        block: torchvision's video ``BasicBlock`` or ``Bottleneck``.
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
    return ResNet3D(BasicBlock, [3, 4, 6, 3], **kwargs)


def resnet50_3d(**kwargs):
    """ResNet of 50 layers, without weights."""
    return ResNet3D(Bottleneck, [3, 4, 6, 3], **kwargs)


def resnet101_3d(**kwargs):
    """ResNet of 101 layers, without weights."""
    return ResNet3D(Bottleneck, [3, 4, 23, 3], **kwargs)


def resnet152_3d(**kwargs):
    """ResNet of 152 layers, without weights."""
    return ResNet3D(Bottleneck, [3, 8, 36, 3], **kwargs)
