"""Surfaces against solids whose volume, area and place are known, and what is drawn of them."""

import matplotlib as mpl
import numpy as np
import pytest
import torch

mpl.use("Agg")

import matplotlib.pyplot as plt

from faimed3d.display import class_color
from faimed3d.display import surface as module
from faimed3d.display.surface import render_3d, surface
from faimed3d.geometry import Geometry

TURN = np.radians(30)
OBLIQUE = (np.cos(TURN), -np.sin(TURN), 0, np.sin(TURN), np.cos(TURN), 0, 0, 0, 1)
MIRRORED = (-1, 0, 0, 0, 1, 0, 0, 0, 1)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


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


def drawn(ax):
    """Triangles (M, 3, 3) and face colours (M, 4) of the axes' last collection, in their own order."""
    collection = ax.collections[-1]
    return np.asarray(collection._faces), collection._facecolor3d


class TestSurface:
    @pytest.mark.parametrize("direction", [(1, 0, 0, 0, 1, 0, 0, 0, 1), OBLIQUE, MIRRORED])
    def test_of_a_ball_has_its_volume_area_and_place(self, direction):
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


class TestRender:
    def test_draws_every_class_in_mm_in_its_colour(self):
        mask = np.zeros((6, 7, 8))
        mask[1:5, 1:3], mask[1:5, 5:] = 1, 3
        ax = render_3d(mask, Geometry(mask.shape, (1, 2, 3), (10, 20, 30)), alpha=(0.15, 0.4))
        corners, paint = drawn(ax)
        first = paint[:, 3] == 0.15
        assert set(paint[:, 3]) == {0.15, 0.4}
        y = corners[..., 1].mean(1)
        assert y[first].max() < 20 + 2 * 3.5 < y[~first].min()
        for label, part in ((1, paint[first]), (3, paint[~first])):
            lit = part[:, :3].max(0)
            np.testing.assert_allclose(
                lit / lit.max(), np.array(class_color(label)) / max(class_color(label)), atol=1e-6
            )

    def test_axes_have_one_scale_in_mm_and_say_where_they_run(self):
        mask = np.ones((4, 4, 4))
        ax = render_3d(mask, Geometry(mask.shape, (1, 2, 3)))
        size = np.array([np.ptp(limits) for limits in (ax.get_xlim(), ax.get_ylim(), ax.get_zlim())])
        np.testing.assert_allclose(size, [4, 8, 12], rtol=0.2)
        np.testing.assert_allclose(ax._box_aspect / ax._box_aspect.max(), size / size.max())
        assert [ax.get_xlabel(), ax.get_ylabel(), ax.get_zlabel()] == [
            "x, R to L (mm)",
            "y, A to P (mm)",
            "z, I to S (mm)",
        ]
        assert render_3d(mask).get_xlabel() == "x (voxels)"

    def test_smooths_by_less_than_a_voxel(self):
        centre = np.array([1.0, 2, 3])
        geometry = around(centre, (1, 1, 2.5), OBLIQUE, (30, 60, 60))
        corners, _ = drawn(render_3d(ball(geometry, centre, 25), geometry))
        distance = np.linalg.norm(corners - centre, axis=-1)
        assert abs(distance - 25).max() < 2.5
        assert distance.mean() == pytest.approx(25, abs=0.3)

    def test_a_mask_without_background(self):
        corners, _ = drawn(render_3d(torch.ones(2, 3, 4)))
        assert len(corners)

    @pytest.mark.parametrize(
        ("colors", "expected"),
        [
            ("blue", [(0, 0, 1), (0, 0, 1)]),
            ((0, 1, 0), [(0, 1, 0), (0, 1, 0)]),
            (["red", "blue"], [(1, 0, 0), (0, 0, 1)]),
            ({2: "blue"}, [class_color(1), (0, 0, 1)]),
        ],
    )
    def test_colours_of_the_caller(self, colors, expected):
        mask = np.repeat([1, 2], 12).reshape(2, 3, 4)
        ax = render_3d(mask, colors=colors, alpha={1: 0.5, 2: 1})
        paint = drawn(ax)[1]
        for alpha, color in zip((0.5, 1), expected, strict=True):
            lit = paint[paint[:, 3] == alpha, :3].max(0)
            np.testing.assert_allclose(lit / lit.max(), np.array(color) / max(color), atol=1e-6)

    def test_light_shows_the_shape(self):
        paint = drawn(render_3d(ball(Geometry((20, 20, 20)), (9, 9, 9), 8)))[1]
        assert paint[:, 0].max() > 1.4 * paint[:, 0].min()

    def test_given_axes_are_used_and_hold_both_masks(self):
        mask = np.zeros((3, 4, 5))
        mask[:, :2] = 1
        ax = plt.figure().add_subplot(projection="3d")
        assert render_3d(mask, ax=ax) is ax
        low, high = ax.get_ylim()
        render_3d(mask[:, ::-1], ax=ax)
        assert ax.get_ylim()[0] == pytest.approx(low)
        assert ax.get_ylim()[1] > high
        assert len(plt.get_fignums()) == 1

    def test_draws_to_a_file_within_the_figure(self, tmp_path):
        mask = np.repeat([1, 2], 12).reshape(2, 3, 4)
        ax = render_3d(mask, Geometry(mask.shape, (5, 5, 1)), figsize=(5, 5))
        ax.figure.savefig(tmp_path / "surface.png")
        assert (tmp_path / "surface.png").stat().st_size > 1000
        assert ax.figure.get_figwidth() == 5
        assert ax.figure.get_figheight() < 4  # a flat mask
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["class 1", "class 2"]

    def test_many_faces_are_thinned_out(self, monkeypatch):
        mask = ball(Geometry((40, 40, 40)), (20, 20, 20), 18)
        fine = len(drawn(render_3d(mask))[0])
        monkeypatch.setattr(module, "_MOST_FACES", fine // 3)
        assert len(drawn(render_3d(mask))[0]) < 0.4 * fine
        assert len(drawn(render_3d(mask, step=1))[0]) == fine


class TestErrors:
    def test_empty_mask(self):
        with pytest.raises(ValueError, match="the mask is empty: every voxel is 0"):
            render_3d(np.zeros((2, 3, 4)))
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
            render_3d(mask)

    def test_geometry_of_another_shape(self):
        with pytest.raises(ValueError, match=r"the geometry is for shape \(2, 3, 5\), the mask has \(2, 3, 4\)"):
            render_3d(np.ones((2, 3, 4)), Geometry((2, 3, 5)))

    def test_too_few_colours(self):
        mask = np.repeat([1, 2], 12).reshape(2, 3, 4)
        with pytest.raises(ValueError, match=r"alpha has 3 entries, the mask 2 classes: \[1, 2\]"):
            render_3d(mask, alpha=(1, 1, 1))
        with pytest.raises(ValueError, match="colors has 1 entries"):
            render_3d(mask, colors=["red"])

    def test_flat_axes_and_wrong_steps(self):
        with pytest.raises(TypeError, match="ax must be 3D axes"):
            render_3d(np.ones((2, 3, 4)), ax=plt.figure().add_subplot())
        with pytest.raises(ValueError, match="step must be at least 1, got 0"):
            surface(np.ones((2, 3, 4)), step=0)
        with pytest.raises(TypeError, match=r"expected a torch.Tensor or numpy.ndarray"):
            surface("mask.nii")
