"""Classifiers and regressors of volumes: an encoder, a pool over the whole volume, and fastai's head."""

from __future__ import annotations

import torch
from fastai.layers import Flatten
from fastai.torch_core import apply_init, params
from fastai.vision.learner import create_head as create_flat_head
from fastcore.foundation import L
from fastcore.meta import delegates
from torch import nn

from faimed3d.models.encoder import create_body, num_features_model

__all__ = ["AdaptiveConcatPool3d", "cnn_split", "create_cnn_model_3d", "create_head"]


class AdaptiveConcatPool3d(nn.Module):
    """Maximum and mean of each channel side by side: (B, C, D, H, W) to (B, 2C, size, size, size).

    Args:
        size: voxels that are left along each axis, one number or (D, H, W).

    >>> AdaptiveConcatPool3d()(torch.ones(2, 5, 3, 4, 6)).shape
    torch.Size([2, 10, 1, 1, 1])
    """

    def __init__(self, size=1):
        super().__init__()
        self.ap, self.mp = nn.AdaptiveAvgPool3d(size), nn.AdaptiveMaxPool3d(size)

    def forward(self, x):
        return torch.cat([self.mp(x), self.ap(x)], 1)


@delegates(create_flat_head, but=["pool"])
def create_head(nf, n_out, concat_pool=True, pool=True, **kwargs):
    """Make a head for ``nf`` channels: a pool, then fastai's layers; other arguments are those of its ``create_head``.

    Args:
        nf: channels of the encoder.
        n_out: numbers to predict.
        concat_pool: maximum and mean, not the mean alone.
        pool: pool here; False for an encoder that gives (B, nf).
    """
    if not pool:
        return create_flat_head(nf, n_out, pool=False, **kwargs)
    layers = create_flat_head(nf * 2 if concat_pool else nf, n_out, pool=False, **kwargs)
    return nn.Sequential(AdaptiveConcatPool3d() if concat_pool else nn.AdaptiveAvgPool3d(1), Flatten(), *layers)


@delegates(create_head)
def create_cnn_model_3d(
    arch, n_out, pretrained=False, cut=None, n_in=1, init=nn.init.kaiming_normal_, custom_head=None, **kwargs
):
    """Make a classifier or regressor over the encoder of ``arch``; ``kwargs`` go to :func:`create_head`.

    Args:
        arch, pretrained, cut, n_in: see :func:`create_body`.
        n_out: classes, or numbers to predict.
        init: how the head begins; None leaves torch's way.
        custom_head: a network that takes the encoder's (B, C, D, H, W), in place of the head.
    """
    body = create_body(arch, n_in, pretrained, cut)
    head = create_head(num_features_model(body), n_out, **kwargs) if custom_head is None else custom_head
    if init is not None:
        apply_init(head, init)
    return nn.Sequential(body, head)


def cnn_split(model):
    """Parameter groups of a model of :func:`create_cnn_model_3d`: first half of the encoder, second half, head."""
    body = model[0]
    middle = (len(body) + 1) // 2
    return L(body[:middle], body[middle:], model[1:]).map(params)
