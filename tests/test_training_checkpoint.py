"""A training that was killed goes on with the numbers of the whole one."""

import os
import shutil
import signal
import warnings
from functools import partial

import pytest
import torch
from fastai.callback.core import Callback
from fastai.callback.tracker import EarlyStoppingCallback, SaveModelCallback
from fastai.callback.training import GradientAccumulation
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.optimizer import SGD, Adam, OptimWrapper
from fastai.torch_core import set_seed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from faimed3d.augment import RandomFlip3D
from faimed3d.losses import CrossEntropyLoss3D
from faimed3d.training import Autocast, Checkpoint, ReloadBestFit
from faimed3d.training.checkpoint_file import read_checkpoint, write_checkpoint
from faimed3d.volume import TensorDicom3D, TensorMask3D

SHAPE = (2, 3, 4)
BATCHES = 3
nesterov = partial(OptimWrapper, opt=torch.optim.SGD, momentum=0.9, nesterov=True)


class Stop(Exception):
    """Stands for a kill."""


class Batches(Callback):
    """Note the loss of each batch, and stop in the middle of one."""

    order = 80

    def __init__(self, stop=None, kill=False):
        super().__init__()
        self.stop_at, self.kill = stop, kill

    def before_fit(self):
        self.seen = {}

    def after_loss(self):
        if self.training:
            self.seen[self.learn.epoch, self.learn.iter] = self.learn.loss.item()
        if self.stop_at is not None and (self.learn.epoch, self.learn.iter) == self.stop_at and self.training:
            if self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise Stop("here")


def learner(path, *cbs, opt_func=Adam, augment=True, n=BATCHES * 2, metrics=None):
    """Random in all it does: order of the items, flips, dropout, batch norm that counts."""
    set_seed(7)
    images = [TensorDicom3D(torch.randn(1, *SHAPE)) for _ in range(n)]
    items = [(image, TensorMask3D((image[0] > 0).long())) for image in images]
    tfms = [RandomFlip3D(p=0.5)] if augment else []
    dls = DataLoaders.from_dsets(items, items[:2], bs=2, num_workers=0, after_batch=tfms)
    net = nn.Sequential(nn.Conv3d(1, 3, 3, padding=1), nn.BatchNorm3d(3), nn.Dropout3d(0.3), nn.Conv3d(3, 2, 1))
    return Learner(dls, net, CrossEntropyLoss3D(), opt_func, path=path, cbs=list(cbs), metrics=metrics)


def run(learn, fit):
    with learn.no_bar(), learn.no_logging(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "[0-9]+ of [0-9]+ epochs are in")
        warnings.filterwarnings("ignore", "(.|\\n)*numpy.core is deprecated", DeprecationWarning)  # fastai loads so
        fit(learn)
    return learn


def one_cycle(learn, epochs=3):
    learn.fit_one_cycle(epochs, 1e-2)


def poly(learn, epochs=3):
    learn.fit_poly(epochs, 1e-2)


def same(one, other):
    """Whether two learners have come to the same in all."""
    here, there = (learn.model.state_dict() for learn in (one, other))
    assert all(torch.equal(value, there[name]) for name, value in here.items())
    for name in ("lrs", "losses", "iters"):
        assert list(map(float, getattr(one.recorder, name))) == list(map(float, getattr(other.recorder, name))), name
    assert list(map(list, one.recorder.values)) == list(map(list, other.recorder.values))
    return True


@pytest.fixture
def folder(tmp_path_factory):
    return lambda: tmp_path_factory.mktemp("training")


CALLBACKS = {
    "none": list,
    "float16": lambda: [Autocast("fp16", scaler={"growth_interval": 2})],
    "accumulation": lambda: [GradientAccumulation(4)],
    "best": lambda: [SaveModelCallback(), ReloadBestFit("again")],
}


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(1, 4).flatmap(lambda epochs: st.tuples(st.just(epochs), st.integers(0, epochs * BATCHES - 1))),
    st.sampled_from([one_cycle, poly]),
    st.sampled_from([Adam, SGD, nesterov]),
    st.sampled_from(sorted(CALLBACKS)),
)
def test_the_rest_of_a_training_is_that_of_the_whole_one(folder, when, fit, opt_func, name):
    epochs, stop = when
    make = CALLBACKS[name]
    whole = run(learner(folder(), *make(), Batches(), opt_func=opt_func), lambda learn: fit(learn, epochs))
    numbers = torch.rand(3)
    path = folder()
    cut = learner(path, *make(), Checkpoint(), Batches(divmod(stop, BATCHES)), opt_func=opt_func)
    with pytest.raises(Stop):
        run(cut, lambda learn: fit(learn, epochs))
    rest = run(learner(path, *make(), Checkpoint(), Batches(), opt_func=opt_func), lambda learn: fit(learn, epochs))
    assert torch.equal(torch.rand(3), numbers)  # what is drawn afterwards, too
    first = stop // BATCHES
    assert rest.batches.seen == {at: loss for at, loss in whole.batches.seen.items() if at[0] >= first}
    assert same(rest, whole)
    assert whole.recorder.hps["lr"] == pytest.approx(rest.recorder.hps["lr"])


