"""Whole cases of a cache with their classes: loaders, training, prediction of raw scans, export."""

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.data.block import CategoryBlock, RegressionBlock
from fastai.learner import load_learner
from torch import nn

from faimed3d.augment import RandomFlip3D, ZScore3D
from faimed3d.basics import Geometry, TensorDicom3D
from faimed3d.cache import preprocess
from faimed3d.evaluation import evaluate
from faimed3d.patches import CachedImageDataLoaders3D
from faimed3d.training import cnn_learner_3d

GEOMETRY = Geometry((4, 5, 6), (1, 2, 3), (7, -8, 9), (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0))
CASES = 7


def table_of(folder):
    """Two kinds of scans, one of them stored in another order; row numbers that say nothing."""
    random = np.random.default_rng(0)
    rows = []
    for k in range(CASES):
        image = TensorDicom3D(random.normal(50 * (k % 2), 5, GEOMETRY.shape).astype(np.float32), GEOMETRY)
        image = image.reorient("RAS") if k == 2 else image
        image.save(folder / f"{k}.nii.gz")
        rows.append({"image": str(folder / f"{k}.nii.gz"), "label": ["dark", "light"][k % 2], "age": 10.0 * k})
    return pd.DataFrame(rows, index=[3] * CASES)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classes")
    how = {"y_block": CategoryBlock, "item_tfms": ZScore3D(None), "n_jobs": 1, "progress": False}
    return preprocess(table_of(folder), folder / "cache", **how)


@pytest.fixture(scope="module")
def learn(cache):
    dls = CachedImageDataLoaders3D.from_cache(cache, 2, valid=[5, 2], batch_tfms=RandomFlip3D(), device="cpu")
    learn = cnn_learner_3d(dls, nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU()), lin_ftrs=[])
    with learn.no_bar(), learn.no_logging():
        learn.fit(1)
    return learn


class TestLoaders:
    def test_items_are_the_cases_with_their_classes(self, cache, learn):
        dls = learn.dls
        for part, rows in ((dls.train_ds, [0, 1, 3, 4, 6]), (dls.valid_ds, [5, 2])):
            assert len(part) == len(rows)
            for (image, label), row in zip(part, rows, strict=True):
                assert torch.equal(image, cache[row].whole()[0])
                assert image.geometry == cache[row].geometry
                assert dls.vocab[label] == cache.table["label"].iloc[row]
        assert (dls.c, list(dls.vocab), len(dls.train), len(dls.valid)) == (2, ["dark", "light"], 2, 1)

    def test_raw_scans_are_prepared_as_those_of_the_cache(self, cache, learn):
        dl = learn.dls.test_dl(cache.table.iloc[[5, 2]], with_labels=True)
        raw, cached = dl.one_batch(), learn.dls.valid.one_batch()
        torch.testing.assert_close(raw[0], cached[0])
        assert torch.equal(raw[1], cached[1])
        assert learn.dls.test_dl([cache.table["image"].iloc[0]]).one_batch()[0].shape == (1, 1, 4, 5, 6)

    def test_no_epoch_reads_a_source(self, tmp_path):
        table = table_of(tmp_path)
        cache = preprocess(table, tmp_path / "cache", y_block=CategoryBlock, n_jobs=1, progress=False)
        dls = CachedImageDataLoaders3D.from_cache(cache, 2, valid=[0], device="cpu")
        for name in table["image"]:
            (tmp_path / name).unlink()
        assert [len(list(dl)) for dl in dls.loaders[:2]] == [3, 1]

    def test_numbers_are_targets_too(self, tmp_path):
        table = table_of(tmp_path)
        how = {"label_col": "age", "y_block": RegressionBlock, "n_jobs": 1, "progress": False}
        dls = CachedImageDataLoaders3D.from_cache(preprocess(table, tmp_path / "cache", **how), 2, [6], device="cpu")
        assert dls.valid.one_batch()[1].tolist() == [60.0]
        assert dls.c == 1

    @pytest.mark.parametrize(
        ("bs", "valid", "words"),
        [
            (6, [5, 2], "training has 5 cases, fewer than one batch of bs=6: choose a smaller bs"),
            (2, range(CASES - 1), "training has 1 case, fewer than one batch of bs=2: networks with batch normaliz"),
            (0, [1], "bs must be a whole number of cases, 1 or more, got 0"),
            (1, range(CASES), "all 7 cases are in validation"),
            (1, [7], "from 0 to 6; got"),
        ],
    )
    def test_what_cannot_be_is_refused(self, cache, bs, valid, words):
        with pytest.raises(ValueError, match=words):
            CachedImageDataLoaders3D.from_cache(cache, bs, valid=valid)

    def test_a_class_of_validation_alone_is_named(self, tmp_path):
        table = table_of(tmp_path).assign(label=[*"aaaabac"[:CASES]])
        cache = preprocess(table, tmp_path / "cache", y_block=CategoryBlock, n_jobs=1, progress=False)
        with pytest.raises(ValueError, match=r"no training item has.*'c' \(1\)"):
            CachedImageDataLoaders3D.from_cache(cache, 2, valid=[6])
        assert list(CachedImageDataLoaders3D.from_cache(cache, 2, valid=[0]).vocab) == ["a", "b", "c"]

    def test_a_cache_of_masks_is_of_patches(self, tmp_path):
        image = torch.rand(4, 5, 6)
        table = pd.DataFrame({"image": [image], "mask": [(image > 0.5).byte()]})
        cache = preprocess(table, tmp_path, n_jobs=1, progress=False)
        with pytest.raises(ValueError, match=r"a cache of images with masks.*use PatchDataLoaders3D"):
            CachedImageDataLoaders3D.from_cache(cache)


