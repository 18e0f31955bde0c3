"""``faimed3d serve``: each study once, whatever happens in between."""

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from dicom_series import make_series, write
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.data import get_testdata_file
from served_studies import SHAPE, Threshold, faults_of_kills, records_in, results_in, serve, write_study

from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.command import main
from faimed3d.command import serve as serving
from faimed3d.command.served_records import Records
from faimed3d.command.studies import Settling
from faimed3d.io.formats import structure_set_in

SECRETS = {"PatientName": "Doe^Jane", "PatientID": "PID-4711", "InstitutionName": "St. Elsewhere", "StudyID": "SID-990"}


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A model, and a current folder with ``in``."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    model = Threshold(tmp_path / "notes.txt")
    monkeypatch.setattr(serving, "load_model", lambda path, **how: model)
    return model


def served():
    """How often a volume was predicted so far."""
    return len(Path("notes.txt").read_text().splitlines()) if Path("notes.txt").exists() else 0


def test_each_study_once_and_a_changed_one_again(model):
    write_study("in/a/1", 1, SeriesDescription="T2 ax/ial")
    study = write_study("in/b", 2)
    TensorDicom3D(np.ones(SHAPE, np.float32), {"spacing": (1, 2, 3)}).save("in/c.nii")
    assert serve() == 0
    names = results_in("out")
    assert [name.rsplit("_", 1)[0] for name in names] == ["1_T2_ax_ial", "b_Größe", "c"]
    mask, scan = TensorMask3D.create(f"out/{names[0]}"), TensorDicom3D.create("in/a/1")
    assert np.array_equal(mask.numpy() > 0, scan.numpy() > 0)
    assert mask.geometry.agrees(scan.geometry)
    assert serve() == 0
    assert served() == 3
    write_study("in/d/late", 3, study=study)  # of the study of b: that is looked at again, and its volume is not
    assert serve() == 0
    assert served() == 4
    shutil.rmtree("in/b")
    write_study("in/b", 4, study=study)
    os.utime("in/c.nii", ns=(0, 0))
    assert serve() == 0
    assert served() == 6
    assert len(records_in("out")) == 3


def test_a_flat_folder_holds_several_studies(model, capsys):
    for seed in (1, 2):
        write_study(f"apart{seed}", seed, **SECRETS)
        for file in Path(f"apart{seed}").iterdir():
            file.rename(f"in/{seed}{file.name}")
    Path("in/readme.txt").write_text("no image")
    Path("in/.half").write_bytes(b"no image")
    shutil.copy(get_testdata_file("DICOMDIR"), "in/DICOMDIR")
    shutil.copy(get_testdata_file("reportsi.dcm"), "in/report.dcm")  # a study without an image
    assert serve() == 0
    assert (served(), len(records_in("out")), len(results_in("out"))) == (2, 3, 2)
    said = "".join(capsys.readouterr()) + "".join(path.read_text() for path in Path("out/served").glob("*.json"))
    assert [value for value in SECRETS.values() if value in said] == []


def test_bad_studies_are_named_and_passed_over_until_their_files_change(model, capsys):
    write_study("in/good", 1)
    write_study("in/other", 2, first=999)
    write_study("in/cut", 3)
    for file in Path("in/cut").iterdir():
        file.write_bytes(file.read_bytes()[:-20])
    study = write_study("in/partly", 5)
    write_study("in/partly/cut", 6, study=study)
    for file in Path("in/partly/cut").iterdir():
        file.write_bytes(file.read_bytes()[:-20])
    Path("in/noise").mkdir()
    Path("in/noise/x.dcm").write_bytes(os.urandom(3000))
    Path("in/half.nii.gz").write_bytes(b"\x1f\x8b\x08")
    assert serve() == 1
    said = capsys.readouterr()
    for name in ("other", "cut", "noise", "half.nii.gz", "partly"):
        assert [line for line in said.err.splitlines() if f"in/{name}" in line and "passed over" in line], name
    assert len(results_in("out")) == 2
    assert serve() == 0
    assert capsys.readouterr().err == ""
    write_study("in/noise", 4)
    Path("in/noise/x.dcm").unlink()
    assert serve() == 0
    assert len(results_in("out")) == 3


