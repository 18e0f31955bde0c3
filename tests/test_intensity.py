import inspect
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from faimed3d import _blockwise
from faimed3d.intensity import (
    WINDOWS,
    apply_window,
    divide_by_max,
    histogram,
    max_scale,
    mean_scale,
    median_scale,
    normalize,
    window_limits,
)
from faimed3d.intensity.histogram import freqhist_bins, hist_scaled

SCALERS = [
    hist_scaled,
    normalize,
    mean_scale,
    median_scale,
    max_scale,
    divide_by_max,
    lambda t: apply_window(t, "lung"),
]
DTYPES = [
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.uint16,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
]


def fastai_bins(t, n_bins=100):
    """The published definition, with torch's sort."""
    ordered = t.reshape(-1).sort()[0]
    middles = torch.arange(n_bins).float() / n_bins + (1 / 2 / n_bins)
    ranks = torch.cat([torch.tensor([0.001]), middles, torch.tensor([0.999])])
    return ordered[(len(ordered) * ranks).long()].unique()


def fastai_scaled(t, brks=None):
    """The published definition, with numpy's interpolation in float64."""
    brks = fastai_bins(t).numpy() if brks is None else np.asarray(brks)
    return np.interp(t.numpy().ravel(), brks, np.linspace(0, 1, len(brks))).reshape(t.shape)


def volume(kind, shape=(7, 50, 60), seed=0):
    rng = np.random.default_rng(seed)
    count = int(np.prod(shape))
    if kind == "ct":  # whole numbers with a peak of air
        values = np.where(rng.random(count) < 0.45, rng.normal(-1010, 12, count), rng.normal(20, 180, count))
        values = values.round().clip(-1024, 3071)
    elif kind == "mr":
        values = rng.gamma(2, 120, count)
    elif kind == "unit":
        values = rng.random(count)
    elif kind == "crowded":  # half of the breaks in one cell of the table
        values = np.where(rng.random(count) < 0.5, rng.normal(0, 1e-7, count), rng.normal(1000, 200, count))
    elif kind == "wide":  # whole numbers in a range too wide to count
        values = rng.integers(-(2**23), 2**23, count)
    elif kind == "far":
        values = rng.normal(1e6, 1, count)
    return torch.from_numpy(values.astype(np.float32)).view(shape)


KINDS = ["ct", "mr", "unit", "crowded", "wide", "far"]
LARGE = (9, 90, 100)  # above the size from which the table of cells is used


@pytest.fixture(params=["cpu", "torch only"])
def anywhere(request, monkeypatch):
    """Run a test twice: by the ways that are fast on a CPU, and by the torch operations for every device."""
    if request.param == "torch only":
        monkeypatch.setattr(_blockwise, "uses_cpu", lambda t: False)
        monkeypatch.setattr(_blockwise, "DEVICE_CHUNK", 10_000)


