"""``faimed3d predict`` and ``serve`` with a model of two channels: which scans these are, and in which order."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from served_studies import BOTH, FLAIR, SHAPE, T1, Brighter, results_in, serve, write_case

from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.command import main
from faimed3d.command import serve as serving
from faimed3d.inference import folder


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A model of two channels, and a current folder with ``in``."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    model = Brighter()
    monkeypatch.setattr(serving, "load_model", lambda path, **how: model)
    monkeypatch.setattr("faimed3d.command.predict.load_model", lambda path, **how: model)
    monkeypatch.setattr(folder, "predict_volume", lambda learn, *args, **kwargs: learn.predict_volume(*args, **kwargs))
    monkeypatch.setattr(Brighter, "predict_folder", folder.predict_folder, raising=False)
    monkeypatch.setattr(Brighter, "no_bar", lambda self: pytest.MonkeyPatch().context(), raising=False)
    monkeypatch.setattr(folder, "class_codes", lambda learn: dict(enumerate(["background", "bright"])))
    monkeypatch.setattr(Brighter, "dls", None, raising=False)
    monkeypatch.setattr(folder, "source_of_row", lambda learn, row: row)
    monkeypatch.setattr(folder, "read_as_prepared", lambda learn, source: TensorDicom3D.create(source))
    return model


def predict(*words):
    return main(["predict", "brain.fm3d", *words])


@pytest.mark.parametrize("form", ["nii", "seg", "rtstruct"])
def test_results_of_channels_are_those_of_the_first(form, model, capsys):
    t1, flair = write_case("in")
    for _ in range(2):
        assert predict("in/0", "out", "--channel", "in/1", "--form", form) == 0
    assert "1 of 1 cases done, 1 of them there already" in capsys.readouterr().out
    assert len(model.asked) == 1
    [name] = results_in("out", ".nii.gz" if form == "nii" else ".dcm")
    assert name.startswith("in_0_T1_mpr.") or name.startswith("0_T1_mpr.")
    scan = TensorDicom3D.create("in/0")
    if form == "seg":
        found = TensorMask3D.create(f"out/{name}").resample_like(scan)
        assert np.array_equal(found.numpy(), t1 > flair)
    if form == "nii":
        assert np.array_equal(TensorMask3D.create(f"out/{name}").numpy(), t1 > flair)
    else:
        series = dcmread(next(Path("in/0").iterdir())).SeriesInstanceUID
        named = {str(one.value) for one in dcmread(f"out/{name}").iterall() if one.keyword == "SeriesInstanceUID"}
        assert series in named
        assert dcmread(next(Path("in/1").iterdir())).SeriesInstanceUID not in named


def test_another_second_channel_is_another_case(model, capsys):
    write_case("in")
    assert predict("in/0", "out", "--channel", "in/1") == 0
    shutil.copytree("in/1", "in/2")
    file = min(Path("in/2").iterdir())
    file.write_bytes(file.read_bytes() + b"\0\0")
    assert predict("in/0", "out", "--channel", "in/2") == 1
    assert "others than they were when it was predicted: pass --overwrite" in capsys.readouterr().err


def test_each_study_is_a_case_of_the_series_so_described(model, capsys):
    one, two = write_case("in/a", 1, (FLAIR, T1)), write_case("in/b", 2, (T1, "DWI", FLAIR))
    write_case("in/lacking", 3, (T1, "DWI"))
    write_case("in/double", 4, (T1, FLAIR, f"{FLAIR} again"))
    write_case("in/elsewhere", 5, frames=2)
    write_case("in/other", 6, ("CT thorax",))
    TensorDicom3D(np.ones(SHAPE, np.float32), {"spacing": (1, 2, 3)}).save("in/x.nii")
    assert predict("in", "out", *BOTH) == 1
    out, err = capsys.readouterr()
    assert out == "2 of 2 cases done: out\n"
    assert model.asked == [[int(one[1].sum()), int(one[0].sum())], [int(two[0].sum()), int(two[2].sum())]]
    lines = err.splitlines()
    assert len(lines) == 3
    for name, text in (
        ("lacking/0", "has no series described as 'FLAIR*', which is channel 2"),
        ("double", "has 2 volumes described as 'FLAIR*' ('FLAIR ax', 'FLAIR ax again'), and channel 2 is one"),
        ("elsewhere", f"'{FLAIR}' lies in another frame of reference than '{T1}' ((0020,0052) Frame"),
    ):
        assert [line for line in lines if line.startswith(f"faimed3d: passed over: in/{name}: ") and text in line], name
    assert predict("in/elsewhere", "more", *BOTH, "--no-strict") == 0
    assert f"faimed3d: warning: '{FLAIR}' lies in another frame" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["in", "out"], "the model takes 2 channels (t1, flair), and 1 is given. Give the first as IN and each"),
        (["in", "out", "--description", "T1*"], "takes 2 channels (t1, flair), and 1 is given"),
        (["in/a/0", "out", *2 * ("--channel", "in/a/1")], "takes 2 channels (t1, flair), and 3 are given"),
        (["in/a", "out", "--channel", "in/a/1"], "in/a: holds 2 scans, and a channel is one: name its own folder"),
        (
            ["in/a/0", "out", "--channel", "in/a/0"],
            "channels 1 and 2 are one and the same scan: pass another --channel",
        ),
        (["in/a/0", "out", "--channel", "empty"], "empty: holds no scan, and it is to be a channel"),
        (["in/a/0", "out", "--channel", "in/a/1", "--modality", "MR"], "leave out --description, --modality and"),
        (["in", "out", "--description", "*", "--description", "none"], "no scan is chosen"),
        (["in/a/0", "out", "--channel", "in/b/1"], "lies in another frame of reference"),
    ],
)
def test_other_channels_are_refused(words, text, model, capsys):
    write_case("in/a")
    write_case("in/b", 1)
    Path("empty").mkdir()
    assert predict(*words) == 2
    assert text in capsys.readouterr().err
    assert not Path("out").exists()


def test_one_series_is_not_two_channels(model, capsys):
    write_case("in/a", 0, ("T1 FLAIR",))
    assert predict("in", "out", "--description", "T1*", "--description", "*FLAIR") == 2
    assert "channels 1 and 2 are one and the same scan: pass narrower --description" in capsys.readouterr().err


def test_a_model_of_one_channel_takes_no_more(model, monkeypatch, capsys):
    write_case("in/a")
    monkeypatch.setattr(Brighter, "channels", 1)
    assert predict("in/a/0", "out", "--channel", "in/a/1") == 2
    assert "the model takes scans of 1 channel, and 2 are given: leave the others out" in capsys.readouterr().err


def test_serve_waits_for_all_channels_of_a_study(model, capsys):
    t1, flair = write_case("in/a", 1)
    shutil.move("in/a/1", "late")
    write_case("in/other", 2, ("CT thorax",))
    assert (serve(*BOTH), results_in("out")) == (1, [])
    assert re.search(r"in/a/0: passed over: it has no series described as 'FLAIR\*'", capsys.readouterr().err)
    shutil.move("late", "in/a/1")
    for _ in range(2):
        assert serve(*BOTH) == 0
    [name] = results_in("out")
    assert name.startswith("a_T1_mpr_")
    assert np.array_equal(TensorMask3D.create(f"out/{name}").numpy(), t1 > flair)
    assert len(model.asked) == 1
    file = min(Path("in/a/1").iterdir())  # a changed second channel is another case
    file.write_bytes(file.read_bytes()[:-2] + b"\1\0")
    assert serve(*BOTH) == 0
    assert (len(model.asked), len(results_in("out"))) == (2, 1)
    assert serve(*BOTH[2:], *BOTH[:2]) == 0  # as is another order
    assert model.asked[-1] == model.asked[-2][::-1]


def test_serve_writes_objects_of_the_first_channel(model):
    write_case("in/a", 1)
    assert serve(*BOTH, "--form", "seg", "--sr") == 0
    series = dcmread(next(Path("in/a/0").iterdir())).SeriesInstanceUID
    for name in results_in("out", ".dcm"):
        dataset = dcmread(f"out/{name}")
        assert series in {str(one.value) for one in dataset.iterall() if one.keyword == "SeriesInstanceUID"}
    assert len(results_in("out", ".dcm")) == 2


def test_serve_says_how_channels_are_given(model, capsys):
    write_case("in/a", 1)
    assert main(["serve", "m", "--pacs", "http://localhost:1", "--out", "out"]) == 2
    advice = "and 1 is given. Give --description PATTERN for each, in their order, such as --description 'T1*'"
    assert advice in capsys.readouterr().err
    assert serve("--description", "T1*") == 2
    assert not Path("out").exists()
    assert serve() == 1  # a file of several channels may come
    assert f"in/a: passed over: the model takes 2 channels (t1, flair), {advice}" in capsys.readouterr().err
