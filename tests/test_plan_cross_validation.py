"""Folds are trained and scored once: what is there is read, what has changed is made anew, a kill loses one fold."""

import json
import os
import signal
import sys
import traceback
import warnings
from dataclasses import asdict, dataclass, field, replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from fastai.callback.core import Callback
from fastai.learner import Learner
from torch import Tensor

from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D
from faimed3d.data import SegmentationDataLoaders3D
from faimed3d.evaluation import ScoreTable
from faimed3d.inference import Ensemble
from faimed3d.models import UNet3D
from faimed3d.plan import cross_validate, make_folds
from faimed3d.training import StoredNetwork, unet_learner_3d

SHAPE = (4, 6, 8)
COUNT = 6


@dataclass(frozen=True)
class Plan:
    """Stands for the plans of ``propose``."""

    epochs: int = 1
    lr: float = 1e-2
    width: int = 2
    folds: dict = field(default_factory=lambda: {"n": 3, "seed": 1})

    def to_json(self):
        return json.dumps({"plan": asdict(self), "reasons": {"lr": "a guess"}})

    @classmethod
    def from_json(cls, text):
        return cls(**json.loads(text)["plan"])

    def learner(self, cache, fold):
        valid = make_folds(cache.table, **self.folds).split(fold)[1]
        df = cache.table.assign(valid=[k in valid for k in range(len(cache.table))])
        dls = SegmentationDataLoaders3D.from_df(
            df, ".", fn_col="image", label_col="mask", valid_col="valid", codes=["air", "organ", "cyst"], bs=2,
            num_workers=0, device="cpu",
        )  # fmt: skip
        return unet_learner_3d(dls, UNet3D, widths=(self.width, 4))

    def fit(self, learn):
        learn.fit_poly(self.epochs, self.lr)


@dataclass
class Cache:
    """Stands for the caches of ``preprocess``."""

    table: pd.DataFrame
    keys: tuple

    def check(self):
        pass


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    root, random, rows = tmp_path_factory.mktemp("cases"), np.random.default_rng(0), []
    for number in range(COUNT):
        mask = np.zeros(SHAPE, np.uint8)
        mask[1:3, 1:4, 1 + number % 3 : 7] = 1
        mask[0, :2, :2] = 2 * (number != 2)
        place = Geometry(SHAPE, spacing=(1, 2, 3), origin=(number, 0, 5))
        folder = root / f"p{number}"
        folder.mkdir()
        image = random.normal(0, 0.1, SHAPE) + mask
        TensorDicom3D(image.astype(np.float32), place).save(folder / "scan.nii.gz")
        TensorMask3D(mask, place).reorient("RAS" if number % 2 else "LPS").save(folder / "mask.nii.gz")
        rows.append((str(folder / "scan.nii.gz"), str(folder / "mask.nii.gz"), f"p{number}"))
    return Cache(pd.DataFrame(rows, columns=["image", "mask", "patient"]), tuple(f"key{n}" for n in range(COUNT)))


@pytest.fixture(scope="module")
def done(cache, tmp_path_factory):
    """A finished cross-validation: folder and result."""
    folder = tmp_path_factory.mktemp("done")
    return folder, cross_validate(Plan(), cache, folder, progress=False)


@pytest.fixture
def copy(done, tmp_path):
    """A copy of the finished folder."""
    folder = tmp_path / "cv"
    folder.mkdir()
    for fold in done[0].iterdir():
        (folder / fold.name).mkdir()
        for file in fold.iterdir():
            (folder / fold.name / file.name).write_bytes(file.read_bytes())
    return folder


