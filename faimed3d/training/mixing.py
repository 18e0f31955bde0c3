"""fastai's MixUp, CutMix and ChannelsLast, for volumes."""

from __future__ import annotations

import torch
from fastai.callback.channelslast import ChannelsLast
from fastai.callback.mixup import CutMix, MixUp
from torch import Tensor

_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}  # by the number of axes


class CutMix3D(CutMix):
    """CutMix of volumes: a box of each image comes from another one (Yun et al. 2019, arXiv:1905.04899).

    Masks are cut as the images are. Classes and numbers of whole volumes are blended by the share of the box, the
    classes in the loss. Put fastai's ``CutMix`` into a Learner, and volumes get this one.

    Args:
        alpha: both parameters of the Beta distribution of the share that stays; 1 draws all shares alike.

    >>> CutMix3D(alpha=1.0).name
    'cut_mix'
    """

    name = "cut_mix"  # as which a Learner knows fastai's

    def before_batch(self) -> None:
        """Draw the box, and exchange it within the batch."""
        if self.x.ndim != 5:
            super().before_batch()
            return
        images = self.x
        order = torch.randperm(len(images), device=images.device)
        size = images.shape[-3:]
        box = _box(size, float(self.distrib.sample()))
        inside = torch.zeros(size, dtype=torch.bool, device=images.device)
        inside[box] = True
        self.lam = 1 - inside.float().mean()
        self.learn.xb = tuple(_cut(x, order, inside) if _has_voxels(x, size) else x for x in self.learn.xb)
        targets = tuple(_cut(y, order, inside) if _has_voxels(y, size) else y for y in self.learn.yb)
        others = tuple(y if _has_voxels(y, size) else y[order] for y in targets)
        if not self.stack_y:
            targets = others = tuple(
                y if y is other or not y.is_floating_point() else torch.lerp(other, y, self.lam)
                for y, other in zip(targets, others, strict=True)
            )
        self.yb1, self.learn.yb = others, targets


class MixUp3D(MixUp):
    """fastai's MixUp, which fails on a batch of one: that is left as it is."""

    name = "mix_up"

    def before_batch(self) -> None:
        """Blend each item with another one, if there is another one."""
        if len(self.x) > 1:
            super().before_batch()
            return
        self.lam, self.yb1 = self.x.new_ones(1), self.yb


class ChannelsLast3D(ChannelsLast):
    """fastai's ChannelsLast, which fails on the weights of 3D convolutions: these get ``torch.channels_last_3d``."""

    name = "channels_last"

    def before_fit(self) -> None:
        """Store the weights with their channels last."""
        self.learn.model._apply(lambda t: t.to(memory_format=_FORMATS[t.ndim]) if t.ndim in _FORMATS else t)


FOR_VOLUMES: dict[type, type] = {CutMix: CutMix3D, MixUp: MixUp3D, ChannelsLast: ChannelsLast3D}


def _has_voxels(x: object, size: torch.Size) -> bool:
    return isinstance(x, Tensor) and x.ndim >= 4 and x.shape[-3:] == size


def _cut(x: Tensor, order: Tensor, inside: Tensor) -> Tensor:
    """``x`` with the voxels inside the box from the item that ``order`` says."""
    plain = x.as_subclass(Tensor)
    mixed = torch.where(inside, plain[order], plain)
    return x.with_voxels(mixed) if hasattr(x, "with_voxels") else mixed


def _box(size: torch.Size, kept: float) -> tuple[slice, ...]:
    """A box at a random place whose share of the volume is about ``1 - kept``, cut off at the edges."""
    box = []
    for n in size:
        side = round(n * (1 - kept) ** (1 / 3))
        start = int(torch.randint(n, ())) - side // 2
        box.append(slice(max(start, 0), max(start + side, 0)))
    return tuple(box)
