"""Mirroring exchanges labels of left and right where left and right are mirrored, however a volume is stored."""

import itertools

import pandas as pd
import pytest
import torch

from faimed3d.augment import CropForeground3D, RandomDihedral3D, RandomFlip3D, RandomSpatial3D
from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D
from faimed3d.plan import describe_cases

ORIENTATIONS = [
    "".join(letters) for order in itertools.permutations(["LR", "PA", "SI"]) for letters in itertools.product(*order)
]
PLACE = Geometry((2, 3, 4), (1, 2, 3), (5, -6, 7))


def sides(dtype=torch.uint8):
    """Label 1 on the patient's right half (small x), 2 on the left."""
    mask = torch.ones(2, 3, 4, dtype=dtype)
    mask[..., 2:] = 2
    return TensorMask3D(mask, PLACE)


@pytest.mark.parametrize("code", ORIENTATIONS)
@pytest.mark.parametrize("axis", [-1, -2, -3])
@pytest.mark.parametrize("together", [False, True])
def test_all_48_storage_orders(code, axis, together):
    """288 cases: a mirrored left half becomes a right half, and is labelled so; all else stays what it was."""
    mask = sides().reorient(code)
    flip = RandomFlip3D(p=1, axis=axis, swap_labels={1: 2})
    flip = RandomSpatial3D(flip) if together else flip
    found = flip((TensorDicom3D(torch.rand(mask.shape), mask.geometry), mask), split_idx=0)[1]
    assert found.reorient("LPS").tolist() == sides().tolist()


@pytest.mark.parametrize("seed", range(20))
def test_dihedral(seed):
    mask = TensorMask3D(torch.ones(4, 4, 4, dtype=torch.uint8), Geometry((4, 4, 4), (2, 2, 2), (1, 2, 3)))
    mask[..., 2:] = 2
    torch.manual_seed(seed)
    plain = RandomDihedral3D(p=1)(mask, split_idx=0)
    torch.manual_seed(seed)
    found = RandomDihedral3D(p=1, swap_labels={1: 2})(mask, split_idx=0)
    assert torch.equal(found, plain) or torch.equal(found, 3 - plain)
    if (plain[..., 0] == plain[0, 0, 0]).all():  # left and right lie along x again
        assert torch.equal(found, mask)


def test_each_item_of_a_batch_on_its_own():
    torch.manual_seed(0)
    batch = torch.stack([sides(torch.int64)] * 16)
    found = RandomFlip3D(p=0.5, axis=-1, swap_labels={1: 2})(batch, split_idx=0)
    assert torch.equal(found, batch)
    assert not torch.equal(RandomFlip3D(p=0.5, axis=-1)(batch, split_idx=0), batch)


def test_errors():
    with pytest.raises(ValueError, match="which axis runs from left to right, and this volume does not say"):
        RandomFlip3D(p=1, swap_labels={1: 2})(TensorMask3D(torch.ones(2, 3, 4)), split_idx=0)
    for kind in (RandomFlip3D, RandomDihedral3D):
        with pytest.raises(ValueError, match="swap_labels takes pairs of labels"):
            kind(swap_labels={1: 2, 2: 3})
    with pytest.raises(ValueError, match="parts of RandomSpatial3D swap different labels"):
        RandomSpatial3D(RandomFlip3D(swap_labels={1: 2}), RandomDihedral3D(swap_labels={1: 3}))


class TestCropForeground:
    def item(self):
        image = torch.full((6, 8, 10), -1000.0)
        image[2:4, 3:6, 4:8] = 50
        mask = torch.zeros(6, 8, 10, dtype=torch.uint8)
        mask[3, 4, 5:7], mask[2, 3, 4] = 1, 3
        place = Geometry((6, 8, 10), (1, 2, 3), (5, -6, 7), (0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1))
        return TensorDicom3D(image, place), TensorMask3D(mask, place)

    @pytest.mark.parametrize(
        ("arguments", "box"),
        [
            ({}, (slice(2, 4), slice(3, 6), slice(4, 8))),
            ({"threshold": -500}, (slice(2, 4), slice(3, 6), slice(4, 8))),
            ({"margin": 1}, (slice(1, 5), slice(2, 7), slice(3, 9))),
            ({"margin": (0, 9, 1)}, (slice(2, 4), slice(0, 8), slice(3, 9))),
            ({"margin": 2.5, "mm": True}, (slice(1, 5), slice(1, 8), slice(1, 10))),
            ({"labels": True}, (slice(2, 4), slice(3, 5), slice(4, 7))),
            ({"labels": 1}, (slice(3, 4), slice(4, 5), slice(5, 7))),
        ],
    )
    def test_image_and_mask_are_cut_alike(self, arguments, box):
        image, mask = self.item()
        for split in (0, 1):
            cropped = CropForeground3D(**arguments)((image, mask), split_idx=split)
            for found, whole in zip(cropped, (image, mask), strict=True):
                assert torch.equal(found, whole[box])
                assert found.geometry == whole[box].geometry

    def test_without_a_mask_a_crop_to_labels_leaves_the_image_whole(self):
        image, _ = self.item()
        assert CropForeground3D(labels=True)(image).shape == image.shape

    def test_errors(self):
        image, mask = self.item()
        with pytest.raises(ValueError, match="no voxel above 99, so nothing would be left"):
            CropForeground3D(99)(image)
        with pytest.raises(ValueError, match=r"no voxel of the labels \(7,\)"):
            CropForeground3D(labels=7)((image, mask))
        with pytest.raises(ValueError, match="put it into item_tfms"):
            CropForeground3D()((image, mask[1:]))
        with pytest.raises(ValueError, match="threshold, of the image, or labels, of the mask, not both"):
            CropForeground3D(1, labels=True)
        with pytest.raises(ValueError, match="threshold must be a number or None"):
            CropForeground3D("air")


def test_each_channel_is_cropped_by_its_own_smallest_value():
    image = TensorDicom3D(torch.zeros(3, 2, 3, 6))
    image[0, :, :, 2] = 1
    image[1] -= 5
    image[1, 1, :, 3] = 2
    image[2] = 7
    cropped = CropForeground3D()(image)
    assert cropped.shape == (3, 2, 3, 2)
    assert cropped.unique().tolist() == [-5, 0, 1, 2, 7]
    report = describe_cases(pd.DataFrame({"image": [image] * 2, "label": ["a", "b"]}), progress=False)
    assert report[["box_width", "box_height", "box_depth"]].iloc[0].tolist() == [2, 3, 2]
    with pytest.raises(ValueError, match="no voxel above the smallest value, so nothing would be left"):
        CropForeground3D()(image[2:])
