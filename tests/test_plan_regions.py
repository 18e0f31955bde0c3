"""Plans for regions that overlap: from the table of cases to the file of the ensemble."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from case_reports import report_of
from case_reports import table_of as cases_of
from hypothesis import given, settings
from hypothesis import strategies as st
from test_plan_building import small

from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D
from faimed3d.cache import preprocess
from faimed3d.data.label_regions import label_parts, sides_fault
from faimed3d.evaluation import evaluate
from faimed3d.inference import load_model
from faimed3d.losses import DiceCELoss3D, RegionLoss3D
from faimed3d.plan import Plan, cross_validate, proposal, propose, rules
from faimed3d.plan.memory import predicted_memory
from faimed3d.plan.timing import seconds_per_step

BRATS = {"whole": (1, 2, 3), "core": (1, 3), "enhancing": 3}
PARTS = (("whole", (1, 2, 3)), ("core", (1, 3)), ("enhancing", (3,)))
HERE = {"device": "cpu", "progress": False, "n_jobs": 1}


@pytest.fixture(autouse=True, scope="module")
def estimated():
    """Half a second for each plan would be long."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(proposal, "predicted_memory", lambda plan: plan.memory)
        yield


def case(number):
    """A tumour: edema (2) around its core (1), a part of which enhances (3)."""
    place = Geometry((6, 9, 10), (1, 2, 3), (number, -5, 7))
    mask = np.zeros(place.shape, np.uint8)
    mask[1:5, 1:8, number : 6 + number] = 2
    mask[2:4, 3:6, 1 + number : 4 + number] = 1
    mask[2:4, 4, 2 + number] = 3
    image = np.random.default_rng(number).normal(0, 0.1, mask.shape) + mask
    image, mask = TensorDicom3D(image.astype(np.float32), place), TensorMask3D(mask, place)
    return tuple(volume.reorient("RAS") for volume in (image, mask)) if number == 1 else (image, mask)


@pytest.fixture(scope="module")
def table():
    images, masks = zip(*map(case, range(4)), strict=True)
    return pd.DataFrame({"image": pd.Series(images, dtype=object), "mask": pd.Series(masks, dtype=object)})


@pytest.fixture(scope="module")
def plan(table):
    proposed = propose(table, regions=BRATS, **HERE)
    return small(proposed).replace(patch=(4, 8, 8), folds={**proposed.folds, "n": 2})


@pytest.fixture(scope="module")
def cache(table, plan, tmp_path_factory):
    return preprocess(table, tmp_path_factory.mktemp("cache"), plan, n_jobs=1, progress=False)


def loaders(plan, cache, fold=0):
    return plan.dataloaders(cache, fold, num_workers=0, device="cpu")


def learner(plan, cache, fold=0):
    return plan.learner(cache, fold, dls=loaders(plan, cache, fold))


def in_this_process(plan):
    """The plan without workers."""
    return SimpleNamespace(
        folds=plan.folds, to_json=plan.to_json, fit=plan.fit, learner=lambda cache, fold: learner(plan, cache, fold)
    )


def test_from_the_folds_to_the_file_of_the_ensemble(table, plan, cache, tmp_path):
    cv = cross_validate(in_this_process(plan), cache, tmp_path / "folds", progress=False)
    assert list(cv.table["error"]) == [""] * 12
    assert list(cv.table["class"]) == [*BRATS] * 4
    voxels = [4 * 7 * 6, 2 * 3 * 3, 2]  # of 6 mm3
    assert list(cv.table["target_ml"]) == pytest.approx([n * 6 / 1000 for n in voxels] * 4)
    assert list(cv.by_fold().columns) == [*BRATS]
    scan = table["image"][1]
    mask, scores = cv.ensemble.predict_volume(scan, probabilities=True, progress=False)
    assert mask.codes == dict(enumerate(["background", *BRATS]))
    assert (mask.shape, mask.geometry) == ((3, *scan.shape), scan.geometry)
    assert np.array_equal(mask.numpy(), scores.numpy() > 0.5)
    loaded = load_model(cv.ensemble.export_model(tmp_path / "tumour.fm3d", plan=plan), device="cpu")
    assert loaded.about["plan"]["regions"] == [[name, list(part)] for name, part in PARTS]
    assert loaded.classes == mask.codes
    again, same = loaded.predict_volume(scan, probabilities=True, progress=False)
    assert torch.equal(again, mask)
    assert torch.equal(same, scores)
    with cv.ensemble.no_bar():
        own = evaluate(cv.ensemble, table.iloc[[1]])
    truth, inside = np.isin(table["mask"][1].numpy(), (1, 2, 3)), mask[0].numpy() != 0
    assert own["dice"][0] == pytest.approx(2 * (inside & truth).sum() / (inside.sum() + truth.sum()))


def test_the_learner_is_one_of_regions(plan, cache):
    learn = learner(plan, cache)
    assert isinstance(learn.loss_func, RegionLoss3D)
    assert [metric.name for metric in learn.metrics] == ["dice", *(f"dice_{name}" for name in BRATS)]
    assert learn.trained_on.classes == tuple(BRATS)
    images, masks = learn.dls.one_batch()
    assert masks.shape == (2, 3, 4, 8, 8)
    assert learn.model(images).shape == masks.shape
    entropy = plan.replace(loss="cross_entropy").learner(cache, 0, dls=learn.dls)
    assert repr(entropy.loss_func) == "RegionLoss3D(dice_weight=0.0, bce_weight=1.0)"
    strides = ((1, 2, 2), (1, 2, 2), (2, 1, 1))
    levels = {"strides": strides, "kernels": ((1, 3, 3),) * 4, "widths": (2, 3, 4, 4)}
    deep = plan.replace(**levels, deep_supervision=True).learner(cache, 0, dls=learn.dls)
    scales = deep.model.train()(images)
    assert [tuple(scale.shape[:2]) for scale in scales] == [(2, 3)] * 2
    assert torch.isfinite(deep.loss_func(scales, masks))


