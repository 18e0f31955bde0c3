"""A cache made by several processes, by dask workers, by processes that are killed: every case is right."""

import warnings

import cache_study
import numpy as np
import pytest
import test_cache_descriptions
from cache_study import STEPS, cached, differences, make_study, try_to_break, written
from joblib import Parallel, delayed, parallel_config

from faimed3d.cache import CacheError
from faimed3d.cache.descriptions import describe, digest

STEPS_OF_USER = (*STEPS, cache_study.Times(3.0), cache_study.same)


@pytest.fixture
def study(tmp_path):
    (tmp_path / "scans").mkdir()
    return make_study(tmp_path / "scans", 6)


def test_kill_9_at_any_time_and_two_writers_at_once_leave_no_wrong_case(study, tmp_path):
    kills, wrong = try_to_break(study, tmp_path / "cache", np.random.default_rng(1), rounds=12)
    assert wrong == []
    assert kills >= 3


def test_processes(study, tmp_path, capsys):
    (found,) = Parallel(n_jobs=2)([delayed(test_cache_descriptions.found_in_this_process)()])
    keys = [digest(describe(one)) for one in test_cache_descriptions.OTHERS]
    assert found == (keys, True, False)
    cache = cached(study, tmp_path / "cache", STEPS_OF_USER, n_jobs=2, progress=True)  # each imports torch
    assert differences(study, cache, STEPS_OF_USER) == []
    assert "6 cases need about" in capsys.readouterr().out
    with pytest.raises(CacheError, match=r"was killed, for want of memory perhaps: .* try fewer n_jobs than 2"):
        cached(study, tmp_path / "cache", [cache_study.dies], n_jobs=2)


def test_workers_of_a_dask_cluster(study, tmp_path):
    dask = pytest.importorskip("dask")
    distributed = pytest.importorskip("distributed")
    how = {"distributed.worker.multiprocessing-method": "fork"}  # which need not import torch again
    with warnings.catch_warnings(), dask.config.set(how):
        warnings.simplefilter("ignore")  # of distributed's own, on ports and on forks
        arguments = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
        with distributed.LocalCluster(**arguments) as cluster, distributed.Client(cluster):
            with parallel_config(backend="dask"):
                cache = cached(study, tmp_path / "cache", STEPS_OF_USER, n_jobs=-1)
                before = written(tmp_path / "cache")
                (tmp_path / "scans" / "image3.nii").write_bytes((tmp_path / "scans" / "image4.nii").read_bytes()[:90])
                with pytest.raises(CacheError, match="1 of 6 cases could not be made:\n  row 'case 3'"):
                    cached(study, tmp_path / "cache", STEPS_OF_USER, n_jobs=-1)
            cluster.close()
    assert written(tmp_path / "cache") == before
    assert len(cache) == 6
