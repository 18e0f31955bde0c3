"""The plan: for any data set its network takes its patch, each value has a reason, and JSON gives it back."""

import json
import math

import numpy as np
import pytest
import torch
from case_reports import report_of, table_of
from hypothesis import given, settings
from hypothesis import strategies as st

from faimed3d.augment import Clip3D, CropForeground3D, Normalize3D, RandomSpatial3D, Resample3D, ZScore3D
from faimed3d.models.encoder import model_sizes
from faimed3d.plan import Plan, proposal, propose
from faimed3d.plan.methods_text import SECTIONS
from faimed3d.plan.plan import NAMES
from faimed3d.plan.rule_table import RULES

FACTS = {"cases", "fn_col", "label_col", "channels", "codes", "classes", "ignore_index", "resample_masks", "clip",
         "mean", "std", "memory", "device"}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def estimated():
    """Half a second for each plan would be long: the exact memory has its own test in test_plan_rules.py."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(proposal, "predicted_memory", lambda plan: plan.memory)
        yield


def plan_of(report, **kwargs):
    return propose(table_of(report), report=report, **{"device": "cpu", **kwargs})


def hippocampus(**kwargs):
    random = np.random.default_rng(0)
    sizes = np.array([35, 50, 36]) + random.integers(-3, 4, (21, 3))
    return plan_of(report_of(np.append(sizes, [[35, 50, 36]], 0), np.ones((22, 3))), **kwargs)


@st.composite
def data_sets(draw):
    """Reports of 1 to 40 cases: isotropic to 1:20, of few or many voxels, flat, stored in several ways."""
    count = draw(st.integers(1, 40))
    random = np.random.default_rng(draw(st.integers(0, 999)))
    base = np.array(draw(st.tuples(*[st.sampled_from([1, 2, 3, 5, 9, 17, 40, 130, 512])] * 3)))
    fine = draw(st.floats(0.2, 2))
    ratio = np.array(draw(st.permutations([1, 1, draw(st.sampled_from([1, 1.5, 3, 6, 20]))])))
    sizes = np.maximum(1, base * random.uniform(0.8, 1.25, (count, 3))).astype(int)
    spacings = (
        fine * ratio * random.uniform(0.9, 1.1, (count, 3))
        if draw(st.booleans())
        else np.ones((count, 3)) * fine * ratio
    )
    codes = random.choice(["LPS", "RAS", "PSR"], count)
    stated = draw(st.integers(0, 4)) > 0
    task = draw(st.sampled_from(["segmentation", "segmentation", "classification"]))
    names = draw(st.sampled_from([["a", "b"], ["none", "left eye", "right eye"], ["x", "left atrium", "z"]]))
    columns = draw(st.sampled_from([{}, {"minimum": -1024.0}, {"box_width": 1}, {"two_values": True}]))
    return report_of(sizes, spacings if stated else None, codes, task, names, **columns)


@given(data_sets(), st.sampled_from(["cpu", "cuda"]), st.sampled_from(["1GB", "11GB"]))
@settings(max_examples=60)
def test_any_data_set_gets_a_plan_that_fits(report, device, memory):
    plan = plan_of(report, device=device, memory=memory)
    assert Plan.from_json(plan.to_json()) == plan
    assert {name for name in NAMES if not plan.reasons.get(name)} == set()
    assert all(name in str(plan) for name in SECTIONS)
    if plan.task == "segmentation":
        divisors = np.prod(plan.strides, axis=0) if plan.strides else np.ones(3)
        assert all(n % by == 0 or n == 1 for n, by in zip(plan.patch, divisors, strict=True))
        assert len(plan.widths) == len(plan.kernels) == len(plan.strides) + 1
        assert plan.memory <= int(memory[:-2]) * 1e9 or math.prod(plan.patch) <= 16**3 * 40
        grown = [n > 2 * max(m, 4) for n, m in zip(plan.patch, plan.median_size, strict=True)]
        assert not any(grown)
    assert plan.batch_size >= 2
    assert plan.item_tfms + plan.batch_tfms


@given(data_sets(), st.sampled_from(["cpu", "cuda"]))
@settings(max_examples=6)  # over a second each: shapes alone, no computing
def test_any_network_takes_its_patch(report, device):
    plan = plan_of(report, device=device)
    with torch.device("meta"):
        scores = plan.network().eval()(torch.zeros(2, plan.channels, *plan.patch))
    size = plan.patch if plan.task == "segmentation" else ()
    assert tuple(scores.shape) == (2, len(plan.codes or plan.classes), *size)


class TestHippocampus:
    def test_is_that_of_nnunet(self):
        plan = hippocampus(device="cuda", memory="8GB")
        assert plan.patch == (40, 56, 40)  # published, with its strides and kernels
        assert plan.strides == ((2, 2, 2),) * 3
        assert plan.kernels == ((3, 3, 3),) * 4
        assert plan.widths == (32, 64, 128, 256)
        assert (plan.normalization, plan.spacing, plan.oversampling) == ("volume", (1, 1, 1), 1 / 3)
        assert (plan.optimizer, plan.lr, plan.schedule, plan.weight_decay) == ("sgd", 0.01, "poly", 3e-5)

    def test_reads_like_a_methods_section(self):
        text = str(hippocampus())
        for words in ("resampled to 1 x 1 x 1 mm (x, y, z)", "patches of 40 x 56 x 40 voxels (D, H, W)", "[1] nnU-Net"):
            assert words in " ".join(text.split())
        assert max(map(len, text.splitlines())) <= 100
        assert repr(hippocampus()) == (
            "Plan(segmentation, 2 classes, 22 cases, patch 40 x 56 x 40, batch 2, 100 epochs)"
        )


class TestTransforms:
    def test_ct_is_cut_and_scaled_by_the_set(self):
        plan = plan_of(report_of([[64, 64, 20]] * 5, [[1, 1, 5]] * 5, minimum=-1024.0))
        assert plan.modality == "CT"
        assert [type(step) for step in plan.item_tfms] == [Resample3D]
        clip, *middle, normalize = plan.batch_tfms
        assert (type(clip), clip.low, clip.high) == (Clip3D, -160, 240)
        assert (type(normalize), normalize.mean, normalize.std) == (Normalize3D, (40,), (120,))
        assert isinstance(middle[0], RandomSpatial3D)

    def test_mr_is_scaled_by_each_volume_before_it_is_cached(self):
        assert [type(step) for step in hippocampus().item_tfms] == [ZScore3D, Resample3D]
        assert not any(isinstance(step, Normalize3D | Clip3D) for step in hippocampus().batch_tfms)

    def test_skulls_are_off_the_rest_is_cut_off(self):
        plan = plan_of(report_of([[100, 100, 100]] * 5, np.ones((5, 3)), box_width=60))
        assert [type(step) for step in plan.item_tfms] == [CropForeground3D, ZScore3D, Resample3D]
        assert (plan.item_tfms[1].foreground, plan.median_size) == ("minimum", (100, 100, 60))

    def test_of_classes_all_items_have_one_size(self):
        plan = plan_of(report_of([[28, 28, 28]] * 5, None, task="classification", codes=["a", "b"]))
        assert (plan.patch, plan.spacing, plan.strides) == ((28, 28, 28), None, ((2, 2, 2),) * 3)
        assert plan.replace(arch="resnet18_3d").network()[0][1][0].conv1[0].weight.shape[0] == 64
        with pytest.raises(ValueError, match="arch must be 'UNet3D encoder' or a network of faimed3d"):
            plan.replace(arch="resnet99").network()
        assert (plan.widths, plan.blocks, plan.batch_size) == ((16, 32, 64), (1, 2, 2), 2)
        assert plan.oversampling == 1
        assert "Items are drawn with each class as often as any other" in " ".join(str(plan).split())
        assert "drawn with" not in str(plan.replace(oversampling=0))
        sizes = [tuple(one[2:]) for one in model_sizes(plan.network()[0], plan.patch)]
        assert sizes == [(14, 14, 14), (7, 7, 7), (4, 4, 4)]  # the first convolution halves it
        large = plan_of(report_of([[256, 256, 128]] * 5, [[1, 1, 2]] * 5, task="classification"))
        assert math.prod(large.patch) <= 1.1 * 64**3
        assert large.spacing == pytest.approx((3.17, 3.17, 6.35), rel=1e-2)

    def test_on_a_gpu_the_first_level_of_classes_is_as_fine_as_the_volume(self):
        report = report_of([[28, 28, 28]] * 99, None, task="classification", codes=["a", "b"])
        plan = plan_of(report, device="cuda")
        assert (plan.strides, plan.widths) == (((2, 2, 2),) * 3, (64, 128, 256, 512))
        assert plan_of(report).batch_size == 16

    def test_shapes_that_do_not_say_how_they_lie_are_turned_every_way(self):
        shapes = {"task": "classification", "codes": ["a", "b"], "two_values": True}
        lost, placed, sided = (
            plan_of(report_of([[28, 28, 28]] * 5, spacings, **{**shapes, **more}))
            for spacings, more in ((None, {}), ([[1, 1, 1]] * 5, {}), (None, {"codes": ["left", "right"]}))
        )
        assert [plan.augmentation["dihedral_p"] for plan in (lost, placed, sided)] == [1, 0, 0]
        assert [type(step) for step in lost.batch_tfms] == [RandomSpatial3D, Normalize3D]
        assert [type(part).__name__ for part in lost.batch_tfms[0].parts] == [
            "RandomAffine3D", "RandomFlip3D", "RandomDihedral3D",
        ]  # fmt: skip
        text = " ".join(str(lost).split())
        assert "turned by the symmetries of the box, rotated by up to 30/30/30 degrees" in text
        assert "and intensities" not in text


class TestByHand:
    def test_a_value_that_was_replaced_says_so(self):
        plan = hippocampus().replace(lr=0.1, patch=(40, 56, 40), reasons={"epochs": "short"})
        assert (plan.reasons["lr"], plan.reasons["epochs"]) == ("set by hand", "short")
        assert "case of median size" in plan.reasons["patch"]  # it is what it was
        with pytest.raises(TypeError, match="no argument 'epoch': did you mean 'epochs'"):
            plan.replace(epoch=3)

    def test_a_value_that_was_edited_in_the_file_says_so(self, tmp_path):
        plan = hippocampus()
        plan.to_json(tmp_path / "plan.json")
        (tmp_path / "plan.json").write_text(
            (tmp_path / "plan.json").read_text().replace('"epochs": 100', '"epochs": 7', 1)
        )
        edited = Plan.from_json(tmp_path / "plan.json")
        assert edited.epochs == 7
        assert edited.reasons["epochs"].startswith("set by hand; proposed was 100: on a CPU")
        assert Plan.from_json(edited.to_json()) == edited

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"widths": (8, 16)}, "there are 2 widths, so there must be 1 strides and 2 kernels; got 3 and 4"),
            ({"normalization": "ct"}, "normalization 'ct' needs mean and std"),
            ({"normalization": "minmax"}, "must be one of 'ct', 'volume', 'foreground', 'set'"),
            ({"patch": (3, 4)}, "patch must be three whole numbers"),
            ({"batch_size": 0}, "must be a whole number, 1 or more, got 0"),
            ({"task": "detection"}, "task must be one of 'segmentation', 'classification'"),
            ({"blocks": (1,)}, "there must be 4 blocks"),
            ({"optimizer": "sdg"}, "optimizer must be one of 'adamw', 'sgd', got 'sdg'"),
            ({"schedule": "ploy"}, "schedule must be one of 'one_cycle', 'poly'"),
            ({"loss": "dice"}, "loss must be 'dice_ce' or 'cross_entropy' for segmentation"),
            ({"precision": "int8"}, "precision must be one of"),
            ({"arch": "UNet3d"}, "arch must be 'UNet3D' for segmentation"),
            ({"epochs": 2.5}, "epochs must be a whole number"),
            ({"epochs": "2"}, "epochs must be a whole number"),
            ({"batch_size": True}, "batch_size must be a whole number"),
            ({"items_per_epoch": 1}, "items_per_epoch=1 is less than a batch of 2"),
            ({"lr": -1.0}, "lr must be a number above 0"),
            ({"lr": "fast"}, "lr must be a number above 0"),
            ({"weight_decay": -0.1}, "weight_decay must be a number, 0 or more"),
            ({"oversampling": 2}, "oversampling must be a share"),
            ({"spacing": (1, float("nan"), 1)}, "spacing must be three numbers of mm above 0"),
            ({"spacing": (0, 1, 1)}, "spacing must be three numbers of mm above 0"),
            ({"spacing": "1"}, "spacing must be three numbers of mm above 0"),
            ({"crop": "yes"}, "crop must be True or False"),
            ({"codes": ("a", "a")}, "codes must be two names or more"),
            ({"memory": -5}, "memory must be a whole number"),
            ({"normalization": "set", "mean": (1,), "std": (0,)}, "std must be a number above 0"),
            ({"normalization": "set", "mean": (1, 2), "std": (1, 2)}, "mean has 2 entries for 1 channels"),
            ({"clip": ((5, -5),)}, "clip must be"),
            ({"folds": {"k": 3}}, "folds are arguments of make_folds, .*; got 'k'"),
            ({"augmentation": {"flip_axis": [1]}}, "augmentation must have the entries"),
        ],
    )
    def test_what_cannot_be_is_refused(self, change, words):
        with pytest.raises(ValueError, match=f"this plan cannot be: .*{words}"):
            hippocampus().replace(**change)

    def test_a_probability_of_the_augmentation_is_a_share(self):
        plan = hippocampus()
        with pytest.raises(ValueError, match="noise_p of augmentation must be a share from 0 to 1, got 7"):
            plan.replace(augmentation={**plan.augmentation, "noise_p": 7})

    def test_what_is_no_plan_is_refused(self, tmp_path):
        (tmp_path / "x.json").write_text("[]")
        with pytest.raises(ValueError, match=r"x\.json: is no plan as Plan\.to_json writes it"):
            Plan.from_json(tmp_path / "x.json")
        content = json.loads(hippocampus().to_json())
        content["plan"]["patches"] = content["plan"].pop("patch")
        with pytest.raises(ValueError, match="the plan has no entry patch"):
            Plan.from_json(json.dumps(content))
        content["plan"]["patch"] = [8, 8, 8]
        with pytest.raises(ValueError, match="the entry 'patches', which no plan has"):
            Plan.from_json(json.dumps(content))


class TestBudget:
    def test_epochs_end_in_time(self):
        plan = hippocampus()
        steps = plan.items_per_epoch / plan.batch_size
        short = plan.for_budget(10, seconds_per_step=1)
        assert short.epochs * steps * 1 <= 600 * 0.9
        assert "ends within 10 minutes" in short.reasons["epochs"]
        assert plan.for_budget(1e6, seconds_per_step=1).epochs == plan.epochs

    def test_a_network_that_is_too_slow_becomes_narrower(self):
        narrow = hippocampus().for_budget(1, seconds_per_step=1)
        assert narrow.widths == (8, 16, 32, 64)
        assert "halved" in narrow.reasons["widths"]
        with pytest.raises(ValueError, match=r"one epoch of 9 steps .* does not end in 0\.01 minutes: allow"):
            hippocampus().for_budget(0.01, seconds_per_step=10)

    @pytest.mark.parametrize("minutes", [0, -1, math.nan, "60"])
    def test_a_budget_is_a_time(self, minutes):
        with pytest.raises(ValueError, match="minutes must be a number above 0, got"):
            hippocampus().for_budget(minutes, seconds_per_step=1)

    def test_steps_are_timed(self):
        plan = hippocampus().replace(patch=(8, 8, 16), widths=(8, 16, 16, 16))
        assert plan.for_budget(60).epochs == plan.epochs


def test_each_field_has_a_rule_or_is_a_fact():
    assert {rule.field for rule in RULES} == set(NAMES) - FACTS
    said = {name for entries in SECTIONS.values() for names, _ in entries for name in names}
    assert said | {"cases"} == set(NAMES)


def test_an_epoch_has_as_many_items_as_the_largest_training_side_of_given_folds():
    report = report_of([[8, 8, 8]] * 10, None)
    uneven = propose(table_of(report).assign(fold=["train"] * 8 + ["valid"] * 2), report=report, device="cpu")
    assert uneven.items_per_epoch == 8
    even = propose(table_of(report).assign(fold=[*range(5)] * 2), report=report, device="cpu")
    assert even.items_per_epoch == 8


def test_a_report_and_arguments_of_reading_contradict_each_other():
    report = report_of([[8, 8, 8]] * 5, None)
    with pytest.raises(TypeError, match="report says how the cases were read, so codes cannot be asked for"):
        propose(table_of(report), report=report, codes=["a"])
    with pytest.raises(ValueError, match="all cases are of one class, a: there is nothing to tell apart"):
        plan_of(report_of([[8, 8, 8]] * 5, None, task="classification", codes=["a"]))
    report.loc[0, "channels"] = 2
    with pytest.raises(ValueError, match="the cases have 1, 2 channels, the odd ones are case 0"):
        plan_of(report)


@pytest.mark.parametrize("memory", ["much", "-1GB", "12XB", None, 12])
def test_an_amount_of_memory_that_is_none_is_refused(memory):
    report = report_of([[8, 8, 8]] * 5, None)
    with pytest.raises(ValueError, match=r"memory.*'(2|12)GB'"):
        propose(table_of(report), memory, report=report, device="cpu")
