"""The page on DICOM folders says what the code does."""

import re
from pathlib import Path

import numpy as np
import pytest
from dicom_faults import FAULTS
from dicom_pet import pet
from dicom_series import make_series, stored_values, write

from faimed3d import errors
from faimed3d.basics import TensorDicom3D
from faimed3d.dicom.checks import CHECKS
from faimed3d.dicom.grouping import gaps, plane_kinds
from faimed3d.dicom.planes import plane
from faimed3d.dicom.writing.template import TEMPLATE_KEYWORDS

PAGE = (Path(__file__).parents[1] / "docs" / "dicom.md").read_text(encoding="utf-8")
ROWS = {
    cells[0]: cells[1:]
    for cells in (re.split(r"\s*\|\s*", line.strip("| \n")) for line in PAGE.splitlines() if line.startswith("|"))
}


def test_the_python_of_the_page_runs(tmp_path, monkeypatch, capsys):
    write(make_series(stored_values((3, 4, 5))), tmp_path / "archive" / "ct")
    incomplete = make_series(stored_values((4, 4, 5)), SeriesInstanceUID="1.2.9")
    write(incomplete[:1] + incomplete[2:], tmp_path / "archive" / "incomplete")
    for number in range(4):
        series = make_series(stored_values((3, 4, 5)), SeriesInstanceUID=f"1.2.{number}", SeriesNumber=number)
        write(series, tmp_path / "archive" / "mr", [f"{number}_{k}.dcm" for k in range(3)])
    pet(tmp_path / "pet")
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in re.findall(r"^```\w+\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        exec(compile(block, "docs/dicom.md", "exec"), names)
    assert len(names["inventory"]) == 6
    assert "gap" in capsys.readouterr().out
    assert TensorDicom3D.create(tmp_path / "result").geometry.agrees(names["im"].geometry)
    assert (names["pet"].numpy() == names["array"] * np.float32(names["factor"])).all()


def test_every_exception_named_there_exists():
    names = set(re.findall(r"`([A-Z]\w+)`", PAGE))
    assert names
    # bare names of the page that are no exceptions of ours
    assert {name for name in names if not hasattr(errors, name)} <= {"ValueError", "Liver", "Kidney_L"}


def test_every_exception_is_named_there():
    # this page is of reading; the errors of archives and of models are on theirs
    pages = "".join(page.read_text(encoding="utf-8") for page in (Path(__file__).parents[1] / "docs").rglob("*.md"))
    assert [name for name in errors.__all__ if f"`{name}`" not in pages] == []


@pytest.mark.parametrize("name", FAULTS)
def test_the_table_of_faults_says_what_the_tests_of_reading_check(name):
    _, error, _, outcome = FAULTS[name]
    exception, mended = ROWS[name]
    assert exception == f"`{error.__name__}`"
    assert mended.startswith("refused") != isinstance(outcome, tuple)


def test_the_table_of_checks_is_that_of_the_code():
    rows = [ROWS[str(number)] for number in range(1, len(CHECKS) + 1)]
    assert str(len(CHECKS) + 1) not in ROWS
    assert [tuple(row) for row in rows] == [
        (check.name, check.severity.name.lower(), check.find.__doc__.splitlines()[0].rstrip(".")) for check in CHECKS
    ]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("a slice off the even grid", f"{gaps.GRID_TOLERANCE_MM} mm, at most a tenth of the gap; 1 % of the gap"),
        ("direction cosines within a stack", f"{plane_kinds.ORIENTATION_TOLERANCE}"),
        ("unit length and right angle of the two directions", f"{plane.COSINE_TOLERANCE}"),
        ("pixel spacing within a stack", f"{plane_kinds.PIXEL_SPACING_TOLERANCE:.2%}".replace("%", " %")),
        ("images that count as at one position", f"{plane_kinds.SAME_POSITION_MM} mm, at most a tenth of a pixel"),
    ],
)
def test_the_tolerances_are_those_of_the_code(row, text):
    assert ROWS[row][0].startswith(text)
    assert gaps.GRID_TOLERANCE_THIN == gaps.MULTIPLE_TOLERANCE == plane_kinds.SAME_POSITION_PIXELS == 0.1
    assert gaps.GRID_TOLERANCE_THICK == 0.01
    assert gaps.DRIFT_TOLERANCE_PIXELS == 0.25


def test_the_elements_taken_from_a_template_are_listed():
    listed = PAGE.split("taken from it, and no others:")[1].partition(".")[0]
    assert tuple(listed.replace(",", " ").split()) == TEMPLATE_KEYWORDS


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (Path(__file__).parents[1] / "docs" / target).exists()