@pytest.mark.usefixtures("anywhere")
class TestFreqhistBins:
    def test_hand_computed(self):
        t = torch.arange(1000).flip(0).view(10, 10, 10)
        assert freqhist_bins(t, n_bins=4).tolist() == [1, 125, 375, 625, 875, 999]

    def test_default_is_100_groups_and_two_tails(self):
        assert len(freqhist_bins(volume("mr"))) == 102
        assert inspect.signature(freqhist_bins).parameters["n_bins"].default == 100

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("n_bins", [1, 7, 100])
    def test_gives_the_numbers_of_fastai(self, kind, n_bins):
        t = volume(kind)
        assert torch.equal(freqhist_bins(t, n_bins), fastai_bins(t, n_bins))

    def test_groups_hold_about_equally_many_voxels(self):
        t = volume("mr")
        counts = np.histogram(t.numpy(), freqhist_bins(t, 10).numpy())[0]
        assert counts[1:-1].max() - counts[1:-1].min() <= 1

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_keeps_the_type_where_it_can(self, dtype):
        other = {torch.bool: torch.uint8, torch.uint16: torch.int64, torch.float16: torch.float32}
        t = torch.tensor([[0, 1, 1], [0, 1, 1]]).to(dtype)
        bins = freqhist_bins(t)
        assert bins.dtype == {torch.bfloat16: torch.float32, **other}.get(dtype, dtype)
        assert bins.tolist() == [0, 1]

    def test_values_that_are_not_finite_are_left_out(self):
        t = volume("mr")
        with_gaps = torch.cat([t.flatten(), torch.tensor([np.nan, np.inf, -np.inf, np.nan])])
        assert torch.equal(freqhist_bins(with_gaps), freqhist_bins(t))

    @pytest.mark.parametrize("t", [torch.empty(0), torch.full((2, 3), np.nan), torch.tensor([np.inf])])
    def test_no_finite_voxel_is_an_error(self, t):
        with pytest.raises(ValueError, match="no bins: the tensor holds no finite voxel"):
            freqhist_bins(t)

    def test_single_voxel(self):
        assert freqhist_bins(torch.tensor(3.5)).tolist() == [3.5]

    def test_wrong_n_bins(self):
        with pytest.raises(ValueError, match="n_bins must be at least 1, got 0"):
            freqhist_bins(torch.arange(5), 0)
        with pytest.raises(TypeError, match=r"n_bins must be an integer, got 2\.5"):
            freqhist_bins(torch.arange(5), 2.5)

    def test_ranks_are_rounded_as_in_fastai_in_a_large_tensor(self):
        t = torch.arange(20_000_003, dtype=torch.int32)  # above 2**24, where float32 ranks are no longer exact
        assert torch.equal(freqhist_bins(t), fastai_bins(t))


