"""How a case is read and brought to what lies in the cache: the blocks and item transforms of the raw scans."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from fastai.data.block import TransformBlock
from fastcore.basics import instantiate
from fastcore.foundation import L
from fasttransform import Pipeline
from torch import Tensor

from faimed3d.cache.descriptions import describe
from faimed3d.cache.keys import describe_transforms
from faimed3d.data.block_transforms import CheckLabels
from faimed3d.data.blocks import ImageBlock3D, MaskBlock3D
from faimed3d.data.kept_labels import check_labels_are_kept
from faimed3d.data.loaders import merged, read_with
from faimed3d.io.casting import cast
from faimed3d.masks.labels import label_range
from faimed3d.volume import TensorDicom3D, TensorMask3D

_ANY_LABEL = 2**31  # more classes than a mask can hold


@dataclass(frozen=True)
class CaseReading:
    """The arguments of :func:`preprocess` that say what a case becomes.

    Args:
        masks: each case has a mask of labels.
        item_tfms: the deterministic transforms, in the user's order.
        orientation, codes, resample_masks, threshold, ignore_index, like, resample_to_first, strict, series: as of
            ``SegmentationDataLoaders3D.from_df``.
        bricks: side of the bricks in which a file keeps its voxels; None for rows.
    """

    masks: bool = True
    item_tfms: tuple[Any, ...] = field(default=(), compare=False)
    orientation: str | None = None
    codes: tuple[str, ...] | None = None
    resample_masks: bool | str = False
    threshold: float | None = None
    ignore_index: int | None = None
    like: str | None = None
    resample_to_first: bool = False
    strict: bool = True
    series: Any = None
    bricks: int | None = None

    def blocks(self, codes: tuple[str, ...] | None = None) -> tuple[TransformBlock, ...]:
        """Fresh blocks of image and mask; without masks of the image alone.

        Args:
            codes: names of the labels, in the place of its own.
        """
        blocks = [ImageBlock3D(resample_to_first=self.resample_to_first, orientation=self.orientation)]
        if self.masks:
            blocks.append(MaskBlock3D(codes or self.codes, self.resample_masks, self.threshold, self.ignore_index))
        read_with(blocks, self.strict, self.series, self.like)
        return tuple(blocks)

    def described(self) -> dict[str, Any]:
        """All arguments but the transforms as plain JSON."""
        names = [one.name for one in fields(self) if one.name != "item_tfms"]
        return {name: describe(getattr(self, name)) for name in names}

    def transforms(self) -> list[Any]:
        """The transforms as plain JSON, in the order in which they act.

        Raises:
            TypeError: one of them has no name.
        """
        return describe_transforms(self.item_tfms)

    def stored(self, image: Any) -> str | None:
        """How an image is stored, such as 'LPS'; None where it has no geometry.

        Args:
            image: source, as a cell of a table names it.
        """
        return _orientation(Pipeline(self.blocks()[0].type_tfms)(image))

    def read(
        self, image: Any, mask: Any = None, twice: bool = False
    ) -> tuple[TensorDicom3D, TensorMask3D | None, str | None]:
        """Read a case and bring it through all steps: (C, D, H, W) and (D, H, W), uint8 or int32, or None.

        Args:
            image, mask: sources, as a cell of a table names them.
            twice: do it twice, and compare; it is done wherever random numbers were drawn meanwhile, which another
                thread may have done.

        Returns:
            Image and mask; and how the image was stored.

        Raises:
            TypeError: the same steps made two things, or something else than an image and a mask.
        """
        before = _states()
        case = self._read_once(image, mask)
        if (twice or _states() != before) and not _same(case, self._read_once(image, mask)):
            raise TypeError(
                "the transforms of item_tfms make another case each time, so one of them draws random numbers and what "
                "it makes cannot be kept: it belongs into batch_tfms"
            )
        return case

    def _read_once(self, image: Any, mask: Any) -> tuple[TensorDicom3D, TensorMask3D | None, str | None]:
        blocks = self.blocks()
        sources = (image, mask)[: len(blocks)]
        item = tuple(Pipeline(block.type_tfms)(source) for block, source in zip(blocks, sources, strict=True))
        stored = _orientation(item[0])
        own = [copy.copy(step) for step in self.item_tfms]  # they keep on themselves what they need of an item
        steps = merged([instantiate(step) for block in blocks for step in L(block.item_tfms)], own)
        for step in steps:
            if isinstance(step, CheckLabels) and step.reader.c is None:
                step.reader.c = _ANY_LABEL  # labels below 0 are refused all the same
        pipeline = Pipeline(steps)
        if self.masks:
            check_labels_are_kept(pipeline.fs)
        return *_checked(pipeline(item), self.masks), stored


def _orientation(image: TensorDicom3D) -> str | None:
    return None if image.geometry is None else image.geometry.orientation


def _checked(made: Any, masks: bool) -> tuple[TensorDicom3D, TensorMask3D | None]:
    parts = list(made) if isinstance(made, tuple | list) else [made]
    kinds = (TensorDicom3D, TensorMask3D)[: 1 + masks]
    if len(parts) != len(kinds) or not all(map(isinstance, parts, kinds)) or isinstance(parts[0], TensorMask3D):
        came = ", ".join(type(part).__name__ for part in parts)
        raise TypeError(f"the transforms made ({came}) of an item, but a case is an image{' and its mask' * masks}")
    image, mask = parts[0], parts[1] if masks else None
    if image.ndim != 4 or (mask is not None and (mask.ndim != 3 or mask.shape != image.shape[-3:])):
        shapes = " and ".join(str(tuple(part.shape)) for part in parts)
        raise ValueError(f"the transforms made {shapes}, but a case is an image (C, D, H, W) and a mask (D, H, W)")
    return image, None if mask is None else _narrow(mask)


def _narrow(mask: TensorMask3D) -> TensorMask3D:
    """The mask in the smaller of uint8 and int32 that holds its labels."""
    plain = mask.as_subclass(Tensor)
    plain = plain.round() if plain.is_floating_point() else plain
    low, high = label_range(plain) if plain.numel() else (0, 0)
    return mask.with_voxels(cast(plain, torch.uint8 if low >= 0 and high <= 255 else torch.int32, "the mask"))


def _same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Whether two cases are equal to the last bit."""
    return all(
        a is b or (a.dtype == b.dtype and a.geometry == b.geometry and torch.equal(a, b))
        for a, b in zip(one[:2], other[:2], strict=True)
    )


def _states() -> tuple[Any, ...]:
    """Where the random numbers of torch, numpy and Python stand."""
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002 - the one that transforms of others use
    words = [x.tobytes() if isinstance(x, np.ndarray) else x for x in numpy_state["state"].values()]
    return torch.get_rng_state().numpy().tobytes(), random.getstate(), words
