"""Classes are merged and renumbered by one table."""

import pytest
import torch

from faimed3d.geometry import Geometry
from faimed3d.masks import reduce_classes, swap_labels
from faimed3d.masks.classes import class_table
from faimed3d.volume import TensorMask3D


def test_labels_that_are_not_named():
    assert reduce_classes(torch.tensor([0, 1, 7, -4]), {1: 5}).tolist() == [0, 5, 7, -4]
    assert reduce_classes(torch.tensor([0, 1, 7, -4]), {1: 5}, other=255).tolist() == [255, 5, 255, 255]
    assert reduce_classes(torch.tensor([True, False]), {1: 0}).tolist() == [False, False]


def test_classes_may_change_places():
    assert reduce_classes(torch.tensor([1, 2]), {1: 2, 2: 1}).tolist() == [2, 1]


def test_a_sequence_numbers_its_groups():
    assert reduce_classes(torch.tensor([0, 1, 7, 9]), [9, (1, 7)]).tolist() == [0, 2, 2, 1]
    assert class_table([(1, 7), (0, 9)]) == ({0: 0, 9: 0, 1: 1, 7: 1}, 0)


def test_a_mask_keeps_its_type_and_geometry():
    geometry = Geometry((2, 3, 4), spacing=(1, 2, 3))
    reduced = reduce_classes(TensorMask3D(torch.full((2, 3, 4), 5, dtype=torch.uint8), geometry), {5: 1})
    assert type(reduced) is TensorMask3D
    assert reduced.geometry == geometry
    assert reduced.dtype == torch.uint8
    assert reduced.unique().tolist() == [1]


WHOLE = [torch.bool, torch.uint8, torch.int8, torch.uint16, torch.int16, torch.int32, torch.int64]


@pytest.mark.parametrize("dtype", [*WHOLE, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("new", [0, 1, 200, 300, -1, 40_000, 70_000, 2**24 + 1, 2**40])
@pytest.mark.parametrize("other", [None, 7, 1000])
def test_the_type_holds_the_result(dtype, new, other):
    """270 cases: what a label becomes, whatever the type that the mask had."""
    mask = torch.tensor([0, 1, 1]).to(dtype)
    found = reduce_classes(mask, {1: new}, other)
    assert found.double().tolist() == [0 if other is None else other, new, new]
    assert found.dtype.is_floating_point == dtype.is_floating_point


def test_pairs_are_exchanged_and_all_else_stays():
    mask = TensorMask3D(torch.tensor([[[0, 1, 2, 3, 9]]], dtype=torch.uint8), {"spacing": (1, 2, 3)})
    found = swap_labels(mask, {1: 2, 9: 300})
    assert found.tolist() == [[[0, 2, 1, 3, 300]]]
    assert found.geometry == mask.geometry
    assert swap_labels(found, {1: 2, 9: 300}).tolist() == mask.tolist()


def test_errors():
    with pytest.raises(ValueError, match=r"a class cannot become two: \[1, \(1, 2\)\] names one twice"):
        reduce_classes(torch.zeros(1), [1, (1, 2)])
    with pytest.raises(ValueError, match=r"classes must map old labels to new ones, both numbers, got \{\}"):
        reduce_classes(torch.zeros(1), {})
    with pytest.raises(ValueError, match=r"\[0\.5\] are no labels that a mask of torch\.uint8 can hold: whole numbers"):
        reduce_classes(torch.zeros(1, dtype=torch.uint8), {1: 0.5})
    with pytest.raises(ValueError, match=r"swap_labels takes pairs of labels \{left: right\}, whole numbers above 0"):
        swap_labels(torch.zeros(1), {1: 2, 2: 3})
