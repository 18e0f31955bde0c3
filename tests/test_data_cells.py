"""What cells of a table mean: paths, DICOM folders, rows and keys of an inventory."""

import importlib
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from cases import SHAPE, make_learner
from dicom_series import SECRETS, write_series

from faimed3d.data import ImageDataLoaders3D
from faimed3d.data.cells import VolumeColumn
from faimed3d.dicom import dicom_inventory

importlib.import_module("fastai.callback.progress")  # gives Learner no_bar


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Three DICOM series, the origin of each in its number."""
    archive = tmp_path_factory.mktemp("dicom")
    for number in range(3):
        origin = (10.0 * number, 0, 0)
        write_series(archive / f"case{number}" / "dicom", origin=origin, SeriesInstanceUID=f"1.2.3.{number}")
    return archive


class TestDicomCells:
    def origins(self, dls):
        return sorted(round(item[0].geometry.origin[0]) for ds in (dls.train_ds, dls.valid_ds) for item in ds)

    def loaders(self, table, archive, column):
        return ImageDataLoaders3D.from_df(
            table.assign(label="a"), archive, fn_col=column, label_col="label", seed=0, valid_pct=0.4, bs=2
        )

    def test_folders(self, archive):
        table = pd.DataFrame({"image": [f"case{k}/dicom" for k in range(3)]})
        assert self.origins(self.loaders(table, archive, "image")) == [0, 10, 20]

    @pytest.mark.parametrize("column", ["key", "folder", "files"])
    def test_an_inventory_as_the_table(self, archive, column):
        table = dicom_inventory(archive)
        assert self.origins(self.loaders(table, archive, column)) == [0, 10, 20]

    def test_an_inventory_from_a_csv(self, archive, tmp_path):
        dicom_inventory(archive).to_csv(tmp_path / "inventory.csv", index=False)
        table = pd.read_csv(tmp_path / "inventory.csv")
        assert self.origins(self.loaders(table, archive, "key")) == [0, 10, 20]

    def test_keys(self, archive):
        table = pd.DataFrame({"scan": dicom_inventory(archive)["key"].tolist()}, index=[5, 6, 7])
        assert self.origins(self.loaders(table, archive, "scan")) == [0, 10, 20]
        table.loc[5, "scan"] = "0123456789ab"
        with pytest.raises(ValueError, match="1 of the keys, the first '0123456789ab', are not in"):
            self.loaders(table, archive, "scan")

    def test_rows_in_cells(self, archive):
        rows = [row for _, row in dicom_inventory(archive).iterrows()]
        table = pd.DataFrame({"scan": pd.Series(rows, dtype=object)})
        assert self.origins(self.loaders(table, archive, "scan")) == [0, 10, 20]

    def test_rows_travel_without_descriptions(self, archive):
        row = dicom_inventory(archive, tags=["PatientName"]).iloc[0]
        source = VolumeColumn("key")(row)
        assert "description" not in source
        assert "PatientName" not in source

    @pytest.mark.parametrize("column", ["key", "folder", "files", "row"])
    def test_nothing_of_a_patient_goes_to_workers(self, archive, column):
        table = dicom_inventory(archive, tags=["PatientName", "PatientBirthDate"])
        if column == "row":
            table["row"] = pd.Series([row for _, row in table.iterrows()], dtype=object)
            table = table[["row", "PatientName"]]
        dls = self.loaders(table, archive, column)
        assert self.origins(dls) == [0, 10, 20]
        sent = pickle.dumps((dls.train_ds, dls.valid_ds))
        assert not [word for word in (*SECRETS, "Größe") if word.encode() in sent]

    def test_the_index_and_the_named_columns_stay(self, archive):
        table = pd.DataFrame(
            {"image": [f"case{k}/dicom" for k in range(3)], "age": 7, "who": list("abc")}, index=[5, 6, 7]
        )
        dls = ImageDataLoaders3D.from_df(
            table.assign(label="x"), archive, fn_col="image", label_col="label", group_col="who", valid_pct=0.4, bs=1
        )
        items = pd.concat([dls.train.items, dls.valid.items])
        assert list(items.columns) == ["image", "who", "label"]
        assert sorted(items.index) == [5, 6, 7]

    def test_columns_by_number_keep_their_names_and_nothing_else_stays(self, archive):
        table = pd.DataFrame({"age": 7, "label": "x", "image": [f"case{k}/dicom" for k in range(3)], "name": "Doe"})
        dls = ImageDataLoaders3D.from_df(table, archive, fn_col=2, label_col=1, valid_pct=0.4, bs=2)
        assert list(dls.train.items.columns) == ["label", "image"]
        assert self.origins(dls) == [0, 10, 20]
        table.columns = range(4)  # no names
        dls = ImageDataLoaders3D.from_df(table, archive, fn_col=-2, label_col=1, valid_pct=0.4, bs=2)
        assert list(dls.train.items.columns) == [1, 2]
        assert self.origins(dls) == [0, 10, 20]

    def test_predict_takes_a_row_and_a_path(self, archive):
        table = pd.DataFrame({"image": [f"case{k}/dicom" for k in range(3)]})
        dls = self.loaders(table, archive, "image")
        learn = make_learner(dls, 1, whole=True)
        with learn.no_bar():
            by_row = learn.predict(dicom_inventory(archive).iloc[1])
            by_path = learn.predict(archive / "case1" / "dicom")
        assert torch.equal(by_row[2], by_path[2])


class TestVolumeColumn:
    def row(self, **cells):
        return pd.Series(cells, name=3)

    @pytest.mark.parametrize("cell", [None, float("nan"), " "])
    def test_an_empty_cell_is_refused(self, cell):
        with pytest.raises(ValueError, match="row 3: the cell of column 'image' is empty"):
            VolumeColumn("image")(self.row(image=cell))

    def test_a_number_is_refused(self):
        with pytest.raises(TypeError, match=r"column 'image' holds the number .*7.*, not a volume"):
            VolumeColumn("image")(self.row(image=7))

    def test_a_missing_column_is_refused(self):
        with pytest.raises(ValueError, match="no column 'image' in the table; there are scan"):
            VolumeColumn("image")(self.row(scan="a.nii"))

    def test_another_row_than_an_inventorys_is_refused(self):
        with pytest.raises(TypeError, match="expected a row of a DICOM inventory"):
            VolumeColumn("image")(self.row(image={"folder": "a"}))

    def test_arrays_and_lists_pass(self):
        array = np.zeros(SHAPE)
        assert VolumeColumn("image")(self.row(image=array)) is array
        files = VolumeColumn("image", "root", ".nii")(self.row(image=["a", "/b"]))
        assert [file.as_posix() for file in files] == ["root/a.nii", "/b.nii"]
