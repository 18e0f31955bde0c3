"""What a cache makes of its sources: exactly what changed is made anew, whatever they are; and how large it is."""

import itertools
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from cache_study import STEPS, Remembers, cached, differences, make_study, scan, written
from fastai.data.block import CategoryBlock
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from hypothesis import given, settings
from hypothesis import strategies as st
from joblib import parallel_config
from torch import nn

from faimed3d._atomic import UNFINISHED_PREFIX, _swept
from faimed3d.augment import PadOrCrop3D, Resample3D, Resize3D, ZScore3D
from faimed3d.cache import CacheError, StaleCache
from faimed3d.cache.keys import key_of
from faimed3d.cache.sources import FileStatus, describe_source
from faimed3d.cache.space import expected_bytes, in_words
from faimed3d.data import ImageBlock3D
from faimed3d.dicom import dicom_inventory, write_series
from faimed3d.io import write
from faimed3d.training.check_sources import CheckSources

ARGUMENTS = [{"steps": STEPS}, {"steps": (*STEPS[:2], ZScore3D("mean"))}, {"steps": STEPS, "orientation": "RAS"}]
OPERATION = st.one_of(
    st.tuples(st.sampled_from(["touch", "edit"]), st.integers(0, 1), st.sampled_from(["image", "mask"])),
    st.tuples(st.just("argument"), st.integers(0, 2), st.none()),
    st.tuples(st.just("rows"), st.integers(0, 3), st.none()),
)


@pytest.fixture
def study(tmp_path):
    (tmp_path / "scans").mkdir()
    return make_study(tmp_path / "scans")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


@settings(max_examples=12)
@given(st.lists(OPERATION, min_size=2, max_size=5))
def test_exactly_what_is_new_is_made(operations):
    with tempfile.TemporaryDirectory() as place:
        table, folder = make_study(Path(place), 2), Path(place, "cache")
        state, chosen, rows, seen, times = [0, 0], 0, [0, 1], set(), itertools.count(1)
        for kind, which, column in [("argument", 0, None), *operations]:
            if kind in ("touch", "edit"):
                path, state[which] = table[column].iloc[which], next(times)
                if kind == "edit":
                    image, mask, _ = scan(100 + state[which])
                    write(path, image if column == "image" else mask, scan(which)[2])
                os.utime(path, ns=(0, state[which] * 10**15 + 1))
            chosen = which if kind == "argument" else chosen
            rows = [[0], [1], [0, 1], [1, 0, 1]][which] if kind == "rows" else rows
            before = written(folder)
            cache = cached(table.iloc[rows], folder, **ARGUMENTS[chosen])
            new = {(chosen, row, state[row]) for row in rows} - seen
            seen |= new
            after = written(folder)
            assert len(after) - len(before) == len(new)
            assert {name: after[name] for name in before} == before
        orientation = ARGUMENTS[chosen].get("orientation")
        assert differences(cache.table, cache, ARGUMENTS[chosen]["steps"], orientation) == []


def test_the_key_is_that_of_the_recipe_in_the_file(study, folder):
    case = cached(study, folder)[1]
    recipe = case.recipe
    assert recipe.pop("stored") == "LPS"
    assert case.key == key_of(recipe) == Path(case.path).stem
    assert recipe["mask"]["files"][0][0] == study["mask"].iloc[1]


def test_relative_paths_mean_the_same_when_the_process_moves(study, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "scans")
    table = study.map(lambda cell: os.path.basename(cell))
    cache = cached(table, folder, path="")
    monkeypatch.chdir(tmp_path)
    cache.check()
    assert cache.get_x(cache.table.iloc[0]) == tmp_path / "scans" / "image0.nii"
    assert cached(study, folder).keys == cache.keys


