"""Random changes of intensity on all kinds of data."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from intensity_samples import SHAPE, normal
from transforms import ARGUMENTS, INTENSITY, RANDOM, make

from faimed3d.augment import (
    Clip3D,
    Normalize3D,
    RandomBiasField3D,
    RandomBlur3D,
    RandomBrightness3D,
    RandomContrast3D,
    RandomGamma3D,
    RandomGhosting3D,
    RandomLowResolution3D,
    RandomNoise3D,
    RescaleIntensity3D,
    Window3D,
    ZScore3D,
)
from faimed3d.geometry import Geometry
from faimed3d.volume import TensorDicom3D

RANDOM_INTENSITY = [name for name in INTENSITY if name in RANDOM]


KINDS = {
    "ct": normal() * 400 - 300,
    "mr": normal().abs() * 1000,
    "unit": normal().sigmoid(),
    "tiny": normal() * 1e-6,
    "whole": (normal() * 100).round(),
}


class TestAnyData:
    @pytest.mark.parametrize("name", INTENSITY)
    @pytest.mark.parametrize("kind", KINDS)
    def test_stays_finite_and_float(self, name, kind):
        result = make(name)(TensorDicom3D(KINDS[kind]), split_idx=0)
        assert result.isfinite().all()
        assert result.dtype == torch.float32

    @pytest.mark.parametrize("name", INTENSITY)
    @pytest.mark.parametrize("value", [0.0, -1000.0, 7.0])
    def test_a_constant_stays_finite(self, name, value):
        result = make(name)(TensorDicom3D(torch.full(SHAPE, value)), split_idx=0)
        assert result.isfinite().all()

    @pytest.mark.parametrize("name", RANDOM_INTENSITY)
    def test_a_constant_is_not_changed_at_random(self, name):
        result = make(name)(TensorDicom3D(torch.full(SHAPE, -1000.0)), split_idx=0)
        torch.testing.assert_close(result.as_subclass(torch.Tensor), torch.full(SHAPE, -1000.0))

    @pytest.mark.parametrize("name", [name for name in INTENSITY if name != "FillNaN3D"])
    def test_nan_stays_where_it_is_and_nowhere_else(self, name):
        image = normal()
        image[0, 0, 1, 2, 3] = torch.nan
        image[1, 0, 0, 0, 0] = torch.nan
        result = make(name)(TensorDicom3D(image), split_idx=0).as_subclass(torch.Tensor)
        assert torch.equal(result.isnan(), image.isnan())

    @pytest.mark.parametrize("name", [name for name in INTENSITY if name != "FillNaN3D"])
    def test_nothing_but_nan_and_infinity_is_survived(self, name):
        image = torch.full(SHAPE, torch.nan)
        make(name)(TensorDicom3D(image), split_idx=0)
        image[0, 0, 0, 0, 0] = torch.inf
        assert make(name)(TensorDicom3D(image), split_idx=0)[1].isnan().all()

    @pytest.mark.parametrize("name", INTENSITY)
    def test_whole_numbers_become_float(self, name):
        result = make(name)(TensorDicom3D((normal() * 100).to(torch.int16)), split_idx=0)
        assert result.dtype == torch.float32

    @pytest.mark.parametrize("name", RANDOM_INTENSITY)
    @settings(max_examples=4, deadline=None)
    @given(factor=st.floats(0.01, 100), shift=st.floats(-100, 100))
    def test_random_changes_do_not_depend_on_the_units(self, name, factor, shift):
        image, results = normal().double(), []
        for x in (image, image * factor + shift):
            torch.manual_seed(0)
            results.append(make(name)(TensorDicom3D(x), split_idx=0).as_subclass(torch.Tensor))
        torch.testing.assert_close(results[1], results[0] * factor + shift, rtol=1e-5, atol=1e-4 * factor)

    @pytest.mark.parametrize("name", [n for n in INTENSITY if n not in ARGUMENTS])
    def test_channels_are_treated_each_by_its_own_range(self, name):
        image = torch.cat([normal(), normal(seed=1) * 1000 + 5000], 1)
        torch.manual_seed(0)
        both = make(name)(TensorDicom3D(image), split_idx=0)
        torch.manual_seed(0)
        alone = make(name)(TensorDicom3D(image[:, :1].clone()), split_idx=0)
        if "Noise" not in name:  # of which there is more to draw
            torch.testing.assert_close(both[:, :1].as_subclass(torch.Tensor), alone.as_subclass(torch.Tensor))
        assert (both[:, 0] - image[:, 0]).abs().max() < 50


class TestSettings:
    @pytest.mark.parametrize(
        ("build", "message"),
        [
            (lambda: RandomNoise3D(std_range=(0.2, 0.1)), r"std_range must be a range with 0 <= low <= high, got"),
            (lambda: RandomGamma3D(gamma=(0, 1)), r"gamma must be a range with 0\.001 <= low <= high"),
            (lambda: RandomBlur3D(sigma=-1), r"sigma must be a range"),
            (lambda: RandomBrightness3D(max_beta=-1), r"max_beta must be a range"),
            (lambda: RandomContrast3D(alpha=(-1, 1)), r"alpha must be a range"),
            (lambda: RandomBiasField3D(strength=-1), r"strength must be a range"),
            (lambda: RandomLowResolution3D(factor=(0.5, 2)), r"factor must be a range with 1 <= low"),
            (lambda: RandomGhosting3D(copies=(1, 3)), r"copies must be a range with 2 <= low"),
            (lambda: Clip3D(1, 0), "Clip3D needs low < high, got 1 and 0"),
            (lambda: Clip3D(-1, 99, percentiles=True), r"percentiles must lie in 0\.\.100, got -1 and 99"),
            (lambda: RescaleIntensity3D(1, 1), "RescaleIntensity3D needs new_min < new_max"),
            (lambda: ZScore3D("brain"), "foreground must be None, 'minimum', 'mean' or a number, got 'brain'"),
            (lambda: Window3D("ear"), "window must be"),
            (lambda: Normalize3D(1), "Normalize3D takes mean and std together, or neither"),
            (lambda: Normalize3D(1, 0), "std must be above 0"),
            (lambda: Normalize3D((1, 2), (1, 2, 3)), "mean and std must be for the same channels, got 2 and 3 numbers"),
        ],
    )
    def test_errors(self, build, message):
        with pytest.raises(ValueError, match=message):
            build()

    def test_normalize_wants_numbers(self):
        with pytest.raises(TypeError, match="mean must be a number or one number for each channel, got 'a'"):
            Normalize3D("a", 1)

    def test_low_resolution_along_one_axis(self):
        torch.manual_seed(0)
        factor = RandomLowResolution3D(one_axis=True).draw([Geometry((2, 3, 4))] * 20)["factor"]
        assert ((factor > 1).sum(1) == 1).all()
        assert (factor > 1).any(0).all()
