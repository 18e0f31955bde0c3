"""Slices that are scrolled through: what lies on the axes is what ``show_image_3d`` draws."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from coordinates import LOPSIDED

from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.display import show_image_3d
from faimed3d.display.arrays import geometry_of
from faimed3d.display.slice_view import SliceView
from faimed3d.geometry import Geometry

GRID = Geometry((4, 5, 6), spacing=(1, 2, 3), origin=(-7, 11, 5))


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def image(geometry=GRID, dtype=torch.float32):
    return TensorDicom3D(torch.arange(120).reshape(geometry.shape).to(dtype), geometry)


def mask(geometry=GRID):
    labels = torch.zeros(geometry.shape, dtype=torch.int64)
    labels[2, 1:4, 2:5] = 1
    labels[3, 2, 3] = 3
    return TensorMask3D(labels, geometry)


def drawn(view):
    """What the image and the labels show, as arrays."""
    arrays = [np.ma.filled(np.ma.asarray(one.get_array()).astype(float), 0) for one in view.ax.images]
    return arrays[0] if len(arrays) == 1 else arrays


def reference(volume, number, axis, storage):
    """The slice as ``show_image_3d`` draws it, values untouched."""
    cut = (*(slice(None),) * storage, slice(number, number + 1))
    return show_image_3d(volume[cut], axis=axis, return_grid=True).numpy()


class TestSliceView:
    @pytest.mark.parametrize("code", ["LPS", "RAS", "SPL", "AIR"])
    @pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal", 0, 1, 2])
    def test_every_slice_is_the_one_that_show_image_3d_draws(self, code, axis):
        volume, labels = image().reorient(code), mask().reorient(code)
        view = SliceView(plt.figure().subplots(), volume, labels, axis)
        for number in range(view.count):
            view.set_slice(number)
            shown, over = drawn(view)
            assert np.array_equal(shown, reference(volume, number, axis, view.storage_axis))
            assert np.array_equal(over, reference(labels, number, axis, view.storage_axis))
        assert len(view.ax.images) == 2

    def test_slices_are_counted_as_the_tensor_does(self):
        volume = image().reorient("RAI")
        view = SliceView(plt.figure().subplots(), volume, axis="axial")
        for number in range(4):
            view.set_slice(number)
            assert np.array_equal(np.sort(drawn(view), None), volume[number].flatten().sort()[0].numpy())

    def test_another_axis_starts_in_the_middle_with_true_proportions(self):
        view = SliceView(plt.figure().subplots(), image(), axis="axial")
        assert view.ax.get_aspect() == 2
        view.set_axis("coronal")
        assert view.ax.get_aspect() == 3
        assert (view.number, view.count) == (2, 5)
        assert drawn(view)[0, 0] > drawn(view)[-1, 0]  # the head is up

    def test_artists_are_changed_not_drawn_anew(self):
        view = SliceView(plt.figure().subplots(), image(), mask())
        before = list(view.ax.images)
        view.set_slice(3)
        view.set_limits(10, 20)
        view.set_alpha(0.9)
        assert list(view.ax.images) == before
        assert view.ax.images[0].get_clim() == (10, 20)
        assert view.ax.images[1].get_alpha() == 0.9
        view.set_alpha(0)
        assert not view.ax.images[1].get_visible()

    def test_grey_values_are_those_of_the_whole_volume(self):
        view = SliceView(plt.figure().subplots(), image())
        for number in range(4):
            view.set_slice(number)
            assert view.ax.images[0].get_clim() == (0, 119)

    def test_labels_stored_another_way_lie_right(self):
        view = SliceView(plt.figure().subplots(), image(), mask().reorient("SAR"), "axial")
        view.set_slice(3)
        assert np.array_equal(drawn(view)[1], reference(mask(), 3, "axial", 0))

    def test_labels_elsewhere_are_refused(self):
        moved = mask(GRID.replace(origin=(-7, 11, 50)))
        with pytest.raises(ValueError, match="the overlay lies up to 45 mm away from the volume below"):
            SliceView(plt.figure().subplots(), image(), moved)
        with pytest.raises(ValueError, match="the overlay"):
            SliceView(plt.figure().subplots(), image(), mask()[:2])

    def test_letters_name_the_sides_where_they_are_known(self):
        view = SliceView(plt.figure().subplots(), image(), axis="axial")
        assert {text.get_text().strip() for text in view.ax.texts} == {"R", "L", "A", "P"}
        plain = SliceView(plt.figure().subplots(), image().numpy(), axis=0)
        assert not plain.ax.texts
        assert drawn(plain).shape == (5, 6)

    def test_oblique_volumes_and_nan(self):
        values = torch.rand(LOPSIDED.shape)
        values[0, 0, 0] = torch.nan
        view = SliceView(plt.figure().subplots(), TensorDicom3D(values, LOPSIDED), axis="coronal")
        view.set_slice(0)
        view.ax.figure.canvas.draw()
        low, high = view.limits
        assert 0 <= low < high <= 1

    def test_the_plane_is_named_where_the_sides_are_known(self):
        assert SliceView(plt.figure().subplots(), image().reorient("SPL"), axis=0).plane == "sagittal"
        assert SliceView(plt.figure().subplots(), image().numpy(), axis=2).plane == 2


def test_geometry_of_what_has_one():
    assert geometry_of(image()) == GRID
    assert geometry_of(image()[torch.tensor([0, 2, 1, 3])]) is None
    assert geometry_of(image().numpy()) is None
