"""Pictures of the surfaces of masks, in matplotlib's 3D axes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.mplot3d import Axes3D, proj3d
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from faimed3d._keywords import strict_keywords
from faimed3d.display.arrays import Voxels
from faimed3d.display.artists import artist_keywords
from faimed3d.display.colors import RGB, class_color
from faimed3d.display.layout import ENDS
from faimed3d.display.surfaces import (
    bounding_boxes,
    drawable_step,
    labels_of,
    strides_of,
    surface,
    surface_in_box,
)
from faimed3d.geometry import Geometry
from faimed3d.masks.codes import class_name

_LIGHT = np.array([0.35, -0.75, 0.55]) / np.linalg.norm([0.35, -0.75, 0.55])  # from front, left and above

Color = str | RGB | tuple[float, float, float, float]


def of_surfaces(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, ...]:
    """What surfaces take besides the arguments of :func:`mesh`, as ``more`` of ``strict_keywords``."""
    return artist_keywords(Poly3DCollection, Poly3DCollection.__init__)


@strict_keywords(more=of_surfaces)
def mesh(
    mask: Voxels,
    label: int = 1,
    color: Color | None = None,
    alpha: float = 1.0,
    geometry: Geometry | None = None,
    **kwargs: Any,
) -> Poly3DCollection:
    """The surface of one class as a ``Poly3DCollection`` in mm, to put into 3D axes with others.

    Args:
        mask: labels (D, H, W) or (1, D, H, W), whole numbers.
        label: the class.
        color: matplotlib colour. Default: the colour of the class in overlays, :func:`faimed3d.display.class_color`.
        alpha: opacity 0 to 1.
        geometry: where the mask lies. Default: ``mask.geometry``, and without one voxels of 1 mm at the origin.
        **kwargs: passed to ``Poly3DCollection``.

    Raises:
        TypeError, ValueError: as :func:`faimed3d.display.surface`.

    >>> from matplotlib.figure import Figure
    >>> ax = Figure().add_subplot(projection="3d")
    >>> collection = ax.add_collection3d(mesh(np.ones((2, 3, 4)), color="red", alpha=0.5))
    >>> len(collection.get_facecolor())  # one for each triangle
    100
    """
    vertices, faces = surface(mask, label, geometry)
    triangles = vertices[faces]
    return Poly3DCollection(
        triangles, facecolors=_shade(triangles, to_rgb(color or class_color(label)), alpha), **kwargs
    )


@strict_keywords(more=of_surfaces)
def render_3d(
    mask: Voxels,
    geometry: Geometry | None = None,
    colors: Color | Sequence[Color] | Mapping[int, Color] | None = None,
    alpha: float | Sequence[float] | Mapping[int, float] | None = None,
    ax: Axes3D | None = None,
    figsize: tuple[float, float] = (8, 8),
    step: int | None = None,
    legend: bool | None = None,
    **kwargs: Any,
) -> Axes3D:
    """Draw the surfaces of all classes of a mask in the patient's millimetres, seen from the front.

    The surfaces are lit from the front, left and above, and smoothed for the eye (by less than a voxel); measure on
    those of :func:`faimed3d.display.surface`, which are not.

    Args:
        mask: labels (D, H, W) or (1, D, H, W), or regions (R, D, H, W); 0 is background and not drawn.
        geometry: where the mask lies. Default: ``mask.geometry``. Without one the axes count voxels.
        colors: matplotlib colours: one for all classes (alone, or as a list of one), a list with one per class in
            rising order of label, or a mapping label -> colour. Default, also for labels a mapping lacks:
            :func:`faimed3d.display.class_color`.
        alpha: opacity 0 to 1, in the same three forms. Default: 0.6 for two to twelve classes, else 1.
        ax: 3D axes to draw on. Default: those of a new figure of ``figsize`` inches.
        figsize: largest (width, height) of a new figure in inches; a flat mask gets a lower one.
        step: coarseness as in :func:`faimed3d.display.surface`. None: as fine as can be drawn in a few seconds.
        legend: whether to name the classes, by the names that the mask knows (``codes``). None: for two to twelve.
        **kwargs: passed to ``Poly3DCollection``.

    Returns:
        The 3D axes.

    Raises:
        TypeError: the mask is no array of real numbers, or ``ax`` is not 3D.
        ValueError: the mask has no class, or ``colors`` or ``alpha`` do not match its classes.

    >>> from matplotlib.figure import Figure
    >>> ax = render_3d(np.ones((2, 3, 4)), Geometry((2, 3, 4)), ax=Figure().add_subplot(projection="3d"))
    >>> ax.get_xlabel()
    'x, R to L (mm)'
    """
    labels = labels_of(mask, geometry)
    boxes = bounding_boxes(labels.array)
    if not boxes:
        raise ValueError("the mask is empty: every voxel is 0, so there is no surface to draw")
    if ax is not None and not hasattr(ax, "add_collection3d"):
        raise TypeError("ax must be 3D axes, such as from plt.subplot(projection='3d')")
    color_by_class = per_class("colors", colors, boxes, class_color)
    alpha_by_class = per_class("alpha", alpha, boxes, lambda _: 0.6 if 2 <= len(boxes) <= 12 else 1.0)
    spacing = labels.geometry.spacing
    strides = strides_of(drawable_step(labels) if step is None else step, labels.geometry)
    parts, paint = [], []
    for label, box in boxes.items():
        vertices, faces = surface_in_box(labels, label, box, strides)
        parts.append(_shrink(_smooth(vertices, faces), faces, 0.1 * min(spacing))[faces])
        paint.append(_shade(parts[-1], to_rgb(color_by_class[label]), alpha_by_class[label]))
    triangles = np.concatenate(parts)
    low, high = triangles.min((0, 1)), triangles.max((0, 1))
    new = ax is None
    if ax is None:
        ax = cast(Axes3D, plt.figure(figsize=figsize).add_axes((0, 0, 1, 1), projection="3d"))
        ax.view_init(elev=15, azim=-70)
    elif ax.collections:
        limits = np.array([ax.get_xlim(), ax.get_ylim(), ax.get_zlim()])
        low, high = np.minimum(low, limits[:, 0]), np.maximum(high, limits[:, 1])
    # One collection for all classes: matplotlib sorts faces by depth only within a collection.
    # Seams between triangles: opaque ones show them with antialiasing, transparent ones without it.
    options = {"linewidths": 0, "antialiased": min(alpha_by_class.values()) < 1, **kwargs}
    ax.add_collection3d(Poly3DCollection(triangles, facecolors=np.concatenate(paint), **options))
    _frame(ax, low, high, labels.has_geometry)
    if new:
        _fill_figure(ax, low, high)
    if legend or (legend is None and 2 <= len(boxes) <= 12):
        codes = getattr(mask, "codes", None)
        handles = [Patch(color=color_by_class[label], label=class_name(label, codes)) for label in boxes]
        ax.legend(handles=handles, loc="upper right")
    return ax


def _smooth(vertices: np.ndarray, faces: np.ndarray, rounds: int = 8) -> np.ndarray:
    """Even out the steps of the voxel grid without shrinking (Taubin 1995, lambda 0.5, mu -0.53)."""
    from scipy.sparse import coo_array

    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    count = len(vertices)
    links = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count)).tocsr()
    links = links + links.T
    degree = np.maximum(links.sum(1), 1)[:, None]
    for _ in range(rounds):
        for weight in (0.5, -0.53):
            vertices = vertices + weight * (links @ vertices / degree - vertices)
    return vertices


def _shrink(vertices: np.ndarray, faces: np.ndarray, distance: float) -> np.ndarray:
    """Move vertices inwards by ``distance`` mm, so that where two classes touch neither hides the other by chance."""
    normals = _normals(vertices[faces])
    outward = np.zeros_like(vertices)
    for k in range(3):
        for axis in range(3):
            outward[:, axis] += np.bincount(faces[:, k], normals[:, axis], len(vertices))
    return vertices - distance * _unit(outward)


def _shade(triangles: np.ndarray, color: tuple[float, float, float], alpha: float) -> np.ndarray:
    """Face colours (M, 4): the class colour, darker where the face turns away from the light."""
    light = 0.35 + 0.65 * (_unit(_normals(triangles)) @ _LIGHT + 1) / 2
    return np.column_stack([light[:, None] * color, np.full(len(triangles), alpha)])


def _normals(triangles: np.ndarray) -> np.ndarray:
    """Outward normals (M, 3), as long as twice the area, of triangles (M, 3, 3)."""
    return np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def per_class(
    name: str, values: Any, classes: Iterable[int], default: Callable[[int], Any] = lambda _: None
) -> dict[int, Any]:
    """Label -> value, from one value or a list of one, a list in the order of the labels, a mapping, or None."""
    classes = list(classes)
    if values is None:
        return {label: default(label) for label in classes}
    if isinstance(values, Mapping):
        return {label: values.get(label, default(label)) for label in classes}
    if isinstance(values, str | int | float) or (name == "colors" and _is_color(values)):
        return dict.fromkeys(classes, values)
    values = list(values) * (len(classes) if len(values) == 1 else 1)
    if len(values) != len(classes):
        raise ValueError(f"{name} has {len(values)} entries, the mask {len(classes)} classes: {classes}")
    return dict(zip(classes, values, strict=True))


def _is_color(value: object) -> bool:
    return isinstance(value, tuple) and len(value) in (3, 4) and all(isinstance(part, int | float) for part in value)


def _frame(ax: Axes3D, low: np.ndarray, high: np.ndarray, has_geometry: bool) -> None:
    """Equal scale in mm along all axes, and which way they run in the patient."""
    size = high - low
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
    ax.set_box_aspect(size)
    for axis, name, ends, length in zip((ax.xaxis, ax.yaxis, ax.zaxis), "xyz", ENDS, size / size.max(), strict=True):
        where = f", {ends[0]} to {ends[1]}" if length > 0.3 else ""
        axis.set_label_text(f"{name}{where} (mm)" if has_geometry else f"{name} (voxels)")
        axis.labelpad = 10
        axis.set_major_locator(MaxNLocator(max(1, round(6 * length))))


def _fill_figure(ax: Axes3D, low: np.ndarray, high: np.ndarray) -> None:
    """Give the figure the proportions of what is seen, and let that fill it."""
    figure = ax.figure
    side = min(figure.get_size_inches())

    def seen() -> np.ndarray:
        x, y, _ = proj3d.proj_transform(*(low + (high - low) * list(np.ndindex(2, 2, 2))).T, ax.get_proj())
        return np.ptp(ax.transAxes.inverted().transform(ax.transData.transform(np.column_stack([x, y]))), axis=0)

    ax.set_box_aspect(high - low, zoom=0.78 / seen().max())
    height = side * min(1, seen()[1] + 0.22)  # the rest is for tick labels
    figure.set_size_inches(side, height)
    ax.set_position((0, (1 - side / height) / 2, 1, side / height))  # matplotlib keeps 3D axes square
