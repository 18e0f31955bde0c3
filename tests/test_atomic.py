"""Atomic writing: the whole target, the old one, or none; what is left behind goes later."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from faimed3d import _atomic
from faimed3d._atomic import replace_empty_folder, replace_file, unfinished_folder

WEEK = 7 * 24 * 3600


@pytest.fixture(autouse=True)
def _nothing_swept(monkeypatch):
    monkeypatch.setattr(_atomic, "_swept", set())


def kill_while_writing(folder, number):
    """Start a process that writes ``folder/a``, and end it by a signal before the file gets its name."""
    code = f"""
import os, time
from faimed3d._atomic import replace_file, unfinished_folder
with unfinished_folder({str(folder / "a")!r}) as inner:
    made = os.path.join(inner, "voxels")
    open(made, "w").write("Doe^Jane")
    print("ready", flush=True)
    time.sleep(60)
    replace_file(made, {str(folder / "a")!r})
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.wait(30) == -number
    process.stdout.close()


def set_age(folder, seconds):
    """Let everything in a folder have changed that long ago."""
    then = time.time() - seconds
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (then, then), follow_symlinks=False)


def leftover(parent, name=".faimed3d-writing-abc", age=0.0):
    (parent / name / "series").mkdir(parents=True)
    (parent / name / "series" / "voxels").write_text("Doe^Jane")
    set_age(parent / name, age)
    return parent / name


class TestUnfinishedFolder:
    def test_lies_beside_the_target_and_goes(self, tmp_path):
        with unfinished_folder(tmp_path / "a") as folder:
            assert Path(folder).parent == tmp_path
            assert Path(folder).name.startswith(".faimed3d-writing-")
        assert os.listdir(tmp_path) == []

    def test_goes_after_an_error(self, tmp_path):
        with pytest.raises(KeyboardInterrupt), unfinished_folder(tmp_path / "a"):
            raise KeyboardInterrupt
        assert os.listdir(tmp_path) == []

    def test_leaves_signals_alone(self, tmp_path):
        with unfinished_folder(tmp_path / "a"):
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


class TestKilledProcess:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
    @pytest.mark.parametrize("there", [True, False])
    def test_leaves_the_old_file_or_none_and_what_it_wrote_goes_after_a_week(self, tmp_path, number, there):
        if there:
            (tmp_path / "a").write_text("old")
        kill_while_writing(tmp_path, number)
        assert not there or (tmp_path / "a").read_text() == "old"
        (left,) = (path for path in tmp_path.iterdir() if path.name != "a")
        set_age(left, WEEK + 60)
        with unfinished_folder(tmp_path / "b"):
            pass
        assert os.listdir(tmp_path) == ["a"] * there

    def test_leaves_nothing_that_is_removed_within_a_week(self, tmp_path):
        left = leftover(tmp_path, age=WEEK - 60)
        with unfinished_folder(tmp_path / "b"):
            pass
        assert (left / "series" / "voxels").read_text() == "Doe^Jane"

    @pytest.mark.parametrize("changed", ["series", "series/voxels"])
    def test_one_change_within_a_week_is_a_sign_of_life(self, tmp_path, changed):
        left = leftover(tmp_path, age=10 * WEEK)
        os.utime(left / changed)
        with unfinished_folder(tmp_path / "b"):
            pass
        assert left.is_dir()

    def test_a_folder_is_looked_through_once(self, tmp_path):
        with unfinished_folder(tmp_path / "b"):
            pass
        left = leftover(tmp_path, age=2 * WEEK)
        with unfinished_folder(tmp_path / "c"):
            pass
        assert left.is_dir()

    def test_what_is_not_ours_stays_whatever_its_age(self, tmp_path):
        leftover(tmp_path, ".writing-mine", 10 * WEEK)
        leftover(tmp_path, "elsewhere", 10 * WEEK)
        (tmp_path / ".faimed3d-writing-link").symlink_to(tmp_path / "elsewhere")
        (tmp_path / ".faimed3d-writing-file").touch()
        set_age(tmp_path, 10 * WEEK)
        before = sorted(os.listdir(tmp_path))
        with unfinished_folder(tmp_path / "b"):
            pass
        assert sorted(os.listdir(tmp_path)) == before
        assert (tmp_path / "elsewhere" / "series" / "voxels").exists()