@pytest.mark.parametrize("form", ["seg", "rtstruct"])
def test_results_are_objects_of_their_scan(form, model):
    write_study("in/a", 1)
    write(make_series(np.full(SHAPE, -5, np.int16), StudyInstanceUID="1.2.77"), "in/dark")
    for _ in range(2):
        assert serve("--form", form, "--sr") == 0
    [name, report] = results_in("out", ".dcm")
    assert dcmread(f"out/{report}").Modality == "SR"
    assert (structure_set_in(f"out/{name}") is None) == (form == "seg")
    assert served() == 2
    assert sorted(case["outcome"] for one in records_in("out") for case in one["cases"].values()) == [
        "delivered", "nothing found",
    ]  # fmt: skip


def test_only_what_is_wanted_is_served(model):
    study = write_study("in/a", 1, Modality="MR", SeriesDescription="T2 [ax] tra")
    write_study("in/b", 2, study=study, Modality="MR", SeriesDescription="T1")
    write_study("in/c", 3, study=study, Modality="CT", SeriesDescription="T2")
    assert serve("--modality", "mr", "--description", "t2 [ax]*") == 0
    assert [name.rsplit("_", 1)[0] for name in results_in("out")] == ["in_T2_ax_tra"]


def test_a_header_is_served_when_its_voxels_are_there(model):
    TensorDicom3D(np.ones(SHAPE, np.float32), {"spacing": (1, 2, 3)}).save("in/c.mhd")
    [voxels] = Path("in").glob("*.raw")
    content = voxels.read_bytes()
    voxels.write_bytes(content[:40])
    assert (serve(), results_in("out")) == (1, [])
    voxels.write_bytes(content)
    assert (serve(), len(results_in("out"))) == (0, 1)


def test_a_link_to_itself_does_not_stop_the_others(model):
    write_study("in/a", 1)
    Path("in/loop").symlink_to("loop")
    assert (serve(), len(results_in("out"))) == (0, 1)


def test_a_log_that_nobody_reads_has_nothing_served_twice(model, monkeypatch):
    write_study("in/a", 1)
    with open("/dev/full", "w") as stdout, monkeypatch.context() as patch:
        patch.setattr("sys.stdout", stdout)
        assert serve() == 3
    assert (serve(), served()) == (0, 1)


def test_memory_that_others_take_now_is_no_fault_of_the_study(model, monkeypatch, capsys):
    write_study("in/a", 1)

    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(model, "predict_volume", full)
        assert serve() == 3
    assert "Tried again later" in capsys.readouterr().err
    assert (serve(), served()) == (0, 1)


def test_what_is_wanted_later_is_served_then(model):
    study = write_study("in/a", 1, Modality="MR", SeriesDescription="T2")
    write_study("in/b", 2, study=study, SeriesDescription="CT")
    assert serve("--modality", "MR") == serve("--modality", "MR") == 0
    assert (served(), len(results_in("out"))) == (1, 1)
    assert serve() == serve() == 0
    assert (served(), len(results_in("out"))) == (2, 2)


def test_the_result_of_a_part_goes_when_the_rest_is_there(model):
    write_study("in/a", 1)
    others = sorted(Path("in/a").iterdir())[1:]
    for file in others:
        shutil.move(file, f"{file.name}")
    assert serve() == 0
    assert [TensorMask3D.create(f"out/{name}").shape[0] for name in results_in("out")] == [1]
    for file in others:
        shutil.move(file.name, file)
    assert serve() == 0
    assert [TensorMask3D.create(f"out/{name}").shape for name in results_in("out")] == [SHAPE]


def test_results_of_another_model_or_form_are_in_another_folder(model, monkeypatch, capsys):
    write_study("in/a", 1)
    assert serve() == serve("--form", "nii") == 0
    assert serve("--form", "seg") == 2
    assert "out: holds results of another form, and studies that were served are not" in capsys.readouterr().err
    monkeypatch.setattr(serving, "mark_of_model", lambda model: "another")
    assert serve() == 2
    assert "out: holds results of another model" in capsys.readouterr().err
    Path("out/served/made_by.txt").unlink()
    assert serve() == 0
    assert served() == 1


def test_a_full_disk_is_told_once_and_the_study_is_served_when_there_is_room(model, monkeypatch, capsys):
    write_study("in/a", 1)

    def full(path):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("faimed3d._atomic.sync_file", full)
        assert serve() == 3
    assert "No space left on device" in capsys.readouterr().err
    assert (results_in("out"), records_in("out")) == ([], [])
    with monkeypatch.context() as patch:  # the result is written, its record is not
        patch.setattr(Records, "write", lambda *args: full(""))
        assert serve() == 3
    assert serve() == 0
    assert len(results_in("out")) == len(records_in("out")) == 1
    assert [path.name for path in Path("out").glob(".*")] == []


