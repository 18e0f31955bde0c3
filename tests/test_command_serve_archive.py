"""``faimed3d serve --pacs`` with a real archive: each series once, each result stored once, whatever stops it."""

import os
import random
import signal
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from archive_stub import Stub
from orthanc import AUTH
from served_studies import BOTH, T1, Brighter, Threshold, records_in, write_case, write_study

from faimed3d.archive import DicomWeb
from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.command import main
from faimed3d.command import serve as serving
from faimed3d.command.watched_archive import WatchedArchive
from faimed3d.errors import ArchiveUnavailable

TODAY = f"{datetime.now():%Y%m%d}"


@pytest.fixture
def pacs(orthanc, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAIMED3D_PACS_USER", AUTH[0])
    monkeypatch.setenv("FAIMED3D_PACS_PASSWORD", AUTH[1])
    model = Threshold(tmp_path / "notes.txt")
    monkeypatch.setattr(serving, "load_model", lambda path, **how: model)
    return DicomWeb(orthanc.url, AUTH, cache=tmp_path / "cache")


def serve(pacs, *words):
    return main(["serve", "m", "--pacs", pacs.url, "--out", "out", "--once", "--quiet", "0", "--every", "0.05", *words])


def send(pacs, seed, part=slice(None), **elements):
    """Store a study of one series, or a part of its images."""
    folder = Path(f"sent{seed}")
    if not folder.exists():
        write_study(folder, seed, **{"StudyDate": TODAY, "SeriesDescription": f"T{seed}", **elements})
    pacs.store([str(path) for path in sorted(folder.iterdir())][part])
    return folder


def served():
    return len(Path("notes.txt").read_text().splitlines()) if Path("notes.txt").exists() else 0


def test_each_new_series_once_and_its_result_beside_it(pacs, capsys):
    send(pacs, 1)
    send(pacs, 2, StudyDate="20200101")
    for _ in range(2):
        assert serve(pacs, "--sr") == 0
    assert served() == 1
    [row] = [row for _, row in pacs.search(description="T1").iterrows()]
    mask = TensorMask3D.create(pacs.find(row, modality="SEG").iloc[0])
    scan = TensorDicom3D.create("sent1")
    assert np.array_equal(mask.resample_like(scan).numpy() > 0, scan.numpy() > 0)
    assert (len(pacs.search(modality="SEG")), len(pacs.search(modality="SR"))) == (1, 1)
    assert list(Path("out/fetched").iterdir()) == []
    assert serve(pacs, "--since", "2019-12-31") == 0
    assert served() == 2
    said = "".join(capsys.readouterr())
    assert [word for word in (*AUTH, "Doe^Jane", "PID-4711") if word in said] == []
    assert "(CT, T1)" in said or "T1" in said


def test_a_series_that_grows_is_served_as_it_is_then(pacs):
    send(pacs, 1, slice(0, 2))
    assert serve(pacs) == 0
    before = pacs.fetch(pacs.search(description="T1"))
    send(pacs, 1)
    assert serve(pacs) == 0
    assert served() == 2
    assert (before["slices"].tolist(), pacs.fetch(pacs.search(description="T1"))["slices"].tolist()) == ([2], [3])


def test_channels_of_a_study_are_one_case(pacs, monkeypatch, capsys):
    model = Brighter()
    monkeypatch.setattr(serving, "load_model", lambda path, **how: model)
    t1, flair = write_case("sent", StudyDate=TODAY)
    write_case("more", 1, (T1, "DWI"), StudyDate=TODAY)
    for folder in ("sent", "more"):
        pacs.store(folder)
    assert serve(pacs, *BOTH) == 1
    assert "passed over: it has no series described as 'FLAIR*', which is channel 2" in capsys.readouterr().err
    assert serve(pacs, *BOTH) == 0
    assert model.asked == [[int(t1.sum()), int(flair.sum())]]
    [row] = [row for _, row in pacs.search(modality="SEG").iterrows()]
    found = TensorMask3D.create(row).resample_like(TensorDicom3D.create("sent/0"))
    assert np.array_equal(found.numpy(), t1 > flair)
    assert list(Path("out/fetched").iterdir()) == []


@pytest.mark.parametrize("arrives", [False, True], ids=["lost", "the reply is lost"])
def test_a_result_that_could_not_be_stored_is_stored_later_and_once(arrives, pacs, monkeypatch, capsys):
    send(pacs, 1)
    deliver = WatchedArchive.deliver

    def cut(self, files):
        if arrives:
            deliver(self, files)
        raise ArchiveUnavailable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(WatchedArchive, "deliver", cut)
        assert serve(pacs) == 3
    assert "no answer. Tried again later" in capsys.readouterr().err
    assert serve(pacs) == 0
    assert served() == 1
    assert len(pacs.search(modality="SEG")) == 1


def test_a_result_that_was_deleted_before_it_was_stored_is_made_again(pacs, monkeypatch):
    send(pacs, 1)

    def gone(self, files):
        os.unlink(files[0])
        raise ArchiveUnavailable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(WatchedArchive, "deliver", gone)
        assert serve(pacs) == 3
    assert serve(pacs) == 0
    assert (served(), len(pacs.search(modality="SEG"))) == (2, 1)


def test_more_is_seen_to_come_where_the_archive_tells_no_counts(tmp_path):
    stub = Stub()
    stub.quirks |= {"tells no counts", "ignores filters"}  # ranges of days it does not know
    write_study(tmp_path / "scan", StudyDate=TODAY)
    watched = WatchedArchive(DicomWeb(stub.url), TODAY, None, ())
    seen = []
    for path in (tmp_path / "scan").iterdir():
        stub.add(path.read_bytes())
        seen += [study.signature for study in watched.look()]
    stub.close()
    assert seen == ["1", "2", "3"]


def test_wrong_words_and_a_wrong_user_are_refused(pacs, monkeypatch, capsys):
    assert serve(pacs, "--form", "nii") == 2
    assert "an archive takes DICOM objects alone" in capsys.readouterr().err
    monkeypatch.setenv("FAIMED3D_PACS_PASSWORD", "other-Secret")
    assert serve(pacs) == 2
    err = capsys.readouterr().err
    assert "the server refuses this user" in err
    assert "other-Secret" not in err


def faults_of_kills(pacs, rounds, seed):
    """Kill ``serve`` at random times while series come; what is wrong at the end, and how many were killed."""
    chance, killed = random.Random(seed), 0
    send(pacs, 0)
    begin = time.monotonic()
    assert serve(pacs) == 0
    longest = 1.2 * (time.monotonic() - begin)
    for number in range(1, rounds + 1):
        send(pacs, number)
        child = os.fork()
        if not child:
            os._exit(serve(pacs))
        time.sleep(chance.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
        killed += os.waitpid(child, 0)[1] == signal.SIGKILL
    assert serve(pacs) == 0
    wrong = []
    for _, row in pacs.search(modality="CT").iterrows():
        found = len(pacs.find(row, modality="SEG"))
        if found != 1:
            wrong.append(f"{row['description']}: {found} results")
    cases = Counter(case["outcome"] for one in records_in("out") for case in one["cases"].values())
    return wrong if cases == {"delivered": rounds + 1} else [*wrong, str(cases)], killed


def test_kill_9_at_any_time_stores_each_result_once(pacs):
    wrong, _ = faults_of_kills(pacs, 4, 0)
    assert wrong == []
