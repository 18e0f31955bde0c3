"""Callbacks for volumes: several inputs as channels, volumes in parts, the best weights again when training strays.

Put them into a ``Learner``'s ``cbs``. Images are ``(B, C, D, H, W)``. A target has *voxels* if its last three axes are
those of the images, such as masks ``(B, D, H, W)``; all others (classes, numbers) belong to whole volumes.

They act while a ``Learner`` trains, validates and collects predictions. ``learn.predict_volume`` runs the network by
itself: its argument ``patch`` does there what :class:`SplitVolumes` does here.
"""

from __future__ import annotations

import math
import warnings

import torch
from fastai.callback.core import Callback
from fastai.callback.tracker import TrackerCallback
from torch import Tensor

from faimed3d.volume import TensorDicom3D

__all__ = [
    "MixSubvol",
    "ReloadBestFit",
    "SplitVolumes",
    "StackVolumes",
    "SubsampleShuffle",
    "join_parts",
    "split_parts",
]


class StackVolumes(Callback):
    """Make one input of several images of an item, as its channels: T1, T2 and FLAIR from three ``ImageBlock3D``.

    ``ImageBlock3D`` does so by itself where an item is a list of files, and can then bring all to the grid of the
    first; this is for items whose images have transforms of their own.

    Raises:
        ValueError: the images differ in size, or their voxels do not lie at the same places in the patient.
    """

    order = 7  # before KeepGeometry and CastToTensor, while batches know where they lie

    def before_batch(self):
        """Join the inputs."""
        xb = self.learn.xb
        if len(xb) < 2:
            return
        first = xb[0]
        for number, x in enumerate(xb[1:], 2):
            if not isinstance(x, Tensor) or x.ndim != 5 or x.shape[2:] != first.shape[2:] or len(x) != len(first):
                came = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
                raise ValueError(
                    f"StackVolumes joins images (B, C, D, H, W) of one size, but input 1 is {tuple(first.shape)} and "
                    f"input {number} is {came}: use Resample3D and PadOrCrop3D, or ResampleLike(), among the item_tfms"
                )
            if isinstance(x, TensorDicom3D) and isinstance(first, TensorDicom3D):
                for item, (one, other) in enumerate(zip(first, x, strict=True)):
                    here, there = one.geometry, other.geometry
                    if here is not None and there is not None and not here.agrees(there, 0.05):
                        raise ValueError(
                            f"StackVolumes: item {item} of the batch has inputs 1 and {number} at different places: "
                            f"{here!r} and {there!r}. ResampleLike() among the item_tfms brings them onto one grid"
                        )
        self.learn.xb = (torch.cat(xb, 1),)


