"""A case of a cache: to the last bit what was written, in whole and in boxes."""

import json
import multiprocessing
import os
import pickle

import numpy as np
import pytest
import torch
from cache_cases import cases, make_case
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from faimed3d.cache import CaseFile, write_case
from faimed3d.cache.foreground import MOST_POSITIONS, foreground_positions
from faimed3d.geometry import Geometry
from faimed3d.volume import TensorDicom3D, TensorMask3D


def bits(t):
    """The bytes of a tensor of any type."""
    return t.as_subclass(torch.Tensor).contiguous().view(torch.uint8).numpy().tobytes()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("cache") / "case.safetensors"


def written(path, image, mask, bricks=None, recipe=None):
    write_case(path, image, mask, key="3f9a", recipe=recipe or {}, bricks=bricks)
    return CaseFile(path)


class TestRoundTrip:
    @settings(max_examples=100)
    @given(case=cases(), data=st.data())
    def test_everything_is_what_it_was(self, path, case, data):
        image, mask, side = case
        file = written(path, image, mask, side)
        back, labels = file.whole()
        assert (back.dtype, bits(back)) == (image.dtype, bits(image))
        assert (back.geometry, back.geometry.nifti_codes) == (image.geometry, image.geometry.nifti_codes)
        assert (back.geometry.stated, back.padding) == (image.geometry.stated, image.padding)
        assert file.lowest == tuple(image.float().flatten(1).amin(1).tolist())
        assert (file.shape, file.geometry, file.bricks) == (image.shape, image.geometry, side)
        if mask is None:
            assert (labels, file.labels, file.counts, file.has_mask) == (None, (), (), False)
        else:
            assert (labels.dtype, bits(labels)) == (mask.dtype, bits(mask))
            assert (labels.geometry, labels.codes) == (image.geometry, mask.codes)
            found = np.unique(mask.numpy(), return_counts=True)
            assert (file.labels, file.counts) == tuple(map(tuple, np.array(found, dtype=np.int64).tolist()))
            for label in (label for label in file.labels if label > 0):
                assert np.array_equal(file.positions(label), np.argwhere(mask.numpy() == label))

        corner = [data.draw(st.integers(0, n - 1)) for n in image.shape[1:]]
        size = [data.draw(st.integers(1, n - a)) for n, a in zip(image.shape[1:], corner, strict=True)]
        box = tuple(slice(a, a + n) for a, n in zip(corner, size, strict=True))
        patch, part = file.read(corner, size)
        assert patch.dtype == np.float32
        assert patch.tobytes() == image[(slice(None), *box)].float().numpy().tobytes()
        assert (part is None) == (mask is None)
        assert mask is None or (np.array_equal(part, mask[box].numpy()) and part.dtype in (np.uint8, np.int32))
        stored = file.stored(corner, size)
        assert stored.decoding(stored.image).tobytes() == patch.tobytes()
        on_device = stored.decoding(torch.from_numpy(stored.image.copy()))
        assert on_device.numpy().tobytes() == patch.tobytes()

    @pytest.mark.parametrize("side", [None, 3])
    def test_what_is_read_belongs_to_the_caller(self, path, side):
        image, mask = make_case()
        file = written(path, image, mask, side)
        for size in ((1, 1, 1), (4, 5, 7)):
            patch, labels = file.read((0, 0, 0), size)
            patch[:] = labels[:] = 7
        again, labels = file.whole()
        again[:] = labels[:] = 7
        assert bits(file.whole()[0]) == bits(image)
        assert bits(file.whole()[1]) == bits(mask)

    def test_what_is_stored_cannot_be_changed(self, path):
        stored = written(path, *make_case()).stored()
        with pytest.raises(ValueError, match="read-only"):
            stored.image[:] = 0

    def test_text_of_the_key_and_of_the_recipe(self, path):
        recipe = {"sources": ["a.nii", "ö\n\"'"], "sizes": [1, 2.5, None, True], "sha256": "0" * 64, "n": {"b": []}}
        write_case(path, *make_case(), key='ö"', recipe=recipe)
        file = CaseFile(path)
        assert (file.key, file.recipe, file.path) == ('ö"', recipe, str(path))
        assert repr(file) == "CaseFile('case.safetensors', 1x4x5x7 int16, mask uint8, spacing 1x2x3 mm (x, y, z))"

    def test_views_and_other_orders_of_memory(self, path):
        image, mask = make_case((2, 5, 6, 7))
        image, mask = image.flip(-1).permute(0, 3, 1, 2)[:, ::2], mask.flip(-1).permute(2, 0, 1)[::2]
        back, labels = written(path, image, mask, 2).whole()
        assert torch.equal(back, image)
        assert torch.equal(labels, mask)
        assert back.geometry == image.geometry


