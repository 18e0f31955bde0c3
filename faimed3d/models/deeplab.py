"""DeepLab for volumes: context at several scales from dilated convolutions, edges from an early stage.

After DeepLabv3+ (Chen et al. 2018, arXiv:1802.02611), in 3D over any encoder. Lighter than a U-Net on large volumes,
coarser on small structures.
"""

from __future__ import annotations

import torch
from fastai.layers import ConvLayer
from torch import nn

from faimed3d.models.encoder import create_body, model_sizes
from faimed3d.models.unet import enlarge

__all__ = ["ASPP", "ASPPPooling", "DeepLabDecoder", "DynamicDeepLab", "create_deeplab_model_3d"]


class ASPPPooling(nn.Module):
    """The mean of the whole volume, at every voxel. No batch norm: it would have one value per channel and item."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.layers = nn.Sequential(
            nn.AdaptiveAvgPool3d(1), ConvLayer(n_in, n_out, ks=1, ndim=3, norm_type=None, act_cls=nn.ReLU)
        )

    def forward(self, x):
        return self.layers(x).expand(-1, -1, *x.shape[2:])


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: one 1x1x1, several dilated convolutions and the global mean, side by side.

    Args:
        n_in: channels.
        n_out: channels of each branch, and of the result.
        dilations: of the 3x3x3 convolutions, in voxels of the encoder's last stage.
    """

    def __init__(self, n_in, n_out=256, dilations=(2, 4, 6)):
        super().__init__()
        self.branches = nn.ModuleList(
            [
                ConvLayer(n_in, n_out, ks=1, ndim=3),
                *(ConvLayer(n_in, n_out, ndim=3, dilation=step, padding=step) for step in dilations),
                ASPPPooling(n_in, n_out),
            ]
        )
        self.project = ConvLayer(n_out * len(self.branches), n_out, ks=1, ndim=3)

    def forward(self, x):
        return self.project(torch.cat([branch(x) for branch in self.branches], 1))


class DeepLabDecoder(nn.Module):
    """Enlarge the context to the size of an early stage and join the two.

    Args:
        n_deep, n_early: channels of the context and of the early stage.
        n_out: classes.
        n_edges: channels to which the early stage is reduced.
    """

    def __init__(self, n_deep, n_early, n_out, n_edges=48):
        super().__init__()
        self.edges = ConvLayer(n_early, n_edges, ks=1, ndim=3)
        self.layers = nn.Sequential(
            ConvLayer(n_deep + n_edges, n_deep, ndim=3),
            ConvLayer(n_deep, n_deep, ndim=3),
            ConvLayer(n_deep, n_out, ks=1, ndim=3, act_cls=None, norm_type=None),
        )

    def forward(self, deep, early):
        return self.layers(torch.cat([enlarge(deep, early), self.edges(early)], 1))


class DynamicDeepLab(nn.Module):
    """DeepLab over ``encoder``; takes volumes of any size and scores every voxel.

    Args:
        encoder: ``nn.Sequential`` of stages, as ``create_body`` makes it.
        n_out: classes.
        width: channels of the context.
        dilations: see :class:`ASPP`.
        img_size: (D, H, W) at which the encoder is asked for its sizes; see ``DynamicUnet3D``.

    >>> from torchvision.models.video import r3d_18
    >>> model = DynamicDeepLab(create_body(r3d_18, n_in=1), n_out=2, width=16).eval()
    >>> model(torch.zeros(1, 1, 5, 17, 24)).shape
    torch.Size([1, 2, 5, 17, 24])
    """

    def __init__(self, encoder, n_out, width=256, dilations=(2, 4, 6), img_size=None):
        super().__init__()
        if not isinstance(encoder, nn.Sequential) or len(encoder) < 2:
            raise TypeError(
                f"encoder must be an nn.Sequential of at least two stages (see create_body), got "
                f"{type(encoder).__name__}"
            )
        sizes = model_sizes(encoder) if img_size is None else model_sizes(encoder, img_size)
        self.encoder = encoder
        # the first stage of which a later one is smaller: the finest edges there are
        self.early = next((k for k in range(len(sizes) - 1) if sizes[k + 1][2:] != sizes[k][2:]), 0)
        self.middle = ASPP(sizes[-1][1], width, dilations)
        self.final = DeepLabDecoder(width, sizes[self.early][1], n_out)

    def forward(self, x):
        start = x
        for number, stage in enumerate(self.encoder):
            x = stage(x)
            if number == self.early:
                early = x
        return enlarge(self.final(self.middle(x), early), start)


def create_deeplab_model_3d(arch, n_out, pretrained=False, cut=None, n_in=1, **kwargs):
    """Make a ``DynamicDeepLab`` over the encoder of ``arch``; see ``create_body``, ``kwargs`` go to the DeepLab."""
    return DynamicDeepLab(create_body(arch, n_in, pretrained, cut), n_out, **kwargs)
