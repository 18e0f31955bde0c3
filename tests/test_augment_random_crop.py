"""Random crops: where they lie, and around which labels."""

import pytest
import torch
from coordinates import world
from transforms import plain

from faimed3d.augment import (
    RandomCrop3D,
)
from faimed3d.augment.random_crop import crop_at, find_label_voxel
from faimed3d.geometry import Geometry
from faimed3d.volume import TensorDicom3D, TensorMask3D


class TestRandomCrop:
    def test_cuts_the_centre_in_validation_and_goes_on_at_random_in_training(self):
        image = TensorDicom3D(torch.arange(1000.0).view(10, 10, 10))
        crop = RandomCrop3D(4)
        assert torch.equal(plain(crop(image, split_idx=1)), plain(image)[3:7, 3:7, 3:7])
        assert len({crop(image, split_idx=0)[0, 0, 0].item() for _ in range(10)}) > 3

    def test_reaches_every_corner(self):
        torch.manual_seed(0)
        image = TensorDicom3D(torch.arange(8.0).view(2, 2, 2))
        assert {RandomCrop3D(1)(image, split_idx=0).item() for _ in range(100)} == set(range(8))

    def test_favours_labels_whatever_their_size(self):
        labels = torch.zeros(20, 20, 20, dtype=torch.long)
        labels[:9, :, :] = 2
        labels[17, 3, 11] = 5
        pair = TensorDicom3D(labels.float()), TensorMask3D(labels)
        torch.manual_seed(0)
        crop = RandomCrop3D(4, labels=(2, 5), favour=1)
        found = [set(crop(pair, split_idx=0)[1].unique().tolist()) for _ in range(60)]
        assert all(one & {2, 5} for one in found)
        assert 15 < sum(5 in one for one in found) < 45
        nowhere = RandomCrop3D(4, labels=9, favour=1)(pair, split_idx=0)
        assert nowhere[1].shape == (4, 4, 4)

    def test_draws_for_each_item_of_a_batch_and_keeps_their_places(self):
        torch.manual_seed(0)
        geometry = Geometry((8, 9, 10), spacing=(1, 2, 3))
        x = torch.stack([world(geometry, 2)[None]] * 4)
        mask = TensorMask3D(plain(x)[:, 0].clone())
        crop, labels = RandomCrop3D(3)((x, mask), split_idx=0)
        assert torch.equal(plain(crop)[:, 0], plain(labels))
        assert len({one.geometry.origin for one in crop}) > 1
        for one in crop:
            assert one[0, 0, 0, 0].item() == pytest.approx(one.geometry.origin[2])

    def test_functions(self):
        assert find_label_voxel(torch.eye(3)[None] * 4, (9, 4))[0] == 0
        assert find_label_voxel(torch.zeros(2, 2, 2), (1,)) is None
        assert torch.equal(crop_at(torch.arange(8).view(2, 2, 2), (1, 0, 1), (1, 2, 1)), torch.tensor([[[5], [7]]]))