class TestFormat:
    @pytest.mark.parametrize("kind", ["whole", "many steps", "fractions"])
    def test_opens_with_the_reference_implementation(self, path, kind):
        image, mask = make_case((2, 13, 20, 30), kind=kind)
        written(path, image, mask)
        with safe_open(path, "np") as file:
            metadata = file.metadata()
            values, labels = file.get_tensor("image"), file.get_tensor("mask")
            if kind == "many steps":
                values = file.get_tensor("table")[values]
        assert values.astype(np.float32).tobytes() == image.numpy().tobytes()
        assert np.array_equal(labels[0], mask.numpy())
        assert json.loads(metadata["recipe"]) == {}
        with safe_open(path, "pt") as file:
            assert file.get_slice("mask")[:, 1:3].shape == (1, 2, 20, 30)

    @pytest.mark.parametrize(
        ("kind", "dtype", "stored"),
        [
            ("bytes", torch.float32, "uint8"),
            ("whole", torch.float32, "int16"),
            ("whole", torch.int64, "int16"),
            ("steps", torch.float32, "uint8"),
            ("many steps", torch.float32, "uint16"),
            ("fractions", torch.float32, "float32"),
            ("fractions", torch.float16, "float16"),
            ("fractions", torch.bfloat16, "uint16"),
            ("zeros of both signs", torch.float32, "uint8"),
        ],
    )
    def test_the_narrowest_numbers(self, path, kind, dtype, stored):
        file = written(path, make_case((2, 13, 20, 30), kind=kind, dtype=dtype)[0], None)
        assert str(file.stored().image.dtype) == stored

    def test_bricks_and_rows_take_the_same_space(self, path):
        case = make_case((1, 13, 20, 30))
        rows = (written(path, *case), path.stat().st_size)[1]
        written(path, *case, 8)
        assert abs(path.stat().st_size - rows) <= 64

    def test_no_file_stays_open(self, path, tmp_path):
        written(path, *make_case())
        before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        files = [CaseFile(path) for _ in range(20)]
        assert [file.read((1, 1, 1), (1, 1, 1))[0].shape for file in files] == [(1, 1, 1, 1)] * 20
        assert not before or len(os.listdir("/proc/self/fd")) == before


class TestPositions:
    def test_a_large_class_is_drawn_evenly_and_always_the_same(self):
        mask = np.ones((20, 30, 40), np.uint8)
        mask[:, :, :10] = 2
        found = foreground_positions(mask)
        assert {label: len(rows) for label, rows in found.items()} == {1: MOST_POSITIONS, 2: 6000}
        rows = found[1].astype(np.int64)
        assert len(np.unique(rows, axis=0)) == MOST_POSITIONS
        assert np.array_equal(rows, rows[np.lexsort(rows.T[::-1])])
        assert (mask[tuple(rows.T)] == 1).all()
        assert np.allclose(rows.mean(0), [9.5, 14.5, 24.5], atol=0.3)
        assert np.array_equal(foreground_positions(mask)[1], found[1])

    def test_of_labels_that_are_none(self, path):
        file = written(path, *make_case(labels=(-1, 0, 2)))
        assert file.labels == (-1, 0, 2)
        assert file.positions(1).shape == (0, 3)
        assert file.positions(2).dtype == np.int64
        with pytest.raises(ValueError, match="of labels above 0, got -1"):
            file.positions(-1)
        assert written(path, make_case()[0], None).positions(1).shape == (0, 3)


