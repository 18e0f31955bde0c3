"""The transforms that come with the blocks; :mod:`faimed3d.data.blocks` says where they stand among the user's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from fasttransform import ItemTransform, Transform
from torch import Tensor

from faimed3d._dicom_masks import planes_of_scan
from faimed3d._keywords import StrictKeywords
from faimed3d._like import says_nothing
from faimed3d._padding import fill_padding
from faimed3d.data.contours import Contours
from faimed3d.data.label_tally import LabelTally
from faimed3d.data.matching import difference, match_storage, resampled_onto
from faimed3d.io.casting import cast
from faimed3d.io.source_header import source_name
from faimed3d.masks import is_mask
from faimed3d.masks.labels import LABEL_TOLERANCE, common_type, label_range
from faimed3d.spatial.label_shares import check_mode
from faimed3d.volume import TensorDicom3D, TensorMask3D

if TYPE_CHECKING:
    from faimed3d.data.blocks import MaskReader


class MatchMask(StrictKeywords, ItemTransform):
    """Bring the mask of an item onto the grid of its image: exactly where only storage differs, else as asked or never.

    Args:
        resample: as ``resample_masks`` of :func:`MaskBlock3D`.
        like: as of :func:`MaskBlock3D`.

    >>> import torch
    >>> image, mask = TensorDicom3D(torch.rand(2, 3, 4)), TensorMask3D(torch.ones(2, 3, 4))
    >>> _, matched = MatchMask()((image, mask.flip(0).permute(2, 1, 0)))  # stored in another order
    >>> matched.geometry == image.geometry
    True
    """

    order = -100  # before the user's item transforms

    def __init__(self, resample: bool | str = False, like: str | None = None) -> None:
        super().__init__()
        self.tally = LabelTally()  # of the labels as they are read, before any transform
        if isinstance(resample, str):
            check_mode(resample)
        self.resample, self.like = resample, check_like(like)

    def encodes(self, item):
        if not isinstance(item, list):
            return item
        item = _with_voxels(item)
        if self.tally.wanted:
            for x in item:
                if isinstance(x, TensorMask3D) and x.ndim in (3, 4):
                    self.tally.add(x)
        image = next((x for x in item if isinstance(x, TensorDicom3D) and not is_mask(x)), None)
        if image is None:
            return item
        return [self._onto(x, image) if isinstance(x, TensorMask3D) else x for x in item]

    def _onto(self, mask: TensorMask3D, image: TensorDicom3D, name: str | None = None) -> TensorMask3D:
        mask = mask if image.geometry is None else planes_of_scan(mask, image)
        if self.like == "image" and image.geometry is not None and says_nothing(mask.geometry):
            return type(mask)(mask, like=image)
        matched = match_storage(mask, image)
        if matched is not None:
            return matched
        if self.resample and mask.geometry is not None and image.geometry is not None:
            return resampled_onto(mask, image, "nearest" if self.resample is True else self.resample)
        raise ValueError(
            f"the mask {source_name(mask)} does not lie on the grid of its image {name or source_name(image)}: "
            f"{difference(mask, image)}. {_way_out(mask, image)}"
        )


def _with_voxels(item: list) -> list:
    """An item whose contours have become masks on the grid of its image."""
    contours = [x for x in item if isinstance(x, Contours)]
    if not contours:
        return item
    image = next((x for x in item if isinstance(x, TensorDicom3D) and not is_mask(x)), None)
    if image is None:
        raise ValueError(f"{contours[0].path}: contours become voxels on the grid of an image, and this item has none")
    return [x.on(image) if isinstance(x, Contours) else x for x in item]


def check_like(like: str | None) -> str | None:
    """``like`` of a block of masks, or a ValueError."""
    if like not in (None, "image"):
        raise ValueError(f"like must be 'image' or None, got {like!r}")
    return like


def _way_out(mask: TensorMask3D, image: TensorDicom3D) -> str:
    """What to do about a mask on another grid than its image."""
    same_size = tuple(mask.shape[-3:]) == tuple(image.shape[-3:])
    geometry = mask.geometry
    if same_size and geometry is not None and geometry.stated and image.geometry and not image.geometry.stated:
        return (
            "Nothing says where the image lies, and its size is that of the mask: if the mask was drawn on it, give "
            "the image the place of the mask, TensorDicom3D(array, like=mask). Resampling would move the labels"
        )
    if geometry is not None and same_size and geometry.spacing == (1, 1, 1) and not any(geometry.origin):
        return (
            "The header of the mask is that of an array (1 mm, origin 0), and its size is that of the image: if it was "
            "drawn on it, pass like='image' (MaskBlock3D, SegmentationDataLoaders3D), or say where it lies with "
            "TensorMask3D.create(mask, like=image), and save that. Resampling would move the labels"
        )
    return (
        "Pass resample_masks=True (MaskBlock3D, SegmentationDataLoaders3D) to bring masks to their images by the "
        "nearest voxel, or 'linear' to weigh what a voxel holds; or save mask.resample_like(image)"
    )


class AddChannel(StrictKeywords, Transform):
    """Add the channel axis: an image (D, H, W) becomes float32 (1, D, H, W); masks and (C, D, H, W) stay.

    Padding that is still there becomes the smallest value of the rest: a network knows of no padding. NaN and infinite
    voxels are refused: one of them makes every weight NaN.

    >>> import torch
    >>> AddChannel()(TensorDicom3D(torch.zeros(2, 3, 4))).shape
    torch.Size([1, 2, 3, 4])
    """

    order = 90  # after the user's item transforms

    def encodes(self, x: TensorDicom3D):
        x = _finite(fill_padding(x if x.is_floating_point() else x.float()))
        return x[None] if x.ndim == 3 else x

    def encodes(self, x: TensorMask3D):  # noqa: F811 - one method for each type
        return x

    def decodes(self, x: TensorDicom3D):
        return x[0] if x.ndim == 4 and len(x) == 1 else x

    def decodes(self, x: TensorMask3D):  # noqa: F811
        return x


def _finite(x: TensorDicom3D) -> TensorDicom3D:
    """``x``, or a ValueError if it holds NaN or infinity."""
    plain = x.as_subclass(Tensor)
    if not math.isfinite(plain.sum().item()):  # one pass; of finite numbers it may overflow, hence the second look
        wrong = int((~plain.isfinite()).sum())
        if wrong:
            raise ValueError(
                f"{source_name(x)}: {wrong} of {plain.numel()} voxels of the image are NaN or infinite, which would "
                "make all weights of a network NaN. Put FillNaN3D(value) first into item_tfms, or give the filled "
                "image: FillNaN3D(value)(TensorDicom3D.create(file))"
            )
    return x


class CheckLabels(StrictKeywords, Transform):
    """Let masks pass whose labels are among the classes, or ``ignore_index``; others are an error.

    Pictures show voxels of ``ignore_index`` as background.

    Args:
        reader: the :class:`MaskReader` that knows the classes.

    >>> import torch
    >>> from faimed3d.data import MaskReader
    >>> CheckLabels(MaskReader(["none", "lesion"]))(TensorMask3D(torch.full((2, 3, 4), 2)))
    Traceback (most recent call last):
    ValueError: a mask from memory: the mask holds the label 2, but there are 2 classes, labels 0 to 1. ...
    """

    order = 90  # after the user's item transforms

    def __init__(self, reader: MaskReader) -> None:
        super().__init__()
        self.reader = reader

    def encodes(self, x: TensorMask3D):
        check_whole(x)
        count, ignored = self.reader.c, self.reader.ignore_index
        if count is None or not x.numel() or self.reader.on_trial:
            return x
        known = x.as_subclass(Tensor)
        lowest, highest = label_range(known)
        if ignored is not None and (highest >= count or lowest < 0):
            known = torch.where(known == ignored, 0, known)
            lowest, highest = label_range(known)
        if lowest < 0:
            raise ValueError(
                f"{source_name(x)}: holds the label {lowest}; labels begin at 0, the background. If it means 'not "
                f"annotated', pass ignore_index={lowest} (MaskBlock3D, SegmentationDataLoaders3D)"
            )
        if highest >= count:
            raise ValueError(
                f"{source_name(x)}: the mask holds the label {highest}, but there are {count} classes, labels 0 "
                f"to {count - 1}. Name all labels in codes, merge them in item_tfms (ReduceClasses), or, if {highest} "
                f"means 'not annotated', pass ignore_index={highest} (MaskBlock3D, SegmentationDataLoaders3D)"
                + ("; masks of one thing, stored as 0 and 255: threshold=0.5" if highest == 255 and count == 2 else "")
            )
        if self.reader.names is not None:
            x.codes = self.reader.names
        return x

    def decodes(self, x: TensorMask3D):
        if x.ndim == 4:  # regions that a batch has made of labels, and named
            return x
        if self.reader.ignore_index is not None:  # pictures have no colour for it
            plain = x.as_subclass(Tensor)
            x = x.with_voxels(torch.where(plain == self.reader.ignore_index, 0, plain))
        if self.reader.names is not None:
            x.codes = self.reader.names
        return x


def check_whole(x: TensorMask3D) -> None:
    """Refuse a mask of which a transform has made fractions: cast to labels they would become others.

    Args:
        x: mask, behind the item transforms.

    Raises:
        ValueError: a value is more than 1e-3 from a whole number.
    """
    if not x.is_floating_point():
        return
    plain = x.as_subclass(Tensor)
    wrong = ~((plain - plain.round()).abs() <= LABEL_TOLERANCE)
    if wrong.any():
        raise ValueError(
            f"{source_name(x)}: a transform of item_tfms has left {plain[wrong][0].item():.6g} in the mask, no whole "
            "number and so no label. Functions and transforms of TensorDicom3D act on masks too: one that changes "
            "images alone inherits from IntensityTransform3D"
        )


class ToLabels(StrictKeywords, Transform):
    """Turn the masks of a batch into the int64 labels that losses take.

    >>> import torch
    >>> ToLabels()(TensorMask3D(torch.zeros(1, 2, 3, 4, dtype=torch.uint8))).dtype
    torch.int64
    """

    order = -100  # before the user's batch transforms: one byte overflows soon

    def encodes(self, x: TensorMask3D):
        return (x.round() if x.is_floating_point() else x).long()


def check_sizes(samples):  # fastai makes a transform of it, for which types would be rules of dispatch
    """Make items ready for one batch: volumes of different sizes are refused, those of several types get one type.

    torch writes a batch into memory of its first item's type, and in a worker int32 labels into uint8 ones by wrapping
    them: label 300 becomes 44. So the type of each kind is the one that holds all.

    Args:
        samples: list of items, as fastai's ``before_batch`` gets it.
    """
    kinds = list(zip(*samples, strict=True))
    changed = False
    for number, parts in enumerate(kinds):
        if isinstance(parts[0], TensorDicom3D):
            _check_shapes(parts)
            kinds[number] = _of_one_type(parts)
            changed = changed or kinds[number] is not parts
    if not changed:
        return samples
    return [type(item)(parts) for item, parts in zip(samples, zip(*kinds, strict=True), strict=True)]


def _of_one_type(parts):
    """The volumes of one kind in the type that holds the voxels of all."""
    types = {part.dtype for part in parts}
    if len(types) == 1:
        return parts
    dtype = common_type(*types)
    return tuple(cast(part, dtype, source_name(part)) for part in parts)


def _check_shapes(parts):
    shapes = [tuple(part.shape) for part in parts]
    other = next((i for i, shape in enumerate(shapes) if shape != shapes[0]), None)
    if other is None:
        return
    what = "masks" if is_mask(parts[0]) else "images"
    start = f"the {what} of one batch must have one shape, but {source_name(parts[0])} has {shapes[0]} and "
    start += f"{source_name(parts[other])} has {shapes[other]}"
    if shapes[other][-3:] == shapes[0][-3:]:
        raise ValueError(f"{start} (C, D, H, W): give every item the same number of channels")
    raise ValueError(f"{start}: add Resize3D((D, H, W)) or PadOrCrop3D((D, H, W)) to item_tfms, or use bs=1")
