"""Damaged segmentations, structure sets and reports are read as by another reader, or refused by name."""

import random

import mutated_objects
import numpy as np
import pytest
from mutated_objects import make_objects, other_contours, other_frames, try_all

from faimed3d import errors

ROUNDS = 45  # tests/long_mutations.py takes 2,000
REFUSED = {"overlapping": errors.UnsupportedImage, "report": errors.NoImages}

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    return make_objects(tmp_path_factory.mktemp("objects"))


def test_whole_files(tmp_path, objects):
    """They are read, but for those that hold no mask; and the other reader reads what is not compressed, too."""
    path = tmp_path / "whole.dcm"
    for one in objects:
        path.write_bytes(one.data)
        if one.name in REFUSED:
            with pytest.raises(REFUSED[one.name]):
                one.read(path)
        else:
            one.read(path)
        others = other_contours(path) if one.name.startswith("contours") else other_frames(path)
        assert bool(others) == (one.name not in ("report", "fractional, JPEG-LS", "labelmap, RLE")), one.name


def test_another_reading_is_seen(tmp_path, objects, monkeypatch):
    path = tmp_path / "whole.dcm"
    for name in ("read_seg", "read_rtstruct"):
        real = getattr(mutated_objects, name)

        def turned(*args, real=real, **how):
            found = real(*args, **how)
            return found._replace(array=np.flip(found.array, -1))

        monkeypatch.setattr(mutated_objects, name, turned)
    for one in objects:
        if one.name in ("bits", "labelmap", "fractional", "overlapping", "contours, hole", "contours, sagittal"):
            path.write_bytes(one.data)
            with pytest.raises(AssertionError, match="is another"):
                one.read(path)


def test_damaged_files(tmp_path, objects):
    ends, faults = try_all(objects, tmp_path / "damaged.dcm", random.Random(1), ROUNDS)
    assert faults == []
    assert ends["read"] > ROUNDS / 10
    assert ends["DamagedFile"] + ends["TruncatedFile"] > ROUNDS / 10
