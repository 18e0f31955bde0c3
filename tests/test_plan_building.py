"""From a plan to an ordinary learner, and to the saved mask."""

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.interpret import Interpretation
from fastai.optimizer import Adam, OptimWrapper

from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D
from faimed3d.cache import preprocess
from faimed3d.inference.source import crops_to_foreground
from faimed3d.losses import CrossEntropyLoss3D, DiceCELoss3D
from faimed3d.patches import PatchDataLoaders3D
from faimed3d.plan import Plan, propose
from faimed3d.training import VolumeLearner

COUNT = 6


def case(number, low):
    """A bright ball in the right place of each case, in its own storage order and spacing."""
    random = np.random.default_rng(number)
    geometry = Geometry((8, 17, 18), (1, 1, 2), (10 * number, -5, 7))
    mask = np.zeros(geometry.shape, np.uint8)
    mask[2:6, 4:12, 5:13] = 1
    image = low + (100.0 if low == 0 else 1100.0) * mask + random.normal(0, 5, mask.shape) * (low == 0)
    image[0, 0, 0] = low
    image, mask = TensorDicom3D(image.astype(np.float32), geometry), TensorMask3D(mask, geometry)
    return tuple(volume.reorient("RAS") for volume in (image, mask)) if number == 1 else (image, mask)


def table_of(low=0.0):
    images, masks = zip(*(case(number, low) for number in range(COUNT)), strict=True)
    cells = {"image": pd.Series(images, dtype=object), "mask": pd.Series(masks, dtype=object)}
    return pd.DataFrame(cells | {"patient": [*"aabbcc"], "label": ["low", "high"] * 3})


def small(plan):
    """The plan with a network that trains in no time."""
    return plan.replace(
        patch=(8, 8, 8), strides=((2, 2, 2),), kernels=((3, 3, 3),) * 2, widths=(2, 4),
        deep_supervision=False, epochs=1, items_per_epoch=2, batch_size=2, precision="float32",
    )  # fmt: skip


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """(plan, cache, learner of the first fold)."""
    table = table_of()
    plan = small(propose(table, codes=["none", "ball"], device="cpu", progress=False, n_jobs=1))
    cache = preprocess(table, tmp_path_factory.mktemp("cache"), plan, n_jobs=1, progress=False)
    learn = plan.learner(cache, 0, dls=plan.dataloaders(cache, 0, num_workers=0, device="cpu"))
    return plan, cache, learn


