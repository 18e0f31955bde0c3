"""Connected components of masks."""

import torch

from faimed3d.geometry import Geometry
from faimed3d.masks import keep_largest_component, remove_small_objects
from faimed3d.volume import TensorMask3D

LABELS = torch.tensor([[[0, 1, 1, 0], [2, 0, 0, 1], [2, 2, 0, 3]], [[0, 1, 0, 0], [2, 0, 0, 0], [0, 0, 2, 3]]])


def test_connectivity_says_what_touches():
    corner = torch.tensor([[[1, 0], [0, 0]], [[0, 0], [0, 1]]])
    edge = torch.tensor([[[1, 0], [0, 1]]])
    assert [int(keep_largest_component(corner, connectivity=k).sum()) for k in (1, 2, 3)] == [1, 1, 2]
    assert [int(keep_largest_component(edge, connectivity=k).sum()) for k in (1, 2, 3)] == [1, 2, 2]


def test_other_labels_are_left():
    found = keep_largest_component(LABELS, labels=iter((1, 8)))
    assert int((found == 1).sum()) == 3
    assert torch.equal(found == 2, LABELS == 2)


def test_each_volume_of_a_batch_is_cleaned_on_its_own():
    batch = torch.stack([LABELS, LABELS.flip(0)])
    found = keep_largest_component(batch, labels=iter((1, 2, 3)))
    assert torch.equal(found[0], keep_largest_component(LABELS))
    assert torch.equal(found[1], keep_largest_component(LABELS.flip(0)))
    assert torch.equal(batch[0], LABELS)


def test_a_batch_whose_memory_is_in_another_order_is_cleaned_too():
    batch = torch.stack([LABELS, LABELS.flip(0)])
    other_order = torch.stack([batch, batch], -1).movedim(-1, 1)  # (2, 2, D, H, W), the second axis last in memory
    assert torch.equal(keep_largest_component(other_order), keep_largest_component(other_order.contiguous()))
    assert not torch.equal(keep_largest_component(other_order), other_order)


def test_a_size_of_0_removes_nothing():
    assert torch.equal(remove_small_objects(LABELS, 0), LABELS)
    assert [int((remove_small_objects(LABELS, 3) == k).sum()) for k in (1, 2, 3)] == [3, 4, 0]


def test_a_mask_keeps_its_type_and_geometry():
    mask = TensorMask3D(LABELS.to(torch.uint8), Geometry(LABELS.shape, spacing=(1, 2, 3)))
    for found in (keep_largest_component(mask), remove_small_objects(mask, 3)):
        assert type(found) is TensorMask3D
        assert found.geometry == mask.geometry
        assert found.dtype == torch.uint8
