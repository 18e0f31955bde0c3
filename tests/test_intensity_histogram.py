"""Equal-frequency bins and the scaling over them, against the published definition."""

import inspect
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from intensity_samples import DTYPES, KINDS, LARGE, volume

from faimed3d import _blockwise
from faimed3d.intensity import freqhist_bins, hist_scaled, histogram


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
        with warnings.catch_warnings():
            warnings.simplefilter("error")
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
