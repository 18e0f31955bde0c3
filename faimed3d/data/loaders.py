"""``DataLoaders`` for volumes from a table, folders, file names: classification, regression and segmentation.

The factories have fastai's names and arguments; each names its blocks, and one helper makes the loaders. Blocks and the
way of an item to the batch: :mod:`faimed3d.data.blocks`. Pictures: :mod:`faimed3d.data.pictures`.
"""

from __future__ import annotations

import csv
import re
import warnings
from pathlib import Path

import pandas as pd
from fastai.data.block import CategoryBlock, DataBlock, MultiCategoryBlock, RegressionBlock
from fastai.data.core import DataLoaders
from fastai.data.transforms import (
    ColReader,
    GrandparentSplitter,
    RandomSplitter,
    RegexLabeller,
    parent_label,
)
from fastcore.foundation import L
from fastcore.meta import delegates
from fasttransform import Transform

from faimed3d.data import pictures  # noqa: F401 - registers the pictures with fastai
from faimed3d.data.blocks import ImageBlock3D, MaskBlock3D
from faimed3d.data.files import VolumeColumn, get_volumetric_files, with_inventory_rows
from faimed3d.data.splitting import GroupSplitter, warn_of_shared_groups
from faimed3d.data.table import check_cells, from_the_left, used_columns, valid_splitter
from faimed3d.io.formats import volume_suffix
from faimed3d.legacy.loaders import EarlierLoaderNames
from faimed3d.volume import TensorDicom3D

__all__ = ["ImageDataLoaders3D", "SegmentationDataLoaders3D"]


class _Loaders3D(EarlierLoaderNames, DataLoaders):
    """What both kinds of loaders share."""

    @classmethod
    @delegates(DataLoaders.from_dblock)
    def _from_blocks(
        cls, source, blocks, path=".", splitter=None, valid_pct=0.2, seed=None, group=None, item_tfms=None,
        batch_tfms=None, bs=4, get_x=None, get_y=None, keep=None, **kwargs,
    ):  # fmt: skip
        """Make the loaders of items.

        Args:
            source: DataFrame or list of items.
            blocks, get_x, get_y, item_tfms, batch_tfms: as of fastai's ``DataBlock``.
            path: where a ``Learner`` keeps its files.
            splitter: function of the items that returns the indices of training and validation. Default: whole groups
                at random where ``group`` is given, else items at random.
            valid_pct, seed, group: as for :class:`GroupSplitter`.
            bs: volumes in a batch.
            keep: places of the columns of a DataFrame that the loaders keep, and send to workers, once it is split.
            **kwargs: as of ``DataLoaders.from_dblock``: ``val_bs``, ``shuffle``, ``device``, ``num_workers``, ...
        """
        if not len(source):
            raise ValueError("there are no items: the table or list is empty")
        drawn = splitter is None
        if drawn:
            if group is None and not 0 <= valid_pct < 1:
                raise ValueError(f"valid_pct must be a share from 0 to below 1, got {valid_pct!r}")
            splitter = RandomSplitter(valid_pct, seed) if group is None else GroupSplitter(group, valid_pct, seed)
        splits = splitter(source)
        if not len(splits[0]):
            raise ValueError(f"all {len(source)} items are in validation, so nothing is left to train on")
        warn_of_shared_groups(source, splits, group)
        if drawn and valid_pct > 0 and not len(splits[1]):
            warnings.warn(f"none of the {len(source)} items is in validation: raise valid_pct", stacklevel=3)
        if 0 < len(splits[0]) < bs and kwargs.get("drop_last", kwargs.get("shuffle", True)):
            warnings.warn(
                f"training has {len(splits[0])} items, fewer than one batch of bs={bs}, so no epoch will train on "
                "anything: choose a smaller bs",
                stacklevel=3,
            )
        if keep is not None:
            source = source.iloc[:, keep].copy()
            source.attrs.clear()
        block = DataBlock(
            blocks=blocks, get_x=get_x, get_y=get_y, splitter=_Given(splits), item_tfms=item_tfms, batch_tfms=batch_tfms
        )
        made = cls.from_dblock(block, source, path=path, bs=bs, **kwargs)  # plain DataLoaders, whatever the class
        return cls(*made.loaders, path=made.path, device=made.device)

    @classmethod
    def from_csv(cls, path, csv_fname="labels.csv", header="infer", delimiter=",", quoting=csv.QUOTE_MINIMAL, **kwargs):
        """Make loaders from the table ``path/csv_fname``; all else as :meth:`from_df`."""
        table = pd.read_csv(Path(path) / csv_fname, header=header, delimiter=delimiter, quoting=quoting)
        return cls.from_df(table, path=path, **kwargs)

    @classmethod
    def from_name_func(cls, path, fnames, label_func, **kwargs):
        """As :meth:`from_path_func`, with ``label_func`` a function of the file's name alone."""
        return cls.from_path_func(path, fnames, _OfName(label_func), **kwargs)


