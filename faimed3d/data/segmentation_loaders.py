"""``DataLoaders`` of volumes with masks as targets: from a table, folders, paths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from fastcore.meta import delegates

from faimed3d._keywords import keywords_of, strict_keywords
from faimed3d.data.blocks import ImageBlock3D, MaskBlock3D
from faimed3d.data.columns import columns_by_name, used_columns, validation_splitter
from faimed3d.data.files import get_volumetric_files
from faimed3d.data.loaders import INNER, Columns, Loaders3D, Transforms, of_loader, volumes_in
from faimed3d.data.pairs import by_name, paired
from faimed3d.data.paths import BelowFolder, FilledTemplate, existing_or_below
from faimed3d.data.regions import RegionBlock3D, Regions
from faimed3d.masks.codes import NamedLabels
from faimed3d.volume import TensorDicom3D


class SegmentationDataLoaders3D(Loaders3D):
    """Loaders of volumes with a mask of labels as target; the steps of an item: ``faimed3d.data.blocks``.

    >>> import numpy as np
    >>> table = pd.DataFrame({"image": [np.zeros((2, 3, 4))] * 8, "mask": [np.ones((2, 3, 4))] * 8})
    >>> dls = SegmentationDataLoaders3D.from_df(table, codes=["none", "lesion"], bs=2, num_workers=0, device="cpu")
    >>> images, masks = dls.one_batch()
    >>> images.shape, masks.shape, masks.dtype
    (torch.Size([2, 1, 2, 3, 4]), torch.Size([2, 2, 3, 4]), torch.int64)
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
        codes: NamedLabels | None = None,
        valid_col: str | int | None = None,
        splitter: Callable | None = None,
        group_col: str | int | None = None,
        item_tfms: Transforms = None,
        batch_tfms: Transforms = None,
        img_cls: type[TensorDicom3D] = TensorDicom3D,
        resample_to_first: bool = False,
        resample_masks: bool | str = False,
        regions: Regions | None = None,
        threshold: float | None = None,
        ignore_index: int | None = None,
        **kwargs: Any,
    ) -> SegmentationDataLoaders3D:
        """Make loaders from a table.

        Args:
            label_col: column of the mask; its cells are like those of ``fn_col``, without ``suff``. Several columns:
                masks of one item, which become labels 1, 2, ... if they do not overlap, or ``regions``.
            codes: names of the labels, from 0, the background, on; or label -> name, or name -> label. None reads all
                masks once to count them.
            regions: train on regions that may overlap, see :func:`RegionBlock3D`; instead of ``codes``.
            resample_masks: bring each mask to the grid of its image: True by the nearest voxel, or 'linear' or
                'present' by what a voxel holds; False makes another grid an error.
            threshold: make labels of masks of probabilities: 1 above it, else 0.
            ignore_index: label of voxels that nobody annotated, such as 255 or -1: it is no class, and losses, metrics
                and pictures leave these voxels out.
            df, path, valid_pct, seed, fn_col, folder, suff, valid_col, splitter, group_col: as for
                :meth:`ImageDataLoaders3D.from_df`.
            item_tfms, batch_tfms, img_cls, resample_to_first: as for :meth:`ImageDataLoaders3D.from_df`.
        """
        fn_col, label_col, group_col = (columns_by_name(df, column) for column in (fn_col, label_col, group_col))
        df, get_x = volumes_in(df, fn_col, path, folder, suff)
        df, get_y = volumes_in(df, label_col, path, folder)
        target = _target(codes, regions, resample_masks, threshold, ignore_index)
        return cls._from_blocks(
            df, (ImageBlock3D(img_cls, resample_to_first), target), path,
            validation_splitter(df, valid_col, splitter), valid_pct, seed, group_col, item_tfms, batch_tfms,
            get_x=get_x, get_y=get_y, keep=used_columns(df, fn_col, label_col, group_col), **kwargs,
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
        codes: NamedLabels | None = None,
        group_func: Callable[[Any], Any] | None = None,
        item_tfms: Transforms = None,
        batch_tfms: Transforms = None,
        img_cls: type[TensorDicom3D] = TensorDicom3D,
        resample_masks: bool | str = False,
        regions: Regions | None = None,
        threshold: float | None = None,
        ignore_index: int | None = None,
        **kwargs: Any,
    ) -> SegmentationDataLoaders3D:
        """Make loaders from a list of volumes.

        Args:
            path: where relative paths begin, also those that ``label_func`` returns.
            fnames: files, DICOM folders, or lists of them as channels.
            label_func: function of a path that returns the path of the mask, or a list of them.
            group_func: function of a path that returns the patient; the volumes of one are never on both sides.
            valid_pct, seed, codes, regions, item_tfms, batch_tfms, img_cls, resample_masks, threshold, ignore_index: as
                for :meth:`from_df`.
        """
        target = _target(codes, regions, resample_masks, threshold, ignore_index)
        return cls._from_blocks(
            existing_or_below(fnames, path), (ImageBlock3D(img_cls), target), path, None, valid_pct, seed, group_func,
            item_tfms, batch_tfms, get_y=BelowFolder(path, label_func), **kwargs,
        )  # fmt: skip

    from_label_func = from_path_func

    @classmethod
    @strict_keywords(more=lambda args, kwargs: [*keywords_of(args[0].from_df), *of_loader(args, kwargs), "group_func"])
    def from_folder(
        cls, path: str | Path, images: str = "images", masks: str = "masks", **kwargs: Any
    ) -> SegmentationDataLoaders3D:
        """Make loaders from ``path/images/...`` and masks of the same names (of any format) in ``path/masks/...``.

        ``case.seg.nrrd`` is a mask of ``case``; images ``case_0000``, ``case_0001``, ... are its channels. Two images
        or two masks of one name are refused. Names that begin with a dot are left out.

        Args:
            path: folder that holds both.
            images, masks: names of the two folders.
            **kwargs: as for :meth:`from_path_func`.
        """
        path = Path(path)
        if not (files := get_volumetric_files(path / images)):
            raise FileNotFoundError(f"{path / images}: no volumes")
        targets = by_name(get_volumetric_files(path / masks), path / masks, "masks")
        cases = paired(by_name(files, path / images, "images"), targets, path / masks)
        count = len(cases[0][0])
        channels = ["image"] if count == 1 else [f"channel {k}" for k in range(count)]
        table = pd.DataFrame([[*map(str, map(Path.absolute, files))] for files, _ in cases], columns=channels)
        table["mask"] = [str(mask.absolute()) for _, mask in cases]
        group_func = kwargs.pop("group_func", None)
        if group_func is not None:
            table["group"] = [group_func(files[0]) for files, _ in cases]
            kwargs["group_col"] = "group"
        return cls.from_df(table, path, fn_col=channels if count > 1 else "image", label_col="mask", **kwargs)

    @classmethod
    @strict_keywords(more=lambda args, kwargs: [*keywords_of(args[0].from_path_func), *of_loader(args, kwargs)])
    def from_path_re(
        cls, path: str | Path, fnames: Sequence[Any], pat: str, mask: str = "{}", **kwargs: Any
    ) -> SegmentationDataLoaders3D:
        r"""As :meth:`from_path_func`; the mask is ``mask`` filled with the groups that ``pat`` finds in the path.

        ``pat=r'images/(\w+)\.nii\.gz', mask='masks/{}_seg.nii.gz'`` finds the mask of ``images/a.nii.gz``.
        """
        return cls.from_path_func(path, fnames, FilledTemplate(pat, mask), **kwargs)

    @classmethod
    @strict_keywords(more=lambda args, kwargs: [*keywords_of(args[0].from_path_func), *of_loader(args, kwargs)])
    def from_name_re(
        cls, path: str | Path, fnames: Sequence[Any], pat: str, mask: str = "{}", **kwargs: Any
    ) -> SegmentationDataLoaders3D:
        """As :meth:`from_path_re`, looking for ``pat`` in the file's name alone."""
        return cls.from_name_func(path, fnames, FilledTemplate(pat, mask), **kwargs)


def _target(codes, regions, resample_masks, threshold, ignore_index):
    """The block of labels or of regions."""
    if regions is None:
        return MaskBlock3D(codes, resample_masks, threshold, ignore_index)
    if threshold is not None:
        raise ValueError("threshold makes labels of one mask; masks of regions must hold 0 and 1")
    if ignore_index is not None:
        raise ValueError("ignore_index is of labels (codes): regions are masks of 0 and 1, which leave no voxel out")
    if codes is not None:
        raise ValueError("pass codes (labels that do not overlap) or regions (masks that may), not both")
    return RegionBlock3D(regions, resample_masks)
