"""What fastai's ``show_batch``, ``show_results`` and ``plot_top_losses`` draw for volumes: one telling slice an item.

Importing this module registers the functions with fastai, which picks them by the types of a batch. All take:

- ``max_n`` or ``n``: items to show at most.
- ``axis``: storage axis to cut (0, 1, 2) or ``'axial'``, ``'coronal'``, ``'sagittal'``. The slice is the one with most
  to see: that which holds most of the labelled classes, each counted by its share; without labels the one whose values
  vary most.
- ``max_slices``: above 1, that many slices evenly spread, as a mosaic.
- ``nrows``, ``ncols``, ``figsize``, ``ctxs`` as in fastai; further arguments are those of ``show_image_3d``, such as
  ``window``, ``cmap``, ``mask_alpha``, ``letters``.

Proportions are true where the item has a geometry. With ``interactive`` whole volumes are shown in the viewer instead,
see :mod:`faimed3d.data.interactive`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from fastai.data.core import show_batch, show_results
from fastai.data.transforms import Category
from fastai.torch_core import TensorCategory, TensorMultiCategory, show_title
from fastcore.foundation import L
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.patches import Patch
from torch import Tensor

from faimed3d._keywords import keywords_of, refuse_unknown
from faimed3d.data.interactive import show_items, text_of
from faimed3d.display import class_color, show_volume
from faimed3d.display.arrays import as_array
from faimed3d.display.artists import artist_keywords
from faimed3d.display.layout import lay_out
from faimed3d.display.telling_slice import telling_slice
from faimed3d.masks import is_mask, merge_regions
from faimed3d.masks.codes import class_name
from faimed3d.volume import TensorDicom3D, TensorMask3D

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # fastai.tabular sets an option that pandas 3 has given up
    from fastai.interpret import plot_top_losses

_SIDE = 3.2  # inches: width of one picture
_HEAD = 0.4  # height above one for its title


def _new_axes(
    count: int,
    across: int | None,
    nrows: int | None,
    ncols: int | None,
    figsize: tuple[float, float] | None,
    title: str | None,
    ratio: float,
) -> list[Axes]:
    """Axes for ``count`` pictures of ``ratio`` height to width; the figure's size follows from them."""
    if across:
        nrows, ncols = math.ceil(count / across), across
    elif nrows:
        ncols = ncols or math.ceil(count / nrows)
    else:
        ncols = ncols or math.ceil(math.sqrt(count))
        nrows = math.ceil(count / ncols)
    figsize = figsize or (ncols * _SIDE, nrows * (_SIDE * ratio + _HEAD) + (_HEAD if title is not None else 0))
    figure, axes = plt.subplots(nrows, ncols, figsize=figsize, squeeze=False, layout="constrained")
    for ax in axes.flat:
        ax.set_axis_off()
    if title is not None:
        figure.suptitle(title)
    return list(axes.flat)[:count]


