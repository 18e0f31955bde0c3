"""Scans from a real archive and back to it."""

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dicom_series import SECRETS, stored_values
from orthanc import AUTH, write_scan
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage, generate_uid
from structure_sets import circle, on_plane, structure_set

from faimed3d.archive import DicomWeb
from faimed3d.data import SegmentationDataLoaders3D
from faimed3d.dicom import dicom_inventory
from faimed3d.errors import NoImages, SeveralVolumes
from faimed3d.volume import TensorDicom3D, TensorMask3D

SHAPE = (5, 9, 10)


@pytest.fixture
def pacs(orthanc, tmp_path):
    return DicomWeb(orthanc.url, AUTH, cache=tmp_path / "cache")


def mr(description, folder, seed=0, **elements):
    return write_scan(folder, stored_values(SHAPE, low=0, seed=seed), description, **elements)


class TestSearch:
    def test_finds_series_as_rows_of_an_inventory(self, pacs, tmp_path):
        mr("T2 tse", tmp_path / "a")
        mr("T1", tmp_path / "b", seed=1)
        assert len(pacs.search()) == 0
        pacs.store(tmp_path / "a")
        pacs.store(tmp_path / "b")
        found = pacs.search(modality="MR", description="T2*")
        known = dicom_inventory(tmp_path / "a")
        assert found[["description", "modality", "slices", "series_uid"]].equals(
            known[["description", "modality", "slices", "series_uid"]]
        )
        assert set(known.columns) | {"study_uid"} == set(found.columns)
        assert len(pacs.search(modality="MR")) == 2
        assert len(pacs.search(modality="MR", limit=1)) == 1
        assert len(pacs.search(modality="CT")) == 0
        assert len(pacs.search(PatientID=SECRETS[1], StudyDate="20200101-20200301")) == 2
        assert len(pacs.search(StudyDate="-20200101")) == 0

    def test_tells_of_a_patient_what_is_asked_for_alone(self, pacs, tmp_path, capsys):
        mr("T2", tmp_path / "a")
        pacs.store(tmp_path / "a")
        assert not [secret for secret in SECRETS if secret in pacs.search().to_csv()]
        assert pacs.search(tags=["PatientID"])["PatientID"].tolist() == [SECRETS[1]]
        assert not [secret for secret in SECRETS if secret in capsys.readouterr().out]


