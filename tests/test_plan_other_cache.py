"""A plan takes no cache whose cases were made by other steps than its own."""

import pandas as pd
import pytest
from test_plan_building import small, table_of

from faimed3d.cache import preprocess
from faimed3d.plan import propose
from faimed3d.plan.matching import refuse_other_steps


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(plan, cache) of one data set."""
    table = table_of()
    plan = small(propose(table, codes=["none", "ball"], device="cpu", progress=False, n_jobs=1))
    return plan, preprocess(table, tmp_path_factory.mktemp("cache"), plan, n_jobs=1, progress=False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"spacing": (1, 1, 1)}, r"Resample3D"),
        ({"spacing": None}, r"Resample3D"),
        ({"normalization": "foreground"}, r"ZScore3D"),
        ({"normalization": "set", "mean": (20,), "std": (40,)}, r"ZScore3D"),
        ({"crop": True}, r"CropForeground3D"),
        ({"orientation": "RAS"}, r"orientation: 'LPS' in the cache, 'RAS' in the plan"),
        ({"codes": ("ball", "none")}, r"codes: \('none', 'ball'\) in the cache, \('ball', 'none'\) in the plan"),
        ({"codes": ("none", "ball", "edge")}, "codes"),
        ({"ignore_index": 255}, "ignore_index: None in the cache, 255 in the plan"),
        ({"label_col": "other"}, "label_col: 'mask' in the cache, 'other' in the plan"),
        ({"fn_col": ["T2", "T1"]}, r"fn_col: 'image' in the cache, \['T2', 'T1'\] in the plan"),
        ({"channels": 2}, "channels: 1 in the cache, 2 in the plan"),
    ],
)
def test_other_steps_are_refused(made, change, words):
    plan, cache = made
    with pytest.raises(ValueError, match=words) as raised:
        plan.replace(**change).learner(cache, 0)
    assert "preprocess" in str(raised.value)


def test_a_plan_of_masks_takes_no_cache_of_classes(made, tmp_path):
    table = table_of()
    plan, cache = made
    classes = propose(table[["image", "label", "patient"]], device="cpu", progress=False, n_jobs=1)
    other = preprocess(table[["image", "label", "patient"]], tmp_path, classes, n_jobs=1, progress=False)
    with pytest.raises(ValueError, match="masks: False in the cache, True in the plan"):
        plan.dataloaders(other, 0)
    with pytest.raises(ValueError, match="masks: True in the cache, False in the plan"):
        classes.dataloaders(cache, 0)


def test_what_the_cache_does_not_know_may_change(made):
    plan, cache = made
    for change in ({"patch": (4, 8, 8)}, {"batch_size": 1}, {"lr": 0.5}, {"oversampling": 0.5}):
        plan.replace(**change).dataloaders(cache, 0, num_workers=0, device="cpu")


@pytest.mark.parametrize("cache", ["cache/", None, pd.DataFrame()])
def test_what_is_no_cache_is_refused(cache):
    with pytest.raises(TypeError, match=r"cache must be what preprocess\(df, folder, plan\) returns, got"):
        refuse_other_steps(None, cache)
