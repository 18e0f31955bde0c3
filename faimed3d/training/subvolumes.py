"""Callbacks that show the network a volume in equal parts, or train on some of the parts, or mix them.

Images are (B, C, D, H, W). A target *has voxels* if its last three axes are those of the images, such as masks
(B, D, H, W). All other targets (classes, numbers) belong to whole volumes. ``learn.predict_volume`` runs the network
without callbacks: its argument ``patch`` does there what ``SplitVolumes`` does here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from fastai.callback.core import Callback
from torch import Tensor

from faimed3d._keywords import StrictKeywords


class SplitVolumes(StrictKeywords, Callback):
    """Show the network equal parts of each volume as items of their own, and join its answers again.

    Loss and metrics see whole volumes: scores of voxels are joined to a volume; scores of whole volumes are averaged
    over the parts. Where a side is no multiple of the number of parts, its last voxel is repeated for the network,
    and the scores of these repeats are cut off.

    Args:
        n_subvol: number of parts: a cube (8, 27, ...), or a square (4, 9, ...) without ``split_along_depth``.
        split_along_depth: split along D too, not only H and W.

    Raises:
        ValueError: ``n_subvol`` is no such number. In training: there are several inputs (see ``StackVolumes``), or the
            network gives scores of another size than its input.

    >>> SplitVolumes(n_subvol=27).counts  # along D, H, W
    (3, 3, 3)
    >>> SplitVolumes(n_subvol=9, split_along_depth=False).counts
    (1, 3, 3)
    """

    order = 10  # after CastToTensor

    def __init__(self, n_subvol: int = 8, split_along_depth: bool = True) -> None:
        super().__init__()
        axes = 3 if split_along_depth else 2
        root = round(n_subvol ** (1 / axes))
        if root < 1 or root**axes != n_subvol:
            raise ValueError(
                f"n_subvol must be a {'cube (1, 8, 27, ...)' if axes == 3 else 'square (1, 4, 9, ...)'} with "
                f"split_along_depth={split_along_depth}, got {n_subvol!r}"
            )
        self.n_subvol, self.split_along_depth = n_subvol, split_along_depth
        self.counts = (root if split_along_depth else 1, root, root)
        self._whole: Tensor | None = None  # the images of the batch at hand

    def before_batch(self) -> None:
        """Split the images."""
        self._whole = images = self._image()
        self.learn.xb = (split_parts(images, self.counts),)

    def after_pred(self) -> None:
        """Join the answers, and put the whole images back."""
        assert self._whole is not None
        pred, size = self.learn.pred, self._whole.shape[2:]
        if pred.ndim > 2:
            part = self.learn.xb[0].shape[2:]
            if pred.shape[2:] != part:
                raise ValueError(
                    f"{type(self).__name__} joins scores of voxels: each part has {tuple(part)} voxels, but the "
                    f"network gave scores of {tuple(pred.shape[2:])}"
                )
            self.learn.pred = join_parts(pred, self.counts)[..., : size[0], : size[1], : size[2]]
        else:
            self.learn.pred = pred.reshape(-1, self.n_subvol, *pred.shape[1:]).mean(1)
        self.learn.xb = (self._whole,)

    def after_batch(self) -> None:
        """Hold no volume longer than its batch."""
        self._whole = None

    def _image(self):
        if len(self.learn.xb) != 1 or self.learn.xb[0].ndim != 5:
            raise ValueError(
                f"{type(self).__name__} takes one input (B, C, D, H, W), got "
                f"{[tuple(x.shape) for x in self.learn.xb]}; StackVolumes joins several"
            )
        return self.learn.xb[0]

    def _has_voxels(self, y):
        return isinstance(y, Tensor) and y.ndim >= 4 and y.shape[-3:] == self._whole.shape[-3:]


class SubsampleShuffle(SplitVolumes):
    """Train on a random share of the parts of the volumes of a batch; validate as :class:`SplitVolumes`.

    A target with voxels is split like the images. A class belongs to every part of its volume. With ``bs=1`` and
    ``p=0.5`` the network trains on half a volume at a time.

    Args:
        p: share of the parts to train on, above 0 and up to 1; at least one part is used.
        n_subvol, split_along_depth: see :class:`SplitVolumes`.

    Raises:
        ValueError: ``p`` is no such share.

    >>> SubsampleShuffle(p=0.25, n_subvol=8).counts
    (2, 2, 2)
    """

    def __init__(self, p: float = 0.5, n_subvol: int = 8, split_along_depth: bool = True) -> None:
        if not 0 < p <= 1:
            raise ValueError(f"p must be a share above 0 and up to 1, got {p!r}")
        super().__init__(n_subvol, split_along_depth)
        self.p = p

    def before_batch(self) -> None:
        """Split the images, and in training draw some of the parts."""
        super().before_batch()
        if not self.training:
            return
        parts = self.learn.xb[0]
        drawn = torch.randperm(len(parts))[: max(1, round(self.p * len(parts)))].to(parts.device)
        self.learn.xb = (parts[drawn],)
        self.learn.yb = tuple(self._parts_of(y)[drawn] for y in self.learn.yb)

    def after_pred(self) -> None:
        """In validation join the answers."""
        if not self.training:
            super().after_pred()

    def _parts_of(self, y):
        if self._has_voxels(y):
            return split_parts(y, self.counts)
        return y.repeat_interleave(self.n_subvol, 0)


class MixSubvol(SplitVolumes):
    """Train on volumes whose parts were exchanged, in images and targets alike.

    If all targets have voxels, parts are exchanged within the whole batch. A class or a number belongs to one volume,
    so then parts are exchanged within each volume. Where a side is no multiple of the number of parts, the voxels left
    over stay where they are.

    Args:
        p: probability with which a batch is mixed.
        n_subvol, split_along_depth: see :class:`SplitVolumes`.

    Raises:
        ValueError: ``p`` is no probability.

    >>> MixSubvol(p=0.5, n_subvol=4, split_along_depth=False).counts
    (1, 2, 2)
    """

    run_valid = False

    def __init__(self, p: float = 0.25, n_subvol: int = 8, split_along_depth: bool = True) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"p must be a probability in 0..1, got {p!r}")
        super().__init__(n_subvol, split_along_depth)
        self.p = p

    def before_batch(self) -> None:
        """Draw where the parts go, and exchange them."""
        if torch.rand(()) >= self.p:
            return
        self._whole = images = self._image()
        count = len(images)
        if all(map(self._has_voxels, self.learn.yb)):
            order = torch.randperm(count * self.n_subvol)
        else:
            order = torch.cat([torch.randperm(self.n_subvol) + k * self.n_subvol for k in range(count)])
        order = order.to(images.device)
        self.learn.xb = (self._mixed(images, order),)
        self.learn.yb = tuple(self._mixed(y, order) if self._has_voxels(y) else y for y in self.learn.yb)

    def after_pred(self) -> None:
        """Do nothing: the targets were mixed as the images were, so there is nothing to join."""

    def _mixed(self, x, order):
        core = tuple(slice(n - n % count) for n, count in zip(x.shape[-3:], self.counts, strict=True))
        mixed = x.clone()
        if all(part.stop for part in core):
            mixed[(..., *core)] = join_parts(split_parts(x[(..., *core)], self.counts)[order], self.counts)
        return mixed


def split_parts(x: Tensor, counts: Sequence[int]) -> Tensor:
    """Cut each volume of a batch into equal parts, which become the items: those of the first volume come first.

    Args:
        x: (B, ..., D, H, W).
        counts: parts along (D, H, W). Where a side is no multiple, its last voxel is repeated.

    Returns:
        (B * parts, ..., d, h, w).

    >>> split_parts(torch.arange(6).reshape(1, 1, 1, 6), (1, 1, 2)).tolist()
    [[[[0, 1, 2]]], [[[3, 4, 5]]]]
    """
    sides = [-(-n // count) for n, count in zip(x.shape[-3:], counts, strict=True)]
    for axis, (n, side, count) in enumerate(zip(x.shape[-3:], sides, counts, strict=True), x.ndim - 3):
        if side * count > n:
            x = x.index_select(axis, torch.arange(side * count, device=x.device).clamp_(max=n - 1))
    lead = x.ndim - 3
    cells = x.reshape(*x.shape[:-3], *(n for pair in zip(counts, sides, strict=True) for n in pair))
    order = [0, lead, lead + 2, lead + 4, *range(1, lead), lead + 1, lead + 3, lead + 5]
    return cells.permute(order).reshape(len(x) * math.prod(counts), *x.shape[1:-3], *sides)


def join_parts(parts: Tensor, counts: Sequence[int]) -> Tensor:
    """Undo :func:`split_parts`: (B * parts, ..., d, h, w) to (B, ..., D, H, W), repeated voxels included.

    >>> x = torch.arange(12).reshape(2, 1, 1, 6)
    >>> bool((join_parts(split_parts(x, (1, 1, 2)), (1, 1, 2)) == x).all())
    True
    """
    lead, sides = parts.ndim - 3, parts.shape[-3:]
    cells = parts.reshape(-1, *counts, *parts.shape[1:])
    order = [0, *range(4, 3 + lead), *(axis for k in range(3) for axis in (1 + k, 3 + lead + k))]
    return cells.permute(order).reshape(
        len(cells), *parts.shape[1:-3], *(n * count for n, count in zip(sides, counts, strict=True))
    )
