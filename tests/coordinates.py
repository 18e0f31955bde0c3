"""Volumes whose voxel values are their own world coordinates, and the check that geometry and values still agree."""

import numpy as np
import torch

from faimed3d.geometry import Geometry
from faimed3d.tracking import current_grid
from faimed3d.volume import TensorDicom3D

# an oblique right-handed rotation, by hand: 30 degrees about x after 40 degrees about z
A, B = np.radians(30), np.radians(40)
OBLIQUE = (
    np.array([[1, 0, 0], [0, np.cos(A), -np.sin(A)], [0, np.sin(A), np.cos(A)]])
    @ np.array([[np.cos(B), -np.sin(B), 0], [np.sin(B), np.cos(B), 0], [0, 0, 1]])
).ravel()

LOPSIDED = Geometry((2, 3, 4), spacing=(1, 2, 3), origin=(-7, 11, 5), direction=OBLIQUE)
OTHER = Geometry((2, 3, 4), spacing=(0.5, 0.7, 4), origin=(100, -50, 25))


def world(geometry, axis, kind=TensorDicom3D):
    """Volume (D, H, W) float64 that holds the world x, y or z (``axis`` 0, 1, 2) of each of its voxels."""
    index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), -1)
    return kind(torch.from_numpy(np.ascontiguousarray(geometry.index_to_world(index)[..., axis])), geometry)


def entries(t):
    """(leading position, geometry) for every volume in ``t``; nothing where it has no grid."""
    grid = current_grid(t)
    if grid is None:
        return
    spread = np.empty(grid.shape if isinstance(grid, np.ndarray) else (), dtype=object)
    spread[...] = grid
    for place in np.ndindex(*t.shape[:-3]):
        yield place, np.broadcast_to(spread, tuple(t.shape[:-3]))[place]


def check(make, operate, sources, kept=None, atol=1e-9):
    """Apply ``operate`` to the coordinate volumes; wherever the result has a geometry, its values must be its places.

    Args:
        make: ``axis -> input`` of the operation.
        operate: ``input -> tensor or sequence of tensors``.
        sources: the geometries of the inputs; voxels outside all of them, and NaN (padding), are not compared.
        kept: True: there must be a geometry; False: there must be none; None: either.
    """
    compared = 0
    for axis in range(3):
        results = operate(make(axis))
        for result in results if isinstance(results, tuple | list) else [results]:
            found = [(place, geometry) for place, geometry in entries(result) if geometry is not None]
            if kept is not None:
                assert bool(found) == kept, f"geometry {'lost' if kept else 'kept'}: {result!r}"
            for place, geometry in found:
                assert geometry.shape == tuple(result.shape[-3:])
                values = result.detach().as_subclass(torch.Tensor)[place].double().numpy()
                index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), -1)
                points = geometry.index_to_world(index)
                inside = np.zeros(values.shape, bool)
                for source in sources:
                    at = source.world_to_index(points)
                    inside |= ((at > -1e-6) & (at < np.array(source.shape) - 1 + 1e-6)).all(-1)
                inside &= ~np.isnan(values)
                np.testing.assert_allclose(values[inside], points[..., axis][inside], atol=atol)
                compared += inside.sum()
    return compared
