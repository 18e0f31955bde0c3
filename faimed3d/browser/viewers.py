"""``view_3d`` by the names of faimed3d 0.0.6: with a line of text, with statistics, or of several volumes.

Where the package of the viewer is not installed they are sliders over slices, which need only ipywidgets.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from itertools import islice
from typing import Any

import numpy as np
from fastcore.basics import chunked

from faimed3d._extras import import_extra
from faimed3d._keywords import StrictKeywords, keywords_of, strict_keywords
from faimed3d.browser.case_list import CaseList, ListedView
from faimed3d.browser.view import View3D, view_3d
from faimed3d.display.arrays import Limits, Voxels, geometry_of
from faimed3d.display.layout import PLANES, lay_out
from faimed3d.display.sliders import SliceSliders, is_volume, one_channel, verdict
from faimed3d.display.surfaces import labels_of
from faimed3d.display.values_panel import ValuesPanel
from faimed3d.masks.labels import is_mask

_HEIGHT = 140  # pixels of the viewer for each inch of ``figsize``


class BasicViewer(StrictKeywords):
    """A volume in the viewer of ``view_3d``, with text above; where that is not installed, one slice with sliders.

    Args:
        x: image (D, H, W) or (C, D, H, W), tensor or array.
        y: mask on the same grid, or a class as text.
        prediction: the same, predicted. A mask is shown beside ``y``, and its errors can be chosen; a class is green
            where it is that of ``y``.
        description: text above.
        figsize: (width, height) in inches of one picture with sliders; of the viewer the height counts.
        cmap: colour map of the image. Any but the default has sliders: the viewer draws grey values.
        axis: plane at first: 'axial', 'coronal', 'sagittal', or a storage axis 0, 1, 2. Default: all three; with
            sliders axial, without a geometry 0.
        window: grey values at first, as a name in ``faimed3d.intensity.WINDOWS`` or (centre, width). Default: that of
            ``view_3d``; with sliders all.
        mask_alpha: opacity of masks at first.

    Attributes:
        view: the ``View3D``, or None.
        sliders: the ``faimed3d.display.sliders.SliceSliders`` where there is no view, or None.

    Raises:
        ImportError: neither the viewer nor ipywidgets is installed.
        ValueError: ``x`` is no volume, or a mask does not lie on its grid.

    >>> viewer = BasicViewer(np.zeros((5, 6, 7)), y="healthy")
    >>> viewer.view
    View3D(5x6x7 voxels (D, H, W))
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
        self.x, self.y, self.prediction, self.description = x, y, prediction, description
        self.view: View3D | None = None
        self.sliders: SliceSliders | None = None
        if has_engine() and cmap == "bone":
            height = round(_HEIGHT * figsize[1])
            self.view = _view(x, y, prediction, axis, {"window": window, "opacity": mask_alpha, "height": height})
        else:
            more: dict[str, Any] = {"axis": axis, "window": window, "mask_alpha": mask_alpha}
            self.sliders = SliceSliders(x, y, prediction, description, figsize, cmap, **more)

    @cached_property
    def box(self) -> Any:  # of ipywidgets
        """The widget that holds all."""
        if self.view is None:
            assert self.sliders is not None  # one of them is made
            return self.sliders.box
        widgets = import_extra("ipywidgets", "viewer", type(self).__name__)
        texts = [self.description and html.escape(self.description), verdict(self.y, self.prediction)]
        above = [widgets.HTML(f"<div style='text-align:center'>{text}</div>") for text in texts if text]
        return widgets.VBox([*above, self.view.widget])

    def show(self) -> None:
        """Display the viewer in the notebook."""
        import_extra("IPython.display", "viewer", f"{type(self).__name__}.show").display(self.box)

    def _ipython_display_(self) -> None:
        self.show()


