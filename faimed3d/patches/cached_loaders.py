"""What the loaders of a cache share: beside the cached cases a loader of raw scans, which predicts."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from fastai.data.block import DataBlock
from fastai.data.core import test_set

from faimed3d._keywords import strict_keywords
from faimed3d.cache import CaseFile
from faimed3d.data.block_transforms import check_sizes
from faimed3d.data.leaks import warn_of_leaks
from faimed3d.data.loaders import Loaders3D, merged, of_loader
from faimed3d.data.splitting import GivenSplits
from faimed3d.data.volume_dl import VolumeDL


class CachedLoaders3D(Loaders3D):
    """Three loaders: of training and of validation, from a cache, and ``dls.scans``, which reads sources.

    Attributes:
        cache: that of the cases; not kept in exported learners.
    """

    cache: Any = None

    @property
    def scans(self) -> VolumeDL:
        """Loader of the sources of validation, with all the steps that the cache has done already."""
        return self.loaders[2]

    @strict_keywords(more=lambda args, kwargs: [*of_loader(args, kwargs), "process"])  # of Interpretation
    def test_dl(
        self, test_items: Any, rm_type_tfms: Any = None, with_labels: bool = False, **kwargs: Any
    ) -> VolumeDL:  # as of fastai
        """Loader of raw scans, prepared as those of the cache.

        Args:
            test_items: a table, or a list of sources.
            rm_type_tfms, with_labels, kwargs: as of fastai's ``test_dl``.
        """
        items = test_set(self.scans.dataset, test_items, rm_tfms=rm_type_tfms, with_labels=with_labels)
        return self.scans.new(items, **kwargs)


def cases_of_sides(cache: Any, valid: Sequence[int]) -> tuple[list[int], list[int]]:
    """Rows of training and of validation; a warning where a patient or an image is in both.

    Args:
        cache: of ``preprocess``.
        valid: rows of validation.

    Raises:
        TypeError: they are no whole numbers.
        ValueError: a row that is not there or comes twice, or none is left to train on.
    """
    count = len(cache)
    try:
        rows = [operator.index(row) for row in valid]
        flags = any(isinstance(row, bool | np.bool_) for row in valid)
    except TypeError:
        rows, flags = [], True
    if flags:
        raise TypeError(
            f"valid must be numbers of rows of the cache, got {valid!r}; np.flatnonzero makes them of True and False"
        )
    wrong = [row for row in rows if not 0 <= row < count]
    if wrong or len(set(rows)) != len(rows):
        raise ValueError(
            f"valid must be numbers of rows of the cache, each once, from 0 to {count - 1}; got {wrong or rows}"
        )
    train = [row for row in range(count) if row not in set(rows)]
    if not train:
        raise ValueError(f"all {count} cases are in validation, so nothing is left to train on")
    remedy = "validate on whole patients, such as valid=make_folds(cache.table).split(0)[1]"
    warn_of_leaks(cache.table, (train, rows), source_of=cache.get_x.names, remedy=remedy)
    return train, rows


def steps_done(cache: Any, cases: Sequence[CaseFile]) -> tuple[list[Any], str | None]:
    """The transforms that cases went through, in order, and their storage order where all have the same."""
    orientations = {case.geometry.orientation for case in cases}
    stored = orientations.pop() if len(orientations) == 1 else None
    return sorted(cache.item_tfms, key=lambda step: step.order), stored


def scans_loader(
    cache: Any, splits: tuple[list[int], list[int]], batch_tfms: Sequence[Any], device: torch.device, bs: int = 1
) -> VolumeDL:
    """A loader of the sources of validation, with all steps; fastai reads the first source to make it, and no other."""
    block = DataBlock(cache.raw_blocks(), get_x=cache.get_x, get_y=cache.get_y, splitter=GivenSplits(splits))
    items = block.datasets(cache.table).subset(1)
    return VolumeDL(
        items, bs=bs, num_workers=0, device=device, before_batch=check_sizes,
        after_item=merged(block.default_item_tfms, cache.item_tfms),
        after_batch=merged(block.default_batch_tfms, batch_tfms),
    )  # fmt: skip
