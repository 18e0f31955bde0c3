"""Series in several folders, and files of other kinds beside them."""

import os
import shutil

import numpy as np
import pytest
from dicom_archive import NORMAL, keep, refuse_to_allocate, time_points
from dicom_faults import read_lenient
from dicom_series import (
    ORIGIN,
    compressed,
    enhanced,
    make_series,
    make_slice,
    stored_values,
    write,
    write_series,
)
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from faimed3d import errors
from faimed3d.dicom import dicom_inventory, read_dicom


class TestFolders:
    def test_half_of_each_time_point_in_a_sub_folder(self, tmp_path):
        _, datasets = time_points(2, 4)
        keep(datasets, lambda t, k: (t + k) % 2 == 0, tmp_path)
        keep(datasets, lambda t, k: (t + k) % 2 == 1, tmp_path / "a" / "b")
        with pytest.raises(errors.MissingSlices, match="2 more slices of this volume lie in other folders"):
            read_dicom(tmp_path)
        for recurse in (False, True):
            row = dicom_inventory(tmp_path, recurse).iloc[0]
            assert "2 more slices of this volume lie in other folders" in row["problems"]
            with pytest.raises(errors.MissingSlices):
                read_dicom(row)

    def test_a_copy_below_with_other_uids_and_positions_hides_nothing(self, tmp_path):
        write(make_series()[:3], tmp_path)
        copy = make_series(origin=np.array(ORIGIN) - 0.002 * NORMAL)
        for k, dataset in enumerate(copy):
            dataset.SOPInstanceUID = f"1.2.7.{k}"
        write(copy, tmp_path / "copy")
        with pytest.raises(errors.MissingSlices, match="more slices of this volume lie in other folders"):
            read_dicom(tmp_path)

    def test_the_inventory_sees_halves_side_by_side(self, tmp_path):
        series = make_series(stored_values((9, 6, 7)))
        write(series[:5], tmp_path / "a")
        write(series[5:], tmp_path / "b")
        write_series(tmp_path / "other", SeriesInstanceUID="1.9")
        shutil.copytree(tmp_path / "other", tmp_path / "backup")
        table = dicom_inventory(tmp_path).set_index(dicom_inventory(tmp_path)["folder"].map(os.path.basename))
        assert "4 more slices of this volume lie in other folders" in table["problems"]["a"]
        assert "5 more slices of this volume lie in other folders" in table["problems"]["b"]
        assert table["problems"]["other"] == table["problems"]["backup"] == ""
        with pytest.raises(errors.MissingSlices, match="4 more slices of this volume lie in other folders"):
            read_dicom(table.loc["a"])
        (array, _, _), texts = read_lenient(table.loc["a"])
        np.testing.assert_array_equal(array, stored_values((9, 6, 7))[:5])
        assert "lie in other folders" in texts[0]

    def test_an_unreadable_file_of_another_series_below_does_not_matter(self, tmp_path, monkeypatch):
        write_series(tmp_path)
        closed = str(write_series(tmp_path / "sub", SeriesInstanceUID="1.9")[0])
        # as for a user who is not root
        real = os.access
        monkeypatch.setattr("os.access", lambda path, mode: str(path) != closed and real(path, mode))
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())

    def test_rows_of_files_of_several_volumes_each(self, tmp_path):
        def file_of(volume, component, number):
            labels = [{"echo": (2.0, 4.0)[k // 4], "level": k % 4} for k in range(8)]
            dataset = enhanced(volume, labels=labels)
            dataset.InstanceNumber, dataset.SOPInstanceUID = number, f"1.2.7.{number}"
            for groups in dataset.PerFrameFunctionalGroupsSequence:
                item = Dataset()
                item.FrameType = ["ORIGINAL", "PRIMARY", component[0], "NONE"]
                item.ComplexImageComponent = component
                groups.MRImageFrameTypeSequence = Sequence([item])
            return dataset

        stored = stored_values((2, 8, 6, 7))
        write([file_of(stored[0], "MAGNITUDE", 1), file_of(stored[1], "PHASE", 2)], tmp_path)
        table = dicom_inventory(tmp_path)
        assert len(table) == 4
        assert table["key"].is_unique
        for n in range(4):
            expected = stored[n // 2, n % 2 * 4 : n % 2 * 4 + 4]
            np.testing.assert_array_equal(read_dicom(table.iloc[n])[0], expected)

    def test_stacks_of_one_file_that_are_alike_have_keys_of_their_own(self, tmp_path):
        stored = stored_values((9, 6, 7))
        dataset = enhanced(stored, labels=[{"stack": str(1 + k // 3)} for k in range(9)])
        del dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
        for k, groups in enumerate(dataset.PerFrameFunctionalGroupsSequence):
            angle = 0.1 * (k // 3)
            item = Dataset()
            item.ImageOrientationPatient = [np.cos(angle), np.sin(angle), 0, -np.sin(angle), np.cos(angle), 0]
            groups.PlaneOrientationSequence = Sequence([item])
            groups.PlanePositionSequence[0].ImagePositionPatient = [0, 0, 10.0 * (k // 3) + 2.5 * (k % 3)]
        write([dataset], tmp_path)
        table = dicom_inventory(tmp_path)
        assert len(table) == 3
        assert table["key"].is_unique
        for n in range(3):
            np.testing.assert_array_equal(read_dicom(table.iloc[n])[0], stored[3 * n : 3 * n + 3])

    def test_stacks_one_behind_the_other_are_several_volumes(self, tmp_path):
        stored = stored_values((8, 6, 7))
        for gap in (0, 5):
            labels = [{"stack": str(1 + k // 4), "level": k if k < 4 else k + gap} for k in range(8)]
            write([enhanced(stored, labels=labels)], tmp_path)
            for n in range(2):
                np.testing.assert_array_equal(read_dicom(tmp_path, n)[0], stored[4 * n : 4 * n + 4])


class TestOtherFiles:
    @pytest.mark.parametrize(
        ("name", "content"),
        [
            (".DS_Store", b"\0\0\0\1Bud1\0\0\x10\0" + b"\0" * 300),
            ("Icon\r", b""),
            (".gitkeep", b""),
            ("LOCKFILE", b""),
            ("Thumbs.db", b"\xd0\xcf\x11\xe0" * 20),
        ],
    )
    @pytest.mark.parametrize("pattern", ["IM{:04d}", "1.2.840.{}", "{:06x}"])
    def test_what_systems_leave_is_no_slice(self, tmp_path, name, content, pattern):
        write(make_series(), tmp_path, [pattern.format(k + 0xA0) for k in range(5)])
        (tmp_path / name).write_bytes(content)
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())

    def test_what_a_killed_writer_left_is_no_volume(self, tmp_path):
        write(make_series(), tmp_path / "whole")
        write(make_series()[:3], tmp_path / ".faimed3d-writing-abc123")
        assert list(dicom_inventory(tmp_path)["slices"]) == [5]

    def test_a_transfer_syntax_that_is_none_is_not_quoted(self, tmp_path):
        (path, *_) = write(make_series(), tmp_path)
        data = path.read_bytes()
        assert data.count(b"1.2.840.10008.1.2.1\0") == 1
        path.write_bytes(data.replace(b"1.2.840.10008.1.2.1\0", b"Doe^Jane 19570317   "))
        text = r"IM9999\.dcm: \(0002,0010\) TransferSyntaxUID is no UID"
        with pytest.raises(errors.DamagedFile, match=text):
            read_dicom(tmp_path)
        assert "Doe" not in dicom_inventory(tmp_path).to_string()

    @pytest.mark.parametrize("text", ["version https://git-lfs.github.com/spec/v1\n", "<html>404</html>"])
    def test_a_slice_with_a_hexadecimal_name_that_became_text_is_lost(self, tmp_path, text):
        paths = write(make_series(), tmp_path, ["0a1b2c", "9f8e7d", "77aa01", "c3d4e5", "beef42"])
        paths[4].write_text(text)
        with pytest.raises(errors.DamagedFile, match=r"beef42: (a pointer to a file|named as the slices beside it)"):
            read_dicom(tmp_path)

    def test_a_grey_capture_of_the_screen_is_skipped(self, tmp_path):
        capture = make_slice(
            stored_values((1, 9, 4))[0],
            ORIGIN,
            SOPClassUID="1.2.840.10008.5.1.4.1.1.7",
            ImagePositionPatient=None,
            ImageOrientationPatient=None,
            PixelSpacing=None,
        )
        write([*make_series(), capture], tmp_path)
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())
        assert dicom_inventory(tmp_path).attrs["skipped"] == {"captures": 1}

    @pytest.mark.parametrize("tag", [b"\x20\0\x11\0IS\2\0", b"\x20\0\x13\0IS\2\0"])
    def test_digits_of_other_scripts_are_no_numbers(self, tmp_path, tag):
        for path in write_series(tmp_path, InstanceNumber=2):
            data = path.read_bytes()
            place = data.index(tag) + 8
            path.write_bytes(data[:place] + b"\xb2 " + data[place + 2 :])
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())

    @pytest.mark.parametrize("side", [30000, 65535])
    def test_a_short_frame_that_claims_to_be_huge_is_refused_before_allocating(self, tmp_path, side, monkeypatch):
        dataset = compressed(make_slice(stored_values((1, 33, 40))[0], ORIGIN), "rle")
        dataset.Rows = dataset.Columns = side
        path = write([dataset], tmp_path)[0]
        refuse_to_allocate(monkeypatch, (1, side, side))
        with pytest.raises(errors.TruncatedFile, match=rf"frame 1 of {side} x {side} pixels cannot lie in \d+ bytes"):
            read_dicom(path)

    def test_a_volume_beyond_the_memory_is_refused(self, tmp_path, monkeypatch):
        write_series(tmp_path)
        refuse_to_allocate(monkeypatch, (5, 6, 7))
        with pytest.raises(
            errors.UnsupportedImage, match=r"5 slices of 6 x 7 pixels need 0\.0 GiB of memory, more than"
        ):
            read_dicom(tmp_path)
