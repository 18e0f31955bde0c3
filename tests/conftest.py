"""What every test shares: no window on the screen, training on the CPU, the real volumes where there are any."""

# ruff: noqa: E402 - the number of threads must be set before torch is imported

import gc
import logging
import os
from pathlib import Path

gc.disable()  # millions of objects come while tests are collected, and all of them stay

# Parallel workers share the cores: threads of torch that wait for each other in several processes slow all of them
# down several times. The kernels of notebooks and other child processes inherit the number.
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if _WORKERS > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // _WORKERS)))

import matplotlib as mpl
import pandas as pd
import pytest
from cases import write_cases
from fastai.torch_core import default_device
from hypothesis import settings
from orthanc import Orthanc, missing

from faimed3d import _blockwise

mpl.use("Agg")

# The same cases in every run; slow machines are no failures. ``@settings`` of a test changes what it names alone.
settings.register_profile("faimed3d", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("faimed3d")

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop():
    """Collect garbage from now on, but look at nothing that was there before: a tenth of the time of short tests."""
    gc.enable()
    gc.freeze()


def pytest_collection_modifyitems(items):
    """The notebooks come first: they are the longest tests, and no worker should begin one when the others are done."""
    items.sort(key=lambda item: not item.name.startswith("test_runs_from_a_clean_kernel"))


@pytest.fixture(autouse=True)
def _device(request):
    """The CPU, but for tests marked ``gpu``: others compare to the last bit, and with tensors that they made there."""
    default_device(None if request.node.get_closest_marker("gpu") else False)


@pytest.fixture(autouse=True, scope="session")
def _no_wait_for_the_disk():
    """Files are written whole, but no test cuts the power: to wait for the disk thousands of times takes a minute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda number: None)
        yield


@pytest.fixture
def logged():
    """Texts that libraries log from now on; pytest's own capture is off (pyproject.toml says why)."""
    texts, root, handler = [], logging.getLogger(), logging.Handler()
    handler.emit = lambda record: texts.append(record.getMessage())
    root.addHandler(handler)
    yield texts
    root.removeHandler(handler)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Folder of the files of a small study, with its table cases.csv."""
    return write_cases(tmp_path_factory.mktemp("study"))


@pytest.fixture
def table(root):
    """The table of the study below ``root``."""
    return pd.read_csv(root / "cases.csv")


@pytest.fixture
def real_data():
    """Folder of real volumes beside the repository; the tests that need it are skipped where it is absent."""
    if not REAL_DATA.is_dir():
        pytest.skip("no real volumes lie beside the repository")
    return REAL_DATA


@pytest.fixture(params=["cpu", "torch only"])
def anywhere(request, monkeypatch):
    """Run a test twice: by the ways that are fast on a CPU, and by the torch operations for every device."""
    if request.param == "torch only":
        monkeypatch.setattr(_blockwise, "uses_cpu", lambda t: False)
        monkeypatch.setattr(_blockwise, "DEVICE_CHUNK", 10_000)


@pytest.fixture(scope="session")
def orthanc_server(tmp_path_factory):
    """A real archive; the tests that need it are skipped where it is not installed."""
    if reason := missing():
        pytest.skip(reason)
    server = Orthanc(tmp_path_factory.mktemp("orthanc")).start()
    yield server
    server.stop()


@pytest.fixture
def orthanc(orthanc_server):
    """A real archive that holds nothing yet."""
    orthanc_server.clear()
    return orthanc_server
