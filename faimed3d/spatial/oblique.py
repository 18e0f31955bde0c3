"""Resample a volume onto a grid turned any way, by SimpleITK, in the terms of ``faimed3d.spatial.interpolation``."""

from __future__ import annotations

import numpy as np
import torch

__all__ = ["edge_voxels", "resample_oblique"]


def resample_oblique(row, matrix, offset, size, nearest, fill):
    """Resample one volume to the places ``matrix @ (d, h, w) + offset`` of the new voxels (d, h, w).

    Only the part that is needed is handed over. SimpleITK decides what is inside: see :func:`edge_voxels`.

    Args:
        row: array (D, H, W) of a type that SimpleITK has.
        matrix, offset, size, nearest, fill: as for ``faimed3d.spatial.interpolation.resample_voxels``.

    Returns:
        New array of ``size``.
    """
    import SimpleITK as sitk

    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(size) - 1) @ matrix.T + offset
    ends = np.array([np.floor(corners.min(0)), np.ceil(corners.max(0))])
    start, stop = np.clip(ends, 0, np.array(row.shape) - 1).astype(int)
    part = row[tuple(slice(a, b + 1) for a, b in zip(start, stop, strict=True))]
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix[::-1, ::-1].ravel().tolist())
    transform.SetTranslation((offset - start)[::-1].tolist())
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize([int(n) for n in reversed(size)])
    resampler.SetTransform(transform)
    resampler.SetInterpolator(sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear)
    resampler.SetDefaultPixelValue(float(fill))
    resampler.SetNumberOfThreads(torch.get_num_threads())
    return sitk.GetArrayFromImage(resampler.Execute(sitk.GetImageFromArray(part)))


def edge_voxels(matrix, offset, shape, size, tolerance):
    """The new voxels that lie where the old ones end, half a voxel beyond the outer voxel centres.

    Args:
        matrix, offset, size: as for :func:`resample_oblique`.
        shape: of the volume, (D, H, W).
        tolerance: voxels to either side.

    Returns:
        Array (M, 3) of indices (d, h, w), some perhaps twice.
    """
    d, h = np.indices(size[:2]).reshape(2, -1)
    found = []
    for (along_d, along_h, along_w), shift, n in zip(matrix, offset, shape, strict=True):
        for edge in (-0.5, n - 0.5):
            gap = edge - (along_d * d + along_h * h + shift)
            reach = along_w * size[2]
            near = np.flatnonzero((gap >= min(0, reach) - tolerance) & (gap <= max(0, reach) + tolerance))
            if abs(along_w) > 1e-3:  # a row meets the edge in one voxel at most
                w = np.rint(gap[near] / along_w)[:, None]
            else:
                w = np.broadcast_to(np.arange(size[2]), (len(near), size[2]))
            meets = (np.abs(along_w * w - gap[near, None]) <= tolerance) & (w >= 0) & (w < size[2])
            row, column = meets.nonzero()
            found.append(np.stack([d[near[row]], h[near[row]], w[row, column].astype(int)], 1))
    return np.concatenate(found)
