"""The slice of a volume with most to see."""

from __future__ import annotations

import numpy as np

_LOOKED_AT = 4_000_000  # voxels whose values are compared, evenly spread
_MOST = 65536  # labels below are counted as they are, others by their number among all


def telling_slice(volume: np.ndarray, labels: np.ndarray | None = None, axis: int = 0) -> int:
    """Index, along a storage axis, of the slice with most to see.

    Args:
        volume: (D, H, W) or (C, D, H, W).
        labels: (D, H, W), or None. With labels: the slice that holds most of the classes, each counted by its share, so
            that a small one weighs as much as a large one. Without: that whose values vary most.
        axis: 0, 1 or 2 of (D, H, W).

    >>> telling_slice(np.zeros((3, 2, 2)), np.array([0, 5, 0])[:, None, None] * np.ones((3, 2, 2)))
    1
    """
    others = tuple(k for k in range(3) if k != axis)
    if labels is not None and (share := _shares(labels, axis)).any():
        return int(share.argmax())
    step = max(1, round((volume.size / _LOOKED_AT) ** 0.5))
    values = volume.reshape(-1, *volume.shape[-3:])
    values = np.nan_to_num(values[(slice(None), *(slice(None, None, 1 if k == axis else step) for k in range(3)))])
    return int(values.var(tuple(k + 1 for k in others), dtype=np.float32).sum(0).argmax())


def _shares(labels: np.ndarray, axis: int) -> np.ndarray:
    """For each slice the sum over classes of the share of the class that lies in it."""
    if labels.min() < 0 or labels.max() >= _MOST:
        labels = np.unique(np.maximum(labels, 0), return_inverse=True)[1].reshape(labels.shape)
    most = int(labels.max()) + 1
    counts = np.stack(
        [np.bincount(part.reshape(-1).astype(np.int64), minlength=most) for part in labels.swapaxes(0, axis)]
    )
    totals = counts.sum(0)
    found = totals[1:] > 0
    return (counts[:, 1:][:, found] / totals[1:][found]).sum(1)
