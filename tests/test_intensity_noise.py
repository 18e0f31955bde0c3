"""Noise and ghosts: how strong they are, and where."""

import numpy as np
import pytest
import torch
from intensity_samples import column, normal

from faimed3d import intensity


class TestNoise:
    def test_noise_has_the_strength_asked_for(self):
        torch.manual_seed(0)
        x = normal((2, 1, 30, 30, 30)) * 50 - 500
        noise = intensity.add_noise(x, column(0.1, 0.5)) - x
        spread = noise.flatten(1).std(1) / x.flatten(1).std(1)
        torch.testing.assert_close(spread, torch.tensor([0.1, 0.5]), rtol=0.03, atol=0)
        assert noise.mean().abs() < 0.3

    def test_rician_noise_lifts_the_dark(self):
        torch.manual_seed(0)
        x = torch.zeros(1, 1, 30, 30, 30)
        x[..., 15:] = 100
        noisy = intensity.add_rician_noise(x, column(0.2))
        sd = 0.2 * 50
        assert noisy.min() >= 0
        assert noisy[..., :15].mean().item() == pytest.approx(sd * np.sqrt(np.pi / 2), rel=0.03)  # Rayleigh
        assert noisy[..., 15:].mean().item() == pytest.approx(100 + sd**2 / 200, rel=0.005)


class TestGhosting:
    def test_ghosts_are_shifted_copies(self):
        x = torch.zeros(1, 1, 1, 1, 64)
        x[..., 30:34] = 1
        found = intensity.add_ghosting(x, torch.tensor([-1]), torch.tensor([4]), column(0.5)).flatten()
        assert found[14:18].abs().mean() > 3 * found[5:10].abs().mean()
        torch.testing.assert_close(intensity.add_ghosting(x, torch.tensor([-1]), torch.tensor([4]), column(0)), x)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_ghosts_in_half_precision(self, dtype):
        x = torch.rand(2, 1, 4, 5, 6)
        settings = (torch.tensor([-2, -1]), torch.tensor([2, 3]), torch.tensor([0.5, 1.0]))
        half = intensity.add_ghosting(x.to(dtype), *settings)
        assert half.dtype == dtype
        assert torch.allclose(half.float(), intensity.add_ghosting(x.to(dtype).float(), *settings), atol=0.01)

    def test_ghosts_lie_along_one_axis(self):
        x = torch.zeros(1, 1, 16, 16, 16)
        x[0, 0, 8, 8, 8] = 1
        found = intensity.add_ghosting(x, torch.tensor([-2]), torch.tensor([2]), column(0.9))[0, 0]
        assert found[8, :, 8].abs().sum() > 1
        found[8, :, 8] = 0
        assert found.abs().max() < 1e-6

    def test_ghosts_are_of_a_magnitude_image(self):
        x = normal() * 100 - 500
        found = intensity.add_ghosting(x, torch.tensor([-2, -1]), torch.tensor([3, 2]), column(0.9, 0.9))
        assert (found.amin((1, 2, 3, 4)) >= x.amin((1, 2, 3, 4)) - 1e-3).all()
