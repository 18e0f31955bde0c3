"""What show_batch, show_results and plot_top_losses draw."""

import importlib

import matplotlib.pyplot as plt
import numpy as np
import pytest
from cases import SHAPE, classification, make_learner, segmentation
from fastai.data.block import CategoryBlock, DataBlock, RegressionBlock
from fastai.data.transforms import ColReader, IndexSplitter
from torch import nn

from faimed3d.data import ImageBlock3D, ImageDataLoaders3D, MaskBlock3D, get_volumetric_files

importlib.import_module("fastai.callback.progress")  # gives Learner no_bar


@pytest.fixture(autouse=True)
def _only_own_figures():
    plt.close("all")
    yield
    plt.close("all")


def images_on(ax):
    return [np.ma.getdata(image.get_array()) for image in ax.images]


def own_axes():
    return [ax for number in plt.get_fignums() for ax in plt.figure(number).axes if ax.images]


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