class TestRefused:
    @pytest.mark.parametrize(
        ("corner", "size", "text"),
        [
            ((0, 0, 1), (4, 5, 7), "does not lie within the volume of \\(4, 5, 7\\)"),
            ((-1, 0, 0), (2, 2, 2), "does not lie within"),
            ((0, 0, 0), (2, 0, 2), "does not lie within"),
            ((4, 0, 0), None, "does not lie within"),
            ((0, 0), (2, 2, 2), "a corner and a size along \\(D, H, W\\)"),
            ((0, 0, 0), (2, 2), "a corner and a size along \\(D, H, W\\)"),
        ],
    )
    @pytest.mark.parametrize("side", [None, 3])
    def test_boxes(self, path, corner, size, text, side):
        file = written(path, *make_case(), side)
        for read in (file.read, file.stored):
            with pytest.raises(ValueError, match=text):
                read(corner, size)

    def test_images(self, tmp_path):
        image, mask = make_case()
        nan = image.clone()
        nan[0, 0, 0, 0] = torch.nan
        for wrong, text in [
            (image[0], "axes \\(C, D, H, W\\), got the shape \\(4, 5, 7\\)"),
            (image[:0], "axes \\(C, D, H, W\\)"),
            (nan, "a: the image holds NaN or infinity"),
            (image.double() + 1e-9, "float64 numbers that float32 does not hold"),
            (image.long() + 2**24 + 1, "int64 numbers that float32 does not hold"),
            (TensorDicom3D(image.as_subclass(torch.Tensor)[:, ::2].repeat(1, 2, 1, 1)), "do not lie on one grid"),
        ]:
            with pytest.raises(ValueError, match=text):
                write_case(tmp_path / "a", wrong, mask, key="k", recipe={})
        with pytest.raises(TypeError, match="an image of a cache holds real numbers, got complex64"):
            write_case(tmp_path / "a", image.to(torch.complex64), mask, key="k", recipe={})
        assert list(tmp_path.iterdir()) == []

    def test_masks_keys_and_recipes(self, tmp_path):
        image, mask = make_case()
        for wrong, text in [
            (mask[None], "the mask of a case has the axes"),
            (mask + 0.5, "numbers that are no labels"),
            (mask * 2**40, "from 0 to 2199023255552; those of a case are of the range of int32"),
            (TensorMask3D(mask, Geometry((4, 5, 7))), "do not lie on one grid"),
        ]:
            with pytest.raises(ValueError, match=text):
                write_case(tmp_path / "a", image, wrong, key="k", recipe={})
        for recipe in ({"a": (1, 2)}, {"a": np.float32(1)}, {1: 2}, {"a": float("nan")}, {"a": {1, 2}}):
            with pytest.raises(TypeError, match="recipe must be plain JSON"):
                write_case(tmp_path / "a", image, mask, key="k", recipe=recipe)
        with pytest.raises(ValueError, match="side of bricks"):
            write_case(tmp_path / "a", image, mask, key="k", recipe={}, bricks=0)
        assert list(tmp_path.iterdir()) == []


def first_voxels(file):
    return file.read((0, 0, 0), (1, 1, 3))[0].tolist()


class TestOtherProcesses:
    @pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system has no fork")
    def test_a_fork_reads_the_same(self, path):
        file = written(path, *make_case())
        here = first_voxels(file)
        with multiprocessing.get_context("fork").Pool(1) as pool:
            assert pool.map(first_voxels, [file] * 3) == [here] * 3

    def test_a_pickle_holds_the_path_and_no_voxels(self, path):
        file = written(path, *make_case((1, 20, 20, 20)))
        file.whole()
        assert len(pickle.dumps(file)) < 500
