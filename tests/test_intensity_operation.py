"""Every public function that changes intensities keeps the geometry, leaves masks alone and its input as it was."""

import inspect

import numpy as np
import pytest
import torch
from coordinates import LOPSIDED
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from faimed3d import basics, intensity
from faimed3d.augment import StandardScale
from faimed3d.geometry import Geometry
from faimed3d.intensity.operation import as_items
from faimed3d.volume import TensorDicom3D, TensorMask3D

# operation -> its arguments after the volume
OPERATIONS = {
    "add_ghosting": (-1, 2, 0.5),
    "add_noise": (0.1,),
    "add_rician_noise": (0.1,),
    "adjust_brightness": (0.5,),
    "adjust_contrast": (0.5,),
    "adjust_gamma": (2,),
    "apply_bias_field": (torch.linspace(-0.5, 0.5, 64).view(4, 4, 4),),
    "apply_window": ((5, 20),),
    "blur": (1,),
    "correct_bias_field": (None, 1, 1),
    "divide_by_max": (),
    "equalize_locally": (1,),
    "hist_scaled": (),
    "lower_resolution": (2,),
    "match_landmarks": ((0, 10, 20), (0, 50, 100)),
    "match_moments": (3, 4),
    "max_scale": (),
    "mean_scale": (),
    "median_scale": (),
    "normalize": (),
    "rescale": (-1, 1),
    "z_score": ("mean",),
}
MEASURES = {"freqhist_bins": (5,), "landmarks_of": ((10, 90), "mean"), "percentiles_of": ((10, 90),)}
OTHERS = {"WINDOWS", "window_limits", "fill_padding"}  # which take no volume, or only one with padding
SHAPES = {"volume": (), "channels": (2,), "batch": (3, 1), "batch of channels": (2, 2)}


def values(lead=(), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((*lead, *LOPSIDED.shape), generator=generator) * 20


def call(name, t):
    torch.manual_seed(0)
    if name == "StandardScale.apply":
        return StandardScale((10, 50, 90), (0, 50, 100)).apply(t)
    return getattr(intensity, name)(t, *{**OPERATIONS, **MEASURES}[name])


def test_every_public_function_is_in_a_table():
    assert {*OPERATIONS, *MEASURES, *OTHERS} == set(intensity.__all__)


def test_normalize_is_one_function():
    assert basics.normalize is intensity.normalize


@pytest.mark.parametrize("name", [*OPERATIONS, "StandardScale.apply"])
class TestOperations:
    @pytest.mark.parametrize("lead", SHAPES.values(), ids=SHAPES)
    def test_keep_type_shape_and_geometry_of_an_image(self, name, lead):
        image = TensorDicom3D(values(lead), LOPSIDED)
        changed = call(name, image)
        assert type(changed) is TensorDicom3D
        assert changed.shape == image.shape
        assert changed.dtype == torch.float32
        assert changed.geometry == LOPSIDED
        assert not torch.equal(changed, image)

    @pytest.mark.parametrize("lead", SHAPES.values(), ids=SHAPES)
    def test_give_a_plain_tensor_the_same_values(self, name, lead):
        plain = call(name, values(lead))
        assert type(plain) is Tensor
        image = TensorDicom3D(values(lead), Geometry(LOPSIDED.shape))  # of 1 mm, as a plain tensor is taken to be
        torch.testing.assert_close(call(name, image).as_subclass(Tensor), plain)

    @pytest.mark.parametrize("lead", SHAPES.values(), ids=SHAPES)
    @pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.float32])
    def test_give_a_mask_back_as_it_is(self, name, lead, dtype):
        mask = TensorMask3D(values(lead).to(dtype), LOPSIDED)
        assert call(name, mask) is mask

    def test_keep_a_geometry_for_each_item_of_a_batch(self, name):
        places = [LOPSIDED, LOPSIDED.replace(origin=(1, 2, 3))]
        batch = torch.stack([TensorDicom3D(values(seed=k), place)[None] for k, place in enumerate(places)])
        if name == "correct_bias_field":
            with pytest.raises(ValueError, match="correct_bias_field needs one geometry, but the items of this"):
                call(name, batch)
            changed = intensity.correct_bias_field(batch, iterations=1, levels=1, shrink=1)
        else:
            changed = call(name, batch)
        assert [item.geometry for item in changed] == places

    def test_never_write_into_their_input(self, name):
        for t in (values(), TensorDicom3D(values(), LOPSIDED)):
            before = t.clone()
            call(name, t)[:] = 7
            assert torch.equal(t, before)

    def test_keep_attributes_of_the_image(self, name):
        image = TensorDicom3D(values(), LOPSIDED)
        image.set_metadata("0008|0060", "MR")
        assert call(name, image).get_metadata("0008|0060") == "MR"

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float64])
    def test_take_every_type_of_number(self, name, dtype):
        changed = call(name, TensorDicom3D(values().to(dtype), LOPSIDED))
        wide = dtype == torch.float64 and name != "hist_scaled"
        assert changed.dtype == (torch.float64 if wide else torch.float32)


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from([name for name in OPERATIONS if name not in ("correct_bias_field", "equalize_locally")]),
    lead=st.sampled_from([(), (1,), (2,), (2, 1), (2, 3)]),
    # a divisor near the smallest float32 beside ordinary values makes what float32 cannot hold: no image has such
    numbers=st.lists(st.integers(-(10**7), 10**7).map(lambda n: n / 1000), min_size=6, max_size=6),
)
def test_any_image_keeps_its_geometry_and_stays_finite(name, lead, numbers):
    geometry = LOPSIDED.replace(spacing=(1, 2, 3))
    image = TensorDicom3D(torch.tensor(numbers).repeat(4).view(geometry.shape).expand(*lead, -1, -1, -1), geometry)
    changed = call(name, image)
    assert changed.geometry == geometry
    assert changed.isfinite().all()


