"""DeepLab for volumes: context at several scales from dilated convolutions, edges from an early stage.

After DeepLabv3+ (Chen et al. 2018, arXiv:1802.02611), in 3D over any encoder. Lighter than a U-Net on large volumes,
coarser on small structures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any  # of arguments that are handed on

import torch
from fastai.layers import ConvLayer
from fastcore.meta import delegates
from torch import Tensor, nn

from faimed3d._keywords import StrictKeywords, strict_keywords
from faimed3d.models.encoder import create_body, model_sizes
from faimed3d.models.recipe import keeps_recipe
from faimed3d.models.unet import interpolate_like

torch.fx.wrap("interpolate_like")  # see faimed3d.models.unet


class ASPPPooling(nn.Module):
    """The mean of the whole volume, at every voxel. No batch norm: it would have one value per channel and item."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.AdaptiveAvgPool3d(1), ConvLayer(n_in, n_out, ks=1, ndim=3, norm_type=None, act_cls=nn.ReLU)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, n_out, D, H, W)."""
        return self.layers(x).expand(-1, -1, x.shape[2], x.shape[3], x.shape[4])


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: one 1x1x1, several dilated convolutions and the global mean, side by side.

    Args:
        n_in: channels.
        n_out: channels of each branch, and of the result.
        dilations: of the 3x3x3 convolutions, in voxels of the encoder's last stage.
    """

    def __init__(self, n_in: int, n_out: int = 256, dilations: Sequence[int] = (2, 4, 6)) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [
                ConvLayer(n_in, n_out, ks=1, ndim=3),
                *(ConvLayer(n_in, n_out, ndim=3, dilation=step, padding=step) for step in dilations),
                ASPPPooling(n_in, n_out),
            ]
        )
        self.project = ConvLayer(n_out * len(self.branches), n_out, ks=1, ndim=3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, n_out, D, H, W)."""
        return self.project(torch.cat([branch(x) for branch in self.branches], 1))


class DeepLabDecoder(nn.Module):
    """Interpolate the context to the size of an early stage and join the two.

    Args:
        n_deep, n_early: channels of the context and of the early stage.
        n_out: classes.
        n_edges: channels to which the early stage is reduced.
    """

    def __init__(self, n_deep: int, n_early: int, n_out: int, n_edges: int = 48) -> None:
        super().__init__()
        self.edges = ConvLayer(n_early, n_edges, ks=1, ndim=3)
        self.layers = nn.Sequential(
            ConvLayer(n_deep + n_edges, n_deep, ndim=3),
            ConvLayer(n_deep, n_deep, ndim=3),
            ConvLayer(n_deep, n_out, ks=1, ndim=3, act_cls=None, norm_type=None),
        )

    def forward(self, deep: Tensor, early: Tensor) -> Tensor:
        """Scores (B, n_out, D, H, W) of the size of ``early``."""
        return self.layers(torch.cat([interpolate_like(deep, early), self.edges(early)], 1))


class DynamicDeepLab(StrictKeywords, nn.Module):
    """DeepLab over ``encoder``: (B, C, D, H, W) of any size to scores (B, n_out, D, H, W).

    After DeepLabv3+ (Chen et al. 2018, arXiv:1802.02611).

    Args:
        encoder: ``nn.Sequential`` of stages, as ``create_body`` makes it.
        n_out: classes.
        width: channels of the context.
        dilations: see :class:`ASPP`.
        img_size: (D, H, W) at which the sizes of the stages are found; see ``DynamicUnet3D``.

    Raises:
        TypeError: ``encoder`` is no ``nn.Sequential`` of at least two stages.

    >>> from torchvision.models.video import r3d_18
    >>> with torch.device("meta"):  # shapes alone, no computing
    ...     model = DynamicDeepLab(create_body(r3d_18, n_in=1), n_out=2, width=16)
    ...     scores = model(torch.zeros(1, 1, 5, 17, 24))
    >>> scores.shape
    torch.Size([1, 2, 5, 17, 24])
    """

    def __init__(
        self,
        encoder: nn.Sequential,
        n_out: int,
        width: int = 256,
        dilations: Sequence[int] = (2, 4, 6),
        img_size: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(encoder, nn.Sequential) or len(encoder) < 2:
            raise TypeError(
                f"encoder must be an nn.Sequential of at least two stages (see create_body), got "
                f"{type(encoder).__name__}"
            )
        sizes = model_sizes(encoder, img_size)
        self.encoder = encoder
        # the last stage of full size before the first step down: the finest edges there are
        self.early = next((k for k in range(len(sizes) - 1) if sizes[k + 1][2:] != sizes[k][2:]), 0)
        self.middle = ASPP(sizes[-1][1], width, dilations)
        self.final = DeepLabDecoder(width, sizes[self.early][1], n_out)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, n_out, D, H, W)."""
        start = early = x
        for number, stage in enumerate(self.encoder):
            x = stage(x)
            if number == self.early:
                early = x
        return interpolate_like(self.final(self.middle(x), early), start)


@strict_keywords
@keeps_recipe
@delegates(DynamicDeepLab.__init__, but=["encoder"])
def create_deeplab_model_3d(
    arch: Callable[..., nn.Module] | nn.Module,
    n_out: int,
    *,
    pretrained: bool = False,
    cut: int | Callable | None = None,
    n_in: int = 1,
    **kwargs: Any,
) -> DynamicDeepLab:
    """Make a :class:`DynamicDeepLab` over the encoder of ``arch``.

    Args:
        arch, pretrained, cut, n_in: see ``create_body``.
        n_out: classes.
        kwargs: of :class:`DynamicDeepLab`.

    >>> encoder = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, 8, 3, stride=2, padding=1))
    >>> create_deeplab_model_3d(encoder, n_out=2, width=8).eval()(torch.zeros(1, 1, 4, 6, 8)).shape
    torch.Size([1, 2, 4, 6, 8])
    """
    return DynamicDeepLab(create_body(arch, n_in, pretrained, cut), n_out, **kwargs)
