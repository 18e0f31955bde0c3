"""The learners: what they read off the data, and that they train."""

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.callback.core import Callback
from fastai.callback.training import GradientAccumulation
from fastai.data.block import CategoryBlock, DataBlock, MultiCategoryBlock, RegressionBlock, TransformBlock
from fastai.data.transforms import ColReader, IndexSplitter
from fastai.interpret import Interpretation
from fastai.learner import Learner, load_learner
from fastai.losses import BaseLoss, BCEWithLogitsLossFlat, CrossEntropyLossFlat
from fastai.torch_core import set_seed
from tiny_networks import tiny_network, trained_network
from torch import nn

from faimed3d.augment import Clip3D, Normalize3D, ZScore3D
from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D
from faimed3d.data.blocks import ImageBlock3D, MaskBlock3D
from faimed3d.losses import CrossEntropyLoss3D, DiceCELoss3D, MCCLoss
from faimed3d.models import (
    AlexNet3D,
    UNet3D,
    efficientnet_b0,
    in_channels,
)
from faimed3d.training import KeepGeometry, cnn_learner_3d, deeplab_learner_3d, default_loss, unet_learner_3d

SHAPE = (6, 9, 12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four volumes of two channels, and masks: label 1 where the first channel is bright."""
    root = tmp_path_factory.mktemp("models")
    random = np.random.default_rng(0)
    rows = []
    for number in range(4):
        mask = np.zeros(SHAPE, np.uint8)
        mask[1:5, 2:7, 3 + number : 8] = 1
        row = {"mask": f"{root}/mask{number}.nii.gz"}
        TensorMask3D(mask, Geometry(SHAPE)).save(row["mask"])
        for channel in ("a", "b"):
            row[channel] = f"{root}/{channel}{number}.nii.gz"
            TensorDicom3D(random.normal(0, 0.1, SHAPE).astype(np.float32) + mask, Geometry(SHAPE)).save(row[channel])
        rows.append({**row, "kind": "xy"[number % 2], "size": float(mask.sum()), "both": "x y" if number else "x"})
    return pd.DataFrame(rows)


def read_two(row):
    return [row["a"], row["b"]]


def make_dls(table, block, get_y, bs=2):
    data = DataBlock((ImageBlock3D, block), get_x=read_two, get_y=get_y, splitter=IndexSplitter([2, 3]))
    return data.dataloaders(table, bs=bs, num_workers=0)


@pytest.fixture
def dls(folder):
    set_seed(0)
    return make_dls(folder, MaskBlock3D(["background", "box"]), ColReader("mask"))


class TestUnetLearner:
    def test_knows_channels_classes_and_loss_from_the_dls(self, dls):
        learn = unet_learner_3d(dls, tiny_network)
        assert in_channels(learn.model) == 2
        assert learn.model(torch.rand(1, 2, 4, 4, 4)).shape[1] == 2
        assert isinstance(learn.loss_func, DiceCELoss3D)
        assert isinstance(learn.keep_geometry, KeepGeometry)

    def test_learns_the_bright_box_and_survives_export(self, dls, tmp_path):
        learn = unet_learner_3d(dls, UNet3D, model_args={"widths": (8, 16)}, path=tmp_path)
        with learn.no_bar(), learn.no_logging():
            learn.fit(6, 2e-2)
            prediction, _, _ = learn.predict([str(path) for path in (dls.items["a"][0], dls.items["b"][0])])
            probabilities, targets, losses = learn.get_preds(with_loss=True)
        truth = TensorMask3D.create(dls.items["mask"][0])
        assert ((prediction == truth).float().mean()) > 0.95
        assert torch.allclose(probabilities.sum(1), torch.ones(2, *SHAPE), atol=1e-5)
        assert targets.shape == (2, *SHAPE)
        assert losses.shape == (2,)
        with learn.no_bar(), learn.no_logging():
            worst, which = Interpretation.from_learner(learn).top_losses(1)
        assert worst.item() == pytest.approx(losses.max().item(), rel=1e-4)
        assert which.tolist() == [losses.argmax().item()]
        learn.export("learner.pkl")
        with pytest.warns(UserWarning, match="load_learner.*pickle"):
            loaded = load_learner(tmp_path / "learner.pkl")
        x = torch.rand(1, 2, *SHAPE)
        assert torch.equal(loaded.model.eval()(x), learn.model.eval()(x))

    def test_freezes_what_is_pretrained_and_trains_at_different_rates(self, dls):
        learn = unet_learner_3d(dls, trained_network, pretrained=True)
        first = learn.model.encoder[0][0].weight
        frozen = first.detach().clone()
        with learn.no_bar(), learn.no_logging():
            learn.fit(1, 1e-2)
            assert torch.equal(first, frozen)
            learn.unfreeze()
            learn.fine_tune(1, 1e-2)
        assert not torch.equal(first, frozen)
        assert len({hyper["lr"] for hyper in learn.opt.hypers}) == 3

    @pytest.mark.parametrize("make", [unet_learner_3d, deeplab_learner_3d, cnn_learner_3d])
    def test_fine_tune_leaves_no_random_weights_frozen(self, folder, make):
        block, get_y = (CategoryBlock, "kind") if make is cnn_learner_3d else (MaskBlock3D(["air", "box"]), "mask")
        learn = make(make_dls(folder, block, ColReader(get_y)), tiny_network)
        learn.freeze()
        assert all(parameter.requires_grad for parameter in learn.model.parameters())
        pretrained = make(learn.dls, trained_network, pretrained=True)
        assert not all(parameter.requires_grad for parameter in pretrained.model.parameters())
        assert len(pretrained.opt.param_lists) == 3

    def test_accumulates_gradients_as_fastai_does(self, dls):
        class Steps(Callback):
            count = 0

            def after_step(self):
                Steps.count += 1

        learn = unet_learner_3d(dls, tiny_network, cbs=[GradientAccumulation(4), Steps])
        with learn.no_bar(), learn.no_logging():
            learn.fit(2, 1e-3)
        assert Steps.count == 1  # four items: two epochs of one batch of two

    def test_what_is_passed_goes_before_what_is_inferred(self, dls):
        loss = CrossEntropyLoss3D()
        learn = unet_learner_3d(
            dls, tiny_network, n_out=5, n_in=3, loss_func=loss, splitter=lambda m: [[*m.parameters()]]
        )
        assert learn.model(torch.rand(1, 3, 4, 4, 4)).shape[1] == 5
        assert learn.loss_func is loss
        learn.create_opt()
        assert len(learn.opt.param_lists) == 1

    def test_refuses_what_it_cannot_infer(self, folder):
        flat = DataBlock((TransformBlock(TensorDicom3D.create), MaskBlock3D(["a", "b"])), get_x=ColReader("a"),
                         get_y=ColReader("mask"), splitter=IndexSplitter([3]))  # fmt: skip
        with pytest.raises(ValueError, match=r"images \(B, C, D, H, W\), got \(1, 6, 9, 12\): ImageBlock3D"):
            unet_learner_3d(flat.dataloaders(folder, bs=2), tiny_network)
        plain = DataBlock((ImageBlock3D, TransformBlock(TensorMask3D.create)), get_x=ColReader("a"),
                          get_y=ColReader("mask"), splitter=IndexSplitter([3]))  # fmt: skip
        with pytest.raises(ValueError, match="do not say how many classes there are: give MaskBlock3D its codes"):
            unet_learner_3d(plain.dataloaders(folder, bs=2), tiny_network)
        with pytest.raises(ValueError, match="UNet3D has no pretrained weights"):
            unet_learner_3d(plain.dataloaders(folder, bs=2), UNet3D, n_out=2, pretrained=True)


class TestNormalization:
    """Scans in HU or in the units of MR are brought to mean 0 and sd 1, as nothing else does it."""

    def loaders(self, folder, item=(), batch=()):
        table = folder.copy()
        for column in ("a", "b"):
            for number, path in enumerate(folder[column]):
                table.loc[number, column] = path.replace(".nii.gz", "_mr.nii.gz")
                (TensorDicom3D.create(path) * 1000 + 500).save(table.loc[number, column])
        data = DataBlock((ImageBlock3D, MaskBlock3D(["air", "box"])), get_x=read_two, get_y=ColReader("mask"),
                         splitter=IndexSplitter([2, 3]), item_tfms=item, batch_tfms=batch)  # fmt: skip
        return data.dataloaders(table, bs=2, num_workers=0)

    @staticmethod
    def added(dls):
        return [transform for transform in dls.train.after_batch.fs if isinstance(transform, Normalize3D)]

    @pytest.mark.parametrize("make", [unet_learner_3d, deeplab_learner_3d])
    def test_is_added_once_where_nothing_scales(self, folder, make):
        dls = self.loaders(folder)
        before, masks = dls.one_batch()
        assert before.mean() > 400
        make(dls, tiny_network)
        make(dls, tiny_network)
        assert len(self.added(dls)) == 1
        for loader in dls:
            images, targets = loader.one_batch()
            for channel in range(2):
                assert abs(images[:, channel].mean()) < 0.2
                assert abs(images[:, channel].std() - 1) < 0.3
            assert set(targets.unique().tolist()) == {0, 1}
        assert masks.dtype == targets.dtype == torch.int64

    @pytest.mark.parametrize("given", [{"item": ZScore3D()}, {"batch": Normalize3D(600.0, 400.0)}])
    def test_is_not_added_where_a_transform_scales(self, folder, given):
        dls = self.loaders(folder, **given)
        count = len(self.added(dls))
        unet_learner_3d(dls, tiny_network)
        assert len(self.added(dls)) == count

    def test_is_added_to_what_is_only_clipped(self, folder):
        dls = self.loaders(folder, item=Clip3D(-1000, 1000))
        unet_learner_3d(dls, tiny_network)
        assert len(self.added(dls)) == 1

    def test_can_be_left_out(self, folder):
        dls = self.loaders(folder)
        cnn_learner_3d(dls, tiny_network, normalize=False)
        assert not self.added(dls)
        assert dls.one_batch()[0].mean() > 400

    def test_predicted_volumes_are_prepared_alike(self, folder):
        dls = self.loaders(folder)
        learn = unet_learner_3d(dls, UNet3D, model_args={"widths": (8, 16)})
        with learn.no_bar(), learn.no_logging():
            learn.fit(2, 2e-2)
            scores, _ = learn.get_preds()
        row = dls.valid_ds.items.iloc[1]
        found = learn.predict_volume([row["a"], row["b"]])
        assert found.any()
        assert (found == scores[1].argmax(0)).float().mean() > 0.999


class TestDeepLabLearner:
    def test_trains(self, dls):
        learn = deeplab_learner_3d(dls, tiny_network, model_args={"width": 6})
        with learn.no_bar(), learn.no_logging():
            learn.fine_tune(1, 1e-3)
            scores, _ = learn.get_preds()
        assert scores.shape == (2, 2, *SHAPE)


class TestCnnLearner:
    @pytest.mark.parametrize(
        ("block", "get_y", "n_out", "loss"),
        [
            (CategoryBlock, ColReader("kind"), 2, CrossEntropyLossFlat),
            (MultiCategoryBlock, ColReader("both", label_delim=" "), 2, BCEWithLogitsLossFlat),
            (RegressionBlock, ColReader("size"), 1, BaseLoss),
        ],
        ids=["categories", "several", "numbers"],
    )
    def test_takes_the_loss_of_the_blocks_and_trains(self, folder, block, get_y, n_out, loss):
        set_seed(0)
        learn = cnn_learner_3d(make_dls(folder, block, get_y), tiny_network, model_args={"lin_ftrs": [8]})
        assert type(learn.loss_func) is loss
        with learn.no_bar(), learn.no_logging():
            learn.fine_tune(1, 1e-3)
            predictions, _ = learn.get_preds()
        assert predictions.shape == (2, n_out)

    def test_a_target_without_a_loss_is_an_error(self, folder):
        dls = make_dls(folder, TransformBlock, ColReader("size"))
        with pytest.raises(ValueError, match="do not say which loss suits their targets"):
            default_loss(dls)


@pytest.mark.parametrize("arch", [efficientnet_b0, AlexNet3D])
class TestLearnersOverThem:
    def test_classes(self, folder, arch):
        dls = make_dls(folder, CategoryBlock, ColReader("kind"))
        learn = cnn_learner_3d(dls, arch)
        with learn.no_bar(), learn.no_logging():
            learn.fit(1, 1e-3)
        assert np.isfinite(learn.recorder.values[0][0])
        assert in_channels(learn.model[0]) == 2

    def test_labels(self, dls, arch):
        learn = unet_learner_3d(dls, arch, loss_func=MCCLoss())
        with learn.no_bar(), learn.no_logging():
            learn.fit(1, 1e-3)
        assert np.isfinite(learn.recorder.values[0][0])


class TestPlainLearner:
    def test_any_network_trains(self, dls):
        network = nn.Sequential(nn.Conv3d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 2, 1))
        learn = Learner(dls, network, loss_func=DiceCELoss3D())
        with learn.no_bar(), learn.no_logging():
            before = learn.validate()[0]
            learn.fit(4, 2e-2)
            assert learn.validate()[0] < before
