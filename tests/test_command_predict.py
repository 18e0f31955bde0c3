"""``faimed3d predict`` with a model file: which scans, what is told of each, and how a run goes on."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from dicom_series import make_series, write
from pydicom.uid import generate_uid
from shell_home import IDENTIFYING, SHAPE, examples_of, secrets_in

from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.command import main
from faimed3d.data import SegmentationDataLoaders3D
from faimed3d.dicom import dicom_inventory
from faimed3d.inference import folder, load_model
from faimed3d.models import UNet3D
from faimed3d.training import unet_learner_3d


def write_scan(folder, seed, **elements):
    """A DICOM series in a study of its own."""
    values = np.random.default_rng(seed).integers(0, 900, SHAPE).astype(np.int16)
    uids = {name: generate_uid() for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")}
    return write(make_series(values, **{"SeriesDescription": "T2 axial", **uids, **IDENTIFYING, **elements}), folder)


def write_model(file, images, masks):
    """A model file of the pairs, of as many channels as an image has."""
    dls = SegmentationDataLoaders3D.from_df(
        pd.DataFrame({"image": images, "mask": masks}), fn_col="image", label_col="mask", codes=["background", "gland"],
        bs=1, num_workers=0, valid_pct=0.5, seed=0,
    )  # fmt: skip
    torch.manual_seed(1)
    unet_learner_3d(dls, UNet3D, widths=(4, 8)).export_model(file)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with what the examples name: a model file, an export, what comes in, a table of cases."""
    root = tmp_path_factory.mktemp("predict")
    for number, name in enumerate(("export/a/1", "export/b/1")):
        write_scan(root / name, number)
    (root / "incoming").symlink_to(root / "export")
    scans = [TensorDicom3D.create(root / "export" / name / "1") for name in "ab"]
    scans[0].save(root / "scan.nii.gz")
    masks = [TensorMask3D(scan > 450, like=scan) for scan in scans]
    write_model(root / "liver.fm3d", [str(root / "export" / name / "1") for name in "ab"], masks)
    study = {name: generate_uid() for name in ("StudyInstanceUID", "FrameOfReferenceUID")}
    for number, name in enumerate(("T1", "FLAIR")):
        write_scan(root / "heads" / name, number, SeriesDescription=f"{name} tra", **study)
        TensorDicom3D.create(root / "heads" / name).save(root / f"{name}.nii.gz")
    again = tmp_path_factory.mktemp("again") / "heads"  # by another name, for validation
    again.symlink_to(root / "heads")
    heads = [[str(folder / name) for name in ("T1", "FLAIR")] for folder in (root / "heads", again)]
    write_model(root / "brain.fm3d", heads, masks[:1] * 2)
    table = dicom_inventory(root / "export").drop(columns="files")
    table["description"] = "Größe"
    table.iloc[:1].to_csv(root / "inventory.csv", index=False, sep=";", encoding="cp1252")
    return root


@pytest.fixture
def here(home, tmp_path, monkeypatch):
    """A current folder of the test's own, with what ``home`` has."""
    for path in home.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["predict", "serve"])
def test_the_examples_of_the_help_run_and_tell_nothing_of_a_patient(name, here, capfd):
    words_of = [words for words in examples_of(name) if "--pacs" not in words]
    assert len(words_of) >= 3
    for words in words_of:
        more = ["--once", "--quiet", "0", "--every", "0.05"] if name == "serve" else []
        assert main([*words, *more]) == 0, words
    said = "".join(capfd.readouterr())
    made = b"".join(path.read_bytes() for path in here.rglob("*[!m]") if path.is_file() and not path.is_symlink())
    assert made
    assert secrets_in(said + made.decode("latin-1"), dicom_inventory("export/a")["files"][0]) == []


def test_each_scan_has_the_mask_that_the_model_gives(here, capsys):
    assert main(["predict", "liver.fm3d", "export", "masks"]) == 0
    assert capsys.readouterr() == ("2 of 2 cases done: masks\n", "")
    report = pd.read_csv("masks/report.csv")
    for row, (_, scan) in zip(report.itertuples(), dicom_inventory("export").iterrows(), strict=True):
        expected = load_model("liver.fm3d").predict_volume(scan)
        assert torch.equal(TensorMask3D.create(row.output, dtype=None), expected)
    assert main(["predict", "liver.fm3d", "export", "masks"]) == 0
    assert capsys.readouterr().out == "2 of 2 cases done, 2 of them there already: masks\n"
    assert main(["predict", "liver.fm3d", "export", "chosen", "--cases", "inventory.csv"]) == 0
    assert capsys.readouterr().out.startswith("1 of 1 cases done")


