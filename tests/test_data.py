"""Blocks, loaders, splits, pictures: from tables and folders to batches that know where they lie."""

import importlib
import multiprocessing
import pickle
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from dicom_series import SECRETS, write_series
from fastai.data.block import CategoryBlock, DataBlock, RegressionBlock
from fastai.data.load import _FakeLoader
from fastai.data.transforms import ColReader, IndexSplitter
from fastai.learner import Learner, load_learner
from fastai.torch_core import set_seed
from fasttransform import Transform
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from torch import nn

from faimed3d.augment import PadOrCrop3D, Resample3D
from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D
from faimed3d.data import (
    CheckLabels,
    GroupSplitter,
    ImageBlock3D,
    ImageDataLoaders3D,
    MaskBlock3D,
    MatchMask,
    SegmentationDataLoaders3D,
    get_volumetric_files,
)
from faimed3d.data.block_transforms import check_sizes
from faimed3d.data.blocks import VolumeReader, read_labels
from faimed3d.data.cells import VolumeColumn
from faimed3d.data.pictures import best_slice
from faimed3d.data.splitting import warn_of_shared_groups
from faimed3d.dicom import dicom_inventory

# after faimed3d, which silences what fastai's import warns of under pandas 3
Interpretation = importlib.import_module("fastai.interpret").Interpretation
ClassificationInterpretation = importlib.import_module("fastai.interpret").ClassificationInterpretation
importlib.import_module("fastai.callback.progress")  # gives Learner no_bar

COUNT = 6
SHAPE = (4, 6, 8)
LESION = np.s_[1:3, 2:5, 5:8]
CENTRE = (1.5, 3, 6)  # of the lesion, in voxels (d, h, w)
TURNED = 1  # the mask of this case is stored the other way round
DIRECTION = (0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1)


def geometry_of(number):
    """A grid of its own for every case, so that a batch that mixes them up is seen."""
    return Geometry(SHAPE, (1 + number, 2, 3), (10 * number, -5, 7), DIRECTION)


