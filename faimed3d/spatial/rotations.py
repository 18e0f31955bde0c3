"""Turn and mirror what a volume shows, by whole quarter turns: no voxel is interpolated, and the grid stays.

These are augmentations: the content moves and the world changes, which is the other one of the "two different flips"
(``faimed3d.spatial.reorient`` relabels storage and moves nothing). A turn is a 3x3 matrix of 0, 1 and -1: over the
storage axes (x, y, z) = (W, H, D) in :func:`turn_3d`, over the patient's axes (x to the Left, y to Posterior, z to
Superior; see ``faimed3d.geometry``) in :func:`turn_in_patient`.
"""

from __future__ import annotations

import torch

__all__ = ["MIRRORS", "dihedral_matrix", "quarter_turns", "sides_alike", "storage_turn", "turn_3d", "turn_in_patient"]

MIRRORS = {
    "left_right": ((-1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "front_back": ((1, 0, 0), (0, -1, 0), (0, 0, 1)),
    "head_feet": ((1, 0, 0), (0, 1, 0), (0, 0, -1)),
}
"""Matrices over the patient's axes that exchange two sides of the body."""

# (mirrors, quarter turns) of each code, in the order in which they act
_DIHEDRAL = (
    *(((), turns) for turns in range(4)),
    (("left_right",), 0),
    (("front_back",), 0),
    *((("head_feet",), turns) for turns in range(4)),
    *(((mirror,), turns) for mirror in ("left_right", "front_back") for turns in (1, 3)),
    *((("head_feet", mirror), turns) for mirror in ("left_right", "front_back") for turns in (1, 3)),
)


def quarter_turns(count):
    """Matrix over the patient's axes of ``count`` quarter turns about the axis from feet to head.

    One turn takes what lies left to the front: counter-clockwise in an axial slice as ``show_image_3d`` draws it.

    >>> quarter_turns(1).tolist()
    [[0, 1, 0], [-1, 0, 0], [0, 0, 1]]
    """
    return torch.matrix_power(torch.tensor([[0, 1, 0], [-1, 0, 0], [0, 0, 1]]), count % 4)


def dihedral_matrix(k):
    """Matrix over the patient's axes of one of the 18 codes of faimed3d 0.0.6, of which 14 are distinct.

    Args:
        k: 0 to 3 are as many quarter turns, 4 exchanges left and right, 5 front and back; 6 to 9 head and feet and 0 to
            3 turns; 10 and 11 left and right and 1 and 3 turns, 12 and 13 front and back and 1 and 3 turns; 14 to 17
            are 10 to 13 and head and feet.
    """
    if k not in range(len(_DIHEDRAL)):
        raise ValueError(f"k must be a whole number from 0 to {len(_DIHEDRAL) - 1}, got {k!r}")
    mirrors, turns = _DIHEDRAL[int(k)]
    matrix = torch.eye(3, dtype=torch.int64)
    for mirror in mirrors:
        matrix = torch.tensor(MIRRORS[mirror]) @ matrix
    return quarter_turns(turns) @ matrix


def turn_3d(x, matrix):
    """Turn a volume by quarter turns and mirror it, without interpolation.

    Args:
        x: plain tensor (..., D, H, W).
        matrix: (3, 3) over the storage axes (x, y, z), of 0 and one 1 or -1 in each row and column: axis b goes to
            axis a.

    Raises:
        ValueError: the turn would change the shape.
    """
    source = matrix.abs().argmax(1).tolist()
    lead = x.ndim - 3
    order = [lead + 2 - source[2 - axis] for axis in range(3)]
    turned = x.permute(*range(lead), *order)
    if turned.shape != x.shape:
        raise ValueError(f"a quarter turn would change the shape {tuple(x.shape[-3:])} to {tuple(turned.shape[-3:])}")
    return turned.flip([-1 - a for a in range(3) if matrix[a].sum() < 0])


def storage_turn(matrix, geometry):
    """The matrix over the storage axes, for :func:`turn_3d`, of a turn about the patient's axes.

    Args:
        matrix: (3, 3) over the patient's axes (x, y, z), of 0 and one 1 or -1 in each row and column.
        geometry: where the volume lies; an oblique one is turned about its axes nearest to the patient's.

    Raises:
        ValueError: two axes change places that differ in voxels or, by more than 1 %, in spacing.
    """
    frame = torch.zeros(3, 3, dtype=torch.int64)  # patient's axis, storage axis
    for storage, letter in enumerate(geometry.orientation):
        world = next(axis for axis, ends in enumerate(("RL", "AP", "IS")) if letter in ends)
        frame[world, storage] = 1 if letter in "LPS" else -1
    stored = frame.mT @ torch.as_tensor(matrix) @ frame
    for storage, source in enumerate(stored.abs().argmax(1).tolist()):
        if not sides_alike(geometry, 2 - storage, 2 - source):
            raise ValueError(
                "a quarter turn needs a plane whose two sides have as many voxels and the same spacing, so that it "
                f"keeps shape and patient; this volume is {geometry!r}. Resample3D and PadOrCrop3D make it so"
            )
    return stored


def turn_in_patient(x, matrix, geometry):
    """Turn a volume (..., D, H, W) about the patient's axes, however it is stored: a copy, of the same shape.

    Args:
        x: plain tensor (..., D, H, W).
        matrix, geometry: as for :func:`storage_turn`, which is where errors come from.
    """
    turned = turn_3d(x, storage_turn(matrix, geometry))
    return turned.clone() if turned.data_ptr() == x.data_ptr() else turned


def sides_alike(geometry, one, two):
    """Whether two of the axes D, H, W (0, 1, 2) have the same number of voxels and, to 1 %, the same spacing."""
    first, second = geometry.spacing[2 - one], geometry.spacing[2 - two]
    return geometry.shape[one] == geometry.shape[two] and abs(first - second) <= 0.01 * min(first, second)
