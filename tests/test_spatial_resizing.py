import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from faimed3d.spatial.resizing import resize_3d_tensor, resize_linear, resize_nearest, scaled_size

SIZES = [
    ((2, 3, 4), (5, 7, 3)),
    ((5, 6, 7), (2, 3, 4)),
    ((5, 6, 7), (9, 6, 7)),
    ((5, 6, 7), (5, 6, 7)),
    ((5, 6, 7), (5, 12, 3)),
    ((4, 5, 6), (1, 1, 1)),
    ((1, 1, 1), (2, 3, 4)),
    ((1, 5, 6), (4, 1, 2)),
    ((31, 40, 40), (100, 5, 6)),
]


def interpolated(t, size):
    return F.interpolate(t.reshape(-1, 1, *t.shape[-3:]), size, mode="trilinear", align_corners=True).view(
        *t.shape[:-3], *size
    )


def numpy_linear(array, size):
    """np.interp along one axis after the other, in float64."""
    for axis, m in zip((-3, -2, -1), size, strict=True):
        n = array.shape[axis]
        positions = np.arange(m) * (n - 1) / max(m - 1, 1)
        array = np.apply_along_axis(lambda line, p=positions, n=n: np.interp(p, np.arange(n), line), axis, array)
    return array


@pytest.mark.usefixtures("anywhere")
class TestLinear:
    @pytest.mark.parametrize(("old", "new"), SIZES)
    def test_equals_torch_trilinear(self, old, new):
        t = torch.randn(old)
        expected = interpolated(t.double(), new).float()  # in float32 torch rounds positions
        torch.testing.assert_close(resize_linear(t, new), expected, rtol=0, atol=2e-5)

    @pytest.mark.parametrize(("old", "new"), SIZES)
    def test_equals_numpy_one_axis_at_a_time(self, old, new):
        t = torch.randn(old, dtype=torch.float64)
        np.testing.assert_allclose(resize_linear(t, new).numpy(), numpy_linear(t.numpy(), new), rtol=1e-12, atol=1e-12)

    def test_hand_computed(self):
        t = torch.tensor([[[0.0, 2.0], [4.0, 6.0]], [[8.0, 10.0], [12.0, 14.0]]])
        expected = torch.tensor([[[4 * d + 2 * h + w for w in range(3)] for h in range(3)] for d in range(3)]).float()
        assert torch.equal(resize_linear(t, (3, 3, 3)), expected)

    def test_a_new_side_of_1_takes_the_first_voxel(self):
        t = torch.arange(24.0).view(2, 3, 4)
        assert resize_linear(t, (1, 1, 1)).tolist() == [[[0]]]

    def test_an_old_side_of_1_is_repeated(self):
        assert resize_linear(torch.full((1, 1, 1), 7.0), (2, 3, 4)).tolist() == torch.full((2, 3, 4), 7.0).tolist()

    @pytest.mark.parametrize("leading", [(), (1,), (3,), (2, 3), (2, 1, 2), (0,), (2, 0)])
    @pytest.mark.parametrize("new", [(5, 2, 3), (1, 6, 2)])
    def test_any_leading_axes(self, leading, new):
        t = torch.randn(*leading, 2, 3, 4)
        resized = resize_linear(t, new)
        assert resized.shape == (*leading, *new)
        for index in np.ndindex(leading):
            torch.testing.assert_close(resized[index], interpolated(t[index], new), rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("new", [(5, 7, 3), (2, 2, 2)])
    def test_memory_in_another_order(self, new):
        t = torch.randn(4, 5, 3, 2).permute(1, 3, 2, 0)[:, ::1, 1:]
        torch.testing.assert_close(resize_linear(t, new), interpolated(t, new), rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int16, torch.int64])
    @pytest.mark.parametrize("new", [(5, 7, 3), (1, 2, 2)])
    def test_whole_numbers_become_float32(self, dtype, new):
        t = torch.randint(0, 2, (2, 3, 4)).to(dtype)
        resized = resize_linear(t, new)
        assert resized.dtype == torch.float32
        torch.testing.assert_close(resized, interpolated(t.float(), new), rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
    @pytest.mark.parametrize("new", [(5, 7, 3), (1, 2, 2)])
    def test_floating_types_are_kept(self, dtype, new):
        t = torch.randn(2, 3, 4).to(dtype)
        resized = resize_linear(t, new)
        assert resized.dtype == dtype
        assert (resized.double() - interpolated(t.double(), new)).abs().max() < 8 * torch.finfo(dtype).eps

    @pytest.mark.parametrize("new", [(5, 7, 3), (1, 2, 2)])
    def test_gradients_flow(self, new):
        t = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x: resize_linear(x, new), (t,))

    def test_no_gradient_where_it_is_switched_off(self):
        t = torch.randn(2, 3, 4, requires_grad=True)
        with torch.no_grad():
            assert not resize_linear(t, (5, 7, 3)).requires_grad

    @pytest.mark.parametrize("new", [(2, 3, 4), (3, 3, 4)])
    def test_never_shares_memory(self, new):
        t = torch.randn(2, 3, 4)
        before = t.clone()
        resize_linear(t, new).zero_()
        assert torch.equal(t, before)


