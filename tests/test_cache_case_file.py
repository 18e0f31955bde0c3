"""A case of a cache: to the last bit what was written, in whole and in boxes, or a named error."""

import pickle

import numpy as np
import pytest
import torch
from cache_cases import make_case

from faimed3d.cache import CaseFile, write_case
from faimed3d.errors import ChangedFile, DamagedFile, TruncatedFile


@pytest.fixture(params=[None, 2, 32])
def bricks(request):
    return request.param


class TestRoundTrip:
    @pytest.mark.parametrize("kind", ["whole", "steps", "fractions"])
    @pytest.mark.parametrize("shape", [(1, 4, 5, 7), (2, 3, 1, 9)])
    def test_whole_and_boxes(self, tmp_path, bricks, kind, shape):
        image, mask = make_case(shape, kind=kind)
        write_case(tmp_path / "a", image, mask, key="k", recipe={"a": [1, None, "x"]}, bricks=bricks)
        case = CaseFile(tmp_path / "a")
        back, labels = case.whole()
        assert back.dtype == image.dtype
        assert back.numpy().tobytes() == image.numpy().tobytes()
        assert torch.equal(labels, mask)
        assert labels.dtype == mask.dtype
        assert (back.geometry, labels.geometry) == (image.geometry, image.geometry)
        assert back.geometry.nifti_codes == (4, 1)
        assert (back.padding, labels.codes) == (image.padding, mask.codes)
        assert (case.key, case.recipe, case.shape, case.bricks) == ("k", {"a": [1, None, "x"]}, shape, bricks)
        for corner in np.ndindex(*shape[1:]):
            size = [max(1, (n - a) // 2) for a, n in zip(corner, shape[1:], strict=True)]
            box = tuple(slice(a, a + n) for a, n in zip(corner, size, strict=True))
            patch, part = case.read(corner, size)
            assert np.array_equal(patch, image.numpy()[(slice(None), *box)])
            assert np.array_equal(part, mask.numpy()[box])

    def test_in_another_process(self, tmp_path):
        image, mask = make_case()
        write_case(tmp_path / "a", image, mask, key="k", recipe={})
        case = pickle.loads(pickle.dumps(CaseFile(tmp_path / "a")))
        assert case.key == "k"
        write_case(tmp_path / "a", image, mask, key="other", recipe={})
        assert case.key == "k"
        assert np.array_equal(case.read()[0], image.numpy())
        with pytest.raises(ChangedFile, match="was replaced since it was opened"):
            _ = pickle.loads(pickle.dumps(case)).shape


class TestDamage:
    def test_cut(self, tmp_path):
        write_case(tmp_path / "a", *make_case(), key="k", recipe={})
        whole = (tmp_path / "a").read_bytes()
        (tmp_path / "a").write_bytes(whole[:-1])
        with pytest.raises(TruncatedFile, match="where its header says"):
            CaseFile(tmp_path / "a")

    def test_flipped_voxel(self, tmp_path):
        write_case(tmp_path / "a", *make_case(), key="k", recipe={})
        whole = bytearray((tmp_path / "a").read_bytes())
        whole[-1] ^= 1
        (tmp_path / "a").write_bytes(whole)
        with pytest.raises(DamagedFile, match="differs from its checksum"):
            CaseFile(tmp_path / "a").whole()