class TestFetch:
    def test_the_voxels_are_those_of_the_files(self, pacs, tmp_path):
        mr("T2", tmp_path / "a")
        pacs.store(tmp_path / "a")
        own = TensorDicom3D.create(tmp_path / "a")
        for source in (pacs.search().iloc[0], pacs.search(), pacs.fetch(pacs.search()), pacs.search()["folder"][0]):
            scan = TensorDicom3D.create(source)
            np.testing.assert_array_equal(scan, own)
            assert scan.geometry == own.geometry
        files = pacs.fetch(pacs.search())["files"][0]
        assert {dcmread(file).SOPInstanceUID for file in files} == {
            dcmread(file).SOPInstanceUID for file in (tmp_path / "a").iterdir()
        }

    def test_what_is_here_is_not_fetched_again(self, orthanc, pacs, tmp_path):
        mr("T2", tmp_path / "a")
        pacs.store(tmp_path / "a")
        row = pacs.search().iloc[0]
        files = pacs.fetch(row)["files"][0]
        written = [Path(file).stat().st_mtime_ns for file in files]
        Path(files[0]).unlink()
        other = DicomWeb(orthanc.url, AUTH, cache=tmp_path / "cache")
        assert other.fetch(other.search())["files"][0] == files
        assert [Path(file).stat().st_mtime_ns for file in files[1:]] == written[1:]
        assert Path(files[0]).exists()

    def test_several_volumes_are_listed(self, pacs, tmp_path):
        same = {name: generate_uid() for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")}
        mr("T2", tmp_path / "a", EchoTime=20, **same)
        mr("T2", tmp_path / "b", seed=1, EchoTime=80, **same)
        pacs.store(tmp_path / "a")
        pacs.store(tmp_path / "b")
        row = pacs.search().iloc[0]
        with pytest.raises(SeveralVolumes, match=r"2 volumes or objects\. Choose among pacs\.fetch\(row\)"):
            TensorDicom3D.create(row)
        rows = pacs.fetch(row)
        np.testing.assert_array_equal(
            TensorDicom3D.create(rows[rows["distinct"].str.contains("80")].iloc[0]),
            TensorDicom3D.create(tmp_path / "b"),
        )

    def test_nothing_found(self, pacs):
        with pytest.raises(NoImages, match="a table without rows"):
            TensorDicom3D.create(pacs.search())


class TestFind:
    @pytest.fixture
    def scan(self, pacs, tmp_path):
        """A row of a scan with a segmentation, in a study with a localizer, contours that name no images, and a map."""
        study = {name: generate_uid() for name in ("StudyInstanceUID", "FrameOfReferenceUID")}
        mr("T2", tmp_path / "scan", **study)
        mr("localizer", tmp_path / "other", seed=1, **study)
        [first] = {dcmread(file).SOPInstanceUID for file in list((tmp_path / "scan").iterdir())[:1]}
        source = Dataset()
        source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = MRImageStorage, first
        mr("ADC", tmp_path / "map", seed=2, SourceImageSequence=[source], **study)
        image = TensorDicom3D.create(tmp_path / "scan")
        mask = TensorMask3D(image > 1000, like=image, codes={1: "lesion"})
        mask.save(tmp_path / "seg.dcm", like=image)
        square = [on_plane(image.geometry, circle(3, (4, 5)), 2)]
        structure_set(tmp_path / "old.dcm", {"lesion": square}, frame=study["FrameOfReferenceUID"])
        old = dcmread(tmp_path / "old.dcm")
        old.StudyInstanceUID, old.SeriesInstanceUID = study["StudyInstanceUID"], generate_uid()
        old.save_as(tmp_path / "old.dcm")
        pacs.store(tmp_path)
        return pacs.search(description="T2").iloc[0]

    def test_what_refers_to_it(self, pacs, scan, tmp_path):
        expected = ["MR", "RTSTRUCT", "SEG"]
        folder = tmp_path / "scan"
        for source in (
            scan, folder, TensorDicom3D.create(folder), dicom_inventory(folder).iloc[0], pacs.fetch(scan).iloc[0],
            pacs.search(description="T2"),
        ):  # fmt: skip
            assert sorted(pacs.find(source)["modality"]) == expected
        assert pacs.find(scan, modality="MR")["description"].tolist() == ["ADC"]
        assert sorted(pacs.find(tmp_path / "other")["modality"]) == ["RTSTRUCT"]  # in the same frame of reference
        assert len(pacs.find(scan, modality="SR")) == 0

    def test_what_is_no_image_says_so(self, pacs, scan):
        row = pacs.find(scan, modality="RTSTRUCT").iloc[0]
        with pytest.raises(ValueError, match="like="):
            TensorMask3D.create(row)
        fetched = pacs.fetch(row)
        assert fetched["problems"].tolist() == ["holds no image"]
        fetched["modality"] = "SR"
        with pytest.raises(NoImages, match="of which the inventory says: holds no image"):
            TensorDicom3D.create(fetched)


class TestTables:
    def test_rows_are_items_of_a_training(self, pacs, tmp_path):
        for number in range(2):
            mr("T2", tmp_path / str(number), seed=number)
            pacs.store(tmp_path / str(number))
        rows = pacs.search()
        masks = [TensorMask3D(TensorDicom3D.create(row.folder) > 1000) for row in rows.itertuples()]
        cells = [row for _, row in rows.iterrows()]
        table = pd.DataFrame({"image": cells * 2, "mask": masks * 2})
        dls = SegmentationDataLoaders3D.from_df(
            table, codes=["background", "lesion"], bs=1, num_workers=0, valid_pct=0.5
        )
        assert len(pickle.dumps(dls.train_ds.items))  # rows of files, for workers
        values = {float(dls.train_ds[number][0].max()) for number in range(len(dls.train_ds))}
        assert values <= {float(TensorDicom3D.create(row).max()) for row in cells}


class TestStore:
    def test_each_object_once(self, pacs, tmp_path):
        files = mr("T2", tmp_path / "a" / "deep")
        (tmp_path / "a" / "notes.txt").write_text("no image")
        assert set(pacs.store(files[:2])["result"]) == {"stored"}
        table = pacs.store(tmp_path / "a")
        assert sorted(table["result"]) == ["stored", "stored", "stored", "was there", "was there"]
        assert pacs.search()["slices"].tolist() == [5]
