"""Surfaces against solids whose volume, area and position are known."""

import numpy as np
import pytest
import torch

from faimed3d.display import surface
from faimed3d.geometry import Geometry

ANGLE = np.radians(30)
OBLIQUE = (np.cos(ANGLE), -np.sin(ANGLE), 0, np.sin(ANGLE), np.cos(ANGLE), 0, 0, 0, 1)
MIRRORED = (-1, 0, 0, 0, 1, 0, 0, 0, 1)


def enclosed(vertices, faces):
    """Volume inside a closed mesh (divergence theorem); positive if its faces look outwards."""
    a, b, c = np.moveaxis(vertices[faces] - vertices.mean(0), 1, 0)
    return (a * np.cross(b, c)).sum() / 6


def area(vertices, faces):
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    return np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2


def is_closed(faces):
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    return (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()


def ball(geometry, centre, radius):
    """Voxels whose centres lie within ``radius`` mm of ``centre`` (x, y, z)."""
    index = np.stack(np.indices(geometry.shape), -1)
    return (np.linalg.norm(geometry.index_to_world(index) - centre, axis=-1) <= radius).astype(np.uint8)


def around(centre, spacing, direction, shape=(18, 26, 48)):
    """A grid with its middle at ``centre``."""
    grid = Geometry(shape, spacing, (0, 0, 0), direction)
    return grid.replace(origin=centre - grid.index_to_world((np.array(shape) - 1) / 2))


class TestSurface:
    @pytest.mark.parametrize("direction", [(1, 0, 0, 0, 1, 0, 0, 0, 1), OBLIQUE, MIRRORED])
    def test_of_a_ball_has_its_volume_area_and_position(self, direction):
        centre, radius = np.array([30.0, -50, 700]), 20.0
        geometry = around(centre, (1, 2, 3), direction)
        vertices, faces = surface(ball(geometry, centre, radius), 1, geometry)
        assert enclosed(vertices, faces) == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.03)
        assert area(vertices, faces) == pytest.approx(
            4 * np.pi * radius**2, rel=0.16
        )  # the steps of the grid add to it
        distance = np.linalg.norm(vertices - centre, axis=1)
        assert abs(distance - radius).max() < 3
        np.testing.assert_allclose(vertices.mean(0), centre, atol=0.3)
        assert is_closed(faces)

    def test_of_a_box_lies_on_the_edges_of_its_voxels(self):
        mask = np.zeros((6, 7, 8), int)
        mask[1:5, 2:5, 3:5] = 4  # 4 x 3 x 2 voxels (D, H, W) of 3, 2, 1 mm
        vertices, faces = surface(mask, 4, Geometry(mask.shape, (1, 2, 3), (10, 20, 30)))
        np.testing.assert_allclose(vertices.min(0), [10 + 2.5, 20 + 2 * 1.5, 30 + 3 * 0.5])
        np.testing.assert_allclose(vertices.max(0), [10 + 4.5, 20 + 2 * 4.5, 30 + 3 * 4.5])
        # marching cubes cuts every edge at 45 degrees: 1/8 voxel per step along it, 5/48 at each corner
        cut = 4 * (3 + 2 + 1) / 8 + 8 * 5 / 48
        assert enclosed(vertices, faces) == pytest.approx((4 * 3 * 2 - cut) * 6)

    def test_is_closed_where_the_class_touches_the_border(self):
        vertices, faces = surface(np.ones((2, 3, 4)), 1)
        assert is_closed(faces)
        np.testing.assert_allclose(vertices.min(0), [-0.5] * 3)
        np.testing.assert_allclose(vertices.max(0), [3.5, 2.5, 1.5])

    @pytest.mark.parametrize("step", [2, 3])
    def test_a_coarser_step_has_fewer_faces_and_the_same_volume(self, step):
        centre = np.array([1.0, 2, 3])
        geometry = around(centre, (1, 1, 2.5), OBLIQUE, (30, 60, 60))
        mask = ball(geometry, centre, 25)
        _, fine = surface(mask, 1, geometry)
        vertices, faces = surface(mask, 1, geometry, step=step)
        assert len(faces) < len(fine) / (step - 0.5)
        assert enclosed(vertices, faces) == pytest.approx(4 / 3 * np.pi * 25**3, rel=0.03)
        np.testing.assert_allclose(vertices.mean(0), centre, atol=0.3)
        assert is_closed(faces)

    def test_a_class_thinner_than_the_step_stays(self):
        mask = np.zeros((9, 9, 9))
        mask[4, 4, 4] = 1
        vertices, _ = surface(mask, 1, step=4)
        np.testing.assert_allclose(vertices.mean(0), [4, 4, 4])

    def test_takes_the_geometry_of_the_mask(self):
        mask = torch.ones(1, 2, 3, 4)
        mask.geometry = Geometry((2, 3, 4), (1, 2, 3), (10, 20, 30))
        np.testing.assert_allclose(surface(mask)[0].min(0), [9.5, 19, 28.5])

    @pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float32, torch.float16])
    def test_takes_every_type_of_label(self, dtype):
        mask = torch.zeros(3, 4, 5)
        mask[1] = 1
        assert len(surface(mask.to(dtype))[1]) == len(surface(mask.numpy())[1])

    def test_large_labels(self):
        mask = np.zeros((3, 4, 5), np.int64)
        mask[0], mask[2] = 7, 10**9
        assert surface(mask, 10**9)[0][:, 2].mean() == pytest.approx(2)
        assert surface(mask, 7)[0][:, 2].mean() == pytest.approx(0)


class TestErrors:
    def test_a_class_that_is_not_there(self):
        with pytest.raises(ValueError, match=r"no voxel has label 5; the mask holds \[1\]"):
            surface(np.ones((2, 3, 4)), 5)

    @pytest.mark.parametrize(
        ("mask", "text"),
        [
            (np.full((2, 3, 4), 0.5), "must hold whole numbers"),
            (np.full((2, 3, 4), np.nan), "must hold whole numbers"),
            (np.full((2, 3, 4), -1), "must be 0 or more, got -1"),
            (np.ones((3, 4)), r"must be \(D, H, W\)"),
            (np.ones((2, 2, 3, 4)), r"must be \(D, H, W\)"),
        ],
    )
    def test_no_labels(self, mask, text):
        with pytest.raises(ValueError, match=text):
            surface(mask)

    def test_geometry_of_another_shape(self):
        with pytest.raises(ValueError, match=r"the geometry is for shape \(2, 3, 5\), the mask has \(2, 3, 4\)"):
            surface(np.ones((2, 3, 4)), geometry=Geometry((2, 3, 5)))

    def test_wrong_steps_and_kinds(self):
        with pytest.raises(ValueError, match="step must be at least 1, got 0"):
            surface(np.ones((2, 3, 4)), step=0)
        with pytest.raises(TypeError, match=r"expected a torch.Tensor or numpy.ndarray"):
            surface("mask.nii")
