"""Methods that the loaders had in faimed3d 0.0.6."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from fastai.data.block import MultiCategoryBlock

from faimed3d.augment import Normalize3D
from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D
from faimed3d.data import ImageDataLoaders3D, SegmentationDataLoaders3D, get_volumetric_files, supported_extensions
from faimed3d.legacy.standard_scale import find_standard_scale

GRID = Geometry((3, 4, 5), spacing=(1, 2, 3), origin=(-7, 11, 5))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Four scans with masks and classes; ``cases.csv`` names them."""
    root, rows = tmp_path_factory.mktemp("earlier"), []
    for number in range(4):
        values = np.random.default_rng(number).gamma(2, 10, GRID.shape).astype(np.float32)
        mask = (values > 20).astype(np.uint8)
        TensorDicom3D(values, GRID).save(root / f"image{number}.nii.gz")
        TensorMask3D(mask, GRID).save(root / f"mask{number}.nii.gz")
        rows.append({"image": f"image{number}.nii.gz", "mask": f"mask{number}.nii.gz", "kind": "ab"[number % 2]})
    pd.DataFrame(rows).to_csv(root / "cases.csv", index=False)
    return root


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def segmentation(root, **kwargs):
    return SegmentationDataLoaders3D.from_csv(
        root, "cases.csv", fn_col="image", label_col="mask", bs=3, num_workers=0, valid_pct=0.25, **kwargs
    )


def classification(root, **kwargs):
    return ImageDataLoaders3D.from_csv(
        root, "cases.csv", fn_col="image", label_col="kind", bs=3, num_workers=0, valid_pct=0.25, **kwargs
    )


class TestShowBatch3d:
    def test_as_a_mosaic_of_every_slice(self, root):
        ax = segmentation(root).show_batch_3d(viewer="mosaic", max_n=2)
        (image,) = ax.images
        assert image.get_array().shape[0] > GRID.shape[1]
        ax = segmentation(root).show_batch_3d(with_mask=True, viewer="mosaic", alpha_mask=0.7, nrow=3)
        assert len(ax.images) == 2
        assert ax.images[1].get_alpha() == 0.7
        assert ax.images[1].get_array().max() == 1

    def test_values_are_those_of_the_scan_again(self, root):
        dls = segmentation(root, batch_tfms=Normalize3D(20.0, 10.0))
        grid = dls.show_batch_3d(viewer="mosaic", return_grid=True, max_n=1)
        originals = [TensorDicom3D.create(root / f"image{number}.nii.gz").max() for number in range(4)]
        assert any(grid.max() == pytest.approx(float(high), abs=1e-3) for high in originals)

    def test_in_the_viewer(self, root):
        shown = segmentation(root).show_batch_3d(with_mask=True, max_n=2)
        assert len(shown.viewers) == 2
        view = shown.viewers[0].view
        assert [labels.name for labels in view.case.labels] == ["target"]
        assert view.opacity == 0.3
        assert segmentation(root).show_batch_3d(max_n=1).viewers[0].view.case.labels == ()

    def test_classes_are_written_above(self, root):
        for block, texts in ((None, {"a", "b"}), (MultiCategoryBlock, {"a", "b"})):
            shown = classification(root, y_block=block).show_batch_3d()
            found = {
                child.value for one in shown.viewers for child in one.box.children if type(child).__name__ == "HTML"
            }
            assert {text[-7] for text in found} == texts

    def test_there_are_two_ways(self, root):
        with pytest.raises(ValueError, match="viewer must be 'widget' or 'mosaic', got 'film'"):
            segmentation(root).show_batch_3d(viewer="film")


class TestShowHist:
    @pytest.mark.parametrize("make", [segmentation, classification])
    def test_counts_the_voxels_of_a_batch(self, root, make):
        ax = make(root).show_hist(bins=20)
        assert sum(bar.get_height() for bar in ax.patches) == 3 * 60
        assert not ax.texts

    def test_of_what_the_network_gets_with_its_numbers(self, root):
        ax = segmentation(root, batch_tfms=Normalize3D(20.0, 10.0)).show_hist(with_stats=True)
        assert ax.patches[0].get_x() < 0
        assert "voxels: 180" in ax.texts[0].get_text()


def test_the_standard_scale_of_the_training_set(root):
    dls = segmentation(root)
    scale = dls.standard_scale_from_dls()
    files = [root / row["image"] for _, row in dls.train.items.iterrows()]
    np.testing.assert_allclose(scale.values, find_standard_scale(files).values)
    assert (scale.values[0], scale.values[-1]) == (1, 100)


def test_supported_extensions_are_those_that_are_found(tmp_path):
    assert {".nii", ".nii.gz", ".nrrd", ".mha", ".npy", ".dcm"} <= set(supported_extensions)
    for ending in (".nii.gz", ".nrrd", ".MHA"):
        (tmp_path / f"scan{ending}").write_bytes(b"")
    assert len(get_volumetric_files(tmp_path)) == 3
    assert torch.tensor([ending == ending.lower() for ending in supported_extensions]).all()


@pytest.mark.parametrize(
    ("make", "kind"), [(segmentation, SegmentationDataLoaders3D), (classification, ImageDataLoaders3D)]
)
def test_the_loaders_are_of_the_class_that_made_them(root, make, kind):
    dls = make(root)
    assert type(dls) is kind
    assert type(dls.new_empty()) is kind
    assert dls.path == root
    assert dls.device == dls.train.device
