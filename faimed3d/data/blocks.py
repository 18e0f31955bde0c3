"""fastai's blocks for volumes and masks, and the item transforms that come with them.

An item goes through these steps; the geometry follows it all the way (``xb[i].geometry``):

1. :class:`VolumeReader`, :class:`MaskReader`: images float32 (D, H, W), of several channels (C, D, H, W); masks
   (D, H, W) of whole numbers.
2. :class:`MatchMask` (order -100): the mask lies on the grid of the image, or this is an error.
3. The user's item transforms: they see (D, H, W), which all spatial functions take.
4. :class:`AddChannel` (order 90), the one place where the channel axis is added: images (C, D, H, W).
   :class:`CheckLabels` (order 90): the labels of masks are among the classes.
5. Batches: images (B, C, D, H, W), masks (B, D, H, W), which workers send and a GPU is given as they were read, in an
   eighth of what int64 takes. There :class:`ToLabels` (order -100) makes them int64.
6. The user's batch transforms.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from fastai.data.block import TransformBlock
from fastai.data.transforms import CategoryMap
from fastcore.foundation import L
from fastprogress.fastprogress import progress_bar
from fasttransform import ItemTransform, Transform
from joblib import Parallel, delayed
from torch import Tensor

from faimed3d.losses import CrossEntropyLoss3D
from faimed3d.volume import TensorDicom3D, TensorMask3D

__all__ = [
    "AddChannel",
    "CheckLabels",
    "ImageBlock3D",
    "MaskBlock3D",
    "MaskReader",
    "MatchMask",
    "ToLabels",
    "VolumeReader",
    "check_sizes",
    "match_storage",
    "read_labels",
]

_SOURCES = (str, Path, pd.Series, np.ndarray, Tensor, list, tuple, L)
_LONG_WORK = 50  # masks from which on a progress bar is shown
_TOLERANCE = 0.05  # of a voxel: what rounding in headers moves the far corner of a volume


def ImageBlock3D(cls=TensorDicom3D, resample_to_first=False, **kwargs):
    """``TransformBlock`` for images: files, DICOM folders, inventory rows, arrays, or lists of them as channels.

    Args:
        cls: type of the volumes, :class:`TensorDicom3D` or derived from it.
        resample_to_first: bring all channels of an item to the grid of its first; False makes another grid an error.
        **kwargs: passed to ``cls.create``, such as ``series`` and ``strict``.
    """
    return TransformBlock(
        type_tfms=VolumeReader(cls, resample_to_first, **kwargs),
        item_tfms=AddChannel,
        dls_kwargs={"before_batch": check_sizes},
    )


def MaskBlock3D(codes=None, resample_masks=False):
    """``TransformBlock`` for masks of labels 0 (background), 1, 2, ...

    Args:
        codes: names of the labels, from label 0 on. They give ``dls.c``, ``dls.vocab`` and the legend of pictures.
            None reads all masks once to find the largest label.
        resample_masks: bring each mask to the grid of its image by the nearest voxel; False makes another grid an
            error. A mask on the image's grid that is only stored another way round always comes right, exactly.
    """
    reader = MaskReader(codes)
    return TransformBlock(
        type_tfms=reader,
        item_tfms=[MatchMask(resample_masks), CheckLabels(reader)],
        batch_tfms=ToLabels,
        dls_kwargs={"before_batch": check_sizes},
    )


class VolumeReader(ItemTransform):
    """Make a volume of what an item says; several sources become channels (C, D, H, W) on the grid of the first.

    Args:
        cls, resample_to_first, kwargs: as for :func:`ImageBlock3D`.
    """

    _retain = False
    input_types = _SOURCES  # what learn.predict may be given

    def __init__(self, cls=TensorDicom3D, resample_to_first=False, **kwargs):
        if issubclass(cls, TensorMask3D):
            raise TypeError(f"{cls.__name__} is no type of an image; for labels use MaskBlock3D")
        super().__init__()
        self.cls, self.resample_to_first, self.kwargs = cls, resample_to_first, kwargs

    def encodes(self, source):
        if not isinstance(source, list | tuple | L):
            return self.cls.create(source, **self.kwargs)
        if not len(source):
            raise ValueError("an item is a list of no files; each needs at least one")
        volumes = [self.cls.create(one, **self.kwargs) for one in source]
        first = volumes[0]
        volumes = [first, *(self._onto(volume, first) for volume in volumes[1:])]
        return torch.cat([volume if volume.ndim == 4 else volume[None] for volume in volumes])

    def _onto(self, volume, first):
        moved = match_storage(volume, first)
        if moved is None and self.resample_to_first:
            return _resampled(volume, first)
        if moved is None:
            raise ValueError(
                f"{_label(volume)} and {_label(first)} are to be channels of one image, but "
                f"{_difference(volume, first)}. Pass resample_to_first=True to bring all to the grid of the first"
            )
        return moved


class MaskReader(Transform):
    """Read labels (D, H, W), in the smallest of uint8 and int32 that holds them.

    Args:
        codes: as for :func:`MaskBlock3D`.

    Attributes:
        c: number of labels, background included.
        vocab: their names; without codes the numbers.
    """

    input_types = _SOURCES
    train_setup = False  # the labels of validation count too

    def __init__(self, codes=None):
        super().__init__()
        self.codes = None if codes is None else [str(code) for code in codes]
        self.vocab, self.c = _vocabulary(self.codes), self.codes and len(self.codes)
        self.loss_func = CrossEntropyLoss3D()

    def setups(self, items):
        if self.codes is not None or not len(items):
            return
        workers = min(8, os.cpu_count() or 1, len(items))
        tasks = (delayed(_labels_of)(items[i]) for i in range(len(items)))
        found = Parallel(workers, prefer="threads", return_as="generator")(tasks)
        if len(items) >= _LONG_WORK:
            found = progress_bar(found, total=len(items), leave=False)
        labels = sorted(set().union(*found))
        self.c = max(labels[-1] + 1, 2)
        self.vocab = _vocabulary(range(self.c))
        if len(labels) < self.c / 2 and self.c > 3:
            warnings.warn(
                f"the masks hold {len(labels)} different labels, the largest {labels[-1]}, so there will be {self.c} "
                "classes, most of them empty; number the labels 0, 1, 2, ... (ReduceClasses) and pass codes",
                stacklevel=2,
            )

    def encodes(self, source):
        return read_labels(source)


def _vocabulary(names):
    """Names as fastai's interpretations take them: of a list they take the last entry, as of several targets."""
    unique = names is not None and len(set(names)) == len(names)
    return CategoryMap(names, sort=False) if unique else names


