"""Slice numbers and the patient's sides, written into a mosaic."""

from __future__ import annotations

import numpy as np
from matplotlib.patheffects import withStroke
from matplotlib.transforms import TransformedBbox

__all__ = ["inches", "write_letters", "write_numbers"]


def inches(ax):
    space = TransformedBbox(ax.get_position(original=True), ax.figure.transSubfigure)
    return space.width / ax.figure.dpi, space.height / ax.figure.dpi


def _points(ax, mosaic):
    """Height in points of one slice as drawn."""
    width, height = inches(ax)
    scale = min(width / mosaic.size[0], height / mosaic.size[1])
    return mosaic.cell[0] * mosaic.spacing[0] * scale * 72


def _write(ax, row, column, text, size, **kwargs):
    outline = [withStroke(linewidth=size / 5, foreground="black")]
    # unsnapped: outlined text is drawn as paths, and snapping to pixels takes the thin strokes of L, I and 1 away
    ax.text(column, row, text, color="white", fontsize=size, weight="bold", path_effects=outline, snap=False, **kwargs)


def write_numbers(ax, mosaic):
    size = float(np.clip(_points(ax, mosaic) / 9, 3, 12))
    numbers = (number for layout in mosaic.layouts for number in layout.numbers)
    for (row, column), number in zip(mosaic.corners(), numbers, strict=True):
        _write(ax, row - 0.5, column - 0.5, f" {number}", size, ha="left", va="top")


def write_letters(ax, mosaic):
    left, right, top, bottom = mosaic.layouts[0].edges
    (row, column), (height, width) = next(mosaic.corners()), mosaic.cell
    size = float(np.clip(_points(ax, mosaic) / 9, 3, 12))
    row, column = row - 0.5, column - 0.5
    _write(ax, row + height / 2, column, f" {left}", size, ha="left", va="center")
    _write(ax, row + height / 2, column + width, f"{right} ", size, ha="right", va="center")
    _write(ax, row, column + width / 2, top, size, ha="center", va="top")
    _write(ax, row + height, column + width / 2, bottom, size, ha="center", va="bottom")
