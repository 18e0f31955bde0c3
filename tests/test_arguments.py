"""What is asked of numbers and of one number or three."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from faimed3d._arguments import as_tuple, is_number, is_whole, memory_bytes, per_axis, share, whole_per_axis
from faimed3d._exact import FLOAT32_EXACT, FLOAT64_EXACT, fits_float32


@pytest.mark.parametrize("value", [0, -2, 2.5, Fraction(1, 2), np.float32(2), np.int64(3)])
def test_real_numbers_are_numbers(value):
    assert is_number(value)


@pytest.mark.parametrize(
    "value", [True, np.bool_(True), "2", None, 2j, float("nan"), float("inf"), [2], np.ones(1), torch.ones(())]
)
def test_all_else_is_none(value):
    assert not is_number(value)
    assert not is_whole(value)


def test_a_whole_number_may_be_a_float():
    assert is_whole(3)
    assert is_whole(3.0)
    assert not is_whole(3.5)


class TestPerAxis:
    def test_one_number_holds_for_all_axes(self):
        assert per_axis(2, "size") == (2.0, 2.0, 2.0)
        assert per_axis(np.float32(0.5), "degrees") == (0.5, 0.5, 0.5)

    @pytest.mark.parametrize("value", [(1, 2, 3), [1, 2, 3], np.array([1, 2, 3]), torch.tensor([1, 2, 3]), range(1, 4)])
    def test_sequences_and_arrays_give_one_number_each(self, value):
        assert per_axis(value, "size") == (1, 2, 3)
        assert whole_per_axis(torch.Size([1, 2, 3]), "size") == (1, 2, 3)

    def test_numbers_are_floats_or_ints(self):
        assert [type(number) for number in per_axis((1, np.int64(2), 3.0), "size")] == [float] * 3
        assert [type(number) for number in whole_per_axis((1, np.int64(2), 3.0), "size")] == [int] * 3

    @pytest.mark.parametrize(
        ("value", "options", "text"),
        [
            ((1, 2), {}, r"^size must be one number or three \(D, H, W\), got \(1, 2\)$"),
            ("abc", {}, r"one number or three \(D, H, W\), got 'abc'$"),
            (None, {}, r"got None$"),
            (True, {}, r"got True$"),
            ((1, 2, float("nan")), {}, r"got \(1, 2, nan\)$"),
            (-1, {"least": 0}, r"three \(D, H, W\), at least 0, got -1$"),
            (0, {"above": 0}, r"one number or three \(D, H, W\), above 0, got 0$"),
            ((1, 2), {"axes": "(x, y, z)"}, r"one number or three \(x, y, z\), got \(1, 2\)$"),
        ],
    )
    def test_all_else_is_refused(self, value, options, text):
        with pytest.raises(ValueError, match=text):
            per_axis(value, "size", **options)

    @pytest.mark.parametrize(
        ("value", "options", "text"),
        [
            (1.5, {}, r"^size must be one whole number or three \(D, H, W\), got 1.5$"),
            ((1, 2), {}, r"got \(1, 2\)$"),
            (float("inf"), {}, r"got inf$"),
            ((1, 1, 0), {"least": 1}, r"one whole number or three \(D, H, W\), at least 1, got \(1, 1, 0\)$"),
        ],
    )
    def test_whole_numbers_have_no_fraction(self, value, options, text):
        with pytest.raises(ValueError, match=text):
            whole_per_axis(value, "size", **options)


class TestExact:
    def test_the_limit_is_that_of_the_type(self):
        assert np.float32(FLOAT32_EXACT) != np.float32(FLOAT32_EXACT - 1)
        assert np.float32(FLOAT32_EXACT) == np.float32(FLOAT32_EXACT + 1)
        assert np.float64(FLOAT64_EXACT) != np.float64(FLOAT64_EXACT - 1)
        assert np.float64(FLOAT64_EXACT) == np.float64(FLOAT64_EXACT + 1)

    def test_both_ends_count(self):
        assert fits_float32(-FLOAT32_EXACT, FLOAT32_EXACT)
        assert not fits_float32(0, FLOAT32_EXACT + 1)
        assert not fits_float32(-FLOAT32_EXACT - 1, 0)
        assert fits_float32(*torch.tensor([3, 9]).aminmax())


def test_one_or_several_numbers_become_a_tuple():
    assert as_tuple(5) == (5,)
    assert as_tuple((5, 6)) == as_tuple([5, 6]) == as_tuple(range(5, 7)) == as_tuple(np.array([5, 6])) == (5, 6)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 0), (2**31, 2**31), (1e9, 1e9), ("2GB", 2e9), ("512MB", 512e6), (" 1.5 gb ", 1.5e9), ("2GiB", 2**31),
     ("3 kB", 3000), (".5TiB", 2**39), ("1.kib", 1024)],
)  # fmt: skip
def test_memory_is_a_number_of_bytes_or_has_a_unit(value, expected):
    assert memory_bytes(value) == expected


@pytest.mark.parametrize("value", [-1, True, None, "", "2", "GB", "2 XB", "-2GB", "2GB/s", float("nan"), "1e3MB", [2]])
def test_other_amounts_of_memory_are_refused(value):
    with pytest.raises(ValueError, match=r"memory must be a number of bytes, or a text such as '2GB', '512MB' or"):
        memory_bytes(value)


@given(st.floats(0, 1e6, allow_nan=False), st.sampled_from("kMGT"), st.booleans(), st.booleans())
def test_memory_in_any_unit(number, prefix, binary, small):
    text = f"{number:.3f}{prefix}{'i' * binary}B"
    expected = float(f"{number:.3f}") * (1024 if binary else 1000) ** (1 + "kMGT".index(prefix))
    assert memory_bytes(text.lower() if small else text) == expected


@pytest.mark.parametrize("value", [1, 2, -0.1, True, "0.5", None, float("nan")])
def test_what_is_no_share_is_refused(value):
    with pytest.raises(ValueError, match="threshold must be a number from 0 to below 1, got "):
        share(value, "threshold")
