"""Predictions through fastai's own methods: where masks lie, which sources, other sizes, test-time augmentation."""

import fastai.callback.all  # noqa: F401 - gives Learner no_bar and show_results
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import torch
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import IndexSplitter
from fastai.learner import Learner
from hypothesis import given, settings
from hypothesis import strategies as st
from small_trainings import Bright
from torch import Tensor, nn

import faimed3d.augment as augment
from faimed3d.data import ImageBlock3D, ImageDataLoaders3D, MaskBlock3D, SegmentationDataLoaders3D
from faimed3d.geometry import Geometry
from faimed3d.losses import DiceCELoss3D
from faimed3d.volume import TensorDicom3D, TensorMask3D

SHAPE = (3, 4, 6)
OBLIQUE = (0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1)


class Whole(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 2)

    def forward(self, x):
        return self.layer(x.mean((2, 3, 4)))


def scan(k=0, shape=SHAPE):
    voxels = torch.rand(shape, generator=torch.Generator().manual_seed(k)) * 100
    return TensorDicom3D(voxels, Geometry(shape, (1, 2, 3), (5 + k, -6, 7), OBLIQUE))


def mask_of(volume):
    return TensorMask3D((volume > 50).byte())


def block(item_tfms=None, batch_tfms=None):
    return DataBlock(
        (ImageBlock3D, MaskBlock3D(["air", "lesion"])),
        get_y=mask_of,
        splitter=IndexSplitter([2, 3]),
        item_tfms=item_tfms,
        batch_tfms=batch_tfms,
    )


def learner(item_tfms=None, batch_tfms=None, bs=2, shapes=(SHAPE,) * 4, loss=None):
    scans = [scan(k, shape) for k, shape in enumerate(shapes)]
    dls = block(item_tfms, batch_tfms).dataloaders(scans, bs=bs, num_workers=0, device="cpu")
    return Learner(dls, Bright(), loss_func=loss or DiceCELoss3D())


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    for k in range(4):
        scan(k).save(root / f"image{k}.nii.gz")
        mask_of(scan(k)).save(root / f"mask{k}.nii.gz")
    rows = [(f"image{k}.nii.gz", f"mask{k}.nii.gz", "ab"[k % 2], k > 1) for k in range(4)]
    return root, pd.DataFrame(rows, columns=["image", "mask", "label", "valid"])


def loaders(study, kind):
    root, table = study
    small = {"bs": 2, "num_workers": 0, "device": "cpu"}
    if kind == "table":
        return SegmentationDataLoaders3D.from_df(
            table, root, fn_col="image", label_col="mask", valid_col="valid", codes=["air", "lesion"], **small
        )
    files = [root / name for name in table.image]
    if kind == "paths":
        return SegmentationDataLoaders3D.from_path_func(
            root, files, lambda path: str(path).replace("image", "mask"), 0.5, 1, ["air", "lesion"], **small
        )
    if kind == "block":
        return block().dataloaders([scan(k) for k in range(4)], **small)
    return ImageDataLoaders3D.from_df(
        table, root, fn_col="image", label_col="label", valid_col="valid", y_block=CategoryBlock(["a", "b"]), **small
    )


SOURCES = {
    "str": lambda path: str(path),
    "Path": lambda path: path,
    "volume": lambda path: TensorDicom3D.create(path),
    "sitk.Image": lambda path: sitk.ReadImage(str(path)),
    "tensor": lambda path: TensorDicom3D.create(path).as_subclass(Tensor),
    "array": lambda path: TensorDicom3D.create(path).numpy(),
}


class TestPredict:
    @pytest.mark.parametrize("kind", ["table", "paths", "block"])
    @pytest.mark.parametrize("source", SOURCES)
    def test_gives_the_mask_where_the_input_lies(self, study, kind, source):
        learn = Learner(loaders(study, kind), Bright(), loss_func=DiceCELoss3D())
        with learn.no_bar(), learn.no_logging():
            mask = learn.predict(SOURCES[source](study[0] / "image0.nii.gz"))[0]
        expected = Geometry(SHAPE) if source in ("tensor", "array") else scan(0).geometry
        assert isinstance(mask, TensorMask3D)
        assert mask.geometry.agrees(expected)
        assert mask.as_subclass(Tensor).bool().tolist() == (scan(0) > 50).tolist()

    @pytest.mark.parametrize("source", SOURCES)
    def test_takes_the_same_sources_for_whole_volumes(self, study, source):
        learn = Learner(loaders(study, "classes"), Whole())
        with learn.no_bar(), learn.no_logging():
            assert learn.predict(SOURCES[source](study[0] / "image0.nii.gz"))[0] in ("a", "b")

    def test_of_a_transform_that_moves_the_grid_lies_on_the_new_grid(self):
        learn = learner(item_tfms=[augment.Resample3D((2, 2, 3)), augment.PadOrCrop3D((3, 2, 2))])
        with learn.no_bar(), learn.no_logging():
            image, mask, *_ = learn.predict(scan(0), with_input=True)
        assert mask.geometry == image.geometry
        assert mask.get_spacing() == pytest.approx((2, 2, 3), rel=0.5)

    def test_claims_no_place_where_the_network_gives_another_size(self):
        learn = learner()
        learn.model = nn.Sequential(learn.model, nn.AvgPool3d((1, 2, 2)))
        learn.loss_func = DiceCELoss3D()
        with learn.no_bar(), learn.no_logging(), pytest.raises(Exception, match="need labels"):
            learn.get_preds()
        dl = learn.dls.test_dl([scan(0)])
        image = dl.one_batch()[0]
        _, mask = learn.dls.decode_batch((image, torch.zeros(1, 3, 2, 3, dtype=torch.int64)))[0]
        assert mask.geometry is None

    def test_each_mask_of_a_batch_lies_where_its_own_image_lies(self):
        learn = learner()
        dl = learn.dls.test_dl([scan(k) for k in range(3)])
        images = dl.one_batch()[0]
        found = learn.dls.decode_batch((images, torch.zeros(2, *SHAPE, dtype=torch.int64)))
        assert [mask.geometry for _, mask in found] == [scan(k).geometry for k in range(2)]

    def test_a_target_that_lost_its_place_gets_none_of_its_image(self):
        learn = learner()
        images, masks = learn.dls.valid.one_batch()
        lost = TensorMask3D(masks[:, torch.tensor([1, 0, 2])])
        assert lost.geometry is None
        assert learn.dls.valid.decode((images, lost))[1][0].geometry is None

    def test_pictures_of_results_take_the_spacing_of_both(self):
        learn = learner()
        with learn.no_bar(), learn.no_logging():
            learn.show_results()
        plt.close("all")


