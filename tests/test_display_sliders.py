"""The widgets that move slices, planes, windows and masks, driven from Python."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from PIL import Image
from test_display_slice_view import drawn, image, mask, reference

from faimed3d.basics import TensorDicom3D
from faimed3d.display import class_color
from faimed3d.display.sliders import SliceSliders


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_without_ipywidgets_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ipywidgets", None)
    with pytest.raises(
        ImportError,
        match=r"BasicViewer needs ipywidgets: pip install ipywidgets \(or faimed3d with its extra 'viewer'\)",
    ):
        SliceSliders(image())


def picture(widget):
    return np.asarray(Image.open(io.BytesIO(widget.value)).convert("RGB")).astype(int)


class TestSliceSliders:
    def test_shows_the_middle_axial_slice_at_first(self):
        shown = SliceSliders(image().reorient("SPL"))
        assert shown.plane.value == "axial"
        assert (shown.slice.value, shown.slice.min, shown.slice.max) == (2, 0, 3)
        assert np.array_equal(drawn(shown.views[0]), reference(image(), 2, "axial", 0))

    def test_the_slider_scrolls(self):
        shown = SliceSliders(image(), mask())
        before = shown.picture.value
        shown.slice.value = 3
        assert np.array_equal(drawn(shown.views[0])[1], reference(mask(), 3, "axial", 0))
        assert shown.picture.value != before

    def test_the_plane_changes_the_slider_with_it(self):
        shown = SliceSliders(image(), mask())
        shown.slice.value = 3
        shown.plane.value = "sagittal"
        assert (shown.slice.value, shown.slice.max) == (3, 5)
        assert np.array_equal(drawn(shown.views[0])[0], reference(image(), 3, "sagittal", 2))
        shown.slice.value = 5
        shown.plane.value = "axial"
        assert (shown.slice.value, shown.slice.max) == (2, 3)
        assert np.array_equal(drawn(shown.views[0])[0], reference(image(), 2, "axial", 0))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.int16, torch.uint8, torch.float16])
    def test_the_window_is_of_the_kind_of_the_values(self, dtype):
        shown = SliceSliders(image(dtype=dtype))
        assert type(shown.window).__name__ == ("FloatRangeSlider" if dtype.is_floating_point else "IntRangeSlider")
        assert (shown.window.min, shown.window.max, shown.window.value) == (0, 119, (0, 119))
        shown.window.value = (30, 60)
        assert shown.views[0].ax.images[0].get_clim() == (30, 60)

    def test_the_window_of_the_start(self):
        shown = SliceSliders(image() - 60, window="brain")
        assert shown.window.value == (0, 80)
        assert shown.window.max == 80  # beyond the largest value, which is 59
        assert shown.views[0].ax.images[0].get_clim() == (0, 80)

    def test_a_constant_volume(self):
        shown = SliceSliders(TensorDicom3D(torch.full((2, 3, 4), 7.0)))
        assert shown.window.min == 7 < shown.window.max

    def test_the_mask_is_hidden_and_faded(self):
        shown = SliceSliders(image(), mask(), mask_alpha=0.5)
        over = shown.views[0].ax.images[1]
        assert over.get_alpha() == 0.5
        shown.alpha.value = 0.9
        assert over.get_alpha() == 0.9
        with_mask = shown.picture.value
        shown.mask.value = False
        assert not over.get_visible()
        assert shown.picture.value != with_mask
        shown.mask.value = True
        assert shown.picture.value == with_mask

    def test_the_picture_has_the_colours_of_the_classes(self):
        shown = SliceSliders(image() * 0, mask(), mask_alpha=1, figsize=(2, 2))
        colours = {to_hex(pixel / 255) for pixel in picture(shown.picture).reshape(-1, 3)}
        assert picture(shown.picture).shape == (200, 200, 3)
        assert to_hex(class_color(1)) in colours
        assert to_hex(class_color(3)) not in colours
        shown.slice.value = 3
        colours = {to_hex(pixel / 255) for pixel in picture(shown.picture).reshape(-1, 3)}
        assert to_hex(class_color(3)) in colours

    def test_a_predicted_mask_is_beside_the_target(self):
        found = mask().with_voxels((mask() == 1).as_subclass(torch.Tensor).long())
        shown = SliceSliders(image(), mask(), found)
        shown.slice.value = 3
        target, guess = (drawn(view)[1] for view in shown.views)
        assert target.max() == 3
        assert guess.max() == 0
        assert picture(shown.picture).shape == (400, 800, 3)
        assert "target | prediction" in str([child.value for child in shown.box.children if hasattr(child, "value")])

    @pytest.mark.parametrize(
        ("y", "prediction", "text"),
        [
            ("tumour", None, "tumour"),
            ("tumour", "tumour", "tumour | <span style='color:green'>tumour</span>"),
            ("tumour", "<none>", "tumour | <span style='color:red'>&lt;none&gt;</span>"),
            (None, "none", "<span style='color:black'>none</span>"),
        ],
    )
    def test_classes_are_written_above(self, y, prediction, text):
        shown = SliceSliders(image(), y, prediction, description="case & 1")
        texts = [child.value for child in shown.box.children if type(child).__name__ == "HTML"]
        assert ">case &amp; 1<" in texts[0]
        assert f">{text}<" in texts[1]
        assert shown.mask not in shown.box.children

    def test_channels_have_a_slider_of_their_own(self):
        volume = torch.stack([image(), image() * 2])
        shown = SliceSliders(volume, mask()[None])
        assert (shown.channel.max, shown.channel in shown.box.children) == (1, True)
        shown.channel.value = 1
        assert np.array_equal(drawn(shown.views[0])[0], 2 * reference(image(), 2, "axial", 0))
        assert SliceSliders(image()).channel not in SliceSliders(image()).box.children

    def test_arrays_have_storage_axes_for_planes(self):
        shown = SliceSliders(image().numpy())
        assert shown.plane.options == (0, 1, 2)
        shown.plane.value = 2
        assert shown.slice.max == 5

    def test_the_axis_of_the_start_by_number(self):
        assert SliceSliders(image(), axis=1).plane.value == "coronal"

    def test_never_changes_the_volume(self):
        volume = image()
        before = volume.clone()
        SliceSliders(volume, window=(30, 10)).slice.value = 0
        assert torch.equal(volume, before)

    def test_opens_no_figure_of_pyplot(self):
        SliceSliders(image(), mask())
        assert plt.get_fignums() == []

    def test_refuses_what_is_no_volume(self):
        with pytest.raises(ValueError, match=r"a viewer shows a volume .* got shape \(5, 6\)"):
            SliceSliders(image()[0])
        with pytest.raises(ValueError, match=r"a mask must be \(D, H, W\), got shape \(2, 4, 5, 6\)"):
            SliceSliders(image(), torch.stack([mask(), mask()]))

    def test_the_show_of_a_tensor_is_not_replaced(self):
        assert TensorDicom3D.show.__module__ == "faimed3d._pictures"
        assert isinstance(image().show(), plt.Axes)
