"""A table to a cache: what the ordinary loaders make, once; what changed is made anew, and nothing else."""

import errno
import os
import pickle
import shutil
import sys

import cache_study
import numpy as np
import pandas as pd
import pytest
import torch
from cache_study import STEPS, cached, differences, make_study, scan, written
from fastai.data.block import CategoryBlock, DataBlock, RegressionBlock

import faimed3d
from faimed3d.augment import Normalize3D, RandomFlip3D, Resample3D, ZScore3D
from faimed3d.cache import CacheError, StaleCache, preprocess
from faimed3d.cache.case_reading import CaseReading
from faimed3d.dicom import write_series
from faimed3d.io import write
from faimed3d.volume import TensorDicom3D

MODULE = "faimed3d.cache.preprocess"


@pytest.fixture
def study(tmp_path):
    (tmp_path / "scans").mkdir()
    return make_study(tmp_path / "scans")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def patch(monkeypatch, name, value):
    monkeypatch.setattr(sys.modules[MODULE], name, value)


class TestCases:
    def test_are_what_the_loaders_make(self, study, folder):
        cache = cached(study, folder)
        assert differences(study, cache) == []
        assert len(cache) == 3
        assert cache.table.index.tolist() == ["case 0", "case 1", "case 2"]
        assert (cache.codes, cache.labels, cache.orientation) == (("none", "lesion"), (0, 1), "LPS")
        assert cache[0].recipe["transforms"][2]["arguments"] == {"foreground": "minimum"}
        assert repr(cache) == f"Cache(3 cases in {folder})"

    def test_the_orientation_is_that_of_the_first_case(self, study, folder):
        image, _, geometry = scan(1)
        turned = TensorDicom3D(torch.tensor(image), geometry).reorient("RSA")
        write(study["image"].iloc[1], turned.numpy(), turned.geometry)
        cache = cached(study, folder)
        assert differences(study, cache) == []
        assert cached(study.iloc[::-1], folder / "other").orientation == "LPS"
        assert cached(study.iloc[1:], folder / "other").orientation == "RSA"
        assert cached(study, folder, orientation="RAS").orientation == "RAS"

    def test_arrays_channels_and_relative_paths(self, study, folder, tmp_path):
        table = pd.DataFrame({"t1": ["image0", "image1"], "t2": ["image0", "image1"], "mask": [scan(0)[1]] * 2})
        cache = cached(table, folder, (), fn_col=["t1", "t2"], path=tmp_path / "scans", suff=".nii", like="image")
        assert [case.shape for case in cache] == [(2, 4, 5, 6)] * 2
        assert cache[1].whole()[0][1].tolist() == scan(1)[0].tolist()

    def test_another_array_or_place_is_another_case(self, folder):
        image = TensorDicom3D(torch.zeros(2, 3, 4), {"spacing": (1, 2, 3)})
        others = [image, image + 1, image.double(), TensorDicom3D(torch.zeros(2, 3, 4), {"spacing": (1, 2, 3.0000001)})]
        others += [image.numpy(), torch.zeros(2, 3, 4)]
        table = pd.DataFrame({"image": others, "label": 1})
        assert len({*cached(table, folder, (), y_block=CategoryBlock).keys}) == len(others)

    def test_labels_without_codes_are_numbered(self, study, folder):
        write(study["mask"].iloc[1], scan(1)[1] * 3, scan(1)[2])
        cache = cached(study, folder, codes=None)
        assert cache.codes == ("0", "1", "2", "3")

    def test_ignored_and_negative_labels(self, study, folder):
        write(study["mask"].iloc[1], scan(1)[1].astype(np.int16) * -1, scan(1)[2])
        with pytest.raises(CacheError, match=r"row 'case 1': .*holds the label -1; labels begin at 0"):
            cached(study, folder, codes=None)
        assert cached(study, folder, ignore_index=-1).labels == (0, 1)

    def test_it_goes_to_other_processes(self, study, folder):
        cache = pickle.loads(pickle.dumps(cached(study, folder)))
        assert cache[2].labels == (0, 1)

    def test_a_plan_gives_what_is_not_given(self, study, folder):
        class Plan:
            fn_col, label_col, codes, orientation = "scan", "mask", ["none", "lesion"], "RAS"
            item_tfms = (ZScore3D(),)

        cache = preprocess(study.rename(columns={"image": "scan"}), folder, Plan(), n_jobs=1, progress=False)
        assert (cache.orientation, cache.fn_col, type(cache.item_tfms[0])) == ("RAS", "scan", ZScore3D)
        assert cached(study, folder, item_tfms=(), plan=Plan(), fn_col="image").item_tfms == []


