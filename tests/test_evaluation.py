"""learn.evaluate: the scores of known mistakes, the names, the cases that fail, and the picture."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.data.block import RegressionBlock
from fastai.learner import Learner
from torch import nn

from faimed3d.augment import PadOrCrop3D
from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.data import ImageDataLoaders3D, SegmentationDataLoaders3D
from faimed3d.evaluation import ScoreTable
from faimed3d.geometry import Geometry
from faimed3d.losses import CrossEntropyLoss3D
from faimed3d.training import cnn_learner_3d, hausdorff_distance, surface_dice

SHAPE = (4, 6, 8)
GRID = Geometry(SHAPE, spacing=(1, 2, 3), origin=(-7, 11, 5))
ML = 1 * 2 * 3 / 1000


class Says(nn.Module):
    """Says of each voxel the class that the image shows."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return torch.stack([-(x[:, 0] - label).abs() for label in range(3)], 1) * self.scale * 9


def pair(number):
    """What the image says and what is true: class 1 is found with its first column missing, class 2 in case 1 alone."""
    said, true = np.zeros((2, *SHAPE), np.uint8)
    true[1:3, 1:4, 1:6] = 1
    said[1:3, 1:4, 1 + number : 6] = 1
    if number == 1:
        true[0, 0, :2] = 2
    return said, true


@pytest.fixture
def cases(tmp_path):
    rows = []
    for number in range(4):
        said, true = pair(number)
        folder = tmp_path / f"p{number}"
        folder.mkdir()
        TensorDicom3D(said.astype(np.float32), GRID).save(folder / "scan.nii.gz")
        TensorMask3D(true, GRID).save(folder / "mask.nii.gz")
        rows.append((f"p{number}/scan.nii.gz", f"p{number}/mask.nii.gz", number >= 2))
    return pd.DataFrame(rows, columns=["image", "mask", "valid"])


def learner(cases, tmp_path, loss=None, **kwargs):
    dls = SegmentationDataLoaders3D.from_df(
        cases, tmp_path, fn_col="image", label_col="mask", valid_col="valid",
        **{"codes": ["none", "liver", "cyst"], "bs": 2, "num_workers": 0, "device": "cpu", **kwargs},
    )  # fmt: skip
    return Learner(dls, Says(), loss_func=loss or CrossEntropyLoss3D(), default_cbs=False)


class TestLoaders:
    def test_without_masks_or_with_other_classes_are_refused(self, cases, tmp_path):
        learn = learner(cases, tmp_path)
        with pytest.raises(TypeError, match=r"this loader has none: .*dls\.test_dl\(table, with_labels=True"):
            learn.evaluate(learn.dls.test_dl(cases))
        other = learner(cases, tmp_path, codes=["none", "cyst", "liver"]).dls
        with pytest.raises(ValueError, match="the classes none, liver, cyst, but these loaders have none, cyst, liver"):
            learn.evaluate(other.valid)


class TestTable:
    def test_holds_the_scores_of_each_class_of_each_case(self, cases, tmp_path):
        table = learner(cases, tmp_path).evaluate(cases)
        assert isinstance(table, ScoreTable)
        assert list(table["case"]) == [f"p{n}_scan" for n in range(4) for _ in range(2)]
        assert list(table["class"]) == ["liver", "cyst"] * 4
        for number in range(4):
            said, true = pair(number)
            liver, cyst = (row for _, row in table[table["case"] == f"p{number}_scan"].iterrows())
            size = 2 * 3 * (5 - number)
            assert liver["dice"] == pytest.approx(2 * size / (size + 30))
            assert liver["hd95_mm"] == hausdorff_distance(said == 1, true == 1, GRID.spacing)
            assert liver["surface_dice_2mm"] == surface_dice(said == 1, true == 1, GRID.spacing, 2)
            assert liver["volume_error_ml"] == pytest.approx((size - 30) * ML)
            assert liver["target_ml"] == pytest.approx(30 * ML)
            assert cyst["dice"] == 0 if number == 1 else np.isnan(cyst["dice"])
            assert np.isinf(cyst["hd95_mm"]) if number == 1 else np.isnan(cyst["hd95_mm"])

    def test_is_of_the_validation_set_by_default_and_of_loaders(self, cases, tmp_path):
        learn = learner(cases, tmp_path)
        names = ["p2_scan", "p3_scan"]
        assert list(dict.fromkeys(learn.evaluate()["case"])) == names
        assert list(dict.fromkeys(learn.evaluate(learn.dls.valid)["case"])) == names
        assert list(dict.fromkeys(learn.evaluate(cases, names="abcd")["case"])) == [*"abcd"]

    def test_is_on_the_grid_of_the_scan_whatever_the_transforms_and_the_storage(self, cases, tmp_path):
        TensorMask3D.create(tmp_path / "p2/mask.nii.gz", dtype=None).flip(2).save(tmp_path / "p2/mask.nii.gz")
        learn = learner(cases, tmp_path, item_tfms=PadOrCrop3D((4, 6, 12)))
        plain = learner(cases, tmp_path).evaluate()
        assert learn.evaluate()["dice"].equals(plain["dice"])

    def test_leaves_out_what_nobody_annotated(self, cases, tmp_path):
        _, true = pair(2)
        true[1] = 255
        TensorMask3D(true, GRID).save(tmp_path / "p2/mask.nii.gz")
        learn = learner(cases, tmp_path, ignore_index=255)
        row = learn.evaluate().iloc[0]
        assert row["dice"] == pytest.approx(2 * 9 / (9 + 15))
        assert row["target_ml"] == pytest.approx(15 * ML)

    def test_a_case_that_fails_is_named_and_the_others_go_on(self, cases, tmp_path):
        learn = learner(cases, tmp_path)
        (tmp_path / "p3/mask.nii.gz").unlink()
        with pytest.warns(UserWarning, match="1 of 2 cases failed, see the column error; the first is p3_scan: "):
            table = learn.evaluate()
        assert list(table.failed["case"]) == ["p3_scan"]
        assert table.summary().loc["liver", ("dice", "cases")] == 1

    def test_goes_through_csv(self, cases, tmp_path):
        table = learner(cases, tmp_path).evaluate()
        table.to_csv(tmp_path / "scores.csv", index=False)
        again = pd.read_csv(tmp_path / "scores.csv")
        assert np.allclose(again["dice"], table["dice"], equal_nan=True)


