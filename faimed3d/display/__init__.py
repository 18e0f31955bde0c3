"""Pictures of volumes: mosaics of slices in true proportions, right way up, with masks laid over them.

How a volume is turned for the picture is said in :mod:`faimed3d.display.mosaic`. NaN is drawn in the darkest colour.
Classes of a mask have one colour each, see :func:`class_color`; 0 is transparent.
"""

from __future__ import annotations

import colorsys
from functools import cache, partial
from weakref import WeakKeyDictionary

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import torch
from fastcore.meta import delegates
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.patheffects import withStroke
from matplotlib.transforms import TransformedBbox

from faimed3d.display.mosaic import Mosaic, best_columns, lay_out, lay_over
from faimed3d.geometry import Geometry
from faimed3d.intensity import window_limits

__all__ = ["class_color", "show_image_3d", "show_images_3d", "show_volume"]

# "20 simple, distinct colors" by Sasha Trubetskoy, without its black, white and grey, red and green first
_FIRST_COLORS = [
    "#e6194b",
    "#3cb44b",
    "#ffe119",
    "#4363d8",
    "#f58231",
    "#42d4f4",
    "#f032e6",
    "#bfef45",
    "#fabed4",
    "#469990",
    "#dcbeff",
    "#9a6324",
    "#fffac8",
    "#800000",
    "#aaffc3",
    "#808000",
    "#ffd8b1",
    "#911eb4",
]

_HEAD = 0.4  # inches above a new mosaic for its title

_drawn: WeakKeyDictionary = WeakKeyDictionary()  # AxesImage -> its Mosaic, so that an overlay finds its place


def class_color(label):
    """The colour (red, green, blue), each 0 to 1, of class ``label``, the same in every picture.

    Classes 1 to 256 differ from each other; 257 looks like 1 again.

    >>> class_color(1) == class_color(257)
    True
    """
    if label < 1:
        raise ValueError(f"classes have labels from 1 up (0 is background), got {label!r}")
    return _class_colors()[(int(label) - 1) % 256]


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
            labels = all(_holds_classes(array) for array, _, _ in items)
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
        mosaic = Mosaic(layouts, best_columns(layouts, nrow, figsize if ax is None else _inches(ax)))
    arrays = [array for array, _, _ in items]
    if return_grid:
        fill = 0 if labels else min(_limits(array)[0] for array in arrays)
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
        _write_numbers(ax, mosaic)
    if letters:
        _write_letters(ax, mosaic)
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
    masks = None if mask is None else _single(mask)
    return _show(_single(t), masks, axis, figsize, cmap, nrow, alpha, return_grid, add_to_existing, **kwargs)


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
    masks = None if mask is None else _several(mask)
    return _show(_several(t), masks, axis, figsize, cmap, nrow, alpha, return_grid, add_to_existing, **kwargs)


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
    items = _several([t])
    if alpha is None:
        alpha = 0.5 if ax is not None and _mosaic_on(ax) and items[0][2] else 1.0
    if ax is None:
        nrow = nrow or 10
    else:
        max_slices = max_slices or 9
    masks = None if mask is None else _several([mask])
    return _show(items, masks, axis, figsize, cmap, nrow, alpha, False, False, ax=ax, max_slices=max_slices, **kwargs)


def _as_array(t):
    """The values of ``t`` as a plain numpy array that matplotlib can draw, without a copy where possible."""
    if isinstance(t, torch.Tensor):
        t = t.as_subclass(torch.Tensor).detach()
        if t.dtype in (torch.bfloat16, torch.float16):
            t = t.float()
        t = t.cpu().numpy()
    if not isinstance(t, np.ndarray) or t.dtype.kind not in "biuf":
        what = f"{type(t).__name__} of {t.dtype}" if isinstance(t, np.ndarray) else type(t).__name__
        raise TypeError(f"expected a torch.Tensor or numpy.ndarray of real numbers, got {what}")
    return t.astype(np.float32) if t.dtype == np.float16 else t


def _volumes(t):
    """Every (D, H, W) volume of ``t``, (D, H, W) or (C, D, H, W), as (array, geometry, is_labels)."""
    array = _as_array(t)
    if array.ndim not in (3, 4) or 0 in array.shape:
        raise ValueError(f"a volume must be (D, H, W) or (C, D, H, W) with at least one voxel, got shape {array.shape}")
    geometry = getattr(t, "geometry", None)
    if not isinstance(geometry, Geometry) or geometry.shape != array.shape[-3:]:
        geometry = None
    is_labels = getattr(t, "interpolation", None) == "nearest" or array.dtype == bool
    return [(one, geometry, is_labels) for one in (array if array.ndim == 4 else array[None])]


def _single(t):
    volumes = _volumes(t)
    if len(volumes) > 1:
        raise ValueError(
            f"show_image_3d draws one volume (D, H, W), got shape {tuple(t.shape)}: use show_images_3d for a batch or "
            "several channels, or pick one with t[i]"
        )
    return volumes


def _several(t):
    if not isinstance(t, (list, tuple)) and _as_array(t).ndim not in (4, 5):
        raise ValueError(
            f"show_images_3d draws a batch (N, D, H, W) or (N, C, D, H, W) or a list, got shape {tuple(t.shape)}: use "
            "show_image_3d for one volume"
        )
    volumes = [volume for one in t for volume in _volumes(one)]
    if not volumes:
        raise ValueError("there is no volume to show: the batch is empty")
    return volumes