def case_of(number):
    """Image and mask of a case: the lesion is bright."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[LESION] = 1
    image = np.random.default_rng(number).normal(0, 0.1, SHAPE).astype(np.float32) + mask
    return TensorDicom3D(image, geometry_of(number)), TensorMask3D(mask, geometry_of(number))


def save(volume, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    volume.save(path)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """images/Ann_0.nii.gz ..., masks/Ann_0.nrrd ..., two cases for each of three patients; cases.csv names them."""
    root = tmp_path_factory.mktemp("archive")
    rows = []
    for number in range(COUNT):
        patient = ("Ann", "Ben", "Cyd")[number // 2]
        name = f"{patient}_{number}"
        image, mask = case_of(number)
        save(image, root / "images" / f"{name}.nii.gz")
        save(mask.flip(1, 2) if number == TURNED else mask, root / "masks" / f"{name}.nrrd")
        rows.append(
            {
                "image": f"images/{name}.nii.gz",
                "mask": f"masks/{name}.nrrd",
                "patient": patient,
                "label": ("low", "high")[number % 2],
                "findings": ("cyst", "cyst;scar")[number % 2],
                "age": 40.0 + number,
                "valid": number >= COUNT - 2,
            }
        )
    pd.DataFrame(rows).to_csv(root / "cases.csv", index=False)
    return root


@pytest.fixture
def table(root):
    return pd.read_csv(root / "cases.csv")


@pytest.fixture(autouse=True)
def _only_own_figures():
    plt.close("all")
    yield
    plt.close("all")


def segmentation(table, root, **kwargs):
    given = {"valid_col": "valid", "bs": 2, "num_workers": 0, **kwargs}
    return SegmentationDataLoaders3D.from_df(table, root, fn_col="image", label_col="mask", **given)


def classification(table, root, label_col="label", **kwargs):
    given = {"valid_col": "valid", "bs": 2, "num_workers": 0, **kwargs}
    return ImageDataLoaders3D.from_df(table, root, fn_col="image", label_col=label_col, **given)


def make_learner(dls, n_out=2, whole=False, **kwargs):
    set_seed(0)
    layers = [nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, n_out, 1)]
    learn = Learner(dls, nn.Sequential(*layers, *([nn.AdaptiveAvgPool3d(1), nn.Flatten()] if whole else [])), **kwargs)
    return learn


class Record(Transform):
    """Note what a transform gets to see."""

    def __init__(self, order=0):
        super().__init__()
        self.order, self.seen = order, []

    def encodes(self, x: TensorDicom3D):
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
    def test_each_item_keeps_its_own_place(self, table, root, num_workers):
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

    def test_masks_stay_in_place_through_resampling_and_padding(self, table, root):
        sizes = [Resample3D((1.5, 1, 2)), PadOrCrop3D((7, 14, 33))]
        for images, masks in segmentation(table, root, item_tfms=sizes).valid:
            for image, mask, number in zip(images, masks, (4, 5), strict=True):
                assert image.shape == (1, 7, 14, 33)
                assert mask.geometry == image.geometry
                found = mask.geometry.index_to_world(mask.nonzero().double().mean(0).numpy())
                assert np.abs(geometry_of(number).world_to_index(found) - CENTRE).max() < 0.5  # voxels

    def test_volumes_of_different_size_are_refused_with_the_transform_to_add(self, root, tmp_path):
        big = TensorDicom3D(torch.zeros(5, 6, 8))
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

    def test_two_loaders_with_different_settings_live_side_by_side(self, table, root):
        one = segmentation(table, root, codes=["none", "lesion"], bs=1)
        two = segmentation(table, root, codes=["none", "lesion", "vessel"], item_tfms=Record())
        assert (one.c, two.c) == (2, 3)
        assert one.one_batch()[0].shape == (1, 1, *SHAPE)
        assert two.one_batch()[0].shape == (2, 1, *SHAPE)
        assert one.vocab == ["none", "lesion"]

    def test_more_than_the_training_set_in_a_batch_is_warned_of(self, table, root):
        with pytest.warns(UserWarning, match="training has 4 items, fewer than one batch of bs=8"):
            segmentation(table, root, bs=8)

    def test_no_validation_is_warned_of_unless_asked_for(self, table, root):
        with pytest.warns(UserWarning, match="none of the 2 items is in validation: raise valid_pct"):
            classification(table[:2], root, valid_col=None)
        assert len(classification(table[:2], root, valid_col=None, valid_pct=0).valid_ds) == 0

    def test_no_items_are_refused(self, table, root):
        with pytest.raises(ValueError, match="there are no items"):
            segmentation(table[:0], root)

    def test_blocks_serve_in_a_data_block_of_the_users_own(self, root):
        block = DataBlock(
            blocks=(ImageBlock3D, MaskBlock3D(["none", "lesion"])),
            get_items=get_volumetric_files,
            get_y=lambda path: root / "masks" / path.name.replace("nii.gz", "nrrd"),
            splitter=IndexSplitter([0]),
        )
        dls = block.dataloaders(root / "images", bs=2, num_workers=0)
        assert dls.one_batch()[1].shape == (2, *SHAPE)


class TestChannels:
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


class TestMasks:
    def test_another_grid_is_refused_naming_the_pair_and_the_remedy(self, table, root):
        table.loc[0, "mask"] = table.loc[2, "mask"]
        with pytest.raises(ValueError, match="resample_masks=True") as caught:
            segmentation(table, root, codes=["none", "lesion"])
        assert "Ann_0.nii.gz" in str(caught.value)
        assert "Ben_2.nrrd" in str(caught.value)

    def test_another_grid_is_resampled_when_asked(self):
        image, mask = case_of(0)
        fine = mask.resample((0.5, 1, 1.5))
        _, moved = MatchMask(resample=True)((image, fine))
        assert torch.equal(moved, mask)
        assert moved.geometry == image.geometry

    def test_of_another_place_is_refused_though_it_may_be_resampled(self):
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

    def test_a_label_beyond_the_classes_is_refused(self):
        block = MaskBlock3D(["none", "lesion"])
        reader = block.type_tfms[0]
        with pytest.raises(ValueError, match="holds the label 2, but there are 2 classes, labels 0 to 1"):
            CheckLabels(reader)(case_of(0)[1] * 2)

    @pytest.mark.parametrize(
        ("voxels", "fault"),
        [
            (torch.full(SHAPE, 0.5), "holds fractions or NaN"),
            (torch.full(SHAPE, float("nan")), "holds fractions or NaN"),
            (torch.full(SHAPE, -1), "holds the label -1"),
            (torch.zeros(2, *SHAPE), "one volume of labels"),
        ],
    )
    def test_what_holds_no_labels_is_refused(self, voxels, fault):
        with pytest.raises(ValueError, match=fault):
            read_labels(voxels)

    def test_a_list_of_masks_is_refused(self):
        with pytest.raises(TypeError, match="a mask is one file"):
            read_labels(["a.nii", "b.nii"])

    def test_large_labels_survive(self):
        mask = read_labels(np.full(SHAPE, 70000, np.uint32))
        assert mask.dtype == torch.int32
        assert mask.unique().tolist() == [70000]


class TestFactories:
    def test_from_df_classes(self, table, root):
        dls = classification(table, root)
        assert dls.vocab == ["high", "low"]
        assert dls.train_ds[1][1] == 0
        assert dls.train_ds[1][0].geometry.agrees(geometry_of(1))

    def test_from_df_several_classes(self, table, root):
        dls = classification(table, root, "findings", label_delim=";")
        assert dls.vocab == ["cyst", "scar"]
        assert dls.train_ds[1][1].tolist() == [1, 1]

    def test_from_df_numbers(self, table, root):
        dls = classification(table, root, "age", y_block=RegressionBlock)
        assert dls.train_ds[2][1] == 42
        assert dls.one_batch()[1].dtype == torch.float32

    def test_from_df_numbers_the_columns_as_fastai(self, table, root):
        dls = ImageDataLoaders3D.from_df(table[["image", "label"]], root, bs=2, num_workers=0, seed=1)
        assert dls.vocab == ["high", "low"]
        assert len(dls.valid_ds) == 1

    def test_from_df_absolute_paths_stay(self, table, root, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        table["image"] = [str(root / name) for name in table["image"]]
        dls = ImageDataLoaders3D.from_df(table, fn_col="image", label_col="label", valid_col="valid", bs=2)
        assert dls.train_ds[0][0].shape == SHAPE

    def test_from_df_folder_and_suffix(self, table, root):
        table["image"] = [name[len("images/") : -len(".nii.gz")] for name in table["image"]]
        dls = classification(table, root, folder="images", suff=".nii.gz")
        assert dls.train_ds[0][0].geometry.agrees(geometry_of(0))

    def test_from_csv(self, root):
        dls = SegmentationDataLoaders3D.from_csv(
            root, "cases.csv", fn_col="image", label_col="mask", valid_col="valid", bs=2, num_workers=0
        )
        assert dls.c == 2
        assert len(dls.valid_ds) == 2

    def test_from_folder_by_class(self, root, tmp_path):
        for number in range(4):
            save(case_of(number)[0], tmp_path / ("train", "valid")[number % 2] / f"class{number // 2}" / "t1.nii.gz")
        write_series(tmp_path / "train" / "class2" / "scan")
        dls = ImageDataLoaders3D.from_folder(tmp_path, bs=1, num_workers=0)
        assert dls.vocab == ["class0", "class1", "class2"]
        assert (len(dls.train_ds), len(dls.valid_ds)) == (3, 2)
        assert dls.train_ds[2][0].shape == (5, 6, 7)
        drawn = ImageDataLoaders3D.from_folder(tmp_path, valid_pct=0.4, seed=0, bs=1)
        assert (len(drawn.train_ds), len(drawn.valid_ds)) == (3, 2)
        with pytest.raises(FileNotFoundError, match="no volumes in its folders a and b"):
            ImageDataLoaders3D.from_folder(tmp_path, "a", "b")

    @pytest.mark.parametrize("factory", ["from_path_func", "from_path_re", "from_name_func", "from_name_re"])
    def test_class_from_the_name(self, root, factory):
        label = {
            "from_path_func": lambda path: path.name[:3],
            "from_path_re": r"images/(\w+)_\d",
            "from_name_func": lambda name: name[:3],
            "from_name_re": r"^(\w+)_\d",
        }[factory]
        files = get_volumetric_files(root / "images")
        dls = getattr(ImageDataLoaders3D, factory)(
            root, files, label, seed=0, bs=2, num_workers=0, group_func=lambda path: path.name
        )
        assert list(dls.vocab) == ["Ann", "Ben", "Cyd"]
        assert len(dls.valid_ds) == 1

    @pytest.mark.parametrize(
        "factory", ["from_path_func", "from_label_func", "from_path_re", "from_name_func", "from_name_re"]
    )
    def test_mask_from_the_name(self, root, factory):
        label, more = {
            "from_path_func": (lambda path: root / "masks" / path.name.replace("nii.gz", "nrrd"), {}),
            "from_label_func": (lambda path: "masks/" + path.name.replace("nii.gz", "nrrd"), {}),
            "from_path_re": (r"images/(\w+)\.nii", {"mask": "masks/{}.nrrd"}),
            "from_name_func": (lambda name: "masks/" + name.replace("nii.gz", "nrrd"), {}),
            "from_name_re": (r"^(\w+)\.nii", {"mask": "masks/{}.nrrd"}),
        }[factory]
        files = [file.relative_to(root) for file in get_volumetric_files(root / "images")]
        dls = getattr(SegmentationDataLoaders3D, factory)(root, files, label, seed=0, bs=2, num_workers=0, **more)
        assert dls.c == 2
        for image, mask in dls.train_ds:
            assert (image[mask.bool()]).min() > 0.5 or mask.geometry != image.geometry  # before MatchMask

    def test_a_name_without_the_pattern_is_refused(self, root):
        files = get_volumetric_files(root / "images")
        with pytest.raises(ValueError, match="the pattern 'x' is not in it"):
            SegmentationDataLoaders3D.from_name_re(root, files, "x", bs=2)

    def test_masks_from_a_folder_of_their_own(self, root, tmp_path):
        dls = SegmentationDataLoaders3D.from_folder(
            root, seed=0, bs=2, num_workers=0, group_func=lambda path: path.name[:3]
        )
        assert len(dls.train_ds) + len(dls.valid_ds) == COUNT
        assert len(dls.valid_ds) % 2 == 0  # patients have two scans each
        assert dls.one_batch()[1].shape == (2, *SHAPE)
        save(case_of(0)[0], tmp_path / "images" / "alone.nii")
        (tmp_path / "masks").mkdir()
        with pytest.raises(FileNotFoundError, match=r"no mask alone\.\* .* \(1 of 1 images have none\)"):
            SegmentationDataLoaders3D.from_folder(tmp_path)
        with pytest.raises(FileNotFoundError, match="no volumes"):
            SegmentationDataLoaders3D.from_folder(tmp_path, images="masks")

    def test_from_lists(self, root):
        files = get_volumetric_files(root / "images")
        numbers = ImageDataLoaders3D.from_lists(root, files, [float(k) for k in range(COUNT)], seed=0, bs=2)
        assert numbers.train_ds[0][1].dtype == torch.float32
        several = ImageDataLoaders3D.from_lists(root, files, [["a", "b"]] * COUNT, seed=0, bs=2)
        assert several.vocab == ["a", "b"]
        with pytest.raises(ValueError, match="6 volumes and 1 labels"):
            ImageDataLoaders3D.from_lists(root, files, ["a"])

    def test_wrong_tables_are_refused(self, table, root):
        with pytest.raises(TypeError, match="df must be a DataFrame"):
            ImageDataLoaders3D.from_df([1])
        with pytest.raises(ValueError, match="no column 'scan' in the table; there are image, mask"):
            ImageDataLoaders3D.from_df(table, root, fn_col="scan")

    def test_columns_numbered_from_the_right_are_those(self, table, root):
        """The columns on the right of those that are used are dropped, so that -4 would be another one."""
        assert table.columns[-4] == "label"
        dls = ImageDataLoaders3D.from_df(table, root, label_col=-4, valid_col=-1)
        assert list(dls.vocab) == ["high", "low"]
        dls = SegmentationDataLoaders3D.from_df(table, root, fn_col=-7, label_col=-6, group_col=-5, codes=["a", "b"])
        assert list(dls.train.items.columns) == ["image", "mask", "patient"]
        assert dls.train.dataset[0][1].max() == 1

    @pytest.mark.parametrize("name", ["label_col", "valid_col", "group_col"])
    @pytest.mark.parametrize("column", ["absent", 7, -8])
    def test_columns_that_are_not_there_are_named(self, table, root, name, column):
        with pytest.raises(ValueError, match=f"no column {column!r} in the table; there are image, mask"):
            ImageDataLoaders3D.from_df(table, root, **{"fn_col": "image", "label_col": "label", name: column})

    @pytest.mark.parametrize("column", ["label", "age", -4])
    def test_targets_that_are_not_given_are_refused(self, table, root, column):
        name = table.columns[column] if isinstance(column, int) else column
        table = table.assign(**{name: table[name].where(table.index != 3)}).set_index("image", drop=False)
        with pytest.raises(ValueError, match=rf"Ben_3.*: the cell of column '{name}' is empty, as are 1 of 6; leave"):
            ImageDataLoaders3D.from_df(table, root, label_col=column)

    def test_no_class_of_several_is_an_empty_text(self, table, root):
        table["findings"] = table["findings"].where(table.index > 1)
        with pytest.raises(ValueError, match=r"'findings' is empty, as are 2 of 6; .* with '' where no class applies"):
            ImageDataLoaders3D.from_df(table, root, label_col="findings", label_delim=";")
        table["findings"] = table["findings"].fillna("")
        dls = ImageDataLoaders3D.from_df(table, root, label_col="findings", label_delim=";", valid_col="valid")
        assert dls.train.dataset[0][1].sum() == 0

    @pytest.mark.parametrize("cells", ["False", np.nan, None, 2])
    def test_a_column_of_validation_says_true_or_false(self, table, root, cells):
        table["valid"] = pd.Series([True, False, True, False, False, cells], dtype=object)
        with pytest.raises(ValueError, match=r"column 'valid' must say True or False \(1 or 0\) for validation, got"):
            ImageDataLoaders3D.from_df(table, root, label_col="label", valid_col="valid")

    @pytest.mark.parametrize("cells", [[0, 0, 0, 0, 1, 1], [0.0, 0, 0, 0, 1, 1], [0, False, 0, 0, True, 1]])
    def test_a_column_of_validation_may_hold_numbers(self, table, root, cells):
        table["valid"] = cells
        assert len(ImageDataLoaders3D.from_df(table, root, label_col="label", valid_col="valid").valid_ds) == 2

    def test_nothing_to_train_on_is_refused(self, table, root):
        for share in (1, 1.5, -0.1):
            with pytest.raises(ValueError, match="valid_pct must be a share from 0 to below 1, got"):
                ImageDataLoaders3D.from_df(table, root, label_col="label", valid_pct=share)
        with pytest.raises(ValueError, match="all 6 items are in validation, so nothing is left to train on"):
            ImageDataLoaders3D.from_df(table.assign(valid=True), root, label_col="label", valid_col="valid")

    def test_batch_size_default_suits_volumes(self, table, root):
        dls = ImageDataLoaders3D.from_df(table, root, fn_col="image", label_col="label", valid_col="valid")
        assert dls.train.bs == 4


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Three DICOM series, the origin of each in its number."""
    archive = tmp_path_factory.mktemp("dicom")
    for number in range(3):
        origin = (10.0 * number, 0, 0)
        write_series(archive / f"case{number}" / "dicom", origin=origin, SeriesInstanceUID=f"1.2.3.{number}")
    return archive


