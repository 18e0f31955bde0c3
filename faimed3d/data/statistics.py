"""Statistics of intensities over many volumes: the first page's table, exact, in one pass over the files.

Every volume is read once and reduced to a few numbers (:mod:`faimed3d.data.running_statistics`), so nothing but one
volume for each job is in memory.
"""

from __future__ import annotations

import numbers
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from fastcore.foundation import L
from fastprogress.fastprogress import progress_bar
from joblib import Parallel, delayed
from torch import Tensor

from faimed3d._keywords import keywords_of, strict_keywords
from faimed3d._padding import is_padding
from faimed3d.data.blocks import read_labels
from faimed3d.data.cells import VolumeColumn, with_inventory_rows
from faimed3d.data.columns import column_of
from faimed3d.data.matching import match_storage
from faimed3d.data.running_statistics import Pool, VolumeStatistics, bins_of, moments_of, percentile_of
from faimed3d.masks import is_mask
from faimed3d.volume import TensorDicom3D

_ROWS = tuple(
    f"{kind} {what} of intensity values"
    for kind in ("Pooled", "Scaled")
    for what in ("Maximum", "Minimum", "Mean", "SD")
)
_EXPECTED = (OSError, ValueError, TypeError, RuntimeError, MemoryError)  # what one faulty volume may raise


class IntensityStats(pd.DataFrame):
    """The table of :func:`intensity_stats`: one column per sequence, and what training needs of it.

    ``attrs`` holds, as plain values: ``voxels`` and ``volumes`` (counts by column), ``not_finite`` (voxels left out as
    NaN or infinite, by column) and ``failed`` (list of dicts with ``item`` and ``error``).

    >>> stats = intensity_stats([np.arange(24.0).reshape(2, 3, 4)], progress=False)
    >>> stats.percentile(50), stats.attrs["voxels"]
    (11.0, {'all': 24})
    """

    _metadata: ClassVar = ["_histograms"]  # what pandas hands on to selections and copies

    @property
    def _constructor(self) -> type[IntensityStats]:
        return IntensityStats

    @property
    def failed(self) -> pd.DataFrame:
        """DataFrame of the volumes that could not be used: ``item`` and ``error``."""
        return pd.DataFrame(self.attrs["failed"], columns=["item", "error"])

    def mean_std(self, column: Any = None, scaled: bool = False) -> tuple[Any, Any]:  # numbers, or lists of them
        """Return (mean, std) as numbers, as ``Normalize3D(*stats.mean_std())`` takes them.

        Args:
            column: the sequence; may be left out where there is one. A list gives two lists, one number per channel.
            scaled: of the values divided by each volume's maximum.
        """
        if isinstance(column, list | tuple):
            means, stds = zip(*(self.mean_std(one, scaled) for one in column), strict=True)
            return list(means), list(stds)
        kind, column = "Scaled" if scaled else "Pooled", self._column(column)
        mean, std = (float(self.at[f"{kind} {what} of intensity values", column]) for what in ("Mean", "SD"))
        return mean, std

    def percentile(self, q: Any, column: Any = None) -> Any:  # a number, or several of them
        """Value below which ``q`` per cent of the voxels lie.

        From a histogram whose bins are 1/2000 of their values wide or less: whole numbers up to 4096 come out exactly.

        Args:
            q: 0 to 100, or a list of such.
            column: the sequence; may be left out where there is one.
        """
        if isinstance(q, list | tuple | np.ndarray):
            return [self.percentile(one, column) for one in q]
        if not 0 <= q <= 100:
            raise ValueError(f"q must be a percentage, 0 to 100, got {q!r}")
        counts, means = self._histograms[self._column(column)]
        return percentile_of(counts, means, q)

    def window(self, column: Any = None, low: float = 0.5, high: float = 99.5) -> tuple[float, float]:
        """Return (centre, width) that show the values between two percentiles, as ``window=`` takes them.

        Args:
            column: the sequence; may be left out where there is one.
            low, high: the percentiles, 0 to 100.
        """
        bottom, top = self.percentile([low, high], column)
        return (bottom + top) / 2, max(top - bottom, 1e-6)

    def _column(self, column: Any) -> Any:
        if column is None and len(self.columns) == 1:
            return self.columns[0]
        if column not in self.columns:
            names = ", ".join(map(str, self.columns))
            raise ValueError(f"choose one of the columns {names}; got {column!r}")
        return column


