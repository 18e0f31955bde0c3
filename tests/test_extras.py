"""Extras are imported when used, and named where they are absent."""

import json
import re
from configparser import ConfigParser
from pathlib import Path

import pytest

from faimed3d._extras import import_extra

ROOT = Path(__file__).parents[1]


def test_a_package_that_is_there_is_imported():
    assert import_extra("json", "viewer", "the viewer") is json


def test_the_extra_of_one_that_is_not_is_named():
    with pytest.raises(
        ImportError,
        match=r"the viewer needs no_such_package: pip install no_such_package \(or faimed3d with its extra 'viewer'\)",
    ):
        import_extra("no_such_package", "viewer", "the viewer")


def test_every_extra_that_a_page_names_exists():
    settings = ConfigParser()
    settings.read(ROOT / "settings.ini", encoding="utf-8")
    known = {key.removesuffix("_requirements").replace("_", "-") for key in settings["DEFAULT"] if "_req" in key}
    text = "".join(page.read_text(encoding="utf-8") for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
    named = {*re.findall(r"\bextra `([\w-]+)`", text)}
    for extras in re.findall(r"'\.\[([\w,-]+)\]'", text):
        named |= {*extras.split(",")}
    assert {"viewer", "dicom-seg"} <= named <= known
