"""Cases too large for a browser, made smaller: means of blocks of voxels, and labels of which no piece is lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from faimed3d.browser.case import Case, Labels, Picture
from faimed3d.display.surfaces import bounding_boxes
from faimed3d.geometry import Geometry

Blocks = tuple[int, int, int]  # voxels (D, H, W) that become one

LONGEST_SIDE = 2048  # voxels: what every WebGL 2 device takes as the side of a volume


def reduced(case: Case, most: int) -> Case:
    """A case of at most ``most`` voxels in all channels of an image, and a note where voxels were put together.

    An image's voxel becomes the mean of a block. A label's becomes the class that has most of the block's labels,
    where half of it or more is labelled; a connected piece of labels that would vanish so keeps every block it touches.

    Args:
        case: the case.
        most: voxels, at least 1.

    Raises:
        ValueError: ``most`` is below 1.
    """
    if most < 1:
        raise ValueError(f"max_voxels must be at least 1, got {most}")
    channels = max(len(picture.voxels) for picture in case.pictures)
    blocks = blocks_for(case.geometry, max(1, most // channels))
    if blocks == (1, 1, 1):
        return case
    geometry = coarser(case.geometry, blocks)
    before, after, block = (
        "x".join(map(str, reversed(sizes))) for sizes in (case.geometry.shape, geometry.shape, blocks)
    )
    note = f"shown with {after} voxels of {before}: each is the mean of {block}"
    return Case(
        geometry,
        tuple(replace(picture, voxels=_means(picture, blocks)) for picture in case.pictures),
        tuple(replace(labels, voxels=_majority(labels, blocks)) for labels in case.labels),
        (*case.notes, note),
    )


def blocks_for(geometry: Geometry, most: int) -> Blocks:
    """The blocks (D, H, W) of voxels that leave at most ``most``, of nearly equal sides in mm.

    >>> blocks_for(Geometry((10, 40, 40), spacing=(1, 1, 4)), 4000)
    (1, 2, 2)
    """
    blocks, spacing = [1, 1, 1], geometry.spacing[::-1]
    while True:
        counts = [-(-n // block) for n, block in zip(geometry.shape, blocks, strict=True)]
        too_long = [axis for axis in range(3) if counts[axis] > LONGEST_SIDE]
        if np.prod(counts) <= most and not too_long:
            return blocks[0], blocks[1], blocks[2]
        open_axes = too_long or [axis for axis in range(3) if counts[axis] > 1]
        blocks[min(open_axes, key=lambda axis: spacing[axis] * blocks[axis])] += 1


def coarser(geometry: Geometry, blocks: Blocks) -> Geometry:
    """The grid whose voxels lie amid blocks of voxels; the last block of an axis may hang over the edge."""
    shape = [-(-n // block) for n, block in zip(geometry.shape, blocks, strict=True)]
    grid = geometry.regrid(shape, blocks, [(block - 1) / 2 for block in blocks])
    assert grid is not None  # sizes of at least 1 are a grid
    return grid


def _parts(array: np.ndarray, blocks: Blocks, mode: str) -> list[np.ndarray]:
    """For each place in a block the voxels (D', H', W') there; what hangs over the edge as np.pad's ``mode`` says."""
    padding = [(0, -n % block) for n, block in zip(array.shape, blocks, strict=True)]
    padded = np.pad(array, padding, mode=mode) if any(after for _, after in padding) else array  # type: ignore[call-overload]
    return [
        padded[tuple(slice(k, None, n) for k, n in zip(start, blocks, strict=True))] for start in np.ndindex(blocks)
    ]


def _means(picture: Picture, blocks: Blocks) -> np.ndarray:
    means = []
    for channel in picture.voxels:
        first, *rest = _parts(channel, blocks, "edge")
        total: np.ndarray = first.astype(np.float64 if channel.dtype == np.float64 else np.float32)
        for part in rest:
            np.add(total, part, out=total, casting="same_kind")
        means.append(np.divide(total, 1 + len(rest)).astype(np.float32))
    if picture.voxels.dtype.kind in "biu":  # whole numbers stay so: they need half the space
        return np.rint(np.stack(means)).astype(picture.voxels.dtype)
    return np.stack(means)


def _majority(labels: Labels, blocks: Blocks) -> np.ndarray:
    from scipy.ndimage import find_objects, label

    parts = _parts(labels.voxels, blocks, "constant")
    size = len(parts)
    best, most = np.zeros(parts[0].shape, labels.voxels.dtype), np.zeros(parts[0].shape, np.int32)
    total = np.zeros_like(most)
    for number in range(1, len(labels.classes) + 1):
        count = np.zeros_like(most)
        for part in parts:
            count += part == number
        total += count
        best[count > most] = number
        most = np.maximum(most, count)
    result = np.where(2 * total >= size, best, 0).astype(labels.voxels.dtype)
    for number, around in bounding_boxes(labels.voxels).items():
        pieces, _ = label(labels.voxels[around] == number)
        corner = np.array([part.start for part in around])
        for piece, box in enumerate(find_objects(pieces), 1):
            index = np.argwhere(pieces[box] == piece) + [part.start for part in box] + corner
            touched = tuple((index // blocks).T)
            if not (result[touched] == number).any():
                result[touched] = number
    return result