@settings(max_examples=100, deadline=None)
@given(*[st.tuples(*[st.integers(1, 9)] * 3)] * 2, st.integers(0, 2**32 - 1))
def test_linear_stays_between_the_extremes_and_keeps_the_corners(old, new, seed):
    t = torch.randn(old, generator=torch.Generator().manual_seed(seed))
    resized = resize_linear(t, new)
    assert resized.min() >= t.min() - 1e-5
    assert resized.max() <= t.max() + 1e-5
    last = tuple(-1 if m > 1 else 0 for m in new)
    assert resized[0, 0, 0] == t[0, 0, 0]
    assert resized[last] == pytest.approx(t[last].item(), abs=1e-5)


class TestNearest:
    def test_hand_computed_halves_go_up(self):
        t = torch.tensor([[[10, 20, 30]]])
        # positions 0, 0.5, 1, 1.5, 2
        assert resize_nearest(t, (1, 1, 5)).tolist() == [[[10, 20, 20, 30, 30]]]

    @settings(max_examples=200, deadline=None)
    @given(*[st.tuples(*[st.integers(1, 12)] * 3)] * 2)
    def test_positions_by_fractions(self, old, new):
        t = torch.arange(int(np.prod(old))).view(old)
        axes = [[int(i * (n - 1) / max(m - 1, 1) + 0.5) for i in range(m)] for n, m in zip(old, new, strict=True)]
        assert np.array_equal(resize_nearest(t, new).numpy(), t.numpy()[np.ix_(*axes)])

    @pytest.mark.parametrize(
        "dtype",
        [torch.bool, torch.uint8, torch.int16, torch.uint16, torch.int64, torch.float16, torch.float32, torch.float64],
    )
    def test_type_is_kept_and_no_value_invented(self, dtype):
        t = torch.tensor([[[0, 1, 117], [5, 0, 2]]]).to(dtype)
        resized = resize_nearest(t, (4, 5, 7))
        assert resized.dtype == dtype
        assert set(resized.flatten().tolist()) <= set(t.flatten().tolist())

    def test_labels_above_float32_survive(self):
        assert resize_nearest(torch.full((1, 1, 1), 2**24 + 1), (2, 2, 2)).unique().tolist() == [2**24 + 1]

    @pytest.mark.parametrize("leading", [(), (3,), (2, 3), (0,)])
    def test_any_leading_axes(self, leading):
        t = torch.randint(0, 9, (*leading, 2, 3, 4))
        resized = resize_nearest(t, (5, 2, 3))
        assert resized.shape == (*leading, 5, 2, 3)
        for index in np.ndindex(leading):
            assert torch.equal(resized[index], resize_nearest(t[index], (5, 2, 3)))

    def test_never_shares_memory(self):
        t = torch.ones(2, 3, 4)
        resize_nearest(t, (2, 3, 4)).zero_()
        assert torch.equal(t, torch.ones(2, 3, 4))


class TestArguments:
    def test_size_of_any_kind_of_numbers(self):
        t = torch.rand(2, 3, 4)
        for size in ([3, 2, 5], torch.Size([3, 2, 5]), np.array([3, 2, 5]), torch.tensor([3, 2, 5]), (3.0, 2, 5)):
            assert resize_3d_tensor(t, size).shape == (3, 2, 5)

    @pytest.mark.parametrize("size", [(1, 2), (1, 2, 3, 4), (0, 2, 3), (-1, 2, 3), (1.5, 2, 3), None, "abc"])
    def test_wrong_size(self, size):
        with pytest.raises(
            ValueError, match=r"new_shape must be one whole number or three \(D, H, W\), at least 1, got"
        ):
            resize_3d_tensor(torch.rand(2, 3, 4), size)

    def test_one_size_for_all_axes_is_refused(self):
        with pytest.raises(ValueError, match=r"new_shape must be three sizes \(D, H, W\), got 5"):
            resize_3d_tensor(torch.rand(2, 3, 4), 5)

    @pytest.mark.parametrize("shape", [(0, 3, 4), (2, 2, 0, 4)])
    def test_an_empty_side_is_refused(self, shape):
        with pytest.raises(ValueError, match=r"expected a tensor \(..., D, H, W\) with sides of at least 1, got shape"):
            resize_3d_tensor(torch.rand(shape), (2, 2, 2))

    def test_no_volume(self):
        with pytest.raises(ValueError, match=r"expected a tensor \(..., D, H, W\), got torch.Size\(\[3, 4\]\)"):
            resize_3d_tensor(torch.rand(3, 4), (2, 2, 2))
        with pytest.raises(ValueError, match=r"expected a tensor \(..., D, H, W\), got \(2, 3, 4\)"):
            resize_3d_tensor(np.ones((2, 3, 4)), (2, 2, 2))
        with pytest.raises(TypeError, match=r"expected a tensor of real numbers, got torch.complex64"):
            resize_3d_tensor(torch.ones(2, 3, 4, dtype=torch.complex64), (2, 2, 2))

    @pytest.mark.parametrize("factor", [0, -1, (1, 2), "abc", None])
    def test_wrong_factor(self, factor):
        with pytest.raises(ValueError, match=r"scale_factor must be one number or three \(D, H, W\), above 0, got"):
            scaled_size((2, 3, 4), factor)
