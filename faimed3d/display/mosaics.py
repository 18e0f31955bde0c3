"""Pictures of volumes: mosaics of slices in true proportions, right way up, with masks laid over them.

How a volume is oriented in the picture is said in :mod:`faimed3d.display.layout`. NaN is drawn in the darkest colour.
Classes of a mask have one colour each, see :func:`faimed3d.display.class_color`; 0 is transparent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import torch
from fastcore.meta import delegates
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.image import AxesImage
from matplotlib.patches import Patch

from faimed3d._keywords import strict_keywords
from faimed3d.display.annotations import inches, write_letters, write_numbers
from faimed3d.display.arrays import (
    PlainVolume,
    Voxels,
    all_volumes,
    holds_classes,
    one_mask,
    one_volume,
    scaled_to_one,
    value_range,
)
from faimed3d.display.artists import artist_keywords
from faimed3d.display.class_legend import class_handles, legend_height, name_classes
from faimed3d.display.colors import class_colors, color_index, colors_of
from faimed3d.display.default_window import default_window
from faimed3d.display.layout import Mosaic, best_columns, lay_out, lay_over
from faimed3d.intensity import window_limits

_THIN_ROW, _THIN_SLICES = 3, 30  # strips side by side, and at most in all
_HEAD = 0.4  # inches above a new mosaic for its title

_drawn: WeakKeyDictionary[AxesImage, Mosaic] = WeakKeyDictionary()  # so that an overlay finds what it lies on


@dataclass(frozen=True, slots=True)
class _Layer:
    """Volumes drawn together, and the mosaic of their slices."""

    arrays: list[np.ndarray]
    mosaic: Mosaic


def _show(
    t: Voxels | Sequence[Voxels],
    volumes: list[PlainVolume],
    masks: list[PlainVolume] | None,
    axis: int | str,
    figsize: tuple[float, float],
    cmap: str,
    nrow: int | None,
    alpha: float,
    return_grid: bool,
    add_to_existing: bool,
    *,
    window: str | tuple[float, float] | None = None,
    mask_alpha: float = 0.4,
    labels: bool | None = None,
    max_slices: int | None = None,
    slice_numbers: bool = False,
    letters: bool = False,
    legend: bool | None = None,
    title: str | None = None,
    ctx: Axes | None = None,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Any:
    """Draw volumes and the masks over them; arguments and result are those of :func:`show_images_3d`."""
    ax = ctx if ax is None else ax
    figsize = figsize or (15, 15)
    if add_to_existing and ax is None and not return_grid:
        ax = plt.gca()
    if labels is None:
        labels = all(volume.is_mask for volume in volumes)
        if add_to_existing and not labels:
            labels = all(holds_classes(volume.array) for volume in volumes)
    below = None if ax is None or return_grid else _mosaic_on(ax)
    if below is not None and (add_to_existing or labels):
        volumes = _one_for_each(volumes, len(below.layouts))
        layers = [_laid_over(below, volumes)]
    else:
        layers = _arranged(volumes, axis, max_slices, nrow, figsize if ax is None else inches(ax))
    if return_grid:
        pictures = [torch.from_numpy(layer.mosaic.compose(layer.arrays, _ground(layer, labels))) for layer in layers]
        return pictures if len(pictures) > 1 else pictures[0]
    if ax is not None and len(layers) > 1:
        raise ValueError(
            "the slices of the volumes differ in size or proportions, so every volume needs its own axes: call "
            "without ctx, ax and add_to_existing, or call show_image_3d for each"
        )
    if letters and any(layer.mosaic.layouts[0].geometry is None for layer in layers):
        raise ValueError("letters need a volume with a geometry; this one has none, so where R and L lie is not known")
    if window is None and not labels and not {"vmin", "vmax", "norm"} & kwargs.keys():
        window = default_window(t, volumes)
    overlays = _overlays(layers, masks, len(volumes))
    options = [kwargs if labels else {**kwargs, **_color_range(layer.arrays, window, kwargs)} for layer in layers]
    handles = []
    if legend or (legend is None and ax is None):
        handles = class_handles(masks if masks is not None else volumes if labels else [], cmap if labels else "bone")
    if ax is not None:
        axes = [ax]
        name_classes(ax, handles)
    else:
        axes = _new_axes([layer.mosaic.size for layer in layers], figsize, title, handles)
    if title is not None:
        axes[0].set_title(title)
    for one, layer, overlay, given in zip(axes, layers, overlays, options, strict=True):
        (_draw_classes if labels else _draw_image)(one, layer, cmap, alpha, given)
        if overlay is not None:
            _draw_classes(one, overlay, "bone", mask_alpha, {})
        if slice_numbers:
            write_numbers(one, layer.mosaic)
        if letters:
            write_letters(one, layer.mosaic)
    return axes if len(axes) > 1 else axes[0]


@strict_keywords(more=lambda args, kwargs: artist_keywords(AxesImage, Axes.imshow))
@delegates(_show, keep=True)
def show_image_3d(
    t: Voxels,
    axis: int | str = 0,
    figsize: tuple[float, float] = (15, 15),
    cmap: str = "bone",
    nrow: int | None = 10,
    alpha: float = 1.0,
    return_grid: bool = False,
    add_to_existing: bool = False,
    *,
    mask: Voxels | None = None,
    **kwargs: Any,
) -> Axes | torch.Tensor:
    """Draw the slices of a volume along one axis as a mosaic.

    Args:
        t: volume (D, H, W) or (1, D, H, W), torch tensor or numpy array of numbers.
        axis: storage axis to cut: 0, 1, 2 (negative counts from the end), or 'axial', 'coronal', 'sagittal'.
        figsize: largest (width, height) of a new figure in inches; the figure takes the mosaic's proportions within it.
        cmap: matplotlib colour map of an image; for a mask any other than the default replaces the class colours.
        nrow: slices side by side; None chooses the number that fills the space best.
        alpha: opacity, 0 to 1.
        return_grid: draw nothing and return the mosaic as a 2D tensor of the volume's values.
        add_to_existing: draw over the mosaic on the current axes (or ``ax``), slice on slice; ``axis``, ``nrow`` and
            ``max_slices`` are that mosaic's. Whole numbers from 0 up are then taken for classes (see ``labels``).
        mask: classes on the same grid to lay over the volume, with opacity ``mask_alpha``; of regions (R, D, H, W) the
            later one shows where two overlap.
        mask_alpha: opacity of ``mask``, 0 to 1.
        window: grey values to show, as a name in ``faimed3d.intensity.WINDOWS`` or (centre, width), in the units of the
            volume (HU for CT). Default: a CT with the window of its DICOM header, else with that of soft tissue;
            anything else from its minimum to its maximum, as 'full' shows all.
        labels: whether ``t`` holds classes. None: yes for mask types and booleans.
        max_slices: show at most this many slices, evenly spread. None: all.
        slice_numbers: write each slice's index along ``axis`` into its corner.
        letters: write at the edges of the first slice where the patient's R, L, A, P, S, I lie.
        legend: whether to name the classes of a mask that knows their names (``codes``). None: in a new figure.
        title: text above the mosaic.
        ctx: axes to draw on, in fastai's name.
        ax: axes to draw on, in matplotlib's name.
        **kwargs: passed to ``Axes.imshow``, such as ``vmin``, ``vmax``, ``interpolation``.

    Returns:
        The axes; with ``return_grid`` the mosaic as a tensor.

    Raises:
        TypeError: ``t`` is no array of real numbers.
        ValueError: wrong number of axes, unknown axis, plane or window; an overlay that does not lie on its image.

    >>> volume = torch.arange(24.0).reshape(2, 3, 4)
    >>> show_image_3d(volume, axis=2, nrow=2, return_grid=True).shape  # 2 x 2 slices of 2 x 3 voxels, 2 between
    torch.Size([10, 12])
    """
    masks = None if mask is None else one_volume(one_mask(mask))
    return _show(t, one_volume(t), masks, axis, figsize, cmap, nrow, alpha, return_grid, add_to_existing, **kwargs)


@strict_keywords(more=lambda args, kwargs: artist_keywords(AxesImage, Axes.imshow))
@delegates(_show, keep=True)
def show_images_3d(
    t: Voxels | Sequence[Voxels],
    axis: int | str = 0,
    figsize: tuple[float, float] = (15, 15),
    cmap: str = "bone",
    nrow: int | None = 10,
    alpha: float = 1.0,
    return_grid: bool = False,
    add_to_existing: bool = False,
    *,
    mask: Voxels | Sequence[Voxels] | None = None,
    **kwargs: Any,
) -> Axes | list[Axes] | torch.Tensor | list[torch.Tensor]:
    """Draw several volumes as one mosaic: all slices of the first, then all of the second, and so on.

    Unless ``window`` or ``vmin``/``vmax`` say otherwise every volume that is no CT is drawn from its own minimum to its
    own maximum.
    Volumes whose slices differ in size or proportions do not fit one mosaic: each gets its own axes, one below the
    other in one figure.

    Args:
        t: batch (N, D, H, W) or (N, C, D, H, W), or a list of volumes (D, H, W) or (C, D, H, W). With C > 1 every
            channel is drawn as a volume of its own, in storage order.
        axis: this and all arguments not listed here are those of :func:`show_image_3d`.
        mask: classes to lay over the volumes, in the same form as ``t``; a list of one serves all.
        max_slices: show at most this many slices of each volume.

    Returns:
        The axes; a list of axes where the volumes do not fit one mosaic. With ``return_grid`` the mosaic as a tensor of
        the volumes' own values, or a list of them.

    Raises:
        TypeError, ValueError: as :func:`show_image_3d`.

    >>> batch = torch.zeros(3, 2, 5, 5)
    >>> show_images_3d(batch, nrow=6, return_grid=True).shape  # 6 slices of 5 x 5 side by side, 2 between
    torch.Size([9, 44])
    """
    masks = None if mask is None else all_volumes(mask)
    return _show(t, all_volumes(t), masks, axis, figsize, cmap, nrow, alpha, return_grid, add_to_existing, **kwargs)


@strict_keywords(more=lambda args, kwargs: artist_keywords(AxesImage, Axes.imshow))
@delegates(_show, keep=True)
def show_volume(
    t: Voxels,
    ctx: Axes | None = None,
    ax: Axes | None = None,
    *,
    axis: int | str = 0,
    figsize: tuple[float, float] = (15, 15),
    cmap: str = "bone",
    nrow: int | None = None,
    alpha: float | None = None,
    max_slices: int | None = None,
    mask: Voxels | None = None,
    add_to_existing: bool = False,
    **kwargs: Any,
) -> Axes:
    """Draw a volume or a batch: what a tensor's ``show`` calls, also inside fastai's show_batch.

    In a new figure it is the whole mosaic of :func:`show_image_3d`; on given axes, often small, a few slices of it. A
    mask shown on the axes of its image is laid over it.

    Args:
        t: volume (D, H, W) or (C, D, H, W), or batch (B, C, D, H, W); every channel is drawn as a volume of its own.
        ctx: axes to draw on (fastai's name), or None for a new figure.
        ax: the same, matplotlib's name.
        axis: this and all arguments not listed here are those of :func:`show_image_3d`.
        nrow: slices side by side. None: 10 in a new figure (3 where they are strips, four times as wide as high), on
            given axes the number that fills them best.
        alpha: opacity. None: 0.5 for a mask laid over an image, else 1.
        max_slices: show at most this many slices of each channel. None: all in a new figure (of strips 30, evenly
            spread), 9 on given axes.
        mask: classes on the same grid to lay over the volume.
        add_to_existing: draw over what the current axes (or ``ctx``) show, slice on slice.

    Returns:
        The axes.

    Raises:
        TypeError, ValueError: as :func:`show_image_3d`.

    >>> from matplotlib.figure import Figure
    >>> ax = show_volume(torch.rand(20, 3, 4), ax=Figure().subplots(), nrow=3)
    >>> ax.images[0].get_array().shape  # 9 of the 20 slices, 3 x 3
    (17, 20)
    """
    ax = ctx if ax is None else ax
    if add_to_existing and ax is None:
        ax = plt.gca()
    if getattr(t, "ndim", None) == 2:  # one slice: without a geometry, so as it is stored
        t, mask = t[None], None if mask is None or mask.ndim > 2 else mask[None]
    volumes = all_volumes(t if getattr(t, "ndim", 0) == 5 else [t])
    if alpha is None:
        alpha = 0.5 if ax is not None and _mosaic_on(ax) and volumes[0].is_mask else 1.0
    if ax is not None:
        max_slices = max_slices or 9
    elif nrow is None and max_slices is None and _is_thin(volumes[0], axis):
        nrow, max_slices = _THIN_ROW, _THIN_SLICES
    if mask is not None and len(volumes) == 1:
        mask = one_mask(mask)
    masks = None if mask is None else all_volumes(mask if getattr(mask, "ndim", 0) == 5 else [mask])
    nrow = nrow or (10 if ax is None else None)
    options = {"ax": ax, "max_slices": max_slices, **kwargs}
    return _show(t, volumes, masks, axis, figsize, cmap, nrow, alpha, False, add_to_existing, **options)


def _is_thin(volume: PlainVolume, axis: int | str) -> bool:
    """Whether the slices along ``axis`` are strips, of which a row of ten is unreadable."""
    width, height = Mosaic((lay_out(volume.array.shape, volume.geometry, axis, 1),), 1).size
    return 4 * height < width


def _arranged(
    volumes: list[PlainVolume],
    axis: int | str,
    max_slices: int | None,
    nrow: int | None,
    space: tuple[float, float],
) -> list[_Layer]:
    """All volumes in one mosaic where they fit one, else each in its own."""
    arrays = [volume.array for volume in volumes]
    layouts = tuple(lay_out(volume.array.shape, volume.geometry, axis, max_slices) for volume in volumes)
    if all(layout.fits(layouts[0]) for layout in layouts):
        return [_Layer(arrays, Mosaic(layouts, best_columns(layouts, nrow, space)))]
    return [
        _Layer([array], Mosaic((layout,), best_columns((layout,), nrow, space)))
        for array, layout in zip(arrays, layouts, strict=True)
    ]


def _overlays(layers: list[_Layer], masks: list[PlainVolume] | None, count: int) -> list[_Layer | None]:
    """The masks over each layer; together the layers hold ``count`` volumes."""
    if masks is None:
        return [None] * len(layers)
    rest = iter(_one_for_each(masks, count))
    return [_laid_over(layer.mosaic, [next(rest) for _ in layer.arrays]) for layer in layers]


def _laid_over(below: Mosaic, volumes: list[PlainVolume]) -> _Layer:
    arrays = [volume.array for volume in volumes]
    return _Layer(arrays, lay_over(below, [a.shape for a in arrays], [volume.geometry for volume in volumes]))


def _one_for_each(volumes: list[PlainVolume], count: int) -> list[PlainVolume]:
    """One volume to lay over each of ``count``; a single one serves all."""
    if len(volumes) not in (1, count):
        raise ValueError(f"there are {len(volumes)} volumes to lay over {count}: give one, or one for each")
    return volumes * (count if len(volumes) == 1 else 1)


def _mosaic_on(ax: Axes) -> Mosaic | None:
    """The mosaic that is drawn on the axes, if any."""
    return next((_drawn[image] for image in ax.images if image in _drawn), None)


def _new_axes(
    sizes: list[tuple[float, float]], figsize: tuple[float, float], title: str | None, handles: list[Patch]
) -> list[Axes]:
    """Axes of equal width one below the other, of the proportions of ``sizes`` (width, height), in a new figure."""
    heights = [height / width for width, height in sizes]
    head = 0 if title is None else _HEAD
    width = min(figsize[0], (figsize[1] - head) / sum(heights))
    foot = legend_height(handles, width)
    height = width * sum(heights) + head + foot
    space = {"left": 0, "right": 1, "bottom": foot / height, "top": 1 - head / height, "hspace": 0.02}
    figure = plt.figure(figsize=(width, height))
    name_classes(figure, handles)
    return list(figure.subplots(len(sizes), squeeze=False, gridspec_kw={"height_ratios": heights, **space}).flat)


def _color_range(
    arrays: list[np.ndarray], window: str | tuple[float, float] | None, kwargs: Mapping[str, Any]
) -> dict[str, float]:
    """The vmin and vmax for imshow; none where every volume is to have its own."""
    if window is not None and window != "full":
        if given := {"vmin", "vmax", "norm"} & kwargs.keys():
            raise ValueError(f"give either window or {', '.join(sorted(given))}")
        return dict(zip(("vmin", "vmax"), window_limits(window), strict=True))
    if "norm" in kwargs or (len(arrays) > 1 and not {"vmin", "vmax"} & kwargs.keys()):
        return {}
    ranges = [value_range(array) for array in arrays]
    return {
        "vmin": kwargs.get("vmin", min(low for low, _ in ranges)),
        "vmax": kwargs.get("vmax", max(high for _, high in ranges)),
    }


def _ground(layer: _Layer, labels: bool = False) -> float:
    """The value between the slices: background, of images the darkest."""
    return 0 if labels else min(value_range(array)[0] for array in layer.arrays)


def _draw_image(ax: Axes, layer: _Layer, cmap: str, alpha: float, kwargs: Mapping[str, Any]) -> None:
    if not {"vmin", "vmax", "norm"} & kwargs.keys():
        layer = _Layer([scaled_to_one(array) for array in layer.arrays], layer.mosaic)
        kwargs = {"vmin": 0, "vmax": 1, **kwargs}
    colors = mpl.colormaps.get_cmap(cmap)
    picture = layer.mosaic.compose(layer.arrays, _ground(layer))
    _imshow(ax, picture, layer.mosaic, cmap=colors.with_extremes(bad=colors(0)), alpha=alpha, **kwargs)


def _draw_classes(ax: Axes, layer: _Layer, cmap: str, alpha: float, kwargs: Mapping[str, Any]) -> None:
    colors = class_colors() if cmap == "bone" else colors_of(mpl.colormaps.get_cmap(cmap))
    picture = layer.mosaic.compose([color_index(array) for array in layer.arrays], 0)
    own = {"cmap": ListedColormap(["black", *colors]), "vmin": -0.5, "vmax": 256.5, "interpolation": "nearest"}
    _imshow(ax, np.ma.masked_equal(picture, 0), layer.mosaic, **{**kwargs, **own}, alpha=alpha)


def _imshow(ax: Axes, picture: np.ndarray, mosaic: Mosaic, **kwargs: Any) -> None:
    # resampled as values, not as colours: a third of the time for a whole CT
    options = {"aspect": mosaic.spacing[0] / mosaic.spacing[1], "interpolation_stage": "data", **kwargs}
    _drawn[ax.imshow(picture, **options)] = mosaic
    # not ax.axis("off"): it would hide the ground too, and gaps, NaN and the 0 of masks would be white
    ax.set(facecolor="black", xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
