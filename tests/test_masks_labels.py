"""What a mask is, what labels are, and how large classes are."""

import pytest
import torch

from faimed3d.geometry import Geometry
from faimed3d.masks import are_labels, class_volumes, is_mask
from faimed3d.volume import TensorDicom3D, TensorMask3D


def test_the_type_says_what_is_a_mask():
    assert is_mask(TensorMask3D(torch.rand(2, 3, 4)))
    assert not is_mask(TensorDicom3D(torch.zeros(2, 3, 4, dtype=torch.int64)))
    assert not is_mask(torch.zeros(2, 3, 4, dtype=torch.bool))
    assert not is_mask(None)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.float64])
def test_whole_numbers_of_any_type_are_labels(dtype):
    assert are_labels(torch.tensor([0, 1, 117]).to(dtype))


@pytest.mark.parametrize("value", [0.5, torch.nan, torch.inf, -torch.inf])
def test_other_numbers_are_no_labels(value):
    assert not are_labels(torch.tensor([1, value, 2]))


def test_volumes_of_classes_by_hand():
    labels = torch.tensor([[[0, 3, 3, 1]], [[0, 0, 3, 0]]])
    mask = TensorMask3D(labels, Geometry(labels.shape, spacing=(1, 2, 3)))
    expected = {"background": 24, "total_mask_volume": 24, "class 1": 6, "class 3": 18}
    assert class_volumes(labels, 6) == expected
    assert class_volumes(mask.float(), mask.geometry.voxel_volume) == expected
    assert mask.calc_volume() == expected


def test_without_background():
    assert class_volumes(torch.ones(2, 3, 4, dtype=torch.bool), 0.5) == {
        "background": 0,
        "total_mask_volume": 12,
        "class 1": 12,
    }


@pytest.mark.parametrize("value", [0.5, torch.nan, torch.inf])
def test_no_labels_have_no_volumes(value):
    with pytest.raises(ValueError, match="the mask holds values that are no whole numbers, so no labels: was it inter"):
        class_volumes(torch.tensor([0, value]), 1)