def _holds_classes(array):
    """Whether all values are whole numbers from 0 up."""
    if array.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            return bool((array >= 0).all() and (array == np.floor(array)).all())
    return array.dtype == bool or bool(array.min() >= 0)


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


def _limits(array):
    """Smallest and largest finite value; (0, 1) where there is none."""
    low, high = array.min(), array.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        array = array[np.isfinite(array)]
        low, high = (array.min(), array.max()) if array.size else (0.0, 1.0)
    return low.item() if hasattr(low, "item") else low, high.item() if hasattr(high, "item") else high


def _color_range(arrays, window, kwargs):
    """The vmin and vmax for imshow; none where every volume is to have its own."""
    if window is not None:
        if given := {"vmin", "vmax", "norm"} & kwargs.keys():
            raise ValueError(f"give either window or {', '.join(sorted(given))}")
        return dict(zip(("vmin", "vmax"), window_limits(window), strict=True))
    if "norm" in kwargs or (len(arrays) > 1 and not {"vmin", "vmax"} & kwargs.keys()):
        return {}
    limits = [_limits(array) for array in arrays]
    return {
        "vmin": kwargs.get("vmin", min(low for low, _ in limits)),
        "vmax": kwargs.get("vmax", max(high for _, high in limits)),
    }


def _own_range(array):
    low, high = _limits(array)
    return (array.astype(np.float32) - low) / (high - low or 1)


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


def _inches(ax):
    space = TransformedBbox(ax.get_position(original=True), ax.figure.transSubfigure)
    return space.width / ax.figure.dpi, space.height / ax.figure.dpi


def _draw_image(ax, arrays, mosaic, cmap, alpha, kwargs):
    if not {"vmin", "vmax", "norm"} & kwargs.keys():
        arrays = [_own_range(array) for array in arrays]
        kwargs = {"vmin": 0, "vmax": 1, **kwargs}
    grid = mosaic.compose(arrays, min(_limits(array)[0] for array in arrays))
    cmap = mpl.colormaps.get_cmap(cmap)
    _imshow(ax, grid, mosaic, cmap=cmap.with_extremes(bad=cmap(0)), alpha=alpha, **kwargs)


def _draw_classes(ax, arrays, mosaic, cmap, alpha, kwargs):
    colors = _class_colors() if cmap == "bone" else _colors_of(mpl.colormaps.get_cmap(cmap))
    grid = mosaic.compose([_color_index(array) for array in arrays], 0)
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


def _color_index(array):
    """Labels as indices of the class colours: 0 for background, else 1 to 256."""
    if array.dtype.kind == "f":
        array = np.rint(np.nan_to_num(array, posinf=0)).astype(np.int64)
    elif array.dtype.kind == "b":
        array = array.view(np.uint8)
    if array.min() >= 0 and array.max() <= 256:
        return array.astype(np.int16)
    return np.where(array > 0, (array - 1) % 256 + 1, 0).astype(np.int16)


@cache
def _class_colors():
    """256 colours: chosen ones first, then hues in golden steps at changing lightness."""
    colors = [to_rgb(color) for color in _FIRST_COLORS]
    for k in range(256 - len(colors)):
        colors.append(colorsys.hls_to_rgb(k * 0.618034 % 1, (0.6, 0.45, 0.75)[k % 3], (0.9, 0.65)[k // 3 % 2]))
    return tuple(colors)


def _colors_of(cmap):
    """256 colours out of a colour map: its own in turn where they are few, else golden steps."""
    if cmap.N <= 64:
        return [cmap(k % cmap.N) for k in range(256)]
    return [cmap((0.75 + 0.618034 * k) % 1) for k in range(256)]


def _points(ax, mosaic):
    """Height in points of one slice as drawn."""
    width, height = _inches(ax)
    scale = min(width / mosaic.size[0], height / mosaic.size[1])
    return mosaic.cell[0] * mosaic.spacing[0] * scale * 72


def _write(ax, row, column, text, size, **kwargs):
    outline = [withStroke(linewidth=size / 5, foreground="black")]
    # unsnapped: outlined text is drawn as paths, and snapping to pixels takes the thin strokes of L, I and 1 away
    ax.text(column, row, text, color="white", fontsize=size, weight="bold", path_effects=outline, snap=False, **kwargs)


def _write_numbers(ax, mosaic):
    size = float(np.clip(_points(ax, mosaic) / 9, 3, 12))
    numbers = (number for layout in mosaic.layouts for number in layout.numbers)
    for (row, column), number in zip(mosaic.corners(), numbers, strict=True):
        _write(ax, row - 0.5, column - 0.5, f" {number}", size, ha="left", va="top")


def _write_letters(ax, mosaic):
    left, right, top, bottom = mosaic.layouts[0].edges
    (row, column), (height, width) = next(mosaic.corners()), mosaic.cell
    size = float(np.clip(_points(ax, mosaic) / 9, 3, 12))
    row, column = row - 0.5, column - 0.5
    _write(ax, row + height / 2, column, f" {left}", size, ha="left", va="center")
    _write(ax, row + height / 2, column + width, f"{right} ", size, ha="right", va="center")
    _write(ax, row, column + width / 2, top, size, ha="center", va="top")
    _write(ax, row + height, column + width / 2, bottom, size, ha="center", va="bottom")