_INNER = ["splitter", "group", "get_x", "get_y", "keep"]  # arguments that the factories fill in themselves


class ImageDataLoaders3D(_Loaders3D):
    """Loaders of volumes with a class, several classes or numbers as target; steps: ``faimed3d.data.blocks``."""

    @classmethod
    @delegates(_Loaders3D._from_blocks, but=_INNER)
    def from_df(
        cls, df, path=".", valid_pct=0.2, seed=None, fn_col=0, folder=None, suff="", label_col=1, label_delim=None,
        y_block=None, valid_col=None, group_col=None, item_tfms=None, batch_tfms=None, img_cls=TensorDicom3D,
        resample_to_first=False, **kwargs,
    ):  # fmt: skip
        """Make loaders from a table.

        Args:
            df: DataFrame, one row an item. The loaders keep of it, and send to workers, what ``fn_col``, ``label_col``
                and ``group_col`` name (by number: all columns up to it); rows keep their index.
            path: folder where relative paths in the table begin; the ``Learner`` keeps its files there.
            valid_pct, seed: share of validation at random, and what fixes the draw.
            fn_col: column of the volume: a file, a DICOM folder, a row of ``dicom_inventory(path)`` or its key.
                Absolute paths stay what they are. Several columns become channels.
            folder: folder below ``path`` where relative paths begin instead.
            suff: added to each path.
            label_col: column of the target, or several.
            label_delim: what separates several classes in one cell.
            y_block: block of the target: ``RegressionBlock`` for numbers. Default: one class, or several where
                ``label_col`` or ``label_delim`` say so.
            valid_col: column that is true for the rows of validation.
            group_col: column of the patient; the volumes of one are never on both sides.
            item_tfms, batch_tfms: transforms of items and of batches.
            img_cls: type of the volumes.
            resample_to_first: bring channels to the grid of the first one.
        """
        fn_col, label_col, group_col = (from_the_left(df, column) for column in (fn_col, label_col, group_col))
        check_cells(df, label_col, label_delim)
        df, get_x = _volumes_of(df, fn_col, path, folder, suff)
        if y_block is None:
            several = (isinstance(label_col, list | tuple | L) and len(label_col) > 1) or label_delim is not None
            y_block = MultiCategoryBlock if several else CategoryBlock
        return cls._from_blocks(
            df, (ImageBlock3D(img_cls, resample_to_first), y_block), path, valid_splitter(df, valid_col), valid_pct,
            seed, group_col, item_tfms, batch_tfms, get_x=get_x, get_y=ColReader(label_col, label_delim=label_delim),
            keep=used_columns(df, fn_col, label_col, group_col), **kwargs,
        )  # fmt: skip

    @classmethod
    @delegates(_Loaders3D._from_blocks, but=_INNER)
    def from_folder(
        cls, path, train="train", valid="valid", valid_pct=None, seed=None, vocab=None, group_func=None, item_tfms=None,
        batch_tfms=None, img_cls=TensorDicom3D, **kwargs,
    ):  # fmt: skip
        """Make loaders from folders ``train/class/volume`` and ``valid/class/volume``; a volume may be a DICOM folder.

        Args:
            path: folder that holds them; with ``valid_pct`` or ``group_func`` it is searched as a whole.
            train, valid: names of the two folders.
            valid_pct, seed: split at random instead.
            vocab: the classes. Default: those found.
            group_func: function of a path that returns the patient: split patients at random instead.
            item_tfms, batch_tfms, img_cls: as for :meth:`from_df`.
        """
        drawn = valid_pct is not None or group_func is not None
        files = get_volumetric_files(path, folders=None if drawn else [train, valid])
        if not files:
            raise FileNotFoundError(f"{path}: no volumes{'' if drawn else f' in its folders {train} and {valid}'}")
        return cls._from_blocks(
            files, (ImageBlock3D(img_cls), CategoryBlock(vocab=vocab)), path,
            None if drawn else GrandparentSplitter(train, valid), 0.2 if valid_pct is None else valid_pct, seed,
            group_func, item_tfms, batch_tfms, get_y=parent_label, **kwargs,
        )  # fmt: skip

    @classmethod
    @delegates(_Loaders3D._from_blocks, but=_INNER)
    def from_path_func(
        cls, path, fnames, label_func, valid_pct=0.2, seed=None, group_func=None, y_block=None, item_tfms=None,
        batch_tfms=None, img_cls=TensorDicom3D, **kwargs,
    ):  # fmt: skip
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
            _paths(fnames, path), (ImageBlock3D(img_cls), y_block or CategoryBlock), path, None, valid_pct, seed,
            group_func, item_tfms, batch_tfms, get_y=label_func, **kwargs,
        )  # fmt: skip

    @classmethod
    def from_path_re(cls, path, fnames, pat, **kwargs):
        """As :meth:`from_path_func`; the class is the first group of the regular expression ``pat`` in the path."""
        return cls.from_path_func(path, fnames, RegexLabeller(pat), **kwargs)

    @classmethod
    def from_name_re(cls, path, fnames, pat, **kwargs):
        """As :meth:`from_path_func`; the class is the first group of the regular expression ``pat`` in the name."""
        return cls.from_name_func(path, fnames, RegexLabeller(pat), **kwargs)

    @classmethod
    @delegates(_Loaders3D._from_blocks, but=_INNER)
    def from_lists(cls, path, fnames, labels, y_block=None, img_cls=TensorDicom3D, **kwargs):
        """Make loaders from a list of volumes and the list of their targets; the first decides the block."""
        fnames, labels = _paths(fnames, path), list(labels)
        if len(fnames) != len(labels):
            raise ValueError(f"there are {len(fnames)} volumes and {len(labels)} labels: each needs one")
        if y_block is None and labels:
            several = isinstance(labels[0], list | tuple | L)
            y_block = (
                MultiCategoryBlock if several else RegressionBlock if isinstance(labels[0], float) else CategoryBlock
            )
        table = pd.DataFrame({"image": pd.Series(list(fnames), dtype=object), "label": pd.Series(labels, dtype=object)})
        return cls.from_df(table, path, fn_col="image", label_col="label", y_block=y_block, img_cls=img_cls, **kwargs)