class TestDicomCells:
    def origins(self, dls):
        return sorted(round(item[0].geometry.origin[0]) for ds in (dls.train_ds, dls.valid_ds) for item in ds)

    def loaders(self, table, archive, column):
        return ImageDataLoaders3D.from_df(
            table.assign(label="a"), archive, fn_col=column, label_col="label", seed=0, valid_pct=0.4, bs=2
        )

    def test_folders(self, archive):
        table = pd.DataFrame({"image": [f"case{k}/dicom" for k in range(3)]})
        assert self.origins(self.loaders(table, archive, "image")) == [0, 10, 20]

    @pytest.mark.parametrize("column", ["key", "folder", "files"])
    def test_an_inventory_as_the_table(self, archive, column):
        table = dicom_inventory(archive)
        assert self.origins(self.loaders(table, archive, column)) == [0, 10, 20]

    def test_an_inventory_from_a_csv(self, archive, tmp_path):
        dicom_inventory(archive).to_csv(tmp_path / "inventory.csv", index=False)
        table = pd.read_csv(tmp_path / "inventory.csv")
        assert self.origins(self.loaders(table, archive, "key")) == [0, 10, 20]

    def test_keys(self, archive):
        table = pd.DataFrame({"scan": dicom_inventory(archive)["key"].tolist()}, index=[5, 6, 7])
        assert self.origins(self.loaders(table, archive, "scan")) == [0, 10, 20]
        table.loc[5, "scan"] = "0123456789ab"
        with pytest.raises(ValueError, match="1 of the keys, the first '0123456789ab', are not in"):
            self.loaders(table, archive, "scan")

    def test_rows_in_cells(self, archive):
        rows = [row for _, row in dicom_inventory(archive).iterrows()]
        table = pd.DataFrame({"scan": pd.Series(rows, dtype=object)})
        assert self.origins(self.loaders(table, archive, "scan")) == [0, 10, 20]

    def test_rows_travel_without_descriptions(self, archive):
        row = dicom_inventory(archive, tags=["PatientName"]).iloc[0]
        source = VolumeColumn("key")(row)
        assert "description" not in source
        assert "PatientName" not in source

    @pytest.mark.parametrize("column", ["key", "folder", "files", "row"])
    def test_nothing_of_a_patient_goes_to_workers(self, archive, column):
        table = dicom_inventory(archive, tags=["PatientName", "PatientBirthDate"])
        if column == "row":
            table["row"] = pd.Series([row for _, row in table.iterrows()], dtype=object)
            table = table[["row", "PatientName"]]
        dls = self.loaders(table, archive, column)
        assert self.origins(dls) == [0, 10, 20]
        sent = pickle.dumps((dls.train_ds, dls.valid_ds))
        assert not [word for word in (*SECRETS, "Größe") if word.encode() in sent]

    def test_the_index_and_the_named_columns_stay(self, archive):
        table = pd.DataFrame(
            {"image": [f"case{k}/dicom" for k in range(3)], "age": 7, "who": list("abc")}, index=[5, 6, 7]
        )
        dls = ImageDataLoaders3D.from_df(
            table.assign(label="x"), archive, fn_col="image", label_col="label", group_col="who", valid_pct=0.4, bs=1
        )
        items = pd.concat([dls.train.items, dls.valid.items])
        assert list(items.columns) == ["image", "who", "label"]
        assert sorted(items.index) == [5, 6, 7]

    def test_columns_by_number_keep_their_places(self, archive):
        table = pd.DataFrame({"age": 7, "label": "x", "image": [f"case{k}/dicom" for k in range(3)], "name": "Doe"})
        dls = ImageDataLoaders3D.from_df(table, archive, fn_col=2, label_col=1, valid_pct=0.4, bs=2)
        assert list(dls.train.items.columns) == ["age", "label", "image"]
        assert self.origins(dls) == [0, 10, 20]

    def test_predict_takes_a_row_and_a_path(self, archive):
        table = pd.DataFrame({"image": [f"case{k}/dicom" for k in range(3)]})
        dls = self.loaders(table, archive, "image")
        learn = make_learner(dls, 1, whole=True)
        with learn.no_bar():
            by_row = learn.predict(dicom_inventory(archive).iloc[1])
            by_path = learn.predict(archive / "case1" / "dicom")
        assert torch.equal(by_row[2], by_path[2])


