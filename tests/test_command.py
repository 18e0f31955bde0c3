"""The command ``faimed3d``: arguments, exit codes, what is printed, and the subcommands that need no model."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dicom_series import make_series, stored_values, write
from shell_home import SHAPE, examples_of, make_home, secrets_in

from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D
from faimed3d.command import main
from faimed3d.command.error_text import for_shell
from faimed3d.command.inventory import lines_of
from faimed3d.command.parser import make_parser
from faimed3d.dicom.inventory import dicom_inventory

OBLIQUE = Geometry(SHAPE, (1, 2, 3), (5, -7, 11), (0.6, -0.8, 0, 0.8, 0.6, 0, 0, 0, 1))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with what the examples name: an export of DICOM, a scan and a mask of it."""
    return make_home(tmp_path_factory.mktemp("command"))


@pytest.fixture
def here(home, tmp_path, monkeypatch):
    """A current folder of the test's own, with what ``home`` has."""
    for path in home.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["inventory", "show", "convert"])
def test_the_examples_of_the_help_run_and_tell_nothing_of_a_patient(name, here, capfd):
    assert len(examples_of(name)) >= 2
    before = {*here.iterdir()}
    for words in examples_of(name):
        assert main(words) == 0, words
    said = "".join(capfd.readouterr())
    assert said
    made = b"".join(path.read_bytes() for path in {*here.iterdir()} - before if path.suffix != ".dcm")
    assert made
    assert secrets_in(said + made.decode("latin-1"), dicom_inventory("export/a")["files"][0]) == []


def test_the_inventory_lists_what_the_function_lists(here, capsys):
    assert main(["inventory", "export", "--csv", "list.csv"]) == 0
    said = capsys.readouterr().out.splitlines()
    table = dicom_inventory("export")
    assert "distinct" not in said[0]
    told_apart = lines_of(table.assign(distinct=[f"echo {number}" for number in range(len(table))]))
    assert told_apart[0].split()[-2:] == ["distinct", "folder"]
    assert "echo 1" in "".join(told_apart)
    for line, row in zip(said[1:], table.itertuples(), strict=False):
        assert line.startswith(row.key) or line.startswith("    ")
    assert said[-1].startswith(("damaged: ", "2 volumes", "left out: "))
    assert any(line.startswith("2 volumes") for line in said)
    assert pd.read_csv("list.csv")["key"].tolist() == table["key"].tolist()
    assert main(["inventory", "export", "--csv", "list.csv"]) == 2
    assert "list.csv: is there already and stays" in capsys.readouterr().err
    assert main(["inventory", "export", "--csv", "list.csv", "--overwrite"]) == 0
    strange = os.fsdecode(b"M\xfcller")  # no text of any character set
    shutil.copytree("export/a", strange)
    assert main(["inventory", strange, "--csv", "strange.csv"]) == 0
    assert pd.read_csv("strange.csv")["folder"].str.contains("M\\udcfcller", regex=False).all()


def test_a_conversion_keeps_voxels_place_and_labels(here, tmp_path):
    values = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    TensorDicom3D(values, OBLIQUE).save("a.nrrd")
    for name in ("a.nii.gz", "b.mha", "c.mgz", "series"):
        assert main(["convert", "a.nrrd", name]) == 0
        found = TensorDicom3D.create(name, dtype=None)
        assert found.geometry.agrees(OBLIQUE)
        assert np.array_equal(found.numpy(), values)
    assert main(["convert", "a.nrrd", "d.nrrd", "--orientation", "ras", "--spacing", "2,2,3"]) == 0
    turned = TensorDicom3D.create("d.nrrd")
    assert turned.geometry.orientation == "RAS"
    assert turned.geometry.spacing == pytest.approx((2, 2, 3))
    assert main(["convert", "mask.nii.gz", "m.seg.nrrd", "--mask", "--spacing", "0.7"]) == 0
    assert np.unique(TensorMask3D.create("m.seg.nrrd").numpy()).tolist() == [0, 1, 2]


def test_a_mask_becomes_an_object_of_its_scan_and_comes_back(here):
    for form in ("seg", "rtstruct"):
        words = ["--mask", "--like", "export/a/1"]
        assert main(["convert", "mask.nii.gz", f"{form}.dcm", *words, "--form", form]) == 0
        assert main(["convert", f"{form}.dcm", f"{form}.nii.gz", *words]) == 0
    mask, scan = TensorMask3D.create("mask.nii.gz"), TensorDicom3D.create("export/a/1")
    back = TensorMask3D.create("seg.nii.gz").resample_like(scan)
    assert np.array_equal(back.numpy(), mask.resample_like(scan).numpy())
    assert TensorMask3D.create("rtstruct.nii.gz").geometry.agrees(scan.geometry)


