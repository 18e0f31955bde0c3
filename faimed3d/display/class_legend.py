"""Legends that name the classes of masks, by the names that these know (``codes``)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from faimed3d.display.arrays import PlainVolume
from faimed3d.display.colors import class_colors, color_index, colors_of
from faimed3d.masks.codes import class_name
from faimed3d.masks.labels import labels_in

_MOST = 20
_ROW, _COLUMN = 0.25, 1.2  # inches


def class_handles(masks: Sequence[PlainVolume], cmap: str = "bone") -> list[Patch]:
    """A patch for each class that masks show, named and coloured; none where no mask knows names.

    Args:
        masks: the volumes drawn.
        cmap: as drawn with: any but the default replaces the class colours.
    """
    codes = next((mask.codes for mask in masks if mask.codes), None)
    if codes is None:
        return []
    colors = class_colors() if cmap == "bone" else colors_of(mpl.colormaps.get_cmap(cmap))
    labels = sorted({label for mask in masks for label in labels_in(torch.as_tensor(mask.array.copy()))} - {0})
    numbers = color_index(np.array(labels[:_MOST], dtype=np.int64)) if labels else ()
    return [
        Patch(color=to_rgb(colors[number - 1]), label=class_name(label, codes))
        for number, label in zip(numbers, labels, strict=False)
    ]


def legend_height(handles: Sequence[Patch], width: float) -> float:
    """Inches that a legend takes below a picture of ``width`` inches."""
    return _ROW * math.ceil(len(handles) / _columns(len(handles), width)) if handles else 0.0


def name_classes(place: Axes | Figure, handles: Sequence[Patch]) -> None:
    """Draw the legend: at the bottom of a figure, or in the corner of axes; nothing where there are no handles."""
    if not handles:
        return
    if isinstance(place, Axes):
        place.legend(handles=handles, loc="upper right", fontsize="small")
    else:
        columns = _columns(len(handles), place.get_figwidth())
        place.legend(
            handles=handles, loc="lower center", ncols=columns, frameon=False, fontsize="small", borderaxespad=0
        )


def _columns(count: int, width: float) -> int:
    return min(count, max(1, int(width / _COLUMN)))
