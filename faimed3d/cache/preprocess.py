"""Bring the cases of a table into a cache: each is read once, goes through the deterministic steps, and is written."""

from __future__ import annotations

import errno
import itertools
import os
import warnings
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import Any

import pandas as pd
from fastprogress.fastprogress import progress_bar
from joblib import Parallel, delayed
from joblib.parallel import LokyBackend, get_active_backend

from faimed3d._keywords import strict_keywords
from faimed3d.cache.bricks import check_bricks
from faimed3d.cache.case_file import CaseFile, write_case
from faimed3d.cache.case_reading import CaseReading
from faimed3d.cache.cases import SUFFIX, Cache, CacheError, is_case
from faimed3d.cache.keys import deterministic, key_of, recipe_of
from faimed3d.cache.sources import FileStatus, changed_file, describe_source, wait_until_settled
from faimed3d.cache.space import expected_bytes, free_bytes, in_words
from faimed3d.data.blocks import MaskReader, VolumeReader
from faimed3d.data.columns import check_cells, columns_by_name
from faimed3d.data.image_loaders import has
from faimed3d.data.loaders import Columns, volumes_in
from faimed3d.data.regions import RegionReader
from faimed3d.masks.codes import NamedLabels, names_of_labels

_LISTED = 5
_SMALL = 200e6  # bytes of cases that are made sooner than processes have started, each of which imports torch
_FULL = (errno.ENOSPC, errno.EDQUOT)


_Source = tuple[Any, Any, tuple[Any, Any]]  # image, mask, both described


@dataclass(frozen=True)
class _Case:
    """A case to be made, as it is sent to another process."""

    path: Path
    key: str
    recipe: dict[str, Any]
    image: Any
    mask: Any


