"""How deep a U-Net is, what it strides and convolves along each axis: nnU-Net's rules, as pure functions.

Isensee et al. 2021, doi:10.1038/s41592-020-01008-z, supplementary note 2 and the code of nnU-Net v2
(``get_pool_and_conv_props``). All triples are in the order (D, H, W).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

Triple = tuple[int, int, int]

SMALLEST = 4  # voxels of an axis at the lowest level
NEAR = 2  # axes whose spacing is less than this times the finest are pooled and convolved together


@dataclass(frozen=True)
class Topology:
    """Strides by which each level divides the sides of the one above, and kernels of each level, the first included.

    ``strides`` has one entry for each level below the first, ``kernels`` one for each level.
    """

    strides: tuple[Triple, ...]
    kernels: tuple[Triple, ...]

    @property
    def divisors(self) -> Triple:
        """By what the sides of a patch are divided on the way to the lowest level."""
        found = [1, 1, 1]
        for stride in self.strides:
            found = [a * b for a, b in zip(found, stride, strict=True)]
        return _triple(found)

    @property
    def levels(self) -> int:
        """Levels, the first included."""
        return len(self.kernels)


def topology_of(spacing: Sequence[float], patch: Sequence[int], halved_from: int = NEAR * SMALLEST) -> Topology:
    """Strides and kernels for a patch.

    An axis is halved while at least twice 4 voxels are left of it and its spacing is within a factor of 2 of the finest
    of those that can still be halved; a single such axis needs three times 4. A kernel is 1 along an axis until its
    spacing is within a factor of 2 of the finest, then 3; the lowest level has 3 throughout. Along an axis of one voxel
    it stays 1 (nnU-Net has a 2D network for that).

    Args:
        spacing: (D, H, W) mm.
        patch: voxels (D, H, W).
        halved_from: voxels of an axis from which on it is halved. Default: twice 4.

    >>> topology_of((5, 1, 1), (8, 64, 64)).strides
    ((1, 2, 2), (1, 2, 2), (2, 2, 2), (1, 2, 2))
    >>> topology_of((5, 1, 1), (8, 64, 64)).kernels
    ((1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3))
    """
    steps, sizes = [float(mm) for mm in spacing], list(patch)
    kernel = [1, 1, 1]
    strides: list[Triple] = []
    kernels: list[Triple] = []
    while True:
        possible = [axis for axis in range(3) if sizes[axis] >= halved_from]
        finest = min((steps[axis] for axis in possible), default=0.0)
        possible = [axis for axis in possible if steps[axis] / finest < NEAR]
        if not possible or (len(possible) == 1 and sizes[possible[0]] < 3 * SMALLEST):
            break
        kernel = [3 if steps[axis] / min(steps) < NEAR else kernel[axis] for axis in range(3)]
        kernels.append(_triple(kernel))
        strides.append(_triple(2 if axis in possible else 1 for axis in range(3)))
        for axis in possible:
            steps[axis] *= 2
            sizes[axis] = ceil(sizes[axis] / 2)
    kernels.append((3, 3, 3))
    flat = [n == 1 for n in patch]
    kernels = [_triple(1 if thin else k for thin, k in zip(flat, one, strict=True)) for one in kernels]
    return Topology(tuple(strides), tuple(kernels))


def padded(patch: Sequence[int], divisors: Sequence[int]) -> Triple:
    """The smallest sizes, not below ``patch``, that the divisors divide.

    >>> padded((35, 51, 36), (8, 8, 8))
    (40, 56, 40)
    """
    return _triple(ceil(n / by) * by for n, by in zip(patch, divisors, strict=True))


def smaller(patch: Sequence[int], spacing: Sequence[float], median: Sequence[float]) -> Triple | None:
    """The next smaller patch: the axis that is largest beside the median size loses a step; None if it cannot.

    Args:
        patch: voxels (D, H, W).
        spacing: (D, H, W) mm.
        median: size of the cases (D, H, W), voxels.
    """
    order = sorted(range(3), key=lambda axis: patch[axis] / median[axis], reverse=True)
    for axis in order:
        step = topology_of(spacing, patch).divisors[axis]
        shrunk = list(patch)
        shrunk[axis] -= step
        if shrunk[axis] < 1:
            continue
        step = topology_of(spacing, shrunk).divisors[axis]  # so that no size that fits is left out
        shrunk[axis] = patch[axis] - step
        if shrunk[axis] >= 1 and (step > 1 or shrunk[axis] >= SMALLEST):
            return padded(shrunk, topology_of(spacing, shrunk).divisors)
    return None


def first_patch(spacing: Sequence[float], median: Sequence[float]) -> Triple:
    """The patch to begin with: a cube in mm of as many voxels as 256 x 256 x 256 have, cut to the median size.

    Args:
        spacing: (D, H, W) mm.
        median: size of the cases (D, H, W), voxels.

    >>> first_patch((3, 1, 1), (40, 512, 512))
    (40, 369, 369)
    """
    inverse = [1 / mm for mm in spacing]
    scale = (256**3 / (inverse[0] * inverse[1] * inverse[2])) ** (1 / 3)
    return _triple(max(1, min(round(a * scale), round(n))) for a, n in zip(inverse, median, strict=True))


def _triple(values) -> Triple:
    one, two, three = (int(value) for value in values)
    return one, two, three
