"""Every way of resampling against one independent computation in float64, and against each other."""

import gc
import itertools
import math

import numpy as np
import pytest
import torch
from coordinates import OBLIQUE
from hypothesis import given, settings
from hypothesis import strategies as st

from faimed3d import _blockwise
from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D
from faimed3d.spatial import blocks, compiled
from faimed3d.spatial.interpolation import resample_voxels

SHAPE = (5, 6, 9)
SIZE = (7, 4, 8)
FILL = -77.0
SHIFT = np.array([0.31, -0.42, 0.23])


def rotation(*degrees):
    """Matrix of turns about the first, second and third axis, one after the other."""
    result = np.eye(3)
    for axis, angle in enumerate(degrees):
        one, two = (axis + 1) % 3, (axis + 2) % 3
        turn, angle = np.eye(3), math.radians(angle)
        turn[one, one] = turn[two, two] = math.cos(angle)
        turn[two, one], turn[one, two] = math.sin(angle), -math.sin(angle)
        result = turn @ result
    return result


ORDERS = [np.eye(3)[list(order)] for order in itertools.permutations(range(3))]
SHEAR = np.array([[1, 0.2, -0.1], [0, 1, 0.3], [0.1, 0, 1]])
MATRICES = {
    "parallel": np.diag([0.6, 1.3, -0.9]),
    **{f"order {k}": np.diag([0.7, 1.1, 0.9]) @ order for k, order in enumerate(ORDERS)},
    **{f"about axis {k}": np.diag([0.7, 1.2, 0.9]) @ rotation(*np.eye(3)[k] * 33) for k in range(3)},
    **{f"about D, order {k}": rotation(25, 0, 0) @ order for k, order in enumerate(ORDERS)},
    "turned any way": rotation(10, -20, 30) * 0.8,
    "sheared": SHEAR @ np.diag([0.7, 1.1, 0.8]),
    "sheared in a plane": np.array([[0.8, 0, 0], [0, 1, 0.4], [0, 0, 0.9]]),
    "finer": rotation(5, 50, 5) * 0.2,
    "coarser": rotation(5, 50, 5) * 3,
}


def middle(matrix, shape=SHAPE, size=SIZE):
    """The offset that lays the middle of the new grid on that of the old one."""
    return (np.array(shape) - 1) / 2 - matrix @ ((np.array(size) - 1) / 2)


def places_of(matrix, offset, size=SIZE):
    return np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1) @ matrix.T + offset


def reference(row, matrix, offset, size=SIZE, nearest=False, fill=FILL):
    """What lies at the places of the new voxels, by the rules, one corner of eight after the other in float64."""
    places, last = places_of(matrix, offset, size), np.array(row.shape) - 1
    inside = ((places >= -0.5 - 1e-6) & (places <= last + 0.5 + 1e-6)).all(-1)
    places = places.clip(0, last)
    if nearest:
        found = row[tuple(np.floor(places + 0.5 + 1e-9).astype(int).transpose(3, 0, 1, 2))]
        return np.where(inside, found, np.asarray(fill, row.dtype))
    low = np.floor(places).astype(int)
    found = np.zeros(size)
    for corner in np.ndindex(2, 2, 2):
        share = np.abs(1 - np.array(corner) - (places - low)).prod(-1)
        values = row[tuple(np.minimum(low + corner, last).transpose(3, 0, 1, 2))]
        with np.errstate(invalid="ignore"):
            found += np.where(share > 0, share, 0) * np.where(share > 0, values, 0)
    return np.where(inside, found, fill)


def halfway(matrix, offset, size=SIZE):
    """Where rounding decides between two voxels."""
    return (np.abs(places_of(matrix, offset, size) % 1 - 0.5) < 1e-7).any(-1)


def volumes(count=1, dtype=torch.float32, shape=SHAPE, seed=0):
    torch.manual_seed(seed)
    return (torch.rand(count, *shape) * 200).to(dtype)


