"""Resample onto a rotated grid: each new voxel from its neighbours, on any device and with gradients.

Where one new axis is parallel to an old one, the neighbours in the plane of the two others are the same all along it:
they are found once and taken for whole lines of voxels; on a CPU, where lines are not contiguous, for whole planes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import torch
from torch import Tensor

from faimed3d import _blockwise
from faimed3d.spatial.blocks import boxes, largest_block
from faimed3d.spatial.neighbours import Neighbours, in_memory
from faimed3d.spatial.positions import AxisBlock, AxisPositions

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
        (along,) = line.blocks(line.count)
        new = new[:, along.new]
        volumes = volumes.narrow(1 + parallel, along.old.start, along.old.stop - along.old.start)
        length = max(len(along.lower), volumes.shape[1 + parallel])
        across = int(stride > 1)  # contiguous lines are taken as they are
        if across:
            sources = [volume.as_strided((volume.shape[parallel], reach), (stride, 1)) for volume in volumes]
            targets = new
        else:
            sources = [volume.as_strided((reach, volume.shape[parallel]), (1, stride)) for volume in volumes]
            targets = new.movedim(1, -1)

    matrix, offset = matrix[np.ix_(rotated, rotated)], offset[rotated]
    if along is not None and across and _blockwise.uses_cpu(volumes) and not volumes.requires_grad:
        box = tuple(slice(0, size[axis]) for axis in rotated)
        positions = _positions(matrix, offset, box, volumes.device)
        neighbours = Neighbours(positions, shape, strides, nearest, volumes.dtype)
        _plane_by_plane(sources, targets, along, neighbours, fill)
        return result

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


def _plane_by_plane(
    sources: Sequence[Tensor], targets: Tensor, along: AxisBlock, neighbours: Neighbours, fill: float
) -> None:
    """Resample on a CPU, where the planes across the parallel axis lie apart in memory, one after the other in threads.

    A rotated plane is then the product with one sparse matrix, which is scipy's work.
    """
    outside, numbers, blend = neighbours.of_plane(sources[0].shape[1])
    lower, upper = along.lower.tolist(), None if along.upper is None else along.upper.tolist()
    shares = None if along.share is None else along.share.tolist()

    def work(job: tuple[int, int]) -> None:
        number, k = job
        voxels, target = sources[number].numpy(), targets[number, k].numpy()
        plane = voxels[lower[k]]
        if blend is None:
            plane.take(numbers.reshape(target.shape), mode="clip", out=target)
            np.copyto(target, fill, where=outside.reshape(target.shape))
            return
        plane = plane.astype(np.float64)
        if upper is not None and shares is not None and shares[k]:
            with np.errstate(invalid="ignore"):  # infinite voxels
                plane += (voxels[upper[k]] - plane) * shares[k]
        values = blend @ plane
        values[outside] = fill
        target[...] = values.reshape(target.shape)

    _blockwise.in_threads(work, product(range(len(sources)), range(len(lower))))


def _positions(matrix: np.ndarray, offset: np.ndarray, box: tuple[slice, ...], device: torch.device) -> list[Tensor]:
    """Where the new voxels of ``box`` lie along each old axis: float64 tensors of the box's shape."""
    index = torch.meshgrid(
        *(torch.arange(cut.start, cut.stop, dtype=torch.float64, device=device) for cut in box), indexing="ij"
    )
    return [
        torch.stack([step * along for step, along in zip(steps, index, strict=True)]).sum(0) + start
        for steps, start in zip(matrix.tolist(), offset.tolist(), strict=True)
    ]