class TestClasses:
    def test_stay_in_the_table(self, study, folder):
        cache = cached(study, folder, label_col="kind", y_block=CategoryBlock, codes=None)
        assert cache[0].whole()[1] is None
        assert cache.codes is None
        block = DataBlock(cache.raw_blocks(), get_x=cache.get_x, get_y=cache.get_y, item_tfms=cache.item_tfms)
        items = block.datasets(cache.table)
        assert [items.vocab[int(items[k][1])] for k in range(3)] == ["a", "b", "a"]

    def test_no_files_of_that_name(self, study, folder):
        with pytest.raises(CacheError, match=r"no such file or folder \(for classes or numbers in label_col"):
            cached(study, folder, label_col="kind")

    def test_an_empty_cell(self, study, folder):
        with pytest.raises(ValueError, match="row case 1: the cell of column 'age' is empty"):
            cached(study.assign(age=[1, np.nan, 2]), folder, label_col="age", y_block=RegressionBlock())


class TestRawBlocks:
    def test_read_the_scans_as_the_cases_were(self, study, folder):
        cache = cached(study, folder)
        block = DataBlock(cache.raw_blocks(), get_x=cache.get_x, get_y=cache.get_y, item_tfms=cache.item_tfms)
        dls = block.dataloaders(cache.table, bs=1, num_workers=0, device="cpu")
        image, mask = dls.train.after_item(dls.train_ds.tls[0].items is not None and block.datasets(cache.table)[2])
        assert torch.equal(image, cache[2].whole()[0])
        assert torch.equal(mask, cache[2].whole()[1])


class TestAgain:
    def test_the_same_call_has_nothing_to_do(self, study, folder, monkeypatch):
        cached(study, folder)
        before = written(folder)
        patch(monkeypatch, "write_case", None)
        monkeypatch.setattr(CaseReading, "stored", None)  # not even for the orientation
        assert differences(study, cached(study, folder)) == []
        assert written(folder) == before

    @pytest.mark.parametrize("column", ["image", "mask"])
    def test_a_changed_file_makes_its_case_anew(self, study, folder, column):
        first = cached(study, folder)
        before = written(folder)
        image, mask, _ = scan(77)
        write(study[column].iloc[1], image if column == "image" else mask, scan(1)[2])
        cache = cached(study, folder)
        after = written(folder)
        assert len(after) == 4
        assert {name: after[name] for name in before} == before
        assert [a == b for a, b in zip(first.keys, cache.keys, strict=True)] == [True, False, True]
        assert differences(study, cache) == []

    def test_a_touched_file_too(self, study, folder):
        first = cached(study, folder)
        os.utime(study["mask"].iloc[0])
        assert [a == b for a, b in zip(first.keys, cached(study, folder).keys, strict=True)] == [False, True, True]

    def test_arguments_and_versions_make_all_anew(self, study, folder, monkeypatch):
        keys = {*cached(study, folder).keys}
        other = [(Resample3D((1.5, 2, 4)), *STEPS[1:]), (*STEPS[:2], ZScore3D("mean")), STEPS[:2]]
        for steps in other:
            keys |= {*cached(study, folder, steps).keys}
        for argument in ({"bricks": 2}, {"codes": ["none", "other"]}, {"orientation": "RAS"}, {"strict": False}):
            keys |= {*cached(study, folder, **argument).keys}
        monkeypatch.setattr(faimed3d, "__version__", "99.0")
        keys |= {*cached(study, folder).keys}
        assert len(keys) == 9 * 3

    def test_another_constant_in_a_function_of_the_user(self, study, folder, monkeypatch):
        first = cached(study, folder, [cache_study.Times(3.0)])
        assert cached(study, folder, [cache_study.Times(3.0)]).keys == first.keys
        monkeypatch.setattr(cache_study.Times, "apply", lambda self, x: x * self.factor + 1)
        assert not {*cached(study, folder, [cache_study.Times(3.0)]).keys} & {*first.keys}

    def test_a_damaged_file_is_made_anew(self, study, folder):
        cache = cached(study, folder)
        cache.file(0).write_bytes(cache.file(0).read_bytes()[:-9])
        shutil.copy(cache.file(1), cache.file(2))
        cache = cached(study, folder)
        assert differences(study, cache) == []

    def test_slices_of_a_series(self, study, folder, tmp_path):
        for k in range(2):
            image, _, geometry = scan(k)
            write_series(tmp_path / f"series{k}", image, geometry)
        table = pd.DataFrame({"image": [str(tmp_path / f"series{k}") for k in range(2)], "label": 0})
        first = cached(table, folder, (), y_block=CategoryBlock)
        slices = sorted((tmp_path / "series1").iterdir())
        os.utime(slices[2])
        second = cached(table, folder, (), y_block=CategoryBlock)
        (tmp_path / "series1" / "notes.txt").write_text("new")
        third = cached(table, folder, (), y_block=CategoryBlock)
        assert len({*first.keys, *second.keys, *third.keys}) == 4
        slices[0].unlink()
        with pytest.raises(StaleCache, match=r"of 1 of 2 cases have changed.*row 1: .*series1"):
            third.check()