def test_a_signal_ends_it_after_the_case_in_work(model, monkeypatch):
    write_study("in/a", 1)
    write_study("in/b", 2)
    predict = model.predict_volume

    def interrupted(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGTERM)
        return predict(*args, **kwargs)

    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with monkeypatch.context() as patch:
        patch.setattr(model, "predict_volume", interrupted)
        assert main(["serve", "m", "--watch", "in", "--out", "out", "--quiet", "0"]) == 0
    assert len(results_in("out")) == 1
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert serve() == 0
    assert len(results_in("out")) == 2


def test_a_folder_of_results_belongs_to_one_process(model, capsys):
    with Records("out").locked():
        assert serve() == 2
    assert "another faimed3d serve works with this folder" in capsys.readouterr().err
    assert main(["serve", "m", "--watch", "in", "--out", "in", "--once"]) == 2
    assert "cannot be that of the results" in capsys.readouterr().err
    assert not Path("in/served").exists()
    assert main(["serve", "m", "--watch", "nowhere", "--out", "none", "--once"]) == 2
    assert not Path("none").exists()
    assert serve("--since", "2026-01-01") == 2
    assert "they go with --pacs" in capsys.readouterr().err


def test_a_damaged_record_is_named_and_nothing_is_served_twice(model, capsys):
    write_study("in/a", 1)
    assert serve() == 0
    [record] = Path("out/served").glob("*.json")
    record.write_text(record.read_text()[:40])
    assert serve() == 3
    assert "is no record of faimed3d serve" in capsys.readouterr().err
    assert served() == 1
    made = {"signature": "c", "outcome": "written", "outputs": ["../in/a"], "why": ""}
    record.write_text(json.dumps({"format": 1, "signature": "", "why": "", "cases": {"b": made}}))
    assert serve() == 3
    record.unlink()
    assert serve() == 0
    assert served() == 2


class Named:
    def __init__(self, key, signature):
        self.key, self.signature = key, signature


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=12), st.integers(0, 5))
@settings(max_examples=50)
def test_a_study_is_settled_when_it_was_the_same_for_the_time(looks, quiet):
    settling, now, history = Settling(quiet), 0, []
    for pause, signature in looks:
        now += pause
        history.append((now, signature))
        settled = settling.settled([Named("a", str(signature))], now)
        first = now
        for time, other in reversed(history):
            if other != signature:
                break
            first = time
        assert bool(settled) == (now - first >= quiet)


@given(steps=st.lists(st.sampled_from(["add", "change", "touch", "remove", "late", "serve"]), min_size=3, max_size=7))
@settings(max_examples=12)
def test_whatever_comes_and_goes_each_state_of_a_volume_is_served_once(steps, tmp_path_factory):
    root = tmp_path_factory.mktemp("steps")
    (root / "in").mkdir()
    studies, expected, seed = {}, 0, 0
    unserved = set()
    with pytest.MonkeyPatch.context() as patch:
        model = Threshold(root / "notes.txt")
        patch.setattr(serving, "load_model", lambda path, **how: model)
        for step in [*steps, "serve", "serve"]:
            seed += 1
            folder = root / "in" / f"s{seed}"
            if step == "add":
                studies[folder] = write_study(folder, seed)
                unserved.add(folder)
            elif step == "serve":
                assert serve(root=root) == 0
                expected += len(unserved)
                unserved.clear()
                assert len((root / "notes.txt").read_text().splitlines() if expected else []) == expected
            elif studies:
                chosen = list(studies)[seed % len(studies)]
                if step == "remove":
                    shutil.rmtree(chosen)
                    del studies[chosen]
                    unserved.discard(chosen)
                elif step == "late":
                    studies[folder] = write_study(folder, seed, study=studies[chosen])
                    unserved.add(folder)
                else:
                    file = min(chosen.iterdir())
                    stamp = file.stat().st_mtime_ns + 10**9
                    if step == "change":
                        file.write_bytes(file.read_bytes()[:-2] + b"\1\0")
                    os.utime(file, ns=(stamp, stamp))
                    unserved.add(chosen)


def test_kill_9_at_any_time_loses_nothing_and_makes_nothing_twice(model, tmp_path):
    wrong, killed = faults_of_kills(tmp_path, 6, 0)
    assert wrong == []
    assert killed
