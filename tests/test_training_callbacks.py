"""Several inputs as channels, and the best weights again, inside real, tiny trainings."""

import pytest
import torch
from fastai.callback.core import Callback
from fastai.callback.tracker import SaveModelCallback
from small_trainings import COUNT, SHAPE, Watch, fit, learner, loaders, write_volumes

from faimed3d.augment import ResampleLike
from faimed3d.basics import TensorDicom3D
from faimed3d.models import UNet3D
from faimed3d.training import (
    ReloadBestFit,
    SplitVolumes,
    StackVolumes,
    unet_learner_3d,
)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_volumes(tmp_path_factory.mktemp("volumes"))


class TestStackVolumes:
    def test_inputs_become_channels_in_training_validation_and_prediction(self, table):
        learn = learner(loaders(table, columns=("t1", "t2")), [StackVolumes()], UNet3D(2, 2, widths=(4, 6)))
        fit(learn)
        assert all(came == [(2, 2, *SHAPE), (2, *SHAPE)] for _, came, _, _ in learn.watch.seen)
        with learn.no_bar(), learn.no_logging():
            scores, _ = learn.get_preds()
        assert scores.shape == (2, 2, *SHAPE)

    def test_the_learners_of_this_package_take_the_number_of_channels(self, table):
        dls = loaders(table, columns=("t1", "t2"))
        learn = unet_learner_3d(
            dls, UNet3D, n_in=2, cbs=[StackVolumes(), SplitVolumes()], model_args={"widths": (4, 6)}
        )
        learn.add_cb(Watch())
        fit(learn)
        assert learn.watch.seen[0][1] == [(16, 2, 3, 3, 5), (2, *SHAPE)]

    def test_one_input_stays(self, table):
        learn = fit(learner(loaders(table), [StackVolumes()]))
        assert learn.watch.seen[0][1] == [(2, 1, *SHAPE), (2, *SHAPE)]

    @pytest.fixture
    def shifted(self, table, tmp_path):
        moved = table.copy()
        for number in range(COUNT):
            volume = TensorDicom3D.create(table["t2"][number])
            volume.set_origin((-7, 11, 9 if number == 1 else 5))
            moved.loc[number, "t2"] = str(tmp_path / f"{number}.nii.gz")
            volume.save(moved["t2"][number])
        return moved

    def test_inputs_that_lie_elsewhere_are_refused(self, shifted):
        learn = learner(loaders(shifted, columns=("t1", "t2"), bs=4), [StackVolumes()], UNet3D(2, 2, widths=(4, 6)))
        with pytest.raises(ValueError, match=r"inputs 1 and 2 of item . .* lie on different grids: .*ResampleLike\(\)"):
            fit(learn)

    def test_and_can_be_brought_onto_one_grid(self, shifted):
        dls = loaders(shifted, columns=("t1", "t2"), bs=4, item_tfms=ResampleLike())
        learn = fit(learner(dls, [StackVolumes()], UNet3D(2, 2, widths=(4, 6))))
        assert learn.watch.seen[0][1] == [(4, 2, *SHAPE), (4, *SHAPE)]

    def test_inputs_of_other_sizes_are_refused(self):
        stack = StackVolumes()
        stack.learn = type("Learn", (), {"xb": (torch.rand(2, 1, 2, 3, 4), torch.rand(2, 1, 2, 3, 5))})()
        with pytest.raises(ValueError, match=r"input 1 is \(2, 1, 2, 3, 4\) and input 2 is \(2, 1, 2, 3, 5\)"):
            stack.before_batch()
        stack.learn.xb = (torch.rand(2, 1, 2, 3, 4), "text")
        with pytest.raises(ValueError, match="and input 2 is str"):
            stack.before_batch()


class Stray(Callback):
    """Spoil the weights after some epochs, as a step that is too large does."""

    order = 40

    def __init__(self, epochs):
        super().__init__()
        self.epochs, self.before = epochs, {}

    def after_train(self):
        if self.epoch in self.epochs:
            with torch.no_grad():
                for parameter in self.model.parameters():
                    parameter.add_(100)


class TestReloadBestFit:
    def run(self, table, tmp_path, epochs, spoiled, lr=1e-3, **kwargs):
        learn = learner(loaders(table, bs=4), [ReloadBestFit(**kwargs), Stray(spoiled)])
        learn.path = tmp_path
        return fit(learn, epochs, lr)

    def test_the_best_weights_and_optimizer_come_back(self, table, tmp_path):
        learn = self.run(table, tmp_path, 4, [3])
        assert learn.reload_best_fit.reloaded == [3]
        stored = torch.load(tmp_path / "models" / "best.pth", weights_only=False)
        assert all(torch.equal(value, stored["model"][key]) for key, value in learn.model.state_dict().items())
        assert max(float(p.detach().abs().max()) for p in learn.model.parameters()) < 10
        with learn.no_bar(), learn.no_logging():
            best = min(row[1] for row in learn.recorder.values)
            assert learn.validate()[0] == pytest.approx(best, rel=1e-4)
            assert learn.reload_best_fit.reloaded == [3]
        steps = [state["step"] for state in learn.opt.state.values()]
        assert set(steps) == {3}  # of the third epoch, one batch each

    def test_training_goes_on_from_there(self, table, tmp_path):
        learn = self.run(table, tmp_path, 6, [3])
        losses = [row[1] for row in learn.recorder.values]
        assert losses[3] > 2 * losses[2]
        assert max(losses[4:]) < 1.1 * losses[2]

    def test_waits_as_long_as_it_is_told(self, table, tmp_path):
        learn = self.run(table, tmp_path, 6, [2, 3, 4, 5], patience=2)
        assert learn.reload_best_fit.reloaded == [3, 5]

    def test_nothing_is_loaded_while_training_improves(self, table, tmp_path):
        assert self.run(table, tmp_path, 3, []).reload_best_fit.reloaded == []

    def test_a_file_of_an_earlier_fit_is_not_loaded(self, table, tmp_path):
        learn = self.run(table, tmp_path, 2, [])
        with torch.no_grad():
            for parameter in learn.model.parameters():
                parameter.fill_(torch.nan)
        fit(learn, 2)
        assert learn.reload_best_fit.reloaded == []
        assert all(parameter.isnan().all() for parameter in learn.model.parameters())

    @pytest.mark.filterwarnings("ignore:numpy.core is deprecated:DeprecationWarning")  # fastai's own callback
    def test_works_beside_save_model_callback(self, table, tmp_path, capsys):
        learn = learner(loaders(table, bs=4), [ReloadBestFit(fname="mine"), SaveModelCallback(), Stray([2])])
        learn.path = tmp_path
        fit(learn, 3, 1e-3)
        assert learn.reload_best_fit.reloaded == [2]
        assert {file.name for file in (tmp_path / "models").iterdir()} == {"mine.pth", "model.pth"}

    def test_refuses_no_patience(self):
        with pytest.raises(ValueError, match="patience must be at least 1 epoch, got 0"):
            ReloadBestFit(patience=0)