class TestLearner:
    def test_without_cases_of_validation_all_are_trained_on(self, cache):
        dls = CachedImageDataLoaders3D.from_cache(cache, 2, device="cpu")
        other = cnn_learner_3d(dls, nn.Sequential(nn.Conv3d(1, 4, 3, padding=1)), lin_ftrs=[])
        with other.no_bar(), other.no_logging():
            other.fit(1)
            assert other.predict(cache.table["image"].iloc[2])[2].shape == (2,)
            assert len(evaluate(other, cache.table.iloc[:2])) == 2
            with pytest.raises(ValueError, match="the validation set is empty; give a table"):
                evaluate(other)
        assert len(dls.train_ds) == CASES

    def test_nothing_is_scaled_twice(self, learn):
        assert learn.trained_on.scaling == ("ZScore3D(foreground=None)",)
        assert (learn.trained_on.mean, learn.trained_on.orientation) == (None, GEOMETRY.orientation)

    def test_a_scan_is_predicted_as_its_case_was(self, cache, learn):
        with learn.no_bar():
            scores, _ = learn.get_preds()
            for number, row in enumerate((5, 2)):
                name, _, found = learn.predict(cache.table["image"].iloc[row])
                torch.testing.assert_close(found, scores[number], atol=1e-5, rtol=1e-4)
                assert name == learn.dls.vocab[scores[number].argmax()]

    def test_mirrored_cases_may_be_averaged(self, learn):
        with learn.no_bar():
            scores, _ = learn.tta(n=2)
        assert scores.shape == (2, 2)

    def test_an_exported_learner_predicts_and_holds_no_case(self, cache, learn, tmp_path):
        learn.export(tmp_path / "learner.pkl")
        assert str(cache.folder).encode() not in (tmp_path / "learner.pkl").read_bytes()
        with pytest.warns(UserWarning, match="load_learner.*pickle"):
            other = load_learner(tmp_path / "learner.pkl")
        with learn.no_bar(), other.no_bar():
            found = [one.predict(cache.table["image"].iloc[1])[2] for one in (learn, other)]
        torch.testing.assert_close(*found)
