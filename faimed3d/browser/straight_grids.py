"""Volumes of sheared grids on straight ones: a viewer draws right angles."""

from __future__ import annotations

from typing import Any

import numpy as np

from faimed3d.display.arrays import geometry_of
from faimed3d.geometry import Geometry
from faimed3d.spatial import resample_like


def on_straight_grid(t: Any) -> tuple[Any, bool]:  # a tensor or an array
    """A volume, resampled where its storage axes are not at right angles to each other; and whether it was.

    Args:
        t: (D, H, W) or (C, D, H, W). Without a geometry it is taken to be straight.

    >>> from faimed3d.volume import TensorDicom3D
    >>> sheared = TensorDicom3D(np.zeros((3, 3, 3)), {"direction": (1, 0, 0, 0, 0.8, 0, 0, 0.6, 1)})
    >>> on_straight_grid(sheared)[0].geometry.is_sheared
    False
    """
    geometry = geometry_of(t)
    if geometry is None or not geometry.is_sheared:
        return t, False
    return resample_like(t, straightened(geometry)), True


def straightened(geometry: Geometry) -> Geometry:
    """The grid of right angles nearest to a sheared one, with its spacing, that holds all of its voxels.

    Its axes are those of the nearest rotation: the orthogonal part of the polar decomposition of the direction.
    """
    left, _, right = np.linalg.svd(np.reshape(geometry.direction, (3, 3)))
    direction = left @ right
    corners = geometry.index_to_world(np.array(list(np.ndindex(2, 2, 2))) * (np.array(geometry.shape) - 1))
    along = corners @ direction  # mm along the new axes x, y, z
    low, high = along.min(0), along.max(0)
    counts = np.ceil((high - low) / geometry.spacing - 1e-6).astype(int) + 1
    return Geometry(counts[::-1].tolist(), geometry.spacing, direction @ low, direction.ravel(), geometry.assumed)