class SegmentationDataLoaders3D(_Loaders3D):
    """Loaders of volumes with a mask of labels as target; the steps of an item: ``faimed3d.data.blocks``."""

    @classmethod
    @delegates(_Loaders3D._from_blocks, but=_INNER)
    def from_df(
        cls, df, path=".", valid_pct=0.2, seed=None, fn_col=0, folder=None, suff="", label_col=1, codes=None,
        valid_col=None, group_col=None, item_tfms=None, batch_tfms=None, img_cls=TensorDicom3D, resample_to_first=False,
        resample_masks=False, **kwargs,
    ):  # fmt: skip
        """Make loaders from a table.

        Args:
            label_col: column of the mask; its cells are like those of ``fn_col``, without ``suff``.
            codes: names of the labels, from 0, the background, on. None reads all masks once to count them.
            resample_masks: bring each mask to the grid of its image by the nearest voxel; False makes another grid an
                error.
            df, path, valid_pct, seed, fn_col, folder, suff, valid_col, group_col, item_tfms, batch_tfms, img_cls,
                resample_to_first: as for :meth:`ImageDataLoaders3D.from_df`.
        """
        fn_col, label_col, group_col = (from_the_left(df, column) for column in (fn_col, label_col, group_col))
        df, get_x = _volumes_of(df, fn_col, path, folder, suff)
        df, get_y = _volumes_of(df, label_col, path, folder)
        return cls._from_blocks(
            df, (ImageBlock3D(img_cls, resample_to_first), MaskBlock3D(codes, resample_masks)), path,
            valid_splitter(df, valid_col), valid_pct, seed, group_col, item_tfms, batch_tfms, get_x=get_x, get_y=get_y,
            keep=used_columns(df, fn_col, label_col, group_col), **kwargs,
        )  # fmt: skip

    @classmethod
    @delegates(_Loaders3D._from_blocks, but=_INNER)
    def from_path_func(
        cls, path, fnames, label_func, valid_pct=0.2, seed=None, codes=None, group_func=None, item_tfms=None,
        batch_tfms=None, img_cls=TensorDicom3D, resample_masks=False, **kwargs,
    ):  # fmt: skip
        """Make loaders from a list of volumes.

        Args:
            path: where relative paths begin, also those that ``label_func`` returns.
            fnames: files, DICOM folders, or lists of them as channels.
            label_func: function of a path that returns the path of the mask.
            group_func: function of a path that returns the patient; the volumes of one are never on both sides.
            valid_pct, seed, codes, item_tfms, batch_tfms, img_cls, resample_masks: as for :meth:`from_df`.
        """
        return cls._from_blocks(
            _paths(fnames, path), (ImageBlock3D(img_cls), MaskBlock3D(codes, resample_masks)), path, None, valid_pct,
            seed, group_func, item_tfms, batch_tfms, get_y=_Below(path, label_func), **kwargs,
        )  # fmt: skip

    from_label_func = from_path_func

    @classmethod
    def from_folder(cls, path, images="images", masks="masks", **kwargs):
        """Make loaders from ``path/images/...`` and masks of the same names (of any format) in ``path/masks/...``.

        Args:
            path: folder that holds both.
            images, masks: names of the two folders.
            **kwargs: as for :meth:`from_path_func`.
        """
        path = Path(path)
        files = get_volumetric_files(path / images)
        found = {_stem(file, path / masks): file for file in get_volumetric_files(path / masks)}
        if not files:
            raise FileNotFoundError(f"{path / images}: no volumes")
        if alone := [file for file in files if _stem(file, path / images) not in found]:
            raise FileNotFoundError(
                f"{alone[0]}: no mask {_stem(alone[0], path / images)}.* in {path / masks} "
                f"({len(alone)} of {len(files)} images have none)"
            )
        pairs = {file: found[_stem(file, path / images)] for file in files}
        table = pd.DataFrame({"image": [*map(str, pairs)], "mask": [*map(str, pairs.values())]})
        group_func = kwargs.pop("group_func", None)
        if group_func is not None:
            table["group"] = [group_func(file) for file in pairs]
            kwargs["group_col"] = "group"
        table = table.map(lambda cell: str(Path(cell).absolute()) if isinstance(cell, str) else cell)
        return cls.from_df(table, path, fn_col="image", label_col="mask", **kwargs)

    @classmethod
    def from_path_re(cls, path, fnames, pat, mask="{}", **kwargs):
        r"""As :meth:`from_path_func`; the mask is ``mask`` filled with the groups that ``pat`` finds in the path.

        ``pat=r'images/(\w+)\.nii\.gz', mask='masks/{}_seg.nii.gz'`` finds the mask of ``images/a.nii.gz``.
        """
        return cls.from_path_func(path, fnames, _Filled(pat, mask), **kwargs)

    @classmethod
    def from_name_re(cls, path, fnames, pat, mask="{}", **kwargs):
        """As :meth:`from_path_re`, looking for ``pat`` in the file's name alone."""
        return cls.from_name_func(path, fnames, _Filled(pat, mask), **kwargs)


