"""Metrics and evaluation of regions that may overlap."""

import fastai.callback.progress  # noqa: F401 - gives Learner no_bar
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.data import SegmentationDataLoaders3D
from faimed3d.evaluation import evaluate
from faimed3d.geometry import Geometry
from faimed3d.losses import RegionLoss3D
from faimed3d.models import UNet3D
from faimed3d.training import (
    Dice3D,
    HausdorffDistance95,
    SurfaceDice,
    dice_per_class,
    hausdorff_distance,
    unet_learner_3d,
)
from faimed3d.volume import TensorMask3D as Mask

SHAPE = (3, 4, 6)
PLACE = Geometry(SHAPE, (1, 2, 3), (5, 6, 7))
BRATS = {"whole": (1, 2, 3), "core": (1, 3), "enhancing": 3}
ML = 6 / 1000


class Nested(nn.Module):
    """Says of each voxel the regions that the image shows."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        inside = [sum((x.round() == k).float() for k in labels) for labels in ((1, 2, 3), (1, 3), (3,))]
        return torch.cat([(part - 0.5) * 20 for part in inside], 1) + self.bias


def labels_of(number):
    """What the image says, and what is true: the core is a column wider; in case 1 nothing enhances, but it is said."""
    true = np.zeros(SHAPE, np.uint8)
    true[:, 1:, 1:] = 2
    true[1, 1:3, 2:5] = 1
    true[1, 2, 3] = 3 if number != 1 else 1
    said = true.copy()
    said[1, 1:3, 4] = 2
    said[1, 2, 3] = 3
    return said, true


@pytest.fixture
def study(tmp_path):
    rows = []
    for number in range(4):
        said, true = labels_of(number)
        TensorDicom3D(said.astype(np.float32), PLACE).save(tmp_path / f"image{number}.nii.gz")
        TensorMask3D(true, PLACE).save(tmp_path / f"mask{number}.nii.gz")
        rows.append((f"image{number}.nii.gz", f"mask{number}.nii.gz", number in (1, 2)))
    return tmp_path, pd.DataFrame(rows, columns=["image", "mask", "valid"])


def learner(study, metrics=None, **kwargs):
    root, table = study
    dls = SegmentationDataLoaders3D.from_df(
        table, root, fn_col="image", label_col="mask", valid_col="valid", regions=BRATS, bs=2, num_workers=0,
        device="cpu",
    )  # fmt: skip
    more = {} if metrics is None else {"metrics": metrics(dls)}
    learn = unet_learner_3d(dls, UNet3D, normalize=False, model_args={"widths": (2, 4)}, **more, **kwargs)
    learn.model = Nested()
    return learn


def expected(number):
    """Dice of whole, core and enhancing by counting."""
    said, true = labels_of(number)
    pairs = [(np.isin(said, labels), np.isin(true, labels)) for labels in BRATS.values()]
    return [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs]


class TestDiceOfRegions:
    def test_is_the_default_metric_of_loaders_of_regions(self, study):
        learn = learner(study)
        assert [type(metric.metric if hasattr(metric, "metric") else metric) for metric in learn.metrics] == [Dice3D]

    @pytest.mark.parametrize("bs", [1, 2])
    def test_is_the_mean_over_regions_and_cases(self, study, bs):
        learn = learner(study)
        learn.dls.valid.bs = bs
        with learn.no_bar(), learn.no_logging():
            assert learn.validate()[1] == pytest.approx(np.mean([expected(1), expected(2)]))

    def test_each_region_has_a_column(self, study):
        learn = learner(study, dice_per_class)
        with learn.no_bar(), learn.no_logging():
            values = list(learn.validate())[2:]
        assert [metric.name for metric in learn.metrics] == ["dice", "dice_whole", "dice_core", "dice_enhancing"]
        assert values == pytest.approx(list(np.mean([expected(1), expected(2)], axis=0)))

    def test_some_regions_alone(self, study):
        learn = learner(study, lambda _: [Dice3D(classes=[2])])
        with learn.no_bar(), learn.no_logging():
            assert learn.validate()[1] == pytest.approx(np.mean([expected(1)[1], expected(2)[1]]))

    def test_the_threshold_is_that_of_the_loss(self, study):
        learn = learner(study, loss_func=RegionLoss3D(threshold=0.999999))
        with learn.no_bar(), learn.no_logging():
            assert learn.validate()[1] == 0

    def test_distances_know_the_spacing(self, study):
        learn = learner(study, lambda _: [HausdorffDistance95(classes=[2]), SurfaceDice(tolerance=0.5, classes=[1])])
        said, true = labels_of(2)
        core = [np.isin(labels, BRATS["core"]) for labels in (said, true)]
        with learn.no_bar(), learn.no_logging():
            _, distance, surface = learn.validate()
        one = [np.isin(labels, BRATS["core"]) for labels in labels_of(1)]
        wanted = [hausdorff_distance(*pair, PLACE.spacing, percentile=95) for pair in (core, one)]
        assert distance == pytest.approx(np.mean(wanted))
        assert surface == 1

    def test_training_shows_it(self, study):
        learn = learner(study)
        with learn.no_bar(), learn.no_logging():
            learn.fit(1, 0.0)
        assert len(learn.recorder.values[-1]) == 3


class TestEvaluate:
    def test_scores_each_region_of_each_case(self, study):
        learn = learner(study)
        with learn.no_bar():
            table = evaluate(learn)
        assert list(table["error"]) == [""] * 6
        assert list(table["class"]) == [*BRATS] * 2
        assert list(table["label"]) == [1, 2, 3] * 2
        assert list(table["dice"]) == pytest.approx([*expected(1), *expected(2)])
        said, true = labels_of(1)
        core = [np.isin(labels, BRATS["core"]).sum() * ML for labels in (said, true)]
        assert [*table.loc[1, ["volume_ml", "target_ml"]]] == pytest.approx(core)
        assert table.loc[2, "hd95_mm"] == np.inf
        assert table.summary().loc["whole", ("dice", "mean")] == 1

    def test_on_masks_stored_another_way(self, study):
        root, _ = study
        for number in (1, 2):
            Mask.create(root / f"mask{number}.nii.gz").reorient("SRA").save(root / f"mask{number}.nii.gz")
        learn = learner(study)
        with learn.no_bar():
            scores = evaluate(learn, patch=(2, 3, 4))
        assert list(scores["dice"]) == pytest.approx([*expected(1), *expected(2)])

    def test_a_merged_prediction_cannot_be_compared_with_regions(self, study):
        learn = learner(study)
        with learn.no_bar(), pytest.raises(ValueError, match=r"merge=True.*regions"):
            evaluate(learn, merge=True)
