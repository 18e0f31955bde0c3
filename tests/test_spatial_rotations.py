"""Quarter turns and mirrors about the patient's axes, on volumes stored in every way."""

import itertools

import numpy as np
import pytest
import torch
from coordinates import OBLIQUE, OTHER

from faimed3d.geometry import Geometry
from faimed3d.spatial.rotations import (
    MIRRORS,
    axial_rotation,
    dihedral_matrix,
    interchangeable,
    rotate_3d,
    rotate_in_patient,
)

# every way to store a standard scan: which world axis x (W), y (H), z (D) run along, and which way
STORED = [
    (order, signs) for order in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)
]
EVERY = [*MIRRORS.values(), *(dihedral_matrix(k) for k in range(18))]


def stored(order, signs, side=3):
    """A geometry around the world's origin with ``side`` voxels along each axis, and its voxels' world places."""
    direction = np.zeros((3, 3))
    for storage, (world, sign) in enumerate(zip(order, signs, strict=True)):
        direction[world, storage] = sign
    origin = -direction.sum(1) * (side - 1) / 2
    geometry = Geometry((side,) * 3, origin=origin, direction=direction.ravel())
    index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), -1)
    return geometry, geometry.index_to_world(index)


@pytest.mark.parametrize(("order", "signs"), STORED)
def test_content_goes_where_the_matrix_says_however_it_is_stored(order, signs):
    geometry, places = stored(order, signs)
    values = places @ (1, 10, 100)  # each voxel's place, in one number
    for matrix in EVERY:
        turned = rotate_in_patient(torch.from_numpy(values), matrix, geometry).numpy()
        came_from = places @ np.asarray(matrix)  # the inverse of the turn is its transpose
        np.testing.assert_allclose(turned, came_from @ (1, 10, 100), atol=1e-9)


def test_an_oblique_volume_is_turned_about_its_nearest_axes():
    geometry = Geometry((2, 3, 4), (1, 2, 3), (-7, 11, 5), OBLIQUE)
    x = torch.arange(24.0).reshape(2, 3, 4)
    assert geometry.orientation == "LPS"
    assert torch.equal(rotate_in_patient(x, MIRRORS["left_right"], geometry), x.flip(-1))
    assert torch.equal(rotate_in_patient(x, MIRRORS["front_back"], geometry), x.flip(-2))
    assert torch.equal(rotate_in_patient(x, MIRRORS["head_feet"], geometry), x.flip(-3))


def test_leading_axes_are_turned_alike():
    geometry, _ = stored((0, 1, 2), (1, 1, 1))
    x = torch.rand(2, 5, 3, 3, 3)
    turned = rotate_in_patient(x, axial_rotation(1), geometry)
    assert torch.equal(turned[1, 4], rotate_in_patient(x[1, 4], axial_rotation(1), geometry))


@pytest.mark.parametrize("matrix", [torch.eye(3, dtype=torch.int64), MIRRORS["left_right"], axial_rotation(1)])
def test_never_a_view(matrix):
    geometry, _ = stored((1, 0, 2), (1, 1, 1))
    x = torch.rand(3, 3, 3)
    turned = rotate_in_patient(x, matrix, geometry)
    before = x.clone()
    turned.zero_()
    assert torch.equal(x, before)


def test_a_turn_leaves_left_and_right_of_the_body_apart():
    for count in range(4):
        assert torch.linalg.det(axial_rotation(count).double()) == pytest.approx(1)


def test_one_turn_is_counter_clockwise_in_an_axial_slice():
    geometry, _ = stored((0, 1, 2), (1, 1, 1))  # rows to the back, columns to the left, as the picture has it
    x = torch.arange(27.0).reshape(3, 3, 3)
    assert torch.equal(rotate_in_patient(x, axial_rotation(1), geometry), torch.rot90(x, 1, (1, 2)))


def test_of_the_codes_14_are_distinct():
    matrices = {tuple(dihedral_matrix(k).flatten().tolist()) for k in range(18)}
    assert len(matrices) == 14


@pytest.mark.parametrize("k", [-1, 18, 0.5, "1"])
def test_unknown_codes_are_refused(k):
    with pytest.raises(ValueError, match="k must be a whole number from 0 to 17, got"):
        dihedral_matrix(k)


@pytest.mark.parametrize(
    "geometry", [Geometry((2, 3, 4)), Geometry((2, 4, 4), spacing=(1, 1.02, 1)), Geometry((4, 4, 4), (1, 2, 3))]
)
def test_a_turn_that_would_change_shape_or_patient_is_refused(geometry):
    x = torch.zeros(geometry.shape)
    with pytest.raises(ValueError, match=r"as many voxels and the same spacing.*Resample3D and PadOrCrop3D make it so"):
        rotate_in_patient(x, axial_rotation(1), geometry)
    assert rotate_in_patient(x, axial_rotation(2), geometry).shape == x.shape


def test_sides_alike():
    assert not interchangeable(OTHER, 1, 2)
    assert interchangeable(Geometry((2, 4, 4), spacing=(1, 1.009, 3)), 1, 2)


def test_turn_3d_is_over_storage_axes():
    x = torch.arange(8.0).reshape(2, 2, 2)
    swap = torch.tensor([[0, 0, 1], [0, 1, 0], [1, 0, 0]])  # x and z change places
    assert torch.equal(rotate_3d(x, swap), x.permute(2, 1, 0))
