"""The pictures, read back from the axes: which voxel is drawn where, in which colour, at which proportions."""

import matplotlib as mpl
import numpy as np
import pytest
import torch

mpl.use("Agg")

import matplotlib.pyplot as plt
from fastai.vision.data import get_grid
from matplotlib.colors import to_rgb
from torchvision.utils import make_grid

from faimed3d.display import class_color, show_image_3d, show_images_3d, show_volume
from faimed3d.geometry import Geometry

SHAPE, SPACING = (2, 3, 4), (1.0, 2.0, 3.0)  # (D, H, W); (x, y, z) mm


class Volume(torch.Tensor):
    """What the library's types promise to display: a geometry and a kind of interpolation."""

    interpolation = "linear"
    geometry = None


class Mask(Volume):
    interpolation = "nearest"


def volume_at(values, geometry, kind=Volume):
    volume = torch.as_tensor(values).as_subclass(kind)
    volume.geometry = geometry
    return volume


def coded(code, kind=Volume, spacing=SPACING):
    """A volume stored as ``code`` whose values are 100 x + 10 y + z, in voxels to the patient's left, back and head."""
    lps = Geometry(SHAPE, spacing, (10, 20, 30))
    d, h, w = np.indices(SHAPE)
    order, flips = lps.reorientation(code)
    geometry = lps.permute(order)
    values = (100 * w + 10 * h + d).transpose(order)
    for axis in flips:
        values = np.flip(values, axis)
        scale, offset = [1, 1, 1], [0, 0, 0]
        scale[axis], offset[axis] = -1, geometry.shape[axis] - 1
        geometry = geometry.regrid(geometry.shape, scale, offset)
    assert geometry.orientation == code
    return volume_at(values.astype(np.float32), geometry, kind)


def drawn(ax, k=-1):
    return np.asarray(ax.images[k].get_array())


def colors(ax, k=-1):
    """The RGBA (0 to 1) that image ``k`` of the axes gives to its pixels, without alpha of the artist."""
    image = ax.images[k]
    return image.cmap(image.norm(image.get_array()))


def cells(grid, count, columns, cell, gaps):
    """The slices out of a mosaic, by arithmetic of its own."""
    found = []
    for k in range(count):
        row = gaps[0] + k // columns * (cell[0] + gaps[0])
        column = gaps[1] + k % columns * (cell[1] + gaps[1])
        found.append(grid[row : row + cell[0], column : column + cell[1]])
    return found


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


class TestGrid:
    def test_is_that_of_make_grid_for_plain_tensors(self):
        t = torch.rand(7, 3, 4) + 1
        t[0, 0, 0] = 0
        expected = make_grid(t[:, None], nrow=3)[0]
        assert torch.equal(show_image_3d(t, nrow=3, return_grid=True), expected)

    def test_has_no_gap_around_a_single_slice(self):
        t = torch.rand(1, 3, 4)
        assert torch.equal(show_image_3d(t, return_grid=True), t[0])

    def test_draws_nothing(self):
        show_image_3d(torch.rand(SHAPE), return_grid=True)
        show_images_3d(torch.rand(2, *SHAPE), return_grid=True)
        show_image_3d(torch.rand(SHAPE), return_grid=True, add_to_existing=True)
        assert not plt.get_fignums()

    def test_of_a_batch_is_that_of_its_slices_in_a_row(self):
        t = torch.rand(2, *SHAPE)
        flat = show_image_3d(t.flatten(0, 1), nrow=3, return_grid=True)
        assert torch.equal(show_images_3d(t, nrow=3, return_grid=True), flat)

    def test_keeps_the_values_of_every_volume_of_a_batch(self):
        grid = show_images_3d(torch.stack([torch.full(SHAPE, 5.0), torch.full(SHAPE, 900.0)]), return_grid=True)
        assert set(grid.unique().tolist()) == {5.0, 900.0}

    def test_fills_gaps_with_the_lowest_value(self):
        grid = show_image_3d(torch.tensor([-1000.0, 50.0]).reshape(2, 1, 1), return_grid=True)
        assert grid[0, 0] == -1000

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.uint8, torch.int64, torch.float64])
    def test_takes_every_number_type(self, dtype):
        t = torch.arange(24).reshape(SHAPE).to(dtype)
        grid = show_image_3d(t, return_grid=True)
        assert torch.equal(cells(grid.double(), 2, 2, (3, 4), (2, 2))[1], torch.arange(12.0, 24).reshape(3, 4).double())
        show_image_3d(t)

    def test_is_the_same_for_numpy(self):
        t = torch.rand(SHAPE)
        assert torch.equal(
            show_image_3d(t.numpy()[:, ::-1], return_grid=True), show_image_3d(t.flip(1), return_grid=True)
        )

    def test_rows_are_not_longer_than_the_volume(self):
        assert show_image_3d(torch.rand(2, 3, 4), nrow=31, return_grid=True).shape == (3 + 4, 2 * 6 + 2)


