"""Trainings, validations and metrics of which nothing right could come are refused with what to do instead."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.callback.tracker import EarlyStoppingCallback, ReduceLROnPlateau, SaveModelCallback
from fastai.callback.training import GradientAccumulation
from fastai.data.core import DataLoaders
from torch import nn

from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.data import SegmentationDataLoaders3D
from faimed3d.losses import RegionLoss3D
from faimed3d.training import (
    Autocast,
    AverageSurfaceDistance,
    Dice3D,
    ExcludedCases,
    HausdorffDistance95,
    ReloadBestFit,
    SurfaceDice,
    volume_learner,
)
from faimed3d.training.case_metric import ClassColumn

SHAPE = (2, 3, 4)


def table(count=4):
    place = {"spacing": (1, 2, 3), "origin": (-7, 11, 5)}
    mask = np.arange(24, dtype=np.uint8).reshape(SHAPE) % 2
    rows = [(TensorDicom3D(mask + np.float32(n), place), TensorMask3D(mask, place)) for n in range(count)]
    return pd.DataFrame({"image": [row[0] for row in rows], "mask": [row[1] for row in rows]})


def loaders(valid=1, **kwargs):
    return SegmentationDataLoaders3D.from_df(
        table(), codes=["none", "odd"], splitter=lambda df: ([*range(4 - valid)], [*range(4 - valid, 4)]),
        **{"bs": 2, "num_workers": 0, "device": "cpu", **kwargs},
    )  # fmt: skip


def learner(dls=None, **kwargs):
    return volume_learner(dls or loaders(), nn.Conv3d(1, 2, 1), **kwargs)


def fit(learn):
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-3)
    return learn.recorder.values[-1]


class TestItems:
    def test_fewer_than_a_batch_train_nothing(self):
        with pytest.warns(UserWarning, match="fewer than one batch of bs=8"):
            learn = learner(loaders(bs=8))
        with pytest.raises(ValueError, match=r"training has 3 items, fewer than one batch of bs=8, .*drop_last=False"):
            fit(learn)
        assert len(fit(learner(loaders(bs=8, drop_last=False)))) == 3

    @pytest.mark.parametrize(
        "callback",
        [SaveModelCallback(), EarlyStoppingCallback(monitor="dice"), ReloadBestFit()],
        ids=lambda callback: type(callback).__name__,
    )
    def test_without_validation_nothing_can_be_watched(self, callback, tmp_path):
        learn = learner(loaders(valid=0), cbs=callback, path=tmp_path)
        with pytest.raises(ValueError, match=f"{type(callback).__name__} watches .*, but the validation set is empty"):
            fit(learn)
        assert not any(tmp_path.rglob("*.pth"))

    def test_without_validation_training_goes_on(self, tmp_path):
        kept = SaveModelCallback(monitor="train_loss"), SaveModelCallback(every_epoch=True, fname="each")
        fit(learner(loaders(valid=0), cbs=kept, path=tmp_path))
        assert {path.name for path in tmp_path.rglob("*.pth")} == {"model.pth", "each_0.pth"}

    def test_nothing_is_nothing_to_validate(self):
        learn = learner(loaders(valid=0))
        for action in (learn.validate, learn.get_preds):
            with learn.no_bar(), pytest.raises(ValueError, match="nothing to validate or predict: the loader has no"):
                action()

    def test_without_targets_there_is_nothing_to_compare_with(self):
        learn = learner()
        dl = learn.dls.test_dl(table(2))
        with learn.no_bar():
            assert learn.get_preds(dl=dl)[1] is None
            with pytest.raises(ValueError, match=r"no targets to compare with: make it with dls\.test_dl\(table"):
                learn.validate(dl=dl)
            assert len(learn.validate(dl=learn.dls.test_dl(table(2), with_labels=True))) == 2

    def test_gradients_of_more_items_than_there_are(self):
        learn = learner(cbs=GradientAccumulation(5))
        match = r"GradientAccumulation\(5\) takes a step after 5 items, and this training has 2 in 1 epochs"
        with pytest.raises(ValueError, match=match):
            fit(learn)
        before = learn.model.weight.clone()
        with learn.no_bar(), learn.no_logging():
            learn.fit(3, 1e-2)
        assert not torch.equal(learn.model.weight, before)

    def test_a_loader_of_validation_is_missed_before_the_first_batch(self):
        learn = learner(DataLoaders(loaders().train))
        with pytest.raises(ValueError, match=r"no loader of validation: pass DataLoaders\(train, valid\)"):
            fit(learn)
        assert learn.recorder.values == []


class TestCallbacks:
    @pytest.mark.parametrize("kind", [SaveModelCallback, EarlyStoppingCallback, ReduceLROnPlateau, ReloadBestFit])
    def test_the_largest_distance_is_not_the_best(self, kind, tmp_path):
        metrics = [HausdorffDistance95(), AverageSurfaceDistance(), SurfaceDice(1)]
        for name in ("hd95_mm", "asd_mm"):
            learn = learner(loaders(), metrics=metrics, cbs=kind(monitor=name), path=tmp_path)
            match = (
                rf"the largest {name} for the best, but less is better: pass {kind.__name__}\(monitor='{name}', comp"
            )
            with pytest.raises(ValueError, match=match):
                fit(learn)
        metrics[1].missing = 9.0
        for how in ({"monitor": "asd_mm", "comp": np.less}, {"monitor": "surface_dice_1mm"}):
            fit(learner(learn.dls, metrics=metrics, cbs=kind(**how), path=tmp_path))

    def test_weights_of_another_training_are_not_loaded(self, tmp_path):
        (tmp_path / "models").mkdir()
        torch.save("of another training", tmp_path / "models" / "model.pth")
        never = HausdorffDistance95([1], ignore_index=1)  # no case has a value
        learn = learner(metrics=never, cbs=SaveModelCallback(monitor="hd95_mm", comp=np.less), path=tmp_path)
        with pytest.warns(UserWarning, match="SaveModelCallback: hd95_mm had no value in any epoch"):
            assert np.isnan(fit(learn)[2])
        assert learn.save_model.run

    def test_validation_leaves_the_best_weights_in_their_file(self, tmp_path):
        kept = SaveModelCallback()
        learn = learner(cbs=[kept, EarlyStoppingCallback()], path=tmp_path)
        fit(learn)
        file = tmp_path / "models" / "model.pth"
        best = file.read_bytes()
        learn.model.weight.data.add_(1)
        weights = learn.model.weight.clone()
        with learn.no_bar():
            learn.validate()
        assert file.read_bytes() == best
        assert torch.equal(learn.model.weight, weights)
        assert learn.save_model is kept
        fit(learn)  # the callbacks are there again
        assert file.read_bytes() != best


class TestMetrics:
    @pytest.mark.parametrize("metrics", ["dice", ["dice"], [None], [Dice3D(), 3]])
    def test_names_are_none(self, metrics):
        match = r"a metric is a Metric of fastai or a function of predictions and targets, got .*: pass metrics="
        learn = learner()
        with pytest.raises(TypeError, match=match):
            learner(learn.dls, metrics=metrics)
        with pytest.raises(TypeError, match=match):
            learn.metrics = metrics

    def test_functions_and_classes_are_some(self):
        learn = learner(metrics=[Dice3D, lambda scores, labels: (scores.argmax(1) == labels).float().mean()])
        assert len(fit(learn)) == 4
        assert [*learner(learn.dls, metrics=None).metrics] == []

    def test_what_is_read_off_a_metric_needs_it(self):
        dice = Dice3D()
        for metric in (ExcludedCases(dice), ClassColumn(dice, 1, "dice_odd")):
            learn = learner(metrics=metric)
            with learn.no_bar(), pytest.raises(ValueError, match=r"is read off dice, which is not among the metrics"):
                learn.validate()
        learn = learner(learn.dls, metrics=[ExcludedCases(dice), dice])
        with learn.no_bar():
            assert learn.validate()[1] == 0

    def test_classes_that_the_network_does_not_know(self):
        with pytest.raises(TypeError, match=r"classes must be labels, whole numbers, got \['odd'\]"):
            Dice3D(classes=["odd"])
        for classes in ([2], [-1]):
            learn = learner(metrics=HausdorffDistance95(classes))
            with learn.no_bar(), pytest.raises(ValueError, match=rf"the class {classes[0]}, but .* labels 0 to 1"):
                learn.validate()

    def test_arguments_are_judged_at_once(self):
        with pytest.raises(ValueError, match="tolerance is a distance in mm, 0 or more; got -1"):
            SurfaceDice(-1)
        with pytest.raises(ValueError, match="surface must be 'area' or 'voxels', got 'skin'"):
            HausdorffDistance95(surface="skin")


def test_autocast_twice():
    with pytest.raises(ValueError, match="Autocast is among the callbacks twice"):
        fit(learner(cbs=[Autocast("bf16"), Autocast("bf16")]))


@pytest.mark.parametrize("count", [1, 2])
def test_one_region_is_decided_as_several_are(count):
    scores = torch.tensor([0.25, 0.35, 0.45]).logit().expand(1, count, 1, 1, 3)
    learn = SimpleNamespace(pred=scores, y=torch.tensor([0, 1, 1]).expand(scores.shape), to_detach=lambda x: x)
    learn.loss_func = RegionLoss3D(threshold=0.3)
    metric = Dice3D()
    metric.accumulate(learn)
    assert metric.cases == [1.0] * count


def test_regions_begin_at_one():
    learn = SimpleNamespace(pred=torch.zeros(1, 2, *SHAPE), y=torch.zeros(1, 2, *SHAPE), loss_func=None)
    with pytest.raises(ValueError, match="the class 0, but the network gives scores of the labels 1 to 2"):
        Dice3D([0]).accumulate(learn)
