"""Prediction of many volumes: names, reports, and no scan written over."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from dicom_series import make_series
from dicom_series import write as write_dicom
from fastai.callback.progress import ProgressCallback
from fastai.data.block import DataBlock
from fastai.data.transforms import IndexSplitter
from hypothesis import given, settings
from hypothesis import strategies as st
from shown_labels import SHAPE, geometry_of, image_of, learner_of, write_cases

from faimed3d.augment import Resample3D
from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.data import ImageBlock3D
from faimed3d.dicom import dicom_inventory
from faimed3d.inference import predict_folder
from faimed3d.inference.case_names import case_names


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
            "source", "folder", "series", "key", "output", "seconds", "disagreement", "background", "total_mask_volume",
            "liver", "kidney", "model", "state", "warnings", "error",
        ]  # fmt: skip
        assert report["source"].tolist() == table["image"].tolist()
        assert (report["error"] == "").all()
        assert (report["seconds"] > 0).all()
        for number, row in report.iterrows():
            saved = TensorMask3D.create(row["output"], dtype=None)
            expected = learn.predict_volume(table["image"][number])
            assert torch.equal(saved, expected)
            assert saved.geometry.agrees(expected.geometry)
            assert row["kidney"] == pytest.approx(saved.calc_volume()["class 2"], rel=1e-5)

    def test_goes_on_where_it_stopped(self, learn, table, tmp_path):
        learn.predict_folder(table["image"][:2], tmp_path)
        files = sorted(tmp_path.glob("*.nii.gz"))
        before = [file.stat().st_mtime_ns for file in files]
        learn.model.seen.clear()
        report = learn.predict_folder(table["image"], tmp_path)
        assert len(learn.model.seen) == 1
        assert [file.stat().st_mtime_ns for file in files] == before
        assert report["seconds"].isna().tolist() == [True, True, False]
        assert report["liver"].notna().all()
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

    def test_what_is_there_of_another_scan_is_not_taken_for_this_one(self, learn, table, tmp_path):
        first, second = tmp_path / "a" / "scan.nii.gz", tmp_path / "b" / "scan.nii.gz"
        for path, source in ((first, table["image"][0]), (second, table["image"][0])):
            path.parent.mkdir()
            TensorDicom3D.create(source).save(path)
        learn.predict_folder([first], tmp_path / "out")
        with pytest.warns(UserWarning, match="1 of 1 cases failed"):
            report = learn.predict_folder([second], tmp_path / "out")
        assert f"was predicted from {first}: pass overwrite=True" in report["error"][0]
        assert learn.predict_folder([second], tmp_path / "out", overwrite=True)["error"].tolist() == [""]
        assert learn.predict_folder([second], tmp_path / "out")["seconds"].isna().all()

    def test_without_a_report_the_grid_tells(self, learn, table, tmp_path):
        scan = TensorDicom3D.create(table["image"][0])
        learn.predict_folder([scan], tmp_path, names=["a"], report=None)
        assert learn.predict_folder([scan], tmp_path, names=["a"], report=None)["error"].tolist() == [""]
        scan.set_origin((90, 0, 0))
        with pytest.warns(UserWarning, match="1 of 1 cases failed"):
            report = learn.predict_folder([scan], tmp_path, names=["a"], report=None)
        assert "a.nii.gz is there already, but lies elsewhere" in report["error"][0]

    def test_a_place_that_was_told_is_told_again(self, learn, table, tmp_path):
        scan = TensorDicom3D.create(table["image"][0])
        for _ in range(2):
            report = learn.predict_folder([scan.numpy()], tmp_path, names=["a"], report=None, like=scan)
            assert report["error"].tolist() == [""]

    def test_rows_of_a_table_are_named_by_the_files_of_their_images(self, learn, table, tmp_path):
        report = learn.predict_folder(table[["mask", "image"]][:2], tmp_path / "out")
        assert report["source"].tolist() == table["image"][:2].tolist()
        assert [Path(file).name for file in report["output"]] == ["image0.nii.gz", "image1.nii.gz"]
        other = tmp_path / "other" / "image0.nii.gz"  # on the same grid, and another scan
        other.parent.mkdir()
        TensorDicom3D(image_of(1), geometry_of(0)).save(other)
        with pytest.warns(UserWarning, match="is there already, and the report beside it says that it was predicted"):
            again = learn.predict_folder(table[:1].assign(image=str(other)), tmp_path / "out")
        assert str(table["image"][0]) in again["error"][0]
        assert learn.predict_folder(table[:2], tmp_path / "out")["seconds"].isna().all()

    def test_rows_mean_nothing_to_a_network_that_was_trained_on_files(self, learn, table, tmp_path):
        learn.dls = DataBlock((ImageBlock3D,), splitter=IndexSplitter([0])).dataloaders(table["image"].tolist(), bs=1)
        with pytest.raises(TypeError, match=r"with the columns mask, image: which one .* table\['image'\]"):
            learn.predict_volume(table[["mask", "image"]].iloc[0])

    @pytest.mark.parametrize("suffix", ["nii.gz", ".dcm", ".nii.gzz", ".npy", "_seg"])
    def test_a_format_that_cannot_be_written_is_refused_before_the_work(self, learn, table, tmp_path, suffix):
        with pytest.raises(ValueError, match=r"suffix must end like \.nii, .*got"):
            learn.predict_folder(table["image"][:1], tmp_path / "out", suffix=suffix)
        assert not (tmp_path / "out").exists()

    def test_a_bad_file_is_named_and_does_not_stop_the_rest(self, learn, table, tmp_path):
        bad = tmp_path / "bad.nii.gz"
        bad.write_bytes(b"no volume")
        items = [bad, table["image"][0], tmp_path / "absent.nii.gz"]
        with pytest.warns(UserWarning, match=r"2 of 3 cases failed, .* the first is .*bad\.nii\.gz: "):
            report = learn.predict_folder(items, tmp_path / "out")
        assert report["error"].ne("").tolist() == [True, False, True]
        assert report["error"][2].startswith("FileNotFoundError: ")
        assert report["liver"].notna().tolist() == [False, True, False]
        assert [file.name for file in (tmp_path / "out").glob("*.nii*")] == ["image0.nii.gz"]

    def test_finds_the_volumes_of_a_folder(self, learn, tmp_path):
        folder = tmp_path / "in"
        folder.mkdir()
        TensorDicom3D(image_of(0), {"spacing": (1, 1, 1)}).save(folder / "a.nrrd")
        write_dicom(make_series(), folder / "scan.1")
        report = learn.predict_folder(folder, tmp_path / "out", suffix=".mha")
        assert [path.name for path in sorted((tmp_path / "out").glob("*.mha"))] == ["a.mha", "scan.1.mha"]
        assert report["liver"][0] > 0

    def test_two_cases_never_share_a_file(self, learn, table, tmp_path):
        with pytest.raises(ValueError, match=r"would both be written to .*image0\.nii\.gz: pass names"):
            learn.predict_folder([table["image"][0]] * 2, tmp_path)
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


class TestNames:
    def test_of_folders_named_alike_come_from_those_above(self, tmp_path):
        sources = [tmp_path / "ann" / "1" / "ct", tmp_path / "bob" / "1" / "ct", tmp_path / "bob" / "2" / "ct.nii.gz"]
        for source in sources[:2]:
            source.mkdir(parents=True)
        assert case_names(sources) == ["ann_1_ct", "bob_1_ct", "2_ct"]

    @settings(deadline=None)
    @given(st.lists(st.lists(st.sampled_from("abAB"), min_size=1, max_size=4), min_size=1, max_size=8, unique_by=tuple))
    def test_are_all_different_whatever_the_paths(self, paths):
        sources = ["/".join(["root", *parts]) + ".nii" for parts in paths]
        folded = {source.casefold(): source for source in sources}.values()
        names = case_names([*folded])
        assert len({name.casefold() for name in names}) == len(folded)

    def test_of_an_inventory_are_folder_and_description_and_no_key_unless_needed(self):
        rows = [
            pd.Series({"key": "0123456789ab", "folder": "/x/exam 1", "description": "T1 ax / 3mm"}),
            pd.Series({"key": "1123456789ab", "folder": "/x/exam 1", "description": "T2"}),
            pd.Series({"key": "2123456789ab", "folder": "/x/exam 1", "description": "T2"}),
            pd.Series({"key": "3123456789ab", "folder": "/x/scan", "description": float("nan")}),
        ]
        names = case_names(rows)
        assert names[0] == "exam 1_T1_ax_3mm"
        assert names[1].endswith("exam 1_T2_1123456789ab")
        assert names[2].endswith("exam 1_T2_2123456789ab")
        assert names[3] == "scan"

    def test_of_rows_and_channels_are_those_of_the_first_volume(self):
        assert case_names([pd.Series({"age": 4, "image": "a/scan.nii.gz", "mask": "a/mask.nii.gz"})]) == ["scan"]
        assert case_names([["a/t1.nii.gz", "a/t2.nii.gz"]]) == ["t1"]


class TestHospitalExport:
    def export(self, folder):
        for patient in ("p1", "p2"):
            write_dicom(make_series(), folder / patient / "CT")
        return folder

    def test_folders_named_alike_get_names_from_those_above_and_a_report(self, table, tmp_path):
        learn = learner_of(table, [Resample3D(1)])
        learn.predict_folder(self.export(tmp_path / "in"), tmp_path / "out")
        assert sorted(path.name for path in (tmp_path / "out").glob("*.nii.gz")) == ["p1_CT.nii.gz", "p2_CT.nii.gz"]
        written = pd.read_csv(tmp_path / "out" / "report.csv")
        assert {"liver (ml)", "kidney (ml)", "total (ml)", "folder", "series", "key", "warnings"} <= set(written)
        assert written["error"].isna().all()

    def test_an_inventory_names_series_and_keys_in_the_report(self, table, tmp_path):
        learn = learner_of(table, [Resample3D(1)])
        inventory = dicom_inventory(self.export(tmp_path / "in"))
        report = learn.predict_folder(inventory, tmp_path / "out", report="again.csv")
        assert report["key"].tolist() == inventory["key"].tolist()
        assert report["folder"].tolist() == inventory["folder"].tolist()
        assert (report["error"] == "").all()
        written = pd.read_csv(tmp_path / "out" / "again.csv")
        assert written["total (ml)"].tolist() == pytest.approx((report["total_mask_volume"] / 1000).tolist())
        again = learn.predict_folder(inventory, tmp_path / "out", report=None)
        assert again["seconds"].isna().all()
        assert again["liver"].tolist() == pytest.approx(report["liver"].tolist())

    def test_warnings_of_a_case_stand_in_its_row_and_are_heard(self, table, tmp_path):
        learn = learner_of(table, [Resample3D(1)])
        with pytest.warns(UserWarning, match="nothing says where this volume lies"):
            report = learn.predict_folder([TensorDicom3D(image_of(0))], tmp_path, names=["a"])
        assert "nothing says where this volume lies" in report["warnings"][0]

    def test_windows_done_are_shown_unless_told_not_to(self, table, tmp_path, capsys):
        learn = learner_of(table, [Resample3D(1)])
        if not hasattr(learn, "progress"):
            learn.add_cb(ProgressCallback())
        learn.predict_volume(table["image"][0], patch=8)
        assert "windows" in capsys.readouterr().out
        learn.predict_volume(table["image"][0], patch=8, progress=False)
        with learn.no_bar():
            learn.predict_volume(table["image"][0], patch=8)
        assert capsys.readouterr().out == ""


def test_the_report_has_a_column_for_a_class_that_is_never_found(table, tmp_path):
    learn = learner_of(table, None)
    learn.dls.vocab = [*learn.dls.vocab, "cyst"]
    report = predict_folder(learn, table["image"], tmp_path)
    assert list(report.columns)[-7:-4] == ["liver", "kidney", "cyst"]
    assert (report["cyst"] == 0).all()
    assert "cyst (ml)" in pd.read_csv(tmp_path / "report.csv").columns