class TestResult:
    def test_each_case_is_scored_once_by_the_network_that_has_not_seen_it(self, cache, done):
        folder, cv = done
        assert isinstance(cv.table, ScoreTable)
        assert list(cv.table.columns[:3]) == ["fold", "case", "class"]
        assert cv.table.scores == ["dice", "hd95_mm", "surface_dice_2mm", "volume_error_ml"]
        assert cv.table["case"].value_counts().to_dict() == {f"p{number}_scan": 2 for number in range(COUNT)}
        folds = make_folds(cache.table, n=3, seed=1)
        for fold in folds.names:
            valid = folds.split(fold)[1]
            own = cv.table[cv.table["fold"] == fold]
            assert list(dict.fromkeys(own["case"])) == [f"p{case}_scan" for case in valid]
            network = StoredNetwork(folder / f"fold_{fold}" / "network.safetensors", Plan().learner(cache, fold))
            with Ensemble([network]).no_bar():
                expected = Ensemble([network]).evaluate(cache.table.iloc[valid])
            assert np.allclose(own["dice"], expected["dice"], equal_nan=True)
            assert np.allclose(own["hd95_mm"], expected["hd95_mm"], equal_nan=True)

    def test_sums_up_and_draws(self, done, tmp_path):
        cv = done[1]
        assert cv.summary().loc["organ", ("dice", "cases")] == COUNT
        means = cv.by_fold()
        assert list(means.index) == [0, 1, 2]
        organ = cv.table[cv.table["class"] == "organ"]
        assert np.allclose(means["organ"], [organ["dice"][organ["fold"] == fold].mean() for fold in range(3)])
        axes = cv.show(["dice", "volume_error_ml"])
        assert [ax.get_ylabel() for ax in axes] == ["Dice", "volume error (ml)"]
        axes[0].figure.savefig(tmp_path / "cv.png")
        plt.close("all")
        assert repr(cv) == f"CrossValidation(3 folds, 6 cases, in {done[0]})"

    def test_the_ensemble_is_of_all_folds(self, cache, done):
        cv, source = done[1], cache.table["image"][0]
        learners = [Plan().learner(cache, fold) for fold in range(3)]
        each = [StoredNetwork(done[0] / f"fold_{fold}/network.safetensors", learners[fold]) for fold in range(3)]
        asked = {"probabilities": True, "progress": False}
        mean = sum(Ensemble([one]).predict_volume(source, **asked)[1].as_subclass(Tensor) for one in each) / 3
        assert torch.allclose(cv.ensemble.predict_volume(source, **asked)[1].as_subclass(Tensor), mean, atol=1e-6)

    def test_a_fold_alone_is_what_it_is_among_all(self, cache, done, tmp_path):
        cv = cross_validate(Plan(), cache, tmp_path, folds=[1], progress=False)
        expected = done[1].table[done[1].table["fold"] == 1].reset_index(drop=True)
        pd.testing.assert_frame_equal(pd.DataFrame(cv.table), pd.DataFrame(expected))
        assert sorted(path.name for path in tmp_path.iterdir()) == ["fold_1"]


class TestAgain:
    def test_what_is_there_is_read(self, cache, done):
        before = {file: file.stat().st_mtime_ns for file in done[0].rglob("*")}
        cv = cross_validate(Plan(), cache, done[0], progress=False)
        pd.testing.assert_frame_equal(pd.DataFrame(cv.table), pd.DataFrame(done[1].table))
        assert {file: file.stat().st_mtime_ns for file in done[0].rglob("*")} == before

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({}, "fit changed"),
            ({"plan": Plan(width=4)}, "width of the plan changed"),
            ({"seed": 3}, "seed changed"),
            ({"cache": "another mask"}, "cases changed"),
        ],
    )
    def test_what_has_changed_is_trained_again_and_this_is_said(self, cache, copy, change, said):
        if change.pop("cache", None):
            cache = replace(cache, keys=(*cache.keys[:-1], "another"))
        fits = []
        plan = change.pop("plan", Plan())
        with pytest.warns(UserWarning, match=f"fold 2 is trained again: .*{said} since it was trained"):
            cross_validate(
                plan, cache, copy, folds=[2], fit=lambda learn: (fits.append(1), learn.fit_poly(1, 1e-2)),
                progress=False, **change,
            )  # fmt: skip
        assert len(fits) == 1

    def test_reasons_are_no_change(self, cache, copy, monkeypatch):
        monkeypatch.setattr(Plan, "to_json", lambda plan: json.dumps({"plan": asdict(plan), "reasons": {}}))
        before = (copy / "fold_0" / "fold.json").stat().st_mtime_ns
        cross_validate(Plan(), cache, copy, progress=False)
        assert (copy / "fold_0" / "fold.json").stat().st_mtime_ns == before

    def test_other_scores_need_no_training(self, cache, copy):
        before = (copy / "fold_0" / "network.safetensors").stat().st_mtime_ns
        cv = cross_validate(Plan(), cache, copy, tolerance=1, tta=(2,), progress=False)
        assert "surface_dice_1mm" in cv.table
        assert (copy / "fold_0" / "network.safetensors").stat().st_mtime_ns == before

    @pytest.mark.parametrize("name", ["network.safetensors", "scores.csv", "fold.json"])
    def test_a_damaged_file_is_made_again(self, cache, done, copy, name):
        file = copy / "fold_1" / name
        file.write_bytes(file.read_bytes()[:-9])
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            cv = cross_validate(Plan(), cache, copy, progress=False)
        network = name == "network.safetensors"
        assert [str(one.message).endswith("safetensors is gone or damaged") for one in said] == [True] * network
        pd.testing.assert_frame_equal(pd.DataFrame(cv.table), pd.DataFrame(done[1].table))

    def test_a_budget_is_measured_once(self, cache, tmp_path, monkeypatch):
        asked = []
        monkeypatch.setattr(
            Plan, "for_budget", lambda plan, minutes: asked.append(minutes) or replace(plan, epochs=2), raising=False
        )
        for folds in ([0], [1], [0, 1]):
            cv = cross_validate(Plan(), cache, tmp_path, folds=folds, minutes=3, progress=False)
        assert asked == [3]
        assert cv.plan.epochs == 2


