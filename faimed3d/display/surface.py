"""Surfaces of masks: marching cubes in the patient's millimetres, and a picture of them."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.mplot3d import proj3d
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from faimed3d.display.arrays import as_array
from faimed3d.display.colors import class_color
from faimed3d.display.layout import ENDS
from faimed3d.geometry import Geometry

__all__ = ["mesh", "render_3d", "surface"]

_MOST_FACES = 120_000  # matplotlib draws about this many triangles in two seconds
_LIGHT = np.array([0.35, -0.75, 0.55]) / np.linalg.norm([0.35, -0.75, 0.55])  # from front, left and above


def surface(mask, label=1, geometry=None, *, step=1):
    """The closed surface of one class, as triangles halfway between the voxels inside and outside.

    It follows the steps of the voxel grid, so its area comes out up to 15 % too large for round shapes. The volume in
    it is right to a few percent for all but the thinnest (``TensorMask3D.calc_volume`` counts voxels).

    Args:
        mask: labels (D, H, W) or (1, D, H, W), whole numbers, torch tensor or numpy array.
        label: the class.
        geometry: where the mask lies; default ``mask.geometry``, and without one voxels of 1 mm at the origin.
        step: 1 for every voxel; larger for a coarser, faster mesh, of cells of about ``step`` times the smallest
            spacing along each axis. A class too thin for it keeps every voxel.

    Returns:
        vertices: (N, 3) float64 world positions (x, y, z) in mm, LPS.
        faces: (M, 3) indices of vertices, counter-clockwise seen from outside.

    Raises:
        TypeError: the mask is no array of real numbers.
        ValueError: the mask is not one volume of whole numbers, or no voxel has ``label``.
    """
    labels, geometry, _ = _labels(mask, geometry)
    boxes = _boxes(labels)
    if label not in boxes:
        raise ValueError(f"no voxel has label {label!r}; the mask holds {sorted(boxes)}")
    return _surface(labels, label, boxes[label], geometry, _strides(step, geometry))


def mesh(mask, label=1, color=None, alpha=1.0, geometry=None, **kwargs):
    """The surface of one class as a ``Poly3DCollection`` in mm, to put into 3D axes with others.

    Args:
        mask, label, geometry: as in :func:`surface`.
        color: matplotlib colour; default the colour of the label in overlays, :func:`faimed3d.display.class_color`.
        alpha: opacity 0 to 1.
        **kwargs: passed to ``Poly3DCollection``.
    """
    vertices, faces = surface(mask, label, geometry)
    triangles = vertices[faces]
    return Poly3DCollection(
        triangles, facecolors=_shade(triangles, to_rgb(color or class_color(label)), alpha), **kwargs
    )


def render_3d(mask, geometry=None, colors=None, alpha=None, ax=None, figsize=(8, 8), step=None, legend=None, **kwargs):
    """Draw the surfaces of all classes of a mask in the patient's millimetres, seen from the front.

    The surfaces are lit from the front, left and above, and smoothed for the eye (by less than a voxel); measure on
    those of :func:`surface`, which are not.

    Args:
        mask: labels (D, H, W) or (1, D, H, W); 0 is background and not drawn.
        geometry: where the mask lies; default ``mask.geometry``. Without one the axes count voxels.
        colors: matplotlib colours: one for all classes, a list with one per class in rising order of label, or a
            mapping label -> colour. Default, also for labels a mapping lacks: :func:`faimed3d.display.class_color`.
        alpha: opacity 0 to 1, in the same three forms. Default 0.6 for two to twelve classes, else 1.
        ax: 3D axes to draw on; default a new figure of ``figsize`` inches.
        figsize: largest (width, height) of a new figure in inches; a flat mask gets a lower one.
        step: coarseness as in :func:`surface`. None: as fine as can be drawn in a few seconds.
        legend: whether to name the classes. None: for two to twelve.
        **kwargs: passed to ``Poly3DCollection``.

    Returns:
        The 3D axes.

    Raises:
        TypeError: the mask is no array of real numbers, or ``ax`` is not 3D.
        ValueError: the mask has no class, or ``colors`` or ``alpha`` do not match its classes.
    """
    labels, geometry, known = _labels(mask, geometry)
    boxes = _boxes(labels)
    if not boxes:
        raise ValueError("the mask is empty: every voxel is 0, so there is no surface to draw")
    if ax is not None and not hasattr(ax, "add_collection3d"):
        raise TypeError("ax must be 3D axes, such as from plt.subplot(projection='3d')")
    colors = _per_class("colors", colors, boxes, class_color)
    alphas = _per_class("alpha", alpha, boxes, lambda _: 0.6 if 2 <= len(boxes) <= 12 else 1.0)
    strides = _strides(_drawable_step(labels, geometry) if step is None else step, geometry)
    triangles, paint = [], []
    for label, box in boxes.items():
        vertices, faces = _surface(labels, label, box, geometry, strides)
        triangles.append(_shrink(_smooth(vertices, faces), faces, 0.1 * min(geometry.spacing))[faces])
        paint.append(_shade(triangles[-1], to_rgb(colors[label]), alphas[label]))
    triangles = np.concatenate(triangles)
    low, high = triangles.min((0, 1)), triangles.max((0, 1))
    new = ax is None
    if new:
        ax = plt.figure(figsize=figsize).add_axes((0, 0, 1, 1), projection="3d")
        ax.view_init(elev=15, azim=-70)
    elif ax.collections:
        limits = np.array([ax.get_xlim(), ax.get_ylim(), ax.get_zlim()])
        low, high = np.minimum(low, limits[:, 0]), np.maximum(high, limits[:, 1])
    # One collection for all classes: matplotlib sorts faces by depth only within a collection.
    # Seams between triangles: opaque ones show them with antialiasing, transparent ones without it.
    options = {"linewidths": 0, "antialiased": min(alphas.values()) < 1, **kwargs}
    ax.add_collection3d(Poly3DCollection(triangles, facecolors=np.concatenate(paint), **options))
    _frame(ax, low, high, known)
    if new:
        _fill_figure(ax, low, high)
    if legend or (legend is None and 2 <= len(boxes) <= 12):
        ax.legend(handles=[Patch(color=colors[label], label=f"class {label}") for label in boxes], loc="upper right")
    return ax


def _labels(mask, geometry):
    """The mask as integers (D, H, W), its geometry, and whether that is known."""
    array = as_array(mask)
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 3 or 0 in array.shape:
        raise ValueError(f"a mask must be (D, H, W) with at least one voxel, got shape {array.shape}")
    if array.dtype.kind == "f":
        if not (array == np.rint(array)).all():
            raise ValueError("a mask must hold whole numbers; threshold probabilities first, such as mask > 0.5")
        array = array.astype(np.int32 if array.max() < 2**31 else np.int64)
    elif array.dtype == bool:
        array = array.view(np.uint8)
    if array.min() < 0:
        raise ValueError(f"the labels of a mask must be 0 or more, got {array.min()}")
    if geometry is None:
        geometry = getattr(mask, "geometry", None)
    if geometry is not None and geometry.shape != array.shape:
        raise ValueError(f"the geometry is for shape {geometry.shape}, the mask has {array.shape}")
    return array, geometry or Geometry(array.shape), geometry is not None


def _boxes(labels):
    """Label -> the slices of its bounding box, for all labels but 0, in rising order."""
    from scipy.ndimage import find_objects

    if labels.max() <= 65535:
        return {label: box for label, box in enumerate(find_objects(labels), 1) if box is not None}
    present = np.unique(labels[labels > 0])  # numbered anew: find_objects makes a list as long as the largest label
    numbers = (np.searchsorted(present, labels) + 1) * (labels > 0)
    return dict(zip(present.tolist(), find_objects(numbers), strict=True))


def _strides(step, geometry):
    """Voxels (D, H, W) per mesh cell, so that cells are nearly cubes of ``step`` times the smallest spacing."""
    if step < 1:
        raise ValueError(f"step must be at least 1, got {step}")
    spacing = np.array(geometry.spacing[::-1])
    return tuple(int(n) for n in np.maximum(1, np.floor(step * spacing.min() / spacing + 1e-6)))


def _surface(labels, label, box, geometry, strides):
    from skimage.measure import marching_cubes

    inside = labels[box] == label
    field = _coarse(inside, strides)
    if field.max() <= 0.5:
        strides = (1, 1, 1)
        field = _coarse(inside, strides)
    vertices, faces, _, _ = marching_cubes(field, 0.5, allow_degenerate=False)
    strides = np.array(strides)
    # cell i of the field is the mean of voxels (i - 1) * stride ... i * stride - 1 of the box
    index = (vertices - 1) * strides + (strides - 1) / 2 + [part.start for part in box]
    vertices = geometry.index_to_world(index)
    if np.linalg.det(np.reshape(geometry.direction, (3, 3))) < 0:
        faces = faces[:, ::-1]
    return vertices, faces


def _coarse(inside, strides):
    """The share of voxels inside, in blocks of ``strides``, with a border of zeros."""
    padding = [(stride, stride + -size % stride) for size, stride in zip(inside.shape, strides, strict=True)]
    field = np.pad(inside, padding).astype(np.float32)
    if strides == (1, 1, 1):
        return field
    shape = [n for size, stride in zip(field.shape, strides, strict=True) for n in (size // stride, stride)]
    return field.reshape(shape).mean((1, 3, 5))


def _drawable_step(labels, geometry):
    """The smallest step with which all surfaces together have about ``_MOST_FACES`` triangles or fewer."""
    sides = []  # along D, H, W: voxel faces between different labels, once for each class
    for axis in range(3):
        turned = np.moveaxis(labels, axis, 0)
        differ = turned[1:] != turned[:-1]
        sides.append(sum(int(np.count_nonzero(differ & (part > 0))) for part in (turned[1:], turned[:-1])))
    step = 1
    while step < max(labels.shape):
        strides = np.array(_strides(step, geometry))
        if sum(2 * n * stride / strides.prod() for n, stride in zip(sides, strides, strict=True)) <= _MOST_FACES:
            break
        step += 1
    return step


def _smooth(vertices, faces, rounds=8):
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


def _shrink(vertices, faces, distance):
    """Move vertices inwards by ``distance`` mm, so that where two classes touch neither hides the other by chance."""
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outward = np.zeros_like(vertices)
    for k in range(3):
        for axis in range(3):
            outward[:, axis] += np.bincount(faces[:, k], normals[:, axis], len(vertices))
    return vertices - distance * outward / np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-12)


def _per_class(name, values, boxes, default):
    """Label -> value, from one value, a list in the order of the labels, a mapping, or None."""
    if values is None:
        return {label: default(label) for label in boxes}
    if isinstance(values, Mapping):
        return {label: values.get(label, default(label)) for label in boxes}
    if isinstance(values, (str, int, float)) or (name == "colors" and _is_color(values)):
        return dict.fromkeys(boxes, values)
    values = list(values)
    if len(values) != len(boxes):
        raise ValueError(f"{name} has {len(values)} entries, the mask {len(boxes)} classes: {list(boxes)}")
    return dict(zip(boxes, values, strict=True))


def _is_color(value):
    return isinstance(value, tuple) and len(value) in (3, 4) and all(isinstance(part, (int, float)) for part in value)


def _shade(corners, color, alpha):
    """Face colours (M, 4): the class colour, darker where the face turns away from the light."""
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    light = 0.35 + 0.65 * (normals @ _LIGHT + 1) / 2
    return np.column_stack([light[:, None] * color, np.full(len(corners), alpha)])


def _frame(ax, low, high, known):
    """Equal scale in mm along all axes, and which way they run in the patient."""
    size = high - low
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
    ax.set_box_aspect(size)
    for axis, name, ends, length in zip((ax.xaxis, ax.yaxis, ax.zaxis), "xyz", ENDS, size / size.max(), strict=True):
        where = f", {ends[0]} to {ends[1]}" if length > 0.3 else ""
        axis.set_label_text(f"{name}{where} (mm)" if known else f"{name} (voxels)")
        axis.labelpad = 10
        axis.set_major_locator(MaxNLocator(max(1, round(6 * length))))


def _fill_figure(ax, low, high):
    """Give the figure the proportions of what is seen, and let that fill it."""
    figure = ax.figure
    width, height = figure.get_size_inches()
    side = min(width, height)

    def seen():
        x, y, _ = proj3d.proj_transform(*(low + (high - low) * list(np.ndindex(2, 2, 2))).T, ax.get_proj())
        return np.ptp(ax.transAxes.inverted().transform(ax.transData.transform(np.column_stack([x, y]))), axis=0)

    ax.set_box_aspect(high - low, zoom=0.78 / seen().max())
    height = side * min(1, seen()[1] + 0.22)  # the rest is for tick labels
    figure.set_size_inches(side, height)
    ax.set_position((0, (1 - side / height) / 2, 1, side / height))  # matplotlib keeps 3D axes square
