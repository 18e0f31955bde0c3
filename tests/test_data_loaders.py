"""The factories of loaders: from tables, folders, paths and lists."""

import numpy as np
import pandas as pd
import pytest
import torch
from cases import COUNT, SHAPE, case_of, classification, geometry_of, save, segmentation
from dicom_series import write_series
from fastai.data.block import CategoryBlock, RegressionBlock
from fasttransform import Transform

from faimed3d.augment import PadOrCrop3D
from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.data import ImageDataLoaders3D, SegmentationDataLoaders3D, get_volumetric_files


class ThreadsOfItem(Transform):
    """Puts the number of torch's threads where an item is made in place of the voxels of its image."""

    def encodes(self, x: TensorDicom3D):
        return x * 0 + torch.get_num_threads()

    def encodes(self, x: TensorMask3D):  # noqa: F811 - dispatched by type
        return x


class TestLoaders:
    def test_two_loaders_with_different_settings_live_side_by_side(self, table, root):
        one = segmentation(table, root, codes=["none", "lesion"], bs=1)
        two = segmentation(table, root, codes=["none", "lesion", "vessel"], item_tfms=PadOrCrop3D((5, 6, 7)))
        assert (one.c, two.c) == (2, 3)
        assert one.one_batch()[0].shape == (1, 1, *SHAPE)
        assert two.one_batch()[0].shape == (2, 1, 5, 6, 7)
        assert one.vocab == ["none", "lesion"]

    def test_a_worker_has_one_thread_as_the_readme_says(self, table, root):
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            dls = segmentation(table, root, codes=["none", "lesion"], item_tfms=ThreadsOfItem(), num_workers=1)
            images, _ = next(iter(dls.valid))  # one_batch would not start the worker
        finally:
            torch.set_num_threads(before)
        assert images.unique().tolist() == [1]

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


class TestClassesOfValidation:
    """What no training item has, a network cannot have learned; fastai says so within the first epoch."""

    def table(self, labels):
        images = [TensorDicom3D(torch.rand(2, 3, 4)) for _ in labels]
        return pd.DataFrame({"image": images, "label": labels, "valid": [k >= 3 for k in range(len(labels))]})

    def loaders(self, labels, **kwargs):
        how = {"fn_col": "image", "label_col": "label", "valid_col": "valid", "bs": 1, "num_workers": 0} | kwargs
        return ImageDataLoaders3D.from_df(self.table(labels), **how)

    def test_one_alone_is_named(self):
        text = r"validation holds classes that no training item has .*: 'cyst' \(2\)\. Training knows"
        with pytest.raises(ValueError, match=text):
            self.loaders(["none", "node", "none", "cyst", "cyst", "node"])

    def test_of_several_classes_of_an_item_too(self):
        with pytest.raises(ValueError, match=r"no training item has .*: 'c' \(1\)"):
            self.loaders(["a", "a,b", "b", "a,c"], label_delim=",")

    def test_named_ones_are_right(self):
        dls = self.loaders(["a", "b", "a", "c"], y_block=CategoryBlock(vocab=["a", "b", "c"]))
        assert int(dls.valid.one_batch()[1]) == 2