class TestErrors:
    def test_name_the_target(self, tmp_path):
        with (
            pytest.raises(PermissionError, match=r"could not be written: Permission denied: '.*/a'"),
            unfinished_folder(tmp_path / "a") as folder,
        ):
            raise PermissionError(13, "Permission denied", os.path.join(folder, "x"))

    def test_name_the_target_where_no_folder_can_be_made(self, tmp_path):
        with (
            pytest.raises(FileNotFoundError, match=r"could not be written: No such file or directory: '.*/absent/a'"),
            unfinished_folder(tmp_path / "absent" / "a"),
        ):
            pass

    def test_about_other_files_stay(self, tmp_path):
        with (
            pytest.raises(FileNotFoundError, match="No such file or directory: 'template'"),
            unfinished_folder(tmp_path / "a"),
        ):
            raise FileNotFoundError(2, "No such file or directory", "template")


class TestReplaceFile:
    @pytest.mark.parametrize("mode", [0o400, 0o600, 0o640])
    def test_keeps_the_permissions_of_the_file_that_is_replaced(self, tmp_path, mode):
        (tmp_path / "new").write_text("new")
        (tmp_path / "old").write_text("old")
        (tmp_path / "old").chmod(mode)
        replace_file(tmp_path / "new", tmp_path / "old")
        assert (tmp_path / "old").read_text() == "new"
        assert (tmp_path / "old").stat().st_mode & 0o777 == mode

    def test_the_content_is_on_the_disk_before_the_name_and_the_name_at_the_end(self, tmp_path, monkeypatch):
        steps = []

        def record(name):
            real = getattr(os, name)

            def call(*args):
                steps.append((name, os.path.isdir(args[0])) if name == "fsync" else name)
                return real(*args)

            monkeypatch.setattr(_atomic.os, name, call)

        (tmp_path / "new").write_text("new")
        record("fsync")
        record("replace")
        replace_file(tmp_path / "new", tmp_path / "old")
        assert steps == [("fsync", False), "replace", ("fsync", True)]

    def test_a_disk_that_fails_at_the_end_leaves_the_old_file(self, tmp_path, monkeypatch):
        def full(_):
            raise OSError(28, "No space left on device")

        (tmp_path / "a").write_text("old")
        monkeypatch.setattr(_atomic.os, "fsync", full)
        (tmp_path / "new").write_text("new")
        with (
            pytest.raises(OSError, match=r"could not be written: No space left on device: '.*/a'"),
            unfinished_folder(tmp_path / "a"),
        ):
            replace_file(tmp_path / "new", tmp_path / "a")
        assert (tmp_path / "a").read_text() == "old"


class TestReplaceEmptyFolder:
    def test_keeps_the_permissions_of_the_empty_folder(self, tmp_path):
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "slice").write_text("new")
        (tmp_path / "old").mkdir(mode=0o700)
        replace_empty_folder(tmp_path / "new", tmp_path / "old")
        assert (tmp_path / "old" / "slice").read_text() == "new"
        assert (tmp_path / "old").stat().st_mode & 0o777 == 0o700

    @pytest.mark.parametrize("kind", ["file", "folder"])
    def test_something_else_stays(self, tmp_path, kind):
        (tmp_path / "new").mkdir()
        if kind == "file":
            (tmp_path / "old").write_text("mine")
        else:
            (tmp_path / "old" / "mine").mkdir(parents=True)
        with pytest.raises(FileExistsError, match="old: something else was written there meanwhile; it stays"):
            replace_empty_folder(tmp_path / "new", tmp_path / "old")
        assert (tmp_path / "new").is_dir()
