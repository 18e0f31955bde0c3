"""Labels onto another grid by what its voxels hold: the share of each class, linear in between; and what was lost.

The nearest voxel is the default for labels. On coarser voxels it skips thin structures: of vessels one voxel thick two
of three are gone where the new voxel is three old ones wide. A label of which all would be gone keeps its volume.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d, max_pool3d
from torch.utils.data import get_worker_info

from faimed3d.masks.labels import holds, labels_in
from faimed3d.spatial.interpolation import resample_voxels

LABEL_MODES = ("nearest", "linear", "present")
_WAY_OUT = (
    "Where the new voxels are coarser, labels='linear' weighs what each one holds, and labels='present' keeps a label "
    "in every voxel that holds any of it"
)
_EVEN = 1e-4  # of a voxel: shares that differ by less are equal


def check_mode(labels: str) -> None:
    """Raise a ValueError if ``labels`` is no way to resample labels."""
    if labels not in LABEL_MODES:
        raise ValueError(f"labels must be one of {', '.join(map(repr, LABEL_MODES))}, got {labels!r}")


def blend_labels(
    volumes: Tensor, matrix: np.ndarray, offset: np.ndarray, size: tuple[int, int, int], labels: str, fill: int
) -> Tensor:
    """Labels (N, *size) by the shares of the classes; arguments as for ``resample_voxels``.

    Args:
        labels: ``'linear'``: the class with the largest share, a class before the background where they are equal.
            ``'present'``: the class with the largest share, whatever the background's.
    """
    result = volumes.new_full((len(volumes), *size), fill)
    for volume, out in zip(volumes, result, strict=True):
        # what the classes must outdo: the background's share, or nothing
        best = torch.zeros(size, device=volume.device)
        if labels == "linear":
            best = 1 - sum((s for _, s in shares(volume, matrix, offset, size)), start=torch.zeros_like(best)) - _EVEN
        inside = _share((torch.ones_like(volume, dtype=torch.float32)), matrix, offset, size, False) > 0.5
        out[inside] = 0
        for label, share in shares(volume, matrix, offset, size, present=labels == "present"):
            wins = share > torch.clamp(best, min=_EVEN)
            out[wins] = label
            best = torch.where(wins, share, best)
    return result


def shares(
    volume: Tensor, matrix: np.ndarray, offset: np.ndarray, size: tuple[int, int, int], present: bool = False
) -> Iterator[tuple[int, Tensor]]:
    """The share (*size) of each class but 0 in the new voxels of one volume (D, H, W), one class after the other."""
    for label in sorted(labels_in(volume)):
        if label:
            yield label, _share((volume == label).float(), matrix, offset, size, present)


def _share(inside: Tensor, matrix: np.ndarray, offset: np.ndarray, size: tuple[int, int, int], present: bool) -> Tensor:
    """Mean of ``inside`` (D, H, W) over each new voxel: sampled at least as finely as it is stored, in slabs."""
    steps = [max(1, math.ceil(np.abs(matrix[:, axis]).max() - 1e-6)) for axis in range(3)]
    fine = matrix / steps
    start = offset - fine @ ((np.array(steps) - 1) / 2)
    out = torch.empty(size, device=inside.device)
    depth = max(1, int(2**24 // max(1, math.prod(steps) * size[1] * size[2])))
    for first in range(0, size[0], depth):
        count = min(depth, size[0] - first)
        sides = tuple(n * step for n, step in zip((count, *size[1:]), steps, strict=True))
        begin = start + matrix[:, 0] * first
        sampled = resample_voxels(inside[None], fine, begin, sides, present, 0.0)
        mean = avg_pool3d(sampled[None], steps)[0, 0]
        if present:  # a class that is there counts, however small its share
            mean = mean * (max_pool3d(sampled[None], steps)[0, 0] > 0)
        out[first : first + count] = mean
    return out


def keep_lost(volumes: Tensor, result: Tensor, matrix: np.ndarray, offset: np.ndarray, what: str) -> bool:
    """Give labels that the nearest voxels missed as many voxels as they fill, those that hold most of them; say so.

    Returns:
        Whether they missed any; else none is lost.

    Args:
        volumes: labels (N, D, H, W).
        result: the same (N, *size) by the nearest voxels; background alone is overwritten.
        matrix, offset: as for ``resample_voxels``.
        what: the function, for the warning.
    """
    kept, missed = set(), False
    for before, after in zip(volumes, result, strict=True):
        for label in sorted(labels_in(before)):
            if label and not holds(after, label):
                missed = True
                share = _share((before == label).float(), matrix, offset, tuple(after.shape), False)
                count = round(share.sum().item())
                share = torch.where(after == 0, share, 0).flatten()
                count = min(max(1, count), int(share.count_nonzero()))
                if count:
                    after[torch.unravel_index(share.topk(count).indices, after.shape)] = label
                    kept.add(label)
    if kept and get_worker_info() is None:
        warnings.warn(
            f"{what}: the nearest voxels hold nothing of {_listed(kept)}, which keeps its volume in the voxels that "
            f"hold most of it. {_WAY_OUT}",
            stacklevel=4,
        )
    return missed


def warn_of_lost(before: Tensor, after: Tensor, what: str) -> None:
    """Warn of the labels of a mask that have no voxel left; in a loader's worker the learner says it for all items."""
    if get_worker_info() is not None:
        return
    lost = [label for label in labels_in(before) if label and not holds(after, label)]
    if lost:
        warnings.warn(
            f"{what}: no voxel is left of {_listed(lost)}. {_WAY_OUT}",
            stacklevel=4,
        )


def _listed(labels: Iterable[int]) -> str:
    labels = sorted(labels)
    return f"{'label' if len(labels) == 1 else 'labels'} {', '.join(map(str, labels))}"
