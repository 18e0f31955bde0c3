"""What every test shares: no window on the screen, training on the CPU, the real volumes where there are any."""

from pathlib import Path

import matplotlib as mpl
import pytest
from fastai.torch_core import default_device

from faimed3d import _blockwise

mpl.use("Agg")

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def _device(request):
    """The CPU, but for tests marked ``gpu``: others compare to the last bit, and with tensors that they made there."""
    default_device(None if request.node.get_closest_marker("gpu") else False)


@pytest.fixture
def real_data():
    """Folder of real volumes beside the repository; the tests that need it are skipped where it is absent."""
    if not REAL_DATA.is_dir():
        pytest.skip("the real volumes are not on this machine")
    return REAL_DATA


@pytest.fixture(params=["cpu", "torch only"])
def anywhere(request, monkeypatch):
    """Run a test twice: by the ways that are fast on a CPU, and by the torch operations for every device."""
    if request.param == "torch only":
        monkeypatch.setattr(_blockwise, "uses_cpu", lambda t: False)
        monkeypatch.setattr(_blockwise, "DEVICE_CHUNK", 10_000)
