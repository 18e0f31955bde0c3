"""Masks are brought onto their images, labels and sizes are checked."""

import pytest
import torch
from cases import SHAPE, case_of, save, segmentation

from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.data import CheckLabels, ImageDataLoaders3D, MaskBlock3D, MatchMask
from faimed3d.data.block_transforms import check_sizes
from faimed3d.data.blocks import VolumeReader, read_labels


class TestMatchMask:
    def test_another_grid_is_refused_naming_the_pair_and_the_remedy(self, table, root):
        table.loc[0, "mask"] = table.loc[2, "mask"]
        with pytest.raises(ValueError, match="resample_masks=True") as caught:
            segmentation(table, root, codes=["none", "lesion"])
        assert "Ann_0.nii.gz" in str(caught.value)
        assert "Ben_2.nrrd" in str(caught.value)

    @pytest.mark.parametrize("turned", [(1, 1, 1), (-1, -1, 1)])
    def test_the_header_of_an_array_points_to_like(self, turned, tmp_path):
        """Resampling would move the labels to a corner of the image, or off it."""
        image, mask = case_of(2)
        x, y, z = turned
        plain = TensorMask3D(mask.numpy(), {"direction": (x, 0, 0, 0, y, 0, 0, 0, z)})
        plain.save(tmp_path / "m.nii.gz")
        bare = read_labels(tmp_path / "m.nii.gz")
        with pytest.raises(
            ValueError, match=r"header of the mask is that of an array.*create\(mask, like=image\)"
        ) as e:
            MatchMask()((image, bare))
        assert "resample_masks" not in str(e.value)
        placed = TensorMask3D.create(tmp_path / "m.nii.gz", like=image)  # as the message says
        assert MatchMask()((image, placed))[1].tolist() == mask.tolist()

    def test_another_grid_is_resampled_when_asked(self):
        image, mask = case_of(0)
        fine = mask.resample((0.5, 1, 1.5))
        _, moved = MatchMask(resample=True)((image, fine))
        assert torch.equal(moved, mask)
        assert moved.geometry == image.geometry

    def test_elsewhere_is_refused_though_it_may_be_resampled(self):
        """Else the item would have no lesion, and nobody would know."""
        image, mask = case_of(0)
        mask.set_origin((500, -5, 7))
        with pytest.raises(ValueError, match=r"a mask from memory lies apart from an image .* of another patient"):
            MatchMask(resample=True)((image, mask))
        far, _ = case_of(0)
        far.set_origin((500, -5, 7))
        with pytest.raises(ValueError, match=r"lies apart from .* nothing of it would be left on that grid"):
            VolumeReader(resample_to_first=True)((image, far))

    @pytest.mark.parametrize("axes", [(0,), (1,), (0, 2), (0, 1, 2)])
    def test_storage_the_other_way_round_is_no_other_grid(self, axes):
        image, mask = case_of(3)
        _, moved = MatchMask()((image, mask.flip(*axes).permute(2, 0, 1)))
        assert torch.equal(moved, mask)
        assert moved.geometry == image.geometry

    def test_rounded_headers_are_no_other_grid(self):
        image, mask = case_of(3)
        mask.set_spacing((4.001, 2, 3))
        assert MatchMask()((image, mask))[1].geometry == image.geometry

    def test_masks_without_geometry_match_by_size(self):
        image, mask = case_of(3)
        lost = mask.roll(1, 0)
        assert lost.geometry is None
        assert MatchMask(resample=True)((image, lost))[1] is lost
        with pytest.raises(ValueError, match="it has \\(3, 6, 8\\) voxels, the other \\(4, 6, 8\\)"):
            MatchMask(resample=True)((image, lost[1:]))

    def test_items_without_a_mask_or_an_image_pass(self):
        image, mask = case_of(0)
        assert MatchMask()((image,))[0] is image
        assert MatchMask()((mask,))[0] is mask


class TestCheckLabels:
    def test_a_label_beyond_the_classes_is_refused(self):
        block = MaskBlock3D(["none", "lesion"])
        reader = block.type_tfms[0]
        with pytest.raises(ValueError, match="holds the label 2, but there are 2 classes, labels 0 to 1"):
            CheckLabels(reader)(case_of(0)[1] * 2)


class TestCheckSizes:
    def test_volumes_of_different_size_are_refused_with_the_transform_to_add(self, root, tmp_path):
        big = TensorDicom3D(torch.zeros(5, 6, 8), {"spacing": (1, 1, 1)})
        save(big, tmp_path / "big.nii.gz")
        files = [root / "images" / "Ann_0.nii.gz", tmp_path / "big.nii.gz"] * 2
        dls = ImageDataLoaders3D.from_lists(root, files, ["a", "b"] * 2, valid_pct=0, bs=3, num_workers=0)
        with pytest.raises(ValueError, match=r"add Resize3D\(\(D, H, W\)\) or PadOrCrop3D") as caught:
            list(dls.train)
        assert "(1, 4, 6, 8)" in str(caught.value)
        assert "(1, 5, 6, 8)" in str(caught.value)
        assert "big.nii.gz" in str(caught.value)

    def test_volumes_of_different_channels_are_refused(self):
        one, two = TensorDicom3D(torch.zeros(1, *SHAPE)), TensorDicom3D(torch.zeros(2, *SHAPE))
        with pytest.raises(ValueError, match="same number of channels"):
            check_sizes([(one,), (two,)])


class TestRealData:
    def test_a_mask_with_y_turned_in_storage_comes_right(self, real_data):
        folder = real_data / "abdomen_ct"
        image = VolumeReader()(folder / "dicom")
        mask = read_labels(folder / "segmentation.nii.gz")
        _, moved = MatchMask()((image, mask))
        assert torch.equal(moved, mask.resample_like(image))
        assert moved.geometry == image.geometry
