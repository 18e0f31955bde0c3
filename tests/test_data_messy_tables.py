"""Cells as hospitals and CSV files have them: right, or refused with what to write instead."""

import io
import re

import numpy as np
import pandas as pd
import pytest
import torch
from cases import case_of, classification, segmentation
from fastai.data.block import RegressionBlock
from hypothesis import given, settings
from hypothesis import strategies as st

from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D
from faimed3d.data import ImageBlock3D, ImageDataLoaders3D, MatchMask, RegionBlock3D, SegmentationDataLoaders3D
from faimed3d.data.blocks import read_labels
from faimed3d.data.regions import RegionReader
from faimed3d.models import UNet3D
from faimed3d.training import unet_learner_3d

PLACE = Geometry((2, 3, 4), (1, 2, 3), (5, 6, 7))
KW = {"bs": 2, "num_workers": 0, "seed": 1, "valid_pct": 0.25}


def image(root, name, value=1.0, place=PLACE):
    TensorDicom3D(torch.full(place.shape, float(value)), place).save(root / name)
    return name


def classes(table, root=".", **kwargs):
    return ImageDataLoaders3D.from_df(table, root, **{**KW, **kwargs})


class TestNumbersForFiles:
    def test_with_a_suffix_are_names(self, tmp_path):
        names = [17, 18, 19, 20]
        for name in names:
            image(tmp_path, f"{name}.nii.gz", name)
        dls = classes(pd.DataFrame({"id": names, "label": [*"abab"]}), tmp_path, suff=".nii.gz")
        assert sorted(x.amax().item() for x, _ in dls.train_ds) == sorted(names[i] for i in dls.train_ds.splits[0])

    def test_without_one_the_error_says_how_they_become_names(self, tmp_path):
        table = pd.DataFrame({"id": [17, 18, 19, 20], "label": [*"abab"]})
        with pytest.raises(TypeError, match=r"holds the number \d+, not a volume.*dtype=str.*suff"):
            classes(table, tmp_path)

    def test_zeros_that_a_csv_has_lost_are_named(self, tmp_path):
        image(tmp_path, "017.nii.gz")
        table = pd.DataFrame({"id": [17] * 4, "label": [*"abab"]})
        with pytest.raises(FileNotFoundError, match=r"17\.nii\.gz.*"):
            classes(table, tmp_path, suff=".nii.gz").one_batch()


class TestNumbersAsTargets:
    def test_that_would_become_classes_are_said(self):
        table = pd.DataFrame({"image": [np.zeros((2, 3, 4))] * 4, "age": [61.5, 44, 70, 33.25]})
        known = "validation holds classes that no training item has .*for measurements, y_block=RegressionBlock"
        said = r"'age' holds numbers such as 61\.5.*RegressionBlock"
        with pytest.warns(UserWarning, match=said), pytest.raises(ValueError, match=known):
            classes(table)
        with pytest.warns(UserWarning, match=said):
            classes(pd.concat([table] * 4), valid_pct=0.3, seed=0)

    @pytest.mark.filterwarnings("error")
    def test_whole_ones_are_classes(self):
        table = pd.DataFrame({"image": [np.zeros((2, 3, 4))] * 4, "grade": [1.0, 2.0, 1.0, 2.0]})
        assert [*classes(table).vocab] == [1, 2]

    @pytest.mark.parametrize("cells", [["61,5", "44", "70", "33"], [61.5, 44, 70, "unknown"]])
    def test_as_text_are_refused(self, cells):
        table = pd.DataFrame({"image": [np.zeros((2, 3, 4))] * 4, "age": pd.Series(cells, dtype=object)})
        with pytest.raises(TypeError, match=r"row \d: column 'age' holds the text '.*', not a number.*decimal=','"):
            classes(table, y_block=RegressionBlock())


class TestImagesAsTargets:
    """Denoising, synthetic CT: the target is a volume, and its cells are like those of the input."""

    def test_are_found_below_the_folder(self, tmp_path):
        rows = [(image(tmp_path, f"{n}.nii.gz", n), image(tmp_path, f"{n}_clean.nii.gz", n + 10)) for n in range(4)]
        dls = classes(pd.DataFrame(rows, columns=["image", "clean"]), tmp_path, y_block=ImageBlock3D())
        images, targets = dls.one_batch()
        assert targets.shape == images.shape == (2, 1, 2, 3, 4)
        assert torch.equal(targets, images + 10)


