"""From what a network says of each voxel, on its own grid, to labels on the patient's, within bounded memory."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

from faimed3d.spatial import resample_like
from faimed3d.volume import TensorDicom3D, TensorMask3D

__all__ = ["bring_onto", "collect_slabs", "most_probable", "warn_of_cut"]

_EXACT, _ROUNDING = 1e-3, 0.251  # of a voxel: what counts as no difference, what rounding to whole voxels leaves


def collect_slabs(slabs, working, target, memory, wanted, threshold):
    """Collect what a network says of the slices: labels, and the probabilities if they are needed and fit.

    Args:
        slabs: iterator over probabilities (C, d, H, W), plain tensors, from the first slice to the last.
        working: ``Geometry`` of all of them together.
        target: ``Geometry`` on which the result is wanted.
        memory: bytes that the float32 probabilities of all classes may take.
        wanted: the probabilities are asked for, so that it is an error if they do not fit.
        threshold: probability above which a model of one channel says 1.

    Returns:
        labels (D, H, W) on the grid ``working``, None where the probabilities are to decide on the grid ``target``;
        probabilities (C, D, H, W) or None; both plain tensors on the CPU.
    """
    first = next(slabs)
    count = len(first)
    size = 4 * count * np.prod(working.shape)
    if wanted and (size > memory or 4 * count * np.prod(target.shape) > memory):
        size = max(size, 4 * count * np.prod(target.shape))
        raise ValueError(
            f"the probabilities of {count} classes take {size / 2**20:.0f} MiB, memory allows "
            f"{memory / 2**20:.0f} MiB: ask for the labels alone, or allow more"
        )
    moved = not working.agrees(target)
    if moved and size > memory:
        warnings.warn(
            f"the probabilities of {count} classes would take {size / 2**20:.0f} MiB, memory allows "
            f"{memory / 2**20:.0f} MiB: the labels are brought to the grid of the source by the nearest voxel instead",
            stacklevel=3,
        )
    keep = wanted or (moved and size <= memory)
    labels = None if moved and keep else torch.empty(working.shape, dtype=_label_type(count))
    scores = torch.empty((count, *working.shape)) if keep else None
    start, slab = 0, first
    while slab is not None:
        stop = start + slab.shape[1]
        if labels is not None:
            labels[start:stop] = (slab.argmax(0) if count > 1 else slab[0] > threshold).to("cpu", labels.dtype)
        if scores is not None:
            scores[:, start:stop] = slab.cpu()
        start, slab = stop, next(slabs, None)
    return labels, scores


def _label_type(count):
    return torch.uint8 if count <= 256 else torch.int16


def most_probable(scores, working, target, threshold, wanted):
    """The most probable class of each voxel of ``target``: one class at a time is brought there, never all.

    Args:
        scores: probabilities (C, D, H, W) on the grid ``working``.
        working, target, threshold: as for :func:`collect_slabs`.
        wanted: give the probabilities on ``target`` too.

    Returns:
        ``TensorMask3D`` and, if wanted, a ``TensorDicom3D`` (C, D, H, W), else None. Outside of ``working`` lies
        background.
    """
    count = len(scores)
    labels = torch.zeros(target.shape, dtype=_label_type(count))
    kept = torch.empty((count, *target.shape)) if wanted else None
    best = None
    for number, score in enumerate(scores):
        score = bring_onto(score, working, target, TensorDicom3D, float(count > 1 and number == 0))
        if kept is not None:
            kept[number] = score
        if count == 1:
            labels = (score > threshold).to(labels.dtype)
        elif best is None:
            best = score
        else:
            labels[score > best] = number
            best = torch.maximum(best, score)
    return TensorMask3D(labels, target), None if kept is None else TensorDicom3D(kept, target)


def bring_onto(voxels, working, target, kind, fill=0.0):
    """Voxels (D, H, W) of the grid ``working`` on the grid ``target``; ``kind`` says how they are interpolated.

    The new grid of ``Resample3D`` has a whole number of voxels and can end up to a quarter of one inside the old one.
    There the outermost voxels go on; what lies farther out has been cut away and becomes ``fill``.
    """
    before, after = (((ends > 0) & (ends <= _ROUNDING)).astype(int) for ends in _overhang(working, target))
    for axis, n in enumerate(working.shape):
        if before[axis] or after[axis]:
            voxels = voxels.index_select(axis, torch.arange(-before[axis], n + after[axis]).clamp(0, n - 1))
    around = working.regrid(tuple(voxels.shape), offset=tuple(-before.astype(float)))
    return resample_like(kind(voxels, around), target, value=fill).as_subclass(Tensor)


def _overhang(working, target):
    """How far the outer voxel centres of ``target`` lie beyond the edges of ``working``, in voxels of that.

    Returns:
        Two arrays along (D, H, W): beyond the first and beyond the last edge; 0 if inside.
    """
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(target.shape) - 1)
    places = working.world_to_index(target.index_to_world(corners))
    first, last = -0.5 - places.min(0), places.max(0) - (np.array(working.shape) - 0.5)
    return np.where(first > _EXACT, first, 0), np.where(last > _EXACT, last, 0)


def warn_of_cut(working, target):
    """Warn the caller's caller if voxels of ``target`` lie outside of ``working`` by more than rounding leaves."""
    if max(ends.max() for ends in _overhang(working, target)) > _ROUNDING:
        warnings.warn(
            f"the transforms have cut the volume ({target!r}) down to {working!r}: what lies outside is background in "
            "the prediction. PadOrCrop3D and RandomCrop3D are left out if patch=(D, H, W) is given",
            stacklevel=3,
        )
