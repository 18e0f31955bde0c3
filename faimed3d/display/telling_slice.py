"""The slice of a volume with most to see."""

from __future__ import annotations

import numpy as np

_MOST_CLASSES = 64  # a picture cannot tell more apart


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
    if labels is not None:
        share = np.zeros(labels.shape[axis])
        for label in [value for value in np.unique(labels)[:_MOST_CLASSES] if value]:
            here = (labels == label).sum(others)
            share += here / here.sum()
        if share.any():
            return int(share.argmax())
    values = np.nan_to_num(volume.reshape(-1, *volume.shape[-3:]))
    return int(values.var(tuple(k + 1 for k in others), dtype=np.float32).sum(0).argmax())