class TestChannels:
    def test_in_other_numbers_are_refused_naming_the_item(self):
        cells = [np.zeros((2, 3, 4)), np.zeros((2, 3, 4)), np.zeros((2, 2, 3, 4)), np.zeros((2, 3, 4))]
        table = pd.DataFrame({"image": cells, "mask": [np.ones((2, 3, 4))] * 4})
        dls = SegmentationDataLoaders3D.from_df(
            table, codes=["a", "b"], bs=1, num_workers=0, splitter=lambda df: ([0, 1, 2], [3])
        )
        with pytest.raises(ValueError, match=r"has 2 channels, items before it have 1: give every item"):
            unet_learner_3d(dls, UNet3D, model_args={"widths": (4,)})


class TestSeveralMasks:
    @settings(max_examples=40)
    @given(st.lists(st.integers(0, 2), min_size=24, max_size=24), st.sampled_from([0.2, 0.5]))
    def test_of_probabilities_become_labels_by_a_threshold(self, labels, threshold):
        truth = np.array(labels).reshape(2, 3, 4)
        parts = [np.where(truth == k, 0.9, 0.1).astype(np.float32) for k in (1, 2)]
        read = read_labels(parts, ["none", "a", "b"], threshold)
        assert read.dtype == torch.uint8
        assert torch.equal(read, TensorMask3D(torch.from_numpy(truth)))

    def test_with_nan_are_refused(self):
        with pytest.raises(ValueError, match=r"holds NaN, neither above nor below threshold=0\.5"):
            read_labels([np.full((2, 3, 4), np.nan)], threshold=0.5)


class TestRegionBlock:
    def test_takes_what_the_block_of_masks_takes(self, tmp_path):
        block = RegionBlock3D({"all": 1}, strict=False, series=3, like="image")
        reader = block.type_tfms[0]
        match = next(step for step in block.item_tfms if isinstance(step, MatchMask))
        assert (reader.strict, reader.series, match.like) == (False, 3, "image")
        assert isinstance(reader, RegionReader)
        with pytest.raises(TypeError, match="no argument 'lik': did you mean 'like'"):
            RegionBlock3D({"all": 1}, lik="image")


class TestMasksOfTwoValues:
    """0 and 255, as many tools save a mask of one thing."""

    def table(self):
        return pd.DataFrame({"image": [np.zeros((2, 3, 4))] * 4, "mask": [np.full((2, 3, 4), 255)] * 4})

    def test_the_error_names_the_threshold_and_it_works(self):
        dls = SegmentationDataLoaders3D.from_df(self.table(), codes=["none", "a"], **KW)
        with pytest.raises(ValueError, match=r"label 255, but there are 2 classes.*threshold=0\.5"):
            dls.one_batch()
        dls = SegmentationDataLoaders3D.from_df(self.table(), codes=["none", "a"], threshold=0.5, **KW)
        assert dls.one_batch()[1].unique().tolist() == [1]


class TestOtherTables:
    @pytest.mark.parametrize("order", [["image", "mask"], ["mask", "image"], ["note", "mask", "image"]])
    def test_a_column_that_was_meant_by_number_is_that_of_its_name(self, root, table, order):
        dls = SegmentationDataLoaders3D.from_df(table[["image", "mask"]], root, bs=2, num_workers=0, seed=0)
        dl = dls.test_dl(table.assign(note="x")[order], with_labels=True)
        for number, (images, masks) in enumerate(dl):
            for k, (image, mask) in enumerate(zip(images, masks, strict=True)):
                expected = case_of(2 * number + k)
                torch.testing.assert_close(image[0].as_subclass(torch.Tensor), expected[0].as_subclass(torch.Tensor))
                assert (mask.numpy() == expected[1].numpy()).all()

    def test_a_column_that_is_not_there_is_named(self, root, table):
        dls = SegmentationDataLoaders3D.from_df(table[["image", "mask"]], root, bs=2, num_workers=0, seed=0)
        with pytest.raises(ValueError, match="no column 'image' in the table; there are mask"):
            dls.test_dl(table[["mask"]]).one_batch()


