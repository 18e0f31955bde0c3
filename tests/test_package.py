"""``import faimed3d``: cheap, and every public name is at hand."""

from importlib import import_module
from importlib.metadata import version

import fastai.vision.all as fastai_names
import pytest

import faimed3d
import faimed3d.all as notebook


def test_each_name_is_that_of_the_star_import():
    names = faimed3d.__all__
    assert [name for name in names if getattr(faimed3d, name) is not getattr(notebook, name)] == []


def test_an_old_module_does_not_take_the_place_of_a_name():
    old = import_module("faimed3d.preprocess")
    assert old.MeanScale is notebook.MeanScale
    assert faimed3d.preprocess is notebook.preprocess


def test_no_name_of_ours_is_missing():
    ours = {
        name
        for name, value in vars(notebook).items()
        if getattr(value, "__module__", "").startswith("faimed3d") and not hasattr(fastai_names, name)
    }
    assert ours <= {*faimed3d.__all__}


def test_each_name_is_public_in_its_room():
    for room, names in faimed3d._ROOMS.items():
        assert {*names.split()} <= {*import_module(f"faimed3d.{room}").__all__}, room


def test_dir_lists_names_before_they_are_used():
    assert {"TensorDicom3D", "dicom_inventory", "__version__"} <= {*dir(faimed3d)}


def test_the_version_is_that_of_the_installed_package():
    assert faimed3d.__version__ == version("faimed3d")


def test_an_unknown_name_is_an_error():
    with pytest.raises(AttributeError, match="module 'faimed3d' has no attribute 'TensorDicom4D'"):
        _ = faimed3d.TensorDicom4D
