"""What blocks read, and the batches that come of it."""

import multiprocessing

import numpy as np
import pytest
import torch
from cases import CENTRE, SHAPE, case_of, geometry_of, save, segmentation
from fastai.data.block import DataBlock
from fastai.data.load import _FakeLoader
from fastai.data.transforms import IndexSplitter
from fasttransform import Transform

from faimed3d.augment import PadOrCrop3D, Resample3D
from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.data import ImageBlock3D, ImageDataLoaders3D, MaskBlock3D, get_volumetric_files
from faimed3d.data.blocks import VolumeReader, read_labels


class Record(Transform):
    """Note what a transform gets to see."""

    def __init__(self, order=0):
        super().__init__()
        self.order, self.seen = order, []

    def encodes(self, x: TensorDicom3D | TensorMask3D):
        self.seen.append((type(x), tuple(x.shape), x.dtype))
        return x


class TestBatches:
    def test_images_have_channels_and_float_masks_labels_for_the_loss(self, table, root):
        images, masks = segmentation(table, root).one_batch()
        assert type(images) is TensorDicom3D
        assert type(masks) is TensorMask3D
        assert images.shape == (2, 1, *SHAPE)
        assert masks.shape == (2, *SHAPE)
        assert images.dtype == torch.float32
        assert masks.dtype == torch.int64

    @pytest.mark.parametrize("num_workers", [0, 2])
    def test_each_item_keeps_its_own_geometry(self, table, root, num_workers):
        dls = segmentation(table, root, num_workers=num_workers)
        numbers = []
        for images, masks in dls.train:
            for image, mask in zip(images, masks, strict=True):
                number = round(image.geometry.spacing[0]) - 1
                expected = geometry_of(number)
                assert image.geometry.agrees(expected)
                assert mask.geometry == image.geometry
                inside = mask.nonzero().double().mean(0).numpy()
                assert np.allclose(mask.geometry.index_to_world(inside), expected.index_to_world(CENTRE), atol=1e-3)
                assert torch.allclose(torch.as_tensor(image[0]), torch.as_tensor(case_of(number)[0]))
                numbers.append(number)
        assert sorted(numbers) == [0, 1, 2, 3]

    def test_workers_may_be_spawned(self, table, root, monkeypatch):
        context = property(lambda loader: multiprocessing.get_context("spawn") if loader.num_workers else None)
        monkeypatch.setattr(_FakeLoader, "multiprocessing_context", context)
        dls = segmentation(table, root, num_workers=1, codes=["none", "lesion"])
        (images, masks) = next(iter(dls.valid))
        assert images[1].geometry.agrees(geometry_of(5))
        assert masks.sum() == 2 * 18

    def test_item_transforms_see_volumes_and_batch_transforms_batches(self, table, root):
        item, batch = Record(), Record()
        segmentation(table, root, item_tfms=item, batch_tfms=batch).one_batch()
        assert {(kind, shape) for kind, shape, _ in item.seen} == {(TensorDicom3D, SHAPE), (TensorMask3D, SHAPE)}
        # setting up the loaders passes single items through the batch transforms too
        assert {(kind, shape, dtype) for kind, shape, dtype in batch.seen if shape[0] == 2} == {
            (TensorDicom3D, (2, 1, *SHAPE), torch.float32),
            (TensorMask3D, (2, *SHAPE), torch.int64),
        }

    def test_workers_send_masks_in_the_type_in_which_they_were_read(self, table, root):
        loader = segmentation(table, root).valid
        images, masks = loader.do_batch([loader.do_item(i) for i in range(2)])
        assert images.dtype == torch.float32
        assert masks.dtype == torch.uint8
        assert loader.after_batch((images, masks))[1].dtype == torch.int64

    def test_masks_stay_on_their_images_through_resampling_and_padding(self, table, root):
        sizes = [Resample3D((1.5, 1, 2)), PadOrCrop3D((7, 14, 33))]
        for images, masks in segmentation(table, root, item_tfms=sizes).valid:
            for image, mask, number in zip(images, masks, (4, 5), strict=True):
                assert image.shape == (1, 7, 14, 33)
                assert mask.geometry == image.geometry
                found = mask.geometry.index_to_world(mask.nonzero().double().mean(0).numpy())
                assert np.abs(geometry_of(number).world_to_index(found) - CENTRE).max() < 0.5  # voxels

    def test_blocks_serve_in_a_data_block_of_the_users_own(self, root):
        block = DataBlock(
            blocks=(ImageBlock3D, MaskBlock3D(["none", "lesion"])),
            get_items=get_volumetric_files,
            get_y=lambda path: root / "masks" / path.name.replace("nii.gz", "nrrd"),
            splitter=IndexSplitter([0]),
        )
        dls = block.dataloaders(root / "images", bs=2, num_workers=0)
        assert dls.one_batch()[1].shape == (2, *SHAPE)


