"""The inventory of a tree: one row for each volume."""

import shutil

import pandas as pd
import pytest
from dicom_faults import cut, time_series, two_series
from dicom_series import (
    SECRETS,
    SPACING,
    write_series,
)

from faimed3d.dicom import dicom_inventory


class TestInventory:
    def test_one_row_per_volume(self, tmp_path):
        two_series(tmp_path / "a")
        time_series(tmp_path / "b", SeriesInstanceUID="1.7")
        table = dicom_inventory(tmp_path)
        assert list(table.columns) == [
            "key", "folder", "series_uid", "description", "modality", "slices", "shape", "spacing", "orientation",
            "distinct", "transfer_syntax", "problems", "files",
        ]  # fmt: skip
        assert len(table) == 5
        assert table["key"].is_unique
        row = table.iloc[1]
        assert row["folder"] == str(tmp_path / "a")
        assert row["series_uid"] == "1.2.3.4"
        assert row["description"] == "Größe"
        assert row["modality"] == "CT"
        assert (row["slices"], row["shape"]) == (5, (5, 6, 7))
        assert row["spacing"] == pytest.approx(SPACING)
        assert row["orientation"] == "oblique"
        assert row["transfer_syntax"] == "Explicit VR Little Endian"
        assert row["problems"] == ""
        assert len(row["files"]) == 5
        assert len(dicom_inventory(tmp_path, recurse=False)) == 0

    def test_keys_do_not_depend_on_where_the_tree_lies(self, tmp_path):
        two_series(tmp_path / "x" / "a")
        shutil.copytree(tmp_path / "x", tmp_path / "y")
        assert list(dicom_inventory(tmp_path / "x")["key"]) == list(dicom_inventory(tmp_path / "y")["key"])

    def test_no_patient_data_unless_asked_for(self, tmp_path):
        write_series(tmp_path)
        table = dicom_inventory(tmp_path)
        assert not any(secret in table.to_csv() + str(table.attrs) for secret in (*SECRETS, "20200229"))
        table = dicom_inventory(tmp_path, tags=["PatientID", 0x00100010, (0x0010, 0x0030), "EchoTime"])
        assert tuple(table.iloc[0, -4:]) == (SECRETS[1], SECRETS[0], SECRETS[2], "")

    def test_tags_that_are_none(self, tmp_path):
        with pytest.raises(ValueError, match="'Patient' is no DICOM keyword"):
            dicom_inventory(tmp_path, tags=["Patient"])
        with pytest.raises(TypeError, match="tags must be"):
            dicom_inventory(tmp_path, tags=[1.5])

    def test_damaged_files_are_told(self, tmp_path):
        cut(600)(tmp_path / "a")
        table = dicom_inventory(tmp_path)
        assert table["problems"].str.contains("IM9998.dcm").all()

    @pytest.mark.parametrize("orientation", [((1, 0, 0, 0, 1, 0), "axial"), ((1, 0, 0, 0, 0, -1), "coronal")])
    def test_orientation(self, tmp_path, orientation):
        write_series(tmp_path, orientation=orientation[0])
        assert dicom_inventory(tmp_path)["orientation"][0] == orientation[1]

    def test_long_work_shows_a_progress_bar(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr("faimed3d.dicom.inventory._LONG_WORK", 5)
        two_series(tmp_path / "a")
        write_series(tmp_path / "b")
        assert len(dicom_inventory(tmp_path)) == 3
        assert "100" in capsys.readouterr().out

    def test_an_empty_tree(self, tmp_path):
        table = dicom_inventory(tmp_path)
        assert isinstance(table, pd.DataFrame)
        assert len(table) == 0