@pytest.mark.parametrize("name", MEASURES)
def test_measures_of_a_volume_are_those_of_its_voxels(name):
    image, plain = call(name, TensorDicom3D(values(), LOPSIDED)), call(name, values())
    assert type(image) is type(plain)
    assert list(image) == list(plain)


@pytest.mark.parametrize("kind", [np.array, np.ndarray.tolist])
def test_arrays_and_sequences_are_taken_as_tensors(kind):
    array = values().numpy()
    assert torch.equal(intensity.normalize(kind(array)), intensity.normalize(values()))


class TestItems:
    def test_a_setting_is_one_number_or_one_for_each_item(self):
        batch = values((3, 1))
        settings = torch.tensor([0.1, 0.5, 0.9])
        each = torch.stack([intensity.adjust_contrast(one, s.item()) for one, s in zip(batch, settings, strict=True)])
        torch.testing.assert_close(intensity.adjust_contrast(batch, settings), each)
        torch.testing.assert_close(intensity.adjust_contrast(batch, [0.5] * 3), intensity.adjust_contrast(batch, 0.5))

    def test_a_setting_along_axes_may_be_one_number_or_three(self):
        torch.testing.assert_close(intensity.blur(values(), 1), intensity.blur(values(), (1, 1, 1)))
        both = intensity.blur(values((2, 1)), torch.tensor([[1.0, 1, 1], [0, 0, 2]]))
        torch.testing.assert_close(both[1], intensity.blur(values((2, 1))[1], (0, 0, 2)))

    def test_volumes_without_axes_are_refused(self):
        for operation in (intensity.adjust_gamma, intensity.equalize_locally):
            with pytest.raises(
                ValueError, match=r"expected a volume \(\.\.\., D, H, W\), got a tensor of shape \(2, 3\)"
            ):
                operation(torch.rand(2, 3), 1)

    @pytest.mark.parametrize("lead", [(), (3, 1)])
    def test_settings_for_another_number_of_items_are_refused(self, lead):
        with pytest.raises(ValueError, match="expected a batch of 2 items, one for each setting, got shape"):
            intensity.add_noise(values(lead), torch.tensor([0.1, 0.2]))

    def test_axes_between_items_and_voxels_are_channels(self):
        x, setting = as_items(values((2, 3, 4)), [1, 2])
        assert x.shape == (2, 12, *LOPSIDED.shape)
        assert setting.tolist() == [1, 2]


def test_names_of_the_functions_are_kept():
    assert list(inspect.signature(intensity.apply_window).parameters) == ["t", "window"]
    assert intensity.apply_window.__module__ == "faimed3d.intensity.windows"
