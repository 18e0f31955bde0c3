"""Metrics of regions that may overlap: each region is measured on its own, as a class of its number from 1 on."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_training_volume_learner import quiet

from faimed3d.data import SegmentationDataLoaders3D
from faimed3d.losses import RegionLoss3D
from faimed3d.models import UNet3D
from faimed3d.training import Dice3D, HausdorffDistance95, SurfaceDice, dice_per_class, unet_learner_3d


@pytest.fixture(scope="module")
def dls():
    masks = [(np.arange(60).reshape(3, 4, 5) % (3 + n)).clip(0, 2).astype(np.uint8) for n in range(4)]
    table = pd.DataFrame({"image": [np.zeros((3, 4, 5))] * 4, "mask": masks})
    return SegmentationDataLoaders3D.from_df(
        table, regions={"whole": (1, 2), "core": 2}, bs=2, num_workers=0, valid_pct=0.5, seed=0, device="cpu"
    )


def accumulated(metric, scores, truth, threshold=0.5):
    learn = SimpleNamespace(pred=scores, y=truth, to_detach=lambda x: x, loss_func=RegionLoss3D(threshold=threshold))
    metric.accumulate(learn)
    return metric


@given(st.integers(0, 2**20), st.integers(2, 4), st.sampled_from([0.2, 0.5, 0.9]))
def test_dice_is_that_of_each_region(seed, regions, threshold):
    draw = torch.Generator().manual_seed(seed)
    scores = torch.randn(2, regions, 2, 3, 4, generator=draw)
    truth = torch.randint(0, 2, scores.shape, generator=draw).byte()
    metric = accumulated(Dice3D(), scores, truth, threshold)
    inside = RegionLoss3D(threshold=threshold).decodes(scores.sigmoid()).numpy()
    expected = [
        2 * (here & there).sum() / (here.sum() + there.sum())
        for item, other in zip(inside, truth.numpy(), strict=True)
        for here, there in zip(item, other, strict=True)
        if here.any() or there.any()
    ]
    assert np.array(metric.cases)[np.isfinite(metric.cases)] == pytest.approx(expected)
    assert metric.labels == [*range(1, regions + 1)] * 2


def test_a_learner_has_them_without_being_asked_and_by_name(dls):
    learn = quiet(unet_learner_3d(dls, UNet3D, model_args={"widths": (4,)}))
    assert [metric.name for metric in learn.metrics] == ["dice"]
    metrics = [*dice_per_class(dls), HausdorffDistance95(missing=9, spacing=(1, 1, 1)), SurfaceDice(tolerance=1)]
    assert [metric.name for metric in metrics[:3]] == ["dice", "dice_whole", "dice_core"]
    learn.metrics = metrics
    with pytest.warns(UserWarning, match="nothing says where this volume lies"):
        values = learn.validate()
    assert np.isfinite(values).all()
    assert values[1] == pytest.approx((values[2] + values[3]) / 2)
