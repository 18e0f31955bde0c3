"""Volumes with sliders, in a notebook: extra ``viewer``.

``BasicViewer(image, mask)`` shows one volume, ``ListViewer`` several, ``DicomExplorer`` one with its histogram and
statistics; as the last line of a cell, or with ``.show()``. Orientation and proportions of the slices and colours of
the classes are those of ``show_image_3d``. The widgets of a viewer are its attributes: ``viewer.slice.value = 30``
scrolls as the mouse does.
"""

from __future__ import annotations

import html
import io
import math
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from fastcore.basics import chunked
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from faimed3d._extras import import_extra
from faimed3d._keywords import StrictKeywords, keywords_of, strict_keywords
from faimed3d.display.arrays import Limits, Voxels, as_array, geometry_of, value_range
from faimed3d.display.distribution import color_bars, show_histogram, summarize
from faimed3d.display.layout import PLANES
from faimed3d.display.slice_view import SliceView
from faimed3d.intensity import window_limits

_DPI = 100
_STEPS = 200  # of the window's slider


class BasicViewer(StrictKeywords):
    """A volume with sliders for slice, plane and window; a mask over it, and beside that the mask that was predicted.

    Args:
        x: image (D, H, W) or (C, D, H, W), tensor or array; of several channels one is shown at a time.
        y: mask on the same grid, or a class as text.
        prediction: the same, predicted. A mask is shown beside ``y``; a class is green where it is that of ``y``.
        description: text above.
        figsize: (width, height) in inches of one picture.
        cmap: colour map of the image.
        axis: plane at first: 'axial', 'coronal', 'sagittal', or a storage axis 0, 1, 2. Default: axial, without a
            geometry 0.
        window: grey values at first, as a name in ``faimed3d.intensity.WINDOWS`` or (centre, width). Default: all.
        mask_alpha: opacity of masks at first.

    Attributes:
        slice, channel, plane, window, mask, alpha: the widgets. ``slice`` counts as the tensor does along the axis.
        views: the ``faimed3d.display.slice_view.SliceView`` of each picture.
        figure: the matplotlib figure.
        box: the widget that holds all.

    Raises:
        ImportError: ipywidgets is not installed.
        ValueError: ``x`` is no volume, or a mask does not lie on its grid.

    >>> viewer = BasicViewer(np.zeros((5, 6, 7)), axis=0)
    >>> viewer.slice.value, viewer.slice.max
    (2, 4)
    """

    def __init__(
        self,
        x: Voxels,
        y: Voxels | str | None = None,
        prediction: Voxels | str | None = None,
        description: str | None = None,
        figsize: tuple[float, float] = (4, 4),
        cmap: str = "bone",
        *,
        axis: int | str | None = None,
        window: str | Limits | None = None,
        mask_alpha: float = 0.4,
    ) -> None:
        self._widgets = import_extra("ipywidgets", "viewer", type(self).__name__)
        self.x, self.y, self.prediction = (_on_cpu(value) for value in (x, y, prediction))
        image = self._channel(0)
        masks: list[Voxels | None]
        masks = [_one_channel(mask) for mask in (self.y, self.prediction) if _is_mask(mask)]
        if axis is None:
            axis = 0 if geometry_of(image) is None else "axial"
        limits = value_range(as_array(self.x))
        count = max(1, len(masks))
        self.figure = Figure((figsize[0] * count, figsize[1]), dpi=_DPI, facecolor="black")
        FigureCanvasAgg(self.figure)
        axes = [self.figure.add_axes((k / count + 0.01, 0, 1 / count - 0.02, 1)) for k in range(count)]
        shown = limits if window is None else window_limits(window)
        self.views = [
            SliceView(ax, image, labels, axis, shown, mask_alpha, cmap)
            for ax, labels in zip(axes, masks or [None], strict=True)
        ]
        self._make_widgets(axis, limits, shown, mask_alpha)
        self._arrange(description, bool(masks))
        self.redraw()

    def show(self) -> None:
        """Display the viewer in the notebook."""
        import_extra("IPython.display", "viewer", f"{type(self).__name__}.show").display(self.box)

    def _ipython_display_(self) -> None:
        self.show()

    def redraw(self) -> None:
        """Make the picture anew, after changes to ``figure`` by hand."""
        self.picture.value = _png(self.figure)

    def _channel(self, number: int) -> Voxels:
        """One channel of the image (D, H, W)."""
        shape = tuple(self.x.shape)
        if len(shape) not in (3, 4) or 0 in shape:
            raise ValueError(f"a viewer shows a volume (D, H, W) or (C, D, H, W), got shape {shape}")
        return self.x if len(shape) == 3 else self.x[number]

    def _make_widgets(self, axis: int | str, limits: Limits, shown: Limits, mask_alpha: float) -> None:
        widgets, view = self._widgets, self.views[0]
        wide = widgets.Layout(width="98%")
        channels = len(self.x) if self.x.ndim == 4 else 1
        self.picture = widgets.Image(format="png")
        self.slice = widgets.IntSlider(view.number, 0, view.count - 1, description="slice", layout=wide)
        self.channel = widgets.IntSlider(0, 0, channels - 1, description="channel", layout=wide)
        planes = [0, 1, 2] if geometry_of(view.image) is None else list(PLANES)[::-1]
        self.plane = widgets.Dropdown(options=planes, value=axis if axis in planes else view.plane, description="plane")
        self.window = self._window_slider(limits, shown)
        self.mask = widgets.ToggleButton(True, description="mask", icon="eye")
        self.alpha = widgets.FloatSlider(mask_alpha, min=0, max=1, step=0.05, description="opacity")
        for widget, changed in (
            (self.slice, self._scroll), (self.channel, self._change_channel), (self.plane, self._change_plane),
            (self.window, self._change_window), (self.mask, self._change_alpha), (self.alpha, self._change_alpha),
        ):  # fmt: skip
            widget.observe(changed, "value")

    def _window_slider(self, limits: Limits, shown: Limits) -> Any:
        """A slider from the smallest to the largest value, of whole numbers where the image holds such."""
        low, high = min(limits[0], shown[0]), max(limits[1], shown[1])
        whole = as_array(self.x).dtype.kind in "biu"
        if whole:
            low, high, shown = int(low), int(high), (int(shown[0]), int(shown[1]))
        high = high if high > low else low + 1  # a constant
        kind = self._widgets.IntRangeSlider if whole else self._widgets.FloatRangeSlider
        return kind(
            value=shown,
            min=low,
            max=high,
            step=max(1, (high - low) // _STEPS) if whole else (high - low) / _STEPS,
            description="window",
            layout=self._widgets.Layout(width="98%"),
            readout_format="d" if whole else ".4g",
        )

    def _arrange(self, description: str | None, masked: bool) -> None:
        widgets = self._widgets
        texts = [description and html.escape(description), self._verdict()]
        above = [widgets.HTML(f"<div style='text-align:center'>{text}</div>") for text in texts if text]
        controls = [self.picture, self.slice, self.window, self.plane]
        if self.channel.max:
            controls.append(self.channel)
        if masked:
            controls.append(widgets.HBox([self.mask, self.alpha]))
        width = f"{self.figure.get_figwidth() * _DPI + 20:.0f}px"
        self.box = widgets.VBox([*above, *controls], layout=widgets.Layout(width=width))

    def _verdict(self) -> str | None:
        """Target and prediction where they are text, the latter green or red."""
        target, found = (
            None if value is None or _is_mask(value) else str(value) for value in (self.y, self.prediction)
        )
        if _is_mask(self.y) and _is_mask(self.prediction):
            return "target | prediction"
        if found is None:
            return target and html.escape(target)
        color = "black" if target is None else "green" if target == found else "red"
        found = f"<span style='color:{color}'>{html.escape(found)}</span>"
        return found if target is None else f"{html.escape(target)} | {found}"

    def _scroll(self, change: dict[str, Any]) -> None:
        for view in self.views:
            view.set_slice(change["new"])
        self.redraw()

    def _change_plane(self, change: dict[str, Any]) -> None:
        for view in self.views:
            view.set_axis(change["new"])
        view = self.views[0]
        with self.slice.hold_trait_notifications():
            self.slice.max = view.count - 1
            self.slice.value = view.number
        self._scroll({"new": view.number})

    def _change_channel(self, change: dict[str, Any]) -> None:
        for view in self.views:
            view.image = self._channel(change["new"])
        self._scroll({"new": self.slice.value})

    def _change_window(self, change: dict[str, Any]) -> None:
        for view in self.views:
            view.set_limits(*change["new"])
        self.redraw()

    def _change_alpha(self, change: dict[str, Any]) -> None:
        for view in self.views:
            view.set_alpha(self.alpha.value if self.mask.value else 0)
        self.redraw()


class DicomExplorer(BasicViewer):
    """A volume with its histogram and statistics; moving the window shows which values it holds, and their numbers.

    Args:
        x, y, prediction, description, figsize, cmap, axis, window, mask_alpha: of :class:`BasicViewer`.

    Attributes:
        histogram: the matplotlib axes of the histogram.
        statistics: numbers of the voxels within the window, of the volume or channel that is shown, see
            :func:`faimed3d.display.summarize`.

    >>> viewer = DicomExplorer(np.arange(24.0).reshape(2, 3, 4))
    >>> viewer.window.value = (10, 12)
    >>> viewer.statistics["voxels"], viewer.statistics["mean"]
    (3, 11.0)
    """

    def _arrange(self, description: str | None, masked: bool) -> None:
        super()._arrange(description, masked)
        widgets = self._widgets
        self.window.continuous_update = False  # all voxels are counted each time
        self._chart = Figure((5, 3.2), dpi=_DPI, layout="constrained")
        FigureCanvasAgg(self._chart)
        self.histogram = self._chart.subplots()
        self._bars, self._table = widgets.Image(format="png"), widgets.HTML()
        self._count()
        self.box = widgets.HBox([self.box, widgets.VBox([self._bars, self._table])])

    def _change_window(self, change: dict[str, Any]) -> None:
        super()._change_window(change)
        self._measure()

    def _change_channel(self, change: dict[str, Any]) -> None:
        super()._change_channel(change)
        self._count()

    def _count(self) -> None:
        self.histogram.clear()
        show_histogram(self.views[0].image, ax=self.histogram, log=True)
        self._measure()

    def _measure(self) -> None:
        limits = self.window.value
        color_bars(self.histogram, limits)
        self._bars.value = _png(self._chart)
        try:
            self.statistics = summarize(self.views[0].image, limits)
        except ValueError:  # no voxel lies within
            self.statistics = {"voxels": 0}
        lines = "".join(f"<tr><td>{name}</td><td>{value:.6g}</td></tr>" for name, value in self.statistics.items())
        self._table.value = f"within the window:<table>{lines}</table>"


class ListViewer:
    """Several volumes, each with sliders of its own.

    Args:
        x: images, a list or a batch (B, C, D, H, W) or (B, D, H, W).
        y: masks or classes of all, in a list or a batch, or None.
        prediction: the same, predicted.
        description: one text for all, or a list.
        figsize: (width, height) in inches of one picture.
        cmap: colour map of the images.
        max_n: show at most this many.
        **kwargs: of :class:`BasicViewer`.

    Attributes:
        viewers: the :class:`BasicViewer` of each volume.
        box: the widget that holds all.

    Raises:
        ImportError: ipywidgets is not installed.
        ValueError: the list is empty, or another is not as long.

    >>> batch = np.zeros((2, 1, 3, 4, 5))  # (B, C, D, H, W)
    >>> len(ListViewer(batch, y=["none", "lesion"]).viewers)
    2
    """

    @strict_keywords(more=lambda args, kwargs: keywords_of(BasicViewer))
    def __init__(
        self,
        x: Sequence[Voxels] | Voxels,
        y: Sequence[Voxels | str] | Voxels | None = None,
        prediction: Sequence[Voxels | str] | Voxels | None = None,
        description: str | Sequence[str] | None = None,
        figsize: tuple[float, float] = (3, 3),
        cmap: str = "bone",
        max_n: int = 9,
        **kwargs: Any,
    ) -> None:
        widgets = import_extra("ipywidgets", "viewer", "ListViewer")
        count = len(x)
        if not count:
            raise ValueError("there is no volume to show: the list is empty")
        if isinstance(description, str):
            description = [description] * count
        entries = zip(
            x,
            _one_for_each("y", y, count),
            _one_for_each("prediction", prediction, count),
            _one_for_each("description", description, count),
            strict=True,
        )
        self.viewers = [BasicViewer(*one, figsize=figsize, cmap=cmap, **kwargs) for one in islice(entries, max_n)]
        across = math.ceil(math.sqrt(len(self.viewers)))
        self.box = widgets.VBox(
            [widgets.HBox([viewer.box for viewer in part]) for part in chunked(self.viewers, across)]
        )

    def show(self) -> None:
        """Display the viewers in the notebook."""
        import_extra("IPython.display", "viewer", "ListViewer.show").display(self.box)

    def _ipython_display_(self) -> None:
        self.show()


def _one_for_each(name: str, values: Sequence[Any] | Voxels | None, count: int) -> Sequence[Any] | Voxels:
    """One value for each of ``count`` volumes."""
    if values is None:
        return [None] * count
    if len(values) != count:
        raise ValueError(f"there are {count} volumes and {len(values)} entries of {name}: give one for each")
    return values


def _on_cpu(value: Any) -> Any:
    """A tensor as it is scrolled through fastest: on the CPU, of a type that numpy has."""
    if not isinstance(value, Tensor):
        return value
    value = value.detach().cpu()
    return value.float() if value.dtype in (torch.bfloat16, torch.float16) else value


def _is_mask(value: Any) -> bool:
    """Whether a target is a mask, not a class in words."""
    return isinstance(value, Tensor | np.ndarray) and value.ndim >= 3


def _one_channel(mask: Voxels) -> Voxels:
    """A mask (D, H, W) of one that may have a channel axis of 1."""
    if mask.ndim == 4 and len(mask) == 1:
        return mask[0]
    if mask.ndim != 3:
        raise ValueError(f"a mask must be (D, H, W), got shape {tuple(mask.shape)}")
    return mask


def _png(figure: Figure) -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=_DPI, pil_kwargs={"compress_level": 1})
    return picture.getvalue()
