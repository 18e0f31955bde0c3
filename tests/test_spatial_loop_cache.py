"""Compiled loops that are kept on disk: none is ever taken for another, and nothing on the disk stops the work."""

import errno
import os
import threading
import warnings

import numba
import numpy as np
import pytest
from numba.core.caching import IndexDataCacheFile
from numba.core.compiler_lock import global_compiler_lock

from faimed3d.spatial import kernels
from faimed3d.spatial.loop_cache import LoopCache, version_of


def total(values):
    found = values[0]
    for k in range(1, len(values)):
        found += values[k]
    return found


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    return tmp_path


def hits(version="0", kinds=(np.float32,)):
    """Sum in a new process, as it were; how many of the loops were found on disk."""
    loop = numba.njit(total)
    loop._cache = LoopCache(total, version)
    for kind in kinds:
        assert loop(np.array([1, 2.5, 4], kind)) == total(np.array([1, 2.5, 4], kind))
    return sum(loop.stats.cache_hits.values())


def files(folder, ending):
    return sorted(folder.rglob(f"*.{ending}"))


class TestKept:
    def test_for_the_types_and_the_sources_that_they_were_made_of(self):
        assert [hits(), hits(), hits("1"), hits("1"), hits()] == [0, 1, 0, 1, 1]
        assert hits(kinds=(np.int32, np.float32)) == 1

    @pytest.mark.parametrize("ending", ["nbi", "nbc"])
    def test_a_damaged_file_is_made_anew(self, folder, ending):
        hits()
        for share in (0, 0.01, 0.5):
            (file,) = files(folder, ending)
            whole = file.read_bytes()
            file.write_bytes(whole[: int(share * len(whole))])
            assert hits() == 0
            assert hits() == 1

    def test_a_file_of_other_types_is_not_taken(self, folder):
        """Two processes that compile at once may give two loops the same number."""
        hits(kinds=(np.float32, np.int32))
        first, second = files(folder, "nbc")
        second.write_bytes(first.read_bytes())
        assert hits(kinds=(np.float32, np.int32)) == 1
        assert hits(kinds=(np.float32, np.int32)) == 2

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
    def test_nowhere_where_the_disk_is_full_or_closed(self, monkeypatch, number):
        def refuse(*args):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(IndexDataCacheFile, "_save_data", refuse)
        assert hits() == 0

    def test_nowhere_where_no_folder_can_be_written(self, monkeypatch):
        def refuse(*args):
            raise RuntimeError("cannot cache function: no locator available")

        monkeypatch.setattr(kernels, "LoopCache", refuse)
        loop = kernels._compiled(total)
        assert loop(np.ones(3)) == 3

    def test_the_version_is_that_of_every_source(self, tmp_path):
        one, other = tmp_path / "one.py", tmp_path / "other.py"
        one.write_text("a")
        other.write_text("b")
        before = version_of([str(one), str(other)])
        assert before == version_of([str(one), str(other)])
        other.write_text("c")
        assert before != version_of([str(one), str(other)])
        assert version_of([str(tmp_path / "archive.zip" / "one.py")])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks on this system")
def test_a_fork_while_another_thread_compiles_can_compile():
    """The worker of a loader that starts in that moment."""
    compiling, go_on = threading.Event(), threading.Event()

    def compile_long():
        with global_compiler_lock:
            compiling.set()
            go_on.wait(0.3)

    thread = threading.Thread(target=compile_long)
    thread.start()
    compiling.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        worker = os.fork()
    if not worker:
        os._exit(0 if global_compiler_lock._lock.acquire(timeout=5) else 1)
    go_on.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == 0
