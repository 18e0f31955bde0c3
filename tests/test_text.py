"""Words of text headers."""

import math

import pytest

from faimed3d.io.text_header import close_match, readable, real_number, shown, whole_number


@pytest.mark.parametrize(("word", "value"), [("3", 3), ("-7", -7), ("+12", 12), ("99999999999999999999", 10**20 - 1)])
def test_whole_numbers(word, value):
    assert whole_number(word) == value


@pytest.mark.parametrize("word", ["", "1.0", "1_0", "٣", "\uff13", " 3", "0x1", "³", "--1"])
def test_what_is_no_whole_number(word):
    with pytest.raises(ValueError, match="not a whole number"):
        whole_number(word)


@pytest.mark.parametrize(
    ("word", "value"), [("1", 1), ("-.5", -0.5), ("2.", 2), ("1e-3", 0.001), ("+4E2", 400), ("inf", math.inf)]
)
def test_real_numbers(word, value):
    assert real_number(word) == value


def test_nan_is_a_real_number():
    assert math.isnan(real_number("NaN"))


@pytest.mark.parametrize("word", ["", ".", "1_0.5", "1,5", "٣.5", "1e", "0x1p3", "nano"])
def test_what_is_no_real_number(word):
    with pytest.raises(ValueError, match="not a number"):
        real_number(word)


@pytest.mark.parametrize("text", ["", "4 3 2", "(1,0,0) (0,1.5e3,-2)", "none (nan,0,0)", '"mm" "MM"'])
def test_numbers_and_known_words_are_shown(text):
    assert shown(text, ("none", "mm")) == repr(text)


@pytest.mark.parametrize("text", ["Doe^Jane", "3 Doe", "mm", "1 " * 50, "4 3 2sizes: 1", "٣"])
def test_all_else_is_not_shown(text):
    assert shown(text) == "a damaged value"


def test_close_match():
    assert close_match("sixes", ("sizes", "space")) == "sizes"
    assert close_match("Doe^Jane", ("sizes", "space")) is None


def test_readable():
    assert readable("Gr\udcf6\udcdfe Größe") == "Gr\ufffd\ufffde Größe"
