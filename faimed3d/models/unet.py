"""U-Nets for volumes: ``DynamicUnet3D`` over any 3D encoder, and ``UNet3D``, small, for training from scratch.

They take ``(B, C, D, H, W)`` of any size, whatever the strides, and give scores of the classes ``(B, n_out, D, H, W)``.
After Ronneberger et al. 2015, arXiv:1505.04597.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any  # of arguments that are handed on

import torch
import torch.nn.functional as F
from fastai.layers import BatchNorm, ConvLayer, NormType, ResBlock, SigmoidRange
from fastai.torch_core import apply_init, params
from fastcore.foundation import L
from fastcore.meta import delegates
from torch import Tensor, nn

from faimed3d._arguments import whole_per_axis
from faimed3d._keywords import StrictKeywords, strict_keywords
from faimed3d.models.encoder import create_body, in_channels, model_sizes
from faimed3d.models.levels import for_each, kernel, way_down
from faimed3d.models.recipe import keeps_recipe


class UnetBlock3D(nn.Module):
    """Interpolate what comes from below to the size of the skip connection, join the two, and convolve twice.

    Args:
        up_in_c: channels from below.
        x_in_c: channels of the skip connection.
        n_out: channels of the result. Default: half of those from below plus those of the skip.
        norm_type, act_cls, kwargs: as in fastai's ``ConvLayer``.
        ks: side of the convolutions' kernel, odd: one number or (D, H, W).
        convs: 1 or 2 convolutions.

    Raises:
        ValueError: ``convs`` is another number, or ``ks`` is even.
    """

    def __init__(
        self,
        up_in_c: int,
        x_in_c: int,
        n_out: int | None = None,
        norm_type: NormType = NormType.Batch,
        act_cls: Callable[[], nn.Module] = nn.ReLU,
        ks: int | Sequence[int] = 3,
        convs: int = 2,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        if convs not in (1, 2):
            raise ValueError(f"a step up has 1 or 2 convolutions, got {convs!r}")
        self.n_out = n_out or up_in_c // 2 + x_in_c
        layer = {"norm_type": norm_type, "act_cls": act_cls, "ndim": 3, **kwargs}
        self.shrink = ConvLayer(up_in_c, up_in_c // 2, ks=1, **layer)
        self.bn = BatchNorm(x_in_c, ndim=3) if norm_type == NormType.Batch else nn.Identity()
        self.act = act_cls()
        layer = {**kernel(ks), **layer}
        self.conv1 = ConvLayer(up_in_c // 2 + x_in_c, self.n_out, **layer)
        self.conv2 = ConvLayer(self.n_out, self.n_out, **layer) if convs == 2 else nn.Identity()
        apply_init(nn.Sequential(self.conv1, self.conv2), nn.init.kaiming_normal_)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(B, n_out, D, H, W) of the size of ``skip``."""
        x = interpolate_like(self.shrink(x), skip)
        return self.conv2(self.conv1(torch.cat([x, self.act(self.bn(skip))], 1)))


class ConvTranspose3D(nn.Sequential):
    """Enlarge by a transposed convolution whose kernel is its stride: each voxel becomes a block of ``scale`` voxels.

    The U-Nets here interpolate instead (:func:`interpolate_like`): that leaves no block edges and fits any size.

    Args:
        ni, nf: channels in and out. Default of ``nf``: as many.
        scale: how many times as many voxels, along each axis: one number or (D, H, W).
        blur: smooth the edges between the blocks by a mean over two voxels along each axis.
        act_cls, norm_type, kwargs: of fastai's ``ConvLayer``.

    >>> ConvTranspose3D(4, 2, scale=(1, 2, 2))(torch.zeros(1, 4, 3, 5, 7)).shape
    torch.Size([1, 2, 3, 10, 14])
    """

    def __init__(
        self,
        ni: int,
        nf: int | None = None,
        scale: int | Sequence[int] = 2,
        blur: bool = False,
        act_cls: Callable[[], nn.Module] | None = None,
        norm_type: NormType | None = None,
        **kwargs: Any,
    ) -> None:
        layer = {"act_cls": act_cls, "norm_type": norm_type, "ndim": 3, **kwargs}
        smooth = [nn.ReplicationPad3d((1, 0, 1, 0, 1, 0)), nn.AvgPool3d(2, stride=1)] if blur else []
        super().__init__(ConvLayer(ni, nf or ni, ks=scale, stride=scale, padding=0, transpose=True, **layer), *smooth)