def test_bad_cases_are_named_and_the_others_done(here, capsys):
    shutil.copytree("export", "mixed")
    write_scan(here / "mixed/cut", 3)
    for file in Path("mixed/cut").iterdir():
        file.write_bytes(file.read_bytes()[:-20])
    Path("mixed/note.txt").write_text("no scan")
    Path("mixed/empty.nii.gz").touch()
    assert main(["predict", "liver.fm3d", "mixed", "mixed/out"]) == 1
    out, err = capsys.readouterr()
    assert out == "2 of 3 cases done: mixed/out\n"
    lines = err.splitlines()
    assert [line for line in lines if line.startswith("faimed3d: damaged: mixed/cut")]
    assert [line for line in lines if line.startswith("faimed3d: failed: ") and "the file is empty" in line]
    assert main(["predict", "liver.fm3d", "mixed", "mixed/out"]) == 1  # results are no scans
    assert capsys.readouterr().out == "2 of 3 cases done, 2 of them there already: mixed/out\n"


def test_errors_of_other_libraries_are_not_quoted(here, monkeypatch, capsys):
    decode = json.JSONDecoder().decode
    monkeypatch.setattr(folder, "predict_volume", lambda *args, **kwargs: decode("Doe^Jane"))
    assert main(["predict", "liver.fm3d", "scan.nii.gz", "masks"]) == 1
    err = capsys.readouterr().err
    assert "failed: scan.nii.gz: JSONDecodeError, whose text may hold patient data: it is in the report" in err
    assert "Expecting value" not in err
    assert "Expecting value" in Path("masks/report.csv").read_text()


def test_channels_come_in_the_order_that_is_given(here):
    masks = []
    for out, first, second in (("a", "T1", "FLAIR"), ("b", "FLAIR", "T1")):
        assert main(["predict", "brain.fm3d", f"{first}.nii.gz", out, "--channel", f"{second}.nii.gz"]) == 0
        masks.append(TensorMask3D.create(f"{out}/{first}.nii.gz", dtype=None))
        assert torch.equal(masks[-1], load_model("brain.fm3d").predict_volume([f"{first}.nii.gz", f"{second}.nii.gz"]))
    assert not torch.equal(*masks)
    assert load_model("brain.fm3d").channels == 2
    assert main(["predict", "brain.fm3d", "T1.nii.gz", "c"]) == 1  # a file may hold all of them


def test_channels_on_other_grids_are_brought_onto_the_first_where_it_is_asked_for(here, capsys):
    TensorDicom3D.create("FLAIR.nii.gz").resample((2, 2, 2)).save("coarse.nii.gz")
    words = ["predict", "brain.fm3d", "T1.nii.gz", "out", "--channel", "coarse.nii.gz"]
    assert main(words) == 1
    assert "Pass --resample-to-first to bring all to the grid of the first" in capsys.readouterr().err
    assert main([*words, "--resample-to-first"]) == 0
    found = TensorMask3D.create("out/T1.nii.gz", dtype=None)
    first, coarse = (TensorDicom3D.create(f"{name}.nii.gz") for name in ("T1", "coarse"))
    assert torch.equal(found, load_model("brain.fm3d").predict_volume([first, coarse.resample_like(first)]))


@pytest.mark.parametrize("device", ["gpu", "cuda:9999"])
def test_a_device_that_is_not_there_is_bad_input(device, here, capsys):
    assert main(["predict", "liver.fm3d", "scan.nii.gz", "masks", "--device", device]) == 2
    assert f"device '{device}' cannot be used here: " in capsys.readouterr().err


def test_a_scan_that_the_model_was_not_trained_for_is_refused_unless_it_is_asked_for(here, capsys):
    write_scan(here / "others/mr", 3, Modality="MR")
    assert main(["predict", "liver.fm3d", "others", "masks"]) == 1
    err = capsys.readouterr().err
    assert "that it is MR, but the network was trained on CT" in err
    assert "--outside warn" in err
    assert "outside=" not in err
    assert main(["predict", "liver.fm3d", "others", "masks", "--outside", "warn"]) == 0
    assert capsys.readouterr().out == "1 of 1 cases done: masks\n"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("liver.fm3d nowhere out", "nowhere: no such file"),
        ("nowhere.fm3d export out", "nowhere.fm3d"),
        ("scan.nii.gz export out", "scan.nii.gz"),
        ("liver.fm3d export export", "choose another OUT"),
        ("liver.fm3d export out --modality US", "no scan is chosen"),
        ("liver.fm3d export out --cases liver.csv", "has no column 'key'"),
        ("liver.fm3d export out --cases empty.csv", "has no column 'key'"),
        ("liver.fm3d export/a out --cases inventory.csv", "(1 of the 1 keys). Take the inventory of this very folder"),
    ],
)
def test_bad_input_is_one_line_and_code_2(words, text, here, capsys):
    Path("liver.csv").write_text("a,b\n1,2\n")
    Path("empty.csv").touch()
    assert main(["predict", *words.split()]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert text in err
    assert not Path("out").exists()


def test_a_full_disk_is_code_3(here, monkeypatch, capsys):
    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("faimed3d._atomic.sync_file", full)
    assert main(["predict", "liver.fm3d", "export", "masks"]) == 3
    assert "No space left on device" in capsys.readouterr().err
