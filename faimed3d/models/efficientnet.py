"""EfficientNets for volumes: the paper's networks with cubes for squares; encoders for the learners.

M. Tan and Q. V. Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019,
arXiv:1905.11946: the stages are those of its Table 1; widths, depths and dropout are those of its authors' B0 to B7.
Each 3x3 kernel became 3x3x3, each 5x5 became 5x5x5. There are no pretrained weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any  # of arguments that are handed on

from fastai.layers import ConvLayer, Flatten, NormType
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from faimed3d._keywords import StrictKeywords, keywords_of, strict_keywords

# of each stage: blocks, kernel, stride, expansion, channels
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM = 32
_DIVISOR = 8  # channels are multiples of it


class ConvLayerDynamicPadding(nn.Sequential):
    """fastai's ``ConvLayer`` in 3D, padded so that stride 1 keeps the size. Even kernels have one voxel more in front.

    Args:
        ni, nf: channels in and out.
        ks: side of the kernel: one number or (D, H, W).
        stride, kwargs: of ``ConvLayer``, except ``padding`` and ``ndim``.

    >>> import torch
    >>> ConvLayerDynamicPadding(1, 2, ks=(4, 3, 1))(torch.zeros(1, 1, 5, 6, 7)).shape
    torch.Size([1, 2, 5, 6, 7])
    """

    def __init__(self, ni: int, nf: int, ks: int | Sequence[int] = 3, stride: int = 1, **kwargs: Any) -> None:
        d, h, w = (ks,) * 3 if isinstance(ks, int) else ks
        layer = {"ks": (d, h, w), "stride": stride, "ndim": 3, **kwargs}
        if d % 2 and h % 2 and w % 2:
            super().__init__(*ConvLayer(ni, nf, padding=(d // 2, h // 2, w // 2), **layer))
        else:
            around = (w // 2, (w - 1) // 2, h // 2, (h - 1) // 2, d // 2, (d - 1) // 2)
            super().__init__(nn.ConstantPad3d(around, 0.0), *ConvLayer(ni, nf, padding=0, **layer))


class DropConnect(StochasticDepth):
    """Skip a block for some items of the batch in training: torchvision's ``StochasticDepth`` by item.

    Args:
        p: probability with which an item skips the block.

    Raises:
        ValueError: ``p`` is no probability below 1.
    """

    def __init__(self, p: float = 0.2) -> None:
        if not 0 <= p < 1:
            raise ValueError(f"p must be a probability from 0 to below 1, got {p!r}")
        super().__init__(p, "row")


class MBConvBlock(nn.Module):
    """Inverted bottleneck: widen, convolve each channel on its own, weigh the channels, narrow again.

    Args:
        n_inp, n_out: channels in and out.
        kernel_size, stride: of the convolution of single channels.
        se_ratio: width of the squeeze-and-excitation that weighs the channels, as a share of ``n_inp``; None or 0 for
            none.
        id_skip: add the input to the result where both have one shape.
        expand_ratio: channels inside, as a multiple of ``n_inp``.
        drop_connect_rate: probability with which an item skips the block in training.
        act_cls, norm_type: as in fastai's ``ConvLayer``.
    """

    def __init__(
        self,
        n_inp: int,
        n_out: int,
        kernel_size: int = 3,
        stride: int = 1,
        se_ratio: float | None = 0.25,
        id_skip: bool = True,
        expand_ratio: int = 6,
        drop_connect_rate: float = 0.0,
        act_cls: Callable[[], nn.Module] = nn.SiLU,
        norm_type: NormType = NormType.Batch,
    ) -> None:
        super().__init__()
        inside, layer = n_inp * expand_ratio, {"act_cls": act_cls, "norm_type": norm_type}
        widen = [ConvLayerDynamicPadding(n_inp, inside, 1, **layer)] if expand_ratio != 1 else []
        self.widen = nn.Sequential(
            *widen, ConvLayerDynamicPadding(inside, inside, kernel_size, stride, groups=inside, **layer)
        )
        squeezed = max(1, int(n_inp * se_ratio)) if se_ratio else 0
        self.weigh = nn.Sequential(
            nn.Conv3d(inside, squeezed, 1), act_cls(), nn.Conv3d(squeezed, inside, 1), nn.Sigmoid()
        ) if squeezed else None  # fmt: skip
        self.narrow = ConvLayerDynamicPadding(inside, n_out, 1, act_cls=None, norm_type=norm_type)
        self.skip = id_skip and stride == 1 and n_inp == n_out
        self.drop = DropConnect(drop_connect_rate)

    def forward(self, x: Tensor) -> Tensor:
        """(B, n_out, D, H, W), D, H and W divided by the stride."""
        inside = self.widen(x)
        if self.weigh is not None:
            inside = inside * self.weigh(inside.mean((2, 3, 4), keepdim=True))
        result = self.narrow(inside)
        return self.drop(result) + x if self.skip else result


class EfficientNet(StrictKeywords, nn.Sequential):
    """A stem, seven stages of ``MBConvBlock``, and a head: (B, ni, D, H, W) to scores (B, classes).

    It divides every side by 32. ``create_body`` keeps stem and stages. The convolution that widens the last stage to
    four times its channels is part of the head, because a U-Net or DeepLab over it would be many times as large.

    Args:
        ni: channels of the input.
        num_classes: of the head, which the learners cut off.
        width_coefficient, depth_coefficient: factors of the channels and of the blocks in each stage.
        dropout_rate: before the last layer.
        drop_connect_rate: probability with which an item skips a block in training; it grows from 0 in the first block
            to nearly this in the last.
        act_cls, norm_type: as in fastai's ``ConvLayer``; ``NormType.Instance`` for batches of one or two volumes.

    >>> import torch
    >>> with torch.device("meta"):  # shapes alone, no computing
    ...     scores = EfficientNet(ni=1, num_classes=2)(torch.zeros(3, 1, 4, 40, 33))
    >>> scores.shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        ni: int = 3,
        num_classes: int = 400,
        width_coefficient: float = 1.0,
        depth_coefficient: float = 1.0,
        dropout_rate: float = 0.2,
        drop_connect_rate: float = 0.2,
        act_cls: Callable[[], nn.Module] = nn.SiLU,
        norm_type: NormType = NormType.Batch,
    ) -> None:
        layer = {"act_cls": act_cls, "norm_type": norm_type}
        depths = [math.ceil(depth_coefficient * blocks) for blocks, *_ in _STAGES]
        width = _channels(_STEM * width_coefficient)
        stages: list[nn.Module] = [ConvLayerDynamicPadding(ni, width, stride=2, **layer)]
        done = 0
        for depth, (_, kernel, stride, expand, channels) in zip(depths, _STAGES, strict=True):
            blocks = []
            for number in range(depth):
                inner, width = width, _channels(channels * width_coefficient)
                blocks.append(
                    MBConvBlock(
                        inner, width, kernel, 1 if number else stride, expand_ratio=expand,
                        drop_connect_rate=drop_connect_rate * done / sum(depths), **layer,
                    )
                )  # fmt: skip
                done += 1
            stages.append(nn.Sequential(*blocks))
        head = nn.Sequential(
            ConvLayerDynamicPadding(width, 4 * width, 1, **layer),
            nn.AdaptiveAvgPool3d(1),
            Flatten(),
            nn.Dropout(dropout_rate),
            nn.Linear(4 * width, num_classes),
        )
        super().__init__(*stages, head)