@strict_keywords
def preprocess(
    df: pd.DataFrame,
    folder: str | Path,
    plan: Any = None,
    *,
    fn_col: Columns | None = None,
    label_col: Columns | None = None,
    y_block: Any = None,
    item_tfms: Any = None,
    orientation: str | None = None,
    codes: NamedLabels | None = None,
    resample_masks: bool | str | None = None,
    ignore_index: int | None = None,
    threshold: float | None = None,
    like: str | None = None,
    resample_to_first: bool = False,
    strict: bool = True,
    series: Any = None,
    path: str | Path = ".",
    suff: str = "",
    bricks: int | None = None,
    part: tuple[int, int] | None = None,
    skip_failed: bool = False,
    n_jobs: int = -1,
    progress: bool = True,
) -> Cache:
    """Bring every case of a table through the steps that are the same in each epoch, and keep it in a folder.

    The steps are those of ``SegmentationDataLoaders3D.from_df``: read, bring the mask onto the grid of its image, one
    orientation, ``item_tfms``. A case is one file, named by its key: the SHA-256 of size and time of every source file,
    of the transforms and their arguments, and of the version. What has a file is not made again, so the same call goes
    on where one was stopped, and after a change of some sources makes these cases anew and no other. Files of other
    keys stay (:meth:`Cache.unused`).

    Cases are made in several processes. Under ``joblib.parallel_config(backend="dask")`` they are made on a dask
    cluster, which must see the same paths. Batch arrays, such as Slurm's, give each task a part, ``part=(k, n)``.

    Args:
        df: DataFrame, one row a case.
        folder: where the files lie; it is made.
        plan: gives ``fn_col``, ``label_col``, ``y_block``, ``item_tfms``, ``orientation``, ``codes``,
            ``resample_masks`` and ``ignore_index`` that are not given here.
        fn_col: column of the image, or several as channels. Default: 'image'.
        label_col: column of the mask; with ``y_block`` of the class or number, which stays in the table. Default:
            'mask' if there is one, else 'label'.
        y_block: block of targets that are no masks, such as ``CategoryBlock``. None: they are masks.
        item_tfms: transforms that do the same every time. Functions and classes of your own must be at the top of a
            module; those that draw at random are refused.
        orientation: storage order of all cases, such as 'LPS'. Default: that of the first.
        codes, resample_masks, ignore_index, threshold, like, resample_to_first, strict, series, path, suff: as of
            ``SegmentationDataLoaders3D.from_df``.
        bricks: side of the bricks in which a file keeps its voxels, for patches of large volumes; None for rows.
        part: (k, n): make every n-th case from the k-th on, k from 0 to n - 1, and return a cache of which others may
            be missing: ``cache.missing``. It refuses to be used until all are there.
        skip_failed: leave cases that cannot be made out, with a warning.
        n_jobs: cases made at once, each in memory as a whole, by processes or whatever ``joblib.parallel_config`` says;
            -1 for one per core, or for none beside this one where all cases together are below 200 MB.
        progress: show a progress bar, with the space that the cases will need.

    Raises:
        TypeError: a transform draws at random, or has no name; or ``plan`` is none.
        CacheError: cases could not be made (``error.failed`` names them; the others are), or the disk has too little
            space.
        OSError: the disk is full.

    >>> import tempfile
    >>> import numpy as np
    >>> from faimed3d.augment import ZScore3D
    >>> table = pd.DataFrame({"image": [np.arange(24.0).reshape(2, 3, 4)], "mask": [np.ones((2, 3, 4), np.uint8)]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cache = preprocess(table, folder, item_tfms=ZScore3D(), n_jobs=1, progress=False)
    ...     image, mask = cache[0].whole()
    >>> image
    TensorDicom3D 1x2x3x4 torch.float32, spacing 1x1x1 mm (x, y, z), assumed
    """
    if plan is not None and not hasattr(plan, "item_tfms"):
        raise TypeError(
            f"plan must be of propose, or of Plan.from_json(path), got {type(plan).__name__}; transforms are item_tfms="
        )
    fn_col = _given(fn_col, plan, "fn_col", "image")
    label_col = _given(label_col, plan, "label_col", "mask" if "mask" in getattr(df, "columns", ()) else "label")
    y_block = _given(y_block, plan, "y_block", None)
    _check_part(part)
    if bricks is not None:
        bricks = check_bricks(bricks)
    fn_col, label_col = columns_by_name(df, fn_col), columns_by_name(df, label_col)
    y_block = y_block() if callable(y_block) else y_block
    if y_block is not None and has(y_block, VolumeReader, MaskReader, RegionReader):
        raise TypeError(
            "y_block is the block of targets that stay in the table, classes or numbers, got one of volumes: masks of "
            "labels are what a cache keeps without it"
        )
    if not len(df):
        raise ValueError("there are no cases: the table is empty")
    codes = names_of_labels(_given(codes, plan, "codes", None))
    reading = CaseReading(
        masks=y_block is None,
        item_tfms=tuple(deterministic(_given(item_tfms, plan, "item_tfms", ()))),
        orientation=_given(orientation, plan, "orientation", None),
        codes=None if codes is None else tuple(codes),
        resample_masks=_given(resample_masks, plan, "resample_masks", False),
        threshold=threshold,
        ignore_index=_given(ignore_index, plan, "ignore_index", None),
        like=like,
        resample_to_first=resample_to_first,
        strict=strict,
        series=series,
        bricks=bricks,
    )
    reading.transforms()  # refuses what has no name
    reading.blocks()  # and arguments that contradict each other
    path = Path(path).absolute()  # other processes may be at home elsewhere
    df, get_x = volumes_in(df, fn_col, path, None, suff)
    get_y = None
    if reading.masks:
        df, get_y = volumes_in(df, label_col, path, None)
    else:
        check_cells(df, label_col)
    folder = Path(folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    failed: dict[int, str] = {}
    sources = _sources(df, get_x, get_y, failed)
    if reading.orientation is None:
        reading = replace(reading, orientation=_orientation(sources, reading, folder))
    known, transforms = reading.described(), reading.transforms()
    cases: dict[int, _Case] = {}
    for row, (image, mask, described) in sources.items():
        recipe = recipe_of(*described, known, transforms)
        key = key_of(recipe)
        cases[row] = _Case(folder / f"{key}{SUFFIX}", key, recipe, image, mask)
    mine = cases if part is None else {row: case for row, case in cases.items() if row % part[1] == part[0]}
    mine = {row: case for row, case in mine.items() if not is_case(case.path, case.key)}
    _make(mine, reading, n_jobs, progress, failed)
    _report(failed, df, skip_failed)
    kept = [row for row in cases if row not in failed]
    return Cache(
        folder, df.iloc[kept], fn_col, label_col, reading, path, suff,
        tuple(cases[row].key for row in kept), tuple(list(sources[row][2]) for row in kept), y_block,
    )  # fmt: skip


def _given(value: Any, plan: Any, name: str, default: Any) -> Any:
    """An argument; where it is None that of the plan, and where there is none the default."""
    value = getattr(plan, name, None) if value is None else value
    return default if value is None else value


def _check_part(part: Any) -> None:
    if part is None:
        return
    several = isinstance(part, tuple | list) and len(part) == 2
    whole = several and all(isinstance(one, Integral) and not isinstance(one, bool) for one in part)
    if not whole or not 0 <= part[0] < part[1]:
        raise ValueError(
            f"part must be (k, n), the k-th of n parts with k from 0 to n - 1, got {part!r}; a batch array that counts "
            "from 1 gives k - 1"
        )


def _sources(df: pd.DataFrame, get_x: Any, get_y: Any, failed: dict[int, str]) -> dict[int, _Source]:
    """Number of the row -> (image, mask, both described); what is not there is noted among the failed."""
    status = FileStatus()
    found = {}
    for row in range(len(df)):
        try:
            cells = df.iloc[row]
            image, mask = get_x(cells), None if get_y is None else get_y(cells)
            described = describe_source(image, status), None if get_y is None else describe_source(mask, status)
            found[row] = image, mask, described
        except (OSError, ValueError, TypeError) as error:
            failed[row] = _in_words(error)
            if get_y is not None and isinstance(error, FileNotFoundError) and len(failed) == len(df):
                failed[row] += " (for classes or numbers in label_col pass y_block=CategoryBlock or RegressionBlock)"
    return found


def _orientation(sources: dict[int, _Source], reading: CaseReading, folder: Path) -> str | None:
    """How the first image that can be read is stored; a file that was made of it tells it without reading."""
    transforms = reading.transforms()
    for image, _, described in sources.values():
        for known in _ORIENTATIONS:
            key = key_of(recipe_of(*described, replace(reading, orientation=known).described(), transforms))
            if is_case(path := folder / f"{key}{SUFFIX}", key):
                return CaseFile(path).recipe["stored"]
        try:
            if (code := reading.stored(image)) is not None:
                return code
        except Exception:  # whatever is wrong with this one is said when it is made; the next one tells as well
            continue
    return None


_ORIENTATIONS = tuple(
    "".join(letters) for axes in itertools.permutations(("LR", "PA", "SI")) for letters in itertools.product(*axes)
)


def _make(cases: dict[int, _Case], reading: CaseReading, n_jobs: int, progress: bool, failed: dict[int, str]) -> None:
    """Write the cases; those that cannot be made are noted among the failed."""
    if not cases:
        return
    folder = next(iter(cases.values())).path.parent
    needed = sum(
        expected_bytes(case.recipe["image"], case.mask is not None, reading.item_tfms) for case in cases.values()
    )
    free = free_bytes(folder)
    space = f"{len(cases)} cases need about {in_words(needed)}, and {in_words(free)} are free"
    if needed > free:
        raise CacheError(f"{folder}: {space}: make room, or choose a folder on another disk")
    if n_jobs == -1 and needed < _SMALL and isinstance(get_active_backend()[0], LokyBackend):
        n_jobs = 1
    tasks = (delayed(_make_one)(row, case, reading, twice=row == min(cases)) for row, case in cases.items())
    results = Parallel(n_jobs, return_as="generator_unordered")(tasks)
    if progress:
        results = progress_bar(results, total=len(cases), leave=False)
        results.comment = space
    try:
        failed.update((row, text) for row, text in results if text)
    except BrokenProcessPool as error:
        raise CacheError(
            f"{folder}: a process that made a case was killed, for want of memory perhaps: each case is in memory as a "
            f"whole, so try fewer n_jobs than {n_jobs}. What was made stays; call preprocess again to go on"
        ) from error


def _make_one(row: int, case: _Case, reading: CaseReading, twice: bool) -> tuple[int, str]:
    """Number of the row, and what went wrong; '' for nothing."""
    described = [case.recipe["image"], case.recipe["mask"]]
    try:
        wait_until_settled(described)
        image, mask, stored = reading.read(case.image, case.mask, twice)
        if changed := changed_file(described, FileStatus()):
            return row, f"{changed} changed while it was read: call preprocess again when it is written"
        recipe = {**case.recipe, "stored": stored}  # no part of the key, for it follows from the rest
        write_case(case.path, image, mask, key=case.key, recipe=recipe, bricks=reading.bricks)
    except OSError as error:
        if error.errno in _FULL:  # the next case would not fit either
            raise OSError(
                error.errno, f"{error.strerror}: what was made stays; make room, and call preprocess again to go on",
                os.fspath(case.path.parent),
            ) from None  # fmt: skip
        return row, _in_words(error)
    except Exception as error:  # a transform of the user's may raise anything; the other cases go on
        return row, _in_words(error)
    return row, ""


def _in_words(error: Exception) -> str:
    """An error with its kind, where it is none that says all by itself."""
    text = str(error)
    return text if isinstance(error, ValueError | FileNotFoundError) and text else f"{type(error).__name__}: {text}"


def _report(failed: dict[int, str], df: pd.DataFrame, skip_failed: bool) -> None:
    if not failed:
        return
    rows = sorted(failed)
    listed = "".join(f"\n  row {df.index[row]!r}: {failed[row]}" for row in rows[:_LISTED])
    more = f"\n  and {len(rows) - _LISTED} more" if len(rows) > _LISTED else ""
    text = f"{len(rows)} of {len(df)} cases could not be made:{listed}{more}"
    if not skip_failed or len(rows) == len(df):
        advice = "" if skip_failed else "\nThe others are made. Mend these and call again, or pass skip_failed=True"
        raise CacheError(text + advice, {df.index[row]: failed[row] for row in rows})
    warnings.warn(f"{text}\nThey are left out", stacklevel=4)
