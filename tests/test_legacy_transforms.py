"""Transforms of faimed3d 0.0.6."""

import pytest
import torch
from coordinates import LOPSIDED, check, world
from torch import Tensor

from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.geometry import Geometry
from faimed3d.legacy import transforms
from faimed3d.legacy.transforms import MaskErase, PreprocessDicom

ROOM = Geometry((4, 6, 8), spacing=(0.5, 2, 3), origin=(-7, 11, 5), direction=LOPSIDED.direction)


def plain(t):
    return t.as_subclass(Tensor)


class TestPreprocessDicom:
    def test_brings_image_and_mask_to_the_spacing_in_the_plane(self):
        image, mask = TensorDicom3D(torch.rand(ROOM.shape), ROOM), TensorMask3D(torch.ones(ROOM.shape), ROOM)
        for volume in PreprocessDicom(spacing=1)((image, mask)):
            assert volume.shape == (4, 12, 4)
            assert volume.get_spacing() == (1, 1, 3)

    def test_clips_images_alone_and_only_if_asked(self):
        image = TensorDicom3D(torch.linspace(-3000, 20000, 192).reshape(ROOM.shape), ROOM)
        mask = TensorMask3D(torch.full(ROOM.shape, 7), ROOM)
        clipped, kept = PreprocessDicom(correct_spacing=False, clip_high_values=True)((image, mask))
        assert (clipped.min(), clipped.max()) == (-2000, 10000)
        assert torch.equal(PreprocessDicom(correct_spacing=False)(image), image)
        narrow = PreprocessDicom(correct_spacing=False, clip_high_values=True, clipping_range=(0, 5))
        assert (narrow(mask) == 7).all()
        assert torch.equal(kept, mask)

    def test_refuses_a_slope_that_reading_knows_nothing_of(self):
        image = TensorDicom3D(torch.rand(ROOM.shape), ROOM)
        image.set_metadata("0028|1053", 2)
        with pytest.raises(ValueError, match="set by hand to 2 and None"):
            PreprocessDicom()(image)
        assert PreprocessDicom(rescale=False, correct_spacing=False)(image) is image

    def test_refuses_an_empty_range(self):
        with pytest.raises(ValueError, match=r"clipping_range must be \(lowest, highest\), got \(5, 5\)"):
            PreprocessDicom(clipping_range=(5, 5))


class TestMaskErase:
    keep = torch.zeros(ROOM.shape)
    keep[1:3, 2:4, 1:6] = 1
    keep[1, 2, 1] = 0

    def test_cuts_to_the_box_and_fills_outside(self):
        image = TensorDicom3D(torch.rand(2, *ROOM.shape) + 5, ROOM)
        erased = MaskErase(TensorMask3D(self.keep, ROOM))(image)
        assert erased.shape == (2, 2, 5, 5)
        inside = erased[:, :, 1:3]
        low = plain(image).min()
        assert torch.equal(plain(inside)[:, 1], plain(image)[:, 2, 2:4, 1:6])
        assert (plain(inside)[:, 0, 0, 0] == low).all()
        assert (plain(erased)[:, :, [0, 3, 4]] == low).all()
        assert (plain(MaskErase(self.keep, value=-1)(image))[:, 0, 0, 0] == -1).all()

    def test_every_voxel_stays_in_its_place(self):
        whole = torch.zeros(ROOM.shape)
        whole[1:3, 2:4, 1:6] = 1

        def erase(t):
            return MaskErase(whole, pad=(2, 2, 5))(t)

        assert check(lambda axis: world(ROOM, axis), erase, [ROOM], kept=True) == 3 * 20

    def test_a_mask_gets_background_and_keeps_its_type(self):
        mask = TensorMask3D(torch.full(ROOM.shape, 3, dtype=torch.uint8), ROOM)
        erased = MaskErase(self.keep, pad=(4, 4, 7))(mask)
        assert erased.dtype == torch.uint8
        assert erased.shape == (4, 4, 7)
        assert (erased == 3).sum() == self.keep.sum()

    def test_nan_is_no_smallest_value(self):
        image = torch.rand(ROOM.shape)
        image[0, 0, 0] = torch.nan
        assert MaskErase(self.keep)(TensorDicom3D(image)).isfinite().all()
        assert (MaskErase(self.keep)(TensorDicom3D(image * torch.nan))[0, 1, 0] == 0).all()

    def test_refuses_an_empty_mask_and_other_sizes(self):
        with pytest.raises(ValueError, match=r"with a voxel that is not 0, got \(2, 3, 4\)"):
            MaskErase(torch.zeros(2, 3, 4))
        with pytest.raises(ValueError, match=r"must be one volume \(D, H, W\)"):
            MaskErase(torch.ones(1, 2, 3, 4))
        with pytest.raises(ValueError, match=r"a mask of \(4, 6, 8\) voxels .* the volume has \(2, 3, 4\)"):
            MaskErase(self.keep)(TensorDicom3D(torch.rand(2, 3, 4)))

    def test_the_name_as_it_was_spelled(self):
        assert transforms.MaskErease is MaskErase


def test_one_number_pads_all_axes():
    mask = torch.zeros(4, 5, 6)
    mask[1:3, 1:4, 2:3] = 1
    assert MaskErase(mask, pad=2)(TensorDicom3D(torch.rand(4, 5, 6))).shape == (2, 2, 2)
    with pytest.raises(ValueError, match=r"pad must be one whole number or three \(D, H, W\), at least 1"):
        MaskErase(mask, pad=(1, 2))
