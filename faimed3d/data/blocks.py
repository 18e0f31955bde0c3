"""fastai's blocks for volumes and masks, and how they read an item.

An item goes through these steps; the geometry follows it all the way (``xb[i].geometry``):

1. :class:`VolumeReader`, :class:`MaskReader`: images float32 (D, H, W), of several channels (C, D, H, W); masks
   (D, H, W) of whole numbers, or the contours of a structure set, which become voxels in the next step.
2. :class:`MatchMask` (order -100): the mask lies on the grid of the image, or this is an error.
3. :class:`OneOrientation` (order -99): all items are stored in one order, losslessly; image and mask alike.
4. The user's item transforms: they see (D, H, W), which all spatial functions take.
5. :class:`AddChannel` (order 90), the only step that adds the channel axis: images (C, D, H, W).
   :class:`CheckLabels` (order 90): the labels of masks are among the classes.
6. Batches: images (B, C, D, H, W), masks (B, D, H, W), which workers send and a GPU is given as they were read, in an
   eighth of what int64 takes. There :class:`ToLabels` (order -100) makes them int64.
7. The user's batch transforms.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

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

from faimed3d._arguments import is_number, is_whole
from faimed3d._extras import library_of
from faimed3d._keywords import StrictKeywords, keywords_of, strict_keywords
from faimed3d.data.block_transforms import AddChannel, CheckLabels, MatchMask, ToLabels, check_sizes
from faimed3d.data.contours import contours_of
from faimed3d.data.matching import difference, match_storage, resampled_onto, share_a_space
from faimed3d.data.one_orientation import OneOrientation
from faimed3d.data.segments import above, labels_by_name, labels_of_files, segments_of, segments_of_object
from faimed3d.data.volume_dl import VolumeDL
from faimed3d.errors import UnsupportedImage
from faimed3d.io.casting import cast, warn_of_rounding
from faimed3d.io.source_header import source_name
from faimed3d.losses import CrossEntropyLoss3D
from faimed3d.masks.codes import NamedLabels, names_of_labels
from faimed3d.masks.labels import label_counts, label_range, named_labels
from faimed3d.volume import TensorDicom3D, TensorMask3D


class _LibraryImage(type):
    """Type of the images of other libraries, which need not be imported to be told."""

    def __instancecheck__(cls, x: object) -> bool:
        return bool(library_of(x))


class _AnyImage(metaclass=_LibraryImage):
    """An image of SimpleITK, nibabel, MONAI or TorchIO."""


SOURCES = (str, Path, pd.Series, np.ndarray, Tensor, list, tuple, L, _AnyImage)
_NO_CLS = "masks are always TensorMask3D; leave it out"
_LONG_WORK = 50  # masks from which on a progress bar is shown


@strict_keywords(more=lambda args, kwargs: _of_create(kwargs.get("cls", *args[:1])))
def ImageBlock3D(
    cls: type[TensorDicom3D] = TensorDicom3D,
    resample_to_first: bool = False,
    orientation: str | None = None,
    **kwargs: Any,
) -> TransformBlock:
    """``TransformBlock`` for images: files, DICOM folders, inventory rows, arrays, or lists of them as channels.

    Args:
        cls: type of the volumes, :class:`TensorDicom3D` or derived from it.
        resample_to_first: bring all channels of an item to the grid of its first; False makes another grid an error.
            DICOM series whose headers name different frames of reference are refused on any grid; ``strict=False``
            warns.
        orientation: storage order of all items, such as 'LPS', reached without interpolation (:class:`OneOrientation`).
            Default: that of the first training item.
        **kwargs: passed to ``cls.create``, such as ``series`` and ``strict``.

    >>> from fastai.data.block import CategoryBlock, DataBlock
    >>> block = DataBlock((ImageBlock3D, CategoryBlock), get_x=lambda k: np.full((2, 3, 4), k), get_y=lambda k: k % 2)
    >>> images, classes = block.dataloaders([*range(8)], bs=4, num_workers=0, device="cpu").one_batch()
    >>> images.shape, classes.shape
    (torch.Size([4, 1, 2, 3, 4]), torch.Size([4]))
    """
    return TransformBlock(
        type_tfms=VolumeReader(cls, resample_to_first, **kwargs),
        item_tfms=[OneOrientation(orientation), AddChannel],
        dl_type=VolumeDL,
        dls_kwargs={"before_batch": check_sizes},
    )


@strict_keywords
def MaskBlock3D(
    codes: NamedLabels | None = None,
    resample_masks: bool | str = False,
    threshold: float | None = None,
    ignore_index: int | None = None,
    strict: bool = True,
    series: Any = None,
    like: str | None = None,
) -> TransformBlock:
    """``TransformBlock`` for masks of labels 0 (background), 1, 2, ...

    Args:
        codes: names of the labels, from label 0 on; or label -> name, or name -> label as in nnU-Net's dataset.json.
            They give ``dls.c``, ``dls.vocab`` and the legend of pictures, and choose among the ROIs of RT Structure
            Sets, which are drawn on the grid of the item's image. None reads all masks once to find the largest label.
        resample_masks: bring each mask to the grid of its image: True by the nearest voxel, or 'linear' or 'present'
            by what a voxel holds (:func:`faimed3d.spatial.resample_like`); False makes another grid an
            error. A mask on the image's grid that is only stored another way round always comes right, exactly.
        threshold: make labels of masks of probabilities: 1 above it, else 0. None: values within 1e-3 of whole numbers
            are labels, with a warning, and others are refused.
        ignore_index: label of voxels that nobody annotated, such as 255 or -1. It is no class; losses, metrics and
            pictures leave these voxels out. None: every label is a class.
        strict, series: as for ``TensorMask3D.create``.
        like: ``'image'``: a mask that does not say where it lies (an array, .npy, a header of 1 mm and origin 0) lies
            where its image lies, voxel by voxel, if it is of the same size. None refuses it.

    >>> from fastai.data.block import DataBlock
    >>> block = DataBlock((ImageBlock3D, MaskBlock3D(["none", "lesion"])), get_x=lambda k: np.full((2, 3, 4), k),
    ...                   get_y=lambda k: np.full((2, 3, 4), k % 2, np.uint8))
    >>> dls = block.dataloaders([*range(8)], bs=4, num_workers=0, device="cpu")
    >>> dls.one_batch()[1].shape, dls.c
    (torch.Size([4, 2, 3, 4]), 2)
    """
    if isinstance(codes, type):
        raise TypeError(f"MaskBlock3D(codes) takes the names of the labels, got {codes.__name__}: {_NO_CLS}")
    reader = MaskReader(codes, threshold, ignore_index, strict, series)
    return TransformBlock(
        type_tfms=reader,
        item_tfms=[MatchMask(resample_masks, like), CheckLabels(reader)],
        batch_tfms=ToLabels,
        dl_type=VolumeDL,
        dls_kwargs={"before_batch": check_sizes},
    )


def _of_create(cls: type[TensorDicom3D] | None = None) -> list[str]:
    return [name for name in keywords_of((cls or TensorDicom3D).create) if name != "source"]


class VolumeReader(ItemTransform):
    """Make a volume of what an item says; several sources become channels (C, D, H, W) on the grid of the first.

    Args:
        cls, resample_to_first, kwargs: as for :func:`ImageBlock3D`.
    """

    _retain = False
    input_types = SOURCES  # what learn.predict may be given

    def __init__(
        self, cls: type[TensorDicom3D] = TensorDicom3D, resample_to_first: bool = False, **kwargs: Any
    ) -> None:
        if issubclass(cls, TensorMask3D):
            raise TypeError(f"{cls.__name__} is no type of an image; for labels use MaskBlock3D")
        super().__init__()
        self.cls, self.resample_to_first, self.kwargs = cls, resample_to_first, kwargs

    def encodes(self, source):
        if isinstance(source, pd.Series) and "folder" not in source:
            raise TypeError(
                f"a row of a table with the columns {', '.join(map(str, source.index))}: which one holds the image is "
                "not known here. Pass the cells of that column, such as table['image']"
            )
        if not isinstance(source, list | tuple | L):
            return self.cls.create(source, **self.kwargs)
        if not len(source):
            raise ValueError("an item is a list of no files; each needs at least one")
        volumes = [self.cls.create(one, **self.kwargs) for one in source]
        first = volumes[0]
        volumes = [first, *(self._onto(volume, first) for volume in volumes[1:])]
        joined = torch.cat([volume if volume.ndim == 4 else volume[None] for volume in volumes])
        joined._header = first._header
        return joined

    def _onto(self, volume: TensorDicom3D, first: TensorDicom3D) -> TensorDicom3D:
        share_a_space(volume, first, self.kwargs.get("strict", True))
        matched = match_storage(volume, first)
        if matched is not None:
            return matched
        if self.resample_to_first:
            return resampled_onto(volume, first)
        raise ValueError(
            f"{source_name(volume)} and {source_name(first)} are to be channels of one image, but "
            f"{difference(volume, first)}. Pass resample_to_first=True to bring all to the grid of the first"
        )


class MaskReader(StrictKeywords, Transform):
    """Read labels (D, H, W), in the smallest of uint8 and int32 that holds them.

    Args:
        codes, threshold, ignore_index, strict, series: as for :func:`MaskBlock3D`.

    Attributes:
        c: number of labels, background included.
        vocab: their names; without codes the numbers.
        names: their names, behind the transforms; ``codes`` are those of what is read.

    >>> reader = MaskReader(["none", "lesion"])
    >>> reader(np.ones((2, 3, 4))).dtype, reader.c
    (torch.uint8, 2)
    """

    input_types = SOURCES
    train_setup = False  # the labels of validation count too
    on_trial = False  # the loaders look at types alone, and labels are judged when a batch is used

    def __init__(
        self,
        codes: NamedLabels | None = None,
        threshold: float | None = None,
        ignore_index: int | None = None,
        strict: bool = True,
        series: Any = None,
    ) -> None:
        super().__init__()
        if threshold is not None and not is_number(threshold):
            raise TypeError(f"threshold must be a number or None, got {threshold!r}")
        if ignore_index is not None and not is_whole(ignore_index):
            raise TypeError(f"ignore_index must be a label, a whole number, or None, got {ignore_index!r}")
        self.threshold, self.ignore_index, self.strict, self.series = threshold, ignore_index, strict, series
        self._told = torch.zeros(1, dtype=torch.bool).share_memory_()  # that labels were rounded: once, by any worker
        self.codes = names_of_labels(codes)
        self.name_classes(self.codes)
        if ignore_index is not None and self.c is not None and 0 <= ignore_index < self.c:
            raise ValueError(
                f"ignore_index={ignore_index} is the label of the class {self.codes[ignore_index]!r}: "  # type: ignore[index]
                "voxels that are left out need a label that is no class, such as 255 or -1"
            )

    def name_classes(self, names: list[str] | None) -> None:
        """Take names for those of the classes, behind transforms that merge or renumber what is read."""
        self.names = names
        self.vocab = None if names is None else _vocabulary(names)
        self.c = None if names is None else len(names)

    @property
    def loss_func(self) -> CrossEntropyLoss3D:
        """The loss of a Learner that is given none."""
        return CrossEntropyLoss3D(ignore_index=self.ignore_index)

    def setups(self, items):
        if self.codes is not None or not len(items):
            return
        workers = min(8, os.cpu_count() or 1, len(items))
        how = {"ignore_index": self.ignore_index, "strict": self.strict, "series": self.series}
        tasks = (delayed(_labels_of)(items[i], self.threshold, **how) for i in range(len(items)))
        found = Parallel(workers, prefer="threads", return_as="generator")(tasks)
        if len(items) >= _LONG_WORK:
            found = progress_bar(found, total=len(items), leave=False)
        labels, rounded, called = set(), [], {}
        for labels_of_one, rounded_name, codes, name in found:
            labels |= labels_of_one
            rounded += [rounded_name] if rounded_name else []
            for label in labels_of_one & set(codes) - {0}:
                other, before = called.setdefault(label, (codes[label], name))
                if other.casefold() != codes[label].casefold():
                    raise ValueError(
                        f"label {label} is {other!r} in {before} and {codes[label]!r} in {name}: pass "
                        f"codes=['background', {other!r}, {codes[label]!r}, ...], by which segments get their labels"
                    )
        labels = sorted(labels - {self.ignore_index}) or [0]
        if rounded:
            self._warn_of_rounding(rounded[0], len(rounded) - 1)
        self.c = max(labels[-1] + 1, 2)
        self.vocab = _vocabulary([*range(self.c)])
        if len(labels) < self.c / 2 and self.c > 3:
            warnings.warn(
                f"the masks hold {len(labels)} different labels, the largest {labels[-1]}, so there will be {self.c} "
                "classes, most of them empty; number the labels 0, 1, 2, ... (ReduceClasses) and pass codes"
                + ("; if that is one thing against background, pass threshold=0.5" if len(labels) <= 2 else ""),
                stacklevel=2,
            )

    def encodes(self, source):
        # CheckLabels judges those below 0: a loss that comes later may leave one out
        how = {"below_0": True, "strict": self.strict, "series": self.series}
        try:
            return read_labels(source, self.codes, self.threshold, self._warn_of_rounding, **how)
        except UnsupportedImage:
            contours = contours_of(source, self.codes) if self.series is None else None
            if contours is None:
                raise
            return contours  # MatchMask makes voxels of them

    def _warn_of_rounding(self, name, others=0):
        if not self._told:
            self._told[:] = True
            warn_of_rounding(name, others)


def _vocabulary(names: list) -> list | CategoryMap:
    """Names as fastai's interpretations take them: of a list they take the last entry, as of several targets."""
    return CategoryMap(names, sort=False) if len(set(names)) == len(names) else names


