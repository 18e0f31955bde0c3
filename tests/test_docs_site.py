"""The documentation site: every public name has a page, names and links on the pages are right."""

import importlib.util
import re
from configparser import ConfigParser
from pathlib import Path

import pytest
from test_public_api import public_names

import faimed3d
import faimed3d.all as names
from faimed3d import intensity, models

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
COMING_FROM = sorted((DOCS / "coming_from").glob("*.md"))
PAGES = sorted(page for page in DOCS.rglob("*.md"))


def module(name):
    """A module of docs/_sphinx."""
    spec = importlib.util.spec_from_file_location(name, DOCS / "_sphinx" / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module")
def api_pages():
    return module("api_pages")


class TestApiPages:
    def test_every_public_name_has_a_page(self, api_pages):
        pages, homes = api_pages.pages(), api_pages.homes()
        assert [name for name, thing in public_names() if homes.get(id(thing)) not in pages] == []
        assert {*faimed3d.__all__} <= {name for things in api_pages.rooms().values() for name in things}

    def test_a_page_asks_for_the_methods_of_its_class_and_of_ours_below_it(self, api_pages):
        members = api_pages.members_of(names.TensorMask3D)
        assert {"create", "resample_like", "calc_volume", "to_monai", "geometry"} <= {*members}
        assert "rotate_90_3d" not in members  # of 0.0.6
        assert "backward" not in members  # of torch

    def test_each_room_lists_its_names_with_a_sentence(self, api_pages):
        page = api_pages.pages()["faimed3d.augment"]
        assert "   * - :doc:`Resample3D <faimed3d.augment.Resample3D>`\n     - Resample volumes to a spacing" in page

    def test_a_name_of_two_rooms_has_one_page(self, api_pages):
        pages = api_pages.pages()
        assert "faimed3d.spatial.crop_3d" in pages
        assert "faimed3d.basics.crop_3d" not in pages
        assert ":doc:`crop_3d <faimed3d.spatial.crop_3d>`" in pages["faimed3d.basics"]

    def test_what_is_gone_is_deleted_and_what_is_the_same_is_left(self, api_pages, tmp_path):
        api_pages.write(tmp_path)
        (tmp_path / "faimed3d.augment.Gone.rst").write_text("old")
        before = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir() if "Gone" not in file.name}
        api_pages.write(tmp_path)
        assert {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == before


def test_dead_links_are_found(tmp_path):
    (tmp_path / "a.html").write_text(
        '<a href="b.html#here">x</a><a href="https://example.org">x</a><p id="c"><a href="#c">'
    )
    (tmp_path / "b.html").write_text('<p id="here"> <a href="a.html#gone">x</a> <img src="no.png">')
    assert module("check_links").dead_links(tmp_path) == ["b.html: a.html#gone", "b.html: no.png"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    made = "api/index.rst"  # when the site is built
    assert not [x for x in links if "://" not in x and x != made and not (page.parent / x).exists()]


def exists(path):
    """Whether a dotted name of a table is a name of ours, or a method of our types and learners."""
    name, _, more = path.partition(".")
    owners = [names, models, intensity, names.TensorMask3D, names.VolumeLearner]
    found = [getattr(owner, name) for owner in owners if hasattr(owner, name)]
    return bool(found) and (not more or hasattr(found[0], more))


@pytest.mark.parametrize("page", [*COMING_FROM, DOCS / "functions.md"], ids=lambda page: page.stem)
def test_the_names_of_the_tables_exist(page):
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    words = [word.partition("(")[0] for line in lines for word in re.findall(r"`([^`]+)`", line.split(" | ")[1])]
    words = [word.removeprefix("learn.").removeprefix("faimed3d.intensity.").strip(".") for word in words]
    assert len(words) > 10
    assert [word for word in words if word not in ("viewer", "ignore_index") and not exists(word)] == []


def test_the_site_shows_the_version_of_the_package():
    settings = ConfigParser()
    settings.read(ROOT / "settings.ini", encoding="utf-8")
    text = (DOCS / "conf.py").read_text(encoding="utf-8")
    assert 'about["version"]' in text
    assert settings["DEFAULT"]["version"] not in text


def test_every_page_of_the_site_is_in_its_contents():
    listed = "\n".join((DOCS / name).read_text(encoding="utf-8") for name in ("index.md", "howto/index.md"))
    assert [page.name for page in PAGES if page.stem not in listed] == []
