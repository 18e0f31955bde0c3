"""Loaders with masks refuse transforms that are written for images and would change labels as well."""

from __future__ import annotations

import pytest
import torch
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import IndexSplitter
from fastai.vision.augment import RandTransform
from fasttransform import ItemTransform, Transform
from hypothesis import given
from hypothesis import strategies as st

import faimed3d.augment as augment
from faimed3d.data import ImageBlock3D, MaskBlock3D, RegionBlock3D
from faimed3d.data.kept_labels import check_labels_are_kept, written_for_images
from faimed3d.geometry import Geometry
from faimed3d.training import unet_learner_3d
from faimed3d.volume import TensorDicom3D, TensorMask3D

SHAPE = (2, 3, 4)


class Shift(Transform):
    def encodes(self, x: TensorDicom3D):
        return x + 5


class ShiftAtRandom(RandTransform):
    def encodes(self, x: TensorDicom3D):
        return x + 5


class ShiftDrawn(augment.RandomTransform3D):
    def encodes(self, x: TensorDicom3D):
        return x + 5


class Inherited(Shift):
    pass


class AndOthers(Shift):
    def encodes(self, x: str):
        return x


def shift(x: TensorDicom3D):
    return x + 5


def backwards(x: TensorDicom3D):
    return x - 5


class Both(Transform):
    def encodes(self, x: TensorDicom3D):
        return x + 5

    def encodes(self, x: TensorMask3D):  # noqa: F811 - one method for each type
        return x


class MasksLater(Shift):
    def encodes(self, x: TensorMask3D):
        return x


class Union(Transform):
    def encodes(self, x: TensorDicom3D | TensorMask3D):
        return x


class Asks(Transform):
    def encodes(self, x: TensorDicom3D):
        return x if isinstance(x, TensorMask3D) else x + 5


class OfMasks(Transform):
    def encodes(self, x: TensorMask3D):
        return x


class OfNone(Transform):
    def decodes(self, x: TensorDicom3D):
        return x


class WithItem(ItemTransform):
    def encodes(self, item):
        return item


class ShiftImages(augment.IntensityTransform3D):
    def encodes(self, x: TensorDicom3D):
        return x + 5


class Larger(augment.Resize3D):
    pass


WRONG = (
    Shift(),
    ShiftAtRandom(),
    ShiftDrawn(),
    Inherited(),
    AndOthers(),
    Transform(shift),
    Transform(shift, backwards),
)
KEEPS = (
    Both(), MasksLater(), Union(), Asks(), OfMasks(), OfNone(), WithItem(), ShiftImages(), Larger((4, 4, 4)),
    augment.Resize3D((4, 4, 4)), augment.RandomFlip3D(), augment.RandomNoise3D(), Transform(len), len, None,
    *augment.aug_transforms_3d(),
)  # fmt: skip


def mask_of(k):
    return TensorMask3D((torch.arange(24) % 2).reshape(SHAPE).byte(), Geometry(SHAPE))


def loaders(target, **transforms):
    block = DataBlock(
        (ImageBlock3D, target),
        get_x=lambda k: TensorDicom3D(torch.rand(SHAPE), Geometry(SHAPE)),
        get_y=(lambda k: "ab"[k % 2]) if target is CategoryBlock else mask_of,
        splitter=IndexSplitter([2, 3]),
        **transforms,
    )
    return block.dataloaders([0, 1, 2, 3], bs=2, num_workers=0, device="cpu")


class TestWrittenForImages:
    @pytest.mark.parametrize("step", WRONG, ids=lambda step: type(step).__name__)
    def test_would_change_masks(self, step):
        assert written_for_images(step)
        changed = step((TensorDicom3D(torch.ones(SHAPE)), TensorMask3D(torch.ones(SHAPE))), split_idx=0)[1]
        assert not torch.equal(changed, TensorMask3D(torch.ones(SHAPE)))  # so it does

    @pytest.mark.parametrize("step", KEEPS, ids=lambda step: type(step).__name__)
    def test_has_a_word_on_masks(self, step):
        assert not written_for_images(step)

    @given(st.lists(st.sampled_from(KEEPS)), st.lists(st.sampled_from(WRONG), max_size=2), st.randoms())
    def test_a_pipeline_is_refused_if_one_step_is_wrong(self, kept, wrong, random):
        steps = [*kept, *wrong]
        random.shuffle(steps)
        if not wrong:
            check_labels_are_kept(steps)
            return
        with pytest.raises(TypeError, match="is written for TensorDicom3D and would change masks as well"):
            check_labels_are_kept(steps)


class TestLoaders:
    @pytest.mark.parametrize("where", ["item_tfms", "batch_tfms"])
    @pytest.mark.parametrize("step", [Shift, ShiftAtRandom(), shift], ids=["type", "object", "function"])
    @pytest.mark.parametrize(
        "target", [MaskBlock3D(["air", "lesion"]), RegionBlock3D({"all": [1]})], ids=["mask", "regions"]
    )
    def test_of_masks_refuse_it(self, where, step, target):
        text = (
            r"(?i)shift\w* is written for TensorDicom3D .* inherit from IntensityTransform3D.*encodes\(self, x: TensorM"
        )
        with pytest.raises(TypeError, match=text):
            loaders(target, **{where: step})

    @pytest.mark.parametrize("where", ["item_tfms", "batch_tfms"])
    def test_what_the_message_advises_keeps_labels(self, where):
        for step in (Both(), ShiftImages()):
            x, y = loaders(MaskBlock3D(["air", "lesion"]), **{where: step}).one_batch()
            assert y.unique().tolist() == [0, 1]
            assert x.min() >= 5

    def test_of_images_alone_take_it(self):
        assert loaders(CategoryBlock, item_tfms=Shift).one_batch()[0].min() >= 5

    def test_learners_see_what_was_added_later(self):
        dls = loaders(MaskBlock3D(["air", "lesion"]))
        dls.train.after_batch.add(Shift())
        with pytest.raises(TypeError, match="Shift is written for TensorDicom3D"):
            unet_learner_3d(dls, lambda **_: None)
