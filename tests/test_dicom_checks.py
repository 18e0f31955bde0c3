"""Verdicts on a volume are values: pure checks in one ordered table, and an inventory that survives what they miss."""

import dataclasses

import pytest
from dicom_faults import FAULTS
from dicom_series import SECRETS, make_series, write, write_series

from faimed3d import errors
from faimed3d.dicom import dicom_inventory, inventory, read_dicom
from faimed3d.dicom.checks import CHECKS, check_volume
from faimed3d.dicom.contents import survey
from faimed3d.dicom.finding import Fault, Finding, Severity
from faimed3d.dicom.grouping.image_groups import group_images
from faimed3d.dicom.grouping.scan import scan_folder

FOUND = [name for name in FAULTS if name != "empty folder"]


class TestTable:
    def test_the_worst_checks_stand_first(self):
        assert [check.severity for check in CHECKS] == sorted(check.severity for check in CHECKS)

    def test_names_are_unique(self):
        assert len({check.name for check in CHECKS}) == len(CHECKS)

    @pytest.mark.parametrize("name", FOUND)
    def test_findings_stand_in_the_order_of_the_table(self, tmp_path, name):
        FAULTS[name][0](tmp_path)
        order = [check.name for check in CHECKS]
        for volume in survey(scan_folder(tmp_path), files=True).volumes:
            ranks = [order.index(finding.kind) for finding in volume.findings]
            assert ranks == sorted(ranks)

    @pytest.mark.parametrize("name", FOUND)
    def test_a_check_changes_nothing(self, tmp_path, name):
        FAULTS[name][0](tmp_path)
        scan = scan_folder(tmp_path)
        for volume, around in group_images(scan).volumes:
            before = {field.name: getattr(volume, field.name) for field in dataclasses.fields(volume)}
            first, second = check_volume(volume, around), check_volume(volume, around)
            assert [finding.message for finding in first] == [finding.message for finding in second]
            assert all(getattr(volume, name) is value for name, value in before.items())
            assert isinstance(first, tuple)

    def test_every_check_is_made_to_find_something(self, tmp_path):
        kinds = set()
        for number, name in enumerate(FOUND):
            FAULTS[name][0](tmp_path / str(number))
            for volume in survey(scan_folder(tmp_path / str(number)), files=True).volumes:
                kinds |= {finding.kind for finding in volume.findings}
        # those left have tests of their own in test_dicom_archive and test_dicom_optional_elements
        assert {check.name for check in CHECKS} - kinds <= {
            "slices of another series UID in line",
            "slices in line without an identifier",
            "another series number, study or patient",
            "stacks side by side",
            "an end before its siblings'",
            "positions that siblings have in between",
            "lost parts of a concatenation",
            "fewer slices than the header says",
        }


class TestFinding:
    @pytest.mark.parametrize(
        ("way_out", "repair", "text"),
        [
            ("", "", "a fault"),
            ("Move it", "", "a fault. Move it."),
            ("", "leave it out", "a fault. Pass strict=False to leave it out."),
            ("Move it", "leave it out", "a fault. Move it, or pass strict=False to leave it out."),
        ],
    )
    def test_the_message_says_the_fault_and_every_way_out(self, way_out, repair, text):
        finding = Finding("x", Severity.FOREIGN, Fault(errors.MixedSeries, "a fault", way_out=way_out, repair=repair))
        assert finding.message == text
        assert finding.mendable == bool(repair)
        assert type(finding.exception) is errors.MixedSeries
        assert str(finding.exception) == text

    def test_it_cannot_be_changed(self):
        finding = Finding("x", Severity.FOREIGN, Fault(errors.MixedSeries, "a fault"))
        with pytest.raises(dataclasses.FrozenInstanceError):
            finding.kind = "y"

    def test_advice_is_given_only_where_it_can_be_followed(self, tmp_path):
        series = make_series()
        series[2].Modality = "PT"
        write(series, tmp_path)
        with pytest.raises(errors.MixedSeries) as caught:
            read_dicom(tmp_path, strict=False)
        assert "strict=False" not in str(caught.value)


class TestInventorySurvives:
    def break_on(self, monkeypatch, folder, error):
        real = inventory.survey

        def survey(scan, *args, **kwargs):
            if str(scan.folder).endswith(folder):
                raise error
            return real(scan, *args, **kwargs)

        monkeypatch.setattr(inventory, "survey", survey)

    def test_a_folder_that_breaks_the_reading_is_a_row_and_the_others_go_on(self, tmp_path, monkeypatch):
        for name in "abc":
            write_series(tmp_path / name, SeriesInstanceUID=f"1.2.{ord(name)}")
        self.break_on(monkeypatch, "b", ZeroDivisionError("no such thing"))
        table = dicom_inventory(tmp_path)
        assert list(table["slices"]) == [5, 0, 5]
        assert "could not be looked at: ZeroDivisionError" in table["problems"][1]
        assert "no such thing" in table["problems"][1]
        assert list(table["problems"][[0, 2]]) == ["", ""]
        assert len(table["files"][1]) == 5
        assert table["key"].is_unique

    def test_its_text_holds_no_value_of_a_header(self, tmp_path, monkeypatch):
        write_series(tmp_path / "a")
        self.break_on(monkeypatch, "a", ValueError(f"could not convert {SECRETS[1]!r}"))
        (problem,) = dicom_inventory(tmp_path)["problems"]
        assert "could not convert '...'" in problem
        assert SECRETS[1] not in problem

    def test_where_no_header_could_be_read_the_text_is_not_shown(self, tmp_path, monkeypatch):
        write_series(tmp_path / "a")

        def scan_folder(folder):
            raise ValueError(SECRETS[0])

        monkeypatch.setattr(inventory, "scan_folder", scan_folder)
        problem = dicom_inventory(tmp_path)["problems"].iloc[-1]
        assert "could not be looked at: ValueError in test_dicom_checks.py" in problem
        assert SECRETS[0] not in problem

    def test_a_row_of_such_a_folder_is_refused(self, tmp_path, monkeypatch):
        write_series(tmp_path / "a")
        self.break_on(monkeypatch, "a", ZeroDivisionError("no such thing"))
        (row,) = dicom_inventory(tmp_path).iloc
        with pytest.raises(errors.NoImages, match=r"no such volume as .* inventory says: .* could not be looked at"):
            read_dicom(row)