class TestReadingOfTables:
    """Of CSV files that pandas reads as something else."""

    @pytest.mark.parametrize("mark", [";", "\t", "|"])
    def test_another_separator_is_told(self, root, mark):
        text = (root / "cases.csv").read_text().replace(",", mark)
        with pytest.raises(ValueError, match=re.escape(f"pd.read_csv(..., sep={mark!r})")):
            SegmentationDataLoaders3D.from_df(pd.read_csv(io.StringIO(text)), root)

    def test_a_first_row_that_became_names_is_told(self, root, table):
        text = table[["image", "mask"]].to_csv(header=False, index=False)
        with pytest.raises(ValueError, match=r"column 0 of the table is called 'images/Ann_0.nii.gz', .*header=None"):
            SegmentationDataLoaders3D.from_df(pd.read_csv(io.StringIO(text)), root)
        read = pd.read_csv(io.StringIO(text), header=None)
        dls = SegmentationDataLoaders3D.from_df(read, root, bs=1, num_workers=0, seed=0)
        assert len(dls.train_ds) + len(dls.valid_ds) == len(table)

    @pytest.mark.parametrize("name", ["Image", "\ufeffimage", " image"])
    def test_a_near_name_is_told(self, root, table, name):
        with pytest.raises(ValueError, match=re.escape(f"did you mean {name!r}?")):
            segmentation(table.rename(columns={"image": name}), root)

    def test_lists_that_became_text_are_told(self, root, table):
        table["image"] = [f"['{cell}', '{cell}']" for cell in table["image"]]
        with pytest.raises(FileNotFoundError, match="the text of a list, as CSV files keep it: give each"):
            segmentation(table, root)


class TestArguments:
    @pytest.mark.parametrize(
        ("argument", "error"),
        [({"bs": 0}, ValueError), ({"bs": 1.5}, ValueError), ({"bs": True}, ValueError), ({"val_bs": -1}, ValueError),
         ({"threshold": "x"}, TypeError), ({"ignore_index": "a"}, TypeError), ({"ignore_index": 0.5}, TypeError)],
    )  # fmt: skip
    def test_that_mean_nothing_are_refused(self, root, table, argument, error):
        with pytest.raises(error, match=f"{next(iter(argument))} must be "):
            segmentation(table, root, **argument)


class TestClasses:
    @pytest.mark.parametrize("other", ["low ", " low", "Low", "LOW"])
    def test_that_differ_in_blanks_or_capitals_are_told(self, root, table, other):
        table["label"] = ["low", other, "high"] * 2
        with pytest.warns(UserWarning, match="are two classes, and differ in blanks or capitals alone"):
            classes(table[["image", "label"]], root, splitter=lambda df: ([0, 1, 2], [3, 4, 5]))

    def test_cells_that_are_lists_are_several_classes(self, root, table):
        table["label"] = [["a"], ("a", "b"), [], "b", ("a",), ["a", "b"]]
        dls = classification(table, root)
        assert list(dls.vocab) == ["a", "b"]
        assert dls.valid.one_batch()[1].tolist() == [[1, 0], [1, 1]]


class TestColumnsWithoutNames:
    """Of a file without a header: pandas numbers the columns, and a selection of them keeps its numbers."""

    @settings(max_examples=30)
    @given(st.permutations(range(6)), st.booleans())
    def test_each_is_the_one_of_its_number(self, order, by_column):
        volumes = [np.full((2, 3, 4), number, np.float32) for number in range(4)]
        columns = {0: "x", 1: volumes, 2: [5.0, 6, 7, 8], 3: [*"abcd"], 4: [False, True, False, True], 5: 9.0}
        table = pd.DataFrame(columns)[list(order)]
        split = {"valid_col": 4} if by_column else {"valid_pct": 0.5}
        dls = ImageDataLoaders3D.from_df(
            table, fn_col=1, label_col=2, group_col=3, y_block=RegressionBlock(), bs=1, num_workers=0, **split
        )
        seen = [(float(image.mean()), float(target)) for dl in dls.loaders for image, target in dl]
        assert sorted(seen) == [(0, 5), (1, 6), (2, 7), (3, 8)]
        if by_column:
            assert sorted(float(image.mean()) for image, _ in dls.valid) == [1, 3]