class TestOrientation:
    # rows of one slice: value 100 x + 10 y + z, x to the patient's left, y to the back, z to the head
    AXIAL = np.array([[100 * x + 10 * y for x in range(4)] for y in range(3)])  # left at the right, front up
    CORONAL = np.array([[100 * x + z for x in range(4)] for z in (1, 0)])  # left at the right, head up
    SAGITTAL = np.array([[10 * y + z for y in range(3)] for z in (1, 0)])  # front at the left, head up

    @pytest.mark.parametrize("code", ["LPS", "RAS", "LAI", "SRP", "PIL", "AIR"])
    def test_is_radiological_however_the_scan_is_stored(self, code):
        volume = coded(code)
        for plane, first, step, count, gaps in (
            ("axial", self.AXIAL, 1, 2, (1, 2)),
            ("coronal", self.CORONAL, 10, 3, (1, 2)),
            ("sagittal", self.SAGITTAL, 100, 4, (1, 2)),
        ):
            grid = show_image_3d(volume, axis=plane, nrow=2, return_grid=True).numpy()
            found = cells(grid, count, 2, first.shape, gaps)
            for k, cell in enumerate(found):
                np.testing.assert_array_equal(cell, first + k * step)

    @pytest.mark.parametrize(("axis", "expected"), [(0, SAGITTAL), (1, AXIAL), (2, CORONAL), (-1, CORONAL)])
    def test_axis_numbers_are_storage_axes(self, axis, expected):
        volume = coded("PSL")  # W to the back, H to the head, D to the left
        grid = show_image_3d(volume, axis=axis, nrow=9, return_grid=True).numpy()
        np.testing.assert_array_equal(cells(grid, 1, 9, expected.shape, (1, 2))[0], expected)

    def test_of_an_oblique_scan_is_that_of_the_nearest_plane(self):
        turn = np.radians(20)
        direction = [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
        volume = volume_at(np.arange(24.0).reshape(SHAPE), Geometry(SHAPE, SPACING, (1, 2, 3), direction))
        np.testing.assert_array_equal(show_image_3d(volume[:1], return_grid=True), volume[0])
        grid = show_image_3d(volume, axis="coronal", return_grid=True)
        np.testing.assert_array_equal(cells(grid, 3, 3, (2, 4), (1, 2))[0], volume[:, 0].flip(0))

    def test_without_a_geometry_is_that_of_a_standard_scan(self):
        bare = coded("LPS", spacing=(1, 1, 1))
        for axis in range(3):
            plain = show_image_3d(bare.numpy(), axis=axis, return_grid=True)
            assert torch.equal(plain, show_image_3d(bare, axis=axis, return_grid=True))

    def test_a_geometry_of_another_shape_is_not_believed(self):
        volume = volume_at(torch.rand(SHAPE), Geometry((9, 9, 9), SPACING))
        assert show_image_3d(volume, axis=1).get_aspect() == 1

    def test_letters_say_where_the_sides_lie(self):
        for axis, expected in (("axial", "RLAP"), ("coronal", "RLSI"), ("sagittal", "APSI")):
            ax = show_image_3d(coded("SRP"), axis=axis, letters=True)
            assert "".join(text.get_text().strip() for text in ax.texts) == expected
            left, right, top, bottom = (text.get_position() for text in ax.texts)
            assert left[0] < top[0] < right[0]
            assert top[1] < left[1] < bottom[1]

    @pytest.mark.parametrize("shape", [(3, 3, 40), (40, 3, 3)])
    def test_letters_of_flat_and_of_narrow_slices_can_be_read_and_keep_apart(self, shape):
        volume = volume_at(torch.zeros(shape), Geometry(shape, (2, 1, 2), (0.0, 0.0, 0.0)))
        ax = show_image_3d(volume, axis="coronal", nrow=3, letters=True)
        ax.figure.canvas.draw()
        assert min(text.get_fontsize() for text in ax.texts) >= 5
        left, right, top, bottom = (text.get_window_extent() for text in ax.texts)
        assert left.x1 <= right.x0
        assert bottom.y1 <= top.y0 + top.height / 4  # room for descenders, which capitals have none of

    @pytest.mark.parametrize("width", [3.0, 3.7, 5.3, 6.6, 8.0])
    def test_letters_are_whole_in_small_pictures(self, width):
        # an L that lost its foot would read as I, and one without its stem as a dash
        volume = volume_at(torch.zeros(30, 40, 50), Geometry((30, 40, 50), (1, 1, 1), (0.0, 0.0, 0.0)))
        figure = plt.figure(figsize=(width, width / 3), dpi=72)
        ax = figure.add_axes((0, 0, 1, 1))
        show_image_3d(volume, axis="coronal", nrow=3, max_slices=3, letters=True, ax=ax)
        figure.canvas.draw()
        picture = np.asarray(figure.canvas.buffer_rgba())[..., 0] / 255
        shapes = {}
        for text in ax.texts:
            x0, y0, x1, y1 = text.get_window_extent().extents.round().astype(int)
            assert 0 <= x0 <= x1 <= picture.shape[1]
            assert 0 <= y0 <= y1 <= picture.shape[0]
            top = picture.shape[0] - y1  # a pixel more on each side: before 3.11 matplotlib draws up to one beside it
            box = picture[max(top - 1, 0) : picture.shape[0] - y0 + 1, max(x0 - 1, 0) : x1 + 1]
            rows, columns = np.nonzero(box > 0.3)
            shapes[text.get_text().strip()] = (np.ptp(columns) + 1) / (np.ptp(rows) + 1)
        assert max(shapes["I"], 0.4) < shapes["L"] < 1

    def test_slice_numbers_are_indices_of_the_tensor(self):
        volume = coded("LPI")
        ax = show_image_3d(volume, nrow=1, slice_numbers=True)
        assert [int(text.get_text()) for text in ax.texts] == [1, 0]
        np.testing.assert_array_equal(cells(drawn(ax), 2, 1, (3, 4), (1, 2))[0], volume[1])


class TestProportions:
    @pytest.mark.parametrize(("axis", "aspect"), [(0, 2 / 1), (1, 3 / 1), (2, 3 / 2)])
    def test_follow_the_spacing_in_every_plane(self, axis, aspect):
        assert show_image_3d(coded("LPS"), axis=axis).get_aspect() == pytest.approx(aspect)

    def test_hold_on_the_screen(self):
        # 4 columns of 1 mm and 3 rows of 2 mm: 4 x 6 mm, one slice
        ax = show_image_3d(coded("LPS"), max_slices=1, figsize=(6, 6))
        ax.figure.draw_without_rendering()
        box = ax.get_window_extent()
        assert box.width / box.height == pytest.approx(4 / 6, rel=1e-3)

    def test_a_new_figure_has_no_empty_margin(self):
        ax = show_image_3d(coded("LPS"), figsize=(6, 12))
        width, height = ax.figure.get_size_inches()
        rows, columns = drawn(ax).shape
        assert width / height == pytest.approx(columns * 1 / (rows * 2))
        assert width == pytest.approx(6)
        ax.figure.draw_without_rendering()
        box = ax.get_window_extent()
        assert (box.width, box.height) == pytest.approx((width * ax.figure.dpi, height * ax.figure.dpi), abs=1)

    def test_volumes_of_one_shape_but_other_spacing_get_their_own_axes(self):
        axes = show_images_3d([coded("LPS"), coded("LPS", spacing=(1, 1, 1))], axis=1, title="both")
        assert [ax.get_aspect() for ax in axes] == pytest.approx([3, 1])
        assert axes[0].get_title() == "both"
        assert len(plt.get_fignums()) == 1

    def test_volumes_of_other_shapes_get_their_own_grids(self):
        grids = show_images_3d([torch.rand(1, 3, 4), torch.rand(1, 5, 6)], return_grid=True)
        assert [tuple(grid.shape) for grid in grids] == [(3, 4), (5, 6)]


class TestRange:
    def test_is_that_of_the_volume(self):
        image = show_image_3d(torch.arange(24.0).reshape(SHAPE), max_slices=1).images[0]
        assert (image.norm.vmin, image.norm.vmax) == (0, 23)

    def test_of_a_batch_is_that_of_each_volume(self):
        t = torch.arange(24.0).reshape(SHAPE)
        ax = show_images_3d(torch.stack((t, 1000 * t + 7)))
        first, second = drawn(ax)[2:5, 2:6], drawn(ax)[2:5, 14:18]
        np.testing.assert_allclose(first, second, atol=1e-6)
        assert drawn(ax).max() == 1

    def test_window_by_name_and_by_numbers(self):
        for window in ("lung", (-600, 1500)):
            image = show_image_3d(torch.rand(SHAPE), window=window).images[0]
            assert (image.norm.vmin, image.norm.vmax) == (-1350, 150)

    def test_window_of_a_batch_is_common(self):
        image = show_images_3d(torch.rand(2, *SHAPE), window=(40, 80)).images[0]
        assert (image.norm.vmin, image.norm.vmax) == (0, 80)

    def test_vmin_and_vmax_are_the_callers(self):
        image = show_image_3d(torch.rand(SHAPE), vmin=-2, vmax=3).images[0]
        assert (image.norm.vmin, image.norm.vmax) == (-2, 3)
        image = show_images_3d(torch.ones(2, *SHAPE), vmin=-2).images[0]
        assert (image.norm.vmin, image.norm.vmax) == (-2, 1)

    @pytest.mark.parametrize("value", [0.0, 5.0, float("nan"), float("inf")])
    def test_of_a_constant_volume_is_finite(self, value):
        for show, t in ((show_image_3d, torch.full(SHAPE, value)), (show_images_3d, torch.full((2, *SHAPE), value))):
            ax = show(t)
            ax.figure.canvas.draw()
            assert np.isfinite(colors(ax)).all()

    def test_nan_is_darkest_and_leaves_the_rest_alone(self):
        t = torch.arange(24.0).reshape(SHAPE)
        t[0, 0, 0], t[1, 1, 1] = float("nan"), float("inf")
        ax = show_image_3d(t, cmap="gray")
        ax.figure.canvas.draw()
        assert (ax.images[0].norm.vmin, ax.images[0].norm.vmax) == (1, 23)
        np.testing.assert_array_equal(colors(ax)[2, 2], [0, 0, 0, 1])
        np.testing.assert_array_equal(colors(ax)[4, 11], [1, 1, 1, 1])


class TestClasses:
    def test_have_fixed_colours_whatever_the_range(self):
        for top in (2, 117):
            labels = torch.zeros(SHAPE)
            labels[0, 0, :3] = torch.tensor([1.0, 2.0, top])
            ax = show_image_3d(labels.as_subclass(Mask))
            seen = colors(ax)[2, 2:5, :3]
            np.testing.assert_allclose(seen, [class_color(1), class_color(2), class_color(top)])

    def test_colours_all_differ(self):
        assert len({class_color(label) for label in range(1, 257)}) == 256
        assert class_color(1) == to_rgb("#e6194b")
        with pytest.raises(ValueError, match="labels from 1 up"):
            class_color(0)

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64, torch.float32, torch.bfloat16])
    def test_zero_is_transparent(self, dtype):
        labels = torch.zeros(SHAPE, dtype=dtype)
        labels[1, 2, 3] = 1
        ax = show_image_3d(labels.as_subclass(Mask))
        ax.figure.canvas.draw()
        opaque = colors(ax)[..., 3] > 0
        assert opaque.sum() == 1
        assert opaque[2 + 2, 2 + 4 + 2 + 3]

    def test_nan_negative_and_gaps_are_transparent_and_labels_repeat_after_256(self):
        labels = torch.tensor([-1.0, float("nan"), 0.0, 257.0]).reshape(1, 1, 4).as_subclass(Mask)
        seen = colors(show_image_3d(labels))[0]
        np.testing.assert_array_equal(seen[:, 3], [0, 0, 0, 1])
        np.testing.assert_allclose(seen[3, :3], class_color(1))
        assert (colors(show_image_3d(torch.ones(2, 1, 1).as_subclass(Mask)))[..., 3] > 0).sum() == 2

    def test_stand_on_black(self):
        ax = show_image_3d(torch.zeros(SHAPE).as_subclass(Mask))
        ax.figure.canvas.draw()
        pixels = np.asarray(ax.figure.canvas.buffer_rgba())[..., :3]
        assert pixels[pixels.shape[0] // 2, pixels.shape[1] // 2].max() == 0

    def test_of_a_boolean_volume_are_one(self):
        seen = colors(show_image_3d(torch.ones(1, 1, 1, dtype=torch.bool)))
        np.testing.assert_allclose(seen[0, 0, :3], class_color(1))

    def test_labels_argument_decides(self):
        t = torch.ones(1, 1, 1)
        np.testing.assert_allclose(colors(show_image_3d(t, labels=True))[0, 0, :3], class_color(1))
        assert show_image_3d(t.as_subclass(Mask), labels=False).images[0].cmap.name == "bone"

    def test_are_never_blended(self):
        ax = show_image_3d(torch.ones(SHAPE).as_subclass(Mask), interpolation="bilinear")
        assert ax.images[0].get_interpolation() == "nearest"

    def test_take_another_colour_map(self):
        t = torch.tensor([1, 2]).reshape(1, 1, 2).as_subclass(Mask)
        seen = colors(show_image_3d(t, cmap="tab10"))[0]
        np.testing.assert_allclose(seen, [mpl.colormaps["tab10"](0), mpl.colormaps["tab10"](1)])
        seen = colors(show_image_3d(t, cmap="Reds"))[0]
        np.testing.assert_allclose(seen[0], mpl.colormaps["Reds"](0.75))


class TestOverlay:
    @pytest.mark.parametrize("code", ["LPS", "LAS", "RAI", "SRP"])
    @pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
    def test_lies_on_its_image_however_both_are_stored(self, code, axis):
        image, mask = coded("LPS"), coded(code, Mask)
        image, mask = image + 1, (mask == 110).float() * 3  # the voxel at x 1, y 1, z 0 of the patient
        image.geometry, mask.geometry = coded("LPS").geometry, coded(code).geometry
        ax = show_image_3d(image, axis, nrow=2)
        assert show_image_3d(mask, add_to_existing=True, alpha=0.5) is ax
        below, above = ax.images
        assert above.get_extent() == below.get_extent()
        assert above.get_alpha() == 0.5
        np.testing.assert_array_equal(colors(ax)[..., 3] > 0, drawn(ax, 0) == 111)
        ax = show_image_3d(image, axis, nrow=2, mask=mask, mask_alpha=0.2)
        assert ax.images[1].get_alpha() == 0.2
        np.testing.assert_array_equal(colors(ax)[..., 3] > 0, drawn(ax, 0) == 111)

    def test_without_a_geometry_follows_voxel_by_voxel(self):
        image = coded("RAI")
        ax = show_image_3d(image, axis=1, max_slices=2)
        show_image_3d((image == 110).numpy(), add_to_existing=True)
        np.testing.assert_array_equal(colors(ax)[..., 3] > 0, drawn(ax, 0) == 110)

    @pytest.mark.parametrize("values", [torch.eye(3)[None], torch.eye(3, dtype=torch.int16)[None], np.eye(3)[None] > 0])
    def test_of_plain_whole_numbers_is_taken_for_classes(self, values):
        ax = show_image_3d(torch.rand(1, 3, 3))
        show_image_3d(values, add_to_existing=True)
        np.testing.assert_array_equal(colors(ax)[..., 3], np.eye(3))

    def test_of_an_image_keeps_its_colour_map(self):
        ax = show_image_3d(torch.rand(SHAPE))
        show_image_3d(torch.rand(SHAPE) - 0.5, add_to_existing=True, cmap="hot", alpha=0.3)
        assert ax.images[1].cmap.name == "hot"
        assert ax.images[1].get_alpha() == 0.3
        assert ax.images[1].get_extent() == ax.images[0].get_extent()

    def test_makes_no_new_figure(self):
        show_image_3d(torch.rand(SHAPE))
        show_image_3d(torch.ones(SHAPE), add_to_existing=True)
        assert len(plt.get_fignums()) == 1

    def test_lies_on_a_batch(self):
        masks = torch.randint(0, 2, (2, *SHAPE))
        ax = show_images_3d(torch.rand(2, *SHAPE), nrow=3)
        show_images_3d(masks, add_to_existing=True)
        expected = show_images_3d(masks, nrow=3, return_grid=True)
        np.testing.assert_array_equal(colors(ax)[..., 3], expected)
        ax = show_images_3d(torch.rand(2, *SHAPE), nrow=3, mask=masks)
        np.testing.assert_array_equal(colors(ax)[..., 3], expected)

    def test_of_another_shape_is_refused(self):
        show_image_3d(torch.rand(SHAPE))
        with pytest.raises(ValueError, match=r"the overlay has shape \(2, 3, 5\), the volume below \(2, 3, 4\)"):
            show_image_3d(torch.ones(2, 3, 5), add_to_existing=True)

    def test_elsewhere_in_the_patient_is_refused(self):
        image = coded("LPS")
        moved = volume_at(torch.ones(SHAPE), image.geometry.replace(origin=(10, 20, 36)), Mask)
        with pytest.raises(ValueError, match=r"lies up to 6 mm away from the volume below.*resample_like"):
            show_image_3d(image, mask=moved)
        coarse = volume_at(torch.ones(2, 3, 2), Geometry((2, 3, 2), (2, 2, 3), (10, 20, 30)), Mask)
        with pytest.raises(ValueError, match="is of another size than the volume below"):
            show_image_3d(image, mask=coarse)
        assert not plt.get_fignums()

    def test_a_hair_away_is_drawn(self):
        image = coded("LPS")
        mask = volume_at(torch.ones(SHAPE), image.geometry.replace(origin=(10.001, 20, 30)), Mask)
        assert len(show_image_3d(image, mask=mask).images) == 2

    def test_needs_as_many_volumes_as_lie_below(self):
        with pytest.raises(ValueError, match="there are 3 volumes to lay over 2"):
            show_images_3d(torch.rand(2, *SHAPE), mask=torch.ones(3, *SHAPE))

    def test_is_forgotten_when_the_axes_are_cleared(self):
        ax = show_image_3d(torch.rand(SHAPE))
        ax.clear()
        assert len(show_image_3d(torch.ones(5, 6, 7), add_to_existing=True).images) == 1


class TestAxes:
    def test_given_are_drawn_on_and_returned(self):
        _, axes = plt.subplots(1, 2)
        assert show_image_3d(torch.rand(SHAPE), ax=axes[0]) is axes[0]
        assert show_image_3d(torch.rand(SHAPE), ctx=axes[1], title="here") is axes[1]
        assert axes[1].get_title() == "here"
        assert len(plt.get_fignums()) == 1

    def test_new_ones_are_returned_with_their_title_inside_the_figure(self):
        ax = show_image_3d(torch.rand(SHAPE), title="a title", figsize=(4, 4))
        assert ax.get_title() == "a title"
        ax.figure.draw_without_rendering()
        assert ax.title.get_window_extent().y1 <= ax.figure.bbox.y1

    def test_keywords_reach_imshow(self):
        assert show_image_3d(torch.rand(SHAPE), interpolation="bilinear").images[0].get_interpolation() == "bilinear"
        with pytest.raises(TypeError, match="takes no argument 'no_such_thing'"):
            show_image_3d(torch.rand(SHAPE), no_such_thing=1)

    def test_the_volume_is_not_changed(self):
        t = coded("RAI")
        before = t.clone()
        show_image_3d(t, axis=1, mask=t, window=(0, 5))
        assert torch.equal(t, before)


class TestShowVolume:
    def test_shows_all_slices_in_a_new_figure(self):
        assert drawn(show_volume(torch.rand(31, 2, 3))).shape == (4 * 4 + 2, 10 * 5 + 2)

    def test_shows_a_few_slices_evenly_spread_on_given_axes(self):
        _, ax = plt.subplots(figsize=(3, 3))
        t = torch.arange(100.0)[:, None, None].expand(100, 2, 2)
        show_volume(t, ax=ax, slice_numbers=True)
        assert drawn(ax).shape == (14, 14)
        assert [int(text.get_text()) for text in ax.texts] == [5, 16, 27, 38, 50, 61, 72, 83, 94]

    def test_lays_a_mask_over_the_image_on_the_same_axes(self):
        _, axes = plt.subplots(1, 2)
        image, mask = coded("LPS"), coded("LAS", Mask)
        show_volume(image[None].as_subclass(Volume), ctx=axes[0])
        assert show_volume(mask, ctx=axes[0]) is axes[0]
        assert [each.get_alpha() for each in axes[0].images] == [1, 0.5]
        assert axes[0].images[0].get_extent() == axes[0].images[1].get_extent()
        show_volume(mask, ctx=axes[1])
        assert axes[1].images[0].get_alpha() == 1

    def test_shows_every_channel_and_one_mask_over_all(self):
        t = torch.stack((torch.zeros(SHAPE), torch.arange(24.0).reshape(SHAPE)))
        ax = show_volume(t, nrow=2)
        assert drawn(ax).shape == (2 * 5 + 2, 2 * 6 + 2)
        show_volume(torch.ones(SHAPE).as_subclass(Mask), ctx=ax)
        assert colors(ax)[..., 3].sum() == 48

    def test_shows_a_batch_of_fastai_with_masks_over_images(self):
        images = [volume_at(torch.rand(1, *SHAPE), Geometry(SHAPE, SPACING)) for _ in range(2)]
        masks = [volume_at(torch.ones(SHAPE), image.geometry, Mask) for image in images]
        axes = get_grid(2)
        axes = [show_volume(image, ctx=ctx) for image, ctx in zip(images, axes, strict=True)]
        axes = [show_volume(mask, ctx=ctx) for mask, ctx in zip(masks, axes, strict=True)]
        assert [len(ax.images) for ax in axes] == [2, 2]

    def test_a_new_image_on_used_axes_is_drawn_by_itself(self):
        ax = show_volume(torch.rand(SHAPE))
        show_volume(torch.rand(5, 6, 7), ctx=ax)
        assert len(ax.images) == 2


class TestErrors:
    @pytest.mark.parametrize("axis", [3, -4, 1.5, None, "saggital"])
    def test_unknown_axis(self, axis):
        with pytest.raises(ValueError, match="axis must be 0, 1, 2, 'axial', 'coronal' or 'sagittal', got"):
            show_image_3d(torch.rand(SHAPE), axis=axis)

    def test_plane_without_geometry(self):
        with pytest.raises(ValueError, match="axis='axial' needs a volume with a geometry"):
            show_image_3d(torch.rand(SHAPE), axis="axial")

    def test_letters_without_geometry(self):
        with pytest.raises(ValueError, match="letters need a volume with a geometry"):
            show_image_3d(torch.rand(SHAPE), letters=True)

    @pytest.mark.parametrize("t", [[1, 2], "scan.nii", np.array(["a"]), torch.zeros(SHAPE, dtype=torch.complex64)])
    def test_wrong_kind(self, t):
        with pytest.raises(TypeError, match=r"expected a torch.Tensor or numpy.ndarray of real numbers, got"):
            show_image_3d(t)

    @pytest.mark.parametrize("shape", [(3, 4), (0, 3, 4), (1, 1, 2, 3, 4)])
    def test_wrong_shape(self, shape):
        with pytest.raises(ValueError, match="a volume must be"):
            show_image_3d(torch.zeros(shape))

    def test_several_volumes_in_the_single_function(self):
        with pytest.raises(ValueError, match="use show_images_3d for a batch or several channels"):
            show_image_3d(torch.zeros(2, *SHAPE))

    def test_one_volume_in_the_function_for_several(self):
        with pytest.raises(ValueError, match="use show_image_3d for one volume"):
            show_images_3d(torch.zeros(SHAPE))
        with pytest.raises(ValueError, match="the batch is empty"):
            show_images_3d([])

    def test_numbers_below_one(self):
        with pytest.raises(ValueError, match="nrow must be at least 1, got 0"):
            show_image_3d(torch.rand(SHAPE), nrow=0)
        with pytest.raises(ValueError, match="max_slices must be at least 1, got 0"):
            show_image_3d(torch.rand(SHAPE), max_slices=0)

    def test_unknown_window(self):
        with pytest.raises(ValueError, match="lung"):
            show_image_3d(torch.rand(SHAPE), window="lungs")
        with pytest.raises(ValueError, match="give either window or vmax"):
            show_image_3d(torch.rand(SHAPE), window="lung", vmax=3)

    def test_volumes_apart_on_given_axes(self):
        _, ax = plt.subplots()
        with pytest.raises(ValueError, match="every volume needs its own axes"):
            show_images_3d([torch.rand(1, 3, 4), torch.rand(1, 5, 6)], ax=ax)

    def test_leave_no_figure_behind(self):
        with pytest.raises(ValueError, match="letters"):
            show_image_3d(torch.rand(SHAPE), letters=True)
        assert not plt.get_fignums()
