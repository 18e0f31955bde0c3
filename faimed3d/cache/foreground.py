"""Where the voxels of each class lie: at most 10,000 of each, to draw patches around."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_POSITIONS = 10_000


def foreground_positions(mask: NDArray[Any]) -> dict[int, NDArray[Any]]:
    """Voxels of each label above 0, in storage order; of larger classes a draw that is the same each time.

    Args:
        mask: labels (D, H, W).

    Returns:
        Label -> array (n, 3) of indices (d, h, w), n at most 10,000, of the smallest unsigned type that holds them.

    >>> foreground_positions(np.array([[[0, 2, 2, 1]]]))[2].tolist()
    [[0, 0, 1], [0, 0, 2]]
    """
    flat = mask.reshape(-1)
    voxels = np.flatnonzero(flat > 0)
    labels = flat[voxels]
    voxels = voxels[np.argsort(labels, kind="stable")]
    dtype = np.uint16 if max(mask.shape) <= 1 << 16 else np.uint32
    found, first = {}, 0
    for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
        ours = voxels[first : first + count]
        if count > MOST_POSITIONS:
            ours = ours[np.sort(np.random.default_rng(int(label)).choice(count, MOST_POSITIONS, replace=False))]
        found[int(label)] = np.stack(np.unravel_index(ours, mask.shape), -1).astype(dtype)
        first += count
    return found
