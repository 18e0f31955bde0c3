"""Regions that overlap, made of the labels of a cache: patches, whole cases, oversampling, sides, refusals."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cached_cases import make_cache
from fastai.callback.core import Callback
from fastai.distributed import DistributedDL
from fastai.optimizer import SGD
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from faimed3d.augment import RandomFlip3D, aug_transforms_3d
from faimed3d.data.label_regions import LabelRegions, label_parts, regions_of, sides_fault
from faimed3d.evaluation import evaluate
from faimed3d.inference.sides import mirrored_by_training
from faimed3d.losses import RegionLoss3D
from faimed3d.masks import label_regions, swap_labels
from faimed3d.masks.regions import swapped_regions
from faimed3d.models import UNet3D
from faimed3d.patches import PatchDataLoaders3D
from faimed3d.training import dice_per_class, unet_learner_3d

VALID = [3, 4]
PATCH = (4, 6, 5)
BOTH = {"both": (1, 2), "spot": 2}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return make_cache(tmp_path_factory.mktemp("plain"), orientation="LPS")


def loaders(cache, regions=BOTH, **kwargs):
    how = {"valid": VALID, "num_workers": 0, "device": "cpu", "regions": regions, **kwargs}
    return PatchDataLoaders3D.from_cache(cache, PATCH, **how)


def quiet(learn):
    return learn.no_bar(), learn.no_logging()


@given(
    st.integers(0, 99),
    st.dictionaries(st.sampled_from("abc"), st.sampled_from([1, 2, (1, 2)]), min_size=1),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=4)
def test_are_those_of_the_labels_that_the_same_patch_has_without_regions(cache, seed, regions, on_device, moved):
    regions = {name: part for k, (name, part) in enumerate(regions.items()) if part not in [*regions.values()][:k]}
    labels = {label for part in label_parts(regions).values() for label in part}
    how = {
        "foreground": 0.5 if labels == {1, 2} else 0.0,  # around other labels other patches are drawn
        "batch_tfms": aug_transforms_3d(noise=1.0) if moved else None,
        "on_device": on_device,
        "length": 4,
    }
    batches = []
    for asked in (regions, None):
        torch.manual_seed(seed)
        batches.append(list(loaders(cache, asked, **how).train))
    for (images, masks), (same, plain) in zip(*batches, strict=True):
        assert torch.equal(images, same)
        assert masks.dtype == torch.uint8
        expected = [np.isin(plain.numpy(), part) for part in regions.values()]
        np.testing.assert_array_equal(masks.numpy(), np.stack(expected, 1))
        assert all(mask.geometry == image.geometry for image, mask in zip(images, masks, strict=True))


def test_patches_lie_around_the_labels_that_make_a_region(cache):
    def shown(regions):
        torch.manual_seed(0)
        dls = loaders(cache, regions, foreground=1.0, length=24)
        numbers = dls.train.get_idxs()
        return [dls.train.do_item(number)[1] for number in numbers]

    spots = [2 in mask for mask in shown({"spot": 2})]  # in 2 of the 3 cases
    assert sum(spots) == 16
    assert sum(2 in mask for mask in shown(BOTH)) < 16  # the box is as likely
    assert all(mask.any() for mask in shown(BOTH))


def test_one_step_of_training_is_that_of_the_loss_by_hand(cache):
    dls = loaders(cache, length=2)
    torch.manual_seed(0)
    learn = unet_learner_3d(dls, UNet3D, widths=(2, 4), opt_func=SGD, wd=0.0)
    assert [metric.name for metric in learn.metrics] == ["dice"]
    assert isinstance(learn.loss_func, RegionLoss3D)
    kept = Batches()
    network = UNet3D(1, 2, widths=(2, 4))
    network.load_state_dict(learn.model.state_dict())
    with quiet(learn)[0], quiet(learn)[1]:
        learn.fit(1, 0.1, cbs=kept)
    (x, y), before = kept.seen[0], [p.detach().clone() for p in network.parameters()]
    scores, truth = network.train()(x).flatten(2), y.flatten(2).float()
    p, shown = scores.sigmoid(), truth.sum(-1) > 0
    dice = 1 - (2 * (p * truth).sum(-1) + 1e-5) / (p.sum(-1) + truth.sum(-1) + 1e-5)
    of_cases = [each[there].mean() if there.any() else each.sum() * 0 for each, there in zip(dice, shown, strict=True)]
    loss = torch.stack(of_cases).mean() + F.binary_cross_entropy(p, truth)
    loss.backward()
    for after, own, weights in zip(learn.model.parameters(), network.parameters(), before, strict=True):
        assert torch.allclose(after.cpu(), weights - 0.1 * own.grad, atol=1e-5)


class Batches(Callback):
    """Keeps the batches of training."""

    order = 95

    def before_fit(self):
        self.seen = []

    def before_batch(self):
        if self.training:
            self.seen.append((self.x.clone(), self.y.clone()))


class Constant(nn.Module):
    """Says of each region the same everywhere."""

    def __init__(self, *scores):
        super().__init__()
        self.scores = nn.Parameter(torch.tensor(scores))

    def forward(self, x):
        return self.scores.view(1, -1, 1, 1, 1).expand(len(x), -1, *x.shape[2:])


def test_whole_cases_are_scored_by_region_even_where_probabilities_add_up_to_1(cache):
    dls = loaders(cache)
    learn = unet_learner_3d(dls, UNet3D, widths=(2,), metrics=dice_per_class(dls))
    learn.model = Constant(1.0, -1.0)
    with quiet(learn)[0], quiet(learn)[1]:
        loss, _, both, spot = learn.validate()
    wanted = []
    for case in dls.valid.dataset.cases:
        labels = case.whole()[1].numpy()
        wanted.append(2 * (labels > 0).sum() / ((labels > 0).sum() + labels.size))
    assert [metric.name for metric in learn.metrics] == ["dice", "dice_both", "dice_spot"]
    assert both == pytest.approx(np.mean(wanted))
    assert spot == 0  # in one case, and never said
    assert np.isfinite(loss)


def test_evaluation_compares_regions_of_the_masks_as_they_were_read(cache):
    learn = unet_learner_3d(loaders(cache), UNet3D, widths=(2,))
    learn.model = Constant(1.0, -1.0)
    with learn.no_bar():
        table = evaluate(learn)
    assert list(table["class"]) == ["both", "spot"] * 2
    voxels = [(2 * 4 * 6, 0), (2 * 4 * 6 + 1, 1)]  # of 6 mm3, by hand
    assert list(table["target_ml"]) == pytest.approx([n * 6 / 1000 for case in voxels for n in case])
    assert (table["volume_ml"][[0, 2]] > 0).all()


class TestSides:
    @settings(max_examples=20)
    @given(st.integers(0, 2**20), st.lists(st.sets(st.integers(1, 4), min_size=1), min_size=1, unique_by=frozenset))
    def test_regions_become_what_the_exchanged_labels_make(self, seed, regions):
        mask = torch.randint(0, 5, (2, 3, 4), generator=torch.Generator().manual_seed(seed))
        found = swapped_regions(regions, {1: 2, 4: 3})
        made = label_regions(swap_labels(mask, {1: 2, 4: 3}), regions)
        before = label_regions(mask, regions)
        for number, part in enumerate(made, 1):
            other = found.get(number, number)
            if other is None:
                assert frozenset({1: 2, 2: 1, 3: 4, 4: 3}[label] for label in regions[number - 1]) not in regions
            else:
                assert torch.equal(part, before[other - 1])
        assert all(found[other] == number for number, other in found.items() if other is not None)

    def test_predictions_of_mirrored_volumes_exchange_regions_where_training_exchanged_labels(self, cache):
        flip = RandomFlip3D(axis=-1, swap_labels={1: 2})
        learn = unet_learner_3d(loaders(cache, {**BOTH, "box": 1}, batch_tfms=flip), UNet3D, widths=(2,))
        flips = mirrored_by_training(learn)
        assert (flips.axes, flips.swap_labels) == ((2,), {2: 3})
        learn.model = Constant(0.0, 1.0, 3.0)
        with learn.no_bar():
            _, scores = learn.predict_volume(cache.table["image"][0], tta=True, probabilities=True)
        means = torch.tensor([0.0, 1.0, 3.0]).sigmoid()
        means[1:] = means[1:].mean()
        assert torch.allclose(scores.as_subclass(Tensor).amax((1, 2, 3)), means)

    def test_a_region_without_its_other_side_is_refused(self, cache):
        with pytest.raises(ValueError, match=r"makes of the region 'spot', labels \(2,\), one that is none.*add the"):
            loaders(cache, batch_tfms=RandomFlip3D(axis=-1, swap_labels={1: 2}))
        assert sides_fault(label_parts({"both": (1, 2)}), {1: 2}) is None


@pytest.mark.parametrize(
    ("regions", "words"),
    [
        (["both", "spot"], r"regions must say of which labels each is made.*SegmentationDataLoaders3D.from_df\("),
        ("both", "regions must say of which labels"),
        ({}, "regions must say of which labels"),
        ({"both": ("box", "spot")}, r"'both' must be made of labels.*got 'box': name segments or ROIs by codes="),
        ({"both": (0, 1)}, r"whole numbers from 1 on, each once; got \(0, 1\)"),
        ({"both": ()}, "whole numbers from 1 on"),
        ({"both": (1, 1)}, "each once"),
        ({"both": 1.5}, "whole numbers from 1 on"),
        ({"a": (1, 2), "b": [2, 1]}, "'a' and 'b' are made of the same labels"),
        ([("a", 1), ("a", 2)], "two are called 'a'"),
        ({"both": (1, 4)}, r"'both' is made of the label 4, but the labels are 1 \(box\), 2 \(spot\)"),
    ],
)
def test_what_is_not_made_of_the_labels_is_refused(cache, regions, words):
    with pytest.raises(ValueError, match=words):
        loaders(cache, regions)


def test_a_label_that_is_left_out_is_refused(cache):
    cache = replace(cache, reading=replace(cache.reading, ignore_index=3))
    with pytest.raises(ValueError, match=r"leaves out the label 3 \(ignore_index\).*train on labels"):
        loaders(cache, {"box": 1})


def test_a_region_that_no_training_case_shows_is_warned_of(cache):
    with pytest.warns(UserWarning, match="of 1 masks none holds a voxel of the region 'spot'") as caught:
        loaders(cache, valid=[0, 2, 3, 4], length=2)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaders(cache)


def test_pictures_name_regions(cache):
    dls = loaders(cache)
    _, masks = dls.decode(dls.one_batch())
    assert isinstance(dls.train.after_batch.fs[-1], LabelRegions)
    assert regions_of(DistributedDL(dls.train, 0, 2)) is dls.train.after_batch.fs[-1]  # of several processes
    assert masks[0].codes == {0: "background", 1: "both", 2: "spot"}
    assert dls.decode_batch(dls.one_batch())[0][1].codes == masks[0].codes
