"""Transforms that cut labels off are told of, once for each part of the data in a fit, with any number of workers."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from faimed3d.all import (
    Geometry,
    PadOrCrop3D,
    RandomCrop3D,
    SegmentationDataLoaders3D,
    TensorDicom3D,
    TensorMask3D,
    UNet3D,
    unet_learner_3d,
)
from faimed3d.data.block_transforms import MatchMask
from faimed3d.data.label_tally import LabelCount, LabelTally
from faimed3d.training.label_loss import loss_text

SHAPE = (4, 16, 16)


def loaders(item_tfms, workers=0, batch_tfms=None, corner=True):
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:3, 1:4, 1:4] = 1
    mask[1:3, 7:9, 7:9] = 0 if corner else 2
    place = Geometry(SHAPE, (1, 2, 3))
    image = TensorDicom3D(np.random.default_rng(0).random(SHAPE, np.float32), place)
    table = pd.DataFrame({"i": [image] * 6, "m": [TensorMask3D(mask, place)] * 6, "v": [k >= 4 for k in range(6)]})
    return SegmentationDataLoaders3D.from_df(
        table, fn_col="i", label_col="m", valid_col="v", codes=["none", "one", "two"], bs=2, num_workers=workers,
        item_tfms=item_tfms, batch_tfms=batch_tfms,
    )  # fmt: skip


def said_in(dls, epochs=2):
    learn = unet_learner_3d(dls, UNet3D, model_args={"widths": (2, 4)})
    with warnings.catch_warnings(record=True) as said, learn.no_bar(), learn.no_logging():
        warnings.simplefilter("always")
        learn.fit(epochs, 1e-3)
    return [str(w.message) for w in said if "the transforms leave" in str(w.message)]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_crop_beside_the_labels_is_said_once_for_each_split(workers):
    said = said_in(loaders(PadOrCrop3D((4, 8, 8)), workers))
    assert len(said) == 2
    assert said[0].startswith(
        "training: of 4 masks with labels, the transforms leave 4 without any; label 1 is left in"
    )
    assert said[1].startswith("validation: of 2 masks with labels, the transforms leave 2 without any")
    assert all("0% of the labelled volume is left" in text and "predict_volume" in text for text in said)


def test_crops_of_batches_count_too():
    assert len(said_in(loaders(None, batch_tfms=RandomCrop3D((4, 4, 4))), 1)) >= 1


def test_what_keeps_the_labels_is_silent():
    assert said_in(loaders(PadOrCrop3D((6, 18, 14)), corner=True)) == []


def test_a_class_that_is_left_in_no_mask():
    said = said_in(loaders(PadOrCrop3D((4, 8, 8)), corner=False))
    assert said[0].startswith(
        "training: of 4 masks with labels, the transforms leave 0 without any; label 1 is left in"
    )


def count(masks=10, labelled=10, volume=100.0, classes=(1,)):
    found = torch.zeros(256, dtype=torch.int64)
    found[list(classes)] = masks
    return LabelCount(masks, labelled, volume, found)


@pytest.mark.parametrize(
    ("left", "random", "whole", "expected"),
    [
        (count(), False, True, False),
        (count(labelled=4), False, False, True),
        (count(labelled=4), True, False, True),
        (count(labelled=5, volume=10), True, False, False),
        (count(volume=89), False, True, True),
        (count(volume=91), False, True, False),
        (count(volume=120), False, True, False),
        (count(classes=()), False, False, True),
        (count(classes=()), True, False, False),
    ],
)
def test_what_is_said(left, random, whole, expected):
    assert bool(loss_text(count(), left, random, whole)) == expected


def test_a_tally_counts_masks_labels_and_mm3():
    tally = LabelTally()
    before = tally.count()
    tally.add(TensorMask3D(torch.tensor([[[0, 1, 1, 300]]]), {"spacing": (1, 2, 3)}))
    tally.add(TensorMask3D(torch.zeros(2, 3, 4, dtype=torch.uint8), {"spacing": (1, 2, 3)}))
    found = tally.count() - before
    assert (found.masks, found.labelled, found.volume) == (2, 1, 18)
    assert found.classes.nonzero().flatten().tolist() == [1]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_region_that_no_mask_holds_is_named(workers):
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:3, 1:9, 1:9], mask[1:3, 3:5, 3:5] = 1, 2
    images = [TensorDicom3D(torch.rand(SHAPE)) for _ in range(4)]
    table = pd.DataFrame({"i": images, "m": [TensorMask3D(mask)] * 4, "v": [False, False, False, True]})
    dls = SegmentationDataLoaders3D.from_df(
        table, fn_col="i", label_col="m", valid_col="v", regions={"whole": (1, 2), "core": 7}, bs=1,
        num_workers=workers,
    )  # fmt: skip
    learn = unet_learner_3d(dls, UNet3D, model_args={"widths": (2, 4)})
    with warnings.catch_warnings(record=True) as said, learn.no_bar(), learn.no_logging():
        warnings.simplefilter("always")
        learn.fit(2, 1e-3)
    texts = [str(w.message) for w in said if "none holds" in str(w.message)]
    assert len(texts) == 1
    assert texts[0].startswith("training: of 3 masks none holds a voxel of the region 'core', so the network learns")


def test_masks_are_counted_in_the_first_epoch_of_a_fit_alone():
    dls = loaders([PadOrCrop3D((4, 8, 8))])
    tally, counts = next(step.tally for step in dls.after_item.fs if isinstance(step, MatchMask)), []
    for _ in dls.train:
        pass
    counts.append(tally.count().masks)
    for epochs in (1, 2, 1):
        said_in(dls, epochs)
        counts.append(tally.count().masks)
    assert counts[0] == 0
    assert counts[1:] == [6, 12, 18]  # four of training and two of validation in each fit
    assert not tally.wanted


def test_regions_are_counted_one_by_one():
    tally = LabelTally()
    mask = torch.zeros(3, *SHAPE, dtype=torch.uint8)
    mask[0, :2], mask[2, 0, 0, :2] = 1, 1
    tally.add(TensorMask3D(mask))
    found = tally.count()
    assert (found.masks, found.labelled, found.volume) == (1, 1, 2 * 16 * 16 + 2)
    assert found.classes.nonzero().flatten().tolist() == [1, 3]