@strict_keywords(more=lambda args, kwargs: [name for name in keywords_of(TensorDicom3D.create) if name != "source"])
def intensity_stats(
    items: pd.DataFrame | Sequence[Any],
    mask: str | Sequence[Any] | Callable[[TensorDicom3D], Tensor] | None = None,
    by: str | Sequence[Any] | None = None,
    fn_col: str | int | Sequence[str | int] = 0,
    path: str | Path = ".",
    suff: str = "",
    n_jobs: int = -1,
    progress: bool = True,
    name: str = "all",
    **kwargs: Any,
) -> IntensityStats:
    """Maximum, minimum, mean and standard deviation (SD) of the voxels of a data set, raw and scaled to a maximum of 1.

    The statistics are those of all voxels put together: a large volume weighs more than a small one. NaN and infinite
    voxels and padding are left out. The SD is the unbiased one. "Scaled" divides each volume by its own maximum (of the
    whole volume, also where a mask is given), as ``faimed3d.intensity.divide_by_max``.

    Args:
        items: DataFrame, or list of what ``TensorDicom3D.create`` takes: files, DICOM folders, inventory rows, arrays.
        mask: count only the voxels where this is not 0: a column of the DataFrame with mask files, a list of masks, one
            for each item, or a function that takes the volume and returns a tensor of its shape. Default: all voxels.
        by: give each value of this a column of its own: a column of the DataFrame (such as the sequence), or a list
            with one value for each item. Default: one column, ``name``.
        fn_col: column of the volumes in a DataFrame; its cells are like those of ``ImageDataLoaders3D.from_df``.
        path: folder where relative paths in a DataFrame begin.
        suff: added to each path in a DataFrame.
        n_jobs: volumes read at once, each in memory as a whole; -1 for one per core. Threads, unless
            ``joblib.parallel_config`` says otherwise (processes, a cluster).
        progress: show a progress bar.
        name: of the only column where ``by`` is None.
        **kwargs: passed to ``TensorDicom3D.create``, such as ``series`` and ``strict``.

    Returns:
        :class:`IntensityStats`, a DataFrame with the eight rows of the first page's table. A volume that cannot be read
        is left out, warned of and named in ``.failed``.

    Raises:
        ValueError: no items, lists of different lengths, no such column, or not one volume could be read.

    >>> import numpy as np
    >>> stats = intensity_stats([np.arange(24.0).reshape(2, 3, 4)], progress=False)
    >>> stats.mean_std()
    (11.5, 7.0710678118654755)
    """
    sources, masks, groups = _tasks(items, mask, by, fn_col, path, suff, name)
    tasks = (delayed(_measure)(*task, kwargs) for task in zip(sources, masks, strict=True))
    results = Parallel(n_jobs, prefer="threads", return_as="generator")(tasks)
    if progress:
        results = progress_bar(results, total=len(sources), leave=False)
    pools: dict[Any, Pool] = {}
    failed = []
    for source, group, result in zip(sources, groups, results, strict=True):
        if isinstance(result, str):
            failed.append({"item": _name(source), "error": result})
        else:
            pools.setdefault(group, Pool()).add(result)
    if not pools:
        raise ValueError(f"none of the {len(failed)} volumes could be used; the first: {failed[0]['error']}")
    if failed:
        warnings.warn(
            f"{len(failed)} of {len(sources)} volumes could not be used and are left out; see .failed", stacklevel=2
        )
    order = list(dict.fromkeys(group for group in groups if group in pools))
    table = IntensityStats({group: pools[group].column() for group in order}, index=pd.Index(_ROWS, name="Statistic"))
    table.attrs.update(
        voxels={group: pools[group].raw.count for group in order},
        volumes={group: pools[group].volumes for group in order},
        not_finite={group: pools[group].not_finite for group in order},
        failed=failed,
    )
    table._histograms = {group: pools[group].histogram() for group in order}
    return table


