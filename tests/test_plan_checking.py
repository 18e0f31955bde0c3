"""Plans that were edited by hand: each value is one that the plan can be built with, or refused with its field."""

import json
from functools import cache

import numpy as np
import pytest
from case_reports import report_of, table_of
from hypothesis import given, settings
from hypothesis import strategies as st

from faimed3d.plan import Plan, proposal, propose
from faimed3d.plan.plan import NAMES


@pytest.fixture(autouse=True, scope="module")
def estimated():
    """As in test_plan_plan.py: the exact memory has its own test."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(proposal, "predicted_memory", lambda plan: plan.memory)
        yield


@cache
def plan_of(task):
    codes = ["none", "left eye", "right eye"] if task == "segmentation" else ["a", "b"]
    report = report_of([[12, 10, 9]] * 6, np.ones((6, 3)), task=task, codes=codes)
    return propose(table_of(report), report=report, device="cpu")


VALUES = st.sampled_from([
    None, True, 0, -1, 2, 2.5, float("nan"), float("inf"), "", "LPS", "lps", "LPL", "cpu", [], {}, [1], [1.0, 2.0],
    [1, 2, 3], [0, 0, 0], [-1, -2], ["a", "b"], ["a", 5], {"n": 1}, {"a": 1}, [[1, 2]], [[2, 1]], [[1, 1]], [None],
    [[1, 2], [3, 4]], [[]], [[2, 2, 2]] * 3, [[3, 3, 3]], [0.5, 1.5], "linear", "resnet18_3d", 2**31,
])  # fmt: skip


@given(st.sampled_from(["segmentation", "classification"]), st.data())
@settings(max_examples=100)
def test_any_value_of_any_entry_is_taken_and_built_with_or_refused_by_the_name_of_the_entry(task, data):
    plan = plan_of(task)
    content = json.loads(plan.to_json())
    inner = data.draw(st.sampled_from([None, None, *plan.augmentation, *plan.folds]))
    name, value = data.draw(st.sampled_from(NAMES)), data.draw(VALUES)
    if inner is not None:
        name = "augmentation" if inner in plan.augmentation else "folds"
        value = {**content["plan"][name], inner: value}
    content["plan"][name] = value
    text = ""
    try:
        edited = Plan.from_json(json.dumps(content))
    except ValueError as error:
        text = str(error)
    if text:
        assert "this plan cannot be: " in text
        # these contradict others, which may be the ones that are named
        assert (inner or name) in text or name in ("task", "widths", "ignore_index")
        return
    assert Plan.from_json(edited.to_json()) == edited
    assert str(edited)
    assert repr(edited)
    assert edited.batch_tfms + edited.item_tfms
    if max(edited.patch) < 20 and edited.channels < 9:
        assert edited.network()


@pytest.mark.parametrize(
    ("task", "change", "words"),
    [
        ("segmentation", {"classes": ("a", "b")}, "classes must be None for segmentation, whose names"),
        ("classification", {"codes": ("a", "b")}, "codes must be None for classification"),
        ("classification", {"label_col": ("a", "b")}, "label_col must be one column of classes"),
        ("classification", {"arch": "path"}, "arch must be 'UNet3D encoder' or a network of faimed3d.models"),
        ("classification", {"batch_size": 1}, "batch_size must be 2 or more for classification"),
        ("segmentation", {"patch": (1, 1, 1)}, r"a patch of \(1, 1, 1\) voxels has one left at the lowest level"),
        ("segmentation", {"up_convs": 3}, "up_convs must be 1 or 2"),
        ("segmentation", {"orientation": "XYZ"}, "orientation must be three letters"),
        ("segmentation", {"resample_masks": "cubic"}, "resample_masks must be True, False or one of 'nearest'"),
        ("segmentation", {"folds": {"n": 1}}, "n of folds must be a whole number, 2 or more, or None, got 1"),
        ("segmentation", {"reasons": {"patch": 5}}, "reasons must be a mapping of fields to texts"),
        ("segmentation", {"clip": 5}, r"clip must be \(low, high\) for each channel"),
    ],
)
def test_what_contradicts_is_refused(task, change, words):
    with pytest.raises(ValueError, match=f"this plan cannot be: {words}"):
        plan_of(task).replace(**change)


@pytest.mark.parametrize(
    ("entry", "value", "words"),
    [
        ("degrees", [10, 10], "degrees of augmentation must be three numbers, 0 or more"),
        ("scale", [1.4, 0.7], r"scale of augmentation must be \(low, high\) above 0"),
        ("flip_axes", [2], "flip_axes of augmentation must be a list of some of -3"),
        ("swap_labels", [[1, 1]], "swap_labels of augmentation must be pairs of labels, .*, each once"),
        ("swap_labels", [[1, 3]], "swap_labels of augmentation name the label 3, but there are 3 names in codes"),
    ],
)
def test_entries_of_the_augmentation_are_looked_at(entry, value, words):
    plan = plan_of("segmentation")
    with pytest.raises(ValueError, match=words):
        plan.replace(augmentation={**plan.augmentation, entry: value})


def test_numbers_of_numpy_become_plain_ones():
    plan = plan_of("segmentation").replace(
        patch=np.array([8, 8, 8]), batch_size=np.int64(4), lr=np.float32(0.5), mean=(np.float32(2),)
    )
    assert (plan.patch, plan.batch_size, plan.lr, plan.mean) == ((8, 8, 8), 4, 0.5, (2.0,))
    assert Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "plan, reasons, proposed must be JSON objects"),
        ('{"plan": null}', "plan, reasons, proposed must be JSON objects"),
        ("{}", "it has no entry 'faimed3d_plan'"),
        ('{"faimed3d_plan": 2, "plan": {}, "reasons": {}}', "is a plan of version 2, where 1 can be read"),
        ('{"faimed3d_plan": 1, "plan": {}, "reasons": {}, "plans": 1}', "it has the entry 'plans'"),
        ('{"plan": {"lr": 1, "lr": 2}}', "the entry 'lr' stands there twice"),
        (b"\xff\xfe{\x00", "no text in UTF-8"),
    ],
)
def test_a_file_that_is_no_plan_is_named(tmp_path, text, words):
    file = tmp_path / "plan.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=rf"plan\.json: is (no|a) plan .*{words}|plan\.json: {words}"):
        Plan.from_json(file)


def test_the_file_of_a_wrong_value_is_named_and_the_mark_of_an_editor_is_none(tmp_path):
    plan = plan_of("segmentation")
    file = tmp_path / "plan.json"
    file.write_bytes(b"\xef\xbb\xbf" + plan.to_json().encode())
    assert Plan.from_json(file) == plan
    file.write_text(plan.to_json().replace('"epochs": 100', '"epochs": "many"'))
    with pytest.raises(ValueError, match=r"plan\.json: this plan cannot be: epochs must be a whole number"):
        Plan.from_json(file)
    with pytest.raises(TypeError, match=r"read from the text or the file of Plan\.to_json, got dict"):
        Plan.from_json({})


def test_a_budget_that_makes_the_network_narrower_predicts_its_memory_anew():
    plan = plan_of("segmentation")
    narrow = plan.for_budget(0.5, seconds_per_step=1)
    assert narrow.widths < plan.widths
    assert narrow.memory < plan.memory
    with pytest.raises(ValueError, match="seconds_per_step must be a number above 0, got 0"):
        plan.for_budget(5, seconds_per_step=0)
    with pytest.raises(ValueError, match="timed on the device of the plan, 'xpu', which is not here"):
        plan.replace(device="xpu").for_budget(5)
