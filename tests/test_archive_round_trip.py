"""From the archive and back: a scan is found, segmented, and what was made of it is read from the archive again."""

from pathlib import Path

import numpy as np
import pytest
from dicom_series import AXIAL, SECRETS
from orthanc import AUTH, write_scan
from pydicom import dcmread
from small_trainings import GRID, Bright, learner, loaders, write_volumes

from faimed3d.archive import DicomWeb, connection
from faimed3d.errors import ArchiveUnavailable, NotStored
from faimed3d.inference import predict_folder
from faimed3d.volume import TensorDicom3D, TensorMask3D

SHAPE = (9, 24, 26)


def phantom():
    """Stored values of a ball of 100 in 0, and the ball."""
    depth, row, column = np.indices(SHAPE)
    ball = ((depth - 4) / 3) ** 2 + ((row - 12) / 8) ** 2 + ((column - 11) / 9) ** 2 <= 1
    return (100 * ball).astype(np.int16), ball


@pytest.fixture(scope="module")
def learn(tmp_path_factory):
    dls = loaders(write_volumes(tmp_path_factory.mktemp("training")))
    return learner(dls, [], Bright())


def values_of(report):
    """Volumes in mm³ of the classes of a structured report, by name, whatever wrote it."""
    found = {}

    def walk(item, name=None):
        code = item.ConceptNameCodeSequence[0].CodeValue if "ConceptNameCodeSequence" in item else ""
        children = list(item.get("ContentSequence", ()))
        if code == "125007":  # Measurement Group
            [name] = [child.TextValue for child in children if child.ConceptNameCodeSequence[0].CodeValue == "112039"]
        if code == "118565006":
            value = item.MeasuredValueSequence[0]
            assert value.MeasurementUnitsCodeSequence[0].CodeValue == "mm3"
            found[name] = float(value.NumericValue)
        for child in children:
            walk(child, name)

    walk(report)
    return found


@pytest.mark.filterwarnings("ignore:.*contours hold another volume", "ignore:.*the voxels differ by more than")
def test_ten_lines(orthanc, learn, tmp_path, monkeypatch, capsys):
    stored, ball = phantom()
    write_scan(tmp_path / "scanner" / "1", stored, orientation=AXIAL, spacing=GRID.spacing)
    write_scan(tmp_path / "scanner" / "2", stored, "T1 vibe", orientation=AXIAL, spacing=GRID.spacing)
    other = DicomWeb(orthanc.url, AUTH)
    other.store(tmp_path / "scanner")
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()

    pacs = DicomWeb(orthanc.url, auth=AUTH)
    scan = pacs.search(modality="MR", description="T2*").iloc[0]
    mask = learn.predict_volume(scan)
    mask.save("out/seg.dcm", like=scan)
    mask.save("out/contours.dcm", like=scan, form="rtstruct")
    pacs.store("out", report=mask.report(like=scan))
    truth = TensorMask3D.create(pacs.find(scan, modality="RTSTRUCT"), like=scan)

    np.testing.assert_array_equal(mask, ball)
    assert mask.geometry == TensorDicom3D.create(tmp_path / "scanner" / "1").geometry
    for found in (truth, TensorMask3D.create(other.find(scan, modality="SEG"), like=scan)):
        np.testing.assert_array_equal(found, mask)  # Dice 1
        assert found.codes[1] == mask.codes[1] == "box"
    for file, modality in (("out/seg.dcm", "SEG"), ("out/contours.dcm", "RTSTRUCT")):
        [files] = other.fetch(other.find(scan, modality=modality))["files"]
        assert Path(files[0]).read_bytes() == Path(file).read_bytes()
    [files] = other.fetch(pacs.find(scan, modality="SR"))["files"]
    assert values_of(dcmread(files[0])) == {"box": pytest.approx(mask.calc_volume()["box"], rel=1e-12)}
    assert len(pacs.find(scan)) == 3
    assert len(pacs.find(pacs.search(description="T1*"))) == 0
    again = pacs.store("out", report=mask.report(like=scan))
    assert again["result"].tolist() == ["was there"] * 3
    assert not [secret for secret in (*SECRETS, AUTH[1]) if secret in capsys.readouterr().out]


def test_all_scans_of_a_search_are_predicted(orthanc, learn, tmp_path):
    for number in range(2):
        write_scan(
            tmp_path / "scanner" / str(number),
            np.roll(phantom()[0], number, 2),
            orientation=AXIAL,
            spacing=GRID.spacing,
        )
    pacs = DicomWeb(orthanc.url, AUTH)
    pacs.store(tmp_path / "scanner")
    table = predict_folder(learn, pacs.search(), tmp_path / "out")
    assert table["error"].tolist() == ["", ""]
    for row in pacs.search().itertuples():
        [output] = table[table["key"] == row.key]["output"]
        np.testing.assert_array_equal(TensorMask3D.create(output), TensorDicom3D.create(row.folder) > 50)


class TestAServerThatStops:
    """In the middle of its work, with a signal that it cannot catch; its storage stays."""

    @pytest.fixture
    def pacs(self, orthanc, tmp_path, monkeypatch):
        monkeypatch.setattr(connection, "FIRST_PAUSE", 0)
        yield DicomWeb(orthanc.url, AUTH, cache=tmp_path / "cache", attempts=2)
        if orthanc.process is None:
            orthanc.start()

    def test_while_it_is_fetched(self, orthanc, pacs, tmp_path, monkeypatch):
        write_scan(tmp_path / "scan", phantom()[0])
        pacs.store(tmp_path / "scan")
        row = pacs.search().iloc[0]
        fetch, fetched, stopped = connection.Connection.fetch, [], []

        def watched(self, study, series, uid, path):
            if len(fetched) >= 4 and not stopped:
                stopped.append(uid)
                orthanc.stop()
            fetch(self, study, series, uid, path)
            fetched.append(uid)

        with monkeypatch.context() as patch:
            patch.setattr(connection.Connection, "fetch", watched)
            with pytest.raises(ArchiveUnavailable, match=r"no connection|the transfer was cut"):
                TensorDicom3D.create(row)
            here = {file.name for file in (tmp_path / "cache").rglob("*") if file.is_file()}
            assert 4 <= len(here) < SHAPE[0]
            orthanc.start()
            fetched.clear()
            patch.setattr(connection.Connection, "fetch", lambda *how: (fetch(*how), fetched.append(how)))
            np.testing.assert_array_equal(TensorDicom3D.create(row), phantom()[0])
        assert len(fetched) == SHAPE[0] - len(here)

    def test_while_it_stores(self, orthanc, pacs, tmp_path, monkeypatch):
        files = write_scan(tmp_path / "scan", phantom()[0])
        store, stored = connection.Connection.store, []

        def watched(self, path, before):
            if len(stored) == 4:
                orthanc.stop()
            stored.append(path)
            return store(self, path, before)

        with monkeypatch.context() as patch:
            patch.setattr(connection.Connection, "store", watched)
            with pytest.raises(NotStored, match="5 of 9 objects are not stored") as caught:
                pacs.store(files)
        assert caught.value.table["result"].tolist()[:4] == ["stored"] * 4
        orthanc.start()
        assert sorted(pacs.store(files)["result"]) == ["stored"] * 5 + ["was there"] * 4
        assert pacs.search()["slices"].tolist() == [9]
        np.testing.assert_array_equal(TensorDicom3D.create(pacs.search()), phantom()[0])
