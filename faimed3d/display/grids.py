"""Pictures of volumes: mosaics of slices in true proportions, right way up, with masks laid over them.

How a volume is turned for the picture is said in :mod:`faimed3d.display.layout`. NaN is drawn in the darkest colour.
Classes of a mask have one colour each, see :func:`class_color`; 0 is transparent.
"""

from __future__ import annotations

from functools import partial
from weakref import WeakKeyDictionary

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import torch
from fastcore.meta import delegates
from matplotlib.colors import ListedColormap

from faimed3d.display.annotations import inches, write_letters, write_numbers
from faimed3d.display.arrays import holds_classes, own_range, several, single, value_range
from faimed3d.display.colors import class_color, class_colors, color_index, colors_of
from faimed3d.display.layout import Mosaic, best_columns, lay_out, lay_over
from faimed3d.intensity import window_limits

__all__ = ["class_color", "show_image_3d", "show_images_3d", "show_volume"]

_HEAD = 0.4  # inches above a new mosaic for its title

_drawn: WeakKeyDictionary = WeakKeyDictionary()  # AxesImage -> its Mosaic, so that an overlay finds its place


def _show(
    items,
    masks,
    axis,
    figsize,
    cmap,
    nrow,
    alpha,
    return_grid,
    add_to_existing,
    *,
    window=None,
    mask_alpha=0.4,
    labels=None,
    max_slices=None,
    slice_numbers=False,
    letters=False,
    title=None,
    ctx=None,
    ax=None,
    **kwargs,
):
    """Draw ``items``, each an (array, geometry, is_labels), and ``masks`` over them; see :func:`show_image_3d`."""
    ax = ctx if ax is None else ax
    figsize = figsize or (15, 15)
    if add_to_existing and ax is None and not return_grid:
        ax = plt.gca()
    under = None if ax is None or return_grid else _mosaic_on(ax)
    if labels is None:
        labels = all(is_labels for _, _, is_labels in items)
        if add_to_existing and not labels:
            labels = all(holds_classes(array) for array, _, _ in items)
    if masks is not None:
        masks = _for_each(masks, len(items))
    if under and (add_to_existing or labels):
        items = _for_each(items, len(under.layouts))
        mosaic = _over(under, items)
    else:
        layouts = tuple(lay_out(array.shape, geometry, axis, max_slices) for array, geometry, _ in items)
        if not all(layout.fits(layouts[0]) for layout in layouts):
            draw = partial(
                _show,
                **{"axis": axis, "figsize": figsize, "cmap": cmap, "nrow": nrow, "alpha": alpha},
                return_grid=return_grid,
                add_to_existing=False,
                window=window,
                mask_alpha=mask_alpha,
                labels=labels,
                max_slices=max_slices,
                slice_numbers=slice_numbers,
                letters=letters,
                **kwargs,
            )
            if return_grid:
                return [draw([item], None) for item in items]
            if ax is not None:
                raise ValueError(
                    "the slices of the volumes differ in size or proportions, so every volume needs its own axes: call "
                    "without ctx, ax and add_to_existing, or call show_image_3d for each"
                )
            mosaics = [Mosaic((layout,), best_columns((layout,), nrow, figsize)) for layout in layouts]
            axes = _stacked_axes([mosaic.size for mosaic in mosaics], figsize, title)
            masks = [None] * len(items) if masks is None else [[mask] for mask in masks]
            return [draw([item], over, ax=one) for item, over, one in zip(items, masks, axes, strict=True)]
        mosaic = Mosaic(layouts, best_columns(layouts, nrow, figsize if ax is None else inches(ax)))
    arrays = [array for array, _, _ in items]
    if return_grid:
        fill = 0 if labels else min(value_range(array)[0] for array in arrays)
        return torch.from_numpy(mosaic.compose(arrays, fill))
    over = None if masks is None else _over(mosaic, masks)
    colors = None if labels else _color_range(arrays, window, kwargs)
    if letters and mosaic.layouts[0].geometry is None:
        raise ValueError("letters need a volume with a geometry; this one has none, so where R and L lie is not known")
    if ax is None:
        ax = _new_axes(mosaic.size, figsize, title)
    if labels:
        _draw_classes(ax, arrays, mosaic, cmap, alpha, kwargs)
    else:
        _draw_image(ax, arrays, mosaic, cmap, alpha, {**kwargs, **colors})
    if masks is not None:
        _draw_classes(ax, [array for array, _, _ in masks], over, "bone", mask_alpha, {})
    if slice_numbers:
        write_numbers(ax, mosaic)
    if letters:
        write_letters(ax, mosaic)
    if title is not None:
        ax.set_title(title)
    return ax