class TestVolumeColumn:
    def row(self, **cells):
        return pd.Series(cells, name=3)

    @pytest.mark.parametrize("cell", [None, float("nan"), " "])
    def test_an_empty_cell_is_refused(self, cell):
        with pytest.raises(ValueError, match="row 3: the cell of column 'image' is empty"):
            VolumeColumn("image")(self.row(image=cell))

    def test_a_number_is_refused(self):
        with pytest.raises(TypeError, match=r"column 'image' holds the number .*7.*, not a volume"):
            VolumeColumn("image")(self.row(image=7))

    def test_a_missing_column_is_refused(self):
        with pytest.raises(ValueError, match="no column 'image' in the table; there are scan"):
            VolumeColumn("image")(self.row(scan="a.nii"))

    def test_another_row_than_an_inventorys_is_refused(self):
        with pytest.raises(TypeError, match="expected a row of a DICOM inventory"):
            VolumeColumn("image")(self.row(image={"folder": "a"}))

    def test_arrays_and_lists_pass(self):
        array = np.zeros(SHAPE)
        assert VolumeColumn("image")(self.row(image=array)) is array
        files = VolumeColumn("image", "root", ".nii")(self.row(image=["a", "/b"]))
        assert [file.as_posix() for file in files] == ["root/a.nii", "/b.nii"]


