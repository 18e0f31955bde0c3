"""Old paths of modules give the modules of today, to imports and to pickles."""

import pickle
import sys
from importlib import import_module
from pathlib import Path

import pytest

import faimed3d
from faimed3d.legacy.moved_modules import MOVED, NAMES, SPREAD, install

PACKAGE = Path(faimed3d.__file__).parent


def test_an_old_path_is_the_module_of_today():
    for old, new in MOVED.items():
        today = import_module(f"faimed3d.{new}")
        name = today.__spec__.name
        assert import_module(f"faimed3d.{old}") is today, old
        assert today.__name__ == today.__spec__.name == name == f"faimed3d.{new}"


@pytest.mark.parametrize("old", SPREAD)
def test_names_that_are_in_several_modules_today_are_found(old):
    module = import_module(f"faimed3d.{old}")
    for home, names in SPREAD[old].items():
        for name in names.split():
            assert getattr(module, name) is getattr(import_module(f"faimed3d.{home}"), name)
            assert name in module.__all__


@pytest.mark.parametrize("path", NAMES)
def test_a_name_that_left_its_module_is_found_there(path):
    module = import_module(f"faimed3d.{path}")
    for home, names in NAMES[path].items():
        for name in names.split():
            assert getattr(module, name) is getattr(import_module(f"faimed3d.{home}"), name)
            assert name not in module.__all__
    with pytest.raises(AttributeError, match=f"module 'faimed3d.{path}' has no attribute 'nothing'"):
        _ = module.nothing


def test_no_module_stands_at_an_old_path():
    for old in (*MOVED, *SPREAD):
        path = PACKAGE.joinpath(*old.split("."))
        assert not path.exists()
        assert not path.with_suffix(".py").exists()


def test_an_old_pickle_loads():
    from faimed3d.augment import Resize3D
    from faimed3d.training import SurfaceDice

    data = pickle.dumps([SurfaceDice, Resize3D], protocol=2)
    for today, then in ((SurfaceDice.__module__, "faimed3d.metrics"), (Resize3D.__module__, "faimed3d.augment.sizes")):
        assert f"c{today}\n".encode() in data
        data = data.replace(f"c{today}\n".encode(), f"c{then}\n".encode())
    assert pickle.loads(data) == [SurfaceDice, Resize3D]


def test_an_unknown_module_is_not_found():
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'faimed3d\.loses'"):
        import_module("faimed3d.loses")


def test_the_finder_is_installed_once():
    before = list(sys.meta_path)
    install()
    assert sys.meta_path == before


def test_names_that_left_a_module_are_found_there():
    from faimed3d import augment
    from faimed3d.legacy import standard_scale, transforms

    assert augment.MaskErase is transforms.MaskErase
    assert augment.find_standard_scale is standard_scale.find_standard_scale
    assert "MaskErase" not in augment.__all__
    with pytest.raises(AttributeError, match=r"module 'faimed3d\.augment' has no attribute 'MaskEraser'"):
        augment.MaskEraser  # noqa: B018 - asking for it is the test
