"""Resample onto a rotated grid by SimpleITK: the fastest way on a CPU where no axis is parallel to an old one.

Where positions lie on an edge of the volume, the last bits of sums decide what is outside; there, as everywhere in
``faimed3d.spatial``, the rules of ``faimed3d.spatial.positions`` do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from faimed3d.spatial.neighbours import Neighbours, in_memory
from faimed3d.spatial.positions import EDGE_TOLERANCE, HALF_TOLERANCE


def resample(
    volumes: Tensor, matrix: np.ndarray, offset: np.ndarray, size: tuple[int, int, int], nearest: bool, fill: float
) -> Tensor:
    """Resample to a rotated grid; arguments as for ``faimed3d.spatial.interpolation.resample_voxels``.

    The type of ``volumes`` is one that SimpleITK has; it works in float64.
    """
    result = volumes.new_empty((len(volumes), *size))
    shape = volumes.shape[1:]
    edge = _edge_voxels(matrix, offset, shape, size)
    positions = list(torch.from_numpy(matrix @ edge + offset[:, None]))
    for source, target in zip(volumes, result, strict=True):
        _by_simpleitk(source.numpy(), target.numpy(), matrix, offset, nearest, fill)
        if edge.size:
            neighbours = Neighbours(positions, shape, source.stride(), nearest, source.dtype)
            values = neighbours.interpolate(in_memory(source), 0)
            neighbours.fill_outside(values, 0, fill)
            target[tuple(torch.from_numpy(edge))] = values
    return result


def _by_simpleitk(
    source: np.ndarray, target: np.ndarray, matrix: np.ndarray, offset: np.ndarray, nearest: bool, fill: float
) -> None:
    """Resample one volume (D, H, W) into ``target``: only the part that it needs is handed to SimpleITK."""
    import SimpleITK as sitk

    last = np.array(source.shape) - 1
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(target.shape) - 1) @ matrix.T + offset
    start, stop = np.clip([np.floor(corners.min(0)), np.ceil(corners.max(0))], 0, last).astype(int)
    part = source[tuple(slice(a, b + 1) for a, b in zip(start, stop, strict=True))]
    shift = HALF_TOLERANCE if nearest else 0
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix[::-1, ::-1].ravel().tolist())
    transform.SetTranslation((offset - start + shift)[::-1].tolist())
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize([int(n) for n in reversed(target.shape)])
    resampler.SetTransform(transform)
    resampler.SetInterpolator(sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear)
    resampler.SetDefaultPixelValue(float(fill))
    resampler.SetNumberOfThreads(torch.get_num_threads())
    image = sitk.GetImageFromArray(part)
    image = resampler.Execute(image)  # the name again: each image is a volume, none is kept longer than it is needed
    target[...] = sitk.GetArrayViewFromImage(image)


def _edge_voxels(matrix: np.ndarray, offset: np.ndarray, shape: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """The new voxels whose positions lie on an edge of the old volume of ``shape``: indices (d, h, w), array (3, M)."""
    d, h = np.indices(size[:2]).reshape(2, -1)
    tolerance = 2 * EDGE_TOLERANCE
    found = []
    for (along_d, along_h, along_w), start, n in zip(matrix, offset, shape, strict=True):
        for edge in (-0.5, n - 0.5):
            gap = edge - (along_d * d + along_h * h + start)  # from the first voxel of each line along W
            reach = along_w * size[2]
            near = np.flatnonzero((gap >= min(0, reach) - tolerance) & (gap <= max(0, reach) + tolerance))
            if abs(along_w) > 1e-3:  # a line meets the edge in one voxel at most
                w = np.rint(gap[near] / along_w)[:, None]
            else:
                w = np.broadcast_to(np.arange(size[2]), (len(near), size[2]))
            meets = (np.abs(along_w * w - gap[near, None]) <= tolerance) & (w >= 0) & (w < size[2])
            line, voxel = meets.nonzero()
            found.append(np.stack([d[near[line]], h[near[line]], w[line, voxel].astype(int)]))
    return np.concatenate(found, 1)
