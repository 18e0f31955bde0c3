"""Distances in mm between the surfaces of two masks: Hausdorff distance, mean distance, surface Dice.

The surface of a mask is one of two things. ``'area'``: the surface that marching cubes finds, each piece weighted by
its area in mm2, as DeepMind's surface-distance does (Nikolov et al. 2021, doi:10.2196/26151). ``'voxels'``: the
outermost voxels, all of one weight, as MONAI does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.ndimage import binary_erosion, correlate, distance_transform_edt
from skimage.measure import marching_cubes, mesh_surface_area
from torch import Tensor

SURFACES = ("area", "voxels")
# Which of the eight voxels round a corner belong to the mask, as one number
_CORNER = 2 ** np.arange(8, dtype=np.int16).reshape(2, 2, 2)


def hausdorff_distance(
    pred: np.ndarray | Tensor,
    target: np.ndarray | Tensor,
    spacing: Sequence[float],
    percentile: float = 95,
    surface: str = "area",
) -> float:
    """Hausdorff distance in mm: the percentile of the distances from each surface to the other, the larger of the two.

    Args:
        pred, target: masks (D, H, W), arrays or tensors; what is not 0 belongs to them.
        spacing: (x, y, z) mm.
        percentile: 95 gives HD95, 100 the Hausdorff distance itself.
        surface: 'area' or 'voxels', see the top of this module.

    Returns:
        mm; infinite if exactly one mask is empty, NaN if both are.

    Raises:
        ValueError: the masks differ in shape, or ``spacing`` or ``surface`` is invalid.

    >>> a, b = np.zeros((2, 4, 4, 9), bool)
    >>> a[:, :, :3], b[:, :, :5] = True, True
    >>> hausdorff_distance(a, b, spacing=(0.5, 1, 1), percentile=100)
    1.0
    """
    return measure_surfaces(pred, target, spacing, surface).hausdorff(percentile)


def average_surface_distance(
    pred: np.ndarray | Tensor, target: np.ndarray | Tensor, spacing: Sequence[float], surface: str = "area"
) -> float:
    """Average symmetric surface distance in mm: the mean over both surfaces of the distance to the other one.

    Args:
        pred, target, spacing, surface: see :func:`hausdorff_distance`.

    Returns:
        mm; infinite if exactly one mask is empty, NaN if both are.

    >>> a, b = np.zeros((2, 4, 4, 9), bool)
    >>> a[:, :, :3], b[:, :, :5] = True, True
    >>> average_surface_distance(a, b, spacing=(0.5, 1, 1), surface="voxels")  # box in a longer one
    0.23214285714285715
    """
    return measure_surfaces(pred, target, spacing, surface).average()


def surface_dice(
    pred: np.ndarray | Tensor,
    target: np.ndarray | Tensor,
    spacing: Sequence[float],
    tolerance: float,
    surface: str = "area",
) -> float:
    """Surface Dice, or normalised surface distance: the share of both surfaces within ``tolerance`` of the other one.

    Args:
        pred, target, spacing, surface: see :func:`hausdorff_distance`.
        tolerance: mm.

    Returns:
        0 to 1; 0 if exactly one mask is empty, NaN if both are.

    >>> a, b = np.zeros((2, 4, 4, 9), bool)
    >>> a[:, :, :3], b[:, :, :5] = True, True
    >>> surface_dice(a, b, spacing=(0.5, 1, 1), tolerance=1)
    1.0
    """
    return measure_surfaces(pred, target, spacing, surface).dice(tolerance)


@dataclass(frozen=True)
class SurfaceDistances:
    """How far two surfaces lie apart.

    Attributes:
        sides: of each surface, two arrays (N,): the distance in mm of its pieces to the other surface, and their
            weight. No sides if a mask is empty.
        surface: 'area' or 'voxels'.
        value_if_empty: the distance if a mask is empty: infinite if one is, NaN if both are. None if neither is.
    """

    sides: tuple[tuple[np.ndarray, np.ndarray], ...]
    surface: str
    value_if_empty: float | None = None

    def hausdorff(self, percentile: float) -> float:
        """The larger of the two directed percentiles, mm."""
        if self.value_if_empty is not None:
            return self.value_if_empty
        if self.surface == "voxels":
            return float(max(np.percentile(distance, percentile) for distance, _ in self.sides))
        return float(max(_weighted_percentile(distance, area, percentile) for distance, area in self.sides))

    def average(self) -> float:
        """The weighted mean over both surfaces, mm."""
        if self.value_if_empty is not None:
            return self.value_if_empty
        return float(sum((distance * weight).sum() for distance, weight in self.sides) / self._weight())

    def dice(self, tolerance: float) -> float:
        """The share of both surfaces that lies within ``tolerance`` mm of the other one."""
        if self.value_if_empty is not None:
            return 0.0 if np.isinf(self.value_if_empty) else self.value_if_empty
        return float(sum(weight[distance <= tolerance].sum() for distance, weight in self.sides) / self._weight())

    def _weight(self) -> float:
        return sum(weight.sum() for _, weight in self.sides)


def measure_surfaces(
    pred: np.ndarray | Tensor, target: np.ndarray | Tensor, spacing: Sequence[float], surface: str
) -> SurfaceDistances:
    """Measure the distances once, for whatever is to be said of them; arguments of :func:`hausdorff_distance`."""
    masks = [_as_bool(mask) for mask in (pred, target)]
    if masks[0].shape != masks[1].shape or masks[0].ndim != 3:
        raise ValueError(f"expected two masks (D, H, W) of one shape, got {masks[0].shape} and {masks[1].shape}")
    spacing = tuple(float(step) for step in spacing)
    if len(spacing) != 3 or not all(0 < step < np.inf for step in spacing):
        raise ValueError(f"spacing must be three positive numbers (x, y, z) in mm, got {spacing}")
    if surface not in SURFACES:
        raise ValueError(f"surface must be 'area' or 'voxels', got {surface!r}")
    present = [mask.any() for mask in masks]
    if not all(present):
        return SurfaceDistances((), surface, np.inf if any(present) else np.nan)
    box = _bounding_box(masks[0] | masks[1])
    masks = [np.pad(mask[box], 1) for mask in masks]
    steps = spacing[::-1]
    weights = [_areas(mask, steps) if surface == "area" else _outermost(mask) for mask in masks]
    edges = [weight > 0 for weight in weights]
    sides = (
        (distance_transform_edt(~other, sampling=steps)[edge], weight[edge])
        for edge, weight, other in zip(edges, weights, edges[::-1], strict=True)
    )
    return SurfaceDistances(tuple(sides), surface)


def _as_bool(mask):
    mask = mask.detach().cpu().as_subclass(Tensor).numpy() if isinstance(mask, Tensor) else np.asarray(mask)
    return mask != 0


def _bounding_box(mask):
    """Slices along (D, H, W) of the smallest box that holds the mask."""
    box = []
    for axis in range(3):
        filled = np.flatnonzero(mask.any(tuple(other for other in range(3) if other != axis)))
        box.append(slice(filled[0], filled[-1] + 1))
    return tuple(box)


def _outermost(mask):
    """1.0 for each voxel of the mask that has a neighbour outside."""
    return (mask & ~binary_erosion(mask)).astype(float)


def _areas(mask, steps):
    """Area of the surface in mm2 round each corner between voxels."""
    codes = correlate(mask.astype(np.int16), _CORNER, mode="constant")
    return _area_table(steps)[codes]


@lru_cache(maxsize=64)
def _area_table(steps):
    """Area in mm2 of the surface within a cube of eight voxel centres, for each of the 256 choices of voxels.

    The surface is drawn round the fewer of the voxels: those of the mask or the others.
    """
    table = np.zeros(256)
    for code in range(1, 255):
        cube = (_CORNER & code > 0).astype(float)
        if cube.sum() > 4:
            cube = 1 - cube
        points, faces, *_ = marching_cubes(cube, 0.5, spacing=steps, method="lorensen")
        table[code] = mesh_surface_area(points, faces)
    return table


def _weighted_percentile(values, weights, percentile):
    """The smallest value up to which ``percentile`` % of the weight lies."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) / weights.sum()
    return values[order][min(np.searchsorted(reached, percentile / 100), len(values) - 1)]
