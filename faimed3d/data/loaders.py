"""What the ``DataLoaders`` for volumes share: one helper makes them of blocks and items.

The factories have fastai's names and arguments; each names its blocks. Blocks and the way of an item to the batch:
:mod:`faimed3d.data.blocks`. Pictures: :mod:`faimed3d.data.pictures`.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable, Mapping, Sequence
from inspect import isfunction
from numbers import Integral
from pathlib import Path
from typing import Any

import pandas as pd
from fastai.data.block import DataBlock
from fastai.data.core import DataLoaders, FilteredBase, TfmdDL
from fastai.data.transforms import RandomSplitter
from fastcore.basics import instantiate
from fastcore.foundation import L
from fastcore.meta import delegates

from faimed3d._keywords import keywords_of, strict_keywords
from faimed3d.data import pictures  # noqa: F401 - registers the pictures with fastai
from faimed3d.data.block_transforms import MatchMask, check_like
from faimed3d.data.blocks import VolumeReader
from faimed3d.data.cells import VolumeColumn, with_inventory_rows
from faimed3d.data.flat_transforms import warn_of_flat_transforms
from faimed3d.data.known_classes import refuse_unknown_classes
from faimed3d.data.leaks import warn_of_leaks
from faimed3d.data.one_orientation import OneOrientation
from faimed3d.data.paths import OfName
from faimed3d.data.splitting import GivenSplits, Group, GroupSplitter, positions
from faimed3d.legacy.loaders import LegacyLoaderMethods

Columns = str | int | Sequence[str | int]
Transforms = Any  # a transform, a function, or a list of them
Block = Any  # a TransformBlock, or a function that returns one

INNER = ["splitter", "group", "get_x", "get_y", "keep"]  # arguments of Loaders3D._from_blocks that factories fill in


class Loaders3D(LegacyLoaderMethods, DataLoaders):
    """What loaders of images and of images with masks share."""

    @classmethod
    @delegates(FilteredBase.dataloaders, but=["after_item", "after_batch", "batch_size", "do_setup", "verbose"])
    def _from_blocks(
        cls,
        source: pd.DataFrame | Sequence[Any],
        blocks: Sequence[Block],
        path: str | Path = ".",
        splitter: Callable | None = None,
        valid_pct: float = 0.2,
        seed: int | None = None,
        group: Group | None = None,
        item_tfms: Transforms = None,
        batch_tfms: Transforms = None,
        bs: int = 4,
        get_x: Callable | None = None,
        get_y: Callable | None = None,
        keep: Sequence[int] | None = None,
        orientation: str | None = None,
        strict: bool = True,
        series: Any = None,
        like: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Make the loaders of items.

        Args:
            source: DataFrame or list of items.
            blocks, get_x, get_y, item_tfms, batch_tfms: as of fastai's ``DataBlock``.
            path: where a ``Learner`` keeps its files.
            splitter: function of the items that returns the indices of training and validation. Default: whole groups
                at random where ``group`` is given, else items at random.
            valid_pct, seed, group: as for :class:`GroupSplitter`.
            bs: volumes in a batch.
            keep: numbers of the columns of a DataFrame that the loaders keep, and send to workers, once it is split.
            orientation: storage order of all items, such as 'LPS'; see :class:`OneOrientation`. Default: that of the
                first training item.
            strict: False: read images and masks that are faulty, as ``TensorDicom3D.create(strict=False)`` does.
            series: which volume of DICOM folders, as of ``TensorDicom3D.create``; of the images.
            like: ``'image'``: masks that do not say where they lie, lie where their images lie; see
                :func:`MaskBlock3D`.
            **kwargs: as of fastai\'s ``DataLoaders``: ``val_bs``, ``shuffle``, ``device``, ``num_workers``, ...
        """
        if not len(source):
            raise ValueError("there are no items: the table or list is empty")
        for name, size in (("bs", bs), ("val_bs", kwargs.get("val_bs", bs))):
            if not isinstance(size, Integral) or isinstance(size, bool) or size < 1:
                raise ValueError(f"{name} must be a whole number of volumes, 1 or more, got {size!r}")
        at_random = splitter is None
        if splitter is None:
            if group is None and not 0 <= valid_pct < 1:
                raise ValueError(f"valid_pct must be a share from 0 to below 1, got {valid_pct!r}")
            splitter = RandomSplitter(valid_pct, seed) if group is None else GroupSplitter(group, valid_pct, seed)
        splits = positions(splitter(source), len(source))
        if not len(splits[0]):
            raise ValueError(f"all {len(source)} items are in validation, so nothing is left to train on")
        warn_of_leaks(source, splits, group, get_x.names if isinstance(get_x, VolumeColumn) else None)
        if at_random and valid_pct > 0 and not len(splits[1]):
            warnings.warn(f"none of the {len(source)} items is in validation: raise valid_pct", stacklevel=4)
        if 0 < len(splits[0]) < bs and kwargs.get("drop_last", kwargs.get("shuffle", True)):
            warnings.warn(
                f"training has {len(splits[0])} items, fewer than one batch of bs={bs}, so no epoch will train on "
                "anything: choose a smaller bs",
                stacklevel=4,
            )
        if keep is not None and isinstance(source, pd.DataFrame):
            source = source.iloc[:, list(keep)].copy()
            source.attrs.clear()
        if orientation is not None:
            item_tfms = [*L(item_tfms), OneOrientation(orientation)]  # fastai lets it take the place of the block's
        read_with(blocks, strict, series, like)
        block = DataBlock(
            blocks=blocks,
            get_x=get_x,
            get_y=get_y,
            splitter=GivenSplits(splits),
            item_tfms=item_tfms,
            batch_tfms=batch_tfms,
        )
        block.item_tfms = merged(block.default_item_tfms, item_tfms)
        block.batch_tfms = merged(block.default_batch_tfms, batch_tfms)
        made = cls.from_dblock(block, source, path=path, bs=bs, **kwargs)  # plain DataLoaders, whatever the class
        warn_of_flat_transforms(made, stacklevel=4)
        refuse_unknown_classes(made)
        return cls(*made.loaders, path=made.path, device=made.device)

    @classmethod
    @strict_keywords(more=lambda args, kwargs: _names_of(args[0].from_df, kwargs))
    def from_csv(
        cls,
        path: str | Path,
        csv_fname: str = "labels.csv",
        header: Any = "infer",
        delimiter: str = ",",
        quoting: int = csv.QUOTE_MINIMAL,
        **kwargs: Any,
    ) -> Any:
        """Make loaders from the table ``path/csv_fname``; all else as ``from_df``.

        Args:
            path: folder of the table, where its relative paths begin.
            csv_fname: name of the table.
            header, delimiter, quoting: as of ``pandas.read_csv``.
            **kwargs: as for ``from_df``.
        """
        table = pd.read_csv(Path(path) / csv_fname, header=header, delimiter=delimiter, quoting=quoting)
        return cls.from_df(table, path=path, **kwargs)

    @classmethod
    @strict_keywords(more=lambda args, kwargs: _names_of(args[0].from_path_func, kwargs))
    def from_name_func(
        cls, path: str | Path, fnames: Sequence[Any], label_func: Callable[[str], Any], **kwargs: Any
    ) -> Any:
        """As ``from_path_func``, with ``label_func`` a function of the file's name alone."""
        return cls.from_path_func(path, fnames, OfName(label_func), **kwargs)


