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
from torch.autograd import forward_ad

from faimed3d import _blockwise
from faimed3d.augment.warp import sample_3d
from faimed3d.basics import Geometry, TensorDicom3D
from faimed3d.spatial import compiled
from faimed3d.spatial.interpolation import resample_voxels
from faimed3d.spatial.resizing import resize_linear, resize_nearest

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

    def test_that_it_is_there_but_does_not_work_is_said(self, monkeypatch):
        with monkeypatch.context() as patch:
            patch.delitem(sys.modules, "faimed3d.spatial.kernels")
            patch.delattr("faimed3d.spatial.kernels")
            patch.setitem(sys.modules, "numba.core.compiler_lock", None)
            compiled._kernels.cache_clear()
            with pytest.warns(UserWarning, match=r"Numba is installed but does not work.*compiler_lock"):
                assert not compiled.suits(voxels(1))
        compiled._kernels.cache_clear()


TURN = np.array([[0.8, 0.6, 0], [-0.6, 0.8, 0], [0, 0, 1]])
WAYS = {
    "parallel": np.diag([0.7, 1.2, -0.9]),
    "about W": TURN,
    "about H": TURN[[0, 2, 1]][:, [0, 2, 1]],
    "about D": TURN[::-1, ::-1],
    "turned any way": TURN @ TURN[::-1, ::-1] * 0.7,
}


def onto(x, way, nearest=False, fill=0.0):
    """The volumes (N, D, H, W) on another grid, part of which lies outside."""
    return resample_voxels(x, WAYS[way], np.array([0.3, -1.8, 4.4]), SIZE, nearest, fill)


@pytest.fixture
def without_loops(monkeypatch):
    """Do a thing as on other devices."""

    def do(work):
        with monkeypatch.context() as patch:
            patch.setattr(_blockwise, "uses_cpu", lambda t: False)
            return work()

    return do