class ResizeToOrig(nn.Module):
    """Interpolate to the size of the input of a fastai ``SequentialEx``, which keeps it as ``x.orig``.

    Args:
        mode: 'trilinear' or 'nearest'.
    """

    def __init__(self, mode: str = "trilinear") -> None:
        super().__init__()
        self.mode = mode

    def forward(self, x: Any) -> Tensor:  # SequentialEx sets the attribute orig on the tensor
        """``x`` with the size of ``x.orig``."""
        size = x.orig.shape[2:]
        if x.shape[2:] == size:
            return x
        return F.interpolate(x, size, mode=self.mode, align_corners=False if self.mode == "trilinear" else None)


def interpolate_like(x: Tensor, like: Tensor) -> Tensor:
    """``x`` interpolated trilinearly to the size of ``like``, both (B, C, D, H, W)."""
    size = like.shape[2:]
    return x if x.shape[2:] == size else F.interpolate(x, size=size, mode="trilinear", align_corners=False)


torch.fx.wrap("interpolate_like")  # its sizes are known when the network runs, not when it is traced


class DynamicUnet3D(StrictKeywords, nn.Module):
    """A U-Net over any encoder: (B, C, D, H, W) of any size to scores (B, n_out, D, H, W).

    ``encoder`` is the way down; the way up is built to match it. There is one skip connection for each change of size
    along any axis, and one from the input. There are no hooks, so the network can be copied, pickled, exported and
    compiled. Each step up has as many channels as its skip connection; fastai's steps are wider and cost more than
    twice as much in 3D.

    Args:
        encoder: ``nn.Sequential`` of stages, as :func:`create_body` makes it.
        n_out: classes.
        img_size: (D, H, W) at which the sizes of the stages are found. Only needed for an encoder that cannot take
            64 x 64 x 64; the network takes volumes of any other size all the same.
        last_cross: join the input once more before the last layers.
        bottle: halve the channels in the last layers.
        y_range: (low, high) squeezes the result into this range, for regression.
        norm_type: fastai's ``NormType``; ``NormType.Instance`` for batches of one or two volumes.
        act_cls: activation of the way up.

    Raises:
        TypeError: ``encoder`` is no ``nn.Sequential``.
        ValueError: a stage of the encoder gives no (B, C, D, H, W).

    >>> from torchvision.models.video import r3d_18
    >>> with torch.device("meta"):  # shapes alone, no computing
    ...     scores = DynamicUnet3D(create_body(r3d_18, n_in=2), n_out=3)(torch.zeros(1, 2, 9, 17, 24))
    >>> scores.shape
    torch.Size([1, 3, 9, 17, 24])
    """

    def __init__(
        self,
        encoder: nn.Sequential,
        n_out: int,
        img_size: Sequence[int] | None = None,
        last_cross: bool = True,
        bottle: bool = False,
        y_range: tuple[float, float] | None = None,
        norm_type: NormType = NormType.Batch,
        act_cls: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        if not isinstance(encoder, nn.Sequential):
            raise TypeError(
                f"encoder must be an nn.Sequential of stages (see create_body), got {type(encoder).__name__}"
            )
        sizes = model_sizes(encoder, img_size)
        if any(len(size) != 5 for size in sizes):
            raise ValueError(f"every stage of the encoder must give (B, C, D, H, W), got {[tuple(s) for s in sizes]}")
        n_in, channels = in_channels(encoder), sizes[-1][1]
        layer = {"norm_type": norm_type, "act_cls": act_cls, "ndim": 3}
        self.encoder = encoder
        self.skips = [k for k in range(len(sizes) - 1) if sizes[k][2:] != sizes[k + 1][2:]][::-1]
        norm = [BatchNorm(channels, ndim=3)] if norm_type == NormType.Batch else []
        self.middle = nn.Sequential(
            *norm,
            act_cls(),
            ConvLayer(channels, channels, **layer),
            ConvLayer(channels, channels, **layer),
        )
        self.blocks = nn.ModuleList()
        for skip in self.skips:
            inner = sizes[skip][1]
            self.blocks.append(UnetBlock3D(channels, inner, inner, norm_type=norm_type, act_cls=act_cls))
            channels = inner
        self.last_cross = last_cross
        width = max(channels // (4 if bottle else 2), n_out)  # full resolution is where the time goes
        self.shrink = ConvLayer(channels, width, ks=1, **layer)
        if last_cross:
            width += n_in
        # as wide at its end as at its start: fastai's ResBlock would give the shortcut batch norm, whatever norm_type
        final = [ResBlock(1, width, width, **layer)] if last_cross else []
        final.append(ConvLayer(width, n_out, ks=1, ndim=3, act_cls=None, norm_type=None))
        if y_range is not None:
            final.append(SigmoidRange(*y_range))
        self.final = nn.Sequential(*final)
        apply_init(self.middle, nn.init.kaiming_normal_)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, n_out, D, H, W)."""
        start = x
        kept: list[Tensor] = []  # what the skips take, the deepest last
        for number, stage in enumerate(self.encoder):
            x = stage(x)
            if number in self.skips:
                kept.append(x)
        x = self.middle(x)
        for block in self.blocks:
            x = block(x, kept.pop())
        x = interpolate_like(self.shrink(x), start)
        return self.final(torch.cat([x, start], 1) if self.last_cross else x)


class UNet3D(StrictKeywords, nn.Module):
    """A U-Net that trains from scratch: (B, n_in, D, H, W) of any size to scores (B, n_out, D, H, W).

    Strided convolutions lead down, trilinear interpolation leads up. The defaults are small. With ``blocks``,
    ``kernels``, ``strides`` and ``deep_supervision`` it becomes the network of nnU-Net's plans: Isensee et al. 2021,
    doi:10.1038/s41592-020-01008-z, or its residual encoder, Isensee et al. 2024, arXiv:2404.09556.

    Args:
        n_in: channels of the input.
        n_out: classes.
        widths: channels of each level.
        strides: by which each level below the first divides the sides: one number for all, or for each level a number
            or (D, H, W), such as (1, 2, 2) while slices are thick. Default 2.
        norm_type: fastai's ``NormType``; instance norm does not depend on the size of the batch.
        act_cls: activation.
        kernels: sides of the convolutions: one odd number for all, or for each level, from the first on, a number or
            (D, H, W), such as (1, 3, 3) while slices are thick.
        blocks: residual blocks of each level of the way down, one number or one for each level: nnU-Net's presets begin
            with 1, 3, 4, 6, 6, 6. Default: no residual blocks but two convolutions a level.
        up_convs: convolutions of each level of the way up, 1 (as nnU-Net's residual presets) or 2.
        deep_supervision: in training give a list of scores, the finest first: those of each level of the way up but the
            lowest, to which nnU-Net gives no weight. The losses of this package take it; see ``DeepSupervision``. In
            evaluation it gives the finest scores alone.

    Raises:
        ValueError: ``strides``, ``kernels`` or ``blocks`` do not fit ``widths``; a kernel has an even side; or a volume
            is so small that its lowest level has one voxel, which cannot be normalized: the message names the smallest
            size.

    >>> UNet3D(n_in=1, n_out=2, widths=(4, 8, 16))(torch.zeros(2, 1, 5, 9, 13)).shape
    torch.Size([2, 2, 5, 9, 13])
    >>> net = UNet3D(widths=(4, 8, 8, 8), blocks=(1, 2, 2, 2), kernels=[(1, 3, 3), 3, 3, 3], deep_supervision=True)
    >>> [tuple(scores.shape) for scores in net(torch.zeros(2, 1, 5, 9, 13))]
    [(2, 2, 5, 9, 13), (2, 2, 3, 5, 7)]
    """

    @keeps_recipe
    def __init__(
        self,
        n_in: int = 1,
        n_out: int = 2,
        widths: Sequence[int] = (16, 32, 64, 128),
        strides: int | Sequence[int | Sequence[int]] = 2,
        norm_type: NormType = NormType.Instance,
        act_cls: Callable[[], nn.Module] = nn.LeakyReLU,
        kernels: int | Sequence[int | Sequence[int]] = 3,
        blocks: int | Sequence[int] | None = None,
        up_convs: int = 2,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        widths = tuple(widths)
        steps = for_each(strides, len(widths) - 1, "strides", "levels below the first")
        steps = [(1, 1, 1), *(whole_per_axis(step, "strides: each entry", least=1) for step in steps)]
        sides = [kernel(side) for side in for_each(kernels, len(widths), "kernels")]
        self.divisors = tuple(math.prod(step[axis] for step in steps) for axis in range(3))
        # as numbers: TorchScript knows no such type
        self.norm_type = norm_type.value
        self.deep_supervision = deep_supervision
        layer = {"norm_type": norm_type, "act_cls": act_cls, "ndim": 3}
        self.encoder = nn.ModuleList(way_down(n_in, widths, steps, kernels, blocks, **layer))
        n = widths[-1]
        self.blocks = nn.ModuleList()
        for width, side in zip(widths[-2::-1], sides[-2::-1], strict=True):
            self.blocks.append(
                UnetBlock3D(n, width, width, norm_type=norm_type, act_cls=act_cls, ks=side["ks"], convs=up_convs)
            )
            n = width
        self.final = ConvLayer(n, n_out, ks=1, ndim=3, act_cls=None, norm_type=None)
        if deep_supervision:
            coarser = widths[-3:0:-1]  # from the lowest on, as the blocks
            self.heads = nn.ModuleList(ConvLayer(n, n_out, ks=1, ndim=3, act_cls=None, norm_type=None) for n in coarser)

    def __call__(self, x: Tensor) -> Tensor:  # not in forward, which torch.fx and torch.jit take apart
        """Scores (B, n_out, D, H, W); an error for a volume that is too small."""
        if not torch.compiler.is_compiling() and isinstance(x, Tensor) and x.ndim == 5:
            self._check_size(x)
        return super().__call__(x)

    def _check_size(self, x):
        sizes = tuple(x.shape[2:])
        instance = NormType(self.norm_type) in (NormType.Instance, NormType.InstanceZero)
        batch = self.training and NormType(self.norm_type) in (NormType.Batch, NormType.BatchZero)
        voxels = math.prod(-(-n // divisor) for n, divisor in zip(sizes, self.divisors, strict=True))
        if (instance and voxels == 1) or (batch and voxels * len(x) == 1):
            raise ValueError(
                f"UNet3D: volumes of {sizes} (D, H, W) have one voxel left at the lowest level, which divides the "
                f"sides by {self.divisors}; one voxel cannot be normalized. At least one side must be larger than its "
                "divisor: take larger patches, or fewer widths"
            )

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, n_out, D, H, W); with deep supervision a list of them in training."""
        if not torch.jit.is_scripting() and self.training and self.deep_supervision:  # a script gives one type
            return self._all_scales(x)
        kept = []
        for stage in self.encoder:
            x = stage(x)
            kept.append(x)
        kept.pop()
        for block in self.blocks:
            x = block(x, kept.pop())
        return self.final(x)

    def _all_scales(self, x: Tensor) -> Any:
        kept = []
        for stage in self.encoder:
            x = stage(x)
            kept.append(x)
        kept.pop()
        scores: list[Tensor] = []
        for number, block in enumerate(self.blocks):
            x = block(x, kept.pop())
            if 0 < number <= len(self.heads):
                scores.insert(0, self.heads[number - 1](x))
        return [self.final(x), *scores]


@strict_keywords
@keeps_recipe
@delegates(DynamicUnet3D.__init__, but=["encoder"])
def create_unet_model_3d(
    arch: Callable[..., nn.Module] | nn.Module,
    n_out: int,
    img_size: Sequence[int] | None = None,
    *,
    pretrained: bool = False,
    cut: int | Callable | None = None,
    n_in: int = 1,
    **kwargs: Any,
) -> DynamicUnet3D:
    """Make a :class:`DynamicUnet3D` over the encoder of ``arch``.

    Args:
        arch, pretrained, cut, n_in: see ``create_body``.
        n_out: classes.
        img_size, kwargs: of :class:`DynamicUnet3D`.

    >>> encoder = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, 8, 3, stride=2, padding=1))
    >>> create_unet_model_3d(encoder, n_out=2)(torch.zeros(1, 1, 5, 9, 13)).shape
    torch.Size([1, 2, 5, 9, 13])
    """
    return DynamicUnet3D(create_body(arch, n_in, pretrained, cut), n_out, img_size, **kwargs)


def encoder_split(model: nn.Module) -> L:
    """Parameter groups of a model with an ``encoder`` of stages: first half of it, second half, all the rest."""
    stages = list(model.get_submodule("encoder").children())
    middle = (len(stages) + 1) // 2
    rest = [child for name, child in model.named_children() if name != "encoder"]
    return L(stages[:middle], stages[middle:], rest).map(nn.ModuleList).map(params)
