"""Percentiles, landmarks of the foreground, and the map that moves them."""

import torch

from faimed3d.intensity import landmarks_of, match_landmarks


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
