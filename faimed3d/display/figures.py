"""``figure_3d``: one figure for a paper, with a scale bar, the patient's sides, a colour bar and the classes by name.

Slices are drawn as by ``show_image_3d``, all of them at one scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from faimed3d._keywords import strict_keywords
from faimed3d.display.arrays import PlainVolume, Voxels, as_array, geometry_of, one_mask, one_volume, value_range
from faimed3d.display.class_legend import class_handles, legend_height, name_classes
from faimed3d.display.default_window import default_window
from faimed3d.display.layout import PLANES, Layout, Mosaic, lay_out
from faimed3d.display.slice_view import SliceView, stored_alike
from faimed3d.display.surfaces import labels_of
from faimed3d.display.telling_slice import telling_slice
from faimed3d.intensity import window_limits

_GAP, _HEAD, _FOOT = 0.1, 0.34, 0.42  # inches between panels, above them for two lines, below them for the bars
_NARROWEST = 0.8  # inches of a panel, for its title
_LEAST = 2.4  # inches of a figure, for the bars
_SMALL = 7  # points

Point = tuple[float, float, float]


Place = tuple[float, float, float, float]
Planes = str | int | Sequence[str | int]


@dataclass(frozen=True, slots=True)
class Panels:
    """A figure with one slice in each of its panels.

    Args:
        figure: the figure.
        views: the slices.
    """

    figure: Figure
    views: tuple[SliceView, ...]

    def show(self, numbers: Sequence[int]) -> None:
        """Show these slices, counted as the tensor does, and write above each where it lies."""
        for view, number in zip(self.views, numbers, strict=True):
            view.set_slice(number)
            view.ax.set_title(_title(view), fontsize=_SMALL, pad=3)


@strict_keywords
def figure_3d(
    image: Voxels,
    mask: Voxels | None = None,
    *,
    planes: Planes | None = None,
    at: str | float | Point = "most",
    window: str | tuple[float, float] | None = None,
    unit: str | None = None,
    cmap: str = "gray",
    mask_alpha: float = 0.4,
    figsize: tuple[float, float] = (7, 8),
) -> Figure:
    """Make a figure for a paper of one slice in each plane, all at one scale and in true proportions.

    Above each slice stands which plane it is, and the coordinate (LPS) of its middle in mm. At its edges stand the
    patient's sides; below are a scale bar, the grey values in their unit, and the classes by name. Without a stated
    place sides, coordinates and, without a spacing, the scale bar are left out.

    Args:
        image: volume (D, H, W) or (1, D, H, W); or a mask, which is then shown alone.
        mask: labels (D, H, W), or regions (R, D, H, W), on the same grid, however stored, which are laid over it. One
            that knows the names of its classes (``codes``) is given a legend of those that the figure shows.
        planes: 'axial', 'coronal', 'sagittal', or storage axes 0, 1, 2; one or several. Default: all three.
        at: which slices: 'most' for those with most to see (of the classes, each counted by its share; without a mask
            those whose values vary most), 'middle', a point (x, y, z) mm (LPS) that they cut, or for a single plane its
            own coordinate in mm.
        window: grey values to show, as a name in ``faimed3d.intensity.WINDOWS`` or (centre, width). Default: a CT with
            the window of its DICOM header, else with that of soft tissue; anything else from minimum to maximum.
        unit: of the values, written at the colour bar. Default: HU for a CT, else none.
        cmap: matplotlib colour map of the image.
        mask_alpha: opacity of the mask, 0 to 1.
        figsize: largest (width, height) in inches; the figure takes the proportions of the slices within it.

    Returns:
        The figure: shown as the last line of a cell, saved with ``.savefig("figure.pdf")``. It holds nothing of a
        header but the window of a CT.

    Raises:
        TypeError: no array of real numbers.
        ValueError: no volume, an unknown plane or window, a point outside, a mask on another grid.

    >>> figure = figure_3d(np.zeros((4, 5, 6)), planes=0)
    >>> [ax.get_title() for ax in figure.axes[:1]]
    ['slice 0']
    """
    panels = draw_panels(image, mask, planes, at, window, unit, cmap, mask_alpha, figsize, whole_legend=False)
    return panels.figure


def draw_panels(
    image: Any,
    mask: Any,
    planes: Planes | None,
    at: str | float | Point,
    window: str | tuple[float, float] | None,
    unit: str | None,
    cmap: str,
    mask_alpha: float,
    figsize: tuple[float, float],
    whole_legend: bool,
) -> Panels:
    """The figure of :func:`figure_3d`, whose arguments these are, with what its slices can be changed by.

    Args:
        whole_legend: name the classes of the whole mask, rather than those that the figure shows.
    """
    whole, image, mask = image, _one("the image", image), None if mask is None else _one("the mask", one_mask(mask))
    volumes = one_volume(image)
    if alone := volumes[0].is_mask:
        if mask is not None:
            raise ValueError("the image is a mask itself: pass the image first, and then its mask")
        image, mask, mask_alpha = image * 0, image, 1.0
    geometry = geometry_of(image)
    if planes is None:
        planes = PLANES[::-1] if geometry is not None else (0, 1, 2)
    planes = [planes] if isinstance(planes, str | int) else list(planes)
    if not planes:
        raise ValueError("planes must name at least one plane, got none")
    layouts = [lay_out(tuple(image.shape), geometry, plane, 1) for plane in planes]
    labels = None if mask is None else labels_of(stored_alike(mask, image), None).array
    numbers = _numbers_at(at, layouts, as_array(image), labels)
    handles = []
    if labels is not None:
        parts = [labels.take([k], layout.order[0]) for k, layout in zip(numbers, layouts, strict=True)]
        codes = getattr(mask, "codes", None)
        handles = class_handles(
            [PlainVolume(part, None, True, codes) for part in ([labels] if whole_legend else parts)]
        )
    ct = None if alone else default_window(whole, volumes)
    chosen = ct if window is None else window
    low, high = value_range(as_array(image)) if chosen in (None, "full") else window_limits(chosen)
    limits = (low, high if high > low else low + 1)  # of a constant
    places, size, foot, scale = _fit([Mosaic((layout,), 1).size for layout in layouts], figsize, handles)
    figure = Figure(size)
    axes = [figure.add_axes(_share_of(place, size)) for place in places]
    panels = Panels(
        figure,
        tuple(
            SliceView(ax, image, mask, plane, limits, mask_alpha, cmap) for ax, plane in zip(axes, planes, strict=True)
        ),
    )
    panels.show(numbers)
    if geometry is not None and geometry.assumed != "all":
        _write_scale(figure, scale, foot)
    if not alone:
        _write_values(figure, panels.views[0], unit if unit is not None else "HU" if ct is not None else "", foot)
    name_classes(figure, handles)
    return panels


def _one(what: str, t: Any) -> Any:  # a tensor or an array
    """A volume (D, H, W) of one that may have a channel axis of 1."""
    shape = as_array(t).shape
    if len(shape) == 4 and shape[0] == 1:
        return t[0]
    if len(shape) != 3 or 0 in shape:
        raise ValueError(f"{what} must be one volume (D, H, W), got shape {shape}: pick one with t[i]")
    return t


def _numbers_at(
    at: str | float | Point, layouts: Sequence[Layout], image: np.ndarray, labels: np.ndarray | None
) -> list[int]:
    """The slice of each layout, counted as the tensor does, that ``at`` asks for."""
    axes, shape, geometry = [layout.order[0] for layout in layouts], image.shape, layouts[0].geometry
    if isinstance(at, str):
        if at not in ("most", "middle"):
            raise ValueError(f"at must be 'most', 'middle', or a place in mm, got {at!r}")
        return [telling_slice(image, labels, axis) if at == "most" else shape[axis] // 2 for axis in axes]
    if geometry is None:
        raise ValueError("at in mm needs a volume with a geometry; this one has none, so pass 'most' or 'middle'")
    point = np.asarray(at, dtype=float)
    if point.shape == () and len(layouts) == 1:
        middle = np.repeat((np.array([shape]) - 1) / 2, shape[axes[0]], 0)
        middle[:, axes[0]] = np.arange(shape[axes[0]])
        along = geometry.index_to_world(middle)[:, layouts[0].plane]
        number = int(np.abs(along - point).argmin())
        if abs(along[number] - point) > geometry.spacing[::-1][axes[0]] / 2 + 1e-3:
            raise ValueError(f"at={at} mm lies outside of the volume, whose slices lie at {_from_to(along)} mm")
        return [number]
    if point.shape != (3,):
        raise ValueError(
            f"at must be a point (x, y, z) in mm, or one coordinate for a single plane, got {at!r} for {len(layouts)} "
            f"plane{'s' * (len(layouts) != 1)}"
        )
    index = np.rint(geometry.world_to_index(point)).astype(int)
    if ((index < 0) | (index >= shape)).any():
        corners = geometry.index_to_world(np.array(list(np.ndindex(2, 2, 2))) * (np.array(shape) - 1))
        ends = ", ".join(f"{axis} {_from_to(corners[:, k])}" for k, axis in enumerate("xyz"))
        raise ValueError(f"at={tuple(point.tolist())} mm lies outside of the volume, which holds {ends} mm")
    return [int(index[axis]) for axis in axes]


def _from_to(values: np.ndarray) -> str:
    return f"{values.min():.1f} to {values.max():.1f}"


def _title(view: SliceView) -> str:
    geometry = geometry_of(view.image)
    if geometry is None or not geometry.stated:
        return f"slice {view.number}"
    index = (np.array(geometry.shape) - 1) / 2
    index[view.storage_axis] = view.number
    world = PLANES.index(str(view.plane))
    value = f"{geometry.index_to_world(index)[world]:.1f}".replace("-", "\N{MINUS SIGN}")
    return f"{view.plane}\n{'xyz'[world]} = {value} mm"


def _fit(
    sizes: Sequence[tuple[float, float]], figsize: tuple[float, float], handles: Sequence[Patch]
) -> tuple[list[Place], tuple[float, float], float, float]:
    """Places of the panels (left, bottom, width, height), the figure's size, where its foot ends, and inches per mm.

    All lengths are inches; ``sizes`` are mm (width, height).
    """
    count, spare = len(sizes), figsize[0] - _GAP * (len(sizes) - 1)
    foot = legend_height(handles, figsize[0])
    scale = (figsize[1] - _HEAD - _FOOT - foot) / max(height for _, height in sizes)
    for _ in range(count):  # each time fewer are wider than their titles
        wide = [width for width, _ in sizes if width * scale > _NARROWEST]
        if sum(wide) * scale + _NARROWEST * (count - len(wide)) > spare:
            scale = (spare - _NARROWEST * (count - len(wide))) / sum(wide) if wide else 0.0
    if scale <= 0:
        raise ValueError(f"figsize {figsize} in inches is too small for {count} panels with titles and bars")
    cells = [max(width * scale, _NARROWEST) for width, _ in sizes]
    across = sum(cells) + _GAP * (count - 1)
    total = max(across, _LEAST)
    foot = legend_height(handles, total)
    height = _HEAD + max(height for _, height in sizes) * scale + _FOOT + foot
    left, places = (total - across) / 2, []
    for cell, (wide_mm, high_mm) in zip(cells, sizes, strict=True):
        width, high = wide_mm * scale, high_mm * scale
        places.append((left + (cell - width) / 2, height - _HEAD - high, width, high))
        left += cell + _GAP
    return places, (total, height), foot, scale


def _share_of(place: Place, size: tuple[float, float]) -> Place:
    """A place in inches as shares of a figure, as matplotlib counts."""
    left, bottom, width, height = place
    return left / size[0], bottom / size[1], width / size[0], height / size[1]


def _write_scale(figure: Figure, scale: float, foot: float) -> None:
    """Draw a bar of 1, 2 or 5 times a power of ten mm below the panels, at most 0.3 of the figure long."""
    (width, height), y = figure.get_size_inches(), foot + _FOOT - 0.14
    most = 0.3 * width / scale
    step = 10.0 ** np.floor(np.log10(most))
    length = max(k * step for k in (1, 2, 5) if k * step <= most)
    ends = [0.1 / width, (0.1 + length * scale) / width]
    figure.add_artist(Line2D(ends, [y / height] * 2, color="black", linewidth=2, solid_capstyle="butt"))
    figure.text(ends[0], (y - 0.05) / height, f"{length:g} mm", va="top", fontsize=_SMALL)


def _write_values(figure: Figure, view: SliceView, unit: str, foot: float) -> None:
    """Draw a bar of the grey values below the panels, at the right."""
    size = (float(figure.get_figwidth()), float(figure.get_figheight()))
    width, margin = min(2.0, 0.4 * size[0]), 0.15 + 0.09 * len(unit)
    place = (size[0] - width - margin, foot + _FOOT - 0.18, width, 0.08)
    ax = figure.add_axes(_share_of(place, size))
    bar = figure.colorbar(view.ax.images[0], cax=ax, orientation="horizontal", ticks=MaxNLocator(3))
    bar.outline.set_linewidth(0.5)
    ax.tick_params(labelsize=_SMALL, length=2, pad=2)
    ax.text(1 + 0.08 / width, 0.5, unit, transform=ax.transAxes, va="center", fontsize=_SMALL)
