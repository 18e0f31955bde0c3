"""Words of text headers."""

import pytest

from faimed3d.io.text_header import close_match, quote_known, readable


@pytest.mark.parametrize("text", ["", "4 3 2", "(1,0,0) (0,1.5e3,-2)", "none (nan,0,0)", '"mm" "MM"'])
def test_numbers_and_known_words_are_shown(text):
    assert quote_known(text, ("none", "mm")) == repr(text)


@pytest.mark.parametrize("text", ["Doe^Jane", "3 Doe", "mm", "1 " * 50, "4 3 2sizes: 1", "٣"])
def test_all_else_is_not_shown(text):
    assert quote_known(text) == "a damaged value"


def test_close_match():
    assert close_match("sixes", ("sizes", "space")) == "sizes"
    assert close_match("Doe^Jane", ("sizes", "space")) is None


def test_readable():
    assert readable("Gr\udcf6\udcdfe Größe") == "Gr\ufffd\ufffde Größe"
