"""What was found in a folder is used again as long as its files are what they were, and no longer."""

import os
import time

import numpy as np
import pytest
from dicom_archive import time_points
from dicom_series import SECRETS, enhanced, make_series, stored_values, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faimed3d import errors
from faimed3d.dicom import dicom_inventory, read_dicom, recollection, volume_reading
from faimed3d.dicom.grouping import scan


@pytest.fixture(autouse=True)
def settled(monkeypatch):
    """Files count as settled at once; each test begins without recollections."""
    monkeypatch.setattr(recollection, "_SETTLED_NS", -(10**9))
    recollection.forget()
    yield
    recollection.forget()


@pytest.fixture
def scans(monkeypatch):
    """A list that grows by one with each file whose header is read."""
    read, found = scan.read_header, []

    def counted(path, wanted):
        found.append(path)
        return read(path, wanted)

    monkeypatch.setattr(scan, "read_header", counted)
    return found


def archive(folder, lost=True):
    volumes, datasets = time_points(3, 5)
    chosen = [dataset for dataset, t, k in datasets if not (lost and (t, k) == (1, 4))]
    return volumes, write(chosen, folder, [f"{n:02d}.dcm" for n in range(len(chosen))])


class TestOnce:
    def test_a_folder_is_looked_at_once_for_all_of_its_volumes(self, tmp_path, scans):
        volumes, paths = archive(tmp_path)
        for n in (0, 2):
            np.testing.assert_array_equal(read_dicom(tmp_path, n)[0], volumes[n])
        with pytest.raises(errors.MissingSlices):
            read_dicom(tmp_path, 1)
        assert len(scans) == len(paths)

    def test_rows_with_a_problem_look_at_their_folder_once(self, tmp_path, scans):
        archive(tmp_path)
        row = dicom_inventory(tmp_path).iloc[1]
        scans.clear()
        for _ in range(3):
            with pytest.warns(UserWarning, match="read with strict=False"):
                assert read_dicom(row, strict=False)[0].shape == (4, 6, 7)
        assert len(scans) == 14

    def test_a_file_of_many_volumes_is_read_once(self, tmp_path, monkeypatch):
        stored = stored_values((6, 6, 7))
        path = write([enhanced(stored, labels=[{"level": k % 3, "time": k // 3 + 1} for k in range(6)])], tmp_path)[0]
        calls = []
        monkeypatch.setattr(
            volume_reading, "survey", lambda *args: calls.append(args) or pytest.fail("looked at again")
        )
        for n in range(2):
            np.testing.assert_array_equal(read_dicom(path, n)[0], stored[3 * n : 3 * n + 3])
        rows = dicom_inventory(path)
        for n in range(2):
            np.testing.assert_array_equal(read_dicom(rows.iloc[n])[0], stored[3 * n : 3 * n + 3])

    def test_one_volume_without_a_problem_is_not_kept(self, tmp_path):
        write(make_series(), tmp_path)
        read_dicom(tmp_path)
        assert not recollection._kept

    def test_errors_are_the_same_each_time(self, tmp_path):
        archive(tmp_path)
        texts = []
        for _ in range(2):
            for series in (None, 1, 7, "1.2.999"):
                with pytest.raises(errors.ReadError) as caught:
                    read_dicom(tmp_path, series)
                texts.append(f"{type(caught.value)} {caught.value}")
        assert texts[:4] == texts[4:]


CHANGES = ("touch", "other pixels", "delete", "add", "replace", "add a text", "add below", "rename")


class TestChanges:
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(changes=st.lists(st.sampled_from(CHANGES), min_size=1, max_size=3), seed=st.integers(0, 99))
    def test_what_is_read_then_is_what_a_first_look_gives(self, tmp_path_factory, changes, seed):
        folder = tmp_path_factory.mktemp("archive")
        _, paths = archive(folder, lost=seed % 2 == 0)
        self.outcomes(folder)
        for step, change in enumerate(changes):
            path = next(p for p in sorted(paths)[seed % 10 :] if p.exists())
            self.change(folder, path, change, step)
            recalled = self.outcomes(folder)
            recollection.forget()
            assert recalled == self.outcomes(folder)

    @staticmethod
    def change(folder, path, change, step):
        data = path.read_bytes()
        if change == "touch":
            os.utime(path, ns=(time.time_ns(), time.time_ns()))
        elif change == "other pixels":
            path.write_bytes(data[:-2] + b"\1\1")
        elif change == "delete":
            path.unlink()
        elif change == "add":
            (folder / f"added{step}.dcm").write_bytes(data)
        elif change == "replace":
            (folder / "new").write_bytes(data[:-4] + b"\2\2\2\2")
            os.replace(folder / "new", path)
        elif change == "add a text":
            (folder / f"text{step}.dcm").write_text("no image")
        elif change == "add below":
            below = folder / "below"
            below.mkdir(exist_ok=True)
            (below / f"{step}.dcm").write_bytes(data)
        else:
            path.rename(folder / f"renamed{step}.dcm")
            path.with_name(f"renamed{step}.dcm").rename(path)

    @staticmethod
    def outcomes(folder):
        found = []
        for series in (0, 1, 2):
            try:
                array, geometry, files = read_dicom(folder, series)
                found.append((array.tobytes(), geometry, files))
            except errors.ReadError as error:
                found.append((type(error), str(error)))
        return found

    def test_a_folder_whose_files_just_changed_is_not_kept(self, tmp_path, monkeypatch):
        monkeypatch.setattr(recollection, "_SETTLED_NS", 2 * 10**9)
        archive(tmp_path)
        read_dicom(tmp_path, 0)
        assert not recollection._kept


def test_nothing_of_a_patient_is_kept(tmp_path):
    archive(tmp_path)
    read_dicom(tmp_path, 0)
    ((_, volumes),) = recollection._kept.values()
    held = [plane.header.values for volume in volumes for plane in volume.all_planes]
    raw = b" ".join(value for values in held for value in values.values() if value)
    assert held
    assert not any(secret.encode() in raw for secret in (*SECRETS, "20200229", "Größe"))
    assert not any(plane.attributes for volume in volumes for plane in volume.all_planes)


def test_room_is_made_for_what_was_read_last(tmp_path, monkeypatch):
    monkeypatch.setattr(recollection, "_MOST_PLANES", 20)
    for name in "abc":
        archive(tmp_path / name)
        read_dicom(tmp_path / name, 0)
    assert [key[0][0] for key in recollection._kept] == [str(tmp_path / "c")]