@pytest.mark.usefixtures("anywhere")
class TestHistScaled:
    @pytest.mark.parametrize("shape", [(7, 50, 60), LARGE])
    @pytest.mark.parametrize("kind", KINDS)
    def test_equals_the_straightforward_version(self, kind, shape):
        t = volume(kind, shape)
        scaled = hist_scaled(t)
        assert scaled.dtype == torch.float32
        assert scaled.shape == t.shape
        assert np.abs(scaled.numpy() - fastai_scaled(t)).max() < 1e-6

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("kind", ["ct", "unit"])
    def test_every_type(self, dtype, kind):
        t = volume(kind).abs().to(dtype)
        plain = t if dtype in (torch.float32, torch.float64) else t.to(torch.float64)
        assert np.abs(hist_scaled(t).numpy() - fastai_scaled(plain)).max() < 1e-6

    def test_hand_computed_with_breaks(self):
        t = torch.tensor([-5.0, 0.0, 1.0, 2.0, 6.0, 10.0, 99.0])
        assert hist_scaled(t, [0, 2, 10]).tolist() == [0, 0, 0.25, 0.5, 0.75, 1, 1]

    @pytest.mark.parametrize("shape", [(7, 50, 60), LARGE])
    @pytest.mark.parametrize("convert", [list, tuple, np.array, torch.tensor, lambda b: torch.tensor(b).double()])
    def test_breaks_of_any_kind(self, convert, shape):
        t = volume("mr", shape)
        brks = [10.1, 10.3, 200.7, 950.9]
        expected = fastai_scaled(t, np.asarray(convert(brks), dtype=float))
        assert np.abs(hist_scaled(t, convert(brks)).numpy() - expected).max() < 1e-6

    def test_breaks_that_float32_cannot_hold(self):
        t = volume("far", LARGE)
        brks = [1e6 - 1 + 1e-9, 1e6 - 1e-9, 1e6 + 1 / 3]
        assert np.abs(hist_scaled(t, brks).numpy() - fastai_scaled(t, brks)).max() < 1e-6

    @pytest.mark.parametrize("brks", [[-3e38, 3e38], [0, 1e-45, 1], [1e-42, 2e-42, 3e38]])
    def test_extreme_breaks_stay_finite(self, brks):
        brks = torch.tensor(brks).tolist()
        t = torch.tensor([-3e38, 0, 1e-42, 1e-45, 0.5, 1, 3e38])
        assert np.abs(hist_scaled(t, brks).numpy() - fastai_scaled(t, brks)).max() < 1e-6

    def test_its_own_bins_as_breaks_give_the_same(self):
        for kind in KINDS:
            t = volume(kind, LARGE)
            assert torch.equal(hist_scaled(t, freqhist_bins(t)), hist_scaled(t))

    @pytest.mark.parametrize("value", [0, 5, -1000.25, 1e30])
    def test_constant_gives_zeros(self, value):
        assert torch.equal(hist_scaled(torch.full(LARGE, float(value))), torch.zeros(LARGE))

    def test_half_of_the_voxels_are_scaled_below_one_half(self):
        below = (hist_scaled(volume("mr")) < 0.5).float().mean().item()
        assert below == pytest.approx(0.5, abs=0.01)

    @pytest.mark.parametrize("shape", [(1, 2, 5), LARGE])
    def test_nan_stays_nan_and_infinite_is_an_end(self, shape):
        t = volume("mr", shape)
        brks = freqhist_bins(t)
        expected = hist_scaled(t, brks)
        t.view(-1)[:3] = torch.tensor([np.nan, -np.inf, np.inf])
        with warnings.catch_warnings(action="error"):
            scaled = hist_scaled(t, brks).view(-1)
        assert scaled[0].isnan()
        assert scaled[1:3].tolist() == [0, 1]
        assert torch.equal(scaled[3:], expected.view(-1)[3:])
        assert hist_scaled(t).isnan().sum() == 1

    def test_empty(self):
        scaled = hist_scaled(torch.empty(0, 3))
        assert scaled.shape == (0, 3)
        assert scaled.dtype == torch.float32

    @pytest.mark.parametrize("kind", ["ct", "mr", "crowded", "far"])
    def test_monotone_to_the_last_bit(self, kind):
        ordered = volume(kind, LARGE).flatten().sort()[0]
        brks = freqhist_bins(ordered)
        around = torch.cat([brks.nextafter(torch.tensor(-np.inf)), brks, brks.nextafter(torch.tensor(np.inf)), ordered])
        scaled = hist_scaled(around.sort()[0], brks)
        assert (scaled.diff() >= 0).all()
        assert scaled.min() >= 0
        assert scaled.max() <= 1


class TestHistScaledErrors:
    @pytest.mark.parametrize(
        ("brks", "text"),
        [
            ([], "brks must be a 1D sequence of at least one value, got shape"),
            ([[1, 2]], r"brks must be a 1D sequence of at least one value, got shape \(1, 2\)"),
            ([1, 3, 2], "brks must be strictly increasing, got 3 before 2; np.unique"),
            ([1, 1], "brks must be strictly increasing, got 1 before 1"),
            ([0, np.nan], "brks must be finite numbers"),
            (torch.tensor([0.0, np.inf]), "brks must be finite numbers"),
        ],
    )
    def test_breaks_of_wrong_value(self, brks, text):
        with pytest.raises(ValueError, match=text):
            hist_scaled(torch.arange(5), brks)

    @pytest.mark.parametrize("brks", [3, "123", ["a", "b"]])
    def test_breaks_that_are_no_numbers(self, brks):
        with pytest.raises(TypeError, match="brks must be a sequence of numbers, got"):
            hist_scaled(torch.arange(5), brks)


whole_numbers = arrays(np.float32, array_shapes(max_dims=4), elements=st.integers(-2000, 4000).map(float))
any_numbers = arrays(np.float32, array_shapes(max_dims=4), elements=st.floats(-1e6, 1e6, width=32))
thousandths = any_numbers.map(lambda array: array.round(3))  # nothing so near 0 that dividing by it overflows


