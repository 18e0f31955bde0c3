"""The entry of a case in the list of a page: name, a small picture, volumes of the classes, flags."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib import image as mpl_image
from matplotlib.colors import to_hex

from faimed3d.browser.case import Case, Labels
from faimed3d.display.layout import lay_out

_WIDTH = 150  # pixels of a small picture, at most
_ALPHA = 0.5


def head_of(
    name: str,
    case: Case | None,
    position: Sequence[float] | None = None,
    facts: Sequence[str] = (),
    flags: Sequence[str] = (),
) -> str:
    """HTML of a list entry.

    Args:
        name: of the case.
        case: what is shown, None for a case that failed.
        position: (x, y, z) mm, LPS, of the slice of the small picture.
        facts: lines below the picture.
        flags: what a reader should look at, in another colour.
    """
    parts = [f"<b>{html.escape(name)}</b>"]
    if case is not None and position is not None:
        parts.append(_picture(case, position))
        for one in labels.classes if (labels := _listed(case)) else ():
            volume = f"{one.mm3:,.0f}".replace(",", "\u202f")
            dot = f'<span style="color: {to_hex(one.color)}">■</span>'
            parts.append(f"<div>{dot} {html.escape(one.name)}: {volume} mm³</div>")
    parts += [f"<div>{html.escape(fact)}</div>" for fact in facts]
    parts += [f'<div class="f3d-flag">⚠ {html.escape(flag)}</div>' for flag in flags]
    return "".join(parts)


def _listed(case: Case) -> Labels | None:
    """The mask that the list tells of: of two the second, which is the prediction."""
    return case.labels[min(1, len(case.labels) - 1)] if case.labels else None


def _picture(case: Case, position: Sequence[float]) -> str:
    """The axial slice at a position as an <img>, in true proportions, the patient's right at the left."""
    layout = lay_out(case.geometry.shape, case.geometry, "axial")
    index = np.rint(case.geometry.world_to_index(position)).astype(int)[layout.order[0]]
    number = layout.extent[0] - 1 - index if 0 in layout.flips else index
    layout = replace(layout, slices=(int(np.clip(number, 0, layout.extent[0] - 1)),))
    grey = next(layout.cut(case.pictures[0].voxels[0])).astype(float)
    centre, width = case.pictures[0].windows[0]
    rgb = np.clip(np.nan_to_num(grey - centre, nan=-width) / width + 0.5, 0, 1)[..., None].repeat(3, -1)
    if labels := _listed(case):
        numbers = next(layout.cut(labels.voxels)).astype(int)
        colors = np.array([(0.0, 0.0, 0.0), *(one.color for one in labels.classes)])
        rgb = np.where((numbers > 0)[..., None], (1 - _ALPHA) * rgb + _ALPHA * colors[numbers], rgb)
    row, column = layout.spacing
    across, down = rgb.shape[1] * column, rgb.shape[0] * row
    scale = _WIDTH / max(across, down)
    step = [max(1, round(size / (2 * _WIDTH))) for size in rgb.shape[:2]]
    png = io.BytesIO()
    mpl_image.imsave(png, np.ascontiguousarray(rgb[:: step[0], :: step[1]]), format="png")
    data = base64.b64encode(png.getvalue()).decode()
    size = f'width="{max(1, round(across * scale))}" height="{max(1, round(down * scale))}"'
    return f'<img src="data:image/png;base64,{data}" {size} alt="">'
