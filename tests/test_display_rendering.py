"""What is drawn of the surfaces of a mask."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from surfaces import triangles
from test_display_surfaces import OBLIQUE, around, ball

from faimed3d.display import class_color, mesh, render_3d, surface, surfaces
from faimed3d.geometry import Geometry
from faimed3d.volume import TensorMask3D


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def drawn(ax):
    """Triangles (M, 3, 3) and face colours (M, 4) of the axes' last collection, in their own order."""
    collection = ax.collections[-1]
    return triangles(collection), collection._facecolor3d


class TestMesh:
    def test_is_the_surface_in_the_colour_of_its_class(self):
        mask = np.zeros((4, 5, 6))
        mask[1:3, 1:4, 1:5] = 2
        geometry = Geometry(mask.shape, (1, 2, 3), (10, 20, 30))
        ax = plt.figure().add_subplot(projection="3d")
        ax.add_collection3d(mesh(mask, 2, alpha=0.3, geometry=geometry))
        corners, paint = drawn(ax)
        vertices, faces = surface(mask, 2, geometry)
        np.testing.assert_array_equal(corners, vertices[faces])
        assert set(paint[:, 3]) == {0.3}
        lit = paint[:, :3].max(0)
        np.testing.assert_allclose(lit / lit.max(), np.array(class_color(2)) / max(class_color(2)), atol=1e-6)


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
        monkeypatch.setattr(surfaces, "_MOST_FACES", fine // 3)
        assert len(drawn(render_3d(mask))[0]) < 0.4 * fine
        assert len(drawn(render_3d(mask, step=1))[0]) == fine


class TestErrors:
    def test_empty_mask(self):
        with pytest.raises(ValueError, match="the mask is empty: every voxel is 0"):
            render_3d(np.zeros((2, 3, 4)))

    def test_too_few_colours(self):
        mask = np.repeat([1, 2], 12).reshape(2, 3, 4)
        with pytest.raises(ValueError, match=r"alpha has 3 entries, the mask 2 classes: \[1, 2\]"):
            render_3d(mask, alpha=(1, 1, 1))
        with pytest.raises(ValueError, match="colors has 3 entries"):
            render_3d(mask, colors=["red", "blue", "green"])

    def test_one_entry_serves_all_classes(self):
        mask = TensorMask3D(torch.from_numpy(np.repeat([1, 2], 12).reshape(2, 3, 4)))
        (collection,) = mask.render_3d(alpha=(0.15,), colors=["red"]).collections
        assert set(collection.get_facecolor()[:, 3]) == {0.15}
        assert len(mask.create_mesh_for_classes(None, (0.15,))) == 2
        with pytest.raises(ValueError, match="colors has 2 entries, the mask 1 classes"):
            TensorMask3D(torch.ones(2, 3, 4)).create_mesh_for_classes(["red", "blue"])

    def test_flat_axes(self):
        with pytest.raises(TypeError, match="ax must be 3D axes"):
            render_3d(np.ones((2, 3, 4)), ax=plt.figure().add_subplot())
