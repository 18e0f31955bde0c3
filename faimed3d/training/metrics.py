"""Distances between surfaces in millimetres: the metrics of segmentation that fastai has not.

fastai's ``Dice``, ``DiceMulti`` and ``JaccardCoeff`` work on volumes as they are. The functions here take two masks
(D, H, W) and the spacing (x, y, z) mm; the metrics take them from the batches of a ``Learner``.

How a metric learns the spacing: fastai hands metrics plain tensors, so :class:`KeepGeometry`, a callback, keeps the
``Geometry`` of each target of the batch. The learners of this package bring it along; others need
``cbs=KeepGeometry()``.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from fastai.callback.core import Callback
from fastai.learner import Metric
from scipy.ndimage import binary_erosion, correlate, distance_transform_edt
from skimage.measure import marching_cubes, mesh_surface_area
from torch import Tensor

from faimed3d.volume import TensorDicom3D

__all__ = [
    "AverageSurfaceDistance",
    "ExcludedCases",
    "HausdorffDistance95",
    "KeepGeometry",
    "SurfaceDice",
    "average_surface_distance",
    "hausdorff_distance",
    "surface_dice",
]

# Which of the eight voxels round a corner belong to the mask, as one number
_CORNER = 2 ** np.arange(8, dtype=np.int16).reshape(2, 2, 2)


def hausdorff_distance(pred, target, spacing, percentile=95, surface="area"):
    """Hausdorff distance in mm: the larger of the two directed percentiles of surface to surface.

    Args:
        pred, target: masks (D, H, W), arrays or tensors; what is not 0 belongs to them.
        spacing: (x, y, z) mm.
        percentile: 95 is HD95, 100 the distance of Hausdorff.
        surface: 'area': the surface that marching cubes finds, each piece counted by its area in mm2 (as DeepMind's
            surface-distance does); 'voxels': the outermost voxels of each mask, all alike (as MONAI does).

    Returns:
        mm; infinite if exactly one mask is empty, NaN if both are.

    >>> a, b = np.zeros((2, 4, 4, 9), bool)
    >>> a[:, :, :3], b[:, :, :5] = True, True
    >>> hausdorff_distance(a, b, spacing=(0.5, 1, 1), percentile=100)
    1.0
    """
    return _hausdorff(_distances(pred, target, spacing, surface), percentile, surface)


def average_surface_distance(pred, target, spacing, surface="area"):
    """Mean distance in mm from both surfaces to the other (symmetric); arguments and empty masks as for Hausdorff's."""
    return _average(_distances(pred, target, spacing, surface))


def surface_dice(pred, target, spacing, tolerance, surface="area"):
    """Share of both surfaces that lies within ``tolerance`` mm of the other, 0 to 1 (normalised surface distance).

    The other arguments are those of :func:`hausdorff_distance`. 0 if exactly one mask is empty, NaN if both are.
    """
    return _overlap(_distances(pred, target, spacing, surface), tolerance)


def _distances(pred, target, spacing, surface):
    """Of each surface: distance in mm of its pieces to the other, and their size; None for an empty mask."""
    masks = [_mask(mask) for mask in (pred, target)]
    if masks[0].shape != masks[1].shape or masks[0].ndim != 3:
        raise ValueError(f"expected two masks (D, H, W) of one shape, got {masks[0].shape} and {masks[1].shape}")
    spacing = tuple(float(step) for step in spacing)
    if len(spacing) != 3 or not all(0 < step < np.inf for step in spacing):
        raise ValueError(f"spacing must be three positive numbers (x, y, z) in mm, got {spacing}")
    if surface not in ("area", "voxels"):
        raise ValueError(f"surface must be 'area' or 'voxels', got {surface!r}")
    present = [mask.any() for mask in masks]
    if not all(present):
        return present
    both = masks[0] | masks[1]
    box = []
    for axis in range(3):
        places = np.flatnonzero(both.any(tuple(other for other in range(3) if other != axis)))
        box.append(slice(places[0], places[-1] + 1))
    masks = [np.pad(mask[tuple(box)], 1) for mask in masks]
    steps = spacing[::-1]
    sizes = [_areas(mask, steps) if surface == "area" else _shell(mask) for mask in masks]
    edges = [size > 0 for size in sizes]
    result = []
    for edge, size, other in zip(edges, sizes, edges[::-1], strict=True):
        result.append((distance_transform_edt(~other, sampling=steps)[edge], size[edge]))
    return result


