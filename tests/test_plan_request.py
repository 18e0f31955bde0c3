"""Odd tables and arguments of ``propose``: a plan that is right, or refused, as early as may be."""

import numpy as np
import pandas as pd
import pytest
import torch
from case_reports import report_of, table_of

from faimed3d.plan import describe_cases, make_folds, proposal, propose


@pytest.fixture(autouse=True, scope="module")
def estimated():
    """As in test_plan_plan.py: the exact memory has its own test."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(proposal, "predicted_memory", lambda plan: plan.memory)
        yield


def table(count=4, **columns):
    """Cases of two labels, in memory."""
    images = [torch.rand(4, 6, 8, generator=torch.Generator().manual_seed(k)) for k in range(count)]
    return pd.DataFrame({"image": images, "mask": [(image > 0.8).byte() for image in images], **columns})


def of_classes(labels, images=None):
    images = images or [np.random.default_rng(k).normal(size=(4, 6, 8)) for k in range(len(labels))]
    return pd.DataFrame({"image": images, "label": labels})


def plan_of(df, **kwargs):
    return propose(df, device="cpu", progress=False, **kwargs)


class TestBeforeAnythingIsRead:
    @pytest.fixture(autouse=True)
    def _unread(self, monkeypatch):
        monkeypatch.setattr(proposal, "describe_cases", lambda *args, **kwargs: pytest.fail("cases were read"))

    @pytest.mark.parametrize(
        ("how", "words"),
        [
            ({"minutes": 0}, "minutes must be a number above 0, got 0"),
            ({"minutes": "5"}, "minutes must be a number above 0, got '5'"),
            ({"device": "gpu"}, "device must be one of 'cpu', 'cuda', .*, got 'gpu'"),
            ({"device": "xpu", "minutes": 5}, "timed on the device of the plan, 'xpu', which is not here"),
            ({"group_col": "who"}, "no column 'who' in the table"),
            ({"regions": {"a": []}}, "the region 'a' must be made of labels"),
        ],
    )
    def test_arguments_are_judged(self, how, words):
        with pytest.raises(ValueError, match=words):
            propose(table(), **how)

    @pytest.mark.parametrize(
        ("columns", "words"),
        [
            ({"patient": ["a", None, "b", "b"]}, r"1 of 4 items have no group \(column 'patient'\)"),
            ({"fold": [0, 1, np.nan, 1]}, "1 of 4 cases have no fold"),
            ({"fold": 0}, "column 'fold' names one fold alone"),
        ],
    )
    def test_patients_and_folds_are_judged(self, columns, words):
        with pytest.raises(ValueError, match=words):
            propose(table(**columns))

    def test_kinds_of_arguments_are_judged(self):
        with pytest.raises(TypeError, match="df must be a DataFrame, one row a case, got list"):
            propose([])
        with pytest.raises(TypeError, match="modality must be text such as 'CT' or 'MR', got 5"):
            propose(table(), modality=5)


class TestFolds:
    def test_one_case_is_trained_on_whole(self):
        plan = plan_of(table(1))
        assert (plan.cases, plan.items_per_epoch) == (1, 2)
        with pytest.raises(ValueError, match="2 folds need 2 cases at least, and there are 1: one cannot be divided"):
            make_folds(table(1), **plan.folds)

    def test_patients_are_counted_as_they_are_divided(self):
        df = table(patient=[" ann", "ann ", "bob", "bob"])
        plan = plan_of(df)
        assert plan.folds["n"] == 2
        assert len(make_folds(df, **plan.folds)) == 2

    def test_an_epoch_has_the_cases_of_the_largest_side_of_training(self):
        report = report_of([[8, 8, 8]] * 9, None)
        df = table_of(report).assign(patient=["ann"] * 6 + ["bob", "carl", "dora"])
        assert propose(df, report=report, device="cpu").items_per_epoch == 8

    def test_columns_that_are_numbers(self):
        df = of_classes([*"abab"]).set_axis([0, 1], axis=1)
        plan = plan_of(df)
        assert (plan.label_col, plan.folds["classes"]) == (1, 1)
        assert len(make_folds(df, **plan.folds)) == 4


class TestReports:
    def test_one_of_other_rows_is_refused(self):
        report = report_of([[8, 8, 8]] * 5, None)
        with pytest.raises(ValueError, match="report is of other rows than the table, 5 of them for 4"):
            propose(table_of(report)[:4], report=report, device="cpu")

    def test_one_that_was_in_a_file_is_refused(self):
        report = report_of([[8, 8, 8]] * 5, None)
        with pytest.raises(TypeError, match=r"report must be of describe_cases\(df\), with its attrs"):
            propose(table_of(report), report=pd.DataFrame(report.to_dict()), device="cpu")


class TestLabels:
    def test_empty_masks_teach_nothing(self):
        df = table()
        df["mask"] = [torch.zeros(4, 6, 8).byte()] * 4
        with pytest.raises(ValueError, match=r"all 4 masks are empty, .* Is 'mask' the column of the masks"):
            plan_of(df)

    def test_labels_that_no_mask_shows_are_told(self):
        df = table()
        df["mask"] = [mask + 4 * mask.flip(0) for mask in df["mask"]]  # 0, 1, 4 and 5
        with pytest.warns(UserWarning, match="no mask holds a voxel of 2, 3, though the network has a class for each"):
            plan = plan_of(df)
        assert len(plan.codes) == 6
        with pytest.raises(ValueError, match="masks hold the label 5, but codes names 2 labels"):
            plan_of(df, codes=["none", "spot"])

    @pytest.mark.parametrize("label", [-1, 2_000_000_000])
    def test_numbers_that_are_no_classes_are_faults_of_their_case(self, label):
        df = table()
        df.at[1, "mask"] = torch.where(df["mask"][1] > 0, label, 0)
        with pytest.warns(UserWarning, match="1 of 4 cases could not be read"):
            report = describe_cases(df, progress=False)
        assert f"the mask holds the label {label}, but labels are numbers of classes" in report["error"][1]
        left_out = describe_cases(df, progress=False, ignore_index=label)
        assert left_out["foreground"].gt(0).tolist() == [True, False, True, True]


class TestClasses:
    @pytest.mark.parametrize("empty", [np.nan, None, pd.NA])
    @pytest.mark.parametrize("labels", [[1, 0], ["a", "b"]])
    def test_an_empty_cell_is_named(self, empty, labels):
        with pytest.raises(ValueError, match="row 1: the cell of column 'label' is empty, as are 1 of 3"):
            plan_of(of_classes([labels[0], empty, labels[1]]))

    def test_numbers_and_text_are_not_mixed(self):
        with pytest.raises(ValueError, match="holds 1 as a number and as text, which would be two classes"):
            plan_of(of_classes([1, "1", 2]))

    def test_two_columns_of_one_name(self):
        df = of_classes([*"aba"])
        df.insert(0, "image", df["image"], allow_duplicates=True)
        with pytest.raises(ValueError, match="2 columns of the table are called 'image': rename them"):
            plan_of(df)


class TestChannels:
    """Of images of two channels each is looked at for itself."""

    def images(self, first, second):
        return [np.stack([first(np.random.default_rng(k)), second(np.random.default_rng(k))]) for k in range(3)]

    def test_a_channel_without_foreground_does_not_take_the_place_of_another(self):
        images = self.images(lambda r: np.zeros((4, 5, 6)), lambda r: r.normal(100, 2, (4, 5, 6)))
        plan = plan_of(of_classes([*"aba"], images), modality="CT")
        assert plan.mean[0] == 0
        assert plan.mean[1] == pytest.approx(100, abs=1)
        assert plan.clip[0] == (-1, 1)
        assert plan.batch_tfms

    def test_shapes_and_hounsfield_units_are_told_by_all_channels(self):
        images = self.images(lambda r: r.integers(0, 2, (4, 5, 6)) * 1.0, lambda r: r.normal(100, 2, (4, 5, 6)))
        assert plan_of(of_classes([*"aba"], images)).normalization == "volume"
        images = self.images(lambda r: r.integers(-1024, 900, (4, 5, 6)) * 1.0, lambda r: r.random((4, 5, 6)))
        assert plan_of(of_classes([*"aba"], images)).modality is None

    def test_no_finite_voxel(self):
        images = self.images(lambda r: r.random((4, 5, 6)), lambda r: np.full((4, 5, 6), np.nan))
        with pytest.raises(ValueError, match="no image holds a finite voxel in each channel"):
            plan_of(of_classes([*"aba"], images))
