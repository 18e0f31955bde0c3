"""Transforms that change the grid of an item: crop, pad, resize, resample, reorient. No voxel moves in the world.

They are thin: the work is done by ``faimed3d.spatial``, which keeps the geometry exact. All act on training and
validation set alike; ``RandomCrop3D`` crops the centre in validation.
"""

from __future__ import annotations

import numbers

import torch
from fastai.vision.augment import DisplayedTransform
from fastcore.basics import store_attr
from torch import Tensor

from faimed3d.augment.base import RandomTransform3D, count_items, find_volumes
from faimed3d.geometry import Geometry
from faimed3d.spatial import crop_3d, pad_or_crop, reorient, resample, resample_like, resize_3d_tensor
from faimed3d.spatial.resizing import scaled_size
from faimed3d.volume import TensorDicom3D, TensorMask3D

__all__ = [
    "Pad3D",
    "PadOrCrop3D",
    "RandomCrop3D",
    "Reorient3D",
    "Resample3D",
    "ResampleLike",
    "Resize3D",
    "ResizeCrop3D",
    "crop_at",
    "find_label_voxel",
]


class Resize3D(DisplayedTransform):
    """Resize volumes to a shape: images trilinear, masks nearest; see ``faimed3d.spatial.resize_3d_tensor``.

    Args:
        size: voxels (D, H, W), or one number for all three; or None with ``scale_factor``.
        scale_factor: the new size as a factor of the old one: one number or (D, H, W).
    """

    def __init__(self, size=None, scale_factor=None):
        if (size is None) == (scale_factor is None):
            raise ValueError(f"Resize3D takes either size or scale_factor, got {size!r} and {scale_factor!r}")
        self.size = None if size is None else _whole(size)
        self.scale_factor = scale_factor
        if scale_factor is not None:
            scaled_size((1, 1, 1), scale_factor)  # checks it
        super().__init__()

    def encodes(self, x: TensorDicom3D):
        """Resize a volume."""
        return resize_3d_tensor(x, self.size or scaled_size(x.shape[-3:], self.scale_factor))


class Resample3D(DisplayedTransform):
    """Resample volumes to a spacing over the same field of view; see ``faimed3d.spatial.resample``.

    Args:
        spacing: (x, y, z) mm, or one number for all three.
        value: fills what lies outside. Default: the smallest value of an image, 0 for masks.
    """

    def __init__(self, spacing, value=None):
        store_attr()
        super().__init__()

    def encodes(self, x: TensorDicom3D):
        """Resample a volume, each channel alike."""
        return resample(x, self.spacing, _fill(self.value, x))


class ResampleLike(DisplayedTransform):
    """Resample volumes onto one grid, whatever their own; see ``faimed3d.spatial.resample_like``.

    Args:
        other: a volume with a geometry, a ``Geometry``, or a file or DICOM folder to take the grid of. Default: the
            first volume of each item, so that its mask comes onto the grid of the image.
        value: fills what lies outside. Default: the smallest value of an image, 0 for masks.
    """

    def __init__(self, other=None, value=None):
        if other is not None and not isinstance(other, Geometry | TensorDicom3D):
            other = TensorDicom3D.create(other)
        self.other = other.require_geometry("ResampleLike") if isinstance(other, TensorDicom3D) else other
        self.value = value
        super().__init__()

    def __call__(self, b, split_idx=None, **kwargs):
        volumes = list(find_volumes(b))
        if self.other is not None or len(volumes) < 2:
            return super().__call__(b, split_idx=split_idx, **kwargs)
        target = volumes[0].require_geometry("ResampleLike")
        return ResampleLike(target, self.value)(b, split_idx=split_idx, **kwargs)

    def encodes(self, x: TensorDicom3D):
        """Resample a volume."""
        return x if self.other is None else resample_like(x, self.other, _fill(self.value, x))


class PadOrCrop3D(DisplayedTransform):
    """Bring volumes to a size by padding and cropping equally at both ends; see ``faimed3d.spatial.pad_or_crop``.

    Args:
        size: voxels (D, H, W), or one number for all three.
        value: fills new voxels of images. Default: the smallest value of the image; masks get 0.
    """

    def __init__(self, size, value=None):
        self.size, self.value = _whole(size), value
        super().__init__()

    def encodes(self, x: TensorDicom3D):
        """Pad or crop a volume."""
        return pad_or_crop(x, self.size, _fill(self.value, x))


class Pad3D(DisplayedTransform):
    """Pad volumes to at least a size, equally at both ends; what is larger stays as it is.

    Args:
        new_size: voxels (D, H, W), or one number for all three.
        value: fills new voxels of images. Default: the smallest value of the image; masks get 0.
    """

    def __init__(self, new_size, value=None):
        self.new_size, self.value = _whole(new_size), value
        super().__init__()

    def encodes(self, x: TensorDicom3D):
        """Pad a volume."""
        size = tuple(max(n, m) for n, m in zip(x.shape[-3:], self.new_size, strict=True))
        return pad_or_crop(x, size, _fill(self.value, x))


