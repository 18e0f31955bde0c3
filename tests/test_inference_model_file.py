"""A model as one file: it predicts what its learner predicts, to the bit, and holds no code."""

import pytest
import torch
from shown_labels import write_cases
from torch import Tensor, nn

from faimed3d.augment import CropForeground3D, RandomFlip3D, Resample3D, ZScore3D
from faimed3d.basics import TensorDicom3D
from faimed3d.data import SegmentationDataLoaders3D
from faimed3d.inference import Ensemble, load_model
from faimed3d.models import UNet3D, create_unet_model_3d
from faimed3d.training import StoredNetwork, unet_learner_3d, volume_learner

NAMES = ["background", "left kidney", "right kidney"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_cases(tmp_path_factory.mktemp("cases"))


def learner(table, item_tfms=None, batch_tfms=None, seed=0, **how):
    how = {"codes": NAMES, **how} if "regions" not in how else how
    dls = SegmentationDataLoaders3D.from_df(
        table, fn_col="image", label_col="mask", valid_pct=0.4, seed=0, bs=1, num_workers=0,
        item_tfms=item_tfms, batch_tfms=batch_tfms, **how,
    )  # fmt: skip
    torch.manual_seed(seed)
    return unet_learner_3d(dls, UNet3D, widths=(4, 6), strides=[(1, 2, 2)], deep_supervision=False)


@pytest.fixture(scope="module")
def learn(table):
    flips = RandomFlip3D(axis=(-1, -2), swap_labels={1: 2})
    return learner(table, [CropForeground3D(margin=1), Resample3D((1, 1, 1.5))], [flips])


@pytest.fixture(scope="module")
def file(learn, tmp_path_factory):
    return learn.export_model(tmp_path_factory.mktemp("models") / "kidneys.fm3d", licence="CC0", about={"of": "tests"})


@pytest.fixture(scope="module")
def model(file):
    return load_model(file)


def plain(volume):
    return volume.as_subclass(Tensor)


def same(model, learn, scan, **asked):
    """Whether both say the same of a scan, to the bit."""
    ours, theirs = (one.predict_volume(scan, probabilities=True, progress=False, **asked) for one in (model, learn))
    assert torch.equal(plain(ours[0]), plain(theirs[0]))
    assert torch.equal(plain(ours[1]), plain(theirs[1]))
    assert (ours[0].geometry, ours[0].codes) == (theirs[0].geometry, theirs[0].codes)
    assert plain(theirs[1]).std() > 0
    return True


class TestPredictsAsTheLearner:
    @pytest.mark.parametrize("asked", [{}, {"patch": (4, 6, 5), "tta": True, "overlap": 0.25}])
    def test_of_labels(self, model, learn, table, asked):
        assert same(model, learn, table["image"][1], **asked)
        assert model.classes == dict(enumerate(NAMES))
        assert repr(model) == "StoredModel('kidneys.fm3d': background, left kidney, right kidney)"
        assert model.trained_on == learn.trained_on

    def test_of_a_scan_stored_in_another_order(self, model, learn, table):
        assert same(model, learn, TensorDicom3D.create(table["image"][0]).reorient("SAR"))

    def test_of_a_folder(self, model, table, tmp_path):
        with model.no_bar():
            report = model.predict_folder(table["image"], tmp_path)
        assert report["error"].tolist() == [""] * 3

    def test_of_regions_and_units_of_each_volume(self, table, tmp_path):
        learn = learner(table, [ZScore3D(foreground="minimum")], regions={"organ": (1, 2), "kidney": 2})
        assert same(load_model(learn.export_model(tmp_path / "a")), learn, table["image"][1])

    def test_of_channels(self, table, tmp_path):
        two = table.assign(image=[[one, one] for one in table["image"]])
        learn = learner(two)
        assert same(load_model(learn.export_model(tmp_path / "a")), learn, two["image"][1])

    def test_of_an_ensemble_of_stored_networks(self, table, tmp_path):
        members = [learner(table, [Resample3D(1)], seed=seed) for seed in range(2)]
        stored = [StoredNetwork.save(tmp_path / f"{k}.safetensors", one) for k, one in enumerate(members)]
        file = Ensemble(stored).export_model(tmp_path / "a.fm3d")
        assert same(load_model(file), Ensemble(members), table["image"][1])
        assert len(load_model(file).members) == 2

    def test_of_an_encoder_of_torchvision_in_half_precision(self, table, tmp_path):
        from torchvision.models.video import mc3_18

        dls = learner(table, Resample3D(1)).dls
        learn = volume_learner(dls, create_unet_model_3d(mc3_18, 3, n_in=1, act_cls=nn.SiLU).bfloat16())
        assert same(load_model(learn.export_model(tmp_path / "a")), learn, table["image"][1], patch=16)

    def test_with_the_arguments_that_it_was_exported_with(self, learn, table, tmp_path):
        model = load_model(learn.export_model(tmp_path / "a", overlap=0.25, tta=(2,)))
        asked = {"patch": (4, 6, 5), "progress": False}
        expected = learn.predict_volume(table["image"][1], overlap=0.25, tta=(2,), **asked)
        assert torch.equal(plain(model.predict_volume(table["image"][1], **asked)), plain(expected))