@delegates(_show, keep=True)
def show_image_3d(
    t,
    axis=0,
    figsize=(15, 15),
    cmap="bone",
    nrow=10,
    alpha=1.0,
    return_grid=False,
    add_to_existing=False,
    *,
    mask=None,
    **kwargs,
):
    """Draw the slices of a volume along one axis as a mosaic.

    Args:
        t: volume (D, H, W) or (1, D, H, W), torch tensor or numpy array of numbers.
        axis: storage axis to cut: 0, 1, 2 (negative counts from the end), or 'axial', 'coronal', 'sagittal'.
        figsize: largest (width, height) of a new figure in inches; the figure takes the mosaic's proportions within it.
        cmap: matplotlib colour map of an image; for a mask any other than the default replaces the class colours.
        nrow: slices in a row; None chooses the number that fills the space best.
        alpha: opacity, 0 to 1.
        return_grid: return the mosaic as a tensor (rows, columns) of the volume's values and draw nothing.
        add_to_existing: draw over the mosaic on the current axes (or ``ax``), slice on slice; ``axis``, ``nrow`` and
            ``max_slices`` are that mosaic's. Whole numbers from 0 up are then taken for classes (see ``labels``).
        mask: classes on the same grid to lay over the volume, with opacity ``mask_alpha``.
        mask_alpha: opacity of ``mask``, 0 to 1.
        window: grey values to show, as a name in ``faimed3d.intensity.WINDOWS`` or (centre, width), in the units of the
            volume (HU for CT). Default: from its minimum to its maximum.
        labels: whether ``t`` holds classes. None: yes for mask types and booleans.
        max_slices: show at most this many slices, evenly spread. None: all.
        slice_numbers: write each slice's index along ``axis`` into its corner.
        letters: write at the edges of the first slice where the patient's R, L, A, P, S, I lie.
        title: text above the mosaic.
        ctx: axes to draw on, in fastai's name.
        ax: axes to draw on, in matplotlib's name.
        **kwargs: passed to ``Axes.imshow``, such as ``vmin``, ``vmax``, ``interpolation``.

    Returns:
        The axes; with ``return_grid`` the mosaic as a tensor.

    Raises:
        TypeError: ``t`` is no array of real numbers.
        ValueError: wrong number of axes, unknown axis, plane or window; an overlay that does not lie on its image.
    """
    masks = None if mask is None else single(mask)
    return _show(single(t), masks, axis, figsize, cmap, nrow, alpha, return_grid, add_to_existing, **kwargs)


@delegates(_show, keep=True)
def show_images_3d(
    t,
    axis=0,
    figsize=(15, 15),
    cmap="bone",
    nrow=10,
    alpha=1.0,
    return_grid=False,
    add_to_existing=False,
    *,
    mask=None,
    **kwargs,
):
    """Draw several volumes as one mosaic: all slices of the first, then all of the second, and so on.

    Unless ``window`` or ``vmin``/``vmax`` say otherwise every volume is drawn from its own minimum to its own maximum.
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
    """
    masks = None if mask is None else several(mask)
    return _show(several(t), masks, axis, figsize, cmap, nrow, alpha, return_grid, add_to_existing, **kwargs)