@strict_keywords(more=lambda args, kwargs: keywords_of(EfficientNet))
def efficientnet_b0(**kwargs: Any) -> EfficientNet:
    """EfficientNet-B0: 4.3 million parameters without the head; ``kwargs`` are those of :class:`EfficientNet`.

    >>> import torch
    >>> with torch.device("meta"):
    ...     stem = efficientnet_b0(num_classes=2)[0]
    >>> stem[0].out_channels
    32
    """
    return EfficientNet(**{"dropout_rate": 0.2, **kwargs})


@strict_keywords(more=lambda args, kwargs: keywords_of(EfficientNet))
def efficientnet_b1(**kwargs: Any) -> EfficientNet:
    """EfficientNet-B1: deeper by 1.1; ``kwargs`` are those of :class:`EfficientNet`.

    >>> import torch
    >>> with torch.device("meta"):
    ...     stem = efficientnet_b1(num_classes=2)[0]
    >>> stem[0].out_channels
    32
    """
    return EfficientNet(**{"depth_coefficient": 1.1, "dropout_rate": 0.2, **kwargs})


@strict_keywords(more=lambda args, kwargs: keywords_of(EfficientNet))
def efficientnet_b2(**kwargs: Any) -> EfficientNet:
    """EfficientNet-B2: wider by 1.1, deeper by 1.2; ``kwargs`` are those of :class:`EfficientNet`.

    >>> import torch
    >>> with torch.device("meta"):
    ...     stem = efficientnet_b2(num_classes=2)[0]
    >>> stem[0].out_channels
    32
    """
    return EfficientNet(**{"width_coefficient": 1.1, "depth_coefficient": 1.2, "dropout_rate": 0.3, **kwargs})