def test_what_looks_like_a_mask_is_not_blended_unsaid(here, capsys):
    told = "if these are labels, pass --mask"
    for words, warned in (("mask.nii.gz", True), ("mask.nii.gz --mask", False), ("scan.nii.gz", False)):
        assert main(["convert", *words.split(), "x.nii.gz", "--spacing", "0.7", "--overwrite"]) == 0
        assert (told in capsys.readouterr().err.lower()) == warned


def test_what_says_that_it_holds_segments_is_never_blended(here):
    assert main(["convert", "mask.nii.gz", "seg.dcm", "--mask", "--like", "export/a/1"]) == 0
    assert main(["convert", "mask.nii.gz", "mask.seg.nrrd", "--mask"]) == 0
    for number, name in enumerate(("seg.dcm", "mask.seg.nrrd")):
        assert main(["convert", name, f"{number}.nii.gz", "--spacing", "0.7"]) == 0
        assert np.unique(TensorMask3D.create(f"{number}.nii.gz", dtype=None).numpy()).tolist() == [0, 1, 2]


def test_a_mask_of_another_scan_is_refused_and_contours_need_theirs(here, capsys):
    write(make_series(stored_values(SHAPE), FrameOfReferenceUID="1.2.9"), "other")  # on the same grid
    for form in ("seg", "rtstruct"):
        assert main(["convert", "mask.nii.gz", f"{form}.dcm", "--mask", "--like", "export/a/1", "--form", form]) == 0
        capsys.readouterr()
        assert main(["convert", f"{form}.dcm", "other.dcm", "--mask", "--like", "other"]) == 2
        assert main(["show", "other", "--mask", f"{form}.dcm"]) == 2
        assert capsys.readouterr().err.count("in another frame of reference than the image in") == 2
    assert main(["convert", "rtstruct.dcm", "x.nii.gz"]) == main(["convert", "rtstruct.dcm", "x.nii.gz", "--mask"]) == 2
    assert capsys.readouterr().err.count("drawn on: pass --mask --like SCAN") == 2
    assert main(["show", "rtstruct.dcm"]) == 2
    assert "show SCAN --mask rtstruct.dcm" in capsys.readouterr().err


