"""Resample voxels onto another grid, whatever its spacing, position and orientation.

Functions of plain tensors; where the new voxels lie is said in voxels of the old grid. The rules are those of
``faimed3d.spatial.positions``. There are three ways, which differ in speed alone:

- On a CPU: each new voxel from its neighbours, in ``faimed3d.spatial.compiled``.
- On any device and with gradients, where all axes are parallel to old ones: one axis after the other, here.
- Where the grid is rotated: from the neighbours, in ``faimed3d.spatial.rotated_grids``.
"""

from __future__ import annotations

import math
from itertools import permutations, product

import numpy as np
import torch
from torch import Tensor

from faimed3d.spatial import compiled, rotated_grids
from faimed3d.spatial.blocks import largest_block
from faimed3d.spatial.positions import AxisBlock, AxisPositions

_PARALLEL = 5e-6  # voxels by which all of an axis may leave the direction of the one that it is parallel to


def resample_voxels(
    volumes: Tensor, matrix: np.ndarray, offset: np.ndarray, size: tuple[int, int, int], nearest: bool, fill: float
) -> Tensor:
    """Resample volumes to the positions ``matrix @ (d, h, w) + offset`` of the new voxels (d, h, w).

    Args:
        volumes: plain tensor (N, D, H, W); float32 or float64 unless ``nearest``.
        matrix: 3x3 array: a row for each old axis (D, H, W), a column for each new one, voxels per voxel.
        offset: three numbers, where the new voxel (0, 0, 0) lies, in old voxels.
        size: new (D, H, W).
        nearest: take the nearest voxel instead of blending.
        fill: what lies outside.

    Returns:
        New tensor (N, *size) of the type of ``volumes``.
    """
    if volumes.dtype == torch.bool:
        found = resample_voxels(volumes.view(torch.uint8), matrix, offset, size, nearest, int(fill))
        return found.view(torch.bool)
    if not torch.is_grad_enabled():
        volumes = volumes.detach()
    if not (volumes.numel() and math.prod(size)):
        return volumes.new_full((len(volumes), *size), fill)
    order, parallel = _pair_axes(np.abs(matrix) * (np.array(size) - 1) > _PARALLEL)
    # from here on each new axis has the number of its old one
    volumes, matrix, offset = volumes.permute(0, *(1 + old for old in order)), matrix[order], offset[order]
    if len(parallel) == 3:
        return _axis_by_axis(volumes, matrix.diagonal(), offset, size, nearest, fill)
    if not parallel and compiled.suits(volumes):
        return compiled.resample(volumes, matrix, offset, size, nearest, fill)
    return rotated_grids.resample(volumes, matrix, offset, size, nearest, fill, *parallel)


def _pair_axes(crosses: np.ndarray) -> tuple[list[int], list[int]]:
    """For each new axis the old one that goes with it, and which new ones are parallel to theirs: three, one or none.

    Args:
        crosses: 3x3 bools, whether going along a new axis (column) changes the index along an old one (row).
    """

    def parallel(order: tuple[int, ...]) -> list[int]:
        return [
            new for new, old in enumerate(order) if crosses[old].sum() + crosses[:, new].sum() == 2 * crosses[old, new]
        ]

    pairings = ((list(order), parallel(order)) for order in permutations(range(3)))
    return max(pairings, key=lambda pair: len(pair[1]))


def _axis_by_axis(
    volumes: Tensor, steps: np.ndarray, offset: np.ndarray, size: tuple[int, int, int], nearest: bool, fill: float
) -> Tensor:
    """Resample where each new axis is parallel to the old one of its number, without compiled loops axis by axis."""
    result = volumes.new_empty((len(volumes), *size))
    axes = [
        AxisPositions(n, step, start, count, nearest, volumes)
        for n, step, start, count in zip(volumes.shape[1:], steps, offset, size, strict=True)
    ]
    for axis, positions in enumerate(axes):
        along = result.movedim(1 + axis, 0)
        along[: positions.first] = fill
        along[positions.last :] = fill
    if not all(positions.count for positions in axes):
        return result
    if compiled.suits(volumes):
        compiled.resample_axes(volumes, [positions.block() for positions in axes], result)
        return result
    order = sorted(range(3), key=lambda axis: axes[axis].growth)  # what makes the volume smaller first
    for number, blocks in product(range(len(volumes)), _blocks(axes, largest_block(volumes))):
        voxels = volumes[number][tuple(block.old for block in blocks)]
        for axis in order:
            voxels = blocks[axis].apply(voxels, axis)
        result[number][tuple(block.new for block in blocks)] = voxels
    return result


def _blocks(axes: list[AxisPositions], most: int) -> list[tuple[AxisBlock, ...]]:
    """Cut the new grid into blocks that neither have nor need more than about ``most`` voxels."""
    sides = [positions.count for positions in axes]
    while max(sides) > 1 and math.prod(p.voxels(side) for p, side in zip(axes, sides, strict=True)) > most:
        # W last: what lies next to each other in memory stays together
        axis = 2 if sides[0] == sides[1] == 1 else int(sides[1] > sides[0])
        sides[axis] = sides[axis] * 3 // 4
    return list(product(*(p.blocks(side) for p, side in zip(axes, sides, strict=True))))
