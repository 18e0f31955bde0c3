"""The way down of a U-Net, an encoder as well: levels of two plain convolutions, or of residual blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any  # of layers' arguments that are handed on

import torch
import torch.nn.functional as F
from fastai.layers import ConvLayer, NormType
from torch import Tensor, nn

from faimed3d._arguments import is_number, is_whole, whole_per_axis

Axes = tuple[int, int, int]

_ZERO = {NormType.Batch: NormType.BatchZero, NormType.Instance: NormType.InstanceZero}


def for_each(value: int | Sequence[Any], levels: int, name: str, which: str = "levels") -> list[Any]:
    """One entry for each level; one number holds for all.

    Args:
        value: a number, or a sequence of entries.
        levels: how many.
        name: of the argument, for the error.
        which: what the levels are called there.

    Raises:
        ValueError: another count of entries.

    >>> for_each(2, 3, "blocks")
    [2, 2, 2]
    """
    entries = [value] * levels if is_number(value) else list(value)  # type: ignore[arg-type]
    if len(entries) != levels:
        raise ValueError(
            f"{name} must be one number, or one entry for each of the {levels} {which}; got {len(entries)} entries"
        )
    return entries


def kernel(value: int | Sequence[int]) -> dict[str, Axes]:
    """``ks`` and ``padding`` of a ``ConvLayer`` that keeps the size.

    Args:
        value: side, odd: one number or (D, H, W).

    Raises:
        ValueError: a side is even or below 1.

    >>> kernel((1, 3, 3))
    {'ks': (1, 3, 3), 'padding': (0, 1, 1)}
    """
    d, h, w = whole_per_axis(value, "kernels: each entry", least=1)
    if not d % 2 == h % 2 == w % 2 == 1:
        raise ValueError(f"kernels must have odd sides, which keep the size of a volume, got {value!r}")
    return {"ks": (d, h, w), "padding": (d // 2, h // 2, w // 2)}


def plain_level(n_in: int, width: int, stride: int | Sequence[int], **layer: Any) -> nn.Sequential:
    """Two convolutions, the first strided.

    Args:
        n_in, width: channels in and out.
        stride: one number or (D, H, W).
        layer: arguments of ``ConvLayer``.
    """
    return nn.Sequential(ConvLayer(n_in, width, stride=stride, **layer), ConvLayer(width, width, **layer))


def residual_level(
    n_in: int, width: int, stride: int | Sequence[int], blocks: int, stem: bool, **layer: Any
) -> nn.Sequential:
    """Residual blocks, the first strided.

    Args:
        n_in, width: channels in and out.
        stride: one number or (D, H, W).
        blocks: how many.
        stem: begin with a convolution to ``width`` channels, as the first level does; it is strided then, not a block.
        layer: arguments of ``ConvLayer``.
    """
    first = [ConvLayer(n_in, width, stride=stride, **layer)] if stem else []
    sizes = [(width, 1) if stem else (n_in, stride), *[(width, 1)] * (blocks - 1)]
    return nn.Sequential(*first, *(ResidualBlock3D(n, width, step, **layer) for n, step in sizes))


def way_down(
    n_in: int,
    widths: Sequence[int],
    strides: Sequence[Axes],
    kernels: int | Sequence[int | Sequence[int]] = 3,
    blocks: int | Sequence[int] | None = None,
    **layer: Any,
) -> list[nn.Sequential]:
    """The levels, one after the other.

    Args:
        n_in: channels of the input.
        widths: channels of each level.
        strides: of each level, the first included.
        kernels, blocks: as of ``UNet3D``.
        layer: arguments of ``ConvLayer``.

    Raises:
        ValueError: ``kernels`` or ``blocks`` do not fit ``widths``, or a kernel has an even side.

    >>> levels = way_down(1, (4, 8), [(2, 2, 2)] * 2, blocks=(1, 2), ndim=3)
    >>> nn.Sequential(*levels)(torch.zeros(2, 1, 6, 9, 13)).shape
    torch.Size([2, 8, 2, 3, 4])
    """
    sides = [kernel(side) for side in for_each(kernels, len(widths), "kernels")]
    counts = [None] * len(widths) if blocks is None else for_each(blocks, len(widths), "blocks")
    if any(count is not None and not (is_whole(count) and count >= 1) for count in counts):
        raise ValueError(f"blocks must be whole numbers of 1 or more, got {blocks!r}")
    levels: list[nn.Sequential] = []
    for width, step, side, count in zip(widths, strides, sides, counts, strict=True):
        if count is None:
            levels.append(plain_level(n_in, width, step, **side, **layer))
        else:
            levels.append(residual_level(n_in, width, step, int(count), stem=not levels, **side, **layer))
        n_in = width
    return levels


def mean_of_each(x: Tensor, steps: Axes) -> Tensor:
    """Means over blocks of ``steps`` voxels, those that are cut off at the ends among them: (B, C, D, H, W).

    As ``avg_pool3d``, which refuses a volume that is smaller than a block.
    """
    size = [min(steps[0], x.shape[2]), min(steps[1], x.shape[3]), min(steps[2], x.shape[4])]
    return F.avg_pool3d(x, size, [steps[0], steps[1], steps[2]], ceil_mode=True)


torch.fx.wrap("mean_of_each")  # its sizes are known when the network runs, not when it is traced


class ShrinkByMean(nn.Module):
    """Divide the sides by whole numbers, rounding up as a strided convolution does.

    Args:
        steps: (D, H, W).
    """

    def __init__(self, steps: Axes) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W), smaller."""
        return mean_of_each(x, self.steps)

    def extra_repr(self) -> str:
        """The steps, in the text of a network."""
        return f"steps={self.steps}"


class ResidualBlock3D(nn.Module):
    """Two convolutions and a shortcut, as in nnU-Net's residual encoder (Isensee et al. 2024, arXiv:2404.09556).

    The shortcut shrinks by the mean over the stride (ResNet-D: He et al. 2019, arXiv:1812.01187) and takes a 1x1x1
    convolution where the channels change. The last norm begins at 0, so that a new block hands its input on.

    Args:
        n_in, width: channels in and out.
        stride: of the first convolution, one number or (D, H, W).
        norm_type, act_cls: of fastai's ``ConvLayer``.
        layer: its other arguments, such as ``ks``.
    """

    def __init__(
        self,
        n_in: int,
        width: int,
        stride: int | Sequence[int] = 1,
        norm_type: NormType = NormType.Instance,
        act_cls: Callable[[], nn.Module] = nn.LeakyReLU,
        **layer: Any,
    ) -> None:
        super().__init__()
        steps = whole_per_axis(stride, "stride", least=1)
        common = {"ndim": 3, **layer}
        last = _ZERO.get(norm_type, norm_type)
        self.convs = nn.Sequential(
            ConvLayer(n_in, width, stride=steps, norm_type=norm_type, act_cls=act_cls, **common),
            ConvLayer(width, width, norm_type=last, act_cls=None, **common),
        )
        shortcut: list[nn.Module] = []
        if max(steps) > 1:
            shortcut.append(ShrinkByMean(steps))
        if n_in != width:
            shortcut.append(ConvLayer(n_in, width, ks=1, ndim=3, norm_type=norm_type, act_cls=None))
        self.shortcut = nn.Sequential(*shortcut)
        self.act = act_cls()

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, D, H, W), each side divided by the stride and rounded up."""
        return self.act(self.convs(x) + self.shortcut(x))
