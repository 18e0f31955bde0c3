"""Slice numbers and the patient's sides, written into a mosaic."""

from __future__ import annotations

from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.transforms import TransformedBbox

from faimed3d.display.layout import Mosaic


def inches(ax: Axes) -> tuple[float, float]:
    """Width and height of the axes."""
    box = TransformedBbox(ax.get_position(original=True), ax.figure.transSubfigure)
    return box.width / ax.figure.dpi, box.height / ax.figure.dpi


def write_numbers(ax: Axes, mosaic: Mosaic) -> None:
    """Write each slice's index in the tensor into its top left corner."""
    size = _font_size(ax, mosaic)
    numbers = (number for layout in mosaic.layouts for number in layout.numbers)
    for (row, column), number in zip(mosaic.corners(), numbers, strict=True):
        _write(ax, row - 0.5, column - 0.5, f" {number}", size, "left", "top")


def write_letters(ax: Axes, mosaic: Mosaic) -> None:
    """Write at the edges of the first slice where the patient's sides lie."""
    left, right, top, bottom = mosaic.layouts[0].edges
    (first_row, first_column), (height, width) = next(mosaic.corners()), mosaic.cell
    row, column = first_row - 0.5, first_column - 0.5
    size = _font_size(ax, mosaic)
    _write(ax, row + height / 2, column, f" {left}", size, "left", "center")
    _write(ax, row + height / 2, column + width, f"{right} ", size, "right", "center")
    _write(ax, row, column + width / 2, top, size, "center", "top")
    _write(ax, row + height, column + width / 2, bottom, size, "center", "bottom")


def _font_size(ax: Axes, mosaic: Mosaic) -> float:
    """A ninth of the longer side of a slice as drawn, in points, so that it fits the other one and can be read."""
    width, height = inches(ax)
    scale = 72 * min(width / mosaic.size[0], height / mosaic.size[1])
    high, wide = (cells * size * scale for cells, size in zip(mosaic.cell, mosaic.spacing, strict=True))
    # two lines of it must fit above each other, and four letters side by side
    return float(np.clip(min(max(high, wide) / 9, high / 2.5, wide / 4), 3, 12))


def _write(
    ax: Axes,
    row: float,
    column: float,
    text: str,
    size: float,
    ha: Literal["left", "center", "right"],
    va: Literal["top", "center", "bottom"],
) -> None:
    outline = [withStroke(linewidth=size / 5, foreground="black")]
    # unsnapped: outlined text is drawn as paths, and snapping to pixels takes the thin strokes of L, I and 1 away
    ax.text(
        column,
        row,
        text,
        ha=ha,
        va=va,
        color="white",
        fontsize=size,
        weight="bold",
        path_effects=outline,
        snap=False,
    )