class Turned(torch.utils.data.Dataset):
    """Two volumes, each turned another way."""

    def __len__(self):
        return 2

    def __getitem__(self, number):
        matrix = MATRICES[("turned any way", "about axis 0")[number]]
        return resample_voxels(volumes(shape=(20, 30, 40)), matrix, middle(matrix), (30, 30, 30), False, FILL)


class TestAgainstFloat64:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("name", MATRICES)
    def test_images(self, name, dtype):
        matrix = MATRICES[name]
        offset = middle(matrix) + SHIFT
        rows = volumes(2, dtype)
        found = resample_voxels(rows, matrix, offset, SIZE, False, FILL)
        assert found.dtype == dtype
        assert found.shape == (2, *SIZE)
        assert found.is_contiguous()
        for row, one in zip(rows, found, strict=True):
            expected = reference(row.double().numpy(), matrix, offset)
            np.testing.assert_allclose(one.numpy(), expected, atol=5e-5 if dtype == torch.float32 else 1e-11)

    @pytest.mark.parametrize(
        "dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float32, torch.float64]
    )
    @pytest.mark.parametrize("name", MATRICES)
    def test_labels(self, name, dtype):
        matrix = MATRICES[name]
        offset = middle(matrix) + SHIFT
        rows = volumes(2).div(30).round().to(dtype)
        found = resample_voxels(rows, matrix, offset, SIZE, True, 99)
        assert found.dtype == dtype
        for row, one in zip(rows, found, strict=True):
            expected = reference(row.numpy(), matrix, offset, nearest=True, fill=99)
            clear = ~halfway(matrix, offset)
            np.testing.assert_array_equal(one.numpy()[clear], expected[clear])

    @settings(max_examples=150, deadline=None)
    @given(
        st.tuples(*[st.sampled_from([0, 0, 90, -180, 7, 33.3, -61])] * 3),
        st.tuples(*[st.floats(0.2, 3)] * 3),
        st.sampled_from(["none", "shear"]),
        st.tuples(*[st.integers(1, 6)] * 3),
        st.tuples(*[st.integers(1, 6)] * 3),
        st.tuples(*[st.sampled_from([0, 0.5, -0.5, 0.27, -1.3])] * 3),
    )
    def test_any_grid(self, degrees, scale, kind, shape, size, shift):
        matrix = np.diag(scale) @ rotation(*degrees) @ (SHEAR if kind == "shear" else np.eye(3))
        offset = middle(matrix, shape, size) + shift
        rows = volumes(shape=shape)
        expected = reference(rows[0].double().numpy(), matrix, offset, size)
        # of what lies at the very edge the last bits of a sum decide
        last = np.array(shape) - 1
        places = places_of(matrix, offset, size)
        apart = np.minimum(np.abs(places + 0.5 + 1e-6), np.abs(places - last - 0.5 - 1e-6)).min(-1) > 1e-9
        found = resample_voxels(rows, matrix, offset, size, False, FILL)[0].numpy()
        np.testing.assert_allclose(found[apart], expected[apart], atol=2e-4)
        labels = rows.div(40).round().to(torch.uint8)
        expected = reference(labels[0].numpy(), matrix, offset, size, True, 99)
        found = resample_voxels(labels, matrix, offset, size, True, 99)[0].numpy()
        clear = apart & ~halfway(matrix, offset, size)
        np.testing.assert_array_equal(found[clear], expected[clear])

    @pytest.mark.parametrize("name", MATRICES)
    def test_torch_alone_does_the_same(self, name, monkeypatch):
        """What is done on other devices."""
        matrix = MATRICES[name]
        offset = middle(matrix) + SHIFT
        rows, labels = volumes(2), volumes(2).div(30).round().to(torch.uint8)
        expected = resample_voxels(rows, matrix, offset, SIZE, False, FILL)
        expected_labels = resample_voxels(labels, matrix, offset, SIZE, True, 99)
        monkeypatch.setattr(_blockwise, "uses_cpu", lambda t: False)
        for some in (1 << 20, 10):
            monkeypatch.setattr(blocks, "_ON_CPU", some)
            found = resample_voxels(rows, matrix, offset, SIZE, False, FILL)
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
            found = resample_voxels(labels, matrix, offset, SIZE, True, 99)
            clear = torch.from_numpy(~halfway(matrix, offset))
            assert torch.equal(found[:, clear], expected_labels[:, clear])