MOVING = {
    name: kind
    for name, kind in vars(augment).items()
    if isinstance(kind, type) and name.startswith("Random") and name not in ("RandomTransform3D", "RandomCrop3D")
}


def dice(scores, target):
    found = scores.argmax(1) == 1
    return float(2 * (found & (target == 1)).sum() / (found.sum() + (target == 1).sum()))


class TestTestTimeAugmentation:
    @pytest.mark.parametrize("name", MOVING)
    @pytest.mark.parametrize("where", ["item_tfms", "batch_tfms"])
    def test_is_right_for_intensities_and_refused_for_what_moves_voxels(self, name, where):
        transform = MOVING[name]() if name != "RandomSpatial3D" else MOVING[name](augment.RandomFlip3D())
        learn = learner(**{where: transform})
        with learn.no_bar():
            if isinstance(transform, augment.IntensityTransform3D):
                assert learn.tta()[0].shape == (2, 2, *SHAPE)
            else:
                with pytest.raises(ValueError, match=rf"{name} has moved.*learn.predict_volume\(source, tta=True\)"):
                    learn.tta()

    @settings(deadline=None)  # a loaded machine takes its time
    @given(
        st.sampled_from(
            [augment.RandomFlip3D(p=1), augment.RandomCrop3D((2, 3, 4)), augment.RandomNoise3D(0.5, (0, 0.001))]
        ),
        st.booleans(),
        st.sampled_from(["valid", "test"]),
        st.integers(1, 3),
    )
    def test_scores_are_those_of_their_own_voxels_or_refused(self, transform, whole_batches, loader, bs):
        learn = learner(**{"batch_tfms" if whole_batches else "item_tfms": transform}, bs=bs)
        dl = None if loader == "valid" else learn.dls.test_dl([scan(7), scan(8)], with_labels=True)
        with learn.no_bar():
            if isinstance(transform, augment.IntensityTransform3D):
                assert dice(*learn.tta(dl=dl)) > 0.98
            else:
                with pytest.raises(ValueError, match=r"predict_volume\(source, tta=True\)"):
                    learn.tta(dl=dl)

    def test_predicts_as_before_afterwards(self):
        learn = learner(batch_tfms=augment.RandomFlip3D(p=1))
        with learn.no_bar():
            with pytest.raises(ValueError, match="RandomFlip3D"):
                learn.tta()
            assert dice(*learn.get_preds()) == 1

    def test_of_whole_volumes_is_fastais(self):
        dls = DataBlock(
            (ImageBlock3D, CategoryBlock(["a", "b"])),
            get_y=lambda volume: "a",
            splitter=IndexSplitter([2, 3]),
            batch_tfms=augment.RandomFlip3D(p=1),
        ).dataloaders([scan(k) for k in range(4)], bs=2, num_workers=0, device="cpu")
        learn = Learner(dls, Whole())
        with learn.no_bar():
            assert learn.tta()[0].shape == (2, 2)

    def test_training_and_validation_take_no_notice(self):
        learn = learner(batch_tfms=augment.RandomFlip3D(p=1))
        with learn.no_bar(), learn.no_logging():
            learn.fit(1, 0.0)
            assert np.isfinite(learn.validate()[0])
            assert learn.get_preds(ds_idx=0)[0].shape == (2, 2, *SHAPE)

    def test_of_other_sizes_says_what_to_do(self):
        learn = learner(batch_tfms=augment.RandomNoise3D(), bs=1, shapes=(SHAPE, SHAPE, (3, 5, 6), (4, 4, 7)))
        with (
            learn.no_bar(),
            pytest.raises(ValueError, match=r"one size.*predict_volume\(source, tta=True\)"),
        ):
            learn.tta()