class TestSources:
    def test_are_checked_by_one_look(self, study, folder):
        cache = cached(study, folder)
        cache.check()
        os.utime(study["mask"].iloc[2])
        os.unlink(study["image"].iloc[0])
        with pytest.raises(StaleCache, match=r"2 of 3 cases have changed, or are gone, .* \(row 'case 0'"):
            cache.check()

    def test_the_data_file_of_a_header(self, study, folder, tmp_path):
        for k, name in enumerate(["a.nhdr", "a.mhd", "a.hdr"]):
            image, _, geometry = scan(k)
            write(tmp_path / name, image, geometry)
        table = pd.DataFrame({"image": [str(tmp_path / name) for name in ("a.nhdr", "a.mhd", "a.img")], "label": 0})
        cache = cached(table, folder, (), y_block=CategoryBlock)
        for path in tmp_path.iterdir():
            if path.suffix in (".raw", ".img", ".gz"):
                os.utime(path)
        with pytest.raises(StaleCache, match="of 3 of 3 cases"):
            cache.check()

    def test_one_that_changes_while_it_is_read(self, study, folder, monkeypatch):
        monkeypatch.setattr(CaseReading, "read", lambda self, image, mask, twice: os.utime(image) or (None, None, None))
        with pytest.raises(CacheError, match=r"image0.nii changed while it was read: call preprocess again"):
            cached(study, folder)


class TestFailures:
    def test_a_bad_case_is_named_and_the_others_are_made(self, study, folder):
        with open(study["image"].iloc[1], "r+b") as file:
            file.truncate(400)
        os.unlink(study["mask"].iloc[2])
        with pytest.raises(
            CacheError, match=r"2 of 3 .* not be made:\n  row 'case 1': .*\n.*mask2.nii: no such"
        ) as found:
            cached(study, folder)
        assert [*found.value.failed] == ["case 1", "case 2"]
        assert len(written(folder)) == 1
        with pytest.warns(UserWarning, match="2 of 3 cases could not be made(.|\n)*They are left out"):
            cache = cached(study, folder, skip_failed=True)
        assert cache.table.index.tolist() == ["case 0"]
        assert differences(cache.table, cache) == []

    def test_a_transform_may_raise_anything(self, study, folder):
        with pytest.raises(CacheError, match="KeyError: 'nothing'"):
            cached(study, folder, [cache_study.raises])

    @pytest.mark.parametrize(
        ("step", "error", "text"),
        [
            (RandomFlip3D(), TypeError, "RandomFlip3D draws at random, .* belongs into batch_tfms"),
            (cache_study.Times(2.0, p=0.5), TypeError, "Times draws at random"),
            (Normalize3D(), ValueError, r"Normalize3D\(\) takes its numbers from a training set"),
            (lambda x: x, TypeError, "<lambda> has no name that another process could find it by"),
            (cache_study.noisy, CacheError, "3 of 3 .*\n.*make another case each time, so one of them draws random"),
            (cache_study.noisy_by_itself, CacheError, "1 of 3 .*\n.*make another case each time"),
            (cache_study.two_images, CacheError, r"transforms made \(TensorDicom3D, TensorDicom3D\)"),
        ],
    )
    def test_transforms_that_cannot_be_kept(self, study, folder, step, error, text):
        with pytest.raises(error, match=text):
            cached(study, folder, [step])

    def test_numbers_may_be_drawn_that_do_not_matter(self, study, folder):
        assert differences(study, cached(study, folder, [cache_study.draws_for_nothing]), ()) == []

    def test_too_little_space_is_said_before(self, study, folder, monkeypatch):
        patch(monkeypatch, "free_bytes", lambda folder: 100)
        with pytest.raises(CacheError, match=r"3 cases need about 1.8 kB, and 100 bytes are free: make room"):
            cached(study, folder, [Resample3D((1, 2, 3))])
        assert written(folder) == {}

    def test_a_full_disk_stops_all(self, study, folder, monkeypatch):
        def full(*args, **kwargs):
            raise OSError(errno.ENOSPC, "No space left on device", "x")

        patch(monkeypatch, "write_case", full)
        with pytest.raises(OSError, match="No space left on device: what was made stays; make room"):
            cached(study, folder)

    def test_arguments(self, study, folder):
        with pytest.raises(ValueError, match="no column 'scan' in the table"):
            cached(study, folder, fn_col="scan")
        with pytest.raises(ValueError, match="the table is empty"):
            cached(study.iloc[:0], folder)
        with pytest.raises(TypeError, match="takes no argument 'item_tfm': did you mean 'item_tfms'"):
            cached(study, folder, item_tfm=1)


