"""``show_dataset``: one picture of each case of a table, with its mask and its name."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from fastprogress.fastprogress import progress_bar
from joblib import Parallel, delayed
from matplotlib.axes import Axes

from faimed3d._keywords import strict_keywords
from faimed3d.data.loaders import Columns
from faimed3d.display import show_image_3d
from faimed3d.display.arrays import Limits, PlainVolume, as_array, one_volume
from faimed3d.display.class_legend import class_handles, legend_height, name_classes
from faimed3d.display.default_window import default_window, robust_limits
from faimed3d.display.layout import lay_out
from faimed3d.display.telling_slice import telling_slice
from faimed3d.intensity import window_limits
from faimed3d.masks.codes import NamedLabels
from faimed3d.plan.case_facts import EXPECTED
from faimed3d.plan.report import CaseReading, Cases
from faimed3d.volume import TensorDicom3D, TensorMask3D

_HEAD = 0.3  # inches above a picture for its name
_LETTERS = 15  # of a name, an inch


@dataclass(frozen=True)
class _Look:
    """What is kept of a case: one slice, or the kind of its error."""

    image: TensorDicom3D | None = None  # (D, H, W), 1 along the axis that is cut
    mask: TensorMask3D | None = None
    limits: Limits = (0.0, 1.0)
    error: str = ""


@strict_keywords
def show_dataset(
    df: pd.DataFrame,
    fn_col: Columns | None = None,
    label_col: Columns | None = None,
    *,
    path: str | Path = ".",
    codes: NamedLabels | None = None,
    axis: int | str = "axial",
    window: str | tuple[float, float] | None = None,
    mask_alpha: float = 0.4,
    channel: int = 0,
    max_n: int = 100,
    ncols: int | None = None,
    side: float = 1.6,
    resample_masks: bool | str = False,
    like: str | None = None,
    strict: bool = True,
    n_jobs: int = -1,
    progress: bool = True,
) -> list[Axes]:
    """Draw a contact sheet: of each case the slice with most to see, its mask over it, and its name.

    A case that cannot be read is an empty picture with the kind of the error; ``describe_cases(df).failed`` says more.

    Args:
        df: table of cases, one row each.
        fn_col, label_col, path, codes, resample_masks, like, strict, n_jobs: as of :func:`describe_cases`. A table of
            one column is one of images.
        axis: 'axial', 'coronal', 'sagittal', or a storage axis 0, 1, 2.
        window: grey values to show, as a name in ``faimed3d.intensity.WINDOWS`` or (centre, width). Default: a CT with
            the window of its DICOM header, else with that of soft tissue; anything else without the outermost half
            percent of its values at both ends.
        mask_alpha: opacity of masks, 0 to 1.
        channel: which is drawn of an image with several.
        max_n: draw at most this many cases, the first of the table; the title says how many there are.
        ncols: pictures side by side. Default: as many as make the sheet half as wide again as high.
        side: inches of a picture.
        progress: show a progress bar.

    Returns:
        matplotlib's axes, one for each case.

    Raises:
        ValueError: no case, no such column, an unknown axis or window.

    >>> import torch
    >>> cases = pd.DataFrame({"image": [torch.rand(4, 6, 8) for _ in range(3)], "label": ["ill", "well", "ill"]})
    >>> [ax.get_title() for ax in show_dataset(cases, progress=False)]
    ['row 0: ill', 'row 1: well', 'row 2: ill']
    """
    if isinstance(df, pd.DataFrame) and len(df.columns) == 1 and label_col is None:
        df = df.assign(label="")
    limits = None if window is None else window_limits(window)
    source = Cases(df, fn_col, label_col, path, codes, None)
    options = {"resample_to_first": False, "strict": strict}
    read = CaseReading(source, {"resample_masks": resample_masks, "like": like, **options})
    table = source.table.iloc[:max_n]
    tasks = (delayed(_look)(row, read, axis, channel, limits) for _, row in table.iterrows())
    results: Any = Parallel(n_jobs, prefer="threads", return_as="generator")(tasks)
    looks = list(progress_bar(results, total=len(table), leave=False) if progress else results)
    names = source.names_of_cases[: len(looks)]
    if source.classes is not None:
        names = [
            f"{name}: {found}" if found != "" else name for name, found in zip(names, source.classes, strict=False)
        ]
    known = dict(enumerate(source.codes)) if source.codes else None
    axes = _draw(looks, names, known, axis, mask_alpha, ncols, side, len(df))
    if failed := [f"{name} ({look.error})" for name, look in zip(names, looks, strict=True) if look.error]:
        warnings.warn(
            f"{len(failed)} of {len(looks)} cases could not be read: {', '.join(failed[:5])}"
            f"{', ...' if len(failed) > 5 else ''}; see describe_cases(df).failed",
            stacklevel=3,
        )
    return axes


def _look(row: pd.Series, read: Callable[..., Any], axis: int | str, channel: int, limits: Limits | None) -> _Look:
    try:
        image, mask = read(row)
    except EXPECTED as error:
        return _Look(error=type(error).__name__)
    whole, image = image, image if image.ndim == 3 else image[channel]
    cut = lay_out(tuple(image.shape), image.geometry, axis).order[0]
    number = telling_slice(as_array(image), None if mask is None else as_array(mask), cut)
    box = (*(slice(None),) * cut, slice(number, number + 1))
    if limits is None:
        window = default_window(whole, one_volume(image))
        limits = robust_limits(as_array(image)) if window is None else window_limits(window)
    return _Look(image[box].clone(), None if mask is None else mask[box].clone(), limits)


def _draw(
    looks: list[_Look],
    names: list[str],
    codes: dict[int, str] | None,
    axis: int | str,
    mask_alpha: float,
    ncols: int | None,
    side: float,
    count: int,
) -> list[Axes]:
    ncols = min(len(looks), ncols or math.ceil(math.sqrt(1.5 * len(looks))))
    nrows = math.ceil(len(looks) / ncols)
    masks = [look.mask for look in looks if look.mask is not None]
    plain = [PlainVolume(as_array(mask), None, True, mask.codes or codes) for mask in masks]
    handles = class_handles(plain)
    width, foot = ncols * side, legend_height(handles, ncols * side)
    title = f"{len(looks)} of {count} cases" if len(looks) < count else None
    top = _HEAD if title else 0.0
    height = nrows * (side + _HEAD) + foot + top
    figure = plt.figure(figsize=(width, height))
    name_classes(figure, handles)
    if title:
        figure.suptitle(title, y=1, va="top", fontsize="medium")
    axes = []
    most = max(8, round(_LETTERS * side))
    for k, (look, name) in enumerate(zip(looks, names, strict=True)):
        row, column = divmod(k, ncols)
        bottom = height - top - (row + 1) * (side + _HEAD)
        ax = figure.add_axes((column * side / width, bottom / height, 0.96 * side / width, side / height))
        short = name if len(name) <= most else f"\N{HORIZONTAL ELLIPSIS}{name[1 - most :]}"
        if look.image is None:
            ax.set(xticks=[], yticks=[])
            ax.text(0.5, 0.5, look.error, transform=ax.transAxes, ha="center", va="center", fontsize=7, color="#d62728")
        else:
            limits = dict(zip(("vmin", "vmax"), look.limits, strict=True))
            show_image_3d(look.image, axis, ax=ax, mask=look.mask, mask_alpha=mask_alpha, legend=False, **limits)
        ax.set_title(short, fontsize=7, pad=2, color="black" if look.image is not None else "#d62728")
        axes.append(ax)
    return axes
