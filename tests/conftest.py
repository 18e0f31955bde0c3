"""What every test shares: no window on the screen, and the real volumes where this machine has them."""

from pathlib import Path

import matplotlib as mpl
import pytest

mpl.use("Agg")

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def real_data():
    """Folder of real volumes beside the repository; the tests that need it are skipped where it is absent."""
    if not REAL_DATA.is_dir():
        pytest.skip("the real volumes are not on this machine")
    return REAL_DATA
