"""From the probabilities on the network's grid to labels on the patient's, within bounded memory."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from faimed3d.geometry import Geometry
from faimed3d.spatial import resample_like
from faimed3d.volume import TensorDicom3D, TensorMask3D

_EXACT = 1e-3  # of a voxel: what counts as no difference
_ROUNDING = 0.251  # of a voxel: what rounding a grid to whole voxels leaves at each end


def collect_slabs(
    slabs: Iterator[Tensor],
    working: Geometry,
    target: Geometry,
    memory: float,
    wanted: bool,
    threshold: float,
    overlapping: bool = False,
) -> tuple[Tensor | None, Tensor | None]:
    """Collect what a network says of the slices: labels, and the probabilities if they are needed and fit.

    Args:
        slabs: probabilities (C, d, H, W), plain tensors, from the first slice to the last.
        working: grid of all of them together.
        target: grid on which the result is wanted.
        memory: bytes that the float32 probabilities of all classes may take.
        wanted: the caller asks for the probabilities, so it is an error if they do not fit.
        threshold: probability above which a voxel is inside of a region, or a model of one channel says 1.
        overlapping: the channels are regions that may overlap.

    Returns:
        Two plain tensors on the CPU: labels (D, H, W), or regions (R, D, H, W), on the grid ``working``, None where the
        probabilities decide on the grid ``target``; and probabilities (C, D, H, W) or None.

    Raises:
        ValueError: the probabilities are ``wanted`` and exceed ``memory``.
    """
    first = next(slabs)
    count = len(first)
    size = 4 * count * np.prod(working.shape)
    if wanted and (size > memory or 4 * count * np.prod(target.shape) > memory):
        size = max(size, 4 * count * np.prod(target.shape))
        raise ValueError(
            f"the probabilities of {count} classes take {size / 2**20:.3g} MiB, but memory allows "
            f"{memory / 2**20:.3g} MiB: ask for the labels alone, or allow more"
        )
    moved = not working.agrees(target)
    if moved and size > memory:
        warnings.warn(
            f"the probabilities of {count} classes would take {size / 2**20:.3g} MiB, but memory allows "
            f"{memory / 2**20:.3g} MiB: the labels are brought to the grid of the source by the nearest voxel instead",
            stacklevel=3,
        )
    keep = wanted or (moved and size <= memory)
    shape = (count, *working.shape) if overlapping else working.shape
    labels = None if moved and keep else torch.empty(shape, dtype=torch.uint8 if overlapping else _label_type(count))
    probabilities = torch.empty((count, *working.shape)) if keep else None
    start = 0
    slab: Tensor | None = first
    while slab is not None:
        stop = start + slab.shape[1]
        if labels is not None:
            labels[..., start:stop, :, :] = _decided(slab, threshold, overlapping).to("cpu", labels.dtype)
        if probabilities is not None:
            probabilities[:, start:stop] = slab.cpu()
        start, slab = stop, next(slabs, None)
    return labels, probabilities


def most_probable(
    probabilities: Tensor,
    working: Geometry,
    target: Geometry,
    threshold: float,
    wanted: bool,
    overlapping: bool = False,
) -> tuple[TensorMask3D, TensorDicom3D | None]:
    """The most probable class of each voxel of ``target``: one class at a time is brought there, never all.

    Args:
        probabilities: (C, D, H, W) on the grid ``working``.
        working, target, threshold, overlapping: as for :func:`collect_slabs`.
        wanted: return the probabilities on ``target`` too.

    Returns:
        The labels, or regions (R, D, H, W), and if wanted the probabilities (C, D, H, W), else None.
        Outside of ``working`` lies background.
    """
    count = len(probabilities)
    shape = (count, *target.shape) if overlapping else target.shape
    labels = torch.zeros(shape, dtype=torch.uint8 if overlapping else _label_type(count))
    kept = torch.empty((count, *target.shape)) if wanted else None
    best = None
    for number, voxels in enumerate(probabilities):
        probability = bring_onto(voxels, working, target, TensorDicom3D, outside_of(number, count, overlapping))
        if kept is not None:
            kept[number] = probability
        if overlapping:
            labels[number] = probability > threshold
        elif count == 1:
            labels = (probability > threshold).to(labels.dtype)
        elif best is None:
            best = probability
        else:
            labels[probability > best] = number
            best = torch.maximum(best, probability)
    return TensorMask3D(labels, target), None if kept is None else TensorDicom3D(kept, target)


def outside_of(channel: int, count: int, overlapping: bool) -> float:
    """The probability of a channel where no network has looked: there, background is certain.

    Args:
        channel: of ``count`` channels.
        overlapping: they are regions that may overlap.
    """
    return float(count > 1 and channel == 0 and not overlapping)


def bring_onto(
    voxels: Tensor, working: Geometry, target: Geometry, kind: type[TensorDicom3D], fill: float = 0.0
) -> Tensor:
    """Voxels (..., D, H, W) of the grid ``working`` on the grid ``target``.

    The new grid of ``Resample3D`` has a whole number of voxels, so it can end up to a quarter of a voxel inside the old
    grid. In that rim the outermost voxels are repeated. What lies farther out was cut away and becomes ``fill``.

    Args:
        voxels: plain tensor.
        working, target: the two grids.
        kind: says how to interpolate: linear for ``TensorDicom3D``, the nearest voxel for ``TensorMask3D``.
        fill: value of what was cut away.
    """
    before, after = (((ends > 0) & (ends <= _ROUNDING)).astype(int) for ends in _overhang(working, target))
    for axis, n in enumerate(working.shape):
        if before[axis] or after[axis]:
            voxels = voxels.index_select(axis - 3, torch.arange(-before[axis], n + after[axis]).clamp(0, n - 1))
    around = working.regrid(tuple(voxels.shape[-3:]), offset=tuple(-before.astype(float)))
    return resample_like(kind(voxels, around), target, value=fill).as_subclass(Tensor)


def warn_of_cut(working: Geometry, target: Geometry) -> None:
    """Warn the caller's caller if voxels of ``target`` lie outside of ``working`` by more than rounding leaves."""
    if max(ends.max() for ends in _overhang(working, target)) > _ROUNDING:
        warnings.warn(
            f"the transforms have cut the volume ({target!r}) down to {working!r}: what lies outside is background in "
            "the prediction. PadOrCrop3D and RandomCrop3D are left out if patch=(D, H, W) is given",
            stacklevel=3,
        )


def _decided(slab, threshold, overlapping):
    """Labels (d, H, W) of probabilities (C, d, H, W); of regions masks (R, d, H, W)."""
    if overlapping:
        return slab > threshold
    return slab.argmax(0) if len(slab) > 1 else slab[0] > threshold


def _label_type(count):
    return torch.uint8 if count <= 256 else torch.int16


def _overhang(working: Geometry, target: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """How far the outer voxel centres of ``target`` lie beyond the edges of ``working``, in voxels of the latter.

    Returns:
        Two arrays along (D, H, W): beyond the first edge, and beyond the last; 0 if inside.
    """
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(target.shape) - 1)
    indices = working.world_to_index(target.index_to_world(corners))
    first, last = -0.5 - indices.min(0), indices.max(0) - (np.array(working.shape) - 0.5)
    return np.where(first > _EXACT, first, 0), np.where(last > _EXACT, last, 0)