class DicomExplorer(BasicViewer):
    """A volume with its histogram and statistics; moving the window shows which values it holds, and their numbers.

    Args:
        x, y, prediction, description, figsize, cmap, axis, window, mask_alpha: of :class:`BasicViewer`.

    >>> explorer = DicomExplorer(np.arange(24.0).reshape(2, 3, 4))
    >>> explorer.view.window = (11, 2)
    >>> explorer.statistics["voxels"], explorer.statistics["mean"]
    (3, 11.0)
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._panel = ValuesPanel(self._image, self._limits)
        if self.sliders is None:
            self.view.widget.observe(self._change_window, ["window"])  # type: ignore[union-attr]  # one of them is made
            self.view.widget.observe(self._change_channel, ["channel"])  # type: ignore[union-attr]
        else:
            self.sliders.window.continuous_update = False  # all voxels are counted each time
            self.sliders.window.observe(self._change_window, "value")
            self.sliders.channel.observe(self._change_channel, "value")

    @property
    def histogram(self) -> Any:  # of matplotlib
        """The matplotlib axes of the histogram."""
        return self._panel.histogram

    @property
    def statistics(self) -> dict[str, Any]:
        """Numbers of the voxels within the window, of the channel that is shown: :func:`faimed3d.display.summarize`."""
        return self._panel.statistics

    @cached_property
    def box(self) -> Any:  # of ipywidgets
        """The widget that holds all."""
        return import_extra("ipywidgets", "viewer", "DicomExplorer").HBox([super().box, self._panel.box])

    @property
    def _image(self) -> Voxels:
        channel = self.view.channel if self.view is not None else self.sliders.channel.value  # type: ignore[union-attr]
        return self.x if self.x.ndim == 3 else self.x[channel]

    @property
    def _limits(self) -> Limits:
        if self.view is None:
            return self.sliders.window.value  # type: ignore[union-attr]  # one of them is made
        centre, width = self.view.window
        return centre - width / 2, centre + width / 2

    def _change_window(self, change: Any) -> None:
        self._panel.measure(self._limits)

    def _change_channel(self, change: Any) -> None:
        self._panel.count(self._image, self._limits)


class ListViewer:
    """Several volumes: a list beside the viewer of ``view_3d``; where that is not installed, each with sliders.

    Args:
        x: images, a list or a batch (B, C, D, H, W) or (B, D, H, W).
        y: masks or classes of all, in a list or a batch, or None.
        prediction: the same, predicted.
        description: one text for all, or a list.
        figsize: (width, height) in inches of one picture with sliders; of the viewer the height counts.
        cmap: colour map of the images.
        max_n: show at most this many.
        **kwargs: of :class:`BasicViewer`.

    Attributes:
        viewers: the :class:`BasicViewer` of each volume.

    Raises:
        ImportError: neither the viewer nor ipywidgets is installed.
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

    @cached_property
    def box(self) -> Any:  # of ipywidgets
        """The widget that holds all."""
        if self.viewers[0].view is not None:
            return CaseList([_listed(number, one) for number, one in enumerate(self.viewers)]).widget
        widgets = import_extra("ipywidgets", "viewer", "ListViewer")
        across = math.ceil(math.sqrt(len(self.viewers)))
        return widgets.VBox([widgets.HBox([one.box for one in part]) for part in chunked(self.viewers, across)])

    def show(self) -> None:
        """Display the viewers in the notebook."""
        import_extra("IPython.display", "viewer", "ListViewer.show").display(self.box)

    def _ipython_display_(self) -> None:
        self.show()


def has_engine() -> bool:
    """Whether the package that ``view_3d`` needs is installed."""
    return find_spec("ipyniivue") is not None


def _view(x: Any, y: Any, prediction: Any, axis: int | str | None, options: dict[str, Any]) -> View3D:
    masks = [(name, _labels(one)) for name, one in (("target", y), ("prediction", prediction)) if is_volume(one)]
    (first, mask), (second, other) = [*masks, ("mask", None), ("other", None)][:2]
    view = view_3d(x, mask, other, names=(first, second), **options)
    view.beside = len(masks) == 2
    if axis is not None:
        image = x if x.ndim == 3 else x[0]
        view.plane = PLANES[lay_out(tuple(image.shape), geometry_of(image), axis).plane]
    return view


def _labels(mask: Any) -> Any:  # a tensor or an array
    """A mask (D, H, W), as labels also where it is of another type."""
    mask = one_channel(mask)
    return mask if is_mask(mask) else np.asarray(labels_of(mask, None).array)


def _listed(number: int, one: BasicViewer) -> ListedView:
    assert one.view is not None  # who has sliders is in no list
    facts: list[str] = []
    flags: list[str] = []
    for name, target in (("target", one.y), ("prediction", one.prediction)):
        if target is not None and not is_volume(target):
            wrong = name == "prediction" and one.y is not None and not is_volume(one.y) and str(one.y) != str(target)
            (flags if wrong else facts).append(f"{name}: {target}")
    return ListedView(one.description or f"volume {number}", one.view, tuple(facts), tuple(flags))


def _one_for_each(name: str, values: Sequence[Any] | Voxels | None, count: int) -> Sequence[Any] | Voxels:
    """One value for each of ``count`` volumes."""
    if values is None:
        return [None] * count
    if len(values) != count:
        raise ValueError(f"there are {count} volumes and {len(values)} entries of {name}: give one for each")
    return values