class TestEdges:
    @pytest.mark.parametrize("nearest", [False, True])
    @pytest.mark.parametrize("way", [rotation(180, 180, 0), rotation(90, 180, 0), rotation(0, 45, 0) * 2**0.5])
    def test_a_place_on_the_edge_is_inside(self, way, nearest):
        """Where a grid of half steps ends with the volume, turned straight or by 45 degrees."""
        matrix = way * 0.5
        matrix = np.where(np.abs(matrix) < 1e-12, 0, matrix)
        size = (11, 13, 19)
        offset = middle(matrix, SHAPE, size)
        row = volumes()[0]
        found = resample_voxels(row[None], matrix, offset, size, nearest, FILL)[0].numpy()
        expected = reference(row.double().numpy(), matrix, offset, size, nearest)
        clear = ~halfway(matrix, offset, size) if nearest else slice(None)
        np.testing.assert_allclose(found[clear], expected[clear], atol=5e-5)
        assert ((found == FILL) == (expected == FILL)).all()

    @pytest.mark.parametrize("push", [-1e-9, 0, 1e-9])
    @pytest.mark.parametrize("nearest", [False, True])
    def test_rounding_pushes_nothing_out_on_a_grid_turned_any_way(self, push, nearest):
        """The plane of new voxels of index 0 along W lies on the outer face of the old ones."""
        turn = rotation(20, -30, 0)
        matrix = np.linalg.inv(turn) * 0.7
        matrix[2] = (0, 0, 0.7)  # the last old axis is crossed by the last new one alone, which crosses the others too
        matrix[:2, 2] = (0.2, 0.1)
        for face, inward in ((-0.5, 1), (SHAPE[2] - 0.5, -1)):
            step = matrix * [1, 1, inward]
            offset = middle(step)
            offset[2] = face + push
            row = volumes()[0]
            found = resample_voxels(row[None], step, offset, SIZE, nearest, FILL)[0].numpy()
            expected = reference(row.double().numpy(), step, offset, nearest=nearest)
            assert (expected[..., 0] != FILL).any()
            assert ((found == FILL) == (expected == FILL)).all()
            np.testing.assert_allclose(found, expected, atol=5e-5)

    def test_far_away_is_all_fill(self):
        for matrix in MATRICES.values():
            found = resample_voxels(volumes(), matrix, np.array([0.0, 1e4, 0]), SIZE, False, FILL)
            assert found.unique().tolist() == [FILL]

    @pytest.mark.parametrize("fill", [math.nan, math.inf, 1e30])
    def test_any_fill(self, fill):
        for matrix in MATRICES.values():
            found = resample_voxels(volumes(), matrix, middle(matrix) + 4, SIZE, False, fill)[0].numpy()
            expected = reference(volumes()[0].double().numpy(), matrix, middle(matrix) + 4, fill=fill)
            np.testing.assert_allclose(found, np.float32(expected), atol=5e-5)

    @pytest.mark.parametrize("name", MATRICES)
    def test_a_gap_reaches_the_voxels_that_it_has_a_share_in_and_no_more(self, name):
        matrix = MATRICES[name]
        offset = middle(matrix) + SHIFT
        rows = volumes()
        rows[0, 2, 3, 4] = math.nan
        found = resample_voxels(rows, matrix, offset, SIZE, False, FILL)[0].numpy()
        expected = reference(rows[0].double().numpy(), matrix, offset)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))

    @pytest.mark.parametrize("name", MATRICES)
    def test_infinite_voxels_spoil_no_others_and_warn_of_nothing(self, name):
        matrix = MATRICES[name]
        rows = volumes()
        rows[0, 2, 3, 4], rows[0, 2, 3, 5], rows[0, 0, 0, 0] = math.inf, -math.inf, math.inf
        found = resample_voxels(rows, matrix, middle(matrix) + SHIFT, SIZE, False, FILL)[0].numpy()
        expected = reference(rows[0].double().numpy(), matrix, middle(matrix) + SHIFT)
        np.testing.assert_array_equal(np.isfinite(found), np.isfinite(expected))
        finite = np.isfinite(expected)
        np.testing.assert_allclose(found[finite], expected[finite], atol=5e-5)


