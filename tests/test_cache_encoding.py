"""Numbers of a table are looked up alike with and without the compiled loop, wherever they lie in memory."""

import numpy as np
import pytest

from faimed3d.cache.encoding import Decoding
from faimed3d.errors import DamagedFile
from faimed3d.spatial import compiled


@pytest.fixture(params=[True, False], ids=["compiled", "torch"])
def _way(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(compiled, "suits", lambda *tensors: False)


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
class TestTable:
    def test_values_are_those_of_their_numbers(self, dtype):
        table = np.array([-1.5, np.nan, 0, 2.5], np.float32)
        numbers = np.arange(24, dtype=dtype).reshape(1, 2, 3, 4) % 4
        numbers.flags.writeable = False
        for part in (numbers, numbers[:, ::-1, 1:, ::2], numbers[0], numbers[:, :0], numbers.transpose(0, 3, 2, 1)):
            found = Decoding("table", table)(part)
            np.testing.assert_array_equal(found, table[part])
            assert found.dtype == np.float32
            assert found.flags.c_contiguous

    def test_a_number_beyond_the_table_is_damage(self, dtype):
        decoding = Decoding("table", np.zeros(3, np.float32))
        assert decoding(np.full((1, 2, 3, 4), 2, dtype)).shape == (1, 2, 3, 4)
        for wrong in (3, np.iinfo(dtype).max):
            with pytest.raises(DamagedFile, match=f"the number {wrong} is stored, of a table of 3 values"):
                decoding(np.full((1, 2, 3, 4), wrong, dtype))