class ResizeCrop3D(DisplayedTransform):
    """Cut margins off volumes, then resize them.

    Args:
        crop_by: margins as for ``faimed3d.spatial.crop_3d``: one number, three, three pairs or six.
        resize_to: voxels (D, H, W), or one number for all three.
        perc_crop: margins are fractions of the axes.
    """

    def __init__(self, crop_by, resize_to, perc_crop=False):
        self.crop_by, self.resize_to, self.perc_crop = crop_by, _whole(resize_to), perc_crop
        super().__init__()

    def encodes(self, x: TensorDicom3D):
        """Crop and resize a volume."""
        return resize_3d_tensor(crop_3d(x, self.crop_by, self.perc_crop), self.resize_to)


class Reorient3D(DisplayedTransform):
    """Bring the storage order of volumes to an orientation; see ``faimed3d.spatial.reorient``.

    Args:
        code: such as 'LPS' (DICOM, ITK) or 'RAS' (nibabel).
    """

    def __init__(self, code="LPS"):
        store_attr()
        super().__init__()

    def encodes(self, x: TensorDicom3D):
        """Reorder and flip the axes of a volume."""
        return reorient(x, self.code)


class RandomCrop3D(RandomTransform3D):
    """Crop a random box of a size, the same of image and mask; in validation the box at the centre.

    Volumes smaller than the box are padded first. The geometry follows: the crop stays where it was in the patient.

    Args:
        size: voxels (D, H, W), or one number for all three.
        labels: favour boxes around voxels of these labels: a number or several. One of those that the mask of the item
            holds is drawn, then one of its voxels, which becomes the centre (or as near to it as the edge allows).
        favour: how often to do so, 0..1; else, and where the mask holds none of them, the box is anywhere.
        value: fills new voxels of images. Default: the smallest value of the image; masks get 0.
    """

    split_idx = None

    def __init__(self, size, *, labels=None, favour=0.5, value=None):
        if not 0 <= favour <= 1:
            raise ValueError(f"favour must be a probability in 0..1, got {favour!r}")
        self.size, self.favour, self.value = _whole(size), favour, value
        self.labels = (labels,) if isinstance(labels, numbers.Real) else labels and tuple(labels)
        super().__init__(1.0)

    def before_call(self, b, split_idx):
        """Draw one corner for each item."""
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
        masks = [volume for volume in volumes if isinstance(volume, TensorMask3D)]
        self._drawn = []
        for i in range(self._items or 1):
            if split_idx:
                corner = tuple(n // 2 for n in room)
            else:
                corner = tuple(int(torch.randint(n + 1, ())) for n in room)
                if self.labels and masks and torch.rand(()) < self.favour:
                    mask = masks[0] if self._items is None else masks[0][i]
                    voxel = find_label_voxel(mask.as_subclass(Tensor), self.labels)
                    if voxel is not None:
                        corner = tuple(
                            min(max(0, v - n // 2), r) for v, n, r in zip(voxel, self.size, room, strict=True)
                        )
            self._drawn.append(corner)

    def encodes(self, x):
        """Crop a volume; anything else passes."""
        if not isinstance(x, TensorDicom3D) or x.ndim < 3:
            return x
        padded = tuple(max(n, m) for n, m in zip(x.shape[-3:], self.size, strict=True))
        x = pad_or_crop(x, padded, _fill(self.value, x))
        if self._items is None:
            return crop_at(x, self._drawn[0], self.size)
        return torch.stack([crop_at(item, corner, self.size) for item, corner in zip(x, self._drawn, strict=True)])


def crop_at(t, corner, size):
    """Cut the box of ``size`` whose first voxel is ``corner``, both (D, H, W), out of (..., D, H, W)."""
    return t[(..., *(slice(start, start + n) for start, n in zip(corner, size, strict=True)))]


def find_label_voxel(mask, labels):
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
            places = found[:, d].any(0).nonzero()
            h, w = places[int(torch.randint(len(places), ()))].tolist()
            return d, h, w
    return None


def _whole(size):
    sizes = (size,) * 3 if isinstance(size, numbers.Integral) else tuple(size)
    if len(sizes) != 3 or not all(isinstance(n, numbers.Integral) and n > 0 for n in sizes):
        raise ValueError(f"size must be three positive whole numbers (D, H, W), got {size!r}")
    return tuple(int(n) for n in sizes)


def _fill(value, x):
    return None if isinstance(x, TensorMask3D) else value