class TestKilled:
    @pytest.mark.filterwarnings("ignore:1 of 1 epochs are in", "ignore:Exception occured in `Checkpoint`")
    @pytest.mark.parametrize("moment", [0, 1, 3, 5, 7])  # before the first file; after each of four
    def test_at_any_moment_of_writing_no_half_fold_is_taken_for_a_whole_one(self, cache, done, tmp_path, moment):
        child = os.fork()
        if not child:
            count, whole = [0], os.replace

            def replaced(*args):
                if count[0] == moment // 2 and moment % 2 == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                whole(*args)
                if count[0] == moment // 2:
                    os.kill(os.getpid(), signal.SIGKILL)
                count[0] += 1

            os.replace = replaced
            try:
                cross_validate(Plan(), cache, tmp_path, folds=[0], progress=False)
            except BaseException:
                traceback.print_exc()
            finally:  # never another pytest
                sys.stderr.flush()
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        cv, fits = again_as_planned(cache, tmp_path)
        assert len(fits) == (moment < 5)  # fold.json is the third; before it a checkpoint says that all is trained
        expected = done[1].table[done[1].table["fold"] == 0].reset_index(drop=True)
        pd.testing.assert_frame_equal(pd.DataFrame(cv.table), pd.DataFrame(expected))

    def test_within_a_training_it_goes_on_from_the_last_epoch(self, cache, tmp_path, monkeypatch):
        monkeypatch.setattr("faimed3d.plan.cross_validation._MINUTES", 0)
        plan, wanted = Plan(epochs=3), tmp_path / "wanted"
        expected = cross_validate(plan, cache, wanted, folds=[0], progress=False)
        begun = []

        class Stop(Callback):
            def before_epoch(self):
                begun.append(self.epoch)
                if len(begun) == 3:
                    raise KeyboardInterrupt

        learner = Plan.learner
        monkeypatch.setattr(Plan, "learner", lambda *args: add_cb(learner(*args), Stop()))
        with pytest.raises(KeyboardInterrupt):
            cross_validate(plan, cache, tmp_path / "cv", folds=[0], progress=False)
        with pytest.warns(UserWarning, match="2 of 3 epochs are in .* and are not trained again"):
            cv = cross_validate(plan, cache, tmp_path / "cv", folds=[0], progress=False)
        pd.testing.assert_frame_equal(pd.DataFrame(cv.table), pd.DataFrame(expected.table))
        names = ["fold.json", "network.safetensors", "scores.csv"]
        assert sorted(path.name for path in (tmp_path / "cv" / "fold_0").iterdir()) == names