class TestFiles:
    @pytest.fixture
    def tree(self, tmp_path):
        for name in ("b.nii.gz", "a.NII", "sub/c.nrrd", "sub/pair.hdr", "sub/pair.img", "notes.txt", ".hidden/d.nii"):
            (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
            (tmp_path / name).write_bytes(b"")
        write_series(tmp_path / "scan" / "dcm")
        for k, file in enumerate(sorted((tmp_path / "scan" / "dcm").iterdir())):
            bare = tmp_path / "other" / "bare" / f"{k:08d}"
            bare.parent.mkdir(exist_ok=True, parents=True)
            bare.write_bytes(file.read_bytes())
        return tmp_path

    def names(self, tree, **kwargs):
        return [file.relative_to(tree).as_posix() for file in get_volumetric_files(tree, **kwargs)]

    def test_every_volume_once(self, tree):
        assert self.names(tree) == ["a.NII", "b.nii.gz", "other/bare", "scan/dcm", "sub/c.nrrd", "sub/pair.hdr"]

    def test_only_here(self, tree):
        assert self.names(tree, recurse=False) == ["a.NII", "b.nii.gz"]

    def test_only_some_folders(self, tree):
        assert self.names(tree, folders=["sub", "scan"]) == ["scan/dcm", "sub/c.nrrd", "sub/pair.hdr"]

    def test_links_in_a_circle_end(self, tree):
        (tree / "sub" / "back").symlink_to(tree)
        assert len(self.names(tree)) == 6

    def test_no_such_folder(self, tree):
        with pytest.raises(FileNotFoundError, match="no such folder"):
            get_volumetric_files(tree / "none")


class TestGroupSplitter:
    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.integers(0, 8), min_size=2, max_size=40), st.floats(0.05, 0.95), st.integers(0, 99))
    def test_no_patient_is_on_both_sides_and_no_item_lost(self, patients, share, seed):
        if len(set(patients)) < 2:
            return
        table = pd.DataFrame({"patient": patients}, index=range(100, 100 + len(patients)))
        train, valid = GroupSplitter("patient", share, seed)(table)
        assert sorted(train + valid) == list(range(len(patients)))
        assert train
        assert valid
        assert not {patients[i] for i in train} & {patients[i] for i in valid}
        # whole groups: never farther from the share than the largest group
        largest = max(patients.count(patient) for patient in patients)
        assert abs(len(valid) - share * len(patients)) <= largest

    def test_functions_and_lists(self):
        items = ["a1", "a2", "b1", "c1"]
        train, valid = GroupSplitter(lambda item: item[0], 0.25, seed=3)(items)
        assert {items[i][0] for i in train}.isdisjoint(items[i][0] for i in valid)

    def test_functions_of_rows_and_columns_by_number(self):
        table = pd.DataFrame({"file": list("abcd"), "who": [1, 1, 2, 2]})
        by_number = GroupSplitter(1, 0.5, seed=0)(table)
        by_function = GroupSplitter(lambda row: row["who"], 0.5, seed=0)(table)
        assert by_number == by_function
        assert [len(side) for side in by_number] == [2, 2]

    def test_repeats_with_a_seed_and_with_fastais(self):
        table = pd.DataFrame({"patient": range(30)})
        assert GroupSplitter("patient", seed=4)(table) == GroupSplitter("patient", seed=4)(table)
        set_seed(1)
        first = GroupSplitter("patient")(table)
        set_seed(1)
        assert GroupSplitter("patient")(table) == first
        assert len(first[1]) == 6

    def test_leaves_torchs_generator_alone_with_a_seed(self):
        state = torch.get_rng_state()
        GroupSplitter("patient", seed=4)(pd.DataFrame({"patient": range(3)}))
        assert torch.equal(torch.get_rng_state(), state)

    @pytest.mark.parametrize(
        ("table", "fault"),
        [
            ({"patient": ["a", "a"]}, "holds 1 group for 2 items"),
            ({"patient": ["a", None, "b"]}, "1 of 3 items have no group .*number 1"),
            ({"who": ["a"]}, "no column 'patient' in the table; there are who"),
        ],
    )
    def test_groups_that_cannot_be_split_are_refused(self, table, fault):
        with pytest.raises(ValueError, match=fault):
            GroupSplitter("patient")(pd.DataFrame(table))

    def test_wrong_arguments_are_refused(self):
        with pytest.raises(ValueError, match="valid_pct must be above 0 and below 1, got 1"):
            GroupSplitter("patient", 1)
        with pytest.raises(TypeError, match="needs items in a DataFrame, got list"):
            GroupSplitter("patient")(["a", "b"])

    def test_loaders_keep_patients_apart(self, table, root):
        dls = segmentation(table, root, valid_col=None, group_col="patient", valid_pct=0.3, seed=2)
        sides = [set(dls.train.items["patient"]), set(dls.valid.items["patient"])]
        assert not sides[0] & sides[1]
        assert [len(dls.train_ds), len(dls.valid_ds)] == [4, 2]

    def test_a_random_split_of_patients_is_warned_of(self, table, root):
        with pytest.warns(UserWarning, match=r"1 of 3 patients \(column 'patient'\) have scans in both") as caught:
            segmentation(table, root, valid_col=None, seed=0, valid_pct=0.17)
        assert "Ann" not in str(caught[0].message)
        assert "group_col" in str(caught[0].message)

    def test_a_column_that_splits_patients_is_warned_of_too(self):
        table = pd.DataFrame({"who": [1, 1, 2]})
        with pytest.warns(UserWarning, match="1 of 2 patients"):
            warn_of_shared_groups(table, ([0, 2], [1]), "who")

    def test_no_warning_where_nothing_is_known_or_wrong(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warn_of_shared_groups(pd.DataFrame({"who": [1, 1]}), ([0], [1]))
            warn_of_shared_groups(pd.DataFrame({"patient": [1, 2]}), ([0], [1]))
            warn_of_shared_groups(["a", "b"], ([0], [1]))


def images_on(ax):
    return [np.ma.getdata(image.get_array()) for image in ax.images]


def own_axes():
    return [ax for number in plt.get_fignums() for ax in plt.figure(number).axes if ax.images]


class TestBestSlice:
    def test_shows_most_of_every_class(self):
        mask = torch.zeros(5, 4, 4, dtype=torch.long)
        mask[1] = 1
        mask[2, :3] = 1
        mask[2, 3, :2] = 2  # less of class 1, but all of class 2
        assert best_slice(TensorDicom3D(torch.zeros(5, 4, 4)), TensorMask3D(mask)) == 2

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_without_labels_the_one_that_varies_most(self, axis):
        volume = torch.zeros(4, 5, 6)
        volume.select(axis, 1)[:] = 5000  # bright but flat
        volume.select(axis, 3)[:2, :2] = -1000
        volume[0, 0, 0] = float("nan")
        volume.select(axis, 1)[0, 0] = 5000
        found = best_slice(volume, TensorMask3D(torch.zeros(4, 5, 6)), axis)
        expected = [np.nanvar(volume.select(axis, k)[1:, 1:].numpy()) for k in range(volume.shape[axis])]
        assert found == (3 if axis == 0 else found)
        assert len(expected) > found


class TestShowBatch:
    def test_draws_each_image_with_its_mask_on_the_slice_of_the_lesion(self, table, root):
        dls = segmentation(table, root, codes=["none", "lesion"])
        dls.show_batch()
        axes = own_axes()
        assert len(axes) == 2
        for ax in axes:
            image, mask = images_on(ax)
            assert image.shape == SHAPE[1:]
            assert (mask > 0).sum() == 9  # of the 18 voxels of the lesion, half are in a slice
        legend = plt.gcf().legends[0]
        assert [text.get_text() for text in legend.get_texts()] == ["lesion"]

    def test_proportions_are_true(self, table, root):
        dls = segmentation(table, root)
        b = dls.valid.one_batch()
        dls.valid.show_batch(b)
        for image, ax in zip(b[0], own_axes(), strict=True):
            x, y, _ = image.geometry.spacing
            assert ax.get_aspect() == pytest.approx(y / x)

    def test_axis_number_and_grid_are_chosen(self, table, root):
        dls = segmentation(table, root)
        dls.show_batch(n=1, axis="coronal", window=(0, 1))
        (ax,) = own_axes()
        assert images_on(ax)[0].shape == (4, 8)
        plt.close("all")
        dls.show_batch(max_n=1, axis=2, max_slices=4)
        (ax,) = own_axes()
        assert images_on(ax)[0].size > 4 * 24

    def test_draws_on_the_axes_that_are_given(self, table, root):
        _, axes = plt.subplots(1, 2)
        segmentation(table, root).show_batch(ctxs=list(axes))
        assert [len(ax.images) for ax in axes] == [2, 2]
        assert len(plt.get_fignums()) == 1

    def test_titles_of_classes(self, table, root):
        dls = classification(table, root)
        dls.valid.show_batch(nrows=1)
        assert [ax.get_title() for ax in own_axes()] == ["low", "high"]

    def test_titles_of_several_classes_and_of_numbers(self, table, root):
        classification(table, root, "findings", label_delim=";").valid.show_batch()
        classification(table, root, "age", y_block=RegressionBlock).valid.show_batch()
        assert [ax.get_title() for ax in own_axes()] == ["cyst", "cyst;scar", "44", "45"]

    def test_numbers_are_titles_of_four_digits(self, table, root):
        table["age"] = table["age"] + 1 / 3
        dls = classification(table, root, "age", y_block=RegressionBlock)
        dls.valid.show_batch()
        assert [ax.get_title() for ax in own_axes()] == ["44.33", "45.33"]
        plt.close("all")
        learn = make_learner(dls, 1, whole=True)
        with learn.no_bar():
            learn.show_results(shuffle=False)
        for ax, target in zip(own_axes(), ("44.33", "45.33"), strict=True):
            above, below = ax.get_title().split("\n")
            assert above == target
            assert below == f"{float(below):.4g}"

    def test_channels_are_drawn_side_by_side(self, table, root):
        table["twice"] = table["image"]
        dls = ImageDataLoaders3D.from_df(
            table, root, fn_col=["image", "twice"], label_col="label", valid_col="valid", bs=2, num_workers=0
        )
        dls.show_batch(n=1)
        (ax,) = own_axes()
        assert images_on(ax)[0].size > 2 * 6 * 8

    def test_images_as_targets(self, root):
        files = get_volumetric_files(root / "images")
        block = DataBlock(blocks=(ImageBlock3D, ImageBlock3D), splitter=IndexSplitter([0, 1]))
        dls = block.dataloaders(files, bs=2, num_workers=0)
        dls.show_batch()
        assert len(own_axes()) == 4
        plt.close("all")
        learn = make_learner(dls, 1, loss_func=nn.MSELoss())
        with learn.no_bar():
            learn.show_results()
        assert len(own_axes()) == 6

    def test_a_mask_and_a_class_as_targets(self, table, root):
        block = DataBlock(
            (ImageBlock3D, MaskBlock3D(["none", "lesion"]), CategoryBlock), n_inp=1, splitter=IndexSplitter([0, 1]),
            getters=[ColReader("image", pref=f"{root}/"), ColReader("mask", pref=f"{root}/"), ColReader("label")],
        )  # fmt: skip
        block.dataloaders(table, bs=2, num_workers=0).valid.show_batch()
        assert [ax.get_title() for ax in own_axes()] == ["low", "high"]
        assert [(images_on(ax)[1] > 0).sum() for ax in own_axes()] == [9, 9]
        assert [text.get_text() for text in plt.gcf().legends[0].get_texts()] == ["lesion"]

    def test_items_without_target(self, table, root):
        dls = classification(table, root)
        dls.test_dl(table[:2], bs=2).show_batch()
        assert len(own_axes()) == 2


@pytest.fixture(scope="module")
def trained(root):
    dls = segmentation(pd.read_csv(root / "cases.csv"), root, codes=["none", "lesion"])
    learn = make_learner(dls)
    with learn.no_logging(), learn.no_bar():
        learn.fit(12, 0.1)
    return learn


class TestSegmentation:
    def test_learns_with_the_loss_of_the_block(self, trained):
        with trained.no_bar():
            scores, targets = trained.get_preds()
        assert scores.shape == (2, 2, *SHAPE)
        assert torch.allclose(scores.sum(1), torch.ones(2, *SHAPE))
        assert (scores.argmax(1) == targets).float().mean() > 0.97

    def test_predict_gives_a_mask(self, trained, root):
        for item in (root / "images" / "Cyd_4.nii.gz", str(root / "images" / "Cyd_4.nii.gz"), case_of(4)[0]):
            with trained.no_bar():
                mask, labels, scores = trained.predict(item)
            assert type(mask) is TensorMask3D
            assert (labels == torch.as_tensor(case_of(4)[1])).float().mean() > 0.97
            assert scores.shape == (2, *SHAPE)
            assert mask.geometry is None or mask.geometry.agrees(geometry_of(4))

    def test_show_results_draws_input_target_and_prediction_of_one_slice(self, trained):
        with trained.no_bar():
            trained.show_results(n=1, mask_alpha=0.5)
        axes = own_axes()
        assert [len(ax.images) for ax in axes] == [1, 2, 2]
        pictures = [images_on(ax) for ax in axes]
        assert np.array_equal(pictures[0][0], pictures[2][0])
        assert (pictures[1][1] > 0).sum() == 9
        assert plt.gcf()._suptitle.get_text() == "Input/Target/Prediction"

    def test_voxels_are_counted_by_class(self, trained):
        with trained.no_bar():
            found = ClassificationInterpretation.from_learner(trained)
            counts = found.confusion_matrix()
        assert counts.shape == (2, 2)
        assert counts.sum() == 2 * np.prod(SHAPE)
        assert counts[1].sum() == 2 * case_of(0)[1].sum()
        found.plot_confusion_matrix()
        assert [label.get_text() for label in plt.gca().get_xticklabels()] == ["none", "lesion"]

    def test_names_may_be_given_twice(self, table, root):
        dls = segmentation(table, root, codes=["other", "other"])
        assert (dls.vocab, dls.c) == (["other", "other"], 2)

    def test_top_losses(self, trained):
        with trained.no_bar():
            found = Interpretation.from_learner(trained)
            found.plot_top_losses(2)
            titles = [ax.get_title() for ax in own_axes()]
            assert len(titles) == 6
            assert [title[:5] for title in titles[1::3]] == ["loss ", "loss "]
            plt.close("all")
            found.show_results([0, 1])
            assert len(own_axes()) == 6


class TestClassification:
    def test_results_predictions_and_top_losses(self, table, root):
        learn = make_learner(classification(table, root), whole=True)
        with learn.no_logging(), learn.no_bar():
            learn.fit(1)
            label, number, scores = learn.predict(root / "images" / "Ben_2.nii.gz")
            assert label == ["high", "low"][number]
            assert scores.sum() == pytest.approx(1)
            learn.show_results(shuffle=False)
            for ax, target in zip(own_axes(), ("low", "high"), strict=True):
                above, below = ax.get_title().split("\n")
                assert above == target
                colour = "green" if above == below else "red"
                assert to_rgb(ax.title.get_color()) == to_rgb(colour)
            plt.close("all")
            Interpretation.from_learner(learn).plot_top_losses(2)
        for ax in own_axes():
            classes, certainty = ax.get_title().split("\n")
            assert set(classes.split(" / ")) <= {"low", "high"}  # prediction, target
            assert len([float(v) for v in certainty.split(" / ")]) == 2  # loss, probability

    def test_results_of_several_classes_and_numbers(self, table, root):
        for label_col, more in (("findings", {"label_delim": ";"}), ("age", {"y_block": RegressionBlock(1)})):
            dls = classification(table, root, label_col, **more)
            learn = make_learner(dls, 2 if more.get("label_delim") else 1, whole=True)
            with learn.no_logging(), learn.no_bar():
                learn.fit(1)
                learn.show_results()
                Interpretation.from_learner(learn).plot_top_losses(2)
            assert len(own_axes()) == 4
            plt.close("all")


class TestExport:
    @pytest.fixture
    def exported(self, tmp_path):
        data = tmp_path / "Quintessa"
        rows = []
        for number in range(3):
            case = data / f"Quintessa_{number}"
            write_series(case, PatientName="Quintessa^Ann")
            image = TensorDicom3D.create(case)
            TensorMask3D((image > 500).to(torch.uint8), image.geometry).save(data / f"truth_{number}.nrrd")
            rows.append({"image": str(case), "mask": str(data / f"truth_{number}.nrrd"), "patient": case.name})
        dls = SegmentationDataLoaders3D.from_df(
            pd.DataFrame(rows), tmp_path, fn_col="image", label_col="mask", group_col="patient", bs=1, num_workers=0
        )
        learn = make_learner(dls)
        with learn.no_logging(), learn.no_bar():
            learn.fit(1)
            learn.show_results()
        learn.path = tmp_path
        learn.export("model.pkl")
        return learn, tmp_path / "model.pkl", data / "Quintessa_1"

    def test_holds_no_patient(self, exported):
        content = exported[1].read_bytes()
        assert b"faimed3d" in content  # stored, not packed: a search through the bytes means something
        for secret in ("Quintessa", "truth_", "IM9999", *SECRETS):
            assert secret.encode() not in content

    def test_predicts_the_same_when_loaded_again(self, exported):
        learn, file, case = exported
        with warnings.catch_warnings():
            # fastai says at every load that pickle is not safe against files of strangers
            warnings.filterwarnings("ignore", message=".*pickle", category=UserWarning)
            again = load_learner(file)
        with learn.no_bar(), again.no_bar():
            assert torch.equal(learn.predict(case)[2], again.predict(case)[2])
            table = pd.DataFrame({"image": [str(case)]})
            assert again.get_preds(dl=again.dls.test_dl(table))[0].shape == (1, 2, 5, 6, 7)


class TestRealData:
    def test_a_mask_with_y_turned_in_storage_comes_right(self, real_data):
        folder = real_data / "abdomen_ct"
        image = VolumeReader()(folder / "dicom")
        mask = read_labels(folder / "segmentation.nii.gz")
        _, moved = MatchMask()((image, mask))
        assert torch.equal(moved, mask.resample_like(image))
        assert moved.geometry == image.geometry
