"""How the values of a volume are distributed: a histogram as a picture, and statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from faimed3d._keywords import strict_keywords
from faimed3d.display.arrays import Limits, Voxels, as_array
from faimed3d.display.artists import artist_keywords

_INSIDE, _OUTSIDE = "tab:blue", "lightgrey"


@strict_keywords(more=lambda args, kwargs: artist_keywords(Rectangle, Axes.hist))
def show_histogram(
    t: Voxels,
    bins: int | Sequence[float] = 100,
    limits: Limits | None = None,
    ax: Axes | None = None,
    with_stats: bool = False,
    **kwargs: Any,
) -> Axes:
    """Draw a histogram of all finite values of a volume or batch; bars outside ``limits`` are grey.

    Args:
        t: tensor or array of real numbers, of any shape.
        bins: number of bars, or their edges.
        limits: (low, high): bars whose middle lies between are coloured. Default: all.
        ax: axes to draw on. Default: those of a new figure.
        with_stats: write the numbers of :func:`summarize` beside it.
        **kwargs: passed to ``Axes.hist``.

    Returns:
        The axes. Their bars are ``ax.patches``.

    Raises:
        TypeError: ``t`` is no array of real numbers.
        ValueError: no value is finite.

    >>> from matplotlib.figure import Figure
    >>> ax = show_histogram(np.arange(24.0).reshape(2, 3, 4), bins=4, ax=Figure().subplots())
    >>> [int(bar.get_height()) for bar in ax.patches]
    [6, 6, 6, 6]
    """
    values = _finite(t)
    if ax is None:
        ax = plt.figure(figsize=(6, 4)).subplots()
    ax.hist(values, bins=bins, color=_INSIDE, **kwargs)
    ax.set(xlabel="value", ylabel="voxels")
    ax.spines[["top", "right"]].set_visible(False)
    if limits is not None:
        color_bars(ax, limits)
    if with_stats:
        text = "\n".join(f"{name}: {value:.6g}" for name, value in _summary(values).items())
        ax.text(0.98, 0.98, text, transform=ax.transAxes, ha="right", va="top", fontsize="small")
    return ax


def color_bars(ax: Axes, limits: Limits) -> None:
    """Colour the bars of a histogram whose middle lies between ``limits`` (low, high), the others grey."""
    for bar in ax.patches:
        assert isinstance(bar, Rectangle)
        middle = bar.get_x() + bar.get_width() / 2
        bar.set_facecolor(_INSIDE if limits[0] <= middle <= limits[1] else _OUTSIDE)


def summarize(t: Voxels, limits: Limits | None = None) -> dict[str, float]:
    """Count, mean, std, minimum, median, maximum, skewness and excess kurtosis of the finite values.

    Args:
        t: tensor or array of real numbers, of any shape.
        limits: (low, high): values outside are left out. Default: all.

    Returns:
        Python numbers by name. ``std`` is unbiased; skewness and kurtosis are moments over its powers, and 0 for a
        constant.

    Raises:
        TypeError: ``t`` is no array of real numbers.
        ValueError: no value is finite and within the limits.

    >>> summarize(np.array([1.0, 2.0, 3.0, np.nan]))["mean"]
    2.0
    """
    values = _finite(t)
    if limits is not None:
        values = values[(values >= limits[0]) & (values <= limits[1])]
        if not values.size:
            raise ValueError(f"no value lies between {limits[0]:g} and {limits[1]:g}")
    return _summary(values)


def _finite(t: Voxels) -> np.ndarray:
    values = as_array(t).ravel()
    values = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if not values.size:
        raise ValueError("there is nothing to count: no value is finite")
    return values


def _summary(values: np.ndarray) -> dict[str, float]:
    mean = values.mean(dtype=np.float64)
    difference = values - mean
    square = np.square(difference)
    std = np.sqrt(square.sum() / max(1, values.size - 1))
    scale = std or 1.0
    return {
        "voxels": int(values.size),
        "mean": float(mean),
        "std": float(std),
        "minimum": values.min().item(),
        "median": float(np.median(values)),
        "maximum": values.max().item(),
        "skewness": float((square * difference).mean() / scale**3),
        "kurtosis": float(np.square(square).mean() / scale**4 - 3) if std else 0.0,
    }