def _ratio(images: Sequence[TensorDicom3D], axis: int | str) -> float:
    """Height to width, in mm, of a slice of most of the images."""
    ratios = []
    for image in images:
        layout = lay_out(tuple(image.shape[-3:]), image.geometry, axis)
        _, height, width = layout.extent
        ratios.append(height * layout.spacing[0] / (width * layout.spacing[1]))
    return min(max(sorted(ratios)[len(ratios) // 2], 0.3), 3)


def _draw(
    ax: Axes,
    image: TensorDicom3D,
    mask: TensorMask3D | None = None,
    guide: TensorMask3D | None = None,
    axis: int | str = 0,
    max_slices: int = 1,
    **kwargs: Any,
) -> TensorMask3D | None:
    """Draw one item on its axes and return what is shown of the mask.

    ``guide`` are the labels that choose the slice (default: ``mask``). Regions are laid over one another.
    """
    mask, guide = (merge_regions(m) if m is not None and m.ndim == 4 else m for m in (mask, guide))
    if max_slices == 1:
        storage_axis = lay_out(tuple(image.shape[-3:]), image.geometry, axis).order[0]
        guide = mask if guide is None else guide
        k = telling_slice(as_array(image), None if guide is None else as_array(guide), storage_axis)
        cut = (..., slice(k, k + 1), *(slice(None),) * (2 - storage_axis))
        image, mask = image[cut], None if mask is None else mask[cut]
        axis = axis if isinstance(axis, str) else storage_axis
    ax.set_axis_on()  # the ground of a picture is black, see show_image_3d
    show_volume(image, ctx=ax, mask=mask, axis=axis, max_slices=max_slices, **kwargs)
    return mask


def _prepare(
    samples: Sequence[tuple],
    ctxs: Sequence[Axes] | None,
    max_n: int,
    n: int | None,
    across: int | None = None,
    nrows: int | None = None,
    ncols: int | None = None,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
    axis: int | str = 0,
    max_slices: int = 1,
    **options: Any,
) -> tuple[L, list[list[Axes]], bool]:
    """The items to draw, the axes of each (``across`` side by side, else one), and whether the axes are new."""
    refuse_unknown(options, _keywords(), "show_batch or show_results")
    count = min(len(samples), max_n if n is None else n)
    each = across or 1
    new = ctxs is None
    if ctxs is None:
        ratio = _ratio([sample[0] for sample in samples[:count]], axis) if max_slices == 1 else 1
        ctxs = _new_axes(count * each, across, nrows, ncols, figsize, title, ratio)
    axes = list(ctxs)[: count * each]
    return L(samples)[:count], [axes[i : i + each] for i in range(0, len(axes), each)], new


def _keywords() -> list[str]:
    own = [name for name in keywords_of(_prepare) if name not in ("samples", "across", "n")]
    drawn = [name for name in keywords_of(show_volume) if name not in ("t", "ctx", "ax", "mask", "figsize")]
    return [*own, *drawn, *artist_keywords(AxesImage, Axes.imshow)]


def _legend(axes: Sequence[Axes], masks: Sequence[TensorMask3D]) -> None:
    """Name the classes that the pictures show, where the masks know names."""
    codes = next((mask.codes for mask in masks if getattr(mask, "codes", None)), None)
    if codes is None or not axes:
        return
    labels = sorted({int(v) for mask in masks for v in mask.as_subclass(Tensor).unique()} - {0})
    handles = [Patch(color=class_color(v), label=class_name(v, codes)) for v in labels[:20]]
    if handles:
        figure: Any = axes[0].figure  # a Figure, or a part of one
        columns = min(len(handles), max(1, int(figure.get_figwidth() / 1.2)))
        figure.set_figheight(figure.get_figheight() + 0.2 * math.ceil(len(handles) / columns))
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize="small")


def _title(ax: Axes, target: Any, color: str = "black") -> None:
    """Write a target of any kind above a picture: class, classes, number."""
    if hasattr(target, "show") and not isinstance(target, float | tuple):  # fastai would write all 16 digits
        target.show(ctx=ax, color=color)
    else:
        show_title(text_of(target), ctx=ax, color=color)


@show_batch.dispatch
def show_batch(
    x: TensorDicom3D, y, samples, ctxs=None, max_n=9, n=None, nrows=None, ncols=None, figsize=None, **kwargs
):
    """Draw the volumes of a batch with their classes or values as titles."""
    samples, axes, new = _prepare(samples, ctxs, max_n, n, None, nrows, ncols, figsize, **kwargs)
    shown = []
    for sample, (ax,) in zip(samples, axes, strict=True):
        mask = next((part for part in sample[1:] if isinstance(part, TensorMask3D)), None)  # one of several targets
        shown.append(_draw(ax, sample[0], mask, **kwargs))
        for target in sample[1:]:
            if not isinstance(target, TensorDicom3D):
                _title(ax, target)
    axes = [ax for (ax,) in axes]
    if new:
        _legend(axes, [mask for mask in shown if mask is not None])
    return axes


@show_batch.dispatch
def show_batch(
    x: TensorDicom3D,
    y: TensorMask3D,
    samples,
    ctxs=None,
    max_n=9,
    n=None,
    nrows=None,
    ncols=None,
    figsize=None,
    **kwargs,
):
    """Draw the volumes of a batch with their masks laid over them."""
    samples, axes, new = _prepare(samples, ctxs, max_n, n, None, nrows, ncols, figsize, **kwargs)
    shown = [_draw(ax, sample[0], sample[1], **kwargs) for sample, (ax,) in zip(samples, axes, strict=True)]
    axes = [ax for (ax,) in axes]
    if new:
        _legend(axes, shown)
    return axes


@show_batch.dispatch
def show_batch(x: TensorDicom3D, y: TensorDicom3D, samples, ctxs=None, max_n=9, n=None, figsize=None, **kwargs):
    """Draw input and target volumes side by side."""
    samples, axes, _ = _prepare(samples, ctxs, max_n, n, 2, figsize=figsize, title="Input/Target", **kwargs)
    for sample, pair in zip(samples, axes, strict=True):
        for ax, volume in zip(pair, sample, strict=True):
            _draw(ax, volume, **kwargs)
    return [ax for pair in axes for ax in pair]


@show_results.dispatch
def show_results(
    x: TensorDicom3D, y, samples, outs, ctxs=None, max_n=9, n=None, nrows=None, ncols=None, figsize=None, **kwargs
):
    """Draw volumes with target and prediction as titles; of classes green where they agree, else red.

    Items without a target (``dls.test_dl(items)``) are drawn with the prediction alone, a predicted mask over them.
    """
    if len(samples) and len(samples[0]) == 1 and is_mask(outs[0][0]):
        pairs = [(sample[0], out[0]) for sample, out in zip(samples, outs, strict=False)]
        return show_batch(x, outs[0][0], pairs, ctxs, max_n, n, nrows=nrows, ncols=ncols, figsize=figsize, **kwargs)
    samples, axes, _ = _prepare(samples, ctxs, max_n, n, None, nrows, ncols, figsize, "Target/Prediction", **kwargs)
    for sample, out, (ax,) in zip(samples, outs, axes, strict=False):
        _draw(ax, sample[0], **kwargs)
        target, found = sample[1] if len(sample) > 1 else None, out[0]
        if target is not None:
            _title(ax, target)
        agree = {True: "green", False: "red"}[target == found] if isinstance(target, Category | L) else "black"
        _title(ax, found, agree)
    return [ax for (ax,) in axes]


@show_results.dispatch
def show_results(x: TensorDicom3D, y: TensorMask3D, samples, outs, ctxs=None, max_n=9, n=None, figsize=None, **kwargs):
    """Draw of each item the image, the target over it and the prediction over it: the same slice three times."""
    samples, axes, new = _prepare(
        samples, ctxs, max_n, n, 3, figsize=figsize, title="Input/Target/Prediction", **kwargs
    )
    shown = []
    for (image, target, *_), out, (first, second, third) in zip(samples, outs, axes, strict=False):
        guide = target if target.any() else out[0]
        _draw(first, image, None, guide, **kwargs)
        shown += [_draw(second, image, target, guide, **kwargs), _draw(third, image, out[0], guide, **kwargs)]
    axes = [ax for trio in axes for ax in trio]
    if new:
        _legend(axes, shown)
    return axes


@show_results.dispatch
def show_results(x: TensorDicom3D, y: TensorDicom3D, samples, outs, ctxs=None, max_n=9, n=None, figsize=None, **kwargs):
    """Draw input, target and predicted volumes side by side."""
    samples, axes, _ = _prepare(samples, ctxs, max_n, n, 3, figsize=figsize, title="Input/Target/Prediction", **kwargs)
    for sample, out, trio in zip(samples, outs, axes, strict=False):
        for ax, volume in zip(trio, (sample[0], sample[1], out[0]), strict=True):
            _draw(ax, volume, **kwargs)
    return [ax for trio in axes for ax in trio]


@plot_top_losses.dispatch
def plot_top_losses(
    x: TensorDicom3D, y, samples, outs, raws, losses, nrows=None, ncols=None, figsize=None, interactive=False, **kwargs
):
    """Draw the volumes with the largest losses: prediction, target, loss and, of one class, its probability."""
    if interactive:
        return show_items(interactive, "Top losses", samples, outs, _losses(losses), **kwargs)
    single = isinstance(y, TensorCategory) and not isinstance(y, TensorMultiCategory)
    title = "Prediction/Target/Loss" + ("/Probability" if single else "")
    samples, axes, _ = _prepare(samples, None, len(samples), None, None, nrows, ncols, figsize, title, **kwargs)
    for sample, out, raw, loss, (ax,) in zip(samples, outs, raws, losses, axes, strict=False):
        _draw(ax, sample[0], **kwargs)
        text = f"{text_of(out[0])} / {text_of(sample[1])}\n{loss.item():.2f}"
        ax.set_title(text + (f" / {raw.max().item():.2f}" if single else ""))


@plot_top_losses.dispatch
def plot_top_losses(
    x: TensorDicom3D, y: TensorMask3D, samples, outs, raws, losses, figsize=None, interactive=False, **kwargs
):
    """Draw the volumes with the largest losses three times: alone, with the target, with the prediction."""
    if interactive:
        return show_items(interactive, "Top losses", samples, outs, _losses(losses), **kwargs)
    axes = show_results(x, y, samples, outs, None, len(samples), figsize=figsize, **kwargs)
    for ax, loss in zip(axes[1::3], losses, strict=False):
        ax.set_title(f"loss {loss.item():.3g}")


def _losses(losses):
    """Names of the cases of a list, the largest loss first."""
    return [f"loss {loss.item():.3g}" for loss in losses]
