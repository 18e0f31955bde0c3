"""What a network was trained on stays with it: in files, and for every loader that its learner is given."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from dicom_series import stored_values, write_series
from fastai.callback.progress import ProgressCallback
from fastai.callback.tracker import SaveModelCallback
from fastai.data.transforms import Normalize
from fastai.learner import Learner, load_learner
from fastai.torch_core import set_seed
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_networks import tiny_network
from torch import Tensor, nn

from faimed3d.augment import MaxScale, Normalize3D, Reorient3D, Resample3D, Resize3D, ZScore3D
from faimed3d.basics import Geometry, TensorDicom3D
from faimed3d.data import ImageDataLoaders3D
from faimed3d.data.trained_on import TrainedOn
from faimed3d.training import cnn_learner_3d

SHAPE = (4, 5, 6)


def write(root, count=6, shift=0.0, spacing=(1, 2, 3), code="LPS", spread=20.0):
    """A table of scans, of which one in three has larger numbers; two are in validation."""
    root.mkdir(exist_ok=True)
    for number in range(count):
        voxels = np.random.default_rng(number).normal(50, 15, SHAPE) * (1 if number % 3 else spread) + shift
        scan = TensorDicom3D(voxels.astype(np.float32), Geometry(SHAPE, spacing)).reorient(code)
        scan.save(root / f"{number}.nii.gz")
    return pd.DataFrame(
        {
            "image": [str(root / f"{number}.nii.gz") for number in range(count)],
            "label": [*"ab"] * (count // 2),
            "valid": [number >= count - 2 for number in range(count)],
        }
    )


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write(tmp_path_factory.mktemp("known") / "here")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    return write(tmp_path_factory.mktemp("known") / "there", shift=1000.0)


def loaders(table, **kwargs):
    kwargs = {"bs": 2, "num_workers": 0, **kwargs}
    return ImageDataLoaders3D.from_df(table, label_col="label", valid_col="valid", **kwargs)


def learner(table, path=".", normalize=True, cbs=None, **kwargs):
    return quiet(cnn_learner_3d(loaders(table, **kwargs), tiny_network, path=path, normalize=normalize, cbs=cbs))


def nothing(*_):
    pass


def quiet(learn):
    learn.remove_cb(ProgressCallback)
    learn.logger = nothing
    return learn


def normalizers(dl):
    return [step for step in (*dl.after_item.fs, *dl.after_batch.fs) if isinstance(step, Normalize3D)]


def voxels_of(table):
    scans = [TensorDicom3D.create(path).as_subclass(Tensor).double() for path in table["image"][~table["valid"]]]
    return torch.cat([scan.flatten() for scan in scans])


class TestNumbers:
    def test_are_those_of_all_training_voxels(self, table):
        known = learner(table).trained_on
        expected = voxels_of(table)
        assert known.mean[0] == pytest.approx(expected.mean().item(), rel=1e-6)
        assert known.std[0] == pytest.approx(expected.std().item(), rel=1e-6)
        assert known.orientation == "LPS"
        assert known.spacing == ((1, 2, 3),) * 3
        assert known.classes == ("a", "b")
        assert known.items == 4

    @settings(max_examples=8, deadline=None)  # files are read
    @given(st.integers(0, 2**31), st.sampled_from([1, 2, 3]))
    def test_do_not_depend_on_seed_and_batch_and_draw_nothing(self, table, seed, bs):
        set_seed(seed)
        expected = torch.rand(1)
        set_seed(seed)
        dls = loaders(table, bs=bs, batch_tfms=Normalize3D())
        assert torch.rand(1) == expected
        assert normalizers(dls.train)[0].mean == learner(table).trained_on.mean

    def test_are_of_some_items_where_there_are_many(self, table):
        many = pd.concat([table] * 40, ignore_index=True)
        with pytest.warns(UserWarning, match="normalization are of 100 of the 160 training items, evenly spread"):
            first = learner(many).trained_on
        with pytest.warns(UserWarning, match="of 100 of the 160"):
            assert learner(many).trained_on == first
        assert first.items == 100

    def test_survive_as_plain_values(self, table):
        known = learner(table).trained_on
        assert TrainedOn.from_dict(known.to_dict()) == known
        assert TrainedOn.from_dict({**known.to_dict(), "later": 1}) == known


class TestOtherLoaders:
    @settings(max_examples=24, deadline=None)
    @given(
        st.sampled_from(["dls", "valid", "loaders", "validate", "get_preds", "fit"]),
        st.sampled_from([{}, {"item_tfms": Resize3D((8, 8, 8))}, {"batch_tfms": Normalize3D()}, {"bs": 4}]),
    )
    def test_are_normalized_as_the_training_set_once(self, table, elsewhere, way, how):
        learn, other = learner(table), loaders(elsewhere, **how)
        known = learn.trained_on
        seen = []
        warnings.filterwarnings("ignore", "a volume is sampled too differently")  # Resize3D of another size
        hook = learn.model.register_forward_pre_hook(lambda _, x: seen.append(x[0].mean().item()))
        if way == "dls":
            learn.dls = other
            learn.validate()
        elif way == "valid":
            learn.dls.valid = other.valid
            learn.validate()
        elif way == "loaders":
            learn.dls.loaders = other.loaders
            learn.fit(1)
        elif way == "fit":
            learn.dls = other
            learn.fit(1)
        else:
            getattr(learn, way)(dl=other.valid)
        hook.remove()
        raw = np.mean([TensorDicom3D.create(path).mean().item() for path in elsewhere["image"][elsewhere["valid"]]])
        assert seen[-1] == pytest.approx((raw - known.mean[0]) / known.std[0], abs=0.1)
        assert [(t.mean, t.std) for t in normalizers(learn.dls.valid)] == [(known.mean, known.std)]

    def test_with_numbers_of_their_own_are_refused(self, table, elsewhere):
        learn, other = learner(table), loaders(elsewhere, batch_tfms=Normalize3D(5, 7))
        mean = f"{learn.trained_on.mean[0]:.4g}"
        match = f"trained with the normalization mean {mean}, std .*, but these loaders have mean 5, std 7: leave"
        with pytest.raises(ValueError, match=match):
            learn.dls = other
        for use in (learn.validate, learn.get_preds):
            with pytest.raises(ValueError, match=match):
                use(dl=other.valid)

    def test_with_other_scaling_are_refused(self, table):
        learn = learner(table, item_tfms=ZScore3D())
        assert not normalizers(learn.dls.train)
        learn.dls = loaders(table, item_tfms=[Resize3D(6), ZScore3D()])
        for how, text in (({}, "none"), ({"item_tfms": MaxScale()}, r"MaxScale\(\)")):
            with pytest.raises(
                ValueError, match=rf"scaled by ZScore3D\(foreground=None\), but .* scale theirs by {text}"
            ):
                learn.validate(dl=loaders(table, **how).valid)

    def test_stored_another_way_are_brought_to_the_order_of_the_network(self, table, tmp_path):
        learn = learner(table)
        turned = write(tmp_path / "turned", code="SRA")
        expected = learn.get_preds()[0]
        torch.testing.assert_close(learn.get_preds(dl=loaders(turned).valid)[0], expected)
        learn.dls = loaders(turned)
        torch.testing.assert_close(learn.get_preds()[0], expected)
        with pytest.raises(ValueError, match="trained on scans stored LPS, but these loaders bring theirs to RAS"):
            learn.dls = loaders(turned, item_tfms=Reorient3D("RAS"))

    def test_a_normalization_of_the_user_stays(self, table):
        learn = learner(table, batch_tfms=Normalize3D(5, 7))
        assert (learn.trained_on.mean, learn.trained_on.std) == ((5,), (7,))
        learn.dls = loaders(table)
        assert [(t.mean, t.std) for t in normalizers(learn.dls.train)] == [((5,), (7,))]

    def test_none_stays_none(self, table):
        learn = learner(table, normalize=False)
        learn.dls = loaders(table, bs=1)
        assert not normalizers(learn.dls.train)
        with pytest.raises(ValueError, match="normalization none, but these loaders have mean 5, std 7"):
            learn.validate(dl=loaders(table, batch_tfms=Normalize3D(5, 7)).valid)

    @pytest.mark.parametrize("given", [Normalize(), Normalize.from_stats([100.0], [50.0], ndim=5, cuda=False)])
    def test_normalize_of_fastai_is_named_and_replaced(self, table, given):
        with pytest.warns(UserWarning, match="fastai's Normalize does nothing to volumes and is left out; Normalize3D"):
            learn = learner(table, batch_tfms=given)
        assert len(normalizers(learn.dls.train)) == 1
        assert not [step for dl in learn.dls for step in dl.after_batch.fs if isinstance(step, Normalize)]


class TestFiles:
    def trained(self, table, path):
        learn = learner(table, path)
        learn.fit(1, 1e-3)
        return learn

    def test_weights_bring_their_numbers(self, table, elsewhere, tmp_path):
        learn = self.trained(table, tmp_path)
        learn.save("weights")
        expected, _ = learn.get_preds()
        other = learner(elsewhere, tmp_path)
        with pytest.warns(UserWarning, match=r"weights: the network .* with normalization mean .* \(here mean"):
            other.load("weights")
        assert other.trained_on == learn.trained_on
        torch.testing.assert_close(other.get_preds(dl=loaders(table).valid)[0], expected)
        other.fine_tune(1)
        assert normalizers(other.dls.train)[0].mean == learn.trained_on.mean

    def test_in_a_new_session_nothing_is_said(self, table, tmp_path):
        learn = self.trained(table, tmp_path)
        learn.save("weights")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", "numpy.core is deprecated")
            other = learner(table, tmp_path, bs=1).load("weights")
        torch.testing.assert_close(other.get_preds()[0], learn.get_preds()[0])

    def test_they_win_over_numbers_of_the_user(self, table, tmp_path):
        learn = self.trained(table, tmp_path)
        learn.save("weights")
        other = learner(table, tmp_path, batch_tfms=Normalize3D(5, 7))
        with (
            pytest.warns(UserWarning, match="these loaders have mean 5, std 7: those of the network are used"),
            pytest.warns(UserWarning, match="weights: the network was trained with normalization"),
        ):
            other.load("weights")
        torch.testing.assert_close(other.get_preds()[0], learn.get_preds()[0])

    def test_save_model_callback(self, table, elsewhere, tmp_path):
        learn = learner(table, tmp_path, cbs=SaveModelCallback(fname="best"))
        learn.fit(2, 1e-3)
        other = learner(elsewhere, tmp_path)
        with pytest.warns(UserWarning, match="best: the network was trained with normalization"):
            other.load("best", with_opt=False)
        assert other.trained_on == learn.trained_on

    def test_of_the_same_cases_in_another_split_are_told(self, table, tmp_path):
        self.trained(table, tmp_path).save("weights")
        split = table.assign(valid=table["valid"].to_numpy()[::-1])
        with pytest.warns(UserWarning, match="normalization .* validation may hold cases that it has seen"):
            learner(split, tmp_path).load("weights")

    def test_weights_loaded_past_the_learner(self, table, elsewhere, tmp_path):
        learn, other = self.trained(table, tmp_path), learner(elsewhere, tmp_path)
        torch.save(learn.model.state_dict(), tmp_path / "plain.pth")
        other.model.load_state_dict(torch.load(tmp_path / "plain.pth"))
        assert [t.mean for t in normalizers(other.dls.valid)] == [learn.trained_on.mean]

    def test_a_file_without_the_record_says_so(self, table, tmp_path):
        learn = self.trained(table, tmp_path)
        (tmp_path / "models").mkdir(exist_ok=True)
        torch.save(dict(learn.model.state_dict()), tmp_path / "models" / "old.pth")
        here = learn.trained_on
        with pytest.warns(UserWarning, match=r"old: does not say what its network was trained on; .*as here \(mean"):
            learn.load("old", with_opt=False)
        assert learn.trained_on is here

    @pytest.mark.filterwarnings("ignore:numpy.core is deprecated")
    def test_other_networks_take_the_weights(self, table, tmp_path):
        learn = self.trained(table, tmp_path)
        learn.save("weights")
        plain = Learner(loaders(table), learner(table).model, path=tmp_path)
        plain.model.__dict__.pop("trained_on", None)
        plain.load("weights")
        assert torch.equal(next(plain.model.parameters()), next(learn.model.parameters()))

    def test_a_failed_load_changes_nothing(self, table, tmp_path):
        learn = self.trained(table, tmp_path)
        here = learn.trained_on
        with pytest.raises(FileNotFoundError):
            learn.load("absent")
        assert learn.trained_on is here

    def test_export_and_pickle(self, table, elsewhere, tmp_path):
        learn = self.trained(table, tmp_path)
        learn.export("learner.pkl")
        with pytest.warns(UserWarning, match="load_learner.*pickle"):
            loaded = quiet(load_learner(tmp_path / "learner.pkl"))
        for copy in (loaded, pickle.loads(pickle.dumps(learn))):
            assert copy.trained_on == learn.trained_on
            assert type(copy) is type(learn)
            copy.dls = loaders(elsewhere)
            assert [t.mean for t in normalizers(copy.dls.valid)] == [learn.trained_on.mean]

    def test_other_class_names_are_said(self, table, tmp_path):
        self.trained(table, tmp_path).save("weights")
        other = learner(table.assign(label=[*"xy"] * 3), tmp_path)
        with pytest.warns(UserWarning, match=r"trained with classes \('a', 'b'\) \(here \('x', 'y'\)\)"):
            other.load("weights")


class TestEachVolume:
    """MR, whose units differ from scan to scan: each volume by mean and std of its foreground."""

    def check(self, learn, table):
        assert learn.trained_on.each_volume
        for dl in (learn.dls.train, learn.dls.valid):
            for image in dl.one_batch()[0]:
                assert abs(image.mean()) < 0.1
                assert image.std() == pytest.approx(1, abs=0.1)
        learn.dls = loaders(table, item_tfms=Resize3D((8, 8, 8)))
        assert [type(step) for step in learn.dls.valid.after_item.fs if getattr(step, "scales", False)] == [ZScore3D]
        assert not normalizers(learn.dls.valid)

    def test_is_chosen_by_normalize(self, table):
        learn = learner(table, normalize="volume")
        assert learn.trained_on.normalization == "each volume by its foreground"
        self.check(learn, table)

    @pytest.mark.parametrize(("modality", "alone"), [("MR", True), ("CT", False)])
    def test_is_the_default_for_mr_of_dicom(self, tmp_path, modality, alone):
        for number in range(6):
            write_series(tmp_path / str(number), stored_values((8, 8, 8), seed=number), Modality=modality)
        folders = [str(tmp_path / str(number)) for number in range(6)]
        table = pd.DataFrame({"image": folders, "label": [*"ab"] * 3, "valid": [False] * 4 + [True] * 2})
        learn = learner(table)
        assert learn.trained_on.each_volume == alone
        if alone:
            self.check(learn, table)
        assert not learner(table, normalize=False).trained_on.each_volume

    def test_a_word_that_is_none_is_refused(self, table):
        with pytest.raises(ValueError, match="normalize must be True, False or 'volume', got 'scan'"):
            learner(table, normalize="scan")


class Voxelwise(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(1, 2, 1)

    def forward(self, x):
        return self.conv(x)


class TestSpacing:
    def test_another_is_refused_in_whole_volumes(self, table):
        learn = learner(table)
        learn.model, learn.loss_func = nn.Sequential(Voxelwise()), nn.CrossEntropyLoss()
        learn.trained_on = TrainedOn("LPS", ((1, 2, 3), (1, 2, 3), (1, 2, 4)))
        for spacing in ((1, 2, 3), (1.4, 2, 3), (1, 1.42, 5.6)):
            learn.predict_volume(TensorDicom3D(torch.rand(SHAPE), Geometry(SHAPE, spacing)))
        for spacing, nearest in (((1.5, 2, 3), "1, 2, 3"), ((1, 2, 6), "1, 2, 4"), ((0.5, 1, 2), "1, 2, 3")):
            scan = TensorDicom3D(torch.rand(SHAPE), Geometry(SHAPE, spacing))
            with pytest.raises(ValueError, match=rf"on 1 x 2 x 3 to 4 mm: .*Resample3D\(\({nearest}\)\)"):
                learn.predict_volume(scan)

    def test_a_plain_learner_looks_at_its_items(self, table):
        learn = Learner(loaders(table), Voxelwise(), loss_func=nn.CrossEntropyLoss())
        far = TensorDicom3D(torch.rand(SHAPE), Geometry(SHAPE, (1, 2, 9)))
        with pytest.raises(ValueError, match=r"spacing of 1x2x9 mm \(x, y, z\), but the network was trained on 1 x 2"):
            learn.predict_volume(far)

    def test_resample3d_brings_it(self, table):
        learn = Learner(loaders(table, item_tfms=Resample3D((1, 2, 3))), Voxelwise(), loss_func=nn.CrossEntropyLoss())
        far = TensorDicom3D(torch.rand(SHAPE), Geometry(SHAPE, (1, 2, 9)))
        assert learn.predict_volume(far).geometry == far.geometry

    def test_another_is_said_in_validation(self, table, tmp_path):
        learn, far = learner(table), write(tmp_path / "far", spacing=(1, 2, 9))
        with pytest.warns(UserWarning, match="sampled too differently: it comes .* with a spacing of 1x2x9"):
            learn.validate(dl=loaders(far).valid)

    def test_what_is_trained_on_later_is_known_too(self, table):
        learn = learner(table)
        learn.dls = loaders(table, item_tfms=Resize3D((8, 5, 6)))  # progressive resizing: D is z, 3 mm
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            learn.fit(1)
        assert learn.trained_on.spacing[0][2] < 2
        assert learn.trained_on.spacing[2] == (1, 2, 3)

    def test_a_mixed_training_set_is_said(self, table, tmp_path):
        mixed = pd.concat([table, write(tmp_path / "far", spacing=(1, 2, 9))], ignore_index=True)
        with pytest.warns(UserWarning, match=r"by more than a factor of 2: 1 x 2 x 3 to 9 mm .*Resample3D"):
            learner(mixed)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            learner(mixed, item_tfms=Resample3D((1, 2, 3)), bs=1)
