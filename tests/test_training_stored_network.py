"""Networks whose weights lie in files: one in memory at a time, each with the preparation that it was trained with."""

import gc
import weakref

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from faimed3d.augment import Resample3D
from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D
from faimed3d.data import SegmentationDataLoaders3D
from faimed3d.inference import Ensemble
from faimed3d.models import UNet3D
from faimed3d.training import StoredNetwork, unet_learner_3d
from faimed3d.training.stored_network import read_network

SHAPE = (6, 8, 10)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    root, random, rows = tmp_path_factory.mktemp("cases"), np.random.default_rng(0), []
    for number in range(4):
        mask = np.zeros(SHAPE, np.uint8)
        mask[1:4, 2:6, 2 + number : 8] = 1
        place = Geometry(SHAPE, spacing=(1, 1.5, 2), origin=(number, 0, 5))
        row = {"image": f"{root}/image{number}.nii.gz", "mask": f"{root}/mask{number}.nii.gz"}
        image = random.normal(50 + 30 * number, 5, SHAPE) + 100 * mask
        TensorDicom3D(image.astype(np.float32), place).save(row["image"])
        TensorMask3D(mask, place).save(row["mask"])
        rows.append(row)
    return pd.DataFrame(rows)


def learner(table, seed=0, valid=(3,), codes=("air", "organ"), widths=(2, 4), **kwargs):
    df = table.assign(valid=[number in valid for number in range(len(table))])
    dls = SegmentationDataLoaders3D.from_df(
        df, ".", fn_col="image", label_col="mask", valid_col="valid", codes=codes, bs=1, num_workers=0, device="cpu",
        item_tfms=Resample3D((1, 1.5, 1)), **kwargs,
    )  # fmt: skip
    torch.manual_seed(seed)
    return unet_learner_3d(dls, UNet3D, widths=widths)


def size_of(network):
    return sum(one.numel() for one in network.model.state_dict().values())


class TestMember:
    def test_says_what_its_learner_said_and_is_empty_before_and_after(self, table, tmp_path):
        learners = [learner(table, seed, valid=(seed,)) for seed in range(2)]  # two normalizations
        each = [learn.predict_volume(table["image"][3], patch=5, probabilities=True) for learn in learners]
        stored = [StoredNetwork.save(tmp_path / f"{k}.safetensors", learn) for k, learn in enumerate(learners)]
        other = learner(table, 9, valid=(3,))
        before = {name: one.clone() for name, one in other.model.state_dict().items()}
        stored = [StoredNetwork(network.file, other) for network in stored]
        assert [size_of(network) for network in stored] == [0, 0]
        for network, (mask, scores) in zip(stored, each, strict=True):
            found, probabilities = Ensemble([network]).predict_volume(table["image"][3], patch=5, probabilities=True)
            assert torch.equal(probabilities.as_subclass(Tensor), scores.as_subclass(Tensor))
            assert torch.equal(found.as_subclass(Tensor), mask.as_subclass(Tensor))
            assert size_of(network) == 0
        mean = Ensemble(stored).predict_volume(table["image"][3], patch=5, probabilities=True)[1]
        expected = torch.stack([scores.as_subclass(Tensor) for _, scores in each]).mean(0)
        assert torch.allclose(mean.as_subclass(Tensor), expected, atol=1e-6)
        assert all(torch.equal(one, other.model.state_dict()[name]) for name, one in before.items())
        assert len(other.dls.train_ds) == 3  # the learner keeps its items

    def test_one_network_is_in_memory_at_a_time(self, table, tmp_path):
        stored = [StoredNetwork.save(tmp_path / f"{k}.safetensors", learner(table, k)) for k in range(3)]
        loaded = []
        for network in stored:
            network.model.register_forward_hook(lambda *_: loaded.append([size_of(one) > 0 for one in stored]))
        Ensemble(stored).predict_volume(table["image"][0], patch=5)
        assert {tuple(one) for one in loaded} == {(True, False, False), (False, True, False), (False, False, True)}

    def test_files_of_learn_save(self, table, tmp_path):
        learn = learner(table, 1, valid=(0,))
        learn.path = tmp_path
        mask = learn.predict_volume(table["image"][2], probabilities=True)[1]
        for with_opt in (False, True):
            learn.create_opt()
            file = learn.save("net", with_opt=with_opt)
            network = StoredNetwork(file, learner(table, 2, valid=(3,)))
            assert network.model.trained_on == learn.trained_on
            found = Ensemble([network]).predict_volume(table["image"][2], probabilities=True)[1]
            assert torch.equal(found.as_subclass(Tensor), mask.as_subclass(Tensor))

    def test_a_failure_lets_go_of_the_weights(self, table, tmp_path):
        network = StoredNetwork.save(tmp_path / "a.safetensors", learner(table))
        with pytest.raises(RuntimeError, match="stop"), network.loaded():
            raise RuntimeError("stop")
        assert size_of(network) == 0

    def test_nothing_of_the_learner_is_kept(self, table, tmp_path):
        learn = learner(table)
        network = StoredNetwork.save(tmp_path / "a.safetensors", learn)
        items, model = weakref.ref(learn.dls.train_ds), weakref.ref(learn.model)
        del learn
        gc.collect()
        assert items() is None
        assert model() is None
        assert Ensemble([network]).predict_volume(table["image"][0], patch=5).shape == SHAPE

    def test_bars_are_those_of_the_learner(self, table, tmp_path):
        ensemble = Ensemble([StoredNetwork.save(tmp_path / f"{k}.safetensors", learner(table)) for k in range(2)])
        assert hasattr(ensemble, "progress")
        with ensemble.no_bar():
            assert not hasattr(ensemble, "progress")
        assert hasattr(ensemble, "progress")
        silent = learner(table)
        with silent.no_bar():
            assert not hasattr(StoredNetwork(ensemble.members[0].file, silent), "progress")
        assert repr(ensemble) == f"Ensemble of 2: {', '.join(repr(one) for one in ensemble.members)}"


class TestFile:
    def test_holds_no_pickle_and_what_else_is_said(self, table, tmp_path):
        learn = learner(table)
        file = tmp_path / "a.safetensors"
        StoredNetwork.save(file, learn, {"fold": 3})
        weights, known, said = read_network(file)
        assert known == learn.trained_on
        assert said == {"fold": 3}
        assert set(weights) == set(learn.model.state_dict())
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors"]


class TestRefusals:
    def test_of_other_layers(self, table, tmp_path):
        file = StoredNetwork.save(tmp_path / "a.safetensors", learner(table)).file
        with pytest.raises(ValueError, match=r"a.safetensors: holds weights of another network: .* is .* there, and"):
            StoredNetwork(file, learner(table, widths=(2, 6)))

    def test_of_other_classes(self, table, tmp_path):
        file = StoredNetwork.save(tmp_path / "a.safetensors", learner(table)).file
        with pytest.raises(ValueError, match="trained for the classes air, organ, but these loaders have air, liver"):
            StoredNetwork(file, learner(table, codes=("air", "liver")))

    def test_of_no_weights(self, table, tmp_path):
        (tmp_path / "a.safetensors").write_bytes(b"no weights at all")
        with pytest.raises(ValueError, match=r"a\.safetensors: holds no weights, or is damaged"):
            StoredNetwork(tmp_path / "a.safetensors", learner(table))
        with pytest.raises(FileNotFoundError):
            StoredNetwork(tmp_path / "absent.safetensors", learner(table))
