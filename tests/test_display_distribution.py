"""Histograms and statistics of values."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from scipy import stats

from faimed3d.basics import TensorDicom3D
from faimed3d.display.distribution import color_bars, show_histogram, summarize

VALUES = torch.tensor([-1000.0, 0.0, 0.0, 40.0, 80.0, 2000.0]).reshape(1, 2, 3)


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


class TestSummary:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.int16, torch.float64])
    def test_is_that_of_scipy(self, dtype):
        values = torch.randn(3, 4, 50, generator=torch.Generator().manual_seed(0)).mul(100).exp2().clamp(max=1000)
        values = values.to(dtype)
        found, plain = summarize(TensorDicom3D(values)), values.numpy().ravel().astype(float)
        assert found["voxels"] == 600
        assert found["mean"] == pytest.approx(plain.mean())
        assert found["std"] == pytest.approx(plain.std(ddof=1))
        assert (found["minimum"], found["maximum"]) == (plain.min(), plain.max())
        assert found["median"] == pytest.approx(np.median(plain))
        shrink = (599 / 600) ** 0.5  # scipy divides by the std of the sample
        assert found["skewness"] == pytest.approx(stats.skew(plain) * shrink**3)
        assert found["kurtosis"] == pytest.approx((stats.kurtosis(plain) + 3) * shrink**4 - 3)

    def test_within_limits(self):
        found = summarize(VALUES, (0, 100))
        assert found["voxels"] == 4
        assert found["mean"] == 30

    def test_leaves_nan_out_and_takes_constants(self):
        found = summarize(torch.tensor([5.0, torch.nan, 5.0, torch.inf]))
        assert found["voxels"] == 2
        assert (found["std"], found["skewness"], found["kurtosis"]) == (0, 0, 0)

    def test_refuses_what_holds_no_value(self):
        with pytest.raises(ValueError, match="nothing to count: no value is finite"):
            summarize(torch.full((2,), torch.nan))
        with pytest.raises(ValueError, match="no value lies between 5 and 6"):
            summarize(VALUES, (5, 6))


class TestHistogram:
    def test_counts_every_finite_voxel(self):
        ax = show_histogram(torch.cat([VALUES.flatten(), torch.tensor([torch.nan])]), bins=30)
        assert sum(bar.get_height() for bar in ax.patches) == 6
        assert len(ax.patches) == 30

    def test_colours_the_bars_within_the_window(self):
        ax = show_histogram(torch.linspace(-1000, 2000, 3000), bins=100, limits=(0, 500))
        blue = [
            bar.get_x() + bar.get_width() / 2
            for bar in ax.patches
            if bar.get_facecolor()[2] > 0.6 > bar.get_facecolor()[0]
        ]
        assert min(blue) == pytest.approx(0, abs=30)  # 0.0.6 coloured the bars of -1000 to -250
        assert max(blue) == pytest.approx(500, abs=30)
        assert len(blue) in (16, 17)
        color_bars(ax, (-1000, 2000))
        assert len({bar.get_facecolor() for bar in ax.patches}) == 1

    def test_draws_on_given_axes_and_writes_the_numbers(self):
        figure, axes = plt.subplots()
        assert show_histogram(VALUES, ax=axes, with_stats=True) is axes
        (text,) = (text.get_text() for text in axes.texts)
        assert "mean: 186.667" in text
        assert show_histogram(VALUES).figure is not figure
