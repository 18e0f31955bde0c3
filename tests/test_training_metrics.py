"""Metrics in millimetres, in a loop of fastai."""

import itertools
import math

import fastai.callback.progress  # noqa: F401 - gives Learner no_bar
import numpy as np
import pytest
import torch
from fastai.data.block import DataBlock, TransformBlock
from fastai.learner import Learner
from fastai.metrics import Dice, DiceMulti
from fasttransform import Transform
from torch import nn

from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.losses import CrossEntropyLoss3D
from faimed3d.training import (
    AverageSurfaceDistance,
    ExcludedCases,
    HausdorffDistance95,
    KeepGeometry,
    SurfaceDice,
    average_surface_distance,
    hausdorff_distance,
    surface_dice,
)

SHAPE = (4, 6, 8)


def spacing_of(number):
    return (1.0 + number, 2.0, 0.5 + number)


class ForModel(Transform):
    """Image: channel axis. Mask: whole numbers."""

    def encodes(self, x: TensorDicom3D):
        return x[None]

    def encodes(self, x: TensorMask3D):  # noqa: F811 - fastai picks the method by the type
        return x.long()


class Shown(nn.Module):
    """Says of each voxel the class that the image shows."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return torch.stack([-(x[:, 0] - label).abs() for label in range(3)], 1) * self.scale


def volumes():
    """Six pairs of what is said and what is true; label 2 is in no prediction, and only in the target of the fifth."""
    pairs = []
    for number in range(6):
        said, true = np.zeros((2, *SHAPE), np.float32)
        said[1:3, 1:4, 1:4] = 1
        true[1:3, 1:4, 1 : 4 + number % 3] = 1
        if number == 4:
            true[0, 0, 0] = 2
        pairs.append((said, true))
    return pairs


def learner_of(metrics, cbs=None, drop=None, bs=3):
    pairs = volumes()

    def placed(kind, which):
        def make(number):
            volume = kind(torch.tensor(pairs[number][which]), {"spacing": spacing_of(number)})
            return volume.as_subclass(torch.Tensor) if drop == which else volume

        return make

    block = DataBlock(
        (TransformBlock(placed(TensorDicom3D, 0)), TransformBlock(placed(TensorMask3D, 1))),
        splitter=lambda items: (list(items), list(items)),
        item_tfms=ForModel,
    )
    dls = block.dataloaders(range(6), bs=bs, num_workers=0)
    return Learner(dls, Shown(), loss_func=CrossEntropyLoss3D(), metrics=metrics, cbs=cbs)


class TestInValidation:
    def test_each_item_is_measured_with_its_own_spacing(self):
        hd95, asd, close = HausdorffDistance95(), AverageSurfaceDistance(surface="voxels"), SurfaceDice(1.0)
        learn = learner_of([hd95, asd, close, ExcludedCases(hd95), ExcludedCases(close)], KeepGeometry())
        with learn.no_bar():
            _, *values = learn.validate()
        expected = {hd95: [], asd: [], close: []}
        for number, label in itertools.product(range(6), (1, 2)):
            said, true = (volume == label for volume in volumes()[number])
            spacing = spacing_of(number)
            expected[hd95].append(hausdorff_distance(said, true, spacing))
            expected[asd].append(average_surface_distance(said, true, spacing, surface="voxels"))
            expected[close].append(surface_dice(said, true, spacing, 1.0))
        for metric, value in zip(expected, values, strict=False):
            cases = np.array(expected[metric])
            assert value == pytest.approx(cases[np.isfinite(cases)].mean())
        assert sorted(hd95.cases) == pytest.approx(sorted(expected[hd95]), nan_ok=True)
        # label 2 is in no prediction: five times nowhere, once only in the target, which counts 0 for surface Dice
        assert values[3:] == [6, 5]
        assert len(set(expected[hd95])) > 3

    def test_missing_counts_where_only_one_side_shows_the_class(self):
        hd95 = HausdorffDistance95(classes=[2], missing=40.0)
        learn = learner_of([hd95], KeepGeometry())
        with learn.no_bar():
            assert learn.validate()[1] == 40
        assert hd95.excluded == 5

    def test_no_case_at_all_is_nan(self):
        learn = learner_of([HausdorffDistance95(classes=[2])], KeepGeometry())
        with learn.no_bar():
            assert math.isnan(learn.validate(dl=learn.dls.valid.new(get_idxs=lambda: [0, 1]))[1])

    def test_names_stand_in_the_table(self):
        hd95 = HausdorffDistance95()
        names = [metric.name for metric in (hd95, AverageSurfaceDistance(), SurfaceDice(2), ExcludedCases(hd95))]
        assert names == ["hd95_mm", "asd_mm", "surface_dice_2mm", "hd95_mm_excluded"]

    def test_a_spacing_of_ones_own_needs_no_callback(self):
        asd = AverageSurfaceDistance(classes=[1], spacing=(1, 1, 1))
        learn = learner_of([asd])
        with learn.no_bar():
            value = learn.validate()[1]
        cases = [average_surface_distance(said == 1, true == 1, (1, 1, 1)) for said, true in volumes()]
        assert value == pytest.approx(np.mean(cases))

    def test_one_channel_is_class_1_above_0(self):
        class One(Shown):
            def forward(self, x):
                return (x - 0.5) * self.scale

        hd95 = HausdorffDistance95()
        learn = learner_of([hd95], KeepGeometry())
        learn.model, learn.loss_func = One(), lambda scores, target: scores.mean()
        with learn.no_bar():
            value = learn.validate()[1]
        cases = [hausdorff_distance(said == 1, true == 1, spacing_of(n)) for n, (said, true) in enumerate(volumes())]
        assert value == pytest.approx(np.mean(cases))

    def test_without_the_callback_says_what_to_add(self):
        learn = learner_of([HausdorffDistance95()])
        with (
            learn.no_bar(),
            pytest.raises(ValueError, match=r"hd95_mm needs to know the spacing: add cbs=KeepGeometry\(\)"),
        ):
            learn.validate()

    def test_without_geometry_says_why(self):
        learn = learner_of([HausdorffDistance95()], KeepGeometry(), drop=1)
        with learn.no_bar(), pytest.raises(ValueError, match="a target of this batch has no geometry"):
            learn.validate()

    def test_keeps_nothing_after_the_loop(self):
        learn = learner_of([HausdorffDistance95()], KeepGeometry())
        with learn.no_bar():
            learn.validate()
        assert learn.keep_geometry.geometries is None

    def test_fastais_own_dice_works_on_volumes(self):
        learn = learner_of([Dice(), DiceMulti()])
        with learn.no_bar():
            _, dice, multi = learn.validate()
        said, true = (np.concatenate([pair[k] for pair in volumes()]) for k in (0, 1))
        by_class = [2 * ((said == c) & (true == c)).sum() / ((said == c).sum() + (true == c).sum()) for c in range(3)]
        assert multi == pytest.approx(np.mean(by_class))
        assert 0 < dice < 1
