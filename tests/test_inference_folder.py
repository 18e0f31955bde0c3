"""Prediction of many volumes: names, reports, and no scan written over."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from dicom_series import make_series
from dicom_series import write as write_dicom
from fastai.callback.progress import ProgressCallback
from shown_labels import SHAPE, geometry_of, image_of, learner_of, write_cases

from faimed3d.augment import Resample3D
from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.inference import predict_folder


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_cases(tmp_path_factory.mktemp("cases"))


class TestFolder:
    @pytest.fixture
    def learn(self, table):
        learn = learner_of(table, [Resample3D(1)])
        learn.path = None
        return learn

    def test_reports_one_row_per_case_and_saves_what_predict_volume_gives(self, learn, table, tmp_path):
        report = predict_folder(learn, table["image"], tmp_path / "out")
        assert list(report.columns) == [
            "source", "output", "seconds", "background", "total_mask_volume", "class 1", "class 2", "error",
        ]  # fmt: skip
        assert report["source"].tolist() == table["image"].tolist()
        assert (report["error"] == "").all()
        assert (report["seconds"] > 0).all()
        for number, row in report.iterrows():
            saved = TensorMask3D.create(row["output"], dtype=None)
            expected = learn.predict_volume(table["image"][number])
            assert torch.equal(saved, expected)
            assert saved.geometry.agrees(expected.geometry)
            assert row["class 2"] == pytest.approx(saved.calc_volume()["class 2"], rel=1e-5)

    def test_goes_on_where_it_stopped(self, learn, table, tmp_path):
        learn.predict_folder(table["image"][:2], tmp_path)
        files = sorted(tmp_path.iterdir())
        before = [file.stat().st_mtime_ns for file in files]
        learn.model.seen.clear()
        report = learn.predict_folder(table["image"], tmp_path)
        assert len(learn.model.seen) == 1
        assert [file.stat().st_mtime_ns for file in files] == before
        assert report["seconds"].isna().tolist() == [True, True, False]
        assert report["class 1"].notna().all()
        learn.predict_folder(table["image"], tmp_path, overwrite=True)
        assert len(learn.model.seen) == 4

    def test_a_damaged_result_is_done_again(self, learn, table, tmp_path):
        report = learn.predict_folder(table["image"][:1], tmp_path)
        output = tmp_path / "image0.nii.gz"
        whole = output.read_bytes()
        output.write_bytes(whole[: len(whole) // 2])
        report = learn.predict_folder(table["image"][:1], tmp_path)
        assert report["error"].tolist() == [""]
        assert TensorMask3D.create(output, dtype=None).shape == SHAPE

    def test_a_bad_file_is_named_and_does_not_stop_the_rest(self, learn, table, tmp_path):
        bad = tmp_path / "bad.nii.gz"
        bad.write_bytes(b"no volume")
        items = [bad, table["image"][0], tmp_path / "absent.nii.gz"]
        with pytest.warns(UserWarning, match=r"2 of 3 cases failed, .* the first is .*bad\.nii\.gz: "):
            report = learn.predict_folder(items, tmp_path / "out")
        assert report["error"].ne("").tolist() == [True, False, True]
        assert report["error"][2].startswith("FileNotFoundError: ")
        assert report["class 1"].notna().tolist() == [False, True, False]
        assert [file.name for file in (tmp_path / "out").iterdir()] == ["image0.nii.gz"]

    def test_finds_the_volumes_of_a_folder(self, learn, tmp_path):
        folder = tmp_path / "in"
        folder.mkdir()
        TensorDicom3D(image_of(0), {"spacing": (1, 1, 1)}).save(folder / "a.nrrd")
        write_dicom(make_series(), folder / "scan.1")
        report = learn.predict_folder(folder, tmp_path / "out", suffix=".mha")
        assert [path.name for path in sorted((tmp_path / "out").iterdir())] == ["a.mha", "scan.1.mha"]
        assert report["class 1"][0] > 0

    def test_two_cases_never_share_a_file(self, learn, table, tmp_path):
        with pytest.raises(ValueError, match=r"would both be written to .*image0\.nii\.gz: pass names"):
            learn.predict_folder([table["image"][0], "other/image0.nrrd"], tmp_path)
        report = learn.predict_folder([TensorDicom3D.create(table["image"][0])], tmp_path, names=["mine"])
        assert report["source"].tolist() == ["a TensorDicom3D"]
        assert (tmp_path / "mine.nii.gz").exists()
        with pytest.raises(ValueError, match="a TensorDicom3D has no name to save its prediction under: pass names"):
            learn.predict_folder([TensorDicom3D.create(table["image"][0])], tmp_path)
        with pytest.raises(ValueError, match="there are 1 items and 2 names"):
            learn.predict_folder([table["image"][0]], tmp_path, names=["a", "b"])

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_is_never_written_over_a_scan(self, learn, tmp_path, overwrite):
        folder = tmp_path / "scans"
        folder.mkdir()
        TensorDicom3D(image_of(0), geometry_of(0)).save(folder / "a.nii.gz")
        (tmp_path / "link").symlink_to(folder)
        before = (folder / "a.nii.gz").read_bytes()
        table = pd.DataFrame({"image": ["a.nii.gz"], "mask": [str(folder / "a.nii.gz")]})
        for items, out, names in (
            (folder, folder, None),
            ([str(folder / "a.nii.gz")], folder, None),
            ([[folder / "a.nii.gz"]], tmp_path / "link", None),
            (table, folder, ["a"]),
        ):
            with pytest.raises(ValueError, match=r"a\.nii\.gz would be written over .*a\.nii\.gz, which is one of"):
                learn.predict_folder(items, out, names, overwrite=overwrite)
        assert (folder / "a.nii.gz").read_bytes() == before

    def test_paths_of_a_table_below_the_folder_of_the_dls_are_not_written_over(self, learn, tmp_path):
        TensorDicom3D(image_of(0), geometry_of(0)).save(tmp_path / "a.nii.gz")
        learn.dls.path = tmp_path
        with pytest.raises(ValueError, match=r"would be written over a\.nii\.gz"):
            learn.predict_folder(pd.DataFrame({"image": ["a.nii.gz"]}), tmp_path, ["a"], overwrite=True)

    @pytest.mark.parametrize("names", [None, ["one", "two"]])
    def test_goes_on_in_a_folder_below_the_scans(self, learn, tmp_path, names):
        for number, name in enumerate("ab"):
            TensorDicom3D(image_of(number), geometry_of(number)).save(tmp_path / f"{name}.nii.gz")
        first = learn.predict_folder(tmp_path, tmp_path / "out", names)
        again = learn.predict_folder(tmp_path, tmp_path / "out", names)
        assert again["source"].tolist() == first["source"].tolist()
        assert again["output"].tolist() == first["output"].tolist()
        assert again["seconds"].isna().all()

    def test_scans_in_the_folder_of_the_predictions_stay_sources(self, learn, tmp_path):
        out = tmp_path / "out"
        out.mkdir()
        TensorDicom3D(image_of(0), geometry_of(0)).save(tmp_path / "a.nii.gz")
        TensorDicom3D(image_of(1), geometry_of(1)).save(out / "b.nrrd")
        report = learn.predict_folder(tmp_path, out)
        assert [Path(source).name for source in report["source"]] == ["a.nii.gz", "b.nrrd"]
        assert (report["error"] == "").all()

    def test_shows_a_bar_unless_told_not_to(self, learn, table, tmp_path, capsys):
        if not hasattr(learn, "progress"):
            learn.add_cb(ProgressCallback())
        with learn.no_bar():
            learn.predict_folder(table["image"][:1], tmp_path)
        assert capsys.readouterr().out == ""
        learn.predict_folder(table["image"][:1], tmp_path)
        assert "100.00%" in capsys.readouterr().out