def again_as_planned(cache, folder):
    """Go on with fold 0 as the default does, and note the trainings."""
    fits, fit_poly = [], Learner.fit_poly
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastai.learner.Learner.fit_poly", lambda learn, *args: (fits.append(1), fit_poly(learn, *args)))
        return cross_validate(Plan(), cache, folder, folds=[0], progress=False), fits


def add_cb(learn, callback):
    learn.add_cb(callback)
    return learn


class TestFailures:
    def test_a_fold_that_crashes_is_named_and_those_before_it_are_kept(self, cache, tmp_path):
        calls = []

        def fit(learn):
            calls.append(1)
            if len(calls) == 2:
                raise ArithmeticError("the loss is nan")

        with pytest.raises(
            RuntimeError, match=r"fold 1 of the cross-validation in .*: ArithmeticError: the loss is nan"
        ):
            cross_validate(Plan(), cache, tmp_path, fit=fit, progress=False)
        cv = cross_validate(Plan(), cache, tmp_path, fit=fit, progress=False)
        assert len(calls) == 4  # fold 0 is not trained again
        assert cv.table["fold"].nunique() == 3

    def test_a_case_that_could_not_be_scored_is_scored_the_next_time(self, cache, copy, done):
        file = cache.table["mask"][make_folds(cache.table, n=3, seed=1).split(0)[1][0]]
        os.rename(file, f"{file}.away")
        try:
            with pytest.warns(UserWarning, match="1 of 2 cases failed"):
                cv = cross_validate(Plan(), cache, copy, folds=[0], tolerance=3, progress=False)
        finally:
            os.rename(f"{file}.away", file)
        assert len(cv.table.failed) == 1
        cv = cross_validate(Plan(), cache, copy, folds=[0], tolerance=3, progress=False)
        assert not len(cv.table.failed)

    def test_what_is_refused(self, cache, tmp_path):
        with pytest.raises(ValueError, match="there is no fold 7: there are 0, 1, 2"):
            cross_validate(Plan(), cache, tmp_path, folds=[7])
        with pytest.raises(ValueError, match="folds is empty: name some of 0, 1, 2, or leave it out"):
            cross_validate(Plan(), cache, tmp_path, folds=[])
        with pytest.raises(TypeError, match=r"cross_validate\(\) takes no argument 'fold': did you mean 'folds'"):
            cross_validate(Plan(), cache, tmp_path, fold=0)
        with pytest.raises(TypeError, match="under their own names: leave data and names out"):
            cross_validate(Plan(), cache, tmp_path, names=["a"])
        for how, error, words in (
            ({"folds": 3}, TypeError, r"folds must be a list of names of folds, such as \[0, 2\], got 3"),
            ({"folds": "ab"}, TypeError, "folds must be a list of names of folds"),
            ({"seed": 0.5}, TypeError, "seed must be a whole number, got 0.5"),
            ({"minutes": -1}, ValueError, "minutes must be a number above 0, got -1"),
        ):
            with pytest.raises(error, match=words):
                cross_validate(Plan(), cache, tmp_path, **how)
        assert not list(tmp_path.iterdir())


def test_names_of_folds_that_are_no_names_of_files(cache, tmp_path):
    sited = replace(cache, table=cache.table.assign(fold=["a/b", "..", "c"] * 2))
    cv = cross_validate(Plan(folds={}), sited, tmp_path, fit=lambda learn: None, progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fold_#0", "fold_#1", "fold_c"]
    assert list(dict.fromkeys(cv.table["fold"])) == ["..", "a/b", "c"]


def test_a_fold_does_not_take_the_folder_of_another(cache, tmp_path):
    table = cache.table.assign(fold=["1", "a b"] * 3)  # the second fold, number 1, whose name is none of a file
    how = {"fit": lambda learn: None, "seed": np.int64(3), "folds": [0, 1, 0], "progress": False}
    cv = cross_validate(Plan(folds={}), replace(cache, table=table), tmp_path, **how)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fold_#1", "fold_1"]
    assert repr(cv).startswith("CrossValidation(2 folds, 6 cases")
    assert cv.table["case"].nunique() == COUNT