class TestProperties:
    @settings(max_examples=150, deadline=None)
    @given(whole_numbers | any_numbers)
    def test_hist_scaled_equals_the_definition_on_both_paths(self, array):
        t = torch.from_numpy(array)
        expected = fastai_scaled(t)
        assert np.abs(hist_scaled(t).numpy() - expected).max() < 1e-6
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_blockwise, "uses_cpu", lambda t: False)
            assert np.abs(hist_scaled(t).numpy() - expected).max() < 1e-6
            assert torch.equal(freqhist_bins(t), fastai_bins(t))

    @settings(max_examples=100, deadline=None)
    @given(any_numbers)
    def test_the_table_of_cells_gives_what_the_search_gives(self, array):
        flat = torch.from_numpy(array).flatten()
        brks = freqhist_bins(flat).double().numpy()
        by_cells, by_search = torch.empty(2, len(flat))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(histogram, "_CELLS", 16)
            patch.setattr(_blockwise, "CHUNK", 3)
            patch.setattr(histogram, "_BLOCK", 7)
            histogram._map_by_cells(array.ravel(), *histogram._lines(flat, brks), by_cells.numpy())
            patch.setattr(_blockwise, "uses_cpu", lambda t: False)
            histogram._map(flat, brks, by_search)
        assert torch.equal(by_cells, by_search)

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


class TestWindows:
    def test_limits_hand_computed(self):
        assert window_limits("lung") == (-1350, 150)
        assert window_limits("bone") == (-500, 1300)
        assert window_limits((40, 80)) == (0, 80)

    def test_names_ignore_case_and_separator(self):
        assert window_limits("Soft tissue") == window_limits("soft_tissue") == window_limits("soft-tissue")

    def test_every_window_has_limits(self):
        for name, (centre, width) in WINDOWS.items():
            assert window_limits(name) == (centre - width / 2, centre + width / 2)

    def test_the_table_is_read_only(self):
        with pytest.raises(TypeError, match="does not support item assignment"):
            WINDOWS["lung"] = (0, 1)

    def test_apply_window_is_linear_exact(self):
        # PS3.3 C.11.2.1.3.2: (x - c) / w + 0.5 between c - w/2 and c + w/2
        t = torch.tensor([-3000, -1350, -600, -225, 150, 151, 3000])
        assert apply_window(t, "lung").tolist() == [0, 0, 0.5, 0.75, 1, 1, 1]

    def test_any_width_above_zero(self):
        assert apply_window(torch.tensor([0.0, 0.25, 0.5, 1.0]), (0.25, 0.5)).tolist() == [0, 0.5, 1, 1]

    def test_nan_stays_nan(self):
        assert apply_window(torch.tensor([np.nan, -np.inf, np.inf]), "brain").isnan().tolist() == [True, False, False]

    def test_unknown_name_lists_the_names(self):
        with pytest.raises(
            ValueError, match=r"window must be \(centre, width\) or one of brain, .*lung.*, got 'lungs'"
        ):
            window_limits("lungs")

    @pytest.mark.parametrize("window", [5, None, (1, 2, 3)])
    def test_wrong_kind(self, window):
        with pytest.raises(TypeError, match=r"window must be a name or \(centre, width\), got"):
            window_limits(window)

    def test_wrong_numbers(self):
        with pytest.raises(ValueError, match="window width must be above 0, got -80"):
            window_limits((40, -80))
        with pytest.raises(ValueError, match="window centre must be a finite number, got inf"):
            window_limits((float("inf"), 80))
        with pytest.raises(TypeError, match="window width must be a number, got 'wide'"):
            window_limits((40, "wide"))


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


def test_import_needs_only_numpy_and_torch():
    code = (
        "import sys, faimed3d.intensity; print([m for m in ('fastai', 'SimpleITK', 'matplotlib') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
