"""Percentiles, landmarks of the foreground, and the map that moves them."""

import numpy as np
import pytest
import torch

from faimed3d.intensity import landmarks_of, match_landmarks, percentiles_of


class TestPercentiles:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int16, torch.float16, torch.bool])
    def test_are_those_of_numpy(self, dtype):
        values = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)).mul(100).to(dtype)
        found = percentiles_of(values, range(0, 101, 4))
        np.testing.assert_allclose(found, np.percentile(values.double().numpy(), range(0, 101, 4)), rtol=1e-12)

    def test_leave_nan_and_infinity_out(self):
        assert percentiles_of(torch.tensor([torch.nan, 3, 1, torch.inf]), (0, 50, 100)) == (1, 2, 3)
        assert percentiles_of(torch.tensor([torch.nan]), (0, 50)) == (0, 0)

    @pytest.mark.parametrize("q", [-1, 101, torch.nan])
    def test_outside_of_0_to_100_are_refused(self, q):
        with pytest.raises(ValueError, match=r"percentiles must lie in 0\.\.100, got \(50,"):
            percentiles_of(torch.ones(3), (50, q))


class TestLandmarks:
    def test_are_of_the_foreground(self):
        x = torch.tensor([0.0, 0.0, 0.0, 1.0, 2.0, 9.0])
        assert landmarks_of(x, (0, 50, 100), "minimum") == (1, 2, 9)
        assert landmarks_of(x, (0, 50, 100), "mean") == (9, 9, 9)
        assert landmarks_of(x, (0, 50, 100), "all") == (0, 0.5, 9)

    def test_go_to_the_values_and_beyond_on_straight_lines(self):
        x = torch.tensor([-1.0, 0.0, 1.0, 2.0, 4.0, torch.nan])
        found = match_landmarks(x, (0, 2, 3), (10, 14, 24))
        assert found[:5].tolist() == [8, 10, 12, 14, 34]
        assert found[5].isnan()

    def test_that_coincide_count_once(self):
        assert match_landmarks(torch.tensor([1.0, 2.0]), (1, 1, 2), (0, 5, 10)).tolist() == [0, 10]
        assert match_landmarks(torch.tensor([1.0, 1.0]), (1, 1, 1), (0, 5, 10)).tolist() == [5, 5]