def test_a_plan_of_labels_takes_the_same_cache(plan, cache):
    labels = plan.replace(regions=None)
    learn = learner(labels, cache)
    assert isinstance(learn.loss_func, DiceCELoss3D)
    assert learn.dls.one_batch()[1].shape == (2, 4, 8, 8)
    with pytest.raises(ValueError, match="plan trains on the regions whole, core, enhancing, but the loaders give lab"):
        plan.learner(cache, 0, dls=learn.dls)
    with pytest.raises(ValueError, match="trains on labels, but the loaders give the regions whole, core, enhancing"):
        labels.learner(cache, 0, dls=loaders(plan, cache))
    assert loaders(labels.replace(regions=BRATS), cache).vocab == [*BRATS]


def test_memory_and_time_are_those_of_as_many_scores(plan):
    few = plan.replace(regions={"whole": (1, 2, 3)})
    voxels = 2 * 4 * 8 * 8
    assert predicted_memory(plan) - predicted_memory(few) > 2 * voxels * 4
    assert seconds_per_step(plan, steps=1) > 0


class TestPlan:
    def test_keeps_the_order_and_says_it(self, plan):
        assert plan.regions == PARTS
        assert Plan.from_json(plan.to_json()) == plan
        turned = plan.replace(regions=dict(reversed(PARTS)))
        assert turned != plan
        assert turned.to_json() != plan.to_json()
        assert plan.replace(regions=BRATS).reasons == plan.reasons  # they are what they were
        assert turned.reasons["regions"] == "set by hand"
        assert repr(plan).startswith("Plan(segmentation, 3 regions, 4 cases")
        text = " ".join(str(plan).split())
        for words in (
            "Segmentation of whole, core, enhancing in 4 cases",
            "regions, which may overlap, made of labels: whole (1, 2, 3), core (1, 3), enhancing (3) (of 4 cases",
            "The loss is Dice and binary cross-entropy of each region",
        ):
            assert words in text

    def test_a_table_may_say_them(self, table):
        said = table.copy()
        said.attrs["regions"] = {"whole": (1, 2, 3), "core": [1, 3]}  # as of msd_table
        assert propose(said, **HERE).regions == PARTS[:2]
        assert propose(said, regions={}, **HERE).regions is None

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"regions": ["whole", "core"]}, "regions must say of which labels each is made"),
            ({"regions": {"whole": 4}}, "'whole' is made of the label 4, but the labels are 1, 2, 3$"),
            ({"ignore_index": 255}, "regions leave no voxel out, but ignore_index=255: train on labels"),
            ({"loss": "dice"}, "loss must be 'dice_ce' or 'cross_entropy'"),
        ],
    )
    def test_what_cannot_be_is_refused(self, plan, change, words):
        with pytest.raises(ValueError, match=f"this plan cannot be: .*{words}"):
            plan.replace(**change)

    def test_sides_that_are_no_regions_are_refused(self, plan):
        sided = {**plan.augmentation, "swap_labels": [[1, 2]]}
        with pytest.raises(ValueError, match=r"this plan cannot be: .* makes of the region 'core', labels"):
            plan.replace(augmentation=sided)


class TestProposal:
    def test_a_region_that_no_mask_shows_is_refused(self, table):
        with pytest.raises(ValueError, match="region 'enhancing', made of 4: the labels of the masks are 1, 2, 3"):
            propose(table, regions={**BRATS, "enhancing": 4}, **HERE)

    def test_of_classes_of_whole_volumes_are_refused(self):
        report = report_of([[8, 8, 8]] * 4, None, task="classification", codes=["a", "b"])
        with pytest.raises(ValueError, match="regions are made of masks of labels, but the targets are classes"):
            propose(cases_of(report), report=report, device="cpu", regions=BRATS)

    @given(
        st.lists(st.sets(st.integers(1, 4), min_size=1), min_size=1, max_size=4, unique_by=frozenset),
        st.lists(st.sampled_from(["left lung", "right lung", "l ear", "r ear", "tumour"]), min_size=4, unique=True),
        st.sampled_from([[*"01234"], ["", "left x", "right x", "y", "z"], ["", "l x", "y", "r z", "r x"]]),
    )
    @settings(max_examples=25)
    def test_left_and_right_are_mirrored_only_where_regions_have_their_other_side(self, labels, names, codes):
        parts = label_parts(dict(zip(names, labels, strict=False)))
        how = rules.augmentation((8, 8, 8), codes, "LPS", "segmentation", regions=[*parts.items()]).value
        swapped = dict(how["swap_labels"])
        assert not swapped or (sides_fault(parts, swapped) is None and -1 in how["flip_axes"])
        turned = {**swapped, **{other: one for one, other in swapped.items()}}
        sided = {name: part for name, part in parts.items() if name != "tumour" and -1 in how["flip_axes"]}
        for name, part in sided.items():
            word, thing = name.split()
            other = {"left": "right", "right": "left", "l": "r", "r": "l"}[word]
            assert {turned.get(label, label) for label in part} == set(parts[f"{other} {thing}"])