def merged(of_blocks: Sequence[Any], of_user: Transforms) -> L:
    """The transforms of blocks and user; one of the user takes the place of a block's of its class, as in fastai.

    But fastai keeps only the last of several of one class, of the user's too: two flips along two axes become one.
    """
    given = L(of_user).map(instantiate)
    kinds = {type(one) for one in given if not isfunction(one)}
    return L(one for one in of_blocks if type(one) not in kinds) + given


def read_with(blocks: Sequence[Block], strict: bool, series: Any, like: str | None) -> None:
    """Hand what a factory is told of reading on to the blocks that it has made.

    Raises:
        ValueError: there are no masks for ``like``.
    """
    readers = [part for block in blocks for part in L(getattr(block, "type_tfms", None))]
    matching = [
        part for block in blocks for part in L(getattr(block, "item_tfms", None)) if isinstance(part, MatchMask)
    ]
    if like is not None and not matching:
        raise ValueError(f"like={like!r} says where masks lie, and these items have none; for images it is of create")
    for reader in readers:
        if isinstance(reader, VolumeReader):
            reader.kwargs.update(
                {"strict": strict} if not strict else {}, **({} if series is None else {"series": series})
            )
        elif hasattr(reader, "strict"):
            reader.strict = strict
    for match in matching:
        match.like = check_like(like)


_SET_HERE = {"self", "dataset", "batch_size", "after_item", "after_batch", "do_setup"}


def of_loader(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[str]:
    """What a factory takes besides its own arguments: those of its ``dl_type``, and these with ``val_``."""
    kinds = (kwargs.get("dl_type") or TfmdDL).__mro__
    names = [name for kind in kinds if "__init__" in vars(kind) for name in keywords_of(kind.__init__)]
    names = [name for name in dict.fromkeys(names) if name not in _SET_HERE]
    return [*names, *(f"val_{name}" for name in names)]


def _names_of(factory: Callable[..., Any], kwargs: Mapping[str, Any]) -> list[str]:
    return [*keywords_of(factory), *of_loader((), kwargs)]


def volumes_in(
    df: pd.DataFrame, columns: Columns, path: str | Path, folder: str | Path | None, suffix: str = ""
) -> tuple[pd.DataFrame, VolumeColumn]:
    """The table with keys of an inventory resolved, and what reads those columns from its rows."""
    root = Path(path) if folder is None else Path(path) / folder
    return with_inventory_rows(df, list(L(columns)), root), VolumeColumn(columns, root, suffix)