def read_labels(source):
    """Read a mask as whole numbers (D, H, W), in the smallest of uint8 and int32 that holds them.

    Raises:
        ValueError: several components, fractions, NaN, or labels below 0.
    """
    if isinstance(source, list | L):
        raise TypeError(f"a mask is one file of labels, got a list of {len(source)}")
    mask = TensorMask3D.create(source, dtype=None)
    name = _label(mask)
    if mask.ndim != 3:
        raise ValueError(f"{name}: a mask is one volume of labels (D, H, W), got shape {tuple(mask.shape)}")
    plain = mask.as_subclass(Tensor)
    if plain.dtype in (torch.uint16, torch.uint32, torch.uint64):
        plain = plain.to(torch.int64)  # torch cannot compare these
    low, high = plain.amin(), plain.amax()
    if plain.is_floating_point() and not bool((plain == plain.round()).all()):
        raise ValueError(f"{name}: holds fractions or NaN, so no labels: was it interpolated, or is it an image?")
    if low < 0:
        raise ValueError(f"{name}: holds the label {int(low)}; labels begin at 0, the background")
    return mask.with_voxels(plain.to(torch.uint8 if high <= 255 else torch.int32))


def _labels_of(source):
    labels = read_labels(source).as_subclass(Tensor)
    if labels.dtype == torch.uint8:
        return set(torch.bincount(labels.flatten(), minlength=256).nonzero().flatten().tolist())
    return set(labels.unique().tolist())


class MatchMask(ItemTransform):
    """Bring the mask of an item onto the grid of its image: exactly where only storage differs, else as asked or never.

    Args:
        resample: as ``resample_masks`` of :func:`MaskBlock3D`.
    """

    order = -100  # before the user's item transforms

    def __init__(self, resample=False):
        super().__init__()
        self.resample = resample

    def encodes(self, item):
        if not isinstance(item, list):
            return item
        image = next((x for x in item if _is_image(x)), None)
        if image is None:
            return item
        return [self._onto(x, image) if isinstance(x, TensorMask3D) else x for x in item]

    def _onto(self, mask, image):
        moved = match_storage(mask, image)
        if moved is None and self.resample and mask.geometry is not None and image.geometry is not None:
            return _resampled(mask, image)
        if moved is None:
            raise ValueError(
                f"the mask {_label(mask)} does not lie on the grid of its image {_label(image)}: "
                f"{_difference(mask, image)}. Pass resample_masks=True (MaskBlock3D, SegmentationDataLoaders3D) to "
                "bring masks to their images by the nearest voxel, or save mask.resample_like(image)"
            )
        return moved


