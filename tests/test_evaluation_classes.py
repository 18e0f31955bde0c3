"""Classes of whole volumes: probabilities of each case, of learners and ensembles, and folds of a plan of classes."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from fastai.data.block import CategoryBlock
from fastai.layers import Flatten
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from faimed3d.augment import RandomDihedral3D, RandomFlip3D
from faimed3d.basics import Geometry, TensorDicom3D
from faimed3d.cache import preprocess
from faimed3d.data import ImageDataLoaders3D
from faimed3d.evaluation.class_table import ClassTable
from faimed3d.evaluation.classes import _seen, _views
from faimed3d.inference import Ensemble
from faimed3d.patches import CachedImageDataLoaders3D
from faimed3d.plan import cross_validate, propose
from faimed3d.training import cnn_learner_3d, volume_learner

CASES = 10
SHAPE = (4, 5, 5)


def table_of(folder):
    random = np.random.default_rng(0)
    rows = []
    for k in range(CASES):
        image = random.normal(3 * (k % 2), 1, SHAPE).astype(np.float32)
        TensorDicom3D(image, {"spacing": (1, 1, 2)}).save(folder / f"scan{k}.nii.gz")
        rows.append((str(folder / f"scan{k}.nii.gz"), ["ill", "well"][k % 2]))
    return pd.DataFrame(rows, columns=["image", "label"])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return table_of(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classes")
    return preprocess(table_of(folder), folder / "cache", y_block=CategoryBlock, n_jobs=1, progress=False)


def learner(cache, *transforms):
    """A network that knows every corner of a volume from every other."""
    torch.manual_seed(len(transforms))
    dls = CachedImageDataLoaders3D.from_cache(cache, 2, valid=[3, 2, 0, 5], batch_tfms=transforms, device="cpu")
    body = nn.Sequential(nn.Conv3d(1, 2, 1))
    head = nn.Sequential(Flatten(), nn.Linear(2 * 4 * 5 * 5, 2))
    return cnn_learner_3d(dls, body, custom_head=head, normalize=False)


def by_hand(learn, images, orders=((0, 1, 2),), axes=()):
    """Mean of the probabilities of images (B, 1, D, H, W), turned and mirrored."""
    found = []
    with torch.no_grad():
        for order in orders:
            for flips in range(1 << len(axes)):
                mirrored = [2 + axis for k, axis in enumerate(axes) if flips >> k & 1]
                x = images.permute(0, 1, *(2 + axis for axis in order))
                found.append(learn.model.eval()(x.flip(mirrored)).softmax(1))
    return torch.stack(found).mean(0).numpy()


def probabilities(table):
    return table[["p_ill", "p_well"]].to_numpy()


class TestEvaluate:
    @pytest.mark.parametrize(
        ("transforms", "tta", "orders", "axes"),
        [
            ([], False, [(0, 1, 2)], []),
            ([], (2,), [(0, 1, 2)], [2]),
            ([RandomFlip3D(axis=(-3, -1))], True, [(0, 1, 2)], [0, 2]),
            ([RandomDihedral3D()], True, [(0, 1, 2), (0, 2, 1)], [0, 1, 2]),  # D has other voxels
        ],
    )
    def test_probabilities_are_means_over_what_training_has_seen(self, cache, transforms, tta, orders, axes):
        learn = learner(cache, *transforms)
        with learn.no_bar():
            table = learn.evaluate(tta=tta)
        images = torch.stack([cache[row].whole()[0].as_subclass(Tensor) for row in (3, 2, 0, 5)])
        np.testing.assert_allclose(probabilities(table), by_hand(learn, images, orders, axes), atol=1e-5)
        assert table["case"].tolist() == ["scan3", "scan2", "scan0", "scan5"]
        assert table["class"].tolist() == ["well", "ill", "ill", "well"]
        most = probabilities(table).argmax(1)
        assert table["predicted"].tolist() == [["ill", "well"][k] for k in most]

    def test_however_a_volume_is_turned_the_mean_is_the_same(self, cache):
        views = _views(learner(cache, RandomDihedral3D()), None, Geometry((4, 4, 4)))
        assert len(views) == len(set(views)) == 48
        x, net = torch.rand(1, 1, 4, 4, 4), nn.Sequential(Flatten(), nn.Linear(64, 2))
        means = [torch.stack([net(_seen(_seen(x, turned), view)) for view in views]).mean(0) for turned in views]
        torch.testing.assert_close(torch.cat(means), means[0].expand(48, 2))

    def test_classes_of_left_and_right_are_not_mixed(self, tmp_path):
        table = table_of(tmp_path).assign(label=["left", "right"] * (CASES // 2))
        cache = preprocess(table, tmp_path / "cache", y_block=CategoryBlock, n_jobs=1, progress=False)
        with pytest.raises(ValueError, match=r"told apart by side \(left, right\): pass tta=\(1,\)"):
            learner(cache).evaluate(tta=(1, 2))

    def test_raw_scans_and_ensembles(self, cache):
        members = [learner(cache), learner(cache, RandomFlip3D())]
        tables = []
        for member in members:
            with member.no_bar():
                tables.append(member.evaluate(cache.table.iloc[:3]))
        both = Ensemble(members)
        with both.no_bar():
            table = both.evaluate(cache.table.iloc[:3], names=[*"abc"])
        np.testing.assert_allclose(probabilities(table), sum(map(probabilities, tables)) / 2, atol=1e-6)
        assert table["case"].tolist() == [*"abc"]

    def test_what_is_of_masks_is_refused(self, cache):
        with pytest.raises(TypeError, match="classes of whole volumes, so evaluate takes tta, but no patch"):
            learner(cache).evaluate(patch=(2, 2, 2))
        with pytest.raises(ValueError, match="there are 4 cases and 1 names"):
            learner(cache).evaluate(names=["a"])


class TestLoaders:
    """Whatever loader holds the cases, each row is of its case, as the network knows such."""

    def loaders(self, files, train=(5, 6, 7, 8, 9), valid=(3, 2, 0), **kwargs):
        kwargs = {"batch_tfms": RandomFlip3D(axis=(-3, -2, -1), p=1), "bs": 2, "num_workers": 0,
                  "y_block": CategoryBlock(vocab=["ill", "well"]), **kwargs}  # fmt: skip
        return ImageDataLoaders3D.from_df(files, splitter=lambda df: ([*train], [*valid]), **kwargs)

    def learner(self, dls):
        torch.manual_seed(0)
        return volume_learner(dls, nn.Sequential(nn.Conv3d(1, 2, 3), Flatten(), nn.Linear(2 * 2 * 3 * 3, 2)))

    @settings(max_examples=8)
    @given(
        st.permutations(range(CASES)).map(lambda order: (order[:3], order[3:])), st.sampled_from((0, 1)),
        st.booleans(), st.booleans(), st.integers(1, 4),
    )  # fmt: skip
    def test_of_any_split_order_and_size_are_those_of_the_table(self, files, sides, side, own, drop_last, bs):
        learn = self.learner(self.loaders(files))
        dls = self.loaders(files, *sides, bs=min(bs, 3), drop_last=drop_last)
        dl = (learn.dls if own else dls).loaders[side]
        rows = [(5, 6, 7, 8, 9), (3, 2, 0)][side] if own else sides[side]
        with learn.no_bar():
            table, wanted = learn.evaluate(dl), learn.evaluate(files.iloc[[*rows]])
        pd.testing.assert_frame_equal(table, wanted, rtol=1e-4)
        assert table["class"].tolist() == files["label"].iloc[[*rows]].tolist()

    def test_each_member_of_an_ensemble_sees_them_as_it_knows_them(self, files):
        members = [self.learner(self.loaders(files, train)) for train in ((4, 5, 8), (6, 7, 9))]
        assert members[0].trained_on.mean != members[1].trained_on.mean
        ensemble = Ensemble(members)
        with ensemble.no_bar():
            for data in (members[0].dls.valid, members[1].dls.valid):
                found, wanted = ensemble.evaluate(data), ensemble.evaluate(files.iloc[[3, 2, 0]])
                np.testing.assert_allclose(probabilities(found), probabilities(wanted), rtol=1e-4)

    def test_without_classes_or_with_others_are_refused(self, files):
        learn = self.learner(self.loaders(files))
        with (
            learn.no_bar(),
            pytest.raises(TypeError, match=r"this loader has none: .*test_dl\(table, with_lab"),
        ):
            learn.evaluate(learn.dls.test_dl(files[:2]))
        other = self.loaders(files.assign(label=files["label"].replace({"ill": "worse"})), y_block=None)
        with (
            learn.no_bar(),
            pytest.raises(ValueError, match="classes ill, well, but these loaders have well, worse"),
        ):
            learn.evaluate(other.valid)


class TestTable:
    def test_scores_are_those_of_the_definitions(self):
        table = ClassTable(
            {"case": [*"abcde"], "class": [*"xxyyz"], "predicted": [*"xyyyy"], "p_x": [0.8, 0.3, 0.4, 0.1, 0.2],
             "p_y": [0.1, 0.4, 0.5, 0.7, 0.7], "p_z": [0.1, 0.3, 0.1, 0.2, 0.1]}
        )  # fmt: skip
        found = table.summary()
        assert found["cases"].to_dict() == {"x": 2, "y": 2, "z": 1, "all": 5}
        assert found["auc"].tolist()[:3] == pytest.approx([5 / 6, 4.5 / 6, 1 / 4])  # pairs in the right order
        assert found["sensitivity"].tolist() == pytest.approx([1 / 2, 1, 0, 1 / 2])
        assert found["specificity"].tolist()[:3] == pytest.approx([1, 1 / 3, 1])
        assert found.loc["all", "accuracy"] == pytest.approx(3 / 5)

    def test_a_class_that_no_case_has_has_no_area(self):
        table = ClassTable({"case": ["a"], "class": ["x"], "predicted": ["x"], "p_x": [0.8], "p_y": [0.2]})
        assert table.summary()["auc"].isna().all()


@pytest.fixture(scope="module")
def done(cache, tmp_path_factory):
    plan = propose(cache.table, device="cpu", progress=False, n_jobs=1)
    plan = plan.replace(widths=(2,), strides=(), kernels=((3, 3, 3),), blocks=(1,), epochs=1, batch_size=2,
                        folds={**plan.folds, "n": 2}, precision="float32")  # fmt: skip
    folder = tmp_path_factory.mktemp("cv")
    own = preprocess(cache.table, folder / "cache", plan, n_jobs=1, progress=False)
    return plan, own, folder / "cv", cross_validate(plan, own, folder / "cv", progress=False, tta=True)


class TestCrossValidation:
    def test_each_case_is_told_by_the_network_that_has_not_seen_it(self, cache, done):
        _, _, _, cv = done
        assert sorted(cv.table["case"]) == [f"scan{k}" for k in range(CASES)]
        assert cv.table.groupby(["fold", "class"]).size().min() >= 2  # spread evenly
        assert cv.summary().loc["all", "cases"] == CASES
        assert cv.by_fold().shape == (2, 3)
        assert cv.by_fold("accuracy").loc[0, "all"] == pytest.approx(
            (cv.table["class"] == cv.table["predicted"])[cv.table["fold"] == 0].mean()
        )

    def test_folds_that_are_there_are_read(self, done):
        plan, cache, folder, cv = done
        again = cross_validate(plan, cache, folder, progress=False, tta=True)
        pd.testing.assert_frame_equal(again.table, cv.table, check_exact=False)
        assert type(again.table) is ClassTable

    def test_the_ensemble_tells_a_new_scan(self, cache, done):
        ensemble = done[3].ensemble
        with ensemble.no_bar():
            table = ensemble.evaluate(cache.table.iloc[:2])
        np.testing.assert_allclose(probabilities(table).sum(1), 1, atol=1e-5)

    def test_a_curve_of_the_second_of_two_classes(self, done):
        (ax,) = done[3].show()
        assert ax.get_legend().get_texts()[0].get_text().startswith("well: AUC 0.")
        plt.close("all")
