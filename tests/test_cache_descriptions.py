"""Transforms and settings as plain JSON: the same in every process, and another for all that does something else."""

import enum
import functools
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import cache_study
import numpy as np
import pytest
import torch
from fasttransform import Transform
from hypothesis import given
from hypothesis import strategies as st
from transforms import FIXED, make

from faimed3d.augment import HistScaled3D, Resample3D, ResampleLike, ZScore3D
from faimed3d.cache.descriptions import canonical, describe, digest
from faimed3d.geometry import Geometry
from faimed3d.volume import TensorDicom3D

LOW = -3


class Kind(enum.Enum):
    ONE = 1


@dataclass(frozen=True)
class Settings:
    size: tuple
    kind: Kind = Kind.ONE


def shifted(x):
    return helper(x) + LOW


def helper(x):
    return x * 2


def of_another_module(x):
    return cache_study.doubled(x)


def same(x):
    return x


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=2) | st.integers(), inner, max_size=3)
        | st.frozensets(st.integers() | st.text(max_size=2), max_size=3)
    ),
    max_leaves=6,
)


@given(PLAIN, PLAIN)
def test_values_are_told_apart_as_python_tells_them(one, other):
    a, b = canonical(describe(one)), canonical(describe(other))
    assert json.loads(a) == json.loads(canonical(json.loads(a)))
    assert repr(one) != repr(other) or a == b
    if a == b:
        assert repr(describe(one)) == repr(describe(other))
    if isinstance(one, dict):
        assert canonical(describe(dict(reversed(one.items())))) == a


OTHERS = [
    1, 1.0, True, "1", None, b"1", 1j, float("nan"), float("inf"), "nan", [1], {1: 1}, {1}, Kind.ONE, range(1),
    slice(1),
    np.float32(1.5), np.array([1, 2]), np.array([1.0, 2]), np.array([[1, 2]]), torch.tensor([1, 2]), torch.float32,
    TensorDicom3D(np.ones((2, 3, 4))), TensorDicom3D(np.ones((2, 3, 4)), {"spacing": (1, 2, 3)}), Settings((1, 2)),
    Settings((1, 3)), Path("a/b"), same, helper, shifted, torch.abs, np.abs, np.clip, len, functools.partial(same, 1),
    functools.partial(same, 2), Kind, ZScore3D, ZScore3D(), ZScore3D("mean"), ZScore3D(0), Resample3D(1),
    Resample3D((1, 1, 2)), HistScaled3D([0, 1]), HistScaled3D(torch.tensor([0.0, 2])), Transform(same),
    Transform(helper),
    ResampleLike(Geometry((2, 3, 4))), ResampleLike(Geometry((2, 3, 4), (1, 1, 2))), cache_study.Times(), Ellipsis,
    cache_study.Times(3), cache_study.Hidden(1), cache_study.Hidden(2), cache_study.Callable(1),
    cache_study.Callable(2),
]  # fmt: skip


def test_different_things_have_different_descriptions():
    found = [canonical(describe(one)) for one in OTHERS]
    assert len({*found}) == len(OTHERS)


def test_equal_things_have_equal_ones():
    pairs = [(np.float64(1.5), 1.5), ((1, 2), [1, 2]), (ZScore3D("mean"), ZScore3D("mean")), (np.int32(3), 3)]
    pairs.append((np.arange(6).reshape(2, 3).T, np.arange(6).reshape(2, 3).T.copy()))
    for one, other in pairs:
        assert describe(one) == describe(other)


@pytest.mark.parametrize("name", FIXED)
def test_every_transform_that_does_the_same_every_time_has_one(name):
    described = describe(make(name))
    assert described["class"].startswith("faimed3d.augment.")
    assert described == describe(make(name))


def test_code_of_the_user_counts(monkeypatch):
    module = sys.modules[__name__]
    found = [digest(describe(shifted))]
    monkeypatch.setattr(module, "LOW", -4)
    found.append(digest(describe(shifted)))
    monkeypatch.setattr(module, "helper", same)
    found.append(digest(describe(shifted)))
    assert len({*found}) == 3
    found.append(digest(describe(of_another_module)))
    monkeypatch.setattr(cache_study, "FACTOR", 5)
    assert digest(describe(of_another_module)) != found[-1]
    monkeypatch.undo()
    assert digest(describe(shifted)) == found[0]


def found_in_this_process():
    """The digests, and whether a method that is added to a transform of ours counts; it stays added."""
    keys = [digest(describe(one)) for one in OTHERS]
    before = describe(ZScore3D())

    @ZScore3D
    def encodes(self, x: float):
        return x

    return keys, before != describe(ZScore3D()), "code" in before


def test_the_content_of_a_file_that_is_an_argument_counts(tmp_path):
    path = tmp_path / "table.txt"
    path.write_text("1")
    first = describe(cache_study.Hidden(path))
    path.write_text("12")
    assert describe(cache_study.Hidden(path)) != first


def local(x):
    class Local:
        pass

    return Local if x else lambda y: y


@pytest.mark.parametrize(
    ("thing", "text"),
    [
        (
            local(False),
            "<lambda> has no name that another process could find it by: write it as a function at the top of",
        ),
        (local(True), "local.<locals>.Local has no name .* write it as a class at the top of a module, and give that"),
        (local(True)(), "local.<locals>.Local has no name"),
        (Transform(local(False)), "<lambda> has no name"),
        (functools.partial(local(False)), "<lambda> has no name"),
        (cache_study.Callable(local(False)), "<lambda> has no name"),
        (cache_study.Callable(1).method, "the method Callable.method of an object has no name .* class with __call__"),
        (Transform(torch.abs), "write a function of a module around it"),
        (object(), "object .* cannot be written down as a setting: give numbers, text, arrays"),
        (np.array([object()]), "an array of objects .* has no bytes to compare"),
    ],
)
def test_what_has_no_name_is_refused(thing, text):
    with pytest.raises(TypeError, match=text):
        describe(thing)


def test_a_method_of_the_transform_itself_is_no_setting():
    """fastai 2.8.10 keeps ``before_call`` on the object."""
    transform = cache_study.Hidden(2)
    before = describe(transform)
    transform.factor = transform.__call__  # under the name of an argument
    assert describe(transform) == before
