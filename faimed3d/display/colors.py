"""The colour of each class of a mask, the same in every picture."""

from __future__ import annotations

import colorsys
from functools import cache

import numpy as np
from matplotlib.colors import Colormap, to_rgb

RGB = tuple[float, float, float]

# "20 simple, distinct colors" by Sasha Trubetskoy, without its black, white and grey, red and green first
_FIRST_COLORS = [
    "#e6194b", "#3cb44b", "#ffe119", "#4363d8", "#f58231", "#42d4f4", "#f032e6", "#bfef45", "#fabed4",
    "#469990", "#dcbeff", "#9a6324", "#fffac8", "#800000", "#aaffc3", "#808000", "#ffd8b1", "#911eb4",
]  # fmt: skip


def class_color(label: int) -> RGB:
    """The colour (red, green, blue), each 0 to 1, of a class, the same in every picture.

    Classes 1 to 256 differ from each other; 257 looks like 1 again.

    Args:
        label: the class, from 1 up.

    Raises:
        ValueError: ``label`` is below 1; 0 is the background, which is transparent.

    >>> class_color(1)
    (0.9019607843137255, 0.09803921568627451, 0.29411764705882354)
    >>> class_color(1) == class_color(257)
    True
    """
    if label < 1:
        raise ValueError(f"classes have labels from 1 up (0 is background), got {label!r}")
    return class_colors()[(int(label) - 1) % 256]


@cache
def class_colors() -> tuple[RGB, ...]:
    """256 colours: chosen ones first, then hues in golden steps at changing lightness."""
    colors = [to_rgb(color) for color in _FIRST_COLORS]
    for k in range(256 - len(colors)):
        colors.append(colorsys.hls_to_rgb(k * 0.618034 % 1, (0.6, 0.45, 0.75)[k % 3], (0.9, 0.65)[k // 3 % 2]))
    return tuple(colors)


def colors_of(cmap: Colormap) -> list[tuple[float, ...]]:
    """256 colours out of a colour map: its own in turn where they are few, else golden steps."""
    if cmap.N <= 64:
        return [cmap(k % cmap.N) for k in range(256)]
    return [cmap((0.75 + 0.618034 * k) % 1) for k in range(256)]


def color_index(array: np.ndarray) -> np.ndarray:
    """Labels as indices of the class colours, int16: 0 for background, else 1 to 256."""
    if array.dtype.kind == "f":
        array = np.rint(np.nan_to_num(array, posinf=0)).astype(np.int64)
    elif array.dtype.kind == "b":
        array = array.view(np.uint8)
    if array.min() >= 0 and array.max() <= 256:
        return array.astype(np.int16)
    return np.where(array > 0, (array - 1) % 256 + 1, 0).astype(np.int16)
