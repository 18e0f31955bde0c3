"""Blur and low resolution against scipy and by hand."""

import numpy as np
import pytest
import torch
from intensity_samples import column, normal
from scipy import ndimage

from faimed3d import intensity
from faimed3d.augment import RandomBlur3D
from faimed3d.geometry import Geometry
from faimed3d.volume import TensorDicom3D


class TestResolution:
    def test_blur_agrees_with_scipy(self):
        x, sd = normal((2, 1, 12, 13, 14)), column(0.5, 1, 2, 1.5, 0, 0.7).view(2, 3)
        found = intensity.blur(x, sd)
        for i in range(2):
            wanted = ndimage.gaussian_filter(x[i, 0].double().numpy(), sd[i].tolist(), mode="nearest", truncate=4)
            np.testing.assert_allclose(found[i, 0], wanted, atol=2e-3)

    def test_blur_is_as_wide_in_mm_along_every_axis(self):
        geometry = Geometry((21, 21, 21), spacing=(1, 2, 4))
        image = torch.zeros(21, 21, 21)
        image[10, 10, 10] = 1
        blurred = RandomBlur3D(1, sigma=(3, 3))(TensorDicom3D(image, geometry), split_idx=0).as_subclass(torch.Tensor)
        for axis, spacing in enumerate((4, 2, 1)):
            line = blurred.sum([k for k in range(3) if k != axis]).numpy()
            width = np.sqrt((line * ((np.arange(21) - 10) * spacing) ** 2).sum())
            assert width == pytest.approx(3, rel=0.05)

    def test_low_resolution_takes_means_and_keeps_straight_lines(self):
        x = torch.arange(8.0).view(1, 1, 1, 1, 8)
        found = intensity.lower_resolution(x, column(1, 1, 2).view(1, 3)).flatten()
        torch.testing.assert_close(found, torch.tensor([0.5, 1, 2, 3, 4, 5, 6, 6.5]))
        steps = torch.tensor([0.0, 4, 0, 4, 0, 4]).view(1, 1, 1, 1, 6)
        assert intensity.lower_resolution(steps, column(1, 1, 2).view(1, 3)).flatten().tolist() == [2] * 6