class TestVolumeReader:
    def test_several_columns_become_channels_in_their_order(self, table, root):
        table["twice"] = table["image"]
        dls = ImageDataLoaders3D.from_df(
            table, root, fn_col=["image", "twice"], label_col="label", valid_col="valid", bs=2, num_workers=0
        )
        images, _ = dls.one_batch()
        assert images.shape == (2, 2, *SHAPE)
        assert torch.equal(images[:, 0], images[:, 1])
        assert images[0].geometry is not None

    def test_a_file_with_time_points_becomes_channels(self, tmp_path):
        volume = TensorDicom3D(torch.rand(3, *SHAPE), geometry_of(2))
        save(volume, tmp_path / "times.nrrd")
        read = VolumeReader()(tmp_path / "times.nrrd")
        assert read.shape == (3, *SHAPE)
        assert read.geometry.agrees(geometry_of(2))

    def test_channels_stored_another_way_round_come_right(self):
        image, _ = case_of(0)
        both = VolumeReader()([image, image.flip(0, 2).permute(1, 0, 2)])
        assert torch.equal(both[0], both[1])
        assert both.geometry == image.geometry

    def test_another_grid_is_refused_naming_both_files(self, root):
        files = [root / "images" / "Ann_0.nii.gz", root / "images" / "Ann_1.nii.gz"]
        with pytest.raises(ValueError, match="resample_to_first=True") as caught:
            VolumeReader()(files)
        assert "Ann_0" in str(caught.value)
        assert "Ann_1" in str(caught.value)

    def test_another_grid_is_resampled_when_asked(self):
        image, _ = case_of(0)
        coarse = image[:, ::2]
        both = VolumeReader(resample_to_first=True)((coarse, image))
        assert both.shape == (2, 4, 3, 8)
        assert both.geometry == coarse.geometry
        assert torch.allclose(both[0], both[1], atol=1e-6)

    def test_no_file_is_refused(self):
        with pytest.raises(ValueError, match="a list of no files"):
            VolumeReader()([])

    def test_a_mask_type_is_refused(self):
        with pytest.raises(TypeError, match="use MaskBlock3D"):
            ImageBlock3D(TensorMask3D)


class TestMaskReader:
    def test_classes_are_counted_over_all_masks_where_codes_do_not_say(self, table, root, tmp_path):
        mask = case_of(5)[1]
        mask[0, 0, 0] = 3
        save(mask, tmp_path / "more.nrrd")
        table.loc[5, "mask"] = str(tmp_path / "more.nrrd")
        dls = segmentation(table, root)
        assert dls.c == 4
        assert dls.vocab == [0, 1, 2, 3]

    def test_codes_name_the_classes(self, table, root):
        dls = segmentation(table, root, codes=np.array(["none", "lesion"]))
        assert dls.c == 2
        assert dls.vocab == ["none", "lesion"]

    def test_a_few_large_labels_are_warned_of(self, table, root, tmp_path):
        save(case_of(0)[1] * 255, tmp_path / "white.nrrd")
        table["mask"] = str(tmp_path / "white.nrrd")
        with pytest.warns(UserWarning, match="2 different labels, the largest 255, so there will be 256 classes"):
            segmentation(table[:1].assign(valid=False), root, bs=1)


class TestReadLabels:
    @pytest.mark.parametrize(
        ("voxels", "fault"),
        [
            (torch.full(SHAPE, 0.5), "no whole number and so no label"),
            (torch.full(SHAPE, float("nan")), "no whole number and so no label"),
            (torch.full(SHAPE, -1), "holds the label -1"),
            (torch.zeros(2, *SHAPE), "one volume of labels"),
        ],
    )
    def test_what_holds_no_labels_is_refused(self, voxels, fault):
        with pytest.raises(ValueError, match=fault):
            read_labels(voxels)

    def test_large_labels_survive(self):
        mask = read_labels(np.full(SHAPE, 70000, np.uint32))
        assert mask.dtype == torch.int32
        assert mask.unique().tolist() == [70000]