class SplitVolumes(Callback):
    """Show the network equal parts of each volume as items of their own, and put its answers together again.

    Loss and metrics see whole volumes: scores of voxels are put back in their places, scores of whole volumes are the
    mean of those of the parts. Where a side is no multiple of the number of parts, its last voxel is repeated for the
    network, and what is said of that is cut off.

    Args:
        n_subvol: number of parts: a cube (8, 27, ...), or a square (4, 9, ...) without ``split_along_depth``.
        split_along_depth: split along D too, not only H and W.

    Raises:
        ValueError: ``n_subvol`` is no such number; several inputs (see :class:`StackVolumes`); the network gives scores
            of another size than its input.
    """

    order = 10  # after CastToTensor

    def __init__(self, n_subvol=8, split_along_depth=True):
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
        self._whole = None

    def before_batch(self):
        """Split the images."""
        self._whole = self._image()
        self.learn.xb = (split_parts(self._whole, self.counts),)

    def after_pred(self):
        """Put the answers together, and the images back."""
        pred, size = self.learn.pred, self._whole.shape[2:]
        if pred.ndim > 2:
            part = self.learn.xb[0].shape[2:]
            if pred.shape[2:] != part:
                raise ValueError(
                    f"{type(self).__name__} puts scores of every voxel together: the parts have {tuple(part)} voxels, "
                    f"the network gave {tuple(pred.shape[2:])}"
                )
            self.learn.pred = join_parts(pred, self.counts)[..., : size[0], : size[1], : size[2]]
        else:
            self.learn.pred = pred.reshape(-1, self.n_subvol, *pred.shape[1:]).mean(1)
        self.learn.xb = (self._whole,)

    def after_batch(self):
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

    Parts of a target with voxels come along; to a part of a volume with a class belongs that class. With ``bs=1`` and
    ``p=0.5`` the network trains on half a volume at a time.

    Args:
        p: share of the parts to train on, above 0 and up to 1; at least one part is.
        n_subvol, split_along_depth: see :class:`SplitVolumes`.
    """

    def __init__(self, p=0.5, n_subvol=8, split_along_depth=True):
        if not 0 < p <= 1:
            raise ValueError(f"p must be a share above 0 and up to 1, got {p!r}")
        super().__init__(n_subvol, split_along_depth)
        self.p = p

    def before_batch(self):
        """Split the images, and in training draw some of the parts."""
        super().before_batch()
        if not self.training:
            return
        parts = self.learn.xb[0]
        drawn = torch.randperm(len(parts))[: max(1, round(self.p * len(parts)))].to(parts.device)
        self.learn.xb = (parts[drawn],)
        self.learn.yb = tuple(self._parts_of(y)[drawn] for y in self.learn.yb)

    def after_pred(self):
        """In validation put the answers together."""
        if not self.training:
            super().after_pred()

    def _parts_of(self, y):
        if self._has_voxels(y):
            return split_parts(y, self.counts)
        return y.repeat_interleave(self.n_subvol, 0)


class MixSubvol(SplitVolumes):
    """Train on volumes whose parts have changed places, images and targets alike.

    Where all targets have voxels, parts change places within the whole batch; a class or a number belongs to one
    volume, so there they stay within it. What is over where a side is no multiple of the number of parts stays in its
    place.

    Args:
        p: probability with which a batch is mixed.
        n_subvol, split_along_depth: see :class:`SplitVolumes`.
    """

    run_valid = False

    def __init__(self, p=0.25, n_subvol=8, split_along_depth=True):
        if not 0 <= p <= 1:
            raise ValueError(f"p must be a probability in 0..1, got {p!r}")
        super().__init__(n_subvol, split_along_depth)
        self.p = p

    def before_batch(self):
        """Draw where the parts go, and mix."""
        if torch.rand(()) >= self.p:
            return
        self._whole = self._image()
        count = len(self._whole)
        if all(map(self._has_voxels, self.learn.yb)):
            order = torch.randperm(count * self.n_subvol)
        else:
            order = torch.cat([torch.randperm(self.n_subvol) + k * self.n_subvol for k in range(count)])
        order = order.to(self._whole.device)
        self.learn.xb = (self._mixed(self._whole, order),)
        self.learn.yb = tuple(self._mixed(y, order) if self._has_voxels(y) else y for y in self.learn.yb)

    def after_pred(self):
        """The targets were mixed as the images were: there is nothing to put together."""

    def _mixed(self, x, order):
        core = tuple(slice(n - n % count) for n, count in zip(x.shape[-3:], self.counts, strict=True))
        mixed = x.clone()
        if all(part.stop for part in core):
            mixed[(..., *core)] = join_parts(split_parts(x[(..., *core)], self.counts)[order], self.counts)
        return mixed


class ReloadBestFit(TrackerCallback):
    """Save the weights whenever they are the best so far, and load those again when there were no better for a while.

    Args:
        fname: file below ``learn.path / learn.model_dir``, without extension. It holds the optimizer as well.
        monitor, comp, min_delta: see fastai's ``TrackerCallback``.
        patience: epochs without a better value, from the last better or the last reload on, after which to load.

    Attributes:
        reloaded: the epochs of this fit after which the best weights were loaded.
    """

    order = TrackerCallback.order + 2  # after SaveModelCallback

    def __init__(self, fname="best", monitor="valid_loss", comp=None, min_delta=0.0, patience=1):
        if patience < 1:
            raise ValueError(f"patience must be at least 1 epoch, got {patience!r}")
        super().__init__(monitor=monitor, comp=comp, min_delta=min_delta)
        self.fname, self.patience, self.reloaded = fname, patience, []

    def before_fit(self):
        """Find what is monitored."""
        super().before_fit()
        self.started = False  # learn.validate comes by here too, and has no epoch of training

    def before_train(self):
        """Start to count anew with each fit; what an earlier one has saved is not loaded."""
        if not self.started:
            self.started, self.wait, self.saved, self.reloaded = True, 0, False, []

    def after_epoch(self):
        """Save, wait or load."""
        if not self.started:
            return
        super().after_epoch()
        if self.new_best:
            self.learn.save(self.fname)
            self.saved, self.wait = True, 0
            return
        self.wait += 1
        if self.wait >= self.patience and self.saved:
            with warnings.catch_warnings():
                # on loading fastai names a module of numpy that has been renamed
                warnings.filterwarnings("ignore", "numpy.core is deprecated", DeprecationWarning)
                self.learn.load(self.fname, weights_only=False)
            self.reloaded.append(self.epoch)
            self.wait = 0


def split_parts(x, counts):
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


def join_parts(parts, counts):
    """Put the parts of :func:`split_parts` back in their places: (B * parts, ..., d, h, w) to (B, ..., D, H, W)."""
    lead, sides = parts.ndim - 3, parts.shape[-3:]
    cells = parts.reshape(-1, *counts, *parts.shape[1:])
    order = [0, *range(4, 3 + lead), *(axis for k in range(3) for axis in (1 + k, 3 + lead + k))]
    return cells.permute(order).reshape(
        len(cells), *parts.shape[1:-3], *(n * count for n, count in zip(sides, counts, strict=True))
    )
