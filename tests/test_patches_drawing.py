"""Which case, and where in it."""

from collections import Counter

import numpy as np
import pytest
import torch
from cached_cases import stand_in
from hypothesis import given, settings
from hypothesis import strategies as st

from faimed3d.patches.drawing import case_of, draw_corner, drawn_by, numbers_of_epoch

SIDES = st.tuples(*[st.integers(1, 9)] * 3)


class TestCases:
    @given(st.integers(1, 12), st.integers(1, 40))
    @settings(max_examples=30)
    def test_each_comes_once_before_one_comes_again(self, count, length):
        seen = [case_of(number, count) for number in numbers_of_epoch(length)]
        for start in range(0, length, count):
            turn = seen[start : start + count]
            assert len(set(turn)) == len(turn)
        assert set(seen) <= set(range(count))

    def test_the_order_is_another_in_each_round_and_epoch_and_torch_repeats_it(self):
        torch.manual_seed(0)
        first = [case_of(number, 8) for number in numbers_of_epoch(16)]
        second = [case_of(number, 8) for number in numbers_of_epoch(8)]
        assert len({tuple(first[:8]), tuple(first[8:]), tuple(second)}) == 3
        torch.manual_seed(0)
        assert first == [case_of(number, 8) for number in numbers_of_epoch(16)]

    def test_numbers_fit_into_what_processes_send_each_other(self):
        assert max(numbers_of_epoch(5)) < 2**62
        assert len(set(numbers_of_epoch(1000)) | set(numbers_of_epoch(1000))) == 2000


class TestCorners:
    @given(SIDES, SIDES, st.integers(0, 10**6))
    @settings(max_examples=60)
    def test_a_class_lies_in_the_middle_as_near_as_the_edges_allow(self, shape, size, seed):
        torch.manual_seed(seed)
        voxel = [int(torch.randint(n, ())) for n in shape]
        corner = draw_corner(stand_in(shape, {3: voxel}), size, 1.0, None)
        for v, c, n, m in zip(voxel, corner, shape, size, strict=True):
            assert c <= v < c + m
            if m >= n:
                assert c == -((m - n) // 2)
            else:
                assert 0 <= c <= n - m
                assert c == v - m // 2 or c in (0, n - m)

    def test_anywhere_is_evenly_anywhere(self):
        torch.manual_seed(0)
        case = stand_in((4, 3, 2), {1: [0, 0, 0]})
        found = Counter(draw_corner(case, (2, 2, 2), 0.0, None) for _ in range(1200))
        assert set(found) == {(d, h, 0) for d in range(3) for h in range(2)}
        assert max(found.values()) < 1.4 * min(found.values())

    def test_each_class_is_as_likely_as_any_other_and_one_that_is_none_is_not_drawn(self):
        torch.manual_seed(0)
        many = np.array([(0, h, w) for h in range(20) for w in range(20)])
        case = stand_in((9, 20, 20), {1: many, 2: [8, 0, 0], 255: [4, 0, 0]})
        found = Counter(draw_corner(case, (1, 1, 1), 0.5, 255)[0] for _ in range(1800))
        # a half is around classes, a quarter each; of the others a ninth lies in each slice
        expected = {0: 450 + 100, 8: 450 + 100, 4: 100}
        for slice_, count in expected.items():
            assert found[slice_] == pytest.approx(count, rel=0.2)

    def test_a_case_without_classes_is_anywhere(self):
        assert draw_corner(stand_in((2, 2, 2), {}), (2, 2, 2), 1.0, None) == (0, 0, 0)


def test_what_is_drawn_by_a_number_is_the_same_and_disturbs_nothing():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with drawn_by(2**40 + 7):
        one = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    with drawn_by(2**40 + 7):
        assert torch.equal(torch.rand(3), one)
    with drawn_by(2**41 + 7):  # torch alone would see no difference, in the last 32 bits
        assert not torch.equal(torch.rand(3), one)
