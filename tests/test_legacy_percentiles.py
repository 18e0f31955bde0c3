"""Percentiles as faimed3d 0.0.6 took them."""

import numpy as np
import pytest
import torch

from faimed3d.basics import TensorDicom3D
from faimed3d.legacy.percentiles import get_landmarks, get_percentile

VALUES = torch.tensor([5.0, 1.0, 9.0, 3.0, 7.0, 2.0, 8.0])


class TestPercentiles:
    @pytest.mark.parametrize("q", [0, 1, 10, 33, 50, 75, 99, 100])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.int16, torch.float16])
    def test_are_those_of_numpy_without_blending(self, q, dtype):
        values = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(q)).mul(100).to(dtype)
        expected = np.percentile(values.float().numpy(), q, method="nearest")
        assert get_percentile(values, q) == expected

    def test_take_volumes_and_permuted_tensors(self):
        volume = TensorDicom3D(torch.arange(24.0).reshape(2, 3, 4)).permute(2, 0, 1)
        assert get_landmarks(volume, torch.tensor([0, 50, 100])).tolist() == [0, 12, 23]

    def test_leave_nan_and_infinity_out(self):
        spoiled = torch.cat([VALUES, torch.tensor([torch.nan, torch.inf, -torch.inf])])
        assert get_landmarks(spoiled, (0, 50, 100)).tolist() == [1, 5, 9]

    @pytest.mark.parametrize("q", [-1, 101])
    def test_refuse_what_is_no_percentage(self, q):
        with pytest.raises(ValueError, match=f"q must be a percentage, 0 to 100, got {q}"):
            get_percentile(VALUES, q)

    def test_refuse_a_tensor_without_values(self):
        with pytest.raises(ValueError, match="no percentile: the tensor holds no finite voxel"):
            get_percentile(torch.full((2,), torch.nan), 50)
