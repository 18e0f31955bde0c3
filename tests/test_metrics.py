"""Distances between surfaces, against hand and brute force, and the metrics in a loop of fastai."""

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
from faimed3d.training.surface_distances import _areas

SPACING = (0.5, 1.5, 3.0)  # x, y, z mm


def box(low, high, shape=(6, 8, 10)):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


def shell(mask):
    """Positions (z, y, x) in mm of the voxels that have one of six neighbours outside, one by one."""
    padded = np.pad(mask, 1)
    found = []
    for index in np.argwhere(mask):
        d, h, w = index + 1
        neighbours = [padded[d - 1, h, w], padded[d + 1, h, w], padded[d, h - 1, w], padded[d, h + 1, w]]
        if not all([*neighbours, padded[d, h, w - 1], padded[d, h, w + 1]]):
            found.append(index * SPACING[::-1])
    return np.array(found)


def nearest(points, others):
    return np.array([min(math.dist(point, other) for other in others) for point in points])


class TestAgainstBruteForce:
    @pytest.mark.parametrize("seed", range(4))
    def test_surface_of_voxels(self, seed):
        random = np.random.default_rng(seed)
        a, b = (random.random((4, 5, 6)) < share for share in (0.3, 0.6))
        a[0], b[:, 0] = False, False
        there, back = nearest(shell(a), shell(b)), nearest(shell(b), shell(a))
        both = np.concatenate([there, back])
        voxels = {"surface": "voxels"}
        assert hausdorff_distance(a, b, SPACING, 100, **voxels) == pytest.approx(both.max())
        percentile = max(np.percentile(there, 95), np.percentile(back, 95))
        assert hausdorff_distance(a, b, SPACING, **voxels) == pytest.approx(percentile)
        assert average_surface_distance(a, b, SPACING, **voxels) == pytest.approx(both.mean())
        assert surface_dice(a, b, SPACING, 1.0, **voxels) == pytest.approx((both <= 1).mean())

    def test_surface_in_mm2_of_a_single_voxel(self):
        # round one voxel marching cubes draws an octahedron through the six points half a voxel away
        one, two = box((2, 3, 4), (3, 4, 5)), box((2, 3, 4), (3, 4, 7))
        x, y, z = (step / 2 for step in SPACING)
        face = 0.5 * math.sqrt((x * y) ** 2 + (y * z) ** 2 + (z * x) ** 2)
        # two voxels farther on the far end of the other is 1 mm away, and the near half of its own surface 0 mm
        assert surface_dice(one, two, SPACING, 0.49) < 1
        assert hausdorff_distance(one, two, SPACING, 100) == pytest.approx(2 * SPACING[0])
        assert _areas(np.pad(one, 1), SPACING[::-1]).sum() == pytest.approx(8 * face, rel=1e-5)


@pytest.mark.parametrize("surface", ["area", "voxels"])
class TestByHand:
    @pytest.mark.parametrize(("axis", "step"), [(0, 3.0), (1, 1.5), (2, 0.5)])
    def test_a_longer_box_is_as_far_off_as_it_is_longer(self, surface, axis, step):
        high = [4, 5, 6]
        longer = list(high)
        longer[axis] += 2
        a, b = box((1, 1, 1), high), box((1, 1, 1), longer)
        assert hausdorff_distance(a, b, SPACING, 100, surface=surface) == pytest.approx(2 * step)
        assert hausdorff_distance(b, a, SPACING, 100, surface=surface) == pytest.approx(2 * step)
        assert surface_dice(a, b, SPACING, 2 * step, surface=surface) == 1
        assert 0 < surface_dice(a, b, SPACING, step / 2, surface=surface) < 1
        assert 0 < average_surface_distance(a, b, SPACING, surface=surface) < 2 * step

    def test_a_mask_is_no_distance_from_itself_wherever_it_lies(self, surface):
        whole = np.ones((2, 3, 4), bool)
        for mask in (whole, box((0, 0, 0), (1, 1, 1)), box((5, 7, 9), (6, 8, 10))):
            assert hausdorff_distance(mask, mask, SPACING, surface=surface) == 0
            assert average_surface_distance(mask, mask, SPACING, surface=surface) == 0
            assert surface_dice(mask, mask, SPACING, 0, surface=surface) == 1

    def test_empty_masks_have_the_stated_values(self, surface):
        some, none = box((1, 1, 1), (2, 2, 2)), np.zeros((6, 8, 10), bool)
        for a, b in ((some, none), (none, some)):
            assert hausdorff_distance(a, b, SPACING, surface=surface) == math.inf
            assert average_surface_distance(a, b, SPACING, surface=surface) == math.inf
            assert surface_dice(a, b, SPACING, 9, surface=surface) == 0
        assert math.isnan(hausdorff_distance(none, none, SPACING, surface=surface))
        assert math.isnan(average_surface_distance(none, none, SPACING, surface=surface))
        assert math.isnan(surface_dice(none, none, SPACING, 9, surface=surface))

    def test_tensors_are_as_good_as_arrays(self, surface):
        a, b = box((1, 1, 1), (4, 5, 6)), box((1, 1, 2), (4, 5, 8))
        expected = average_surface_distance(a, b, SPACING, surface=surface)
        made = TensorMask3D(torch.tensor(a).float()), torch.tensor(b).int() * 3
        assert average_surface_distance(*made, SPACING, surface=surface) == expected


class TestErrors:
    def test_name_what_is_wrong(self):
        a = box((1, 1, 1), (2, 2, 2))
        with pytest.raises(ValueError, match=r"two masks \(D, H, W\) of one shape, got \(6, 8, 10\) and \(5, 8, 10\)"):
            surface_dice(a, a[1:], SPACING, 1)
        with pytest.raises(ValueError, match=r"spacing must be three positive numbers .* got \(1.0, 2.0\)"):
            surface_dice(a, a, (1, 2), 1)
        with pytest.raises(ValueError, match="surface must be 'area' or 'voxels', got 'skin'"):
            surface_dice(a, a, SPACING, 1, surface="skin")
        with pytest.raises(TypeError, match="SurfaceDice takes no argument missing: a class that only"):
            SurfaceDice(1, missing=3)


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
        hd95 = HausdorffDistance95(classes=[7])
        learn = learner_of([hd95], KeepGeometry())
        with learn.no_bar():
            assert math.isnan(learn.validate()[1])

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