def _tasks(
    items: Any, mask: Any, by: Any, fn_col: Any, path: str | Path, suff: str, name: str
) -> tuple[list, list, list]:
    """Three lists of equal length: what to read, its mask or None, its column in the result."""
    masks = groups = None
    if isinstance(items, pd.DataFrame):
        columns: list[Any] = [column for column in (fn_col, mask) if isinstance(column, str | numbers.Integral)]
        for column in (*columns, *([by] if isinstance(by, str) else ())):
            column_of(items, column)
        table = with_inventory_rows(items, columns, path)
        rows = [row for _, row in table.iterrows()]
        sources = [_Cell(VolumeColumn(fn_col, path, suff), row) for row in rows]
        if isinstance(mask, str):
            masks = [_Cell(VolumeColumn(mask, path), row) for row in rows]
        if isinstance(by, str):
            groups = list(items[by])
    else:
        if isinstance(mask, str) or isinstance(by, str):
            raise TypeError("mask and by can be names of columns only where items is a DataFrame; pass lists")
        sources = list(items)
    if masks is None:
        masks = [mask] * len(sources) if mask is None or callable(mask) else list(mask)
    if groups is None:
        groups = [name] * len(sources) if by is None else list(by)
    for what, found in (("masks", masks), ("values of by", groups)):
        if len(found) != len(sources):
            raise ValueError(f"there are {len(sources)} items and {len(found)} {what}: each item needs one")
    if not sources:
        raise ValueError("there are no items: the table or list is empty")
    return sources, masks, groups


class _Cell:
    """A cell of a table, looked at when its volume is read, so that a bad one does not stop the others."""

    def __init__(self, column: VolumeColumn, row: pd.Series) -> None:
        self.column, self.row = column, row

    def __call__(self) -> Any:
        return self.column(self.row)


def _measure(source: Any, mask: Any, kwargs: dict[str, Any]) -> VolumeStatistics | str:
    """The statistics of one volume, or the error in words."""
    try:
        volume = TensorDicom3D.create(source() if isinstance(source, _Cell) else source, **kwargs)
        values = volume.as_subclass(Tensor).numpy()
        finite = np.isfinite(values)
        if volume.padding:
            finite &= ~is_padding(volume, volume.padding).numpy()
        whole = values if finite.all() else values[finite]
        if not whole.size:
            return "holds no finite value"
        # as divide_by_max does
        divisor = float(whole.max()) if whole.max() > 0 else -float(whole.min()) or 1.0
        if mask is not None:
            finite &= _inside(mask, volume)
            whole = values[finite]
            if not whole.size:
                return "its mask holds no voxel with a finite value"
        not_finite = int(values.size - np.isfinite(values).sum())
        return VolumeStatistics(moments_of(whole.ravel()), divisor, not_finite, *bins_of(whole))
    except _EXPECTED as error:
        return f"{type(error).__name__}: {error}"


def _inside(mask: Any, volume: TensorDicom3D) -> np.ndarray:
    """Where the mask of a volume is not 0, as a bool array of the volume's shape."""
    mask = mask() if isinstance(mask, _Cell) else mask(volume) if callable(mask) else mask
    if not isinstance(mask, Tensor) or is_mask(mask):
        labels = read_labels(mask)
        mask = match_storage(labels, volume)
        if mask is None:
            raise ValueError(
                f"the mask does not lie on the grid of the image: {labels.geometry!r} over {volume.geometry!r}; save "
                "mask.resample_like(image)"
            )
    return np.broadcast_to(mask.as_subclass(Tensor).numpy() != 0, volume.shape)


def _name(source: Any) -> str:
    """How the result names an item: its path or the cell's, else what kind of thing it is."""
    if isinstance(source, _Cell):
        try:
            source = source()
        except _EXPECTED:
            return f"row {source.row.name}"
    if isinstance(source, list | tuple | L):
        return ", ".join(map(_name, source))
    if isinstance(source, pd.Series) and "folder" in source:
        return f"{source['folder']} ({source.get('key', '')})"
    return os.fspath(source) if isinstance(source, str | os.PathLike) else type(source).__name__
