"""An ensemble says the mean of what its members say, on the scan's grid, and reads the scan once."""

from functools import cache

import fastai.callback.progress  # noqa: F401 - gives Learner no_bar
import numpy as np
import pytest
import torch
from fasttransform import Transform
from hypothesis import given, settings
from hypothesis import strategies as st
from shown_labels import Shown, image_of, learner_of, write_cases
from torch import Tensor, nn

import faimed3d.evaluation  # noqa: F401 - gives ensembles their evaluate
from faimed3d.augment import Normalize3D, PadOrCrop3D, Resample3D, Resize3D
from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.data import SegmentationDataLoaders3D
from faimed3d.inference import Ensemble, predict_folder
from faimed3d.losses import RegionLoss3D
from faimed3d.models import UNet3D
from faimed3d.training import unet_learner_3d


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_cases(tmp_path_factory.mktemp("cases"))


def network(seed, n_out=3):
    torch.manual_seed(seed)
    return nn.Conv3d(1, n_out, 3, padding=1)


def plain(volume):
    return volume.as_subclass(Tensor)


class Counts(Transform):
    """Counts how often images go through it."""

    seen = 0

    def encodes(self, x: TensorDicom3D):
        if not isinstance(x, TensorMask3D):
            Counts.seen += 1
        return x


WAYS = {
    "as it is": ([], []),
    "resampled": ([Resample3D((1, 1, 1))], []),
    "resized": ([Resize3D((8, 10, 9))], []),
    "cropped": ([PadOrCrop3D((12, 10, 16), value=0)], []),
    "normalized": ([], [Normalize3D([0.5], [2.0])]),
}


@pytest.fixture(scope="module")
def prepared(table):
    """Learner that prepares scans in one of these ways, with the network of a seed."""
    return cache(lambda way, seed: learner_of(table, *WAYS[way], model=network(seed)))


class TestMean:
    @pytest.mark.parametrize("arguments", [{}, {"patch": (4, 6, 5), "tta": (0, 1, 2), "overlap": 0.25}])
    def test_of_one_is_the_learner_to_the_bit(self, table, arguments):
        learn = learner_of(table, [Resample3D((1, 1, 1))], model=network(0))
        mask, scores = Ensemble([learn]).predict_volume(table["image"][1], probabilities=True, **arguments)
        expected, own = learn.predict_volume(table["image"][1], probabilities=True, **arguments)
        assert type(mask) is TensorMask3D
        assert torch.equal(mask, expected)
        assert torch.equal(scores, own)
        assert (mask.geometry, mask.codes) == (expected.geometry, expected.codes)

    @settings(max_examples=10)
    @given(
        ways=st.lists(st.sampled_from(sorted(WAYS)), min_size=2, max_size=3),
        order=st.sampled_from(["LPS", "RAS", "SAR", "IRP"]),
        patch=st.sampled_from([None, (6, 10, 9), (20, 12, 8)]),
        tta=st.sampled_from([False, (1,)]),
    )
    @pytest.mark.filterwarnings("ignore:the transforms have cut the volume")
    def test_of_several_is_the_mean_of_each_on_the_grid_of_the_scan(self, table, prepared, ways, order, patch, tta):
        learners = [prepared(way, seed) for seed, way in enumerate(ways)]
        scan = TensorDicom3D.create(table["image"][2]).reorient(order)
        asked = {"patch": patch, "tta": tta, "probabilities": True, "progress": False}
        each = [learn.predict_volume(scan, **asked)[1] for learn in learners]
        mask, scores = Ensemble(learners).predict_volume(scan, **asked)
        mean = torch.stack([plain(one) for one in each]).mean(0)
        assert (plain(scores) - mean).abs().max() < 1e-5
        assert scores.geometry == mask.geometry == scan.geometry
        top = mean.topk(2, 0).values
        clear = top[0] - top[1] > 1e-4
        assert torch.equal(plain(mask)[clear], mean.argmax(0).to(torch.uint8)[clear])

    def test_of_regions_that_overlap(self, table):
        names = {"organ": (1, 2), "kidney": 2}
        dls = SegmentationDataLoaders3D.from_df(
            table, ".", fn_col="image", label_col="mask", regions=names, bs=1, num_workers=0, valid_pct=0.4, seed=0
        )
        learners = [unet_learner_3d(dls, UNet3D, normalize=False, loss_func=RegionLoss3D()) for _ in range(2)]
        for seed, learn in enumerate(learners):
            learn.model = network(seed, 2)
        each = [learn.predict_volume(table["image"][0], probabilities=True)[1] for learn in learners]
        ensemble = Ensemble(learners)
        mask, scores = ensemble.predict_volume(table["image"][0], probabilities=True, threshold=0.6)
        mean = (plain(each[0]) + plain(each[1])) / 2
        assert torch.allclose(plain(scores), mean)
        assert torch.equal(plain(mask), (mean > 0.6).to(torch.uint8))
        assert mask.codes == {0: "background", 1: "organ", 2: "kidney"}
        merged = ensemble.predict_volume(table["image"][0], merge=True)
        assert merged.shape == mask.shape[1:]


