"""Extras are imported when used, and named where they are absent."""

import json

import pytest

from faimed3d._extras import import_extra


def test_a_package_that_is_there_is_imported():
    assert import_extra("json", "viewer", "the viewer") is json


def test_the_extra_of_one_that_is_not_is_named():
    with pytest.raises(
        ImportError,
        match=r"the viewer needs no_such_package: pip install no_such_package \(or faimed3d with its extra 'viewer'\)",
    ):
        import_extra("no_such_package", "viewer", "the viewer")
