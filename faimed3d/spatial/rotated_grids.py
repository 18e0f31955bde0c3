"""Resample onto a rotated grid: each new voxel from its neighbours, on any device and with gradients.

Where one new axis is parallel to an old one, the neighbours in the plane of the two others are the same all along it:
they are found once and taken for whole lines of voxels.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from faimed3d.spatial import compiled
from faimed3d.spatial.blocks import boxes, largest_block
from faimed3d.spatial.neighbours import Neighbours, in_memory
from faimed3d.spatial.positions import AxisPositions

_PLANE_BLOCK = 1 << 13  # new voxels of a plane whose neighbours are found at once on a CPU


def resample(
    volumes: Tensor,
    matrix: np.ndarray,
    offset: np.ndarray,
    size: tuple[int, int, int],
    nearest: bool,
    fill: float,
    parallel: int | None = None,
) -> Tensor:
    """Resample to a rotated grid; arguments as for ``faimed3d.spatial.interpolation.resample_voxels``, and

    Args:
        parallel: the one axis (0, 1, 2 for D, H, W) that is parallel to the old one of its number. Default: none.
    """
    result = volumes.new_empty((len(volumes), *size))
    rotated = [axis for axis in range(3) if axis != parallel]
    shape, strides = ([of[1 + axis] for axis in rotated] for of in (volumes.shape, volumes.stride()))
    reach = 1 + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))  # in memory
    most, length, across, along = largest_block(volumes), 1, 0, None  # voxels lie across the lines, along axis 0
    if parallel is None:
        sources, targets = [in_memory(volume) for volume in volumes], result
    else:
        stride, new = volumes.stride(1 + parallel), result.movedim(1 + parallel, 1)
        line = AxisPositions(
            volumes.shape[1 + parallel], matrix[parallel, parallel], offset[parallel], size[parallel], nearest, volumes
        )
        new[:, : line.first] = fill
        new[:, line.last :] = fill
        if not line.count:
            return result
        along = line.block()
        new = new[:, along.new]
        volumes = volumes.narrow(1 + parallel, along.old.start, along.old.stop - along.old.start)
        if compiled.suits(volumes):
            flat, start = matrix[np.ix_(rotated, rotated)], offset[rotated]
            steps = strides if nearest or parallel == 2 else [shape[1], 1]  # planes are blended before

            def neighbours_of(box: tuple[slice, ...]) -> Neighbours:
                return Neighbours(_positions(flat, start, box, volumes.device), shape, steps, nearest, volumes.dtype)

            compiled.resample_rotated(volumes, parallel, along, neighbours_of, nearest, fill, result)
            return result
        length = max(len(along.lower), volumes.shape[1 + parallel])
        across = int(stride > 1)  # contiguous lines are taken as they are
        if across:
            sources = [volume.as_strided((volume.shape[parallel], reach), (stride, 1)) for volume in volumes]
            targets = new
        else:
            sources = [volume.as_strided((reach, volume.shape[parallel]), (1, stride)) for volume in volumes]
            targets = new.movedim(1, -1)

    matrix, offset = matrix[np.ix_(rotated, rotated)], offset[rotated]
    at_once = most if parallel is None else max(_PLANE_BLOCK, most // length)
    for box in boxes([size[axis] for axis in rotated], at_once):
        positions = _positions(matrix, offset, box, volumes.device)
        neighbours = Neighbours(positions, shape, strides, nearest, volumes.dtype)
        for part in boxes([cut.stop - cut.start for cut in box], max(1, most // length)):
            cuts = tuple(slice(c.start + p.start, c.start + p.stop) for c, p in zip(box, part, strict=True))
            for number, source in enumerate(sources):
                values = neighbours.interpolate(source, across, part)
                if along is not None:
                    values = along.apply(values, 1 - across)
                neighbours.fill_outside(values, across, fill, part)
                channels = (slice(None),) if across else ()
                target = targets[(number, *channels, *cuts)]
                target.copy_(values.view(target.shape))
    return result


def _positions(matrix: np.ndarray, offset: np.ndarray, box: tuple[slice, ...], device: torch.device) -> list[Tensor]:
    """Where the new voxels of ``box`` lie along each old axis: float64 tensors of the box's shape."""
    index = torch.meshgrid(
        *(torch.arange(cut.start, cut.stop, dtype=torch.float64, device=device) for cut in box), indexing="ij"
    )
    return [
        torch.stack([step * along for step, along in zip(steps, index, strict=True)]).sum(0) + start
        for steps, start in zip(matrix.tolist(), offset.tolist(), strict=True)
    ]
