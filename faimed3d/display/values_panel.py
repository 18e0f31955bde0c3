"""A histogram and statistics of the values within a window, as widgets of a notebook."""

from __future__ import annotations

from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from faimed3d._extras import import_extra
from faimed3d.display.arrays import Limits, Voxels
from faimed3d.display.distribution import color_bars, show_histogram, summarize
from faimed3d.display.sliders import png_of


class ValuesPanel:
    """The histogram of a volume, the bars within a window coloured, and the statistics of the voxels there.

    Args:
        image: volume (D, H, W).
        limits: (low, high) of the window.

    Attributes:
        histogram: the matplotlib axes.
        statistics: of the voxels within the window, see ``summarize``.
        box: the widget.
    """

    def __init__(self, image: Voxels, limits: Limits) -> None:
        widgets = import_extra("ipywidgets", "viewer", "DicomExplorer")
        self._chart = Figure((5, 3.2), layout="constrained")
        FigureCanvasAgg(self._chart)
        self.histogram = self._chart.subplots()
        self._bars, self._table = widgets.Image(format="png"), widgets.HTML()
        self.box = widgets.VBox([self._bars, self._table])
        self.count(image, limits)

    def count(self, image: Voxels, limits: Limits) -> None:
        """Show another volume."""
        self._image = image
        self.histogram.clear()
        show_histogram(image, ax=self.histogram, log=True)
        self.measure(limits)

    def measure(self, limits: Limits) -> None:
        """Show what lies within another window."""
        color_bars(self.histogram, limits)
        self._bars.value = png_of(self._chart)
        try:
            self.statistics: dict[str, Any] = summarize(self._image, limits)
        except ValueError:  # no voxel lies within
            self.statistics = {"voxels": 0}
        lines = "".join(f"<tr><td>{name}</td><td>{value:.6g}</td></tr>" for name, value in self.statistics.items())
        self._table.value = f"within the window:<table>{lines}</table>"
