"""Folders in which files are made: gone at the end, whatever the end is."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from faimed3d import _atomic
from faimed3d._atomic import put, scratch_folder


@pytest.fixture(autouse=True)
def _nothing_swept(monkeypatch):
    monkeypatch.setattr(_atomic, "_swept", set())


def start(folder, before="", after=""):
    """A process that writes into a scratch folder beside ``folder/a`` and waits there for a signal."""
    code = f"""
import os, signal, sys, time
from faimed3d._atomic import scratch_folder
{before}
with scratch_folder({str(folder / "a")!r}) as inner:
    open(os.path.join(inner, "voxels"), "w").write("Doe^Jane")
    print("ready", flush=True)
    for _ in range(600):
        time.sleep(0.1)
{after}
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def end(process, number):
    process.send_signal(number)
    status = process.wait(30)
    process.stdout.close()
    return status


def test_lies_beside_the_target_and_goes(tmp_path):
    with scratch_folder(tmp_path / "a") as folder:
        assert Path(folder).parent == tmp_path
        assert Path(folder).name.startswith(".writing-")
    assert os.listdir(tmp_path) == []


def test_goes_after_an_error(tmp_path):
    with pytest.raises(KeyboardInterrupt), scratch_folder(tmp_path / "a"):
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


def test_sigterm_ends_the_process_as_ever_and_leaves_nothing(tmp_path):
    assert end(start(tmp_path), signal.SIGTERM) == -signal.SIGTERM
    assert os.listdir(tmp_path) == []


def test_a_handler_of_the_program_is_left_alone(tmp_path):
    handler = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))"
    assert end(start(tmp_path, handler), signal.SIGTERM) == 7
    assert os.listdir(tmp_path) == []


def test_sigterm_after_the_block_is_as_before(tmp_path):
    with scratch_folder(tmp_path / "a"):
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    end(start(tmp_path), signal.SIGKILL)
    assert len(os.listdir(tmp_path)) == 1
    with scratch_folder(tmp_path / "b"):
        assert len(os.listdir(tmp_path)) == 1
    assert os.listdir(tmp_path) == []


def test_what_a_living_process_writes_stays(tmp_path):
    process = start(tmp_path)
    with scratch_folder(tmp_path / "b"):
        assert len(os.listdir(tmp_path)) == 2
    (left,) = tmp_path.iterdir()
    assert (left / "voxels").read_text() == "Doe^Jane"
    end(process, signal.SIGTERM)


def test_folders_of_that_name_without_the_lock_stay(tmp_path):
    (tmp_path / ".writing-mine").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / ".lock").touch()
    (tmp_path / ".writing-link").symlink_to(tmp_path / "elsewhere")
    with scratch_folder(tmp_path / "b"):
        pass
    assert sorted(os.listdir(tmp_path)) == [".writing-link", ".writing-mine", "elsewhere"]


def test_errors_name_the_target(tmp_path):
    with (
        pytest.raises(PermissionError, match=r"could not be written: Permission denied: '.*/a'"),
        scratch_folder(tmp_path / "a") as folder,
    ):
        raise PermissionError(13, "Permission denied", os.path.join(folder, "x"))


def test_a_folder_that_cannot_be_made_names_the_target(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match=r"could not be written: No such file or directory: '.*/absent/a'"),
        scratch_folder(tmp_path / "absent" / "a"),
    ):
        pass


def test_errors_about_other_files_stay(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match="No such file or directory: 'template'"),
        scratch_folder(tmp_path / "a"),
    ):
        raise FileNotFoundError(2, "No such file or directory", "template")


@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_a_file_keeps_the_permissions_of_the_one_it_replaces(tmp_path, mode):
    (tmp_path / "new").write_text("new")
    (tmp_path / "old").write_text("old")
    (tmp_path / "old").chmod(mode)
    put(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old").read_text() == "new"
    assert (tmp_path / "old").stat().st_mode & 0o777 == mode


def test_a_thread_leaves_signals_alone(tmp_path):
    import threading

    seen = []

    def work():
        with scratch_folder(tmp_path / "a"):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]


def test_a_system_without_locks_writes_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(_atomic, "fcntl", None)
    with scratch_folder(tmp_path / "a") as folder:
        assert os.listdir(folder) == []
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("ready", [True, False])
def test_a_forked_child_ends_at_sigterm_and_leaves_the_folder_to_its_parent(tmp_path, ready):
    code = f"""
import os, signal, sys, time
from faimed3d import _atomic
own = _atomic._own
def forked(folder):
    there, here = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(here, b"1")  # Python forgets signals that come while it forks
        time.sleep(30)
    print("ready" * len(os.read(there, 1)), flush=True)
    os.kill(pid, signal.SIGTERM)
    for _ in range(100):
        if (ended := os.waitpid(pid, os.WNOHANG))[0]:
            break
        time.sleep(0.05)
    else:
        os.kill(pid, signal.SIGKILL)
    print(os.WTERMSIG(ended[1]), os.path.isdir(folder))
    return own(folder)
if not {ready}:  # the signal may not come yet
    _atomic._own = forked
with _atomic.scratch_folder({str(tmp_path / "a")!r}) as inner:
    if {ready}:
        forked(inner)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["ready", str(int(signal.SIGTERM)), "True"]
    assert (done.returncode, done.stderr) == (0, "")
    assert os.listdir(tmp_path) == []


def test_a_forked_child_that_leaves_the_block_leaves_the_folder(tmp_path):
    code = f"""
import os, sys
from faimed3d._atomic import scratch_folder
with scratch_folder({str(tmp_path / "a")!r}) as inner:
    pid = os.fork()
    if pid == 0:
        sys.exit()
    os.waitpid(pid, 0)
    print(os.path.isdir(inner))
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60).stdout == "True\n"
    assert os.listdir(tmp_path) == []
