"""Crops, pads and sizes: every voxel stays at its place in the patient."""

import pytest
import torch
from coordinates import LOPSIDED, check, world
from transforms import plain

from faimed3d.augment import (
    Pad3D,
    PadOrCrop3D,
    RandomCrop3D,
    Reorient3D,
    Resample3D,
    ResampleLike,
    Resize3D,
    ResizeCrop3D,
)
from faimed3d.geometry import Geometry
from faimed3d.volume import TensorDicom3D, TensorMask3D


class TestSizes:
    @pytest.mark.parametrize(
        ("transform", "shape"),
        [
            (Resize3D((4, 5, 2)), (4, 5, 2)),
            (Resize3D(scale_factor=(2, 1, 0.5)), (4, 3, 2)),
            (Resample3D(1.0), (6, 6, 4)),
            (PadOrCrop3D((1, 5, 3)), (1, 5, 3)),
            (Pad3D((1, 5, 3)), (2, 5, 4)),
            (ResizeCrop3D(((0, 0), (1, 0), (0, 1)), 3), (3, 3, 3)),
            (ResizeCrop3D((0.0, 0.0, 0.3), 3, perc_crop=True), (3, 3, 3)),
            (Reorient3D("RAS"), None),
            (RandomCrop3D((1, 2, 6)), (1, 2, 6)),
        ],
    )
    def test_keep_every_voxel_at_its_place(self, transform, shape):
        def run(t):
            torch.manual_seed(0)
            return transform(t, split_idx=0)

        result = run(world(LOPSIDED, 0))
        assert shape is None or result.shape == shape
        check(lambda axis: world(LOPSIDED, axis), run, [LOPSIDED], kept=True, atol=1e-4)

    def test_fill_images_with_their_minimum_and_masks_with_background(self):
        image, mask = TensorDicom3D(torch.full((2, 2, 2), -1000.0)), TensorMask3D(torch.ones(2, 2, 2))
        for transform in (Pad3D(4), PadOrCrop3D(4), RandomCrop3D(4)):
            padded, labels = transform((image, mask), split_idx=0)
            assert padded.min() == padded.max() == -1000
            assert labels.sum() == 8
        padded, labels = Pad3D(4, value=3)((image, mask))
        assert padded[0, 0, 0] == 3
        assert labels[0, 0, 0] == 0

    def test_resample_like_brings_the_mask_onto_the_image(self):
        image = TensorDicom3D(torch.zeros(4, 5, 6), Geometry((4, 5, 6), spacing=(1, 1, 2)))
        mask = TensorMask3D(torch.ones(8, 5, 3), Geometry((8, 5, 3), spacing=(2, 1, 1), origin=(0.5, 0, -0.5)))
        same, moved = ResampleLike()((image, mask))
        assert torch.equal(plain(same), plain(image))
        assert moved.geometry == image.geometry
        assert (plain(moved) == 1).all()
        assert type(moved) is TensorMask3D
        assert ResampleLike(image)(mask).geometry == image.geometry
        assert ResampleLike(image.geometry)(mask).shape == image.shape

    def test_resample_like_takes_a_file(self, tmp_path):
        image = TensorDicom3D(torch.zeros(4, 5, 6), Geometry((4, 5, 6), spacing=(1, 1, 2)))
        image.save(tmp_path / "a.nii.gz")
        other = TensorDicom3D(torch.zeros(2, 2, 2), Geometry((2, 2, 2)))
        assert ResampleLike(tmp_path / "a.nii.gz")(other).shape == (4, 5, 6)

    def test_errors(self):
        with pytest.raises(ValueError, match="either size or scale_factor, got None and None"):
            Resize3D()
        with pytest.raises(ValueError, match=r"size must be one whole number or three .*, at least 1, got \(1, 2\)"):
            PadOrCrop3D((1, 2))
        with pytest.raises(ValueError, match=r"favour must be a probability in 0\.\.1, got 2"):
            RandomCrop3D(1, favour=2)
        for spacing in ((1, 0, 1), "1,1,1", (1, 1)):
            with pytest.raises(ValueError, match=r"spacing must be one number or three \(x, y, z\), above 0, got"):
                Resample3D(spacing)
        with pytest.raises(ValueError, match=r"orientation must be three letters.*'XYZ'"):
            Reorient3D("XYZ")
        for transform in (PadOrCrop3D, Pad3D, Resample3D):
            with pytest.raises(TypeError, match="value must be a number or None, got 'x'"):
                transform(4, value="x")
        with pytest.raises(TypeError, match="takes the size that is left"):
            RandomCrop3D((10, 20, 20), (2, 5, 5))  # margins and their range, as faimed3d 0.0.6 took them
