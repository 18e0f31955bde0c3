"""Whole volumes through windows in validation: the same numbers as predict_volume, and a learner left as it was."""

import pytest
import torch
from fastai.callback.core import Callback, CancelBatchException
from fastai.losses import BCEWithLogitsLossFlat
from small_trainings import SHAPE, fit, learner, loaders, write_volumes
from torch import nn

from faimed3d.data import RegionBlock3D
from faimed3d.losses import DiceCELoss3D
from faimed3d.training import Dice3D
from faimed3d.training.whole_cases import WholeCases

PATCH = (4, 4, 5)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_volumes(tmp_path_factory.mktemp("volumes"))


class Seen(nn.Module):
    """A network of two classes that notes the sizes of what it is shown."""

    def __init__(self, n_out=2):
        super().__init__()
        self.conv, self.sizes = nn.Conv3d(1, n_out, 3, padding=1), []

    def forward(self, x):
        self.sizes.append(tuple(x.shape))
        return self.conv(x)


def made(table, model, loss=None, metrics=(), block=None, **how):
    learn = learner(loaders(table, block), [WholeCases(PATCH, **how)], model, list(metrics))
    learn.loss_func = loss or DiceCELoss3D()
    return learn


class TestInValidation:
    def test_scores_loss_and_dice_are_those_of_predict_volume(self, table):
        learn = made(table, Seen(), metrics=[Dice3D()], overlap=0.25)
        with learn.no_bar(), learn.no_logging():
            scores, masks = learn.get_preds(act=nn.Identity())
            loss, dice = learn.validate()
        assert scores.shape == (2, 2, *SHAPE)
        names = [table["t1"][4], table["t1"][5]]
        found = [learn.predict_volume(name, PATCH, 0.25, probabilities=True, progress=False) for name in names]
        for one, (labels, probabilities) in zip(scores, found, strict=True):
            torch.testing.assert_close(one.exp(), torch.as_tensor(probabilities.numpy()), atol=1e-6, rtol=0)
            assert torch.equal(one.argmax(0), torch.as_tensor(labels.numpy()).long())
        assert loss == pytest.approx(learn.loss_func(scores, masks).item(), abs=1e-5)
        overlap = [2 * ((s.argmax(0) == 1) & (m == 1)).sum() / ((s.argmax(0) == 1).sum() + (m == 1).sum())
                   for s, m in zip(scores, masks, strict=True)]  # fmt: skip
        assert dice == pytest.approx(sum(overlap).item() / 2, abs=1e-6)
        assert set(learn.model.sizes) == {(1, 1, *PATCH)}

    def test_training_sees_what_the_loaders_give(self, table):
        model = Seen()
        fit(made(table, model))
        assert model.sizes[:2] == [(2, 1, *SHAPE)] * 2
        assert set(model.sizes[2:]) == {(1, 1, *PATCH)}

    def test_several_windows_at_a_time_give_the_same(self, table):
        model = Seen()
        learn = made(table, model)
        with learn.no_bar(), learn.no_logging():
            one, _ = learn.get_preds()
            learn.whole_cases.windows = 3
            three, _ = learn.get_preds()
        torch.testing.assert_close(one, three)
        assert max(size[0] for size in model.sizes) == 3

    @pytest.mark.parametrize("kind", ["one channel", "regions"])
    def test_scores_of_what_is_no_choice_among_classes_are_logits(self, table, kind):
        regions = kind == "regions"
        learn = made(
            table,
            Seen(2 if regions else 1),
            BCEWithLogitsLossFlat(),
            block=RegionBlock3D({"box": 1, "all": (0, 1)}) if regions else None,
        )
        with learn.no_bar(), learn.no_logging():
            scores = learn.get_preds(act=nn.Identity())[0][0]
        whole = learn.predict_volume(table["t1"][4], PATCH, probabilities=True, progress=False)[1]
        torch.testing.assert_close(scores.sigmoid(), torch.as_tensor(whole.numpy()), atol=1e-5, rtol=0)


class TestTheLearnerStays:
    def test_after_validation_it_has_its_network(self, table):
        model = Seen()
        learn = made(table, model)
        fit(learn)
        assert learn.model is model

    def test_an_error_leaves_it_its_network(self, table):
        class Broken(Seen):
            def forward(self, x):
                if not self.training:
                    raise RuntimeError("broken")
                return super().forward(x)

        model = Broken()
        learn = made(table, model)
        with learn.no_bar(), learn.no_logging(), pytest.raises(RuntimeError, match="broken"):
            learn.validate()
        assert learn.model is model

    def test_so_does_a_batch_that_is_left_out(self, table):
        class LeaveOut(Callback):
            order = 95

            def before_batch(self):
                raise CancelBatchException

        model = Seen()
        learn = made(table, model)
        learn.add_cb(LeaveOut())
        with learn.no_bar(), learn.no_logging():
            learn.validate()
        assert learn.model is model
        assert model.sizes == []

    def test_processes_do_not_wait_for_each_others_windows(self, table):
        class Wrapper(nn.parallel.DataParallel):  # has .module, as DistributedDataParallel has
            def forward(self, x):
                raise AssertionError("would wait for other processes")

        learn = made(table, Wrapper(Seen()))
        with learn.no_bar(), learn.no_logging():
            assert learn.get_preds()[0].shape == (2, 2, *SHAPE)


class TestRefused:
    def test_an_overlap_that_is_no_share(self):
        with pytest.raises(ValueError, match="overlap must be a share from 0 to below 1, got 1"):
            WholeCases(4, overlap=1)

    def test_several_inputs(self, table):
        learn = learner(loaders(table, columns=("t1", "t2")), [WholeCases(PATCH)], Seen())
        with learn.no_bar(), learn.no_logging(), pytest.raises(ValueError, match=r"one input .*StackVolumes"):
            learn.validate()
