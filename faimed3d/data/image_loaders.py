"""``DataLoaders`` of volumes with classes or numbers as targets: from a table, folders, paths, lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from fastai.data.block import CategoryBlock, MultiCategoryBlock, RegressionBlock, TransformBlock
from fastai.data.transforms import GrandparentSplitter, RegexLabeller, RegressionSetup, parent_label
from fastcore.foundation import L
from fastcore.meta import delegates

from faimed3d._keywords import keywords_of, strict_keywords
from faimed3d.data.blocks import ImageBlock3D, MaskReader, VolumeReader
from faimed3d.data.columns import (
    TargetColumn,
    check_cells,
    check_numbers,
    columns_by_name,
    used_columns,
    validation_splitter,
    warn_of_numbers,
    with_lists,
)
from faimed3d.data.files import get_volumetric_files
from faimed3d.data.loaders import INNER, Block, Columns, Loaders3D, Transforms, of_loader, volumes_in
from faimed3d.data.pairs import by_name
from faimed3d.data.paths import existing_or_below
from faimed3d.volume import TensorDicom3D


def has(block: TransformBlock, *kinds: type) -> bool:
    """Whether a block reads its targets by one of these transforms."""
    return any(isinstance(step, kinds) for step in L(block.type_tfms))


class ImageDataLoaders3D(Loaders3D):
    """Loaders of volumes with a class, several classes or numbers as target; steps: ``faimed3d.data.blocks``.

    >>> import numpy as np
    >>> table = pd.DataFrame({"image": [np.zeros((2, 3, 4))] * 8, "label": ["low", "high"] * 4})
    >>> dls = ImageDataLoaders3D.from_df(table, bs=2, num_workers=0, device="cpu")
    >>> dls.one_batch()[0].shape, list(dls.vocab)
    (torch.Size([2, 1, 2, 3, 4]), ['high', 'low'])
    """

    @classmethod
    @strict_keywords(more=of_loader)
    @delegates(Loaders3D._from_blocks, but=INNER)
    def from_df(
        cls,
        df: pd.DataFrame,
        path: str | Path = ".",
        valid_pct: float = 0.2,
        seed: int | None = None,
        fn_col: Columns = 0,
        folder: str | Path | None = None,
        suff: str = "",
        label_col: Columns = 1,
        label_delim: str | None = None,
        y_block: Block = None,
        valid_col: str | int | None = None,
        splitter: Callable | None = None,
        group_col: str | int | None = None,
        item_tfms: Transforms = None,
        batch_tfms: Transforms = None,
        img_cls: type[TensorDicom3D] = TensorDicom3D,
        resample_to_first: bool = False,
        **kwargs: Any,
    ) -> ImageDataLoaders3D:
        """Make loaders from a table.

        Args:
            df: DataFrame, one row an item. The loaders keep of it, and send to workers, what ``fn_col``, ``label_col``
                and ``group_col`` name (of columns without names all up to it); rows keep their index.
            path: folder where relative paths in the table begin; the ``Learner`` keeps its files there.
            valid_pct, seed: share of validation at random, and what fixes the draw.
            fn_col: column of the volume: a file, a DICOM folder, a row of ``dicom_inventory(path)`` or its key.
                Absolute paths stay what they are. Several columns become channels.
            folder: folder below ``path`` where relative paths begin instead.
            suff: added to each path.
            label_col: column of the target, or several; where ``y_block`` is of volumes, its cells are like those of
                ``fn_col``, without ``suff``.
            label_delim: what separates several classes in one cell.
            y_block: block of the target: ``RegressionBlock`` for numbers. Default: one class, or several where
                ``label_col``, ``label_delim`` or cells that are lists say so.
            valid_col: column that is true for the rows of validation.
            splitter: or a function of the table that gives the numbers of the rows of training and of validation, such
                as fastai's ``ColSplitter("is_valid")``.
            group_col: column of the patient; the volumes of one are never on both sides.
            item_tfms, batch_tfms: transforms of items and of batches.
            img_cls: type of the volumes.
            resample_to_first: bring channels to the grid of the first one.
        """
        fn_col, label_col, group_col = (columns_by_name(df, column) for column in (fn_col, label_col, group_col))
        check_cells(df, label_col, label_delim)
        df, get_x = volumes_in(df, fn_col, path, folder, suff)
        get_y: Callable = TargetColumn(label_col, label_delim=label_delim)
        if y_block is None:
            several = (isinstance(label_col, list | tuple | L) and len(label_col) > 1) or label_delim is not None
            if not several and (lists := with_lists(df, *L(label_col))) is not None:
                several, df = True, lists
            y_block = MultiCategoryBlock if several else CategoryBlock
            if not several:
                warn_of_numbers(df, *L(label_col))
        y_block = y_block() if callable(y_block) else y_block
        if has(y_block, RegressionSetup):
            check_numbers(df, label_col)
        if has(y_block, VolumeReader, MaskReader):  # its cells are like those of the images
            df, get_y = volumes_in(df, label_col, path, folder)
        return cls._from_blocks(
            df, (ImageBlock3D(img_cls, resample_to_first), y_block), path, validation_splitter(df, valid_col, splitter),
            valid_pct, seed, group_col, item_tfms, batch_tfms, get_x=get_x,
            get_y=get_y, keep=used_columns(df, fn_col, label_col, group_col),
            **kwargs,
        )  # fmt: skip

    @classmethod
    @strict_keywords(more=of_loader)
    @delegates(Loaders3D._from_blocks, but=INNER)
    def from_folder(
        cls,
        path: str | Path,
        train: str = "train",
        valid: str = "valid",
        valid_pct: float | None = None,
        seed: int | None = None,
        vocab: Sequence[str] | None = None,
        group_func: Callable[[Path], Any] | None = None,
        item_tfms: Transforms = None,
        batch_tfms: Transforms = None,
        img_cls: type[TensorDicom3D] = TensorDicom3D,
        **kwargs: Any,
    ) -> ImageDataLoaders3D:
        """Make loaders from folders ``train/class/volume`` and ``valid/class/volume``; a volume may be a DICOM folder.

        Args:
            path: folder that holds them; with ``valid_pct`` or ``group_func`` it is searched as a whole.
            train, valid: names of the two folders.
            valid_pct, seed: split at random instead.
            vocab: the classes. Default: those found.
            group_func: function of a path that returns the patient: split patients at random instead.
            item_tfms, batch_tfms, img_cls: as for :meth:`from_df`.
        """
        at_random = valid_pct is not None or group_func is not None
        files = get_volumetric_files(path, folders=None if at_random else [train, valid])
        if not files:
            raise FileNotFoundError(f"{path}: no volumes{'' if at_random else f' in its folders {train} and {valid}'}")
        by_name(files, Path(path), "images")
        return cls._from_blocks(
            files, (ImageBlock3D(img_cls), CategoryBlock(vocab=vocab)), path,
            None if at_random else GrandparentSplitter(train, valid), 0.2 if valid_pct is None else valid_pct, seed,
            group_func, item_tfms, batch_tfms, get_y=parent_label, **kwargs,
        )  # fmt: skip

    @classmethod
    @strict_keywords(more=of_loader)
    @delegates(Loaders3D._from_blocks, but=INNER)
    def from_path_func(
        cls,
        path: str | Path,
        fnames: Sequence[Any],
        label_func: Callable[[Any], Any],
        valid_pct: float = 0.2,
        seed: int | None = None,
        group_func: Callable[[Any], Any] | None = None,
        y_block: Block = None,
        item_tfms: Transforms = None,
        batch_tfms: Transforms = None,
        img_cls: type[TensorDicom3D] = TensorDicom3D,
        **kwargs: Any,
    ) -> ImageDataLoaders3D:
        """Make loaders from a list of volumes.

        Args:
            path: where relative paths begin.
            fnames: files, DICOM folders, or lists of them as channels.
            label_func: function of a path that returns the target.
            group_func: function of a path that returns the patient; the volumes of one are never on both sides.
            y_block: block of the target. Default: one class.
            valid_pct, seed, item_tfms, batch_tfms, img_cls: as for :meth:`from_df`.
        """
        return cls._from_blocks(
            existing_or_below(fnames, path), (ImageBlock3D(img_cls), y_block or CategoryBlock), path, None, valid_pct,
            seed, group_func, item_tfms, batch_tfms, get_y=label_func, **kwargs,
        )  # fmt: skip

    @classmethod
    @strict_keywords(more=lambda args, kwargs: [*keywords_of(args[0].from_path_func), *of_loader(args, kwargs)])
    def from_path_re(cls, path: str | Path, fnames: Sequence[Any], pat: str, **kwargs: Any) -> ImageDataLoaders3D:
        """As :meth:`from_path_func`; the class is the first group of the regular expression ``pat`` in the path."""
        return cls.from_path_func(path, fnames, RegexLabeller(pat), **kwargs)

    @classmethod
    @strict_keywords(more=lambda args, kwargs: [*keywords_of(args[0].from_path_func), *of_loader(args, kwargs)])
    def from_name_re(cls, path: str | Path, fnames: Sequence[Any], pat: str, **kwargs: Any) -> ImageDataLoaders3D:
        """As :meth:`from_path_func`; the class is the first group of the regular expression ``pat`` in the name."""
        return cls.from_name_func(path, fnames, RegexLabeller(pat), **kwargs)

    @classmethod
    @strict_keywords(more=of_loader)
    @delegates(Loaders3D._from_blocks, but=INNER)
    def from_lists(
        cls,
        path: str | Path,
        fnames: Sequence[Any],
        labels: Sequence[Any],
        y_block: Block = None,
        img_cls: type[TensorDicom3D] = TensorDicom3D,
        **kwargs: Any,
    ) -> ImageDataLoaders3D:
        """Make loaders from a list of volumes and the list of their targets.

        Args:
            path: where relative paths begin.
            fnames: files, DICOM folders, or lists of them as channels.
            labels: the targets, one for each volume, in fastai's name.
            y_block: block of the targets. Default: as the first is: several classes, a number, or one class.
            img_cls: type of the volumes.
            **kwargs: as for :meth:`from_df`.
        """
        volumes, targets = existing_or_below(fnames, path), list(labels)
        if len(volumes) != len(targets):
            raise ValueError(f"there are {len(volumes)} volumes and {len(targets)} labels: each needs one")
        if y_block is None and targets:
            several = isinstance(targets[0], list | tuple | L)
            y_block = (
                MultiCategoryBlock if several else RegressionBlock if isinstance(targets[0], float) else CategoryBlock
            )
        columns = {"image": list(volumes), "label": targets}
        table = pd.DataFrame({name: pd.Series(cells, dtype=object) for name, cells in columns.items()})
        return cls.from_df(table, path, fn_col="image", label_col="label", y_block=y_block, img_cls=img_cls, **kwargs)
