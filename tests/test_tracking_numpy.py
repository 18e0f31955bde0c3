"""NumPy functions that move no voxel keep the geometry; others give plain arrays, never a wrong place."""

import numpy as np
import pytest
import torch
from coordinates import LOPSIDED, OTHER

from faimed3d.basics import TensorDicom3D, TensorMask3D

ONES = np.ones(LOPSIDED.shape, np.float32)
KEEPING = {
    "exp": np.exp,
    "sin": np.sin,
    "isnan": np.isnan,
    "clip": lambda t: np.clip(t, -1, 1),
    "where": lambda t: np.where(t > 1, t, 0),
    "nan_to_num": np.nan_to_num,
    "round": lambda t: np.round(t, 1),
    "t + array": lambda t: t + ONES,
    "array + t": lambda t: ONES + t,
    "array * t": lambda t: ONES * t,
    "minus a numpy number": lambda t: t - np.asarray(t).mean(),
    "maximum": lambda t: np.maximum(t, ONES),
    "zeros_like": np.zeros_like,
    "interp": lambda t: np.interp(t, [0, 1], [0, 2]),
    "modf": lambda t: np.modf(t)[0],
}
MOVING = {
    "flip": np.flip,
    "rot90": np.rot90,
    "transpose": np.transpose,
    "roll": lambda t: np.roll(t, 1, 0),
    "pad": lambda t: np.pad(t, 1),
    "stack": lambda t: np.stack([t, t]),
    "sum": np.sum,
    "mean": lambda t: np.mean(t, 0),
    "sort": np.sort,
    "add.accumulate": np.add.accumulate,
    "matmul": lambda t: np.matmul(t, np.ones((4, 4))),
}


@pytest.mark.parametrize("kind", [TensorDicom3D, TensorMask3D])
@pytest.mark.parametrize("name", KEEPING)
def test_functions_that_move_no_voxel_keep_the_geometry(kind, name):
    t = kind(torch.arange(24.0).reshape(2, 3, 4) / 8, LOPSIDED)
    result = KEEPING[name](t)
    assert type(result) is kind
    assert result.geometry == LOPSIDED
    np.testing.assert_allclose(result.numpy(), KEEPING[name](t.numpy()))


@pytest.mark.parametrize("name", MOVING)
def test_others_give_plain_arrays(name):
    t = TensorDicom3D(torch.arange(24.0).reshape(2, 3, 4), LOPSIDED)
    result = MOVING[name](t)
    assert not isinstance(result, torch.Tensor)
    np.testing.assert_allclose(result, MOVING[name](t.numpy()))


def test_two_places_give_none_and_an_image_and_a_mask_an_image():
    t, mask = TensorDicom3D(ONES, LOPSIDED), TensorMask3D(ONES, LOPSIDED)
    assert np.add(t, TensorDicom3D(ONES, OTHER)).geometry is None
    assert type(np.multiply(mask, t)) is TensorDicom3D
    assert np.where(mask > 0, t, 0).geometry == LOPSIDED
    assert np.exp(TensorDicom3D(torch.ones(5))).geometry is None