class TestKill:
    def test_a_training_that_was_killed_goes_on_in_another_process(self, folder):
        path = folder()
        child = os.fork()
        if not child:
            try:
                torch.set_num_threads(1)
                run(learner(path, Checkpoint(), Batches((2, 1), kill=True)), one_cycle)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        assert os.listdir(path / "models") == ["checkpoint.safetensors"]
        whole = run(learner(folder(), Batches()), one_cycle)
        rest = run(learner(path, Checkpoint(), Batches()), one_cycle)
        assert set(rest.batches.seen) == {(2, number) for number in range(BATCHES)}
        assert same(rest, whole)


class TestAgain:
    def test_an_interrupted_cell_goes_on_with_the_same_learner(self, folder):
        whole = run(learner(folder()), one_cycle)
        learn = learner(folder(), Checkpoint(), Batches((1, 2)))
        with pytest.raises(Stop):
            run(learn, one_cycle)
        learn.batches.stop_at = None
        with learn.no_bar(), learn.no_logging(), pytest.warns(UserWarning, match=r"1 of 3 epochs are in .*checkpoint"):
            one_cycle(learn)
        assert same(learn, whole)

    def test_a_finished_training_is_there_at_once_and_a_second_fit_trains(self, folder):
        here, there = folder(), folder() / "copy"

        def make(path):
            return learner(path, SaveModelCallback(), Checkpoint(), Batches())

        first = run(make(here), one_cycle)
        shutil.copytree(here, there)
        again = run(make(there), one_cycle)
        assert again.batches.seen == {}
        assert same(again, first)
        for learn in (first, again):  # the numbers go on from where the first fit ended
            torch.manual_seed(3)
            run(learn, poly)
        assert again.batches.seen == first.batches.seen != {}
        assert same(again, first)

    def test_the_second_part_of_two_goes_on_and_the_first_is_left_out(self, folder):
        def both(learn):
            learn.fine_tune(2, 1e-2, freeze_epochs=2)

        whole = run(learner(folder(), Batches()), both)
        path = folder()

        def two_and_a_half(learn):
            batches = learn.batches
            batches.before_train = lambda: setattr(batches, "stop_at", (1, 0) if learn.checkpoint.fits else None)
            both(learn)

        with pytest.raises(Stop):
            run(learner(path, Checkpoint(), Batches()), two_and_a_half)
        rest = run(learner(path, Checkpoint(), Batches()), both)
        assert set(rest.batches.seen) == {(1, number) for number in range(BATCHES)}
        assert same(rest, whole)

    def test_a_training_that_stopped_early_stays_so(self, folder):
        path = folder()

        def make():
            return learner(path, EarlyStoppingCallback(patience=2, min_delta=10), Checkpoint(), Batches())

        first, again = (run(make(), lambda learn: one_cycle(learn, 6)) for _ in range(2))
        assert again.batches.seen == {}
        assert len(again.recorder.values) == len(first.recorder.values) < 6
        assert all(torch.equal(a, b) for a, b in zip(first.model.parameters(), again.model.parameters(), strict=True))

    def test_searching_a_rate_and_validating_leave_the_file_alone(self, folder):
        learn = run(learner(folder(), Checkpoint()), one_cycle)
        before = learn.checkpoint.path.read_bytes()

        def look(learn):
            learn.validate()
            learn.get_preds()
            learn.lr_find(num_it=4, show_plot=False)

        run(learn, look)
        assert learn.checkpoint.path.read_bytes() == before

    def test_minutes_spare_the_disk_and_the_end_is_written(self, folder, monkeypatch):
        written = []
        monkeypatch.setattr("faimed3d.training.checkpoint.write_checkpoint", lambda path, state: written.append(state))
        run(learner(folder(), Checkpoint(minutes=10)), one_cycle)
        assert [state["fits"][-1]["finished"] for state in written] == [True]
        run(learner(folder(), Checkpoint()), one_cycle)
        assert [state["fits"][-1]["finished"] for state in written[1:]] == [False, False, False, True]

    def test_resume_false_begins_anew(self, folder):
        path = folder()
        run(learner(path, Checkpoint()), one_cycle)
        assert len(run(learner(path, Checkpoint(resume=False), Batches()), one_cycle).batches.seen) == 3 * BATCHES

    def test_the_table_and_the_counts_of_callbacks_are_there(self, folder):
        class Own(Callback):
            def __init__(self, start=1):
                super().__init__()
                self.start, self.count, self.mean = start, 0, torch.zeros(2)

            def after_batch(self):
                self.count += 1
                self.mean += self.count

        class Protocol(Callback):
            names = ()

            def after_epoch(self):
                self.names = (*self.names, f"epoch {self.learn.epoch}")

            def state_dict(self):
                return {"names": list(self.names)}

            def load_state_dict(self, state):
                self.names = tuple(state["names"])

        path, rows = folder(), []
        with pytest.raises(Stop):
            run(learner(path, Own(), Protocol(), Checkpoint(), Batches((2, 1))), one_cycle)
        learn = learner(path, Own(), Protocol(), Checkpoint(), Batches())
        learn.logger = rows.append
        with learn.no_bar(), pytest.warns(UserWarning, match="2 of 3 epochs"):
            one_cycle(learn)
        assert [row[0] for row in rows] == [0, 1, 2]
        assert learn.protocol.names == ("epoch 0", "epoch 1", "epoch 2")
        batches = 3 * (BATCHES + 1)
        assert learn.own.count == batches
        assert learn.own.mean[0] == batches * (batches + 1) / 2


