"""Rotate by multiples of 90 degrees and mirror what a volume shows: no voxel is interpolated, and the grid stays.

These are augmentations: the content moves and the world changes, which is the other one of the "two different flips"
(``faimed3d.spatial.reorient`` relabels storage and moves nothing). A rotation is a 3x3 matrix of 0, 1 and -1: over the
storage axes (x, y, z) = (W, H, D) in :func:`rotate_3d`, over the patient's axes (x to the Left, y to Posterior, z to
Superior; see ``faimed3d.geometry``) in :func:`rotate_in_patient`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from faimed3d.geometry import Geometry

Matrix = Tensor | Sequence[Sequence[int]]

MIRRORS = {
    "left_right": ((-1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "front_back": ((1, 0, 0), (0, -1, 0), (0, 0, 1)),
    "head_feet": ((1, 0, 0), (0, 1, 0), (0, 0, -1)),
}
"""Matrices over the patient's axes that exchange two sides of the body."""

# (mirrors, rotations by 90 degrees) of each code, in the order in which they act
_DIHEDRAL: tuple[tuple[tuple[str, ...], int], ...] = (
    *(((), count) for count in range(4)),
    (("left_right",), 0),
    (("front_back",), 0),
    *((("head_feet",), count) for count in range(4)),
    *(((mirror,), count) for mirror in ("left_right", "front_back") for count in (1, 3)),
    *((("head_feet", mirror), count) for mirror in ("left_right", "front_back") for count in (1, 3)),
)


def axial_rotation(count: int) -> Tensor:
    """Matrix over the patient's axes of ``count`` rotations by 90 degrees about the axis from feet to head.

    One takes what lies left to the front: counter-clockwise in an axial slice as ``show_image_3d`` draws it.

    >>> axial_rotation(1).tolist()
    [[0, 1, 0], [-1, 0, 0], [0, 0, 1]]
    """
    return torch.matrix_power(torch.tensor([[0, 1, 0], [-1, 0, 0], [0, 0, 1]]), count % 4)


def dihedral_matrix(k: int) -> Tensor:
    """Matrix over the patient's axes of one of the 18 codes of faimed3d 0.0.6, of which 14 are distinct.

    Args:
        k: 0 to 3 are as many rotations by 90 degrees, 4 exchanges left and right, 5 front and back; 6 to 9 head and
            feet and 0 to 3 rotations; 10 and 11 left and right and 1 and 3 rotations, 12 and 13 front and back and 1
            and 3 rotations; 14 to 17 are 10 to 13 and head and feet.

    Raises:
        ValueError: no such code.

    >>> dihedral_matrix(4).tolist()
    [[-1, 0, 0], [0, 1, 0], [0, 0, 1]]
    """
    if k not in range(len(_DIHEDRAL)):
        raise ValueError(f"k must be a whole number from 0 to {len(_DIHEDRAL) - 1}, got {k!r}")
    mirrors, count = _DIHEDRAL[int(k)]
    matrix = torch.eye(3, dtype=torch.int64)
    for mirror in mirrors:
        matrix = torch.tensor(MIRRORS[mirror]) @ matrix
    return axial_rotation(count) @ matrix


def rotate_3d(x: Tensor, matrix: Tensor) -> Tensor:
    """Rotate a volume by multiples of 90 degrees and mirror it, without interpolation.

    Args:
        x: plain tensor (..., D, H, W).
        matrix: (3, 3) over the storage axes (x, y, z), of 0 and one 1 or -1 in each row and column: axis b goes to
            axis a.

    Raises:
        ValueError: the rotation would change the shape.

    >>> rotate_3d(torch.tensor([[[1, 2], [3, 4]]]), axial_rotation(1))
    tensor([[[2, 4],
             [1, 3]]])
    """
    source = matrix.abs().argmax(1).tolist()
    lead = x.ndim - 3
    order = [lead + 2 - source[2 - axis] for axis in range(3)]
    rotated = x.permute(*range(lead), *order)
    if rotated.shape != x.shape:
        raise ValueError(
            f"a rotation by 90 degrees would change the shape {tuple(x.shape[-3:])} to {tuple(rotated.shape[-3:])}"
        )
    return rotated.flip([-1 - a for a in range(3) if matrix[a].sum() < 0])


def to_storage_axes(matrix: Matrix, geometry: Geometry) -> Tensor:
    """The matrix over the storage axes, for :func:`rotate_3d`, of a rotation about the patient's axes.

    Args:
        matrix: (3, 3) over the patient's axes (x, y, z), of 0 and one 1 or -1 in each row and column.
        geometry: where the volume lies; an oblique one is rotated about its axes nearest to the patient's.

    Raises:
        ValueError: two axes change places that differ in voxels or, by more than 1 %, in spacing.
    """
    frame = torch.zeros(3, 3, dtype=torch.int64)  # patient's axis, storage axis
    for storage, letter in enumerate(geometry.orientation):
        world = next(axis for axis, ends in enumerate(("RL", "AP", "IS")) if letter in ends)
        frame[world, storage] = 1 if letter in "LPS" else -1
    stored = frame.mT @ torch.as_tensor(matrix) @ frame
    for storage, source in enumerate(stored.abs().argmax(1).tolist()):
        if not interchangeable(geometry, 2 - storage, 2 - source):
            raise ValueError(
                "a rotation by 90 degrees needs a plane whose two sides have as many voxels and the same spacing, so "
                f"that it keeps shape and patient; this volume is {geometry!r}. Resample3D and PadOrCrop3D make it so"
            )
    return stored


def rotate_in_patient(x: Tensor, matrix: Matrix, geometry: Geometry) -> Tensor:
    """Rotate a volume (..., D, H, W) about the patient's axes, however it is stored: a copy, of the same shape.

    Args:
        x: plain tensor (..., D, H, W).
        matrix, geometry: as for :func:`to_storage_axes`, which is where errors come from.

    >>> x = torch.tensor([[[1, 2, 3]]])
    >>> rotate_in_patient(x, MIRRORS["left_right"], Geometry((1, 1, 3)))
    tensor([[[3, 2, 1]]])
    """
    rotated = rotate_3d(x, to_storage_axes(matrix, geometry))
    return rotated.clone() if rotated.data_ptr() == x.data_ptr() else rotated


def interchangeable(geometry: Geometry, one: int, two: int) -> bool:
    """Whether two of the axes D, H, W (0, 1, 2) have the same number of voxels and, to 1 %, the same spacing."""
    first, second = geometry.spacing[2 - one], geometry.spacing[2 - two]
    return geometry.shape[one] == geometry.shape[two] and abs(first - second) <= 0.01 * min(first, second)