class TestValues:
    @pytest.mark.parametrize("value", [-1024.0, 0.1, 3e7])
    @pytest.mark.parametrize("name", MATRICES)
    def test_what_is_constant_stays_so_to_the_last_bit(self, name, value):
        """Background is told by its value, in ``mean_scale`` for one."""
        matrix = MATRICES[name]
        value = torch.tensor(value)
        found = resample_voxels(
            torch.full((1, *SHAPE), value), matrix, middle(matrix) + 0.21, SIZE, False, value.item()
        )
        assert found.unique().tolist() == [value.item()]

    @pytest.mark.parametrize("name", MATRICES)
    def test_large_labels_stay_exact(self, name):
        largest = 2**60 + 1
        rows = torch.full((1, *SHAPE), largest)
        rows[0, ::2] = -largest
        found = resample_voxels(rows, MATRICES[name], middle(MATRICES[name]), SIZE, True, 0)
        assert set(found.unique().tolist()) <= {largest, -largest, 0}

    def test_true_and_false(self):
        rows = volumes() > 100
        for matrix in MATRICES.values():
            found = resample_voxels(rows, matrix, middle(matrix), SIZE, True, False)
            expected = resample_voxels(rows.to(torch.uint8), matrix, middle(matrix), SIZE, True, 0)
            assert found.dtype == torch.bool
            assert torch.equal(found, expected.bool())

    def test_the_input_stays_as_it_was(self):
        for matrix in MATRICES.values():
            rows = volumes(2)
            found = resample_voxels(rows, matrix, middle(matrix), SIZE, False, FILL)
            found += 1
            assert torch.equal(rows, volumes(2))

    def test_voxels_outlive_the_image_that_held_them(self):
        matrix = MATRICES["turned any way"]
        found = resample_voxels(volumes(), matrix, middle(matrix), SIZE, False, FILL)
        kept = found.clone()
        gc.collect()
        for seed in range(20):  # other images take its memory if it is free
            resample_voxels(volumes(seed=seed), matrix, middle(matrix), SIZE, False, FILL)
        assert torch.equal(found, kept)

    @pytest.mark.parametrize("name", MATRICES)
    def test_the_number_of_threads_changes_nothing(self, name):
        before = torch.get_num_threads()
        shape, size = (9, 40, 50), (30, 41, 52)
        matrix = MATRICES[name]
        found = []
        try:
            for count in (1, 3):
                torch.set_num_threads(count)
                found.append(
                    resample_voxels(volumes(2, shape=shape), matrix, middle(matrix, shape, size), size, False, FILL)
                )
        finally:
            torch.set_num_threads(before)
        assert torch.equal(*found)

    def test_in_the_worker_of_a_loader(self):
        """A fork of a process in which threads have been at work."""
        expected = [rows.clone() for rows in map(Turned().__getitem__, range(2))]
        loader = torch.utils.data.DataLoader(Turned(), num_workers=2, batch_size=None, multiprocessing_context="fork")
        for found, one in zip(loader, expected, strict=True):
            assert torch.equal(found, one)

    @pytest.mark.parametrize("name", MATRICES)
    def test_in_parts(self, name, monkeypatch):
        matrix = MATRICES[name]
        rows, labels = volumes(2), volumes(2).div(30).round().to(torch.uint8)
        expected = resample_voxels(rows, matrix, middle(matrix), SIZE, False, FILL)
        expected_labels = resample_voxels(labels, matrix, middle(matrix), SIZE, True, 99)
        monkeypatch.setattr(compiled, "_JOB", 20)
        for block in (3, 10):  # less than a line, and some lines
            monkeypatch.setattr(compiled, "_PLANE_BLOCK", block)
            assert torch.equal(resample_voxels(rows, matrix, middle(matrix), SIZE, False, FILL), expected)
            assert torch.equal(resample_voxels(labels, matrix, middle(matrix), SIZE, True, 99), expected_labels)