KINDS = ["bool", *[sign + f"int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)], "float8_e5m2", "bfloat16"]
KINDS += [*[f"float{bits}" for bits in (16, 32, 64)], "complex64", "complex128"]


class TestTensors:
    @pytest.mark.parametrize("kind", KINDS)
    def test_voxels_of_any_type_can_be_taken(self, kind):
        plain = voxels(1, 4, 5, 6).gt(100).float()
        x = plain.to(getattr(torch, kind))

        def same(found, expected):
            assert found.dtype == x.dtype
            return torch.equal((found.real if found.is_complex() else found).float(), expected)

        for way in WAYS:
            if kind != "complex128" or way == "parallel":  # PyTorch does it
                assert same(onto(x, way, True, 1), onto(plain, way, True, 1)), way
        assert same(resize_nearest(x, SIZE), resize_nearest(plain, SIZE))
        if not x.is_complex():
            grid = points(reach=1.4)
            assert same(sample_3d(x[None], grid, "nearest"), sample_3d(plain[None], grid, "nearest"))

    @pytest.mark.parametrize("way", WAYS)
    def test_what_lies_outside_is_exact(self, way):
        for fill in (0.1, -1e300, 2**53 - 1.0):
            assert fill in onto(voxels(1, 4, 5, 6, dtype=torch.float64), way, fill=fill).unique().tolist()
        for label in (2**24 + 1.0, 2**60 + 1):
            assert label in onto(voxels(1, 4, 5, 6, dtype=torch.int64), way, True, label).unique().tolist()

    @pytest.mark.parametrize("way", [*WAYS, "resized"])
    def test_derivatives_go_forward_as_well(self, way):
        x, direction = voxels(1, 4, 5, 6), voxels(1, 4, 5, 6, seed=1)

        def work(x):
            return resize_linear(x, SIZE) if way == "resized" else onto(x, way)

        with forward_ad.dual_level():
            found = forward_ad.unpack_dual(work(forward_ad.make_dual(x, direction))).tangent
        torch.testing.assert_close(found, work(direction), atol=1e-3, rtol=0)

    def test_the_value_around_has_a_gradient_as_well(self):
        fill = torch.tensor([3.0], requires_grad=True)
        sample_3d(voxels(1, 1, 2, 3, 4), points(reach=2), fill=fill).sum().backward()
        assert fill.grad.item() > 0

    def test_numbers_that_lie_in_memory_as_others(self, without_loops):
        x = torch.complex(voxels(1, 4, 5, 6), voxels(1, 4, 5, 6, seed=1)).conj()
        assert x.imag.is_neg()
        plain = x.imag.clone().resolve_neg()
        for way, nearest in product(WAYS, (False, True)):
            torch.testing.assert_close(onto(x.imag, way, nearest), onto(plain, way, nearest), atol=1e-3, rtol=0)
            expected = without_loops(lambda way=way: onto(x, way, True))
            assert torch.equal(onto(x, way, True), expected)
        torch.testing.assert_close(resize_linear(x.imag, SIZE), resize_linear(plain, SIZE))
        assert torch.equal(resize_nearest(x.imag, SIZE), resize_nearest(plain, SIZE))
        found = sample_3d(x.imag[None], points())
        torch.testing.assert_close(found, sample_3d(plain[None], points()), atol=1e-3, rtol=0)

    @pytest.mark.parametrize("shape", [(0, 4, 5, 6), (1, 0, 5, 6), (1, 4, 0, 6), (1, 4, 5, 0)])
    def test_without_voxels_there_is_what_lies_around(self, shape, anywhere):
        for way, nearest in product(WAYS, (False, True)):
            assert torch.equal(onto(torch.zeros(shape), way, nearest, -7.0), torch.full((shape[0], *SIZE), -7.0))
            new = resample_voxels(voxels(2, 4, 5, 6), WAYS[way], np.zeros(3), shape[1:], nearest, 0.0)
            assert new.shape == (2, *shape[1:])
        if not shape[0]:
            assert sample_3d(torch.zeros(0, 1, 4, 5, 6), points(0), fill=0.0).shape == (0, 1, *SIZE)
        else:
            with pytest.raises(RuntimeError, match="non-empty"):
                sample_3d(torch.zeros(shape)[None], points(), fill=0.0)

    @settings(max_examples=40)
    @given(st.data())
    def test_in_any_layout(self, data):
        """Steps of 0, of more than one, axes in any order, memory that begins anywhere."""
        count, *shape = data.draw(st.tuples(*[st.integers(1, 4)] * 4))
        strides = data.draw(st.tuples(*[st.integers(0, 9)] * 4))
        memory = bytearray(voxels(9 * 16 + 40).numpy().tobytes())
        start = data.draw(st.sampled_from([0, 4, 28]))
        flat = torch.frombuffer(memory, dtype=torch.float32, offset=start, count=9 * 16 + 33)
        x = flat.as_strided((count, *shape), strides)
        plain = x.clone(memory_format=torch.contiguous_format)
        way, nearest = data.draw(st.sampled_from(sorted(WAYS))), data.draw(st.booleans())
        for work in (
            lambda x: onto(x, way, nearest),
            lambda x: resize_nearest(x, SIZE) if nearest else resize_linear(x, SIZE),
            lambda x: sample_3d(x[:, None], points(count, 1.3), "nearest" if nearest else "linear", "reflect"),
        ):
            torch.testing.assert_close(work(x), work(plain), atol=0, rtol=0, equal_nan=True)

    def test_an_axis_longer_than_float32_can_count(self):
        """Position 2**24 + 3 would become 2**24 + 4, which is beyond the end."""
        x = torch.zeros(1, 1, 1, 1, 2**24 + 4, dtype=torch.uint8)
        x[..., -1], x[..., -2] = 7, 5
        place = torch.tensor([1.0, 0, 0]).view(1, 1, 1, 1, 3)
        assert sample_3d(x, place, "nearest", "edge").item() == 7


def test_the_value_that_fills_is_any_kind_of_number():
    t = TensorDicom3D(voxels(2, 3, 4), {"spacing": (1, 1, 3)})
    grid = Geometry((2, 3, 8), (1, 1, 3))
    expected = t.resample_like(grid, value=-5)
    for value in (-5.0, np.float32(-5), np.int16(-5), torch.tensor(-5.0)):
        assert torch.equal(t.resample_like(grid, value=value), expected)
        assert torch.equal(t.pad_or_crop((4, 4, 4), value=value), t.pad_or_crop((4, 4, 4), value=-5))
    for wrong in ("air", [1], 1j):
        with pytest.raises(TypeError, match="value must be a number, got"):
            t.resample_like(grid, value=wrong)