@strict_keywords(more=lambda args, kwargs: keywords_of(EfficientNet))
def efficientnet_b3(**kwargs: Any) -> EfficientNet:
    """EfficientNet-B3: wider by 1.2, deeper by 1.4; ``kwargs`` are those of :class:`EfficientNet`.

    >>> import torch
    >>> with torch.device("meta"):
    ...     stem = efficientnet_b3(num_classes=2)[0]
    >>> stem[0].out_channels
    40
    """
    return EfficientNet(**{"width_coefficient": 1.2, "depth_coefficient": 1.4, "dropout_rate": 0.3, **kwargs})


@strict_keywords(more=lambda args, kwargs: keywords_of(EfficientNet))
def efficientnet_b4(**kwargs: Any) -> EfficientNet:
    """EfficientNet-B4: wider by 1.4, deeper by 1.8; ``kwargs`` are those of :class:`EfficientNet`.

    >>> import torch
    >>> with torch.device("meta"):
    ...     stem = efficientnet_b4(num_classes=2)[0]
    >>> stem[0].out_channels
    48
    """
    return EfficientNet(**{"width_coefficient": 1.4, "depth_coefficient": 1.8, "dropout_rate": 0.4, **kwargs})


@strict_keywords(more=lambda args, kwargs: keywords_of(EfficientNet))
def efficientnet_b5(**kwargs: Any) -> EfficientNet:
    """EfficientNet-B5: wider by 1.6, deeper by 2.2; ``kwargs`` are those of :class:`EfficientNet`.

    >>> import torch
    >>> with torch.device("meta"):
    ...     stem = efficientnet_b5(num_classes=2)[0]
    >>> stem[0].out_channels
    48
    """
    return EfficientNet(**{"width_coefficient": 1.6, "depth_coefficient": 2.2, "dropout_rate": 0.4, **kwargs})


@strict_keywords(more=lambda args, kwargs: keywords_of(EfficientNet))
def efficientnet_b6(**kwargs: Any) -> EfficientNet:
    """EfficientNet-B6: wider by 1.8, deeper by 2.6; ``kwargs`` are those of :class:`EfficientNet`.

    >>> import torch
    >>> with torch.device("meta"):
    ...     stem = efficientnet_b6(num_classes=2)[0]
    >>> stem[0].out_channels
    56
    """
    return EfficientNet(**{"width_coefficient": 1.8, "depth_coefficient": 2.6, "dropout_rate": 0.5, **kwargs})


@strict_keywords(more=lambda args, kwargs: keywords_of(EfficientNet))
def efficientnet_b7(**kwargs: Any) -> EfficientNet:
    """EfficientNet-B7: wider by 2, deeper by 3.1; ``kwargs`` are those of :class:`EfficientNet`.

    >>> import torch
    >>> with torch.device("meta"):
    ...     stem = efficientnet_b7(num_classes=2)[0]
    >>> stem[0].out_channels
    64
    """
    return EfficientNet(**{"width_coefficient": 2.0, "depth_coefficient": 3.1, "dropout_rate": 0.5, **kwargs})


def _channels(wanted):
    """The multiple of the divisor nearest to ``wanted``, never below 90 % of it."""
    found = max(_DIVISOR, int(wanted + _DIVISOR / 2) // _DIVISOR * _DIVISOR)
    return found + _DIVISOR if found < 0.9 * wanted else found