class TestTensors:
    SOURCE = Geometry((6, 7, 8), (1, 2, 3), (-7, 11, 5), OBLIQUE)
    TARGETS = {  # noqa: RUF012
        "turned": Geometry((5, 6, 9), (1.3, 1.7, 2.1), (-8, 9, 3)),
        "tilted gantry": Geometry((5, 6, 9), (1.3, 1.7, 2.1), (-8, 9, 3), (1, 0, 0, 0, 1, -0.2, 0, 0, 0.96**0.5)),
        "another plane": Geometry(
            (7, 8, 6), (2, 3, 1.0), (-7, 11, 5), np.reshape(OBLIQUE, (3, 3))[:, [1, 2, 0]].ravel()
        ),
    }

    @pytest.mark.parametrize("name", TARGETS)
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int16, torch.uint16, torch.float64])
    def test_images_of_any_type(self, name, dtype):
        torch.manual_seed(0)
        whole = torch.randint(0, 100, self.SOURCE.shape)
        found = TensorDicom3D(whole.to(dtype), self.SOURCE).resample_like(self.TARGETS[name])
        expected = TensorDicom3D(whole.double(), self.SOURCE).resample_like(self.TARGETS[name])
        assert found.dtype == (dtype if dtype.is_floating_point else torch.float32)
        assert found.geometry == self.TARGETS[name]
        step = {torch.float16: 0.05, torch.bfloat16: 0.4}.get(dtype, 1e-4)
        assert (found.double() - expected).abs().max() <= step

    @pytest.mark.parametrize("name", TARGETS)
    @pytest.mark.parametrize("dtype", [torch.uint16, torch.bfloat16, torch.bool, torch.int64])
    def test_masks_of_any_type(self, name, dtype):
        torch.manual_seed(0)
        labels = torch.randint(0, 2, self.SOURCE.shape)
        found = TensorMask3D(labels.to(dtype), self.SOURCE).resample_like(self.TARGETS[name])
        expected = TensorMask3D(labels.float(), self.SOURCE).resample_like(self.TARGETS[name])
        assert found.dtype == dtype
        assert torch.equal(found.as_subclass(torch.Tensor).float(), expected.as_subclass(torch.Tensor))

    @pytest.mark.parametrize("name", TARGETS)
    def test_channels(self, name):
        torch.manual_seed(0)
        t = TensorDicom3D(torch.rand(2, 3, *self.SOURCE.shape), self.SOURCE)
        found = t.resample_like(self.TARGETS[name], value=0)
        assert found.shape == (2, 3, *self.TARGETS[name].shape)
        for place in np.ndindex(2, 3):
            assert torch.equal(found[place], t[place].resample_like(self.TARGETS[name], value=0))

    @pytest.mark.parametrize("name", TARGETS)
    def test_a_gradient_is_wanted_or_not(self, name):
        voxels = torch.rand(self.SOURCE.shape, requires_grad=True)
        t = TensorDicom3D(voxels, self.SOURCE)
        with torch.no_grad():
            plain = t.resample_like(self.TARGETS[name], value=0)
        recorded = t.resample_like(self.TARGETS[name], value=0)
        assert not plain.requires_grad
        torch.testing.assert_close(recorded.detach(), plain)
        recorded.sum().backward()
        assert voxels.grad.sum() == pytest.approx(
            float(TensorDicom3D(torch.ones_like(voxels), self.SOURCE).resample_like(self.TARGETS[name], value=0).sum()),
            rel=1e-4,
        )