def _mask(mask):
    mask = mask.detach().cpu().as_subclass(Tensor).numpy() if isinstance(mask, Tensor) else np.asarray(mask)
    return mask != 0


def _shell(mask):
    """1.0 for each voxel of the mask that has a neighbour outside."""
    return (mask & ~binary_erosion(mask)).astype(float)


def _areas(mask, steps):
    """Area of the surface in mm2 round each corner between voxels."""
    codes = correlate(mask.astype(np.int16), _CORNER, mode="constant")
    return _area_table(steps)[codes]


@lru_cache(maxsize=64)
def _area_table(steps):
    """Area in mm2 of the surface inside each of the 256 cubes of eight voxel centres, round the fewer of them."""
    table = np.zeros(256)
    for code in range(1, 255):
        cube = (_CORNER & code > 0).astype(float)
        if cube.sum() > 4:
            cube = 1 - cube
        points, faces, *_ = marching_cubes(cube, 0.5, spacing=steps, method="lorensen")
        table[code] = mesh_surface_area(points, faces)
    return table


def _empty(sides):
    """What is known without distances: NaN for two empty masks, infinity for one; None where there are distances."""
    if isinstance(sides[0], tuple):
        return None
    return np.inf if any(sides) else np.nan


def _hausdorff(sides, percentile, surface):
    empty = _empty(sides)
    if empty is not None:
        return empty
    if surface == "voxels":
        return float(max(np.percentile(distance, percentile) for distance, _ in sides))
    return float(max(_weighted_percentile(distance, area, percentile) for distance, area in sides))


