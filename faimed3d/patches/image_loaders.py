"""``CachedImageDataLoaders3D``: whole cases of a cache, with their classes or numbers."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from fastai.data.block import DataBlock, TransformBlock
from fastai.data.core import Datasets
from fastai.torch_core import TensorCategory, default_device
from fastcore.basics import instantiate
from fastcore.foundation import L
from fasttransform import Transform

from faimed3d._keywords import strict_keywords
from faimed3d.cache import CaseFile
from faimed3d.data.block_transforms import check_sizes
from faimed3d.data.done_before import DoneBefore
from faimed3d.data.known_classes import refuse_unknown_classes
from faimed3d.data.loaders import Transforms, merged
from faimed3d.data.splitting import GivenSplits
from faimed3d.data.volume_dl import VolumeDL
from faimed3d.patches.balanced_order import BalancedOrder
from faimed3d.patches.cached_loaders import CachedLoaders3D, cases_of_sides, scans_loader, steps_done
from faimed3d.volume import TensorDicom3D

_ROW = "row of the cache"  # a column that the items have besides those of the table


class CachedImageDataLoaders3D(CachedLoaders3D):
    """Loaders of the whole cases of a cache with classes or numbers as target; no epoch reads a source again.

    Three loaders: ``dls.train`` and ``dls.valid`` of the cached cases; ``dls.scans`` reads the sources of validation
    as the cache did, for ``learn.predict`` and ``dls.test_dl``.

    >>> import tempfile
    >>> import pandas as pd
    >>> from fastai.data.block import CategoryBlock
    >>> from faimed3d.cache import preprocess
    >>> table = pd.DataFrame({"image": [torch.rand(6, 8, 10) for _ in range(4)], "label": [*"abba"]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cache = preprocess(table, folder, y_block=CategoryBlock, n_jobs=1, progress=False)
    ...     dls = CachedImageDataLoaders3D.from_cache(cache, bs=2, valid=[3], device="cpu")
    ...     images, classes = dls.one_batch()
    >>> images.shape, classes.shape, list(dls.vocab)
    (torch.Size([2, 1, 6, 8, 10]), torch.Size([2]), ['a', 'b'])
    """

    @classmethod
    @strict_keywords
    def from_cache(
        cls,
        cache: Any,
        bs: int = 4,
        valid: Sequence[int] = (),
        *,
        oversampling: float = 0.0,
        batch_tfms: Transforms = None,
        num_workers: int = 0,
        path: str | Path = ".",
        device: Any = None,
    ) -> CachedImageDataLoaders3D:
        """Make loaders from a cache of images with classes or numbers.

        Args:
            cache: of ``preprocess`` with a ``y_block``; its ``item_tfms`` have brought all cases to one size.
            bs: cases in a batch.
            valid: numbers of the rows of ``cache.table`` that are validated on; all others are trained on.
            oversampling: share of the cases of an epoch that are drawn with each class as often as any other, 0 to 1;
                the others are drawn as often as they are. With 1 an epoch has as many cases of a rare class as of a
                frequent one, and a network learns to rank cases; the probabilities that it gives are then those of
                classes that are equally likely.
            batch_tfms: transforms of batches.
            num_workers: processes that read cases. 0, the default, reads them here: from the map of its file a case
                comes in a millisecond.
            path: where a ``Learner`` keeps its files.
            device: where batches go. Default: the GPU where there is one.

        Raises:
            ValueError: the cache is one of masks, training has fewer cases than a batch, there is no such row, or
                ``oversampling`` is no share or that of targets that are no classes.
        """
        if cache.reading.masks:
            raise ValueError(
                f"{cache.folder}: a cache of images with masks; classes and numbers are those of "
                "preprocess(..., y_block=CategoryBlock). For masks use PatchDataLoaders3D"
            )
        splits = cases_of_sides(cache, valid)
        if not isinstance(bs, Integral) or bs < 1:
            raise ValueError(f"bs must be a whole number of cases, 1 or more, got {bs!r}")
        if (count := len(splits[0])) < bs:
            advice = "choose a smaller bs" if count > 1 else "networks with batch normalization need two at least"
            raise ValueError(f"training has {count} case{'s' * (count > 1)}, fewer than one batch of bs={bs}: {advice}")
        device = torch.device(default_device() if device is None else device)
        transforms = [instantiate(transform) for transform in L(batch_tfms)]
        cases = [cache[row] for row in range(len(cache))]
        y_block = cache.raw_blocks()[1]
        block = DataBlock(
            (TransformBlock(type_tfms=WholeCase(cases)), y_block),
            get_x=_row, get_y=cache.get_y, splitter=GivenSplits(splits),
        )  # fmt: skip
        items = block.datasets(cache.table.assign(**{_ROW: range(len(cache))}))
        order = {} if not oversampling else {"shuffle_fn": _order_of(items.subset(0), oversampling)}
        common = {
            "bs": bs, "num_workers": num_workers, "device": device, "before_batch": check_sizes,
            "after_item": merged(block.default_item_tfms, [DoneBefore(*steps_done(cache, cases))]),
            "after_batch": merged(block.default_batch_tfms, transforms),
        }  # fmt: skip
        train = VolumeDL(items.subset(0), shuffle=True, drop_last=True, **order, **common)
        train._one_pass()
        scans = scans_loader(cache, splits, transforms, device, bs)
        scans._n_inp, scans._types = train._n_inp, train._types  # so that it need not read a scan to know
        made = cls(train, train.new(items.subset(1), shuffle=False, drop_last=False), scans, path=path, device=device)
        refuse_unknown_classes(made)
        made.cache = cache
        return made

    def new_empty(self) -> CachedImageDataLoaders3D:
        """The same without cases, for export: what is left reads scans."""
        empty = self.scans.new(self.scans.dataset.new_empty())
        return type(self)(empty, empty, empty, path=self.path, device=self.device)


class WholeCase(Transform):
    """The image of the case in a row of a cache.

    Args:
        cases: of all rows.
    """

    def __init__(self, cases: Sequence[CaseFile]) -> None:
        super().__init__()
        self.cases = cases

    def encodes(self, row: int) -> TensorDicom3D:
        """Read it, (C, D, H, W).

        Args:
            row: number of it.
        """
        return self.cases[row].whole()[0]


def _order_of(items: Datasets, share: float) -> BalancedOrder:
    """The order in which cases of training are drawn, some with each class as often as any other."""
    targets = list(items.tls[1])
    if not all(isinstance(target, TensorCategory) for target in targets):
        raise ValueError("oversampling is of cases of one class each (CategoryBlock): leave it out")
    return BalancedOrder([int(target) for target in targets], share)


def _row(cells: Any) -> int:
    return int(cells[_ROW])
