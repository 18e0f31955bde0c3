"""Scales by moments, ranges and divisors, and what holds for every function that scales."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from intensity_samples import DTYPES, KINDS, volume

from faimed3d.intensity import (
    apply_window,
    divide_by_max,
    hist_scaled,
    match_moments,
    max_scale,
    mean_scale,
    median_scale,
    normalize,
    rescale,
    z_score,
)

SCALERS = [
    hist_scaled,
    normalize,
    mean_scale,
    median_scale,
    max_scale,
    divide_by_max,
    lambda t: apply_window(t, "lung"),
]


whole_numbers = arrays(np.float32, array_shapes(max_dims=4), elements=st.integers(-2000, 4000).map(float))
any_numbers = arrays(np.float32, array_shapes(max_dims=4), elements=st.floats(-1e6, 1e6, width=32))
thousandths = any_numbers.map(lambda array: array.round(3))  # nothing so near 0 that dividing by it overflows


class TestNormalize:
    def test_hand_computed(self):
        assert normalize(torch.tensor([1.0, 2.0, 3.0])).tolist() == [-1, 0, 1]

    @pytest.mark.parametrize("kind", KINDS)
    def test_mean_0_and_unbiased_sd_1(self, kind):
        scaled = normalize(volume(kind)).double()
        assert abs(scaled.mean().item()) < 1e-6
        assert scaled.std().item() == pytest.approx(1, abs=1e-6)

    @pytest.mark.parametrize("kind", KINDS)
    def test_equals_float64_arithmetic(self, kind):
        exact = volume(kind).double()
        exact = (exact - exact.mean()) / exact.std()
        torch.testing.assert_close(normalize(volume(kind)).double(), exact, rtol=1e-5, atol=1e-6)

    def test_large_mean_loses_no_digits(self):
        t = torch.tensor([16_000_000.0, 16_000_001.0, 16_000_003.0]).repeat(100_000)
        exact = t.double()
        exact = (exact - exact.mean()) / exact.std()
        assert (normalize(t) - exact).abs().max().item() < 1e-6

    @pytest.mark.parametrize("value", [0.1, 1 / 3, -1024, 1e30, 1e-30])
    @pytest.mark.parametrize("count", [1, 3, 33_333])
    @pytest.mark.parametrize("function", [normalize, mean_scale, median_scale, max_scale])
    def test_constant_gives_zeros(self, value, count, function):
        assert torch.equal(function(torch.full((count,), value)), torch.zeros(count))

    def test_tiny_and_huge_values(self):
        for factor in (1e-30, 1e30):
            t = torch.tensor([1.0, 2.0, 3.0, 7.0]) * factor
            torch.testing.assert_close(normalize(t), normalize(t / factor))

    def test_nan_is_left_out_and_stays(self):
        scaled = normalize(torch.tensor([np.nan, 1, 2, 3, np.nan]))
        assert scaled[1:4].tolist() == [-1, 0, 1]
        assert scaled.isnan().tolist() == [True, False, False, False, True]


class TestMeanMedianMaxScale:
    def test_mean_scale_uses_voxels_above_the_minimum(self):
        t = volume("mr").clamp_min(200)
        tissue = t[t > 200].numpy().astype(float)
        expected = (t.numpy() - tissue.mean()) / tissue.std(ddof=1)
        np.testing.assert_allclose(mean_scale(t).numpy(), expected, rtol=1e-5, atol=1e-6)

    def test_median_scale_uses_numpys_percentiles(self):
        t = volume("mr").clamp_min(200)
        tissue = t[t > 200].numpy().astype(float)
        q1, median, q3 = np.percentile(tissue, [25, 50, 75])
        np.testing.assert_allclose(median_scale(t).numpy(), (t.numpy() - median) / (q3 - q1), rtol=1e-5, atol=1e-6)

    def test_median_scale_without_spread_only_shifts(self):
        assert median_scale(torch.tensor([0, 5, 5, 5, 5, 9])).tolist() == [-5, 0, 0, 0, 0, 4]

    @pytest.mark.usefixtures("anywhere")
    def test_median_scale_hand_computed(self):
        assert median_scale(torch.tensor([0, 1, 2, 3, 4, 5])).tolist() == [-1.5, -1, -0.5, 0, 0.5, 1]

    @pytest.mark.parametrize("kind", KINDS)
    def test_max_scale_reaches_0_and_1_exactly(self, kind):
        scaled = max_scale(volume(kind))
        assert scaled.min() == 0
        assert scaled.max() == 1

    @pytest.mark.parametrize("function", [mean_scale, median_scale, max_scale, divide_by_max])
    def test_infinite_values_take_no_part(self, function):
        t = volume("mr").flatten()
        with_infinite = torch.cat([t, torch.tensor([np.inf, -np.inf, np.nan])])
        assert torch.equal(function(with_infinite)[:-3], function(t))


class TestMatchMoments:
    def test_wrong_numbers(self):
        with pytest.raises(ValueError, match="std must not be below 0, got -1"):
            match_moments(torch.ones(2), 0, -1)
        with pytest.raises(ValueError, match="mean must be a finite number, got inf"):
            match_moments(torch.ones(2), float("inf"), 1)
        with pytest.raises(TypeError, match="std must be a number, got None"):
            match_moments(torch.ones(2), 0, None)


class TestDivideByMax:
    def test_maximum_becomes_1_and_0_stays(self):
        assert divide_by_max(torch.tensor([0, 1, 4])).tolist() == [0, 0.25, 1]

    @pytest.mark.parametrize("kind", KINDS)
    def test_maximum_is_exactly_1(self, kind):
        assert divide_by_max(volume(kind)).max() == 1

    def test_ct_keeps_its_negative_values(self):
        assert divide_by_max(torch.tensor([-1024, 0, 2048])).tolist() == [-0.5, 0, 1]

    def test_without_a_positive_value_the_largest_magnitude_divides(self):
        assert divide_by_max(torch.tensor([-8, -4, 0])).tolist() == [-1, -0.5, 0]
        assert divide_by_max(torch.tensor([-8, -4])).tolist() == [-1, -0.5]

    def test_constants(self):
        assert divide_by_max(torch.zeros(3)).tolist() == [0, 0, 0]
        assert divide_by_max(torch.full((3,), 7.0)).tolist() == [1, 1, 1]

    def test_div(self):
        assert divide_by_max(torch.tensor([0, 10, 25]), 10).tolist() == [0, 1, 2.5]

    def test_wrong_div(self):
        with pytest.raises(ValueError, match="div must be a finite number other than 0, got 0"):
            divide_by_max(torch.ones(2), 0)
        with pytest.raises(ValueError, match="div must be a finite number, got nan"):
            divide_by_max(torch.ones(2), float("nan"))
        with pytest.raises(TypeError, match="div must be a number, got 'ten'"):
            divide_by_max(torch.ones(2), "ten")


class TestZScoreAndRescale:
    def test_a_foreground_that_is_none_is_refused(self):
        with pytest.raises(
            ValueError, match="foreground must be None, 'all', 'minimum', 'mean' or a number, got 'brain'"
        ):
            z_score(torch.arange(5.0), "brain")

    def test_z_score_of_the_foreground(self):
        x = torch.tensor([0.0, 0, 0, 10, 20, 30])
        assert z_score(x, "mean").tolist() == z_score(x, 10).tolist()
        assert z_score(x, "minimum").tolist() == [-2, -2, -2, -1, 0, 1]
        assert z_score(x, 0).tolist() == [-2, -2, -2, -1, 0, 1]
        assert z_score(x).mean().abs() < 1e-6
        assert z_score(torch.full((3,), 5.0), 0).tolist() == [0, 0, 0]
        assert z_score(torch.full((3,), torch.nan), 0).isnan().all()
        assert rescale(torch.full((3,), 5.0), 2, 3).tolist() == [2, 2, 2]


class TestProperties:
    @settings(max_examples=60, deadline=None)
    @given(whole_numbers | thousandths, st.randoms(use_true_random=False))
    def test_order_of_axes_in_memory_changes_nothing(self, array, random):
        order = random.sample(range(array.ndim), array.ndim)
        t = torch.from_numpy(array).permute(order)
        for function in SCALERS:
            torch.testing.assert_close(function(t), function(t.contiguous()), rtol=1e-5, atol=1e-5)

    @settings(max_examples=60, deadline=None)
    @given(whole_numbers | thousandths)
    def test_every_result_is_finite_and_keeps_the_order(self, array):
        t = torch.from_numpy(array)
        order = t.flatten().argsort()
        for function in SCALERS:
            scaled = function(t)
            assert scaled.isfinite().all()
            assert (scaled.flatten()[order].diff() >= 0).all()


@pytest.mark.parametrize("function", SCALERS)
class TestEveryScaler:
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_type_of_the_result(self, function, dtype):
        result = function(torch.ones(2, 3, 4).to(dtype))
        wide = dtype == torch.float64 and function is not hist_scaled
        assert result.dtype == (torch.float64 if wide else torch.float32)
        assert result.shape == (2, 3, 4)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.uint8])
    def test_input_is_not_changed_or_shared(self, function, dtype):
        t = (torch.arange(24).view(2, 3, 4) * 10).to(dtype)
        before = t.clone()
        function(t).fill_(7)
        assert torch.equal(t, before)

    @pytest.mark.parametrize("shape", [(), (1,), (5,), (2, 3), (2, 1, 2, 3, 4), (0, 3, 4)])
    def test_any_shape(self, function, shape):
        assert function(torch.rand(shape)).shape == shape

    def test_subclass_gives_a_plain_tensor(self, function):
        class Volume(torch.Tensor):
            pass

        assert type(function(torch.rand(2, 3, 4).as_subclass(Volume))) is torch.Tensor

    def test_input_that_requires_grad(self, function):
        assert not function(torch.rand(2, 3, 4, requires_grad=True)).requires_grad

    def test_no_real_tensor(self, function):
        with pytest.raises(TypeError, match="expected a tensor, got str"):
            function("text")
        with pytest.raises(TypeError, match=r"expected a tensor of real numbers, got torch.complex64"):
            function(torch.ones(3, dtype=torch.complex64))

    def test_all_nan_stays_nan(self, function):
        t = torch.full((2, 3), np.nan)
        if function is hist_scaled:
            with pytest.raises(ValueError, match="no finite voxel"):
                function(t)
        else:
            assert function(t).isnan().all()
