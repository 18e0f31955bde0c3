"""Classifiers and regressors of volumes: an encoder, a pool over the whole volume, and fastai's head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any  # of arguments that are handed on

import torch
from fastai.layers import Flatten
from fastai.torch_core import apply_init, params
from fastai.vision.learner import create_head as create_flat_head
from fastcore.foundation import L
from fastcore.meta import delegates
from torch import Tensor, nn

from faimed3d._keywords import strict_keywords
from faimed3d.models.encoder import create_body, num_features_model


class AdaptiveConcatPool3d(nn.Module):
    """Maximum and mean of each channel side by side: (B, C, D, H, W) to (B, 2C, size, size, size).

    Args:
        size: voxels left along each axis, one number or (D, H, W).

    >>> AdaptiveConcatPool3d()(torch.ones(2, 5, 3, 4, 6)).shape
    torch.Size([2, 10, 1, 1, 1])
    """

    def __init__(self, size: int | tuple[int, int, int] = 1) -> None:
        super().__init__()
        self.ap, self.mp = nn.AdaptiveAvgPool3d(size), nn.AdaptiveMaxPool3d(size)

    def forward(self, x: Tensor) -> Tensor:
        """Maximum and mean, (B, 2C, size, size, size)."""
        return torch.cat([self.mp(x), self.ap(x)], 1)


@strict_keywords
@delegates(create_flat_head, but=["pool"])
def create_head(
    nf: int,
    n_out: int,
    lin_ftrs: Sequence[int] | None = None,
    *,
    concat_pool: bool = True,
    pool: bool = True,
    **kwargs: Any,
) -> nn.Sequential:
    """Make a head: a pool over the whole volume, then fastai's layers; (B, nf, D, H, W) to (B, n_out).

    Args:
        nf: channels of the encoder.
        n_out: numbers to predict.
        lin_ftrs: sizes of the hidden layers. Default: one of 512.
        concat_pool: pool to maximum and mean, not to the mean alone.
        pool: pool here; False for an encoder that gives (B, nf).
        kwargs: of fastai's ``create_head``, such as ``ps`` and ``bn_final``.

    >>> create_head(8, 3, [5])(torch.zeros(2, 8, 3, 4, 6)).shape
    torch.Size([2, 3])
    """
    if not pool:
        return create_flat_head(nf, n_out, lin_ftrs, pool=False, **kwargs)
    layers = create_flat_head(nf * 2 if concat_pool else nf, n_out, lin_ftrs, pool=False, **kwargs)
    return nn.Sequential(AdaptiveConcatPool3d() if concat_pool else nn.AdaptiveAvgPool3d(1), Flatten(), *layers)


@strict_keywords
@delegates(create_head, but=["nf"])
def create_cnn_model_3d(
    arch: Callable[..., nn.Module] | nn.Module,
    n_out: int,
    *,
    pretrained: bool = False,
    cut: int | Callable | None = None,
    n_in: int = 1,
    init: Callable | None = nn.init.kaiming_normal_,
    custom_head: nn.Module | None = None,
    **kwargs: Any,
) -> nn.Sequential:
    """Make a classifier or regressor over the encoder of ``arch``: (B, n_in, D, H, W) to (B, n_out).

    Args:
        arch, pretrained, cut, n_in: see ``create_body``.
        n_out: classes, or numbers to predict.
        init: initializes the weights of the head; None leaves them as torch made them.
        custom_head: a network that takes the encoder's (B, C, D, H, W), in place of the head.
        kwargs: of :func:`create_head`.

    >>> encoder = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU())
    >>> create_cnn_model_3d(encoder, n_out=2).eval()(torch.zeros(1, 1, 4, 6, 8)).shape
    torch.Size([1, 2])
    """
    body = create_body(arch, n_in, pretrained, cut)
    head = create_head(num_features_model(body), n_out, **kwargs) if custom_head is None else custom_head
    if init is not None:
        apply_init(head, init)
    return nn.Sequential(body, head)


def cnn_split(model: nn.Sequential) -> L:
    """Parameter groups of a model of :func:`create_cnn_model_3d`: first half of the encoder, second half, head."""
    stages = list(model[0].children())
    middle = (len(stages) + 1) // 2
    return L(stages[:middle], stages[middle:], model[1:]).map(nn.ModuleList).map(params)