class TestParts:
    def test_together_they_are_all(self, study, folder):
        with pytest.raises(
            CacheError, match="2 of 3 cases are not there yet, such as row 'case 1': run the other parts"
        ):
            _ = cached(study, folder, part=(0, 3))[0]
        cache = cached(study, folder, part=(2, 3))
        assert (repr(cache), cache.missing) == (f"Cache(3 cases in {folder}, 1 not made yet)", [1])
        with pytest.raises(CacheError, match="1 of 3 cases are not there"):
            cache.check()
        cached(study, folder, part=(1, 3))
        assert differences(study, cache) == []
        before = written(folder)
        assert cached(study, folder).missing == []
        assert written(folder) == before

    @pytest.mark.parametrize("part", [(3, 3), (-1, 2), (1,), 2, (0.0, 2), (True, 2)])
    def test_wrong_ones(self, study, folder, part):
        with pytest.raises(ValueError, match=r"part must be \(k, n\), the k-th of n parts with k from 0 to n - 1"):
            cached(study, folder, part=part)


class TestUnused:
    def test_files_of_other_arguments_are_listed_and_deleted_when_asked(self, study, folder):
        other = cached(study, folder, ())
        cache = cached(study, folder)
        (folder / "notes.txt").write_text("mine")
        assert cache.unused() == sorted(other.file(i) for i in range(3))
        assert cache.prune().startswith("3 files, ")
        assert cache.unused() == []
        assert differences(study, cache) == []
        with pytest.raises(CacheError, match="3 of 3 cases are not there"):
            other.check()


def test_files_that_were_exchanged_are_refused_and_made_anew(tmp_path):
    images = [np.full((2, 3, 4), k) for k in range(3)]
    df = pd.DataFrame({"image": images, "mask": [np.ones((2, 3, 4), np.uint8)] * 3})
    how = {"n_jobs": 1, "progress": False}
    cache = preprocess(df, tmp_path, part=(np.int64(0), 1), **how)
    one, two = cache.file(0), cache.file(1)
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    with pytest.raises(CacheError, match=r"holds the case of another key, .*: were files of the cache renamed"):
        cache[0]
    again = preprocess(df, tmp_path, **how)
    assert [case.lowest for case in again] == [(0.0,), (1.0,), (2.0,)]
    with pytest.raises(TypeError, match="'slice' object cannot be interpreted as an integer"):
        cache[:2]


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ({"bricks": 0}, ValueError, "the side of bricks is a whole number of at least 1, or None, got 0"),
        ({"bricks": 2.5}, ValueError, "the side of bricks is a whole number of at least 1, or None, got 2.5"),
        ({"plan": "plan.json"}, TypeError, r"plan must be of propose, or of Plan\.from_json\(path\), got str"),
    ],
)
def test_arguments_are_judged_before_anything_is_read(tmp_path, how, error, words):
    with pytest.raises(error, match=words):
        preprocess(pd.DataFrame({"image": ["none.nii"], "mask": ["none.nii"]}), tmp_path / "cache", **how)
    assert not (tmp_path / "cache").exists()