def test_rows_of_an_inventory_and_images_of_another_library(folder, tmp_path):
    (tmp_path / "archive").mkdir()
    for k in range(2):
        write_series(tmp_path / "archive" / f"series{k}", *scan(k)[::2])
    inventory = dicom_inventory(tmp_path / "archive").assign(label=0)
    cache = cached(inventory, folder, (), fn_col="key", path=tmp_path / "archive", y_block=CategoryBlock)
    assert sorted(case.whole()[0].sum().item() for case in cache) == sorted(float(scan(k)[0].sum()) for k in range(2))
    assert cached(inventory, folder, (), fn_col="key", y_block=CategoryBlock).keys == cache.keys
    (tmp_path / "archive" / "series0" / "IM0001.dcm").touch()
    with pytest.raises(StaleCache, match="1 of 2 cases"):
        cache.check()
    images = [nibabel.Nifti1Image(scan(k)[0], np.diag([1.0, 2, 3, 1])) for k in (0, 0, 1)]
    keys = cached(pd.DataFrame({"image": images, "label": 0}), folder, (), y_block=CategoryBlock).keys
    assert [keys[0] == key for key in keys] == [True, True, False]


@pytest.mark.parametrize("steps", [STEPS, (Remembers(),)])
def test_threads_share_no_transform(study, folder, steps):
    with parallel_config(backend="threading"):
        assert differences(study, cached(study, folder, steps, n_jobs=2), steps) == []


def test_what_a_killed_process_left_goes_after_a_week(study, folder):
    folder.mkdir()
    for name, age in (("old", 8 * 24 * 3600), ("young", 60)):
        left = folder / f"{UNFINISHED_PREFIX}{name}"
        left.mkdir()
        when = left.stat().st_mtime - age
        os.utime(left, (when, when))
    _swept.discard(str(folder))
    cache = cached(study, folder)
    assert cache.unused() == []
    assert [path.name for path in folder.iterdir() if path.is_dir()] == [f"{UNFINISHED_PREFIX}young"]


def test_a_fit_begins_with_a_look_at_the_sources(study, folder):
    batches = [(torch.zeros(1, 2), torch.zeros(1, 1))]
    dls = DataLoaders(batches, batches, device="cpu")
    learn = Learner(dls, nn.Linear(2, 1), loss_func=nn.functional.mse_loss, cbs=CheckSources())
    dls.cache = cached(study, folder)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1)
        os.utime(study["image"].iloc[2])
        with pytest.raises(StaleCache, match=r"row 'case 2': .*image2.nii\): call preprocess again"):
            learn.fit(1)
    learn.dls = SimpleNamespace()
    CheckSources.before_fit(SimpleNamespace(learn=learn))


def test_targets_that_are_volumes(study, folder):
    with pytest.raises(TypeError, match=r"y_block is the block of targets that stay in the table, .* of volumes"):
        cached(study, folder, y_block=ImageBlock3D())


def test_parts_see_that_a_source_is_gone(study, folder):
    os.unlink(study["image"].iloc[2])
    with pytest.raises(CacheError, match="1 of 3 cases could not be made"):
        cached(study, folder, part=(0, 3))
    assert len(written(folder)) == 1


class TestSpace:
    @pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.nhdr", "a.mha", "a.mhd", "series"])
    def test_is_voxels_times_bytes(self, tmp_path, name):
        image, _, geometry = scan(0, (4, 50, 60))
        write_series(tmp_path / name, image, geometry) if name == "series" else write(tmp_path / name, image, geometry)
        described = describe_source(tmp_path / name, FileStatus())
        assert expected_bytes(described, True, []) == pytest.approx(image.size * 3, rel=0.35 if name == "series" else 0)
        if name != "series":
            assert expected_bytes(described, False, [Resample3D((2, 2, 1.5))]) == image.size * 4
        assert expected_bytes([described, described], True, [PadOrCrop3D((2, 3, 4))]) == 24 * 5
        assert expected_bytes(described, True, [Resize3D((2, 3, 4)), ZScore3D()]) == 24 * 5

    def test_is_about_that_of_the_files(self, tmp_path, folder):
        (tmp_path / "scans").mkdir()
        study = make_study(tmp_path / "scans", 1, (20, 30, 40))
        steps = [Resample3D((1.5, 2, 3))]
        case = cached(study, folder, steps)[0]
        expected = expected_bytes(case.recipe["image"], True, steps)
        assert os.path.getsize(case.path) == pytest.approx(expected, rel=0.6)  # and positions of the foreground

    def test_in_words(self):
        assert [in_words(n) for n in (0, 999, 1000, 2.5e6, 3e12)] == ["0 bytes", "999 bytes", "1 kB", "2.5 MB", "3 TB"]