class TestSegmentation:
    def test_the_learner_is_an_ordinary_one(self, planned):
        plan, _, learn = planned
        assert isinstance(learn, VolumeLearner)
        assert isinstance(learn.dls, PatchDataLoaders3D)
        images, masks = learn.dls.one_batch()
        assert (images.shape, masks.shape) == ((2, 1, 8, 8, 8), (2, 8, 8, 8))
        assert (learn.lr, learn.wd, learn.opt_func) == (plan.lr, plan.weight_decay, Adam)
        assert [len(dl.dataset) for dl in learn.dls.loaders[1:]] == [2, 2]

    def test_no_patient_is_on_both_sides(self, planned):
        plan, cache, learn = planned
        owner = {str(cache.file(row)): cache.table["patient"].iloc[row] for row in range(len(cache))}
        sides = [{owner[str(case.path)] for case in dl.dataset.cases} for dl in (learn.dls.train, learn.dls.valid)]
        assert plan.folds == {"n": 3, "seed": 0, "group_col": "patient", "fold_col": None, "classes": None}
        assert [len(side) for side in sides] == [2, 1]
        assert not sides[0] & sides[1]

    def test_nothing_is_scaled_twice(self, planned):
        _, _, learn = planned
        assert learn.trained_on.scaling == ("ZScore3D(foreground=None)",)
        assert learn.trained_on.mean is None
        image = learn.dls.valid.one_batch()[0]
        assert (float(image.mean()), float(image.std())) == (pytest.approx(0, abs=1e-4), pytest.approx(1, abs=1e-3))

    def test_trains_and_predicts_a_raw_scan_on_its_own_grid(self, planned):
        plan, cache, learn = planned
        with learn.no_bar(), learn.no_logging():
            plan.fit(learn)
            found = learn.predict_volume(cache.table["image"][1])
            table = learn.evaluate()
        assert found.geometry == cache.table["image"][1].geometry
        assert table["error"].tolist() == [""] * 2

    def test_interpretation_finds_the_cases_of_validation_again(self, planned):
        learn = planned[2]
        with learn.no_bar():
            found = Interpretation.from_learner(learn)
            losses, order = found.top_losses()
            images, _, masks, _, again = found[order]
            found.plot_top_losses([0])
        cached = [learn.dls.valid.dataset[int(k)] for k in order]
        assert torch.equal(losses, again)
        for image, mask, (own, labels) in zip(images, masks, cached, strict=True):
            np.testing.assert_allclose(image.squeeze(), own.squeeze(), atol=1e-5)
            np.testing.assert_array_equal(mask.squeeze(), labels)

    def test_flips_of_whole_cases_are_not_left_out_silently(self, planned):
        learn = planned[2]
        with learn.no_bar(), pytest.raises(ValueError, match=r"learn.predict_volume\(source, tta=True\)"):
            learn.tta()

    def test_without_cases_of_validation_the_steps_of_raw_scans_are_known(self, tmp_path):
        table = table_of()
        plan = small(propose(table, codes=["none", "ball"], device="cpu", progress=False, n_jobs=1)).replace(crop=True)
        cache = preprocess(table, tmp_path, plan, n_jobs=1, progress=False)
        learn = plan.learner(cache, None, dls=plan.dataloaders(cache, None, num_workers=0, device="cpu"))
        assert crops_to_foreground(learn)
        with pytest.raises(ValueError, match=r"there are no cases to evaluate.*give a table"):
            learn.evaluate()
        with learn.no_bar():
            assert learn.evaluate(table.iloc[:1])["error"].tolist() == [""]

    def test_the_loss_is_that_of_the_plan(self, planned):
        plan, cache, learn = planned
        assert isinstance(learn.loss_func, DiceCELoss3D)
        other = plan.replace(loss="cross_entropy").learner(cache, 0, dls=learn.dls)
        assert isinstance(other.loss_func, CrossEntropyLoss3D)

    def test_all_cases_are_trained_on_where_no_fold_is_asked_for(self, planned):
        plan, cache, _ = planned
        dls = plan.dataloaders(cache, None, num_workers=0, device="cpu")
        assert len(dls.train.dataset.cases) == COUNT


def test_ct_is_cut_and_normalized_in_batches(tmp_path):
    table = table_of(-1000.0)
    plan = small(propose(table, codes=["none", "ball"], device="cpu", progress=False, n_jobs=1))
    assert (plan.modality, plan.clip, plan.mean) == ("CT", ((99, 101),), (100,))
    cache = preprocess(table, tmp_path, plan, n_jobs=1, progress=False)
    learn = plan.replace(optimizer="sgd").learner(
        cache, 0, dls=plan.dataloaders(cache, 0, num_workers=0, device="cpu"), metrics=[], cbs=[]
    )
    assert learn.trained_on.mean == plan.mean
    assert learn.opt_func.func is OptimWrapper
    assert learn.opt_func.keywords == {"opt": torch.optim.SGD, "momentum": 0.99, "nesterov": True}
    assert cache[0].read()[0].min() == -1000  # cut later: another plan can use the cache
    assert learn.dls.valid.one_batch()[0].abs().max() == 1  # the foreground is of one value, which is not divided by 0


def test_classes_are_trained_and_told(tmp_path):
    table = table_of()[["image", "label"]]
    plan = propose(table, device="cpu", progress=False, n_jobs=1, minutes=600)
    plan = Plan.from_json(plan.to_json()).replace(widths=(2, 4), strides=((2, 2, 2),), kernels=((3, 3, 3),) * 2,
                                                 blocks=(1, 1), epochs=1)  # fmt: skip
    cache = preprocess(table, tmp_path, plan, n_jobs=1, progress=False)
    learn = plan.learner(cache, 0, dls=plan.dataloaders(cache, 0, num_workers=0, device="cpu"))
    with learn.no_bar(), learn.no_logging():
        plan.fit(learn)
    assert plan.folds["classes"] == "label"
    assert list(learn.dls.vocab) == ["high", "low"]
    assert learn.dls.one_batch()[0].shape == (3, 1, *plan.patch)
    assert [metric.name for metric in learn.metrics] == ["accuracy", "roc_auc_score"]
