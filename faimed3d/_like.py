"""``like=``: a tensor lies where another volume lies, voxel by voxel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from faimed3d import io
from faimed3d._extras import library_of
from faimed3d._rows import is_row, only_row, place_of
from faimed3d.geometry import Geometry
from faimed3d.io.other_libraries import NAMED, from_library
from faimed3d.tracking import Grid, current_grid, fits_shape, is_tracked

STORED_TOLERANCE = 0.05  # of a voxel: what rounding in headers moves the far corner of a volume


def grid_like(like: Any, shape: Sequence[int], own: Grid = None) -> Grid:
    """The grid of ``like`` for a tensor, or an error if the tensor cannot lie there.

    Args:
        like: a volume (of a batch with one geometry per item, these), a ``Geometry``, a path, or an image
            of SimpleITK, nibabel, MONAI or TorchIO.
        shape: of the tensor, (..., D, H, W).
        own: the tensor's own grid so far. One that a file or the user has stated must agree; a header that says
            nothing but origin 0 and axes along those of the patient is overruled, as programs write it that know none.

    Raises:
        TypeError: ``like`` is nothing that has a place.
        ValueError: other sizes (D, H, W), no geometry, or the tensor says itself that it lies elsewhere.

    >>> grid_like(Geometry((2, 3, 4), spacing=(1, 2, 3)), (5, 2, 3, 4)).spacing
    (1.0, 2.0, 3.0)
    """
    grid = grid_of(like)
    if isinstance(grid, np.ndarray) and grid.ndim == len(shape) - 2:  # images (B, C, D, H, W), masks (B, D, H, W)
        grid = grid[:, 0]
    if not fits_shape(grid, shape):
        there = grid.shape if isinstance(grid, Geometry) else tuple(like.shape)
        turned = len(shape) >= 3 and tuple(shape[-3:])[::-1] == tuple(there[-3:])
        hint = ". Arrays of nibabel are (x, y, z): take array.T, or give create the image itself" if turned else ""
        raise ValueError(
            f"like= is for voxels of the same sizes (D, H, W): this tensor has {tuple(shape)}, like has {there}{hint}"
        )
    if isinstance(own, Geometry) and isinstance(grid, Geometry) and _contradicts(own, grid):
        raise ValueError(
            f"this volume says itself where it lies, and like= says otherwise: {own!r}, not {grid!r}. "
            "resample_like(image) brings it there; if its own header is wrong, pass the bare voxels, t.numpy()"
        )
    return grid


def grid_of(like: Any) -> Grid:
    """The grid of ``like``, as for :func:`grid_like`."""
    if isinstance(like, Geometry):
        return like
    if is_tracked(like):
        grid = current_grid(like)
        if grid is None:
            raise ValueError(f"like= needs a volume with a geometry, and this {tuple(like.shape)} tensor has none")
        return grid
    like = only_row(like)
    if is_row(like):
        return io.read(*place_of(like), dtype=None)[1]
    if isinstance(like, str | Path):
        return io.read(like, dtype=None)[1]
    if library_of(like):
        return from_library(like)[1]
    raise TypeError(f"like must be a volume, a Geometry, a path or an image of {NAMED}, got {type(like).__name__}")


def is_part(geometry: Geometry | None, whole: Grid) -> bool:
    """Whether all voxels of a grid are such of another one, and not all of these.

    >>> is_part(Geometry((2, 3, 4), origin=(0, 0, 5)), Geometry((9, 3, 4)))
    True
    """
    if geometry is None or not isinstance(whole, Geometry) or geometry.shape == whole.shape:
        return False
    first = np.rint(whole.world_to_index(geometry.origin))
    part = whole.regrid(geometry.shape, offset=first.tolist())
    inside = (first >= 0).all() and (first + geometry.shape <= whole.shape).all()
    return bool(inside) and geometry.agrees(part, STORED_TOLERANCE)


def says_nothing(geometry: Geometry | None) -> bool:
    """Whether a geometry does not tell where a volume lies: none, an assumed one, or the default of a header.

    >>> says_nothing(Geometry((2, 3, 4), spacing=(1, 2, 3))), says_nothing(Geometry((2, 3, 4), origin=(5, 6, 7)))
    (True, False)
    """
    if geometry is None or not geometry.stated:
        return True
    turned = np.any(np.reshape(geometry.direction, (3, 3)) - np.diag(geometry.direction[::4]))
    return not any(geometry.origin) and not turned


def _contradicts(own: Geometry, other: Geometry) -> bool:
    return not says_nothing(own) and not own.agrees(other, STORED_TOLERANCE)
