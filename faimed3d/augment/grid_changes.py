"""Transforms that change the grid of an item: crop, pad, resize, resample, reorient. No voxel moves in the world.

They are thin: the work is done by ``faimed3d.spatial``, which keeps the geometry exact. All act on training and
validation set alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from fastai.vision.augment import DisplayedTransform
from fastcore.basics import store_attr

from faimed3d._arguments import per_axis, whole_per_axis
from faimed3d._keywords import StrictKeywords
from faimed3d.augment.base import find_volumes
from faimed3d.geometry import Geometry
from faimed3d.masks import is_mask
from faimed3d.spatial import crop_3d, pad_or_crop, reorient, resample, resample_like, resize_3d_tensor
from faimed3d.spatial.label_shares import check_mode
from faimed3d.spatial.resizing import scaled_size
from faimed3d.volume import TensorDicom3D


class Resize3D(StrictKeywords, DisplayedTransform):
    """Resize volumes to a shape: images trilinear, masks nearest; see ``faimed3d.spatial.resize_3d_tensor``.

    Args:
        size: voxels (D, H, W), or one number for all three; or None with ``scale_factor``.
        scale_factor: the new size as a factor of the old one: one number or (D, H, W).
        labels: how masks are resized, ``'nearest'``, ``'linear'`` or ``'present'``; see ``resample_like``.

    >>> Resize3D((2, 3, 4))(TensorDicom3D([[[0.0, 1.0]]])).shape
    torch.Size([2, 3, 4])
    """

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
        *,
        labels: str = "nearest",
    ) -> None:
        check_mode(labels)
        self.labels = labels
        if (size is None) == (scale_factor is None):
            raise ValueError(f"Resize3D takes either size or scale_factor, got {size!r} and {scale_factor!r}")
        self.size = None if size is None else whole_per_axis(size, "size", least=1)
        self.scale_factor = scale_factor
        if scale_factor is not None:
            scaled_size((1, 1, 1), scale_factor)  # checks it
        super().__init__()

    def encodes(self, x: TensorDicom3D):
        """Resize a volume."""
        size = self.size if self.scale_factor is None else scaled_size(x.shape[-3:], self.scale_factor)
        assert size is not None
        return resize_3d_tensor(x, size, self.labels)


class Resample3D(StrictKeywords, DisplayedTransform):
    """Resample volumes to a spacing over the same field of view; see ``faimed3d.spatial.resample``.

    Args:
        spacing: (x, y, z) mm, or one number for all three.
        value: fills what lies outside. Default: the smallest value of an image, 0 for masks.
        labels: how masks are resampled, ``'nearest'``, ``'linear'`` or ``'present'``; see ``resample_like``.

    Raises:
        ValueError: ``spacing`` is not made of positive numbers.

    >>> Resample3D((1, 1, 0.5))(TensorDicom3D([[[0.0, 1.0]]], {"spacing": (1, 1, 1)}))
    TensorDicom3D 2x1x2 torch.float32, spacing 1x1x0.5 mm (x, y, z)
    """

    def __init__(
        self, spacing: float | Sequence[float], *, value: float | None = None, labels: str = "nearest"
    ) -> None:
        check_mode(labels)
        per_axis(spacing, "spacing", above=0, axes="(x, y, z)")
        check_fill(value)
        store_attr()
        super().__init__()

    def encodes(self, x: TensorDicom3D):
        """Resample a volume, each channel alike."""
        return resample(x, self.spacing, fill_for(x, self.value), self.labels)


class ResampleLike(StrictKeywords, DisplayedTransform):
    """Resample volumes onto one grid, whatever their own; see ``faimed3d.spatial.resample_like``.

    Args:
        other: a volume with a geometry, a ``Geometry``, or a file or DICOM folder to take the grid of. Default: the
            first volume of each item, so that its mask comes onto the grid of the image.
        value: fills what lies outside. Default: the smallest value of an image, 0 for masks.
        labels: how masks are resampled, ``'nearest'``, ``'linear'`` or ``'present'``; see ``resample_like``.

    >>> ResampleLike(Geometry((1, 1, 4), spacing=(0.5, 1, 1)))(TensorDicom3D([[[0.0, 1.0]]], Geometry((1, 1, 2))))
    TensorDicom3D 1x1x4 torch.float32, spacing 0.5x1x1 mm (x, y, z)
    """

    def __init__(
        self,
        other: TensorDicom3D | Geometry | Path | str | None = None,
        value: float | None = None,
        *,
        labels: str = "nearest",
    ) -> None:
        check_mode(labels)
        self.labels = labels
        self.other: Geometry | None = None
        if isinstance(other, Geometry):
            self.other = other
        elif other is not None:
            volume = other if isinstance(other, TensorDicom3D) else TensorDicom3D.create(other)
            self.other = volume.require_geometry("ResampleLike")
        self.value = value
        super().__init__()

    def __call__(self, b: Any, split_idx: int | None = None, **kwargs: Any) -> Any:
        volumes = list(find_volumes(b))
        if self.other is not None or len(volumes) < 2:
            return super().__call__(b, split_idx=split_idx, **kwargs)
        target = volumes[0].require_geometry("ResampleLike")
        return ResampleLike(target, self.value, labels=self.labels)(b, split_idx=split_idx, **kwargs)

    def encodes(self, x: TensorDicom3D):
        """Resample a volume."""
        return x if self.other is None else resample_like(x, self.other, fill_for(x, self.value), self.labels)


class PadOrCrop3D(StrictKeywords, DisplayedTransform):
    """Bring volumes to a size by padding and cropping equally at both ends; see ``faimed3d.spatial.pad_or_crop``.

    Args:
        size: voxels (D, H, W), or one number for all three.
        value: fills new voxels of images. Default: the smallest value of the image; masks get 0.

    >>> PadOrCrop3D((1, 1, 4))(TensorDicom3D([[[7.0, 9.0]]])).tolist()
    [[[7.0, 7.0, 9.0, 7.0]]]
    """

    crops_to_size = True  # it fits volumes into batches and cuts parts away

    def __init__(self, size: int | Sequence[int], value: float | None = None) -> None:
        self.size, self.value = whole_per_axis(size, "size", least=1), check_fill(value)
        super().__init__()

    def encodes(self, x: TensorDicom3D):
        """Pad or crop a volume."""
        return pad_or_crop(x, self.size, fill_for(x, self.value))


class Pad3D(StrictKeywords, DisplayedTransform):
    """Pad volumes to at least a size, equally at both ends; what is larger stays as it is.

    Args:
        new_size: voxels (D, H, W), or one number for all three.
        value: fills new voxels of images. Default: the smallest value of the image; masks get 0.

    >>> Pad3D((1, 3, 1), value=0)(TensorDicom3D([[[7.0, 9.0]]])).tolist()
    [[[0.0, 0.0], [7.0, 9.0], [0.0, 0.0]]]
    """

    def __init__(self, new_size: int | Sequence[int], *, value: float | None = None) -> None:
        self.new_size, self.value = whole_per_axis(new_size, "new_size", least=1), check_fill(value)
        super().__init__()

    def encodes(self, x: TensorDicom3D):
        """Pad a volume."""
        return pad_to(x, self.new_size, self.value)


class ResizeCrop3D(StrictKeywords, DisplayedTransform):
    """Cut margins off volumes, then resize them.

    Args:
        crop_by: margins as for ``faimed3d.spatial.crop_3d``: one number, three, three pairs or six.
        resize_to: voxels (D, H, W), or one number for all three.
        perc_crop: margins are fractions of the axes.

    >>> ResizeCrop3D((0, 0, 1), (1, 1, 3))(TensorDicom3D([[[9.0, 1.0, 2.0, 9.0]]])).tolist()
    [[[1.0, 1.5, 2.0]]]
    """

    def __init__(self, crop_by: float | Sequence[Any], resize_to: int | Sequence[int], perc_crop: bool = False) -> None:
        self.crop_by, self.perc_crop = crop_by, perc_crop
        self.resize_to = whole_per_axis(resize_to, "resize_to", least=1)
        super().__init__()

    def encodes(self, x: TensorDicom3D):
        """Crop and resize a volume."""
        return resize_3d_tensor(crop_3d(x, self.crop_by, self.perc_crop), self.resize_to)


class Reorient3D(StrictKeywords, DisplayedTransform):
    """Bring the storage order of volumes to an orientation; see ``faimed3d.spatial.reorient``.

    Args:
        code: such as 'LPS' (DICOM, ITK) or 'RAS' (nibabel).

    >>> Reorient3D("RPS")(TensorDicom3D([[[1.0, 2.0]]])).tolist()
    [[[2.0, 1.0]]]
    """

    def __init__(self, code: str = "LPS") -> None:
        Geometry((1, 1, 1)).reorient(code)  # checks it
        store_attr()
        super().__init__()

    def encodes(self, x: TensorDicom3D):
        """Reorder and flip the axes of a volume."""
        return reorient(x, self.code)


def check_fill(value: float | None) -> float | None:
    """A value that fills new voxels, or a TypeError."""
    if value is not None and not isinstance(value, Real):
        raise TypeError(f"value must be a number or None, got {value!r}")
    return value


def fill_for(x: TensorDicom3D, value: float | None) -> float | None:
    """What fills new voxels of ``x``: the value is that of images, and a mask has its own default."""
    return None if is_mask(x) else value


def pad_to(x: TensorDicom3D, size: Sequence[int], value: float | None) -> TensorDicom3D:
    """Pad a volume to at least ``size`` (D, H, W)."""
    return pad_or_crop(x, [max(n, m) for n, m in zip(x.shape[-3:], size, strict=True)], fill_for(x, value))