class _Given:
    """A splitter that returns what was split already."""

    def __init__(self, splits):
        self.splits = splits

    def __call__(self, items):
        return self.splits


class _OfName:
    """A function of a path that applies another to its name; a class, so that it can be sent to workers."""

    def __init__(self, func):
        self.func = func

    def __call__(self, path):
        return self.func(Path(path).name)


class _Filled:
    """A template filled with the groups that a regular expression finds."""

    def __init__(self, pattern, template):
        self.pattern, self.template = re.compile(pattern), template

    def __call__(self, path):
        found = self.pattern.search(Path(path).as_posix())
        if found is None:
            raise ValueError(f"{path}: the pattern {self.pattern.pattern!r} is not in it, so its mask is not known")
        return self.template.format(*found.groups())


class _Below(Transform):
    """The path that a function returns, below a folder unless it is absolute."""

    def __init__(self, folder, func):
        super().__init__()
        self.folder, self.func = Path(folder), func

    def encodes(self, item):
        found = self.func(item)
        return self.folder / found if isinstance(found, str | Path) else found


def _paths(fnames, path):
    """Paths below ``path`` where they are relative and there is none such as they stand."""
    if isinstance(fnames, list | tuple | L):
        return L([_paths(one, path) for one in fnames], use_list=True)
    if isinstance(fnames, str | Path):
        found = Path(fnames)
        return found if found.is_absolute() or found.exists() else Path(path) / found
    return fnames


def _volumes_of(df, columns, path, folder, suffix=""):
    """The table with keys of an inventory resolved, and what reads those columns from its rows."""
    root = Path(path) if folder is None else Path(path) / folder
    names = list(columns) if isinstance(columns, list | tuple | L) else [columns]
    return with_inventory_rows(df, names, root), VolumeColumn(columns, root, suffix)


def _stem(file, root):
    """Path of a volume below ``root`` without the extension of its format."""
    relative = file.relative_to(root).as_posix()
    suffix = "" if file.is_dir() else volume_suffix(relative)
    return relative[: len(relative) - len(suffix)]
