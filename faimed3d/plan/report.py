"""``describe_cases``: what a data set holds, as a table with a picture; one look at each image and mask."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from fastcore.foundation import L
from fastprogress.fastprogress import progress_bar
from joblib import Parallel, delayed
from matplotlib.axes import Axes
from torch import Tensor

from faimed3d._keywords import strict_keywords
from faimed3d.data.block_transforms import MatchMask
from faimed3d.data.blocks import MaskReader, VolumeReader
from faimed3d.data.columns import check_cells, column_of, columns_by_name
from faimed3d.data.loaders import Columns, volumes_in
from faimed3d.data.running_statistics import Pool, percentile_of
from faimed3d.inference.case_names import case_names
from faimed3d.io.formats import volume_suffix
from faimed3d.masks.codes import NamedLabels, class_name, names_of_labels
from faimed3d.plan.case_facts import AXES, PERCENTILES, SIZES, CaseFacts, measure_case
from faimed3d.plan.oddities import find_oddities
from faimed3d.plan.pictures import draw_report
from faimed3d.volume import TensorDicom3D, TensorMask3D

_FIRST = ["case", "channels", *SIZES[::-1], *(f"spacing_{axis}" for axis in AXES), "orientation", "stated", "modality"]
_LAST = ["oddities", "error"]


class CaseReport(pd.DataFrame):
    """The table of :func:`describe_cases`, one row a case: ``show`` draws it, ``failed`` and ``odd`` name cases.

    ``attrs`` holds plain values: ``task`` ('segmentation' or 'classification'), ``codes`` (names of the labels or
    classes), ``intensities`` (of each channel the voxels of the foreground of all cases together: ``mean``, ``std``,
    ``low`` and ``high``, their percentiles 0.5 and 99.5) and ``columns`` (what the table was read by).

    >>> import torch
    >>> cases = pd.DataFrame({"image": [torch.rand(4, 6, 8) for _ in range(3)], "mask": [torch.ones(4, 6, 8)] * 3})
    >>> report = describe_cases(cases, codes=["air", "lesion"], progress=False)
    >>> report[["depth", "height", "width", "voxels_1", "components_1"]].iloc[0].tolist()
    [4, 6, 8, 192, 1]
    """

    @property
    def _constructor(self) -> type[CaseReport]:
        return CaseReport

    @property
    def failed(self) -> pd.DataFrame:
        """The cases that could not be read, with the error."""
        return pd.DataFrame(self[self["error"] != ""][["case", "error"]])

    @property
    def odd(self) -> pd.DataFrame:
        """The cases that differ from the others, with what is odd about them."""
        return pd.DataFrame(self[self["oddities"] != ""][["case", "oddities"]])

    def show(self, figsize: tuple[float, float] = (12, 7)) -> list[Axes]:
        """Draw sizes, spacings, orientations, intensities and classes of the cases; odd ones are marked.

        Args:
            figsize: inches.

        Returns:
            matplotlib's axes.
        """
        return draw_report(self, figsize)


@strict_keywords
def describe_cases(
    df: pd.DataFrame,
    fn_col: Columns | None = None,
    label_col: Columns | None = None,
    *,
    path: str | Path = ".",
    codes: NamedLabels | None = None,
    ignore_index: int | None = None,
    resample_masks: bool | str = False,
    resample_to_first: bool = False,
    like: str | None = None,
    strict: bool = True,
    n_jobs: int = -1,
    progress: bool = True,
) -> CaseReport:
    """Describe the cases of a data set: sizes, spacings, orientations, intensities, classes, and what is odd.

    Each image and mask is read once and reduced to a few numbers. A case that cannot be read is a row with its error.

    Intensities are those of the labelled voxels, all classes together (Isensee et al. 2021); where there is no mask, or
    an empty one, of the voxels above the smallest value. Padding, NaN and infinite voxels are left out.

    Args:
        df: table of cases, one row each.
        fn_col: column of the images, or several as channels; as of ``SegmentationDataLoaders3D.from_df``. Default: what
            ``df.attrs`` says (``msd_table``), else ``'image'``, else the first column.
        label_col: column of masks, or of classes. Default: ``'mask'``, else ``'label'``, else the second column.
        path: folder where relative paths begin.
        codes: names of the labels, from 0 on. Default: those of ``df.attrs``, else numbers; of classes those found.
        ignore_index: label of voxels that nobody annotated. Default: that of ``df.attrs``, else none.
        resample_masks, resample_to_first, like, strict: as of ``SegmentationDataLoaders3D.from_df``.
        n_jobs: cases read at once, each in memory as a whole; -1 for one per core. Threads, unless
            ``joblib.parallel_config`` says otherwise (processes, a cluster).
        progress: show a progress bar.

    Returns:
        :class:`CaseReport`. Columns: ``case``, ``channels``, ``depth``, ``height``, ``width`` (voxels), ``spacing_x``,
        ``spacing_y``, ``spacing_z`` (mm, storage axes), ``orientation``, ``stated`` (whether it says where it lies),
        ``modality`` (of DICOM), ``minimum``, ``maximum``, ``mean``, ``std``, ``p0.5``, ``p99.5`` (of further channels
        with ``_1``, ...), ``background`` (share of the smallest value), ``foreground`` (labelled voxels), ``voxels_1``,
        ``components_1``, ... for each label (components touch by faces), or ``class``; ``oddities``, ``error``.

    Raises:
        ValueError: no case, no such column, targets that are fractions, or no case could be read.

    >>> import torch
    >>> cases = pd.DataFrame({"image": [torch.rand(4, 6, 8) for _ in range(3)], "label": ["ill", "well", "ill"]})
    >>> describe_cases(cases, progress=False)["class"].tolist()
    ['ill', 'well', 'ill']
    """
    source = Cases(df, fn_col, label_col, path, codes, ignore_index)
    options = {"resample_to_first": resample_to_first, "strict": strict}
    read = CaseReading(source, {"resample_masks": resample_masks, "like": like, **options})
    tasks = (delayed(measure_case)(row, read, source.ignore_index) for _, row in source.table.iterrows())
    results: Any = Parallel(n_jobs, prefer="threads", return_as="generator")(tasks)
    if progress:
        results = progress_bar(results, total=len(df), leave=False)
    pools: list[Pool] = []
    rows, digests = [], []
    for facts in results:
        _pool(pools, facts)
        rows.append(facts.row)
        digests.append(facts.digest)
    if all("error" in row for row in rows):
        raise ValueError(f"none of the {len(rows)} cases could be read; the first: {rows[0]['error']}")
    table = _table(rows, source)
    table["oddities"] = ["; ".join(texts) for texts in find_oddities(table, digests, source.names(table))]
    order = [name for name in _FIRST if name in table]
    middle = [name for name in table if name not in (*_FIRST, *_LAST)]
    report = CaseReport(table[[*order, *middle, *_LAST]])
    report.attrs.update(
        task=source.task,
        codes=source.codes or _numbered(table, source),
        intensities=[_intensities(pool) for pool in pools],
        columns={
            "fn_col": source.fn_col, "label_col": source.label_col, "ignore_index": source.ignore_index,
            "path": os.fspath(path), "resample_masks": resample_masks, "like": like, **options,
        },
    )  # fmt: skip
    if len(report.failed):
        warnings.warn(
            f"{len(report.failed)} of {len(df)} cases could not be read and are left out; see .failed", stacklevel=2
        )
    return report


class Cases:
    """The columns of a table of cases, as they are said or found: images, and masks or classes."""

    def __init__(self, df: Any, fn_col: Any, label_col: Any, path: Any, codes: Any, ignore_index: int | None) -> None:
        if not isinstance(df, pd.DataFrame):
            raise TypeError(f"df must be a DataFrame, one row a case, got {type(df).__name__}")
        if not len(df):
            raise ValueError("there are no cases: the table is empty")
        fn_col = df.attrs.get("fn_col") if fn_col is None else fn_col
        fn_col = _first_of(df, ("image",), 0) if fn_col is None else fn_col
        label_col = _first_of(df, ("mask", "label"), 1) if label_col is None else label_col
        self.fn_col, self.label_col = columns_by_name(df, fn_col), columns_by_name(df, label_col)
        self.ignore_index = df.attrs.get("ignore_index") if ignore_index is None else ignore_index
        targets = [cell for column in L(self.label_col) for cell in column_of(df, column)]
        self.task = "segmentation" if any(is_volume(cell, path) for cell in targets) else "classification"
        codes = df.attrs.get("codes") if codes is None and self.task == "segmentation" else codes
        self.codes = names_of_labels(codes)
        if self.task == "classification":
            if isinstance(self.label_col, list):
                raise ValueError(f"label_col must be one column of classes, got {self.label_col}")
            check_cells(df, self.label_col)
            if fraction := next((x for x in targets if isinstance(x, Real) and not float(x).is_integer()), None):
                raise ValueError(
                    f"column {self.label_col!r} holds numbers such as {fraction:g}: plans are for masks and for "
                    "classes. For numbers use ImageDataLoaders3D with y_block=RegressionBlock()"
                )
        self.classes = None if self.task == "segmentation" else column_of(df, self.label_col)
        self.names_of_cases = _names(df, self.fn_col, path)
        self.table, self.get_x = volumes_in(df, self.fn_col, path, None)
        if self.task == "segmentation":
            self.table, self.get_y = volumes_in(self.table, self.label_col, path, None)

    def names(self, table: pd.DataFrame) -> dict[int, str]:
        """Name of each label of the table."""
        labels = [int(name.removeprefix("voxels_")) for name in table if name.startswith("voxels_")]
        return {label: class_name(label, dict(enumerate(self.codes or ()))) for label in labels}


class CaseReading:
    """Read a case as the loaders do: channels on one grid, the mask on the grid of the image."""

    def __init__(self, cases: Cases, options: dict[str, Any]) -> None:
        self.get_x, self.get_y = cases.get_x, getattr(cases, "get_y", None)
        more = {} if options["strict"] else {"strict": False}
        self.image = VolumeReader(TensorDicom3D, options["resample_to_first"], **more)
        self.mask = MaskReader(cases.codes, ignore_index=cases.ignore_index, strict=options["strict"])
        self.match = MatchMask(options["resample_masks"], options["like"])

    def __call__(self, row: pd.Series) -> tuple[TensorDicom3D, TensorMask3D | None]:
        image = self.image(_source(self.get_x, row))
        if self.get_y is None:
            return image, None
        return tuple(self.match([image, self.mask(_source(self.get_y, row))]))


def _source(get: Any, row: pd.Series) -> Any:
    """What a cell means; a tuple would be several inputs for a transform of fastai."""
    found = get(row)
    return list(found) if isinstance(found, tuple) else found


def is_volume(cell: Any, path: str | Path = ".") -> bool:
    """Whether a cell of a table means a volume, rather than a class or number.

    >>> [is_volume(cell) for cell in ("a.nii.gz", "ill", 3, np.zeros((2, 3, 4)))]
    [True, False, False, True]
    """
    if isinstance(cell, str):
        return bool(volume_suffix(cell)) or (len(cell) > 2 and "\n" not in cell and (Path(path) / cell).exists())
    if isinstance(cell, np.ndarray | Tensor):
        return cell.ndim >= 3
    return isinstance(cell, os.PathLike | pd.Series | list | tuple | L) or hasattr(cell, "GetSize")


def _first_of(df: pd.DataFrame, names: Sequence[str], number: int) -> Any:
    return next((name for name in names if name in df.columns), min(number, len(df.columns) - 1))


def _names(df: pd.DataFrame, fn_col: Any, path: str | Path) -> list[str]:
    """A name for each case: the column ``case``, else that of its file, else that of its row."""
    if "case" in df.columns:
        return [str(name) for name in df["case"]]
    cells = column_of(df, fn_col[0] if isinstance(fn_col, list) else fn_col)
    try:
        return case_names([Path(path) / cell if isinstance(cell, str) else cell for cell in cells])
    except ValueError:  # arrays have no name
        return [f"row {index}" for index in df.index]


def _pool(pools: list[Pool], facts: CaseFacts) -> None:
    for number, channel in enumerate(facts.channels):
        if number == len(pools):
            pools.append(Pool())
        if channel is not None:
            pools[number].add(channel)


def _intensities(pool: Pool) -> dict[str, float]:
    """Of the foreground of all cases; NaN where it has no voxel, as of a channel that is one value throughout."""
    if not pool.volumes:
        return {**dict.fromkeys(("mean", "std", "low", "high"), np.nan), "voxels": 0}
    low, high = (percentile_of(*pool.histogram(), q) for q in PERCENTILES)
    return {"mean": pool.raw.mean, "std": pool.raw.std, "low": low, "high": high, "voxels": pool.raw.count}


def _table(rows: Sequence[dict[str, Any]], cases: Cases) -> pd.DataFrame:
    """The rows as a table, with a column for each label."""
    labels = sorted({label for row in rows for label in row.get("classes", ())} | set(range(1, len(cases.codes or ()))))
    flat = []
    for name, row in zip(cases.names_of_cases, rows, strict=True):
        row = dict(row)
        classes = row.pop("classes", None)
        if cases.task == "segmentation" and classes is not None:
            for label in labels:
                row[f"voxels_{label}"], row[f"components_{label}"] = classes.get(label, (0, 0))
        flat.append({"case": name, "error": "", **row})
    table = pd.DataFrame(flat, index=cases.table.index)
    if cases.classes is not None:
        table["class"] = cases.classes.to_numpy()
    whole = [name for name in table if name.startswith(("voxels_", "components_")) or name in (*SIZES, "foreground")]
    missing = table["error"] != ""
    if missing.any():
        table[[*whole, "channels", "not_finite"]] = table[[*whole, "channels", "not_finite"]].astype("Int64")
    return table


def _numbered(table: pd.DataFrame, cases: Cases) -> list[Any]:
    """Names of the labels that nobody has named; the classes as they are, text or numbers."""
    if cases.classes is not None:
        names = sorted(cases.classes.unique().tolist(), key=lambda name: (isinstance(name, str), name))
        if twice := [name for name in names if isinstance(name, str) and name in map(str, names[: names.index(name)])]:
            raise ValueError(
                f"column {cases.label_col!r} holds {twice[0]} as a number and as text, which would be two classes: "
                "give all cells one type, such as by df[column].astype(str)"
            )
        return names
    labels = [int(name.removeprefix("voxels_")) for name in table if name.startswith("voxels_")]
    return ["background", *(str(label) for label in range(1, max(labels, default=1) + 1))]
