"""A folder of an earlier run: what is there is of this scan as it is and of this model, or an error of its case."""

import os
import shutil

import pandas as pd
import pytest
import torch
from dicom_series import make_series, write
from shown_labels import learner_of, write_cases

from faimed3d.augment import Resample3D
from faimed3d.basics import TensorDicom3D
from faimed3d.dicom import dicom_inventory
from faimed3d.inference.earlier_run import mark_of_files


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_cases(tmp_path_factory.mktemp("cases"))


@pytest.fixture
def learn(table):
    return learner_of(table, [Resample3D(1)])


def failure(learn, items, out, **how):
    """The error of the one case that fails."""
    with pytest.warns(UserWarning, match="1 of . cases failed"):
        report = learn.predict_folder(items, out, **how)
    return next(text for text in report["error"] if text)


def test_masks_of_another_model_are_not_taken_for_those_of_this_one(learn, table, tmp_path):
    learn.predict_folder(table["image"][:1], tmp_path)
    for parameter in learn.model.parameters():
        parameter.data += 1
        break
    else:  # a network without weights
        learn.model.register_buffer("more", torch.ones(1))
    for _ in range(2):  # a refusal is not forgotten
        assert "another model has predicted it: pass overwrite=True" in failure(learn, table["image"][:1], tmp_path)
        learn.predict_folder(table["image"][1:2], tmp_path, overwrite=True)
    learn.predict_folder(table["image"][:1], tmp_path, overwrite=True)
    assert learn.predict_folder(table["image"][:1], tmp_path)["seconds"].isna().all()


@pytest.mark.parametrize("form", [None, "seg"])
def test_a_scan_of_which_more_came_is_named(learn, form, tmp_path):
    files = write(make_series(), tmp_path / "in" / "scan")
    last = files.pop()
    shutil.move(last, tmp_path / "late.dcm")
    learn.predict_folder(dicom_inventory(tmp_path / "in"), tmp_path / "out", form=form)
    assert learn.predict_folder(dicom_inventory(tmp_path / "in"), tmp_path / "out", form=form)["seconds"].isna().all()
    shutil.move(tmp_path / "late.dcm", last)
    text = failure(learn, dicom_inventory(tmp_path / "in"), tmp_path / "out", form=form)
    assert "the files of the scan are others than they were" in text


def test_a_scan_under_the_name_of_an_earlier_one_is_named(learn, table, tmp_path, monkeypatch):
    for name, number in (("a", 0), ("b", 1)):
        (tmp_path / name).mkdir()
        TensorDicom3D.create(table["image"][number]).save(tmp_path / name / "scan.nii.gz")
    monkeypatch.chdir(tmp_path / "a")
    learn.predict_folder(["scan.nii.gz"], tmp_path / "out")
    monkeypatch.chdir(tmp_path / "b")
    assert "the files of the scan are others" in failure(learn, ["scan.nii.gz"], tmp_path / "out")


def test_rows_of_other_runs_stay_while_their_files_do(learn, table, tmp_path):
    for number in range(3):
        learn.predict_folder(table["image"][number : number + 1], tmp_path)
        if number == 1:
            (tmp_path / "image0.nii.gz").unlink()
    learn.predict_folder(table["image"][2:], tmp_path)
    written = pd.read_csv(tmp_path / "report.csv")
    assert written["source"].tolist() == [table["image"][2], table["image"][1]]
    assert (written["liver (ml)"] > 0).all()


@pytest.mark.parametrize("content", ["key,folder\n1,2\n", "some notes\n"])
def test_a_file_that_is_no_report_stays(content, learn, table, tmp_path):
    (tmp_path / "report.csv").write_text(content)
    with pytest.raises(ValueError, match=r"report\.csv: is no report of an earlier run, so it stays"):
        learn.predict_folder(table["image"][:1], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.csv"]
    assert (tmp_path / "report.csv").read_text() == content


def test_a_report_has_an_ending_and_a_folder(learn, table, tmp_path):
    scan = shutil.copy(table["image"][0], tmp_path)
    with pytest.raises(ValueError, match=r"report must end in \.csv, or in \.html for a page, got '.*image0.nii.gz'"):
        learn.predict_folder(table["image"][:1], tmp_path / "out", report=scan)
    learn.predict_folder(table["image"][:1], tmp_path / "out", report="reports/today.csv")
    assert (tmp_path / "out" / "reports" / "today.csv").exists()


def test_names_that_are_no_text_have_a_report_and_are_found_again(learn, table, tmp_path):
    scan = os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller.nii.gz")
    shutil.copy(table["image"][0], scan)
    learn.predict_folder([scan], tmp_path / "out")
    assert learn.predict_folder([scan], tmp_path / "out")["seconds"].isna().all()
    assert pd.read_csv(tmp_path / "out" / "report.csv")["source"].str.endswith("M\\udcfcller.nii.gz").all()


def test_the_state_of_files_is_that_of_all_of_them_in_whatever_order(tmp_path):
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("22")
    both = mark_of_files([tmp_path / "a", tmp_path / "b"])
    assert both == mark_of_files([tmp_path / "b", tmp_path / "a"]) == mark_of_files([tmp_path])
    assert len({both, mark_of_files([tmp_path / "a"]), mark_of_files([tmp_path / "absent"])}) == 3
    assert mark_of_files([]) == mark_of_files(["no path"]) == ""
    os.utime(tmp_path / "b", (1, 1))
    assert mark_of_files([tmp_path]) != both