@delegates(_show, keep=True)
def show_volume(
    t,
    ctx=None,
    ax=None,
    *,
    axis=0,
    figsize=(15, 15),
    cmap="bone",
    nrow=None,
    alpha=None,
    max_slices=None,
    mask=None,
    **kwargs,
):
    """Draw a volume: what a tensor's ``show`` calls, also inside fastai's show_batch.

    In a new figure it is the whole mosaic of :func:`show_image_3d`; on given axes, often small, a few slices of it. A
    mask shown on the axes of its image is laid over it.

    Args:
        t: volume (D, H, W) or (C, D, H, W); every channel is drawn as a volume of its own.
        ctx: axes to draw on (fastai's name), or None for a new figure.
        ax: the same, matplotlib's name.
        axis: this and all arguments not listed here are those of :func:`show_image_3d`.
        nrow: slices in a row. None: 10 in a new figure, on given axes the number that fills them best.
        alpha: opacity. None: 0.5 for a mask laid over an image, else 1.
        max_slices: show at most this many slices of each channel. None: all in a new figure, 9 on given axes.

    Returns:
        The axes.
    """
    ax = ctx if ax is None else ax
    items = several([t])
    if alpha is None:
        alpha = 0.5 if ax is not None and _mosaic_on(ax) and items[0][2] else 1.0
    if ax is None:
        nrow = nrow or 10
    else:
        max_slices = max_slices or 9
    masks = None if mask is None else several([mask])
    return _show(items, masks, axis, figsize, cmap, nrow, alpha, False, False, ax=ax, max_slices=max_slices, **kwargs)


def _for_each(masks, count):
    """One mask for each of ``count`` volumes; a single one serves all."""
    if len(masks) not in (1, count):
        raise ValueError(f"there are {len(masks)} volumes to lay over {count}: give one, or one for each")
    return masks * (count if len(masks) == 1 else 1)


def _over(under, items):
    return lay_over(under, [array.shape for array, _, _ in items], [geometry for _, geometry, _ in items])


def _mosaic_on(ax):
    """The mosaic that is drawn on the axes, if any."""
    return next((_drawn[image] for image in ax.images if image in _drawn), None)


def _color_range(arrays, window, kwargs):
    """The vmin and vmax for imshow; none where every volume is to have its own."""
    if window is not None:
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


def _new_axes(size, figsize, title):
    """Axes that fill a new figure of the proportions of ``size`` (width, height), at most ``figsize`` inches."""
    head = 0 if title is None else _HEAD
    scale = min(figsize[0] / size[0], (figsize[1] - head) / size[1])
    width, height = size[0] * scale, size[1] * scale
    figure = plt.figure(figsize=(width, height + head))
    return figure.add_axes((0, 0, 1, height / (height + head)))


def _stacked_axes(sizes, figsize, title):
    """Axes of equal width one below the other, of the proportions of ``sizes`` (width, height)."""
    heights = [height / width for width, height in sizes]
    head = 0 if title is None else _HEAD
    width = min(figsize[0], (figsize[1] - head) / sum(heights))
    height = width * sum(heights) + head
    space = {"left": 0, "right": 1, "bottom": 0, "top": 1 - head / height, "hspace": 0.02}
    figure = plt.figure(figsize=(width, height))
    axes = figure.subplots(len(sizes), gridspec_kw={"height_ratios": heights, **space})
    if title is not None:
        axes[0].set_title(title)
    return axes


def _draw_image(ax, arrays, mosaic, cmap, alpha, kwargs):
    if not {"vmin", "vmax", "norm"} & kwargs.keys():
        arrays = [own_range(array) for array in arrays]
        kwargs = {"vmin": 0, "vmax": 1, **kwargs}
    grid = mosaic.compose(arrays, min(value_range(array)[0] for array in arrays))
    cmap = mpl.colormaps.get_cmap(cmap)
    _imshow(ax, grid, mosaic, cmap=cmap.with_extremes(bad=cmap(0)), alpha=alpha, **kwargs)


def _draw_classes(ax, arrays, mosaic, cmap, alpha, kwargs):
    colors = class_colors() if cmap == "bone" else colors_of(mpl.colormaps.get_cmap(cmap))
    grid = mosaic.compose([color_index(array) for array in arrays], 0)
    own = {"cmap": ListedColormap(["black", *colors]), "vmin": -0.5, "vmax": 256.5, "interpolation": "nearest"}
    _imshow(ax, np.ma.masked_equal(grid, 0), mosaic, **{**kwargs, **own}, alpha=alpha)


def _imshow(ax, grid, mosaic, **kwargs):
    # resampled as values, not as colours: a third of the time for a whole CT
    image = ax.imshow(
        grid, **{"aspect": mosaic.spacing[0] / mosaic.spacing[1], "interpolation_stage": "data", **kwargs}
    )
    _drawn[image] = mosaic
    # not ax.axis("off"): it would hide the ground too, and gaps, NaN and the 0 of masks would be white
    ax.set(facecolor="black", xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
