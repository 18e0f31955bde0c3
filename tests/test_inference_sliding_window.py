"""Windows that slide over a volume."""

import itertools

import pytest
import torch

from faimed3d.inference.sliding_window import flipped_mean, gaussian_weights, sliding_windows, window_starts


class TestWindows:
    @pytest.mark.parametrize(
        ("size", "patch", "overlap"), [(10, 4, 0.5), (11, 4, 0), (4, 4, 0.5), (23, 7, 0.9), (5, 4, 0)]
    )
    def test_starts_cover_the_axis(self, size, patch, overlap):
        starts = window_starts(size, patch, overlap)
        assert starts[0] == 0
        assert starts[-1] == size - patch
        step = max(1, int(patch * (1 - overlap)))
        assert all(0 < b - a <= step for a, b in itertools.pairwise(starts))

    def test_weights_are_largest_in_the_middle_and_never_0(self):
        weights = gaussian_weights((5, 4, 3))
        assert weights.shape == (5, 4, 3)
        assert weights.max() == weights[2, 1, 1] == 1
        assert weights.min() >= 1e-3
        assert torch.equal(weights, weights.flip((0, 1, 2)))

    @pytest.mark.parametrize("size", [(9, 10, 11), (3, 10, 2), (6, 5, 4), (13, 5, 4)])
    @pytest.mark.parametrize("bs", [1, 3])
    def test_give_back_the_volume_slice_by_slice(self, size, bs):
        volume = torch.rand(2, *size)
        slabs = list(sliding_windows(lambda x: x.clone(), volume, (6, 5, 4), 0.5, bs))
        assert torch.allclose(torch.cat(slabs, 1), volume, atol=1e-5)
        assert all(slab.shape[1] <= 6 for slab in slabs)

    def test_are_blended_by_their_weights(self):
        numbers = iter([1.0, 3.0])
        (slab,) = sliding_windows(
            lambda x: torch.full_like(x, next(numbers)), torch.rand(1, 4, 4, 6), (4, 4, 4), overlap=0.5
        )
        weights = gaussian_weights((4, 4, 4))
        blend = (weights[..., 2:] + 3 * weights[..., :2]) / (weights[..., 2:] + weights[..., :2])
        assert torch.allclose(slab[0, ..., :2], torch.ones(4, 4, 2))
        assert torch.allclose(slab[0, ..., 2:4], blend)
        assert torch.allclose(slab[0, ..., 4:], torch.full((4, 4, 2), 3.0))

    def test_flips_are_undone(self):
        x = torch.rand(1, 1, 2, 3, 4)
        assert torch.allclose(flipped_mean(lambda x: x.clone(), x, [2, 3, 4]), x)
        first = flipped_mean(lambda x: x.cumsum(-1), x, [4])
        assert torch.allclose(first, (x.cumsum(-1) + x.flip(-1).cumsum(-1).flip(-1)) / 2)