class AddChannel(Transform):
    """Add the channel axis: an image (D, H, W) becomes float32 (1, D, H, W); masks and (C, D, H, W) stay."""

    order = 90  # after the user's item transforms

    def encodes(self, x: TensorDicom3D):
        x = x if x.is_floating_point() else x.float()
        return x[None] if x.ndim == 3 else x

    def encodes(self, x: TensorMask3D):  # noqa: F811 - one method for each type
        return x

    def decodes(self, x: TensorDicom3D):
        return x[0] if x.ndim == 4 and len(x) == 1 else x

    def decodes(self, x: TensorMask3D):  # noqa: F811
        return x


class CheckLabels(Transform):
    """Let masks pass whose labels are among the classes; others are an error.

    Args:
        reader: the :class:`MaskReader` that knows the classes.
    """

    order = 90  # after the user's item transforms

    def __init__(self, reader):
        super().__init__()
        self.reader = reader

    def encodes(self, x: TensorMask3D):
        count = self.reader.c
        if count is not None and x.numel() and int(x.amax()) >= count:
            raise ValueError(
                f"{_label(x)}: the mask holds the label {int(x.amax())}, but there are {count} classes, labels 0 to "
                f"{count - 1}. Name all labels in codes, or merge them in item_tfms (ReduceClasses)"
            )
        return x

    def decodes(self, x: TensorMask3D):
        if self.reader.codes is not None:
            x.codes = self.reader.codes
        return x


class ToLabels(Transform):
    """Turn the masks of a batch into the int64 labels that losses take."""

    order = -100  # before the user's batch transforms: one byte overflows soon

    def encodes(self, x: TensorMask3D):
        return x.long()


def check_sizes(samples):
    """Refuse to make a batch of volumes of different sizes, and say what to do.

    Args:
        samples: list of items, as fastai's ``before_batch`` gets it.
    """
    for parts in zip(*samples, strict=True):
        if not isinstance(parts[0], TensorDicom3D):
            continue
        shapes = [tuple(part.shape) for part in parts]
        other = next((i for i, shape in enumerate(shapes) if shape != shapes[0]), None)
        if other is None:
            continue
        what = "masks" if isinstance(parts[0], TensorMask3D) else "images"
        start = f"the {what} of one batch must have one shape, but {_label(parts[0])} has {shapes[0]} and "
        start += f"{_label(parts[other])} has {shapes[other]}"
        if shapes[other][-3:] == shapes[0][-3:]:
            raise ValueError(f"{start} (C, D, H, W): give every item the same number of channels")
        raise ValueError(f"{start}: add Resize3D((D, H, W)) or PadOrCrop3D((D, H, W)) to item_tfms, or use bs=1")
    return samples


def _is_image(x):
    return isinstance(x, TensorDicom3D) and not isinstance(x, TensorMask3D)


def match_storage(volume, other):
    """Store ``volume`` as ``other`` is stored, if its voxels lie at the same places; else return None.

    It gets the other's very geometry: spacings that differ in the last digit would round to other sizes on resampling.

    Args:
        volume, other: volumes (..., D, H, W); where one has no geometry, their sizes alone are compared.
    """
    here, there = volume.geometry, other.geometry
    if here is None or there is None:  # a reader of the user's own made them: index by index
        return volume if tuple(volume.shape[-3:]) == tuple(other.shape[-3:]) else None
    if not here.agrees(there, _TOLERANCE):
        volume = volume.reorient(there.orientation)
        if not volume.geometry.agrees(there, _TOLERANCE):
            return None
    return volume.with_voxels(volume.as_subclass(Tensor).contiguous(), lambda geometry: there)


def _resampled(volume, other):
    """``volume`` on the grid of ``other``; an error if they have no place in common: nothing would stay."""
    here, there = volume.require_geometry("resampling"), other.require_geometry("resampling")
    if here.lies_apart(there):
        raise ValueError(
            f"{_label(volume)} lies apart from {_label(other)}, so nothing of it would be left on that grid: "
            f"{_difference(volume, other)}. Is it of another patient or examination, or has a header lost its origin?"
        )
    return volume.resample_like(other)


def _label(volume):
    """How messages name a volume: its file, of a DICOM series the folder."""
    header = getattr(volume, "_header", None)
    files = header.files if header is not None else ()
    if not files:
        return "a mask from memory" if isinstance(volume, TensorMask3D) else "an image from memory"
    return files[0] if len(files) == 1 else os.path.dirname(files[0])


def _difference(volume, other):
    here, there = volume.geometry, other.geometry
    if here is None or there is None:
        return f"it has {tuple(volume.shape[-3:])} voxels, the other {tuple(other.shape[-3:])}"
    return f"the one is {here!r}, the other {there!r}"
