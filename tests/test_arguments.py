"""One number or three: what is taken, and the words of the refusal."""

import numpy as np
import pytest

from faimed3d._arguments import is_number, is_whole, per_axis, whole_per_axis


class TestPerAxis:
    @pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.int16(2), (2, 2, 2), [2, 2.0, 2], np.full(3, 2)])
    def test_gives_three_floats(self, value):
        assert per_axis(value, "size") == (2.0, 2.0, 2.0)
        assert {type(number) for number in per_axis(value, "size")} == {float}

    def test_gives_three_whole_numbers(self):
        assert whole_per_axis((1, np.int8(2), 3), "size") == (1, 2, 3)
        assert type(whole_per_axis(np.int8(2), "size")[0]) is int

    @pytest.mark.parametrize("value", [(1, 2), "abc", None, True, (1, 2, float("nan")), ((1, 2), 3, 4), {}])
    def test_refuses_what_is_neither(self, value):
        with pytest.raises(ValueError, match=r"size must be one number or three \(D, H, W\), got"):
            per_axis(value, "size")

    @pytest.mark.parametrize("value", [2.0, (1, 2, 0.5), np.ones(3)])
    def test_refuses_fractions_where_whole_numbers_are_wanted(self, value):
        with pytest.raises(ValueError, match=r"size must be one whole number or three \(D, H, W\), at least 1, got"):
            whole_per_axis(value, "size", least=1)

    def test_refuses_what_is_too_small(self):
        with pytest.raises(ValueError, match=r"radius must be one number or three \(x, y, z\), at least 0, got -1"):
            per_axis(-1, "radius", least=0, axes="(x, y, z)")
        with pytest.raises(
            ValueError, match=r"scale must be one number or three \(D, H, W\), above 0, got \(1, 2, 0\)"
        ):
            per_axis((1, 2, 0), "scale", above=0)
        assert per_axis(0, "radius", least=0) == (0, 0, 0)


def test_numbers_are_no_bools_and_not_nan():
    assert [is_number(v) for v in (1, 1.5, np.float64(2), True, float("nan"), "1", None)] == [True] * 3 + [False] * 4
    assert [is_whole(v) for v in (1, np.uint8(3), True, 1.0)] == [True, True, False, False]