def read_labels(
    source: Any,
    codes: Sequence[str] | None = None,
    threshold: float | None = None,
    when_rounded: Callable[[str], None] = warn_of_rounding,
    ignore_index: int | None = None,
    below_0: bool = False,
    strict: bool = True,
    series: Any = None,
) -> TensorMask3D:
    """Read a mask as whole numbers (D, H, W), in the smallest of uint8 and int32 that holds them.

    Args:
        source: what ``TensorMask3D.create`` takes; or a list of masks that do not overlap, which become labels 1,
            2, ...
        codes: names of the labels, by which segments of a .seg.nrrd or DICOM SEG are chosen.
        threshold: as for :func:`MaskBlock3D`.
        when_rounded: called with the name of the mask where values near whole numbers had to be rounded.
        ignore_index: label that is no class, and may be below 0.
        below_0: let labels below 0 pass.
        strict, series: as for ``TensorMask3D.create``.

    Raises:
        ValueError: several components, fractions, NaN, labels below 0; masks or segments that overlap.

    >>> read_labels(np.full((2, 3, 4), 70000.0)).dtype
    torch.int32
    """
    if isinstance(source, list | tuple | L):
        return labels_of_files(source, codes, strict, series, threshold)
    mask = TensorMask3D.create(source, series, strict, dtype=None)
    name = source_name(mask)
    if segments := segments_of(source) or segments_of_object(mask):
        named = labels_by_name(mask, segments, codes)
        if named is not None:
            return named
    if mask.ndim != 3:
        raise ValueError(
            f"{name}: a mask is one volume of labels (D, H, W), got shape {tuple(mask.shape)}. If its channels are "
            "regions, which may overlap, train on them: regions=['name', ...] (RegionBlock3D, "
            "SegmentationDataLoaders3D)"
        )
    mask = above(mask, threshold) if threshold is not None else named_labels(mask, name, when_rounded)
    plain = mask.as_subclass(Tensor)
    if plain.dtype in (torch.uint16, torch.uint32, torch.uint64):
        plain = plain.to(torch.int64)  # torch cannot compare these
    low, high = label_range(plain)
    smallest = low
    if low < 0 and ignore_index is not None:
        known = plain[plain != ignore_index]
        smallest = int(known.amin()) if known.numel() else 0
    if smallest < 0 and not below_0:
        raise ValueError(
            f"{name}: holds the label {smallest}; labels begin at 0, the background. If it means 'not annotated', "
            f"pass ignore_index={smallest} (MaskBlock3D, SegmentationDataLoaders3D)"
        )
    return mask.with_voxels(cast(plain, torch.uint8 if low >= 0 and high <= 255 else torch.int32, name))


def _labels_of(source: Any, threshold: float | None, **how: Any) -> tuple[set[int], str, Mapping[int, str], str]:
    """The labels of a mask, its name if values near whole numbers had to be rounded, names of labels, its name."""
    rounded: list[str] = []
    try:
        mask = read_labels(source, threshold=threshold, when_rounded=rounded.append, **how)
    except UnsupportedImage:
        contours_of(source, None)  # says what is needed where it is a structure set
        raise
    return set(label_counts(mask)), "".join(rounded), mask.codes or {}, source_name(mask)
