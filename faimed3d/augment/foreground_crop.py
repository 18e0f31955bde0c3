"""``CropForeground3D``: cut air and empty margins off, image and mask alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from fastai.vision.augment import DisplayedTransform
from torch import Tensor

from faimed3d._arguments import as_tuple, is_number, per_axis
from faimed3d._keywords import StrictKeywords
from faimed3d.augment.base import find_volumes
from faimed3d.masks import is_mask
from faimed3d.volume import TensorDicom3D


class CropForeground3D(StrictKeywords, DisplayedTransform):
    """Crop all volumes of an item to the box of its foreground; the geometry follows.

    It is an item transform, of training and validation alike; of a batch the box holds the foreground of all items.
    ``learn.predict_volume`` brings its result back to the whole grid. Items differ in size afterwards: ``PadOrCrop3D``
    or ``RandomCrop3D`` behind it make batches.

    Args:
        threshold: voxels of the first image above it, in any channel, are foreground; about -500 for CT. Default: the
            smallest value of each channel.
        labels: crop to these labels of the mask instead, one or several; ``True`` for all but 0. An item without a
            mask, as in prediction, stays whole.
        margin: added on all sides: one number or three (D, H, W), voxels, or mm where ``mm``.
        mm: ``margin`` is in mm, which needs the geometry.

    Raises:
        ValueError: there is no foreground; volumes of an item differ in size.

    >>> image = TensorDicom3D(torch.tensor([[[0.0, 0.0, 5.0, 6.0, 0.0]]]))
    >>> CropForeground3D()(image).tolist()
    [[[5.0, 6.0]]]
    """

    def __init__(
        self,
        threshold: float | None = None,
        *,
        labels: int | Sequence[int] | bool = False,
        margin: float | Sequence[float] = 0,
        mm: bool = False,
    ) -> None:
        if threshold is not None and not is_number(threshold):
            raise ValueError(f"threshold must be a number or None, got {threshold!r}")
        if threshold is not None and labels is not False:
            raise ValueError("CropForeground3D takes threshold, of the image, or labels, of the mask, not both")
        self.threshold, self.mm, self.margin = threshold, mm, per_axis(margin, "margin", least=0)
        self.labels = labels if isinstance(labels, bool) else as_tuple(labels)
        self._box: tuple[slice, ...] | None = None
        super().__init__()

    def __call__(self, b: Any, split_idx: int | None = None, **kwargs: Any) -> Any:
        volumes = list(find_volumes(b))
        self._box = self._box_of(volumes) if volumes else None
        try:
            return super().__call__(b, split_idx=split_idx, **kwargs)
        finally:
            self._box = None

    def encodes(self, x: TensorDicom3D):
        """Crop a volume."""
        return x if self._box is None else x[(..., *self._box)]

    def _box_of(self, volumes: Sequence[TensorDicom3D]) -> tuple[slice, ...] | None:
        if len({tuple(volume.shape[-3:]) for volume in volumes}) > 1:
            raise ValueError(
                "CropForeground3D cuts the same box from all volumes of one item: put it into item_tfms, behind what "
                f"brings a mask onto the grid of its image; got {[tuple(volume.shape) for volume in volumes]}"
            )
        by_labels = self.labels is not False
        leader = next((volume for volume in volumes if is_mask(volume) == by_labels), None)
        if leader is None:
            return None
        plain = leader.as_subclass(Tensor).reshape(-1, *leader.shape[-3:])  # each channel of each item
        if by_labels:
            inside = (
                plain != 0 if self.labels is True else torch.isin(plain, torch.tensor(self.labels).to(plain.device))
            )
        else:
            inside = plain > (_lowest(plain) if self.threshold is None else self.threshold)
        inside = inside.any(0)
        margin: Sequence[float] = self.margin
        if self.mm:
            spacing = leader.require_geometry("CropForeground3D(mm=True)").spacing[::-1]
            margin = [n / step for n, step in zip(margin, spacing, strict=True)]
        cuts = []
        for axis, (size, wide) in enumerate(zip(inside.shape, margin, strict=True)):
            planes = inside.movedim(axis, 0).flatten(1).any(1).nonzero()
            if not len(planes):
                above = "the smallest value" if self.threshold is None else self.threshold
                what = f"no voxel of the labels {self.labels}" if by_labels else f"no voxel above {above}"
                raise ValueError(f"CropForeground3D: {what}, so nothing would be left")
            extra = -int(-wide // 1)
            cuts.append(slice(max(0, int(planes[0]) - extra), min(size, int(planes[-1]) + 1 + extra)))
        return tuple(cuts)


def _lowest(volumes: Tensor) -> Tensor:
    """(N, 1, 1, 1): the smallest finite value of each volume; infinity where there is none."""
    finite = volumes.where(volumes.isfinite(), math.inf) if volumes.is_floating_point() else volumes
    return finite.amin((1, 2, 3), keepdim=True)