class TestPreparation:
    def test_is_done_once_where_the_members_prepare_alike(self, table):
        learners = [learner_of(table, [Counts(), Resample3D(1)], [Counts()], network(seed)) for seed in range(3)]
        ensemble = Ensemble(learners)  # looks at what they were trained on
        Counts.seen = 0
        ensemble.predict_volume(table["image"][0])
        assert Counts.seen == 2

    def test_is_shared_up_to_the_step_that_differs(self, table):
        learners = [
            learner_of(table, [Counts()], [Normalize3D([number], [2.0])], network(number)) for number in range(3)
        ]
        ensemble = Ensemble(learners)  # looks at what they were trained on
        Counts.seen = 0
        ensemble.predict_volume(table["image"][0])
        assert Counts.seen == 1

    def test_of_a_step_that_writes_into_the_voxels_is_not_shared(self, table):
        class Louder(Transform):
            def __init__(self, by):
                self.by = by

            def encodes(self, x: TensorDicom3D):
                return x if isinstance(x, TensorMask3D) else x.mul_(self.by)

        learners = [learner_of(table, [Louder(by)], model=network(0)) for by in (2, 3)]
        scan = TensorDicom3D.create(table["image"][0])
        each = [learn.predict_volume(scan.clone(), probabilities=True)[1] for learn in learners]
        scores = Ensemble(learners).predict_volume(scan, probabilities=True)[1]
        assert torch.allclose(plain(scores), (plain(each[0]) + plain(each[1])) / 2)


class TestMemory:
    def test_of_the_probabilities_bounds_alike_members(self, table):
        learners = [learner_of(table, [Resample3D(1)], model=network(seed)) for seed in range(2)]
        ensemble = Ensemble(learners)
        with pytest.warns(UserWarning, match="the labels are brought to the grid of the source by the nearest voxel"):
            mask = ensemble.predict_volume(table["image"][0], patch=6, memory=100)
        assert np.mean(mask.numpy() == ensemble.predict_volume(table["image"][0], patch=6).numpy()) > 0.9
        with pytest.raises(ValueError, match="ask for the labels alone, or allow more"):
            ensemble.predict_volume(table["image"][0], probabilities=True, memory=100)

    def test_members_on_several_grids_say_what_they_need(self, table):
        learners = [learner_of(table, [Resample3D(1 + n)], model=network(n)) for n in range(2)]
        with pytest.raises(ValueError, match=r"the members work on several grids, .* take .* MiB, but memory allows"):
            Ensemble(learners).predict_volume(table["image"][0], memory=100)


class TestManyCases:
    def test_a_folder_is_predicted_as_by_a_learner(self, table, tmp_path):
        ensemble = Ensemble([learner_of(table, model=network(seed)) for seed in range(2)])
        with ensemble.no_bar():
            report = ensemble.predict_folder(table["image"], tmp_path)
        assert report["error"].tolist() == [""] * 3
        saved = TensorMask3D.create(tmp_path / "image1.nii.gz", dtype=None)
        assert torch.equal(plain(saved), plain(ensemble.predict_volume(table["image"][1])))
        assert Ensemble.predict_folder is predict_folder

    def test_evaluate_scores_the_mean(self, table):
        right = learner_of(table)
        wrong = learner_of(table, model=network(1))
        scores = Ensemble([right, wrong]).evaluate(table[:2])
        assert scores["dice"].tolist() == [1.0] * 4  # the one that is sure decides
        assert list(scores["class"]) == ["liver", "kidney"] * 2

    def test_evaluate_wants_cases_that_no_member_has_seen(self, table):
        ensemble = Ensemble([learner_of(table)])
        with pytest.raises(ValueError, match="its members may have been trained on the validation set of another"):
            ensemble.evaluate()


class TestRefusals:
    def test_members_that_say_different_things(self, table):
        liver, kidney = (learner_of(table, codes=codes) for codes in (["a", "liver", "x"], ["a", "kidney", "x"]))
        with pytest.raises(ValueError, match="member 2 has the classes a, kidney, x, and member 1 a, liver, x: train"):
            Ensemble([liver, kidney])
        few = learner_of(table, codes=None, model=Shown(2))
        with pytest.raises(ValueError, match="member 2 gives scores of 2 classes, and member 1 of 3"):
            Ensemble([liver, few]).predict_volume(table["image"][0])

    def test_members_of_other_storage_orders(self, table):
        turned = table.assign(image=[TensorDicom3D.create(path).reorient("RAS") for path in table["image"]])
        with pytest.raises(ValueError, match="member 2 has the storage order RAS, and member 1 LPS"):
            Ensemble([learner_of(table), learner_of(turned)])

    def test_regions_and_labels(self, table):
        dls = SegmentationDataLoaders3D.from_df(
            table, ".", fn_col="image", label_col="mask", regions={"liver": 1}, bs=1, num_workers=0, valid_pct=0.4
        )
        regions = unet_learner_3d(dls, UNet3D, normalize=False)
        with pytest.raises(ValueError, match="member 2 has the regions liver, and member 1 none: train them alike"):
            Ensemble([learner_of(table), regions])

    def test_what_is_no_member(self, table, tmp_path):
        with pytest.raises(ValueError, match="an ensemble needs one member at least"):
            Ensemble([])
        with pytest.raises(TypeError, match="a member is a learner or a StoredNetwork, got a PosixPath"):
            Ensemble([tmp_path])
        with pytest.raises(TypeError, match=r"predict_volume\(\) takes no argument 'ttta': did you mean 'tta'"):
            Ensemble([learner_of(table)]).predict_volume(image_of(0), ttta=True)