def test_a_mask_on_another_grid_is_brought_onto_that_of_the_image(here):
    TensorMask3D.create("mask.nii.gz").resample(0.9).save("fine.nii.gz")
    assert main(["show", "scan.nii.gz", "--mask", "fine.nii.gz"]) == 0
    assert Path("scan.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ("show nowhere.nii", 2, "nowhere.nii: no such file"),
        ("show scan.nii.gz --out x.jpg", 2, "--out must be a .png or .html file"),
        ("show scan.nii.gz --out scan.nii.gz", 2, "--out must be"),
        ("show scan.nii.gz --series 3", 2, "series chooses a volume of a DICOM folder"),
        ("show scan.nii.gz --out html --slices 3", 2, "are of a picture"),
        ("show export/a", 2, "searched: give one of them, or as --series a key of the table of 'faimed3d inventory'"),
        ("convert scan.nii.gz mask.nii.gz", 2, "mask.nii.gz: is there already and stays"),
        ("convert scan.nii.gz x.dcm", 2, "is for masks: pass --mask"),
        ("convert mask.nii.gz x.dcm --mask", 2, "pass --like SCAN"),
        ("convert mask.nii.gz x.nii --mask --form seg", 2, "--form is of a .dcm file"),
        ("convert scan.nii.gz none/x.nii", 2, "create it first"),
        ("convert scan.nii.gz x.doc", 2, "x.doc"),
        ("inventory nowhere", 2, "nowhere"),
    ],
)
def test_bad_input_is_one_line_and_code_2(words, code, text, here, capsys):
    before = {path.name for path in here.iterdir()}
    assert main(words.split()) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("faimed3d: error: ")
    assert len(err.splitlines()) == 1
    assert text in err
    assert {path.name for path in here.iterdir()} == before


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("", "required: COMMAND"),
        ("nothing", "invalid choice"),
        ("convert a b --spacing 1,2", "expected mm as x,y,z or one positive number for all three, got '1,2'"),
        ("convert a b --spacing 0", "expected mm"),
        ("convert a b --spacing 1,nan,2", "expected mm"),
        ("convert a b --orientation RLS", "expected three letters such as RAS or LPS, got 'RLS'"),
        ("show a --window 1,b", "expected a name, or centre,width as two numbers"),
        ("inventory", "FOLDER"),
        ("predict a b c --memory much", "memory must be a number of bytes, or a text such as '2GB'"),
        ("serve a --watch b --pacs c --out d", "not allowed with"),
        ("serve a --watch b --out d --quiet -1", "expected a number of seconds, got '-1'"),
        ("show a --slices 0", "expected a whole number from 1 up, got '0'"),
        ("convert a b --over", "unrecognized arguments: --over"),
        ("serve a --pacs b --out d --since yesterday", "expected a day such as 2026-11-29"),
        ("serve a --pacs b --out d --since 2026111", "expected a day such as 2026-11-29"),
        ("serve a --watch b --out d --every 0", "expected a number of seconds above 0, got '0'"),
        ("predict a b c --modality T2*", "expected a modality of DICOM such as CT or MR, got 'T2*'"),
    ],
)
def test_arguments_that_make_no_sense_are_code_2(words, text, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    assert ended.value.code == 2
    assert text in capsys.readouterr().err


def test_a_full_disk_is_code_3_and_leaves_nothing(here, monkeypatch, capsys):
    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("faimed3d._atomic.sync_file", full)
    before = {path.name for path in here.iterdir()}
    for words in ("convert scan.nii.gz x.nii.gz", "inventory export --csv x.csv", "show scan.nii.gz"):
        assert main(words.split()) == 3
        assert "could not be written: No space left on device" in capsys.readouterr().err
    assert {path.name for path in here.iterdir()} == before


def test_what_nobody_foresaw_is_told_without_values_and_with_debug_in_full(here, monkeypatch, capsys):
    def broken(path, *args, **kwargs):
        return int("Doe^Jane", 10) if path else int

    monkeypatch.setattr("pydicom.dcmread", broken)
    monkeypatch.setattr(TensorDicom3D, "create", pd.Timestamp)
    assert main(["convert", "scan.nii.gz", "x.nii.gz"]) == 3
    err = capsys.readouterr().err
    assert "scan.nii.gz" not in err
    assert "With --debug you see all of it" in err
    assert main(["convert", "scan.nii.gz", "x.nii.gz", "--debug"]) == 3
    assert "Traceback" in capsys.readouterr().err


def test_advice_is_in_words_of_the_shell(here, capsys):
    slices = make_series(stored_values((5, 6, 8)))
    write(slices[:2] + slices[3:], here / "gap")
    assert main(["show", "gap"]) == 2
    err = capsys.readouterr().err
    assert "--no-strict" in err
    assert "strict=" not in err
    assert main(["show", "gap", "--no-strict"]) == 0
    assert "faimed3d: warning: " in capsys.readouterr().err


def test_advice_that_a_subcommand_cannot_take_is_named_as_that_of_python():
    text, predict = "pass overwrite=True, or like=, a volume", make_parser().parse_args(["predict", "a", "b", "c"])
    convert = make_parser().parse_args(["convert", "a", "b"])
    assert for_shell(text, predict) == "pass --overwrite, or in Python like=, a volume"
    assert for_shell(f"{text}; like=scan, series=3", convert) == (
        "pass --overwrite, or --like, a volume; --like scan, --series 3"
    )


@pytest.mark.parametrize(("place", "code"), [("a closed pipe", 0), ("/dev/full", 3)])
def test_output_that_cannot_be_written_is_told_by_the_code(place, code, tmp_path, monkeypatch, capsys):
    if place == "a closed pipe":
        reading, place = os.pipe()
        os.close(reading)
    with open(place, "w") as stdout:  # closing it would raise if anything were left to be written
        monkeypatch.setattr(sys, "stdout", stdout)
        assert main(["inventory", str(tmp_path)]) == code
    assert ("No space left on device" in capsys.readouterr().err) == bool(code)


def test_ctrl_c_is_code_130(here, monkeypatch, capsys):
    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(TensorDicom3D, "create", stopped)
    assert main(["convert", "scan.nii.gz", "x.nii.gz"]) == 130
    assert capsys.readouterr().err == "faimed3d: stopped\n"


def test_the_lines_of_the_documentation_are_understood():
    root = Path(__file__).parents[1]
    pages = [root / "README.md", *(root / "docs").rglob("*.md")]
    texts = [page.read_text(encoding="utf-8") for page in pages]
    blocks = [block for text in texts for block in re.findall(r"^```(?:sh|ini)\n(.*?)^```", text, re.M | re.S)]
    lines = [line for block in blocks for line in re.findall(r"^(?:ExecStart=)?faimed3d (.*)", block, re.M)]
    lines += [line for text in texts for line in re.findall(r"`faimed3d (\w+ \w[^`]*)`", text)]
    assert len(lines) > 6
    for line in lines:
        assert make_parser().parse_args(shlex.split(line, comments=True)).subcommand


def test_help_and_inventory_are_quick_for_they_import_nothing_heavy(tmp_path):
    code = """if True:
        import sys
        from faimed3d.command import main
        try: main(["inventory", "--help"])
        except SystemExit: print(*sys.modules)
        assert main(["inventory", sys.argv[1]]) == 0
        print(*sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    helped, ran = done.stdout.split("no DICOM volume")
    assert "faimed3d inventory export --csv" in helped
    assert not {"torch", "numpy", "pandas", "pydicom", "fastai", "matplotlib"} & {*helped.split()}
    assert not {"torch", "fastai", "matplotlib"} & {*ran.split()}


def test_the_installed_command_is_this_one():
    [point] = entry_points(group="console_scripts", name="faimed3d")
    assert point.load() is main
    script = Path(sys.executable).with_name("faimed3d.exe" if os.name == "nt" else "faimed3d")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"faimed3d {version('faimed3d')}\n"
