"""A volume with sliders, in a notebook: what ``BasicViewer`` shows where the browser's viewer is not installed.

Orientation and proportions of the slices and colours of the classes are those of ``show_image_3d``. The widgets are
attributes: ``sliders.slice.value = 30`` scrolls as the mouse does.
"""

from __future__ import annotations

import html
import io
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from faimed3d._extras import import_extra
from faimed3d._keywords import StrictKeywords
from faimed3d.display.arrays import Limits, Voxels, as_array, geometry_of, value_range
from faimed3d.display.layout import PLANES
from faimed3d.display.slice_view import SliceView
from faimed3d.intensity import window_limits

_DPI = 100
_STEPS = 200  # of the window's slider


class SliceSliders(StrictKeywords):
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

    >>> viewer = SliceSliders(np.zeros((5, 6, 7)), axis=0)
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
        self._widgets = import_extra("ipywidgets", "viewer", "BasicViewer")
        self.x, self.y, self.prediction = (_on_cpu(value) for value in (x, y, prediction))
        image = self._channel(0)
        masks: list[Voxels | None]
        masks = [one_channel(mask) for mask in (self.y, self.prediction) if is_volume(mask)]
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

    def redraw(self) -> None:
        """Make the picture anew, after changes to ``figure`` by hand."""
        self.picture.value = png_of(self.figure)

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
        texts = [description and html.escape(description), verdict(self.y, self.prediction)]
        above = [widgets.HTML(f"<div style='text-align:center'>{text}</div>") for text in texts if text]
        controls = [self.picture, self.slice, self.window, self.plane]
        if self.channel.max:
            controls.append(self.channel)
        if masked:
            controls.append(widgets.HBox([self.mask, self.alpha]))
        width = f"{self.figure.get_figwidth() * _DPI + 20:.0f}px"
        self.box = widgets.VBox([*above, *controls], layout=widgets.Layout(width=width))

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


def _on_cpu(value: Any) -> Any:
    """A tensor as it is scrolled through fastest: on the CPU, of a type that numpy has."""
    if not isinstance(value, Tensor):
        return value
    value = value.detach().cpu()
    return value.float() if value.dtype in (torch.bfloat16, torch.float16) else value


def verdict(y: Any, prediction: Any) -> str | None:
    """HTML of target and prediction where they are text, the latter green or red.

    >>> verdict("ill", "ill")
    "ill | <span style='color:green'>ill</span>"
    """
    if is_volume(y) and is_volume(prediction):
        return "target | prediction"
    target, found = (None if value is None or is_volume(value) else str(value) for value in (y, prediction))
    if found is None:
        return target and html.escape(target)
    color = "black" if target is None else "green" if target == found else "red"
    found = f"<span style='color:{color}'>{html.escape(found)}</span>"
    return found if target is None else f"{html.escape(target)} | {found}"


def is_volume(value: Any) -> bool:
    """Whether a target is a mask, not a class in words."""
    return isinstance(value, Tensor | np.ndarray) and value.ndim >= 3


def one_channel(mask: Voxels) -> Voxels:
    """A mask (D, H, W) of one that may have a channel axis of 1."""
    if mask.ndim == 4 and len(mask) == 1:
        return mask[0]
    if mask.ndim != 3:
        raise ValueError(f"a mask must be (D, H, W), got shape {tuple(mask.shape)}")
    return mask


def png_of(figure: Figure) -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=_DPI, pil_kwargs={"compress_level": 1})
    return picture.getvalue()