class TestRefused:
    @pytest.mark.parametrize(
        ("other", "fit", "text"),
        [
            ({}, lambda learn: one_cycle(learn, 4), r"epochs 3 \(here 4\)"),
            ({}, poly, "schedule lr"),
            ({"opt_func": SGD}, one_cycle, r"optimizer Adam.* \(here SGD"),
            ({"augment": False}, one_cycle, "transforms RandomFlip3D"),
            ({"n": 10}, one_cycle, r"batches 3 of 2 \(here 5 of 2\)"),
        ],
    )
    def test_a_training_with_other_settings(self, folder, other, fit, text):
        path = folder()
        run(learner(path, Checkpoint()), one_cycle)
        with pytest.raises(ValueError, match=f"is the checkpoint of another training: .*{text}"):
            run(learner(path, Checkpoint(), **other), fit)

    def test_another_file_or_a_damaged_one(self, folder):
        learn = run(learner(folder(), Checkpoint()), one_cycle)
        data = learn.checkpoint.path.read_bytes()
        for damaged in (data[: len(data) // 2], b"", b"{}" * 10):
            learn.checkpoint.path.write_bytes(damaged)
            with pytest.raises(ValueError, match=r"is no checkpoint, or is damaged .*: remove it to train anew"):
                run(learner(learn.path, Checkpoint()), one_cycle)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(max_size=4),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3),
    ),
    max_leaves=12,
)


class TestFile:
    @settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(values, st.lists(st.floats(), min_size=32, max_size=40))
    def test_values_come_back_as_they_were(self, tmp_path, value, many):
        path = tmp_path / "values.safetensors"
        write_checkpoint(path, {"value": value, "many": many})
        back = read_checkpoint(path)
        assert repr(back) == repr({"value": value, "many": many})

    def test_tensors_keep_their_type_and_are_found_by_their_names(self, tmp_path):
        path = tmp_path / "values.safetensors"
        one = torch.rand(2, 3)
        state = {
            "a": {"b": one, "c": [one.T, one[0], torch.zeros(3, dtype=torch.bfloat16), torch.tensor(5)]},
            "a.b": torch.ones(1, dtype=torch.bool),
            "many": [torch.tensor(float(number)) for number in range(40)],
        }
        write_checkpoint(path, state)
        back = read_checkpoint(path)
        assert torch.equal(back["a"]["b"], one)
        assert torch.equal(back["a"]["c"][0], one.T)
        assert [x.dtype for x in back["a"]["c"]] == [x.dtype for x in state["a"]["c"]]
        assert back["a.b"].item() is True
        assert back["many"] == state["many"]
        with safe_open(path, framework="np") as file:
            assert (file.get_tensor("a.b") == one.numpy()).all()

    def test_a_value_of_another_kind_is_named(self, tmp_path):
        with pytest.raises(TypeError, match=r"holds numbers, .* but model\.1\.hook is a function"):
            write_checkpoint(tmp_path / "x", {"model": [1, {"hook": lambda: None}]})
        with pytest.raises(TypeError, match=r"has the key \(1, 2\)"):
            write_checkpoint(tmp_path / "x", {"model": {(1, 2): 3}})
        assert os.listdir(tmp_path) == []

    def test_a_file_of_weights_is_no_checkpoint(self, tmp_path):
        save_file({"a": torch.ones(1)}, tmp_path / "weights.safetensors")
        with pytest.raises(ValueError, match="is a safetensors file, but no checkpoint of a training"):
            read_checkpoint(tmp_path / "weights.safetensors")
