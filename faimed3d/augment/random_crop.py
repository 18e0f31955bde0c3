"""``RandomCrop3D``: the same random box of image and mask, around a label where one is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from faimed3d._arguments import as_tuple, whole_per_axis
from faimed3d.augment.base import RandomTransform3D, count_items, find_volumes
from faimed3d.augment.grid_changes import pad_to
from faimed3d.masks import is_mask
from faimed3d.volume import TensorDicom3D


class RandomCrop3D(RandomTransform3D):
    """Crop a random box of a size, the same of image and mask; in validation the box at the centre.

    Volumes smaller than the box are padded first. The geometry follows: the crop stays where it was in the patient.

    Args:
        size: voxels (D, H, W), or one number for all three.
        labels: favour boxes around voxels of these labels: a number or several. One of those that the mask of the item
            holds is drawn, then one of its voxels, which becomes the centre (or as near to it as the edge allows).
        favour: how often to do so, 0..1; else, and where the mask holds none of them, the box is anywhere.
        value: fills new voxels of images. Default: the smallest value of the image; masks get 0.

    >>> image = TensorDicom3D(torch.rand(4, 5, 6))
    >>> RandomCrop3D((2, 3, 4))(image, split_idx=0).shape
    torch.Size([2, 3, 4])
    """

    split_idx, crops_to_size = None, True

    def __init__(
        self,
        size: int | Sequence[int],
        *,
        labels: float | Sequence[float] | None = None,
        favour: float = 0.5,
        value: float | None = None,
    ) -> None:
        if not 0 <= favour <= 1:
            raise ValueError(f"favour must be a probability in 0..1, got {favour!r}")
        self.size, self.favour, self.value = whole_per_axis(size, "size", least=1), favour, value
        self.labels = () if labels is None else as_tuple(labels)
        super().__init__(1.0)

    def before_call(self, b: Any, split_idx: int | None) -> None:
        """Draw the first voxel of the box of each item."""
        volumes = list(find_volumes(b))
        self.do = bool(volumes)
        if not volumes:
            return
        sizes = {tuple(volume.shape[-3:]) for volume in volumes}
        if len(sizes) > 1:
            raise ValueError(
                f"RandomCrop3D cuts the same box from all volumes of an item, so they must have the same size: got "
                f"{sorted(sizes)} (D, H, W). Bring the mask onto the grid of the image first, with ResampleLike()"
            )
        self._items = count_items(volumes)
        room = [max(0, n - m) for n, m in zip(sizes.pop(), self.size, strict=True)]
        mask = next((volume.as_subclass(Tensor) for volume in volumes if is_mask(volume)), None)
        masks = [mask] if self._items is None else [None if mask is None else mask[i] for i in range(self._items)]
        self._corners = [[n // 2 for n in room] if split_idx else self._corner(room, mask) for mask in masks]

    def encodes(self, x):
        """Crop a volume; anything else passes."""
        if not isinstance(x, TensorDicom3D) or x.ndim < 3:
            return x
        x = pad_to(x, self.size, self.value)
        if self._items is None:
            return crop_at(x, self._corners[0], self.size)
        return torch.stack([crop_at(item, corner, self.size) for item, corner in zip(x, self._corners, strict=True)])

    def _forget(self) -> None:
        super()._forget()
        self._corners: list[list[int]] = []

    def _corner(self, room: Sequence[int], mask: Tensor | None) -> list[int]:
        """Draw the first voxel of a box; ``room`` is how far it may move along each axis."""
        corner = [int(torch.randint(n + 1, ())) for n in room]
        if not self.labels or mask is None or torch.rand(()) >= self.favour:
            return corner
        voxel = find_label_voxel(mask, self.labels)
        if voxel is None:
            return corner
        return [min(max(0, v - n // 2), most) for v, n, most in zip(voxel, self.size, room, strict=True)]


def crop_at(t: TensorDicom3D, corner: Sequence[int], size: Sequence[int]) -> TensorDicom3D:
    """Cut the box of ``size`` whose first voxel is ``corner``, both (D, H, W), out of (..., D, H, W)."""
    return t[(..., *(slice(start, start + n) for start, n in zip(corner, size, strict=True)))]


def find_label_voxel(mask: Tensor, labels: Sequence[float]) -> tuple[int, int, int] | None:
    """Return the index (d, h, w) of a random voxel of a random one of ``labels`` that ``mask`` holds, or None.

    Args:
        mask: plain tensor (..., D, H, W).
        labels: the labels to look for, each as likely as any other whatever its size.
    """
    mask = mask.reshape(-1, *mask.shape[-3:])
    for k in torch.randperm(len(labels)).tolist():
        found = mask == labels[k]
        per_slice = found.sum((0, 2, 3))
        if per_slice.any():
            d = int(torch.multinomial(per_slice.double().cpu(), 1))
            rows_and_columns = found[:, d].any(0).nonzero()
            h, w = rows_and_columns[int(torch.randint(len(rows_and_columns), ()))].tolist()
            return d, h, w
    return None
