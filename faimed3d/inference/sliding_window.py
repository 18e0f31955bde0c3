"""A network over a volume that is too large for it: overlapping windows, blended by Gaussian weights.

Volumes are plain tensors ``(C, D, H, W)``. Finished slices leave at once, so that no more than one slab of scores, as
deep as a window, is held.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from fastcore.basics import chunked

__all__ = ["flipped_mean", "gaussian_weights", "sliding_windows", "window_starts"]


def window_starts(size, patch, overlap):
    """Where windows begin along one axis: even steps of at most ``patch * (1 - overlap)``, the last at the end.

    Args:
        size: voxels of the axis, at least ``patch``.
        patch: voxels of the window.
        overlap: share of the window that its neighbour covers too, 0 to below 1.

    >>> window_starts(10, 4, 0.5)
    [0, 2, 4, 6]
    >>> window_starts(9, 4, 0.5)
    [0, 2, 3, 5]
    """
    step = max(1, int(patch * (1 - overlap)))
    count = -(-(size - patch) // step) + 1
    return [round(number * (size - patch) / max(1, count - 1)) for number in range(count)]


def gaussian_weights(patch):
    """Weights (D, H, W) of the voxels of a window: a Gaussian of an eighth of the sides, 1 at the centre, never 0."""
    weights = torch.ones(())
    for n in patch:
        distance = (torch.arange(n) - (n - 1) / 2) / (n / 8)
        weights = weights[..., None] * torch.exp(-0.5 * distance**2)
    return (weights / weights.max()).clamp(min=1e-3)


def flipped_mean(predict, x, axes):
    """Mean of ``predict`` over all flips of ``x`` along ``axes`` (dimensions), each flipped back."""
    combinations = [combo for n in range(len(axes) + 1) for combo in itertools.combinations(axes, n)]
    total = None
    for combo in combinations:
        part = predict(x.flip(combo)).flip(combo) if combo else predict(x)
        total = part if total is None else total.add_(part)
    return total.div_(len(combinations))


def sliding_windows(predict, volume, patch, overlap=0.5, bs=1):
    """Yield what ``predict`` says of ``volume`` from its first slice to its last.

    Args:
        predict: windows (B, C, *patch) -> scores (B, K, *patch), float32.
        volume: (C, D, H, W); sides below those of a window are padded with its smallest value.
        patch: sides of a window, (D, H, W).
        overlap: share of a window that its neighbour covers too, 0 to below 1.
        bs: windows at a time.

    Yields:
        Mean scores (K, d, H, W) of the next slices.
    """
    size = tuple(volume.shape[1:])
    before = [max(0, m - n) // 2 for n, m in zip(size, patch, strict=True)]
    after = [max(0, m - n) - low for n, m, low in zip(size, patch, before, strict=True)]
    if any(before) or any(after):
        pad = [n for low, high in zip(reversed(before), reversed(after), strict=True) for n in (low, high)]
        volume = F.pad(volume, pad, value=volume.min().item())
    rows, *starts = [window_starts(n, m, overlap) for n, m in zip(volume.shape[1:], patch, strict=True)]
    places = list(itertools.product(*starts))
    weights = gaussian_weights(patch).to(volume.device)
    inside = [slice(low, low + n) for low, n in zip(before, size, strict=True)]
    scores = total = None
    for row, following in zip(rows, [*rows[1:], volume.shape[1]], strict=True):
        for some in chunked(places, bs):
            cuts = [_window(volume, (row, *place), patch) for place in some]
            for (h, w), part in zip(some, predict(torch.stack(cuts)), strict=True):
                if scores is None:
                    scores = part.new_zeros(len(part), patch[0], *volume.shape[2:])
                    total = part.new_zeros(patch[0], *volume.shape[2:])
                scores[:, :, h : h + patch[1], w : w + patch[2]].addcmul_(part, weights)
                total[:, h : h + patch[1], w : w + patch[2]] += weights
        done = following - row
        low, high = max(row, inside[0].start) - row, min(following, inside[0].stop) - row
        if high > low:
            yield (scores[:, low:high] / total[low:high])[:, :, inside[1], inside[2]]
        scores, total = _moved_on(scores, 1, done), _moved_on(total, 0, done)


def _window(volume, place, patch):
    return volume[(slice(None), *(slice(start, start + n) for start, n in zip(place, patch, strict=True)))]


def _moved_on(slab, axis, done):
    """The slab with its first ``done`` slices gone and as many of zeros at its end."""
    rest = slab.narrow(axis, done, slab.shape[axis] - done)
    fresh = list(slab.shape)
    fresh[axis] = done
    return torch.cat([rest, slab.new_zeros(fresh)], axis)