class TestSummary:
    def test_is_of_the_cases_that_have_a_value(self, cases, tmp_path):
        table = learner(cases, tmp_path).evaluate(cases)
        summary = table.summary()
        assert list(summary.index) == ["liver", "cyst", "all"]
        assert "..." not in str(summary)
        assert all(score in str(summary) for score in table.scores)
        dice = [2 * s / (s + 30) for s in (30, 24, 18, 12)]
        assert summary.loc["liver", ("dice", "mean")] == pytest.approx(np.mean(dice))
        assert summary.loc["all", ("dice", "mean")] == pytest.approx(np.mean([*dice, 0]))
        assert summary.loc["cyst", ("dice", "cases")] == 1
        assert summary.loc["cyst", ("hd95_mm", "cases")] == 0

    def test_picture_has_one_axes_for_each_score_and_says_what_has_no_value(self, cases, tmp_path):
        table = learner(cases, tmp_path).evaluate(cases)
        axes = table.show()
        assert [ax.get_ylabel() for ax in axes] == ["Dice", "HD95 (mm)", "surface dice 2mm", "volume error (ml)"]
        assert [label.get_text() for label in axes[0].get_xticklabels()] == ["liver", "cyst"]
        assert [note.get_text() for note in axes[0].texts] == ["3 without"]
        axes[0].figure.savefig(tmp_path / "scores.png")
        assert len(table.show(["dice"])) == 1


def test_a_class_without_a_score_keeps_its_column_in_the_folds():
    rows = {"case": [*"ab"], "class": ["liver", "cyst"], "dice": [0.5, np.nan], "error": ["", ""], "fold": [0, 0]}
    means = ScoreTable(rows).by_fold()
    assert list(means.columns) == ["liver", "cyst"]
    assert means["liver"].tolist() == [0.5]
    assert means["cyst"].isna().all()


class TestRefusals:
    def test_targets_that_are_no_masks(self, tmp_path):
        table = pd.DataFrame({"image": [np.zeros(SHAPE, np.float32)] * 8, "label": [0.5, 1.5] * 4})
        dls = ImageDataLoaders3D.from_df(table, tmp_path, bs=2, num_workers=0, device="cpu", y_block=RegressionBlock)
        encoder = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, 4, 3, padding=1))
        learn = cnn_learner_3d(dls, encoder, normalize=False)
        with pytest.raises(TypeError, match="their targets are no masks: use SegmentationDataLoaders3D"):
            learn.evaluate()

    def test_wrong_arguments(self, cases, tmp_path):
        learn = learner(cases, tmp_path)
        with pytest.raises(ValueError, match="there are 2 cases and 1 names"):
            learn.evaluate(names=["a"])
        with pytest.raises(ValueError, match="tolerance is a distance in mm, 0 or more; got -1"):
            learn.evaluate(tolerance=-1)
        with pytest.raises(TypeError, match=r"evaluate\(\) takes no argument 'tolerence': did you mean 'tolerance'"):
            learn.evaluate(tolerence=1)


def test_cases_have_the_names_of_predict_folder(cases, tmp_path):
    learn = learner(cases, tmp_path)
    report = learn.predict_folder([tmp_path / image for image in cases["image"]], tmp_path / "out")
    assert list(dict.fromkeys(learn.evaluate(cases)["case"])) == [
        Path(output).name.removesuffix(".nii.gz") for output in report["output"]
    ]


def test_cases_of_dicom_folders_have_the_names_of_predict_folder(tmp_path):
    rows = []
    for number in range(4):
        said, true = pair(number)
        folder = tmp_path / f"p{number}" / "scan"
        folder.parent.mkdir()
        TensorDicom3D(said.astype(np.float32), GRID).save(folder)
        TensorMask3D(true, GRID).save(tmp_path / f"m{number}.nii.gz")
        rows.append((folder, tmp_path / f"m{number}.nii.gz", number >= 2))
    table = pd.DataFrame(rows, columns=["image", "mask", "valid"])
    learn = learner(table, tmp_path)
    names = [f"p{number}_scan" for number in range(4)]
    assert list(dict.fromkeys(learn.evaluate(table)["case"])) == names
    for items in (table, table["image"]):
        report = learn.predict_folder(items, tmp_path / "out", overwrite=True)
        assert [Path(output).name for output in report["output"]] == [f"{name}.nii.gz" for name in names]
