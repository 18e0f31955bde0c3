"""The compiled loops against PyTorch's own sampling, and where they cannot be had."""

import math
import sys
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from faimed3d.augment.warp import sample_3d
from faimed3d.spatial import compiled, kernels
from faimed3d.spatial.interpolation import resample_voxels

SIZE = (4, 5, 6)
PADDING = {"constant": "zeros", "edge": "border", "reflect": "reflection"}


def voxels(*shape, dtype=torch.float32, seed=0):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 200).to(dtype)


def points(count=1, reach=1.0, dtype=torch.float32, seed=1):
    drawn = torch.rand(count, *SIZE, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return ((drawn * 2 - 1) * reach).to(dtype)


def halfway(points, shape):
    """Where rounding decides between two voxels."""
    places = (points.double() + 1) / 2 * torch.tensor(shape[::-1])
    return ((places - places.round()).abs() < 1e-4).any(-1)


class TestPoints:
    @settings(max_examples=100, deadline=None)
    @given(
        st.tuples(*[st.integers(1, 5)] * 3),
        st.sampled_from([torch.float32, torch.float64]),
        st.sampled_from(sorted(PADDING)),
        st.sampled_from([0.5, 1.0, 3.7]),
        st.permutations(range(3)),
        st.integers(0, 9),
    )
    def test_are_sampled_as_pytorch_does(self, shape, dtype, around, reach, order, seed):
        x = voxels(2, 3, *shape, dtype=dtype, seed=seed).permute(0, 1, *(2 + axis for axis in order))
        grid = points(2, reach, dtype, seed)
        fill = torch.zeros(2, 3, dtype=dtype) if around == "constant" else around
        found = compiled.sample(x, grid, False, fill)
        expected = F.grid_sample(x, grid, "bilinear", PADDING[around], align_corners=False)
        torch.testing.assert_close(found, expected, atol=1e-3 if dtype == torch.float32 else 1e-10, rtol=0)
        clear = ~halfway(grid, x.shape[2:])[:, None].expand(found.shape)
        for labels in (x.to(torch.uint8), x.to(torch.int64), x):
            fill = labels.new_zeros(2, 3) if around == "constant" else around
            found = compiled.sample(labels, grid, True, fill)
            expected = F.grid_sample(labels.double(), grid.double(), "nearest", PADDING[around], align_corners=False)
            assert found.dtype == labels.dtype
            assert torch.equal(found[clear], expected[clear].to(labels.dtype))

    @pytest.mark.parametrize("fill", [-1000.0, torch.tensor([3.0, 7.0])])
    def test_are_blended_with_what_lies_around(self, fill, anywhere):
        x, grid = voxels(1, 2, 2, 3, 4), points(reach=2)
        whole = torch.as_tensor(fill).expand(2).view(1, 2, 1, 1, 1).expand(1, 2, 12, 13, 14).clone()
        whole[:, :, 5:-5, 5:-5, 5:-5] = x
        expected = F.grid_sample(whole, grid * torch.tensor([4 / 14, 3 / 13, 2 / 12]), align_corners=False)
        torch.testing.assert_close(sample_3d(x, grid, fill=fill), expected, atol=1e-2, rtol=0)

    @pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, 1e30])
    @pytest.mark.parametrize("around", [*PADDING])
    def test_that_lie_nowhere_read_nothing_but_the_volume(self, around, wrong):
        grid = points()
        grid[..., 1] = wrong
        for nearest, x in product((False, True), (voxels(1, 1, 2, 3, 4), voxels(1, 1, 1, 1, 1))):
            found = compiled.sample(x, grid, nearest, torch.tensor([[-7.0]]) if around == "constant" else around)
            known = torch.isnan(found) | (found == -7) | ((found >= x.min()) & (found <= x.max()))
            assert known.all()

    def test_what_is_constant_stays_so_to_the_last_bit(self):
        x = torch.full((1, 1, 2, 3, 4), 0.1)
        for fill in (0.1, "edge", "reflect"):
            assert sample_3d(x, points(reach=2), fill=fill).unique().tolist() == [x[0, 0, 0, 0, 0].item()]

    def test_large_labels_stay_exact(self):
        x = torch.full((1, 1, 2, 3, 4), 2**60 + 1)
        assert sample_3d(x, points(), "nearest", "edge").unique().tolist() == [2**60 + 1]

    def test_the_number_of_threads_changes_nothing(self, monkeypatch):
        x, grid = voxels(2, 3, 7, 8, 9), points(2, 1.2)
        expected = sample_3d(x, grid)
        monkeypatch.setattr(compiled, "_JOB", 50)
        monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
        assert torch.equal(sample_3d(x, grid), expected)

    def test_gradients_flow_through_pytorch(self):
        x = voxels(1, 1, 2, 3, 4).requires_grad_()
        assert not compiled.suits(x)
        sample_3d(x, points()).sum().backward()
        assert x.grad.abs().sum() > 0


class TestWithoutNumba:
    def test_pytorch_does_the_same(self, monkeypatch):
        x, grid, matrix = voxels(1, 1, 4, 5, 6), points(), np.eye(3) * 0.7 + 0.1

        def both():
            return sample_3d(x, grid), resample_voxels(x[0], matrix, matrix[0], SIZE, False, -7)

        expected = both()
        with monkeypatch.context() as patch:
            patch.delitem(sys.modules, "faimed3d.spatial.kernels")
            patch.delattr("faimed3d.spatial.kernels")
            patch.setitem(sys.modules, "numba", None)
            compiled._kernels.cache_clear()
            assert not compiled.suits(x)
            torch.testing.assert_close(both(), expected, atol=1e-3, rtol=0)
        compiled._kernels.cache_clear()
        assert compiled.suits(x)

    def test_loops_are_compiled_anew_where_they_can_be_kept_nowhere(self, monkeypatch):
        def njit(loop, cache=False, **how):
            if cache:
                raise RuntimeError("cannot cache function: no locator available")
            return how

        monkeypatch.setattr(kernels, "njit", njit)
        assert kernels._compiled(len)["nogil"]
