"""Changes of labels: fixed tables, connected parts."""

import pytest
import torch

from faimed3d.augment import ClampMask3D, KeepLargestComponent, ReduceClasses, RemoveSmallObjects
from faimed3d.geometry import Geometry
from faimed3d.volume import TensorDicom3D, TensorMask3D

LABELS = torch.tensor([[[0, 1, 1, 0], [2, 0, 0, 1], [2, 2, 0, 3]], [[0, 1, 0, 0], [2, 0, 0, 0], [0, 0, 2, 3]]])
TYPES = [torch.uint8, torch.int16, torch.int64, torch.float32]


class TestClampMask:
    @pytest.mark.parametrize("dtype", TYPES)
    def test_clamps_and_keeps_the_type(self, dtype):
        mask = TensorMask3D(LABELS.to(dtype))
        clamped = ClampMask3D(1, 2)(mask)
        assert clamped.dtype == dtype
        assert clamped.unique().tolist() == [1, 2]
        assert clamped.geometry == mask.geometry

    def test_makes_one_class_by_default(self):
        assert torch.equal(ClampMask3D()(TensorMask3D(LABELS)), (LABELS > 0).long())

    def test_refuses_an_empty_range(self):
        with pytest.raises(ValueError, match="ClampMask3D needs lwr <= upr, got 2 and 1"):
            ClampMask3D(2, 1)


class TestReduceClasses:
    def test_the_background_in_a_sequence_stays_background(self):
        mask = TensorMask3D(LABELS)
        assert torch.equal(ReduceClasses([0, 1, 3])(mask), ReduceClasses([1, 3])(mask))
        assert torch.equal(ReduceClasses([1, (0, 2), 3])(mask), ReduceClasses([1, 3])(mask))

    @pytest.mark.parametrize("dtype", TYPES)
    def test_uses_one_table_whatever_the_mask_holds(self, dtype):
        transform = ReduceClasses({1: 0, 3: 1})
        whole = transform(TensorMask3D(LABELS.to(dtype)), split_idx=0)
        part = transform(TensorMask3D(LABELS.to(dtype))[:, :, 3:], split_idx=1)
        assert whole.dtype == dtype
        assert torch.equal(whole[:, :, 3:], part)
        assert whole.unique().tolist() == [0, 1, 2]
        assert (whole[LABELS == 2] == 2).all()

    def test_a_sequence_numbers_its_groups_and_drops_the_rest(self):
        found = ReduceClasses([3, (1, 9)])(TensorMask3D(LABELS))
        assert (found[LABELS == 3] == 1).all()
        assert (found[LABELS == 1] == 2).all()
        assert (found[(LABELS == 0) | (LABELS == 2)] == 0).all()

    def test_errors(self):
        with pytest.raises(ValueError, match="a class cannot become two"):
            ReduceClasses([1, (1, 2)])
        with pytest.raises(ValueError, match=r"classes must map old labels to new ones, both numbers, got \{\}"):
            ReduceClasses({})
        with pytest.raises(ValueError, match=r"\[0\.5\] are no labels that a mask of torch\.uint8 can hold"):
            ReduceClasses({1: 0.5})(TensorMask3D(torch.ones(1, 1, 1, dtype=torch.uint8)))

    def test_labels_get_a_type_that_holds_them(self):
        assert ReduceClasses({1: 300})(TensorMask3D(torch.ones(1, 1, 1, dtype=torch.uint8))).tolist() == [[[300]]]


class TestComponents:
    @pytest.mark.parametrize("dtype", TYPES)
    def test_the_largest_part_of_each_class_stays(self, dtype):
        found = KeepLargestComponent()(TensorMask3D(LABELS.to(dtype)))
        wanted = LABELS.clone()
        wanted[0, 1, 3] = wanted[1, 2, 2] = 0
        assert found.dtype == dtype
        assert torch.equal(found.long(), wanted)

    def test_small_objects_go(self):
        found = RemoveSmallObjects(3)(TensorMask3D(LABELS))
        assert [int((found == k).sum()) for k in (1, 2, 3)] == [3, 4, 0]
        assert torch.equal(RemoveSmallObjects(0)(TensorMask3D(LABELS)), LABELS)

    def test_size_can_be_a_volume(self):
        mask = TensorMask3D(LABELS, Geometry(LABELS.shape, spacing=(1, 2, 3)))
        assert [int((RemoveSmallObjects(18, mm3=True)(mask) == k).sum()) for k in (1, 2, 3)] == [3, 4, 0]
        with pytest.raises(ValueError, match=r"RemoveSmallObjects\(mm3=True\) needs a geometry"):
            RemoveSmallObjects(18, mm3=True)(mask.roll(1, 0))

    def test_images_and_empty_masks_pass(self):
        image = TensorDicom3D(torch.rand(2, 3, 4))
        assert KeepLargestComponent()(image) is image
        assert KeepLargestComponent()(TensorMask3D(torch.zeros(2, 3, 4))).sum() == 0

    def test_errors(self):
        with pytest.raises(ValueError, match=r"connectivity must be 1 \(faces\), 2 .* got 4"):
            KeepLargestComponent(connectivity=4)
        with pytest.raises(ValueError, match="min_size must be a number of at least 0, got -1"):
            RemoveSmallObjects(-1)
