"""Methods of volumes that draw them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastcore.meta import delegates

from faimed3d.browser import View3D, view_3d
from faimed3d.display import figure_3d, show_volume, sweep_3d

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class PictureMethods:
    """What ``TensorDicom3D`` inherits to be looked at; the functions are those of ``display/`` and ``browser/``."""

    @delegates(show_volume)
    def show(self, ctx: Axes | int | str | None = None, **kwargs: Any) -> Axes:
        """Draw a mosaic of slices and return the axes: see ``faimed3d.display.show_volume``.

        A batch is drawn as well. ``show(1)``, as in 0.0.6, is ``show(axis=1)``.
        """
        if isinstance(ctx, int | str):
            return show_volume(self, axis=ctx, **kwargs)
        return show_volume(self, ctx=ctx, **kwargs)

    @delegates(figure_3d)
    def figure(self, mask: Any = None, **kwargs: Any) -> Figure:
        """Make a figure for a paper, of one slice in each plane: see ``faimed3d.display.figure_3d``."""
        return figure_3d(self, mask, **kwargs)

    @delegates(sweep_3d)
    def sweep(self, path: str | Path, mask: Any = None, **kwargs: Any) -> None:
        """Write a film through the slices, GIF or MP4: see ``faimed3d.display.sweep_3d``."""
        sweep_3d(self, path, mask, **kwargs)

    @delegates(view_3d)
    def view_3d(self, mask: Any = None, other: Any = None, **kwargs: Any) -> View3D:
        """Look through the volume with the mouse, in a notebook or a saved page: see ``faimed3d.browser.view_3d``."""
        return view_3d(self, mask, other, **kwargs)
