"""Transforms of the user's own: none vanishes, and none makes fractions of labels unsaid."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from fasttransform import ItemTransform
from hypothesis import given, settings
from hypothesis import strategies as st

from faimed3d.augment import Clip3D, IntensityTransform3D, Normalize3D, RandomFlip3D
from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D
from faimed3d.data import SegmentationDataLoaders3D
from faimed3d.losses import CrossEntropyLoss3D, DiceCELoss3D, DiceLoss3D, FocalLoss3D, MCCLoss, TverskyLoss3D
from faimed3d.models import UNet3D
from faimed3d.training import unet_learner_3d

VOXELS = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
LABELS = (np.arange(24) % 3).astype(np.uint8).reshape(2, 3, 4)


def loaders(codes=("none", "a", "b"), **kwargs):
    table = pd.DataFrame({"image": [VOXELS] * 4, "mask": [LABELS] * 4})
    kwargs = {"regions" if isinstance(codes, dict) else "codes": codes, **kwargs}
    return SegmentationDataLoaders3D.from_df(table, bs=2, num_workers=0, valid_pct=0.5, device="cpu", **kwargs)


def halve(x: TensorMask3D):
    return x / 2


class Halve(ItemTransform):
    def encodes(self, item):
        return [x / 2 for x in item]


class HalveImages(IntensityTransform3D):
    def encodes(self, x: TensorDicom3D):
        return x / 2


class TestFractions:
    @pytest.mark.parametrize("transform", [halve, Halve()])
    @pytest.mark.parametrize("codes", [("none", "a", "b"), {"all": (1, 2), "core": 2}])
    def test_that_an_item_transform_makes_of_labels_are_refused(self, transform, codes):
        with pytest.raises(ValueError, match=r"has left 0\.5 in the mask.*act on masks too.*IntensityTransform3D"):
            loaders(codes, item_tfms=transform).one_batch()

    def test_what_the_error_advises_works(self):
        images, masks = loaders(item_tfms=HalveImages()).one_batch()
        assert torch.equal(images[0, 0], torch.from_numpy(VOXELS) / 2)
        assert torch.equal(masks[0], torch.from_numpy(LABELS).long())

    @pytest.mark.parametrize(
        "loss", [CrossEntropyLoss3D, DiceCELoss3D, DiceLoss3D, FocalLoss3D, MCCLoss, TverskyLoss3D]
    )
    def test_that_a_batch_transform_makes_are_refused_by_the_loss(self, loss):
        scores, labels = torch.rand(1, 3, 2, 3, 4), torch.from_numpy(LABELS)[None]
        assert loss()(scores, labels.float()) == loss()(scores, labels)
        with pytest.raises(ValueError, match=r"hold 0\.5, no label.*batch_tfms"):
            loss()(scores, labels / 2)


class TestSeveralOfOneClass:
    def test_all_act(self):
        dls = loaders(item_tfms=[Clip3D(3, 100), Clip3D(0, 9)])
        assert torch.equal(dls.valid.one_batch()[0][0, 0], torch.from_numpy(VOXELS).clamp(3, 9))

    @settings(max_examples=20, deadline=None)
    @given(st.lists(st.sampled_from([-1, -2, -3]), max_size=4), st.booleans())
    def test_flips_compose(self, axes, in_batches):
        flips = [RandomFlip3D(p=1, axis=axis) for axis in axes]
        dls = loaders(**{"batch_tfms" if in_batches else "item_tfms": flips})
        images, masks = dls.train.one_batch()
        expected = torch.from_numpy(VOXELS)
        truth = torch.from_numpy(LABELS).long()
        for axis in axes:
            expected, truth = expected.flip(axis), truth.flip(axis)
        assert torch.equal(images[0, 0], expected)
        assert torch.equal(masks[0], truth)

    def test_one_of_a_block_gives_way_as_in_fastai(self):
        dls = loaders(orientation="RAS")
        steps = [type(step).__name__ for step in dls.train.after_item.fs]
        assert steps.count("OneOrientation") == 1
        assert dls.one_batch()[0][0].geometry.orientation == "RAS"

    def test_two_normalizations_are_refused_naming_both(self):
        dls = loaders(batch_tfms=[Normalize3D(50, 10), Normalize3D(5, 1)])
        with pytest.raises(ValueError, match="two normalizations, mean 50, std 10 and mean 5, std 1: leave one out"):
            unet_learner_3d(dls, UNet3D, model_args={"widths": (4,)})


class TestWeightsOfClasses:
    @pytest.mark.parametrize("loss", [CrossEntropyLoss3D, DiceCELoss3D, DiceLoss3D, FocalLoss3D, TverskyLoss3D])
    def test_in_another_number_are_refused(self, loss):
        with pytest.raises(ValueError, match="one number per class: the model gives 3, got 2"):
            loss(weight=torch.tensor([1.0, 2.0]))(torch.rand(1, 3, 2, 3, 4), torch.from_numpy(LABELS)[None])


class TestArraysBesideFiles:
    """Images that are arrays, masks that are files: the place of the mask is the one that is known."""

    def test_the_error_says_how_the_image_gets_it_and_that_works(self):
        place = Geometry((2, 3, 4), (1, 2, 3), (5, 6, 7))
        mask = TensorMask3D(torch.from_numpy(LABELS), place)
        make = partial(SegmentationDataLoaders3D.from_df, codes=["none", "a", "b"], bs=2, num_workers=0, valid_pct=0.5)
        with pytest.raises(ValueError, match=r"Nothing says where the image lies.*TensorDicom3D\(array, like=mask\)"):
            make(pd.DataFrame({"image": [VOXELS] * 4, "mask": [mask] * 4})).one_batch()
        placed = TensorDicom3D(VOXELS, like=mask)
        images, masks = make(pd.DataFrame({"image": [placed] * 4, "mask": [mask] * 4})).one_batch()
        assert images[0].geometry == place
        assert torch.equal(masks[0], torch.from_numpy(LABELS).long())
