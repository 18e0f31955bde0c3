"""The functions of faimed3d 0.0.6 that learn a standard scale."""

import numpy as np
import pytest
import torch

from faimed3d.basics import TensorDicom3D
from faimed3d.legacy.standard_scale import find_standard_scale, standard_scale_from_filelist


def ramp(low, high, size=1001):
    return torch.linspace(low, high, size).reshape(7, 11, 13)


class TestStandardScale:
    def test_a_ramp_gets_the_scale_it_is_to_get(self):
        scale = find_standard_scale([ramp(0, 1000)])  # 0.0.6 made 2999 to 5424 of it
        assert scale.percentiles == (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99)
        expected = np.interp(scale.percentiles, (1, 99), (1, 100))
        np.testing.assert_allclose(scale.values, expected, atol=1e-3)

    def test_arguments(self):
        scale = find_standard_scale([ramp(0, 1)], 5, 95, 0, 1, 25, 75, 25)
        assert scale.percentiles == (5, 25, 50, 75, 95)
        np.testing.assert_allclose(scale.values, np.interp((5, 25, 50, 75, 95), (5, 95), (0, 1)), atol=1e-3)

    def test_one_image_and_a_batch_are_no_lists_of_slices(self):
        volume = ramp(0, 1000)
        volume[0] = 0  # a constant slice was an IndexError
        alone = find_standard_scale(volume)
        assert alone == find_standard_scale([volume])
        assert alone == find_standard_scale(volume[None])
        batch = find_standard_scale(torch.stack([volume, volume * 3])[:, None])
        np.testing.assert_allclose(batch.values, alone.values)

    def test_from_files_in_any_order(self, tmp_path):
        files = []
        for k, power in enumerate((1, 2, 3)):
            files.append(tmp_path / f"{k}.nii.gz")
            TensorDicom3D(ramp(0, 1) ** power, {"spacing": (1, 2, 3)}).save(files[-1])
        scale = standard_scale_from_filelist(files)
        np.testing.assert_allclose(scale.values, standard_scale_from_filelist(files[::-1]).values)
        assert scale.values[5] < 50  # two of three bend down

    def test_makes_the_histograms_of_two_scanners_alike(self):
        one, other = ramp(0, 1) ** 2, 400 * ramp(0, 1) ** 2 - 90
        scale = find_standard_scale([one, other])
        torch.testing.assert_close(scale.apply(one), scale.apply(other), atol=1e-2, rtol=0)


def test_the_pair_of_earlier_says_what_to_write():
    with pytest.raises(TypeError, match=r"one value, not a pair: write scale = .*scale\.values and scale\.percentiles"):
        _scale, _percentiles = find_standard_scale([torch.arange(1001.0)])
