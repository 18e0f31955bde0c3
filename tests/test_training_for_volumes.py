"""What fastai has for pictures, in Learners of volumes: it works, or is refused with what to use."""

import pytest
import torch
from every_loss import LOSSES
from fastai.callback.mixup import CutMix, MixUp
from fastai.learner import Learner
from fastai.losses import (
    BCEWithLogitsLossFlat,
    CrossEntropyLossFlat,
    FocalLossFlat,
    LabelSmoothingCrossEntropyFlat,
    MSELossFlat,
)
from fastai.metrics import Dice, DiceMulti, JaccardCoeff
from small_trainings import Classifier, fit, loaders, write_volumes
from torch import nn

from faimed3d.data import MaskBlock3D
from faimed3d.losses import DeepSupervision, DiceCELoss3D, DiceLoss3D, FocalLoss3D
from faimed3d.models import UNet3D
from faimed3d.training import Dice3D, unet_learner_3d
from faimed3d.training.mixing import ChannelsLast3D, CutMix3D
from faimed3d.training.pairing import refuse_wrong_pairs


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_volumes(tmp_path_factory.mktemp("volumes"))


class Scales(UNet3D):
    """Gives its scores on two scales, whole ones last, in validation too."""

    def forward(self, x):
        scores = super().forward(x)
        return [nn.functional.avg_pool3d(scores, 2, ceil_mode=True), scores]


def small(kind=UNet3D):
    return kind(1, 2, widths=(2, 3))


class TestMixing:
    @pytest.mark.parametrize("callback", [MixUp, CutMix])
    @pytest.mark.parametrize("loss", LOSSES)
    def test_trains_with_every_loss(self, table, callback, loss):
        learn = Learner(loaders(table), small(), loss_func=loss(), cbs=callback(1.0))
        fit(learn)
        assert torch.tensor(learn.recorder.losses).isfinite().all()
        assert type(learn.loss_func) is loss

    def test_trains_on_scales_and_one_item_at_a_time(self, table):
        for cut in (MixUp(), CutMix()):
            learn = Learner(loaders(table, bs=1), small(Scales), loss_func=DeepSupervision(DiceLoss3D()), cbs=cut)
            fit(learn)

    def test_a_box_comes_with_its_labels(self):
        cut, images = CutMix3D(), torch.arange(4.0)[:, None, None, None, None].expand(4, 1, 5, 6, 9)
        learn = type("Learner", (), {})()
        learn.x, learn.y = images, images[:, 0].long()
        learn.xb, learn.yb = (images,), (learn.y,)
        cut.learn, cut.stack_y = learn, True  # x and y are those of the Learner
        torch.manual_seed(0)
        for _ in range(20):
            cut.learn.xb, cut.learn.yb = (images,), (images[:, 0].long(),)
            cut.before_batch()
            assert torch.equal(cut.learn.xb[0][:, 0].long(), cut.learn.yb[0])
            shares = [(cut.learn.xb[0][k] == k).float().mean().item() for k in range(4)]
            assert all(share == pytest.approx(cut.lam.item(), abs=1e-6) or share == 1 for share in shares)

    def test_channels_last_is_that_of_volumes(self, table):
        learn = Learner(loaders(table), small()).to_channelslast(use_amp=False)
        fit(learn)
        assert type(learn.channels_last) is ChannelsLast3D


class TestScales:
    def test_metrics_and_predictions_get_the_finest(self, table):
        learn = Learner(loaders(table), small(Scales), loss_func=DiceCELoss3D(), metrics=[Dice3D(), Dice()])
        fit(learn)
        scores, targets = learn.get_preds()
        assert scores.shape[2:] == targets.shape[1:]


class TestIgnored:
    @pytest.mark.parametrize("metric", [Dice, DiceMulti, JaccardCoeff])
    def test_metrics_of_fastai_leave_the_voxels_out(self, table, metric):
        given = metric()
        dls = loaders(table, MaskBlock3D(["background", "box"], ignore_index=255))
        learn = Learner(dls, small(), metrics=given)
        assert learn.loss_func.ignore_index == 255
        with learn.no_bar():
            plain = learn.validate()[1]
        assert list(learn.metrics) == [given]
        loud = Learner(loaders(table), learn.model, metrics=metric())
        with loud.no_bar():
            assert loud.validate()[1] == pytest.approx(plain)  # no voxel has the label

    def test_a_learner_takes_the_label_of_its_loss_or_refuses_another(self, table):
        dls = loaders(table)
        unet_learner_3d(dls, UNet3D, loss_func=DiceCELoss3D(ignore_index=-1))
        assert dls.ignore_index == -1
        with pytest.raises(ValueError, match=r"the dls leave out the label -1 .* the loss FocalLoss3D leaves out 255"):
            unet_learner_3d(dls, UNet3D, loss_func=FocalLoss3D(ignore_index=255))
        with pytest.raises(ValueError, match=r"DiceLoss3D counts it: pass loss_func=DiceLoss3D\(ignore_index=-1"):
            unet_learner_3d(dls, UNet3D, loss_func=DiceLoss3D())
        assert unet_learner_3d(dls, UNet3D).loss_func.ignore_index == -1
        with pytest.raises(ValueError, match="leaves out the label 1, which is one of the 2 classes"):
            unet_learner_3d(loaders(table), UNet3D, loss_func=DiceLoss3D(ignore_index=1))


class TestLosses:
    @pytest.mark.parametrize(
        ("loss", "advice"),
        [
            (CrossEntropyLossFlat(axis=1), r"CrossEntropyLoss3D\(\)"),
            (FocalLossFlat(axis=1, gamma=3.0), r"FocalLoss3D\(gamma=3.0\)"),
            (LabelSmoothingCrossEntropyFlat(axis=1, eps=0.2), r"CrossEntropyLoss3D\(label_smoothing=0.2\)"),
        ],
    )
    def test_those_for_pictures_are_refused(self, table, loss, advice):
        with pytest.raises(ValueError, match=f"takes the axes of 2D images.*Pass loss_func={advice}"):
            unet_learner_3d(loaders(table), UNet3D, loss_func=loss)
        with pytest.raises(ValueError, match=f"Pass loss_func={advice}"):
            fit(Learner(loaders(table), small(), loss_func=loss))

    def test_numbers_compared_one_by_one_need_one_shape(self):
        scores, masks = torch.zeros(2, 1, 3, 4, 5), torch.zeros(2, 3, 4, 5)
        for loss in (nn.MSELoss(), nn.L1Loss(), MSELossFlat(axis=1), BCEWithLogitsLossFlat(axis=1)):
            with pytest.raises(ValueError, match=r"target\[:, None\] adds it"):
                refuse_wrong_pairs(loss, scores, masks)
            refuse_wrong_pairs(loss, scores, masks[:, None])
        for right in (nn.CrossEntropyLoss(), BCEWithLogitsLossFlat(), *(loss() for loss in LOSSES)):
            refuse_wrong_pairs(right, scores, masks)

    def test_classes_of_whole_volumes_may_have_any_loss(self, table):
        from fastai.data.block import CategoryBlock

        fit(Learner(loaders(table, CategoryBlock), Classifier(), loss_func=CrossEntropyLossFlat(), cbs=CutMix()))