def _weighted_percentile(values, weights, percentile):
    """The smallest value below which, itself included, ``percentile`` % of the weight lies."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) / weights.sum()
    return values[order][min(np.searchsorted(reached, percentile / 100), len(values) - 1)]


def _average(sides):
    empty = _empty(sides)
    if empty is not None:
        return empty
    return float(sum((d * size).sum() for d, size in sides) / sum(size.sum() for _, size in sides))


def _overlap(sides, tolerance):
    empty = _empty(sides)
    if empty is not None:
        return 0.0 if np.isinf(empty) else empty
    return float(sum(size[d <= tolerance].sum() for d, size in sides) / sum(size.sum() for _, size in sides))


class KeepGeometry(Callback):
    """Keep the ``Geometry`` of each target of the batch for the metrics: fastai strips it before the model runs."""

    order = 8  # before CastToTensor
    geometries = None

    def before_batch(self):
        target = self.yb[0] if len(self.yb) else None
        if isinstance(target, TensorDicom3D):
            self.geometries = [item.geometry for item in target]
        else:
            self.geometries = None

    def after_validate(self):
        self.geometries = None

    def after_fit(self):
        self.geometries = None


class _SurfaceMetric(Metric):
    """Mean over the cases, a case being one class of one item."""

    def __init__(self, classes=None, axis=1, spacing=None, missing=None, surface="area"):
        self.classes, self.axis, self.spacing, self.missing, self.surface = classes, axis, spacing, missing, surface
        self.reset()

    def reset(self):
        """Forget all cases."""
        self.cases = []

    def accumulate(self, learn):
        """Measure the classes of every item of the batch."""
        scores, target = learn.pred.detach(), learn.y
        labels = scores.argmax(self.axis) if scores.shape[self.axis] > 1 else scores.select(self.axis, 0) > 0
        classes = range(1, max(2, scores.shape[self.axis])) if self.classes is None else self.classes
        labels = labels.cpu().numpy()
        target = target.detach().cpu().as_subclass(Tensor).reshape(labels.shape).numpy()
        for spacing, mine, truth in zip(self._spacings(learn, len(labels)), labels, target, strict=True):
            for label in classes:
                self.cases.append(self._measure(_distances(mine == label, truth == label, spacing, self.surface)))

    def _spacings(self, learn, count):
        if self.spacing is not None:
            return [self.spacing] * count
        keeper = getattr(learn, "keep_geometry", None)
        if keeper is None:
            raise ValueError(
                f"{self.name} needs to know the spacing: add cbs=KeepGeometry() to the Learner, or give the metric "
                "spacing=(x, y, z) in mm"
            )
        geometries = keeper.geometries
        if geometries is None or None in geometries:
            raise ValueError(
                f"{self.name} needs the spacing of each target, and a target of this batch has no geometry: a "
                "transform has moved its voxels off any straight grid, or it is no TensorMask3D. Give the metric "
                "spacing=(x, y, z) in mm"
            )
        return [geometry.spacing for geometry in geometries]

    @property
    def value(self):
        """Mean over the cases that have a value; NaN if none has."""
        values = [case for case in (self._counted(case) for case in self.cases) if np.isfinite(case)]
        return float(np.mean(values)) if values else float("nan")

    @property
    def excluded(self):
        """How many cases have no value: both masks empty, or one without ``missing``."""
        return sum(not np.isfinite(self._counted(case)) for case in self.cases)

    def _counted(self, case):
        return self.missing if np.isinf(case) and self.missing is not None else case


class HausdorffDistance95(_SurfaceMetric):
    """Mean of the 95th percentile Hausdorff distance in mm, over the classes of the items.

    A case is one class of one item. A class that neither prediction nor target shows has no distance and is left out;
    so is one that only one of them shows, unless ``missing`` says otherwise. ``metric.excluded`` counts those left out,
    and :class:`ExcludedCases` shows the number in the table of the epochs.

    Args:
        classes: labels to measure. Default: all but 0.
        axis: of the classes in the prediction. With one channel, scores above 0 are class 1.
        spacing: (x, y, z) mm of every item. Default: from each target's geometry, see :class:`KeepGeometry`.
        missing: mm that count where only one of prediction and target shows the class, such as the diagonal of the
            volume. None leaves the case out.
        surface: see :func:`hausdorff_distance`.
    """

    name = "hd95_mm"

    def _measure(self, sides):
        return _hausdorff(sides, 95, self.surface)


class AverageSurfaceDistance(_SurfaceMetric):
    """Mean of the symmetric average surface distance in mm; arguments of :class:`HausdorffDistance95`."""

    name = "asd_mm"

    def _measure(self, sides):
        return _average(sides)


class SurfaceDice(_SurfaceMetric):
    """Mean share of the surfaces within ``tolerance`` mm of each other; a class shown by only one of the two counts 0.

    Args:
        tolerance: mm.
        kwargs: of :class:`HausdorffDistance95`, but ``missing``.
    """

    def __init__(self, tolerance, **kwargs):
        if "missing" in kwargs:
            raise TypeError("SurfaceDice takes no missing: a class that only one side shows counts 0")
        super().__init__(**kwargs)
        self.tolerance = tolerance

    @property
    def name(self):
        return f"surface_dice_{self.tolerance:g}mm"

    def _measure(self, sides):
        return _overlap(sides, self.tolerance)


class ExcludedCases(Metric):
    """How many cases ``metric`` leaves out of its mean; list it after that metric.

    >>> hd95 = HausdorffDistance95()
    >>> metrics = [hd95, ExcludedCases(hd95)]
    """

    def __init__(self, metric):
        self.metric = metric

    @property
    def name(self):
        return f"{self.metric.name}_excluded"

    @property
    def value(self):
        return self.metric.excluded
