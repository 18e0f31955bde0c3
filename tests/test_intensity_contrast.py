"""Brightness, contrast and gamma by hand; local contrast against SimpleITK."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from intensity_samples import column, normal
from scanners import GRID
from torch import Tensor

from faimed3d import intensity
from faimed3d.basics import TensorDicom3D
from faimed3d.geometry import Geometry
from faimed3d.intensity import equalize_locally


class TestOfAWholeImage:
    def test_brightness_and_contrast_by_hand(self):
        x = torch.tensor([0.0, 2, 4, 6]).view(1, 1, 1, 1, 4)
        sd = np.sqrt(5)
        found = intensity.adjust_brightness(x, column(0.5)).flatten().numpy()
        np.testing.assert_allclose(found, [0.5 * sd, 2 + 0.5 * sd, 4 + 0.5 * sd, 6 + 0.5 * sd], rtol=1e-6)
        assert intensity.adjust_contrast(x, column(0.5)).flatten().tolist() == [1.5, 2.5, 3.5, 4.5]
        assert intensity.adjust_contrast(x, column(2), preserve_range=False).flatten().tolist() == [-3, 1, 5, 9]
        assert intensity.adjust_contrast(x, column(2)).flatten().tolist() == [0, 1, 5, 6]

    def test_gamma_by_hand(self):
        x = torch.tensor([-1000.0, -500, 0, 1000]).view(1, 1, 1, 1, 4)
        found = intensity.adjust_gamma(x, column(2)).flatten()
        torch.testing.assert_close(found, torch.tensor([-1000.0, -875, -500, 1000]))

    @given(st.floats(0.3, 3))
    @settings(max_examples=10, deadline=None)
    def test_gamma_keeps_range_and_order(self, gamma):
        x = normal()
        found = intensity.adjust_gamma(x, column(gamma, 1 / gamma))
        torch.testing.assert_close(found.amin((1, 2, 3, 4)), x.amin((1, 2, 3, 4)))
        torch.testing.assert_close(found.amax((1, 2, 3, 4)), x.amax((1, 2, 3, 4)))
        order = x[0].flatten().argsort()
        assert (found[0].flatten()[order].diff() >= 0).all()


class TestLocalContrast:
    def test_raises_a_faint_edge_and_keeps_the_range(self):
        image = torch.zeros(GRID.shape)
        image[..., 14:] = 1.0
        image[:, :, :14] += 0.01 * (torch.arange(24) % 2)[:, None]
        found = equalize_locally(TensorDicom3D(image, GRID), radius=(1, 3, 3))
        faint = found.as_subclass(Tensor)[:, 5:-5, 5]
        assert (faint[:, 1::2] - faint[:, ::2]).abs().mean() > 0.1
        assert found.min() >= 0
        assert found.max() <= 1
        assert found.geometry == GRID

    def test_floats_between_0_and_1_are_kept(self):
        image = TensorDicom3D(torch.rand(4, 5, 6), Geometry((4, 5, 6)))
        assert torch.allclose(equalize_locally(image, 1, alpha=1, beta=1), image, atol=1e-5)
        assert len(equalize_locally(image, 1).unique()) > 100

    def test_the_radius_is_along_d_h_w(self):
        values = torch.rand(4, 5, 6)
        found = equalize_locally(TensorDicom3D(values), radius=(0, 1, 2))
        expected = sitk.AdaptiveHistogramEqualization(sitk.GetImageFromArray(values.numpy()), (2, 1, 0), 0.3, 0.3)
        np.testing.assert_array_equal(found.numpy(), sitk.GetArrayFromImage(expected))
        channels = equalize_locally(TensorDicom3D(torch.stack([values, 1 - values])), (0, 1, 2))
        assert torch.equal(channels[0], found)

    def test_refuses_what_it_cannot_use(self):
        image = TensorDicom3D(torch.rand(2, 3, 4))
        with pytest.raises(ValueError, match=r"radius must be one whole number or three .*, at least 0, got 1.5"):
            equalize_locally(image, 1.5)
        with pytest.raises(ValueError, match=r"got \(1, 2\)"):
            equalize_locally(image, (1, 2))
        with pytest.raises(ValueError, match="needs finite values: the image holds NaN"):
            equalize_locally(image * torch.nan)
