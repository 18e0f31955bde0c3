"""Numbers written as text."""

import math

import pytest

from faimed3d._decimals import decimal_number, whole_number


@pytest.mark.parametrize(("word", "value"), [("3", 3), ("-7", -7), ("+12", 12), ("99999999999999999999", 10**20 - 1)])
def test_whole_numbers(word, value):
    assert whole_number(word) == value


@pytest.mark.parametrize("word", ["", "1.0", "1_0", "٣", "\uff13", " 3", "0x1", "³", "--1"])
def test_what_is_no_whole_number(word):
    with pytest.raises(ValueError, match="not a whole number"):
        whole_number(word)


@pytest.mark.parametrize(("word", "value"), [("1", 1), ("-.5", -0.5), (" 2. ", 2), ("1e-3", 0.001), ("+4E2", 400)])
@pytest.mark.parametrize("nonfinite", [False, True])
def test_decimal_numbers(word, value, nonfinite):
    assert decimal_number(word, nonfinite) == value


def test_nan_and_infinity_are_numbers_where_they_are_allowed():
    assert decimal_number("-inf", nonfinite=True) == -math.inf
    assert math.isnan(decimal_number("NaN", nonfinite=True))
    for word in ("nan", "inf", "Infinity"):
        with pytest.raises(ValueError, match="not a decimal number"):
            decimal_number(word)


@pytest.mark.parametrize("word", ["", ".", "1_0.5", "1,5", "٣.5", "1e", "0x1p3", "nano"])
@pytest.mark.parametrize("nonfinite", [False, True])
def test_what_is_no_decimal_number(word, nonfinite):
    with pytest.raises(ValueError, match="not a decimal number"):
        decimal_number(word, nonfinite)
