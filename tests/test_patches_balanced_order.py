"""Rare classes are drawn as often as others: how often each item comes in an epoch, and again after the same seed."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.data.block import CategoryBlock, RegressionBlock
from hypothesis import given
from hypothesis import strategies as st

from faimed3d.cache import preprocess
from faimed3d.patches import CachedImageDataLoaders3D
from faimed3d.patches.balanced_order import BalancedOrder


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(0, 2**31))
def test_each_class_and_each_item_of_it_comes_as_often_as_any_other(classes, seed):
    torch.manual_seed(seed)
    drawn = BalancedOrder(classes, 1.0)(range(len(classes)))
    assert len(drawn) == len(classes)
    of_class = Counter(classes[number] for number in drawn)
    counts = [of_class[one] for one in set(classes)]
    assert max(counts) - min(counts) <= 1
    of_item = Counter(drawn)
    for one in set(classes):
        turns = [of_item[number] for number, kind in enumerate(classes) if kind == one]
        assert max(turns) - min(turns) <= 1


@given(st.lists(st.integers(0, 2), min_size=1, max_size=30), st.floats(0, 1))
def test_the_others_come_once_at_most(classes, share):
    order = BalancedOrder(classes, share)
    torch.manual_seed(1)
    drawn = order(range(len(classes)))
    torch.manual_seed(1)
    assert order(range(len(classes))) == drawn
    assert len(drawn) == len(classes)
    if round(share * len(classes)) == 0:
        assert sorted(drawn) == list(range(len(classes)))


def test_items_of_other_loaders_are_refused():
    with pytest.raises(ValueError, match="the order is one of 2 items, got 3"):
        BalancedOrder([0, 1], 1.0)(range(3))


@pytest.fixture(scope="module")
def table():
    images = list(np.random.default_rng(0).random((8, 2, 3, 4), np.float32))
    return pd.DataFrame({"image": images, "label": [*"aaaaaaba"], "age": range(8)})


@pytest.fixture(scope="module")
def cache(table, tmp_path_factory):
    return preprocess(table, tmp_path_factory.mktemp("cache"), y_block=CategoryBlock, n_jobs=1, progress=False)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_epoch_has_as_many_of_a_rare_class(cache, workers):
    how = {"bs": 2, "valid": [0], "num_workers": workers, "device": "cpu"}
    dls = CachedImageDataLoaders3D.from_cache(cache, **how, oversampling=1)
    drawn = torch.cat([classes for _, classes in dls.train])
    assert len(drawn) == 6  # of 7, in whole batches
    assert 2 <= int(drawn.sum()) <= 4  # b is one of 7
    assert torch.cat([classes for _, classes in dls.valid]).tolist() == [0]
    plain = CachedImageDataLoaders3D.from_cache(cache, **how)
    assert sum(int(classes.sum()) for _, classes in plain.train) <= 1


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_what_is_no_share_is_refused(cache, share):
    with pytest.raises(ValueError, match="oversampling is a share of the cases of an epoch, 0 to 1; got"):
        CachedImageDataLoaders3D.from_cache(cache, 2, valid=[0], oversampling=share)


def test_numbers_have_no_classes(table, tmp_path):
    how = {"label_col": "age", "y_block": RegressionBlock, "n_jobs": 1, "progress": False}
    with pytest.raises(ValueError, match="oversampling is of cases of one class each"):
        CachedImageDataLoaders3D.from_cache(preprocess(table, tmp_path, **how), 2, valid=[0], oversampling=0.5)
