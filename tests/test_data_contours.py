"""Tables whose masks are RT Structure Sets: ROIs become labels by name, on the grid of each image."""

import numpy as np
import pandas as pd
import pytest
import torch
from dicom_series import AXIAL, SHAPE, write_series
from fastai.learner import Learner
from small_trainings import Bright
from structure_sets import contour, on_plane, rectangle, structure_set

from faimed3d import errors
from faimed3d.basics import TensorDicom3D
from faimed3d.data import SegmentationDataLoaders3D
from faimed3d.losses import CrossEntropyLoss3D

CODES = ["background", "liver", "spleen"]


def cases(folder, count=4, beside=False, **more):
    """Series with a structure set each, its ROIs in an order of its own; the table of them."""
    rows = []
    for k in range(count):
        write_series(folder / f"ct{k}", orientation=AXIAL)
        geometry = TensorDicom3D.create(folder / f"ct{k}").geometry
        rois = {
            "Spleen": [on_plane(geometry, rectangle((3.5, 1.5), (4.5, 4.5)), 2)],
            "liver": [on_plane(geometry, rectangle((0.5, 1.5), (3.5, 4.5)), plane) for plane in (1, 2)],
            "isocenter": [contour(geometry.index_to_world([(1, 1, 1)]), "POINT")],
            "body": [on_plane(geometry, rectangle((-0.49, -0.49), (5.49, 6.49)), plane) for plane in range(5)],
        }
        names = list(rois) if k % 2 else list(rois)[::-1]
        where = folder / f"ct{k}" if beside else folder / f"rs{k}"
        where.mkdir(exist_ok=True)
        structure_set(where / "rs.dcm", {**{name: rois[name] for name in names}, **more})
        rows.append((str(folder / f"ct{k}"), str(where if k % 2 else where / "rs.dcm"), k == 3))
    return pd.DataFrame(rows, columns=["image", "mask", "is_valid"])


def loaders(table, codes=CODES, **how):
    return SegmentationDataLoaders3D.from_df(
        table, fn_col="image", label_col="mask", codes=codes, valid_col="is_valid", bs=2, num_workers=0,
        path=".", device="cpu", **how,
    )  # fmt: skip


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("like", [None, "image"])
def test_a_mask_column(tmp_path, like, beside):
    dls = loaders(cases(tmp_path, beside=beside), like=like)
    expected = np.zeros(SHAPE)
    expected[1:3, 1:4, 2:5] = 1
    expected[2, 4, 2:5] = 2
    for dl in dls.loaders:
        for images, masks in dl:
            assert masks.dtype == torch.int64
            for image, mask in zip(images, masks, strict=True):
                np.testing.assert_array_equal(mask.numpy(), expected)
                assert mask.geometry == image.geometry
    assert list(dls.vocab) == CODES


def test_are_the_truth_of_an_evaluation(tmp_path):
    table = cases(tmp_path, count=4)
    learn = Learner(loaders(table), Bright(), loss_func=CrossEntropyLoss3D())
    with learn.no_bar():
        scores = learn.evaluate(table[2:])
    assert list(scores["error"]) == [""] * 4
    voxel = np.prod(TensorDicom3D.create(table["image"][0]).geometry.spacing) / 1000
    np.testing.assert_allclose(scores["target_ml"], [18 * voxel, 3 * voxel] * 2)


def test_without_codes_is_refused(tmp_path):
    with pytest.raises(errors.UnsupportedImage, match=r"RT structure set, whose ROIs .* pass codes=\['background'"):
        loaders(cases(tmp_path), codes=None)


def test_a_name_that_is_missing_is_said(tmp_path):
    table = cases(tmp_path)
    with pytest.warns(UserWarning, match=r"has no ROI 'tumour', so that label is empty there; it has '"):
        masks = loaders(table, ["background", "tumour", "spleen"]).one_batch()[1]
    assert masks.unique().tolist() == [0, 2]
    with pytest.raises(ValueError, match="has no ROI of the codes 'tumour'; it has"):
        loaders(table, ["background", "tumour"]).one_batch()


def test_overlaps_are_refused(tmp_path):
    with pytest.raises(errors.UnsupportedImage, match="the ROIs 'liver' and 'body' overlap in 18 voxels"):
        loaders(cases(tmp_path), ["background", "liver", "body"]).one_batch()


def test_regions_may_overlap(tmp_path):
    table = cases(tmp_path)
    regions = {"all": ("body", "liver"), "organs": ("liver", "spleen"), "spleen": ("spleen",)}
    dls = loaders(table, codes=None, regions=regions)
    masks = dls.one_batch()[1]
    assert masks.shape == (2, 3, *SHAPE)
    assert [int(part.sum()) for part in masks[0]] == [5 * 6 * 7, 18 + 3, 3]
    dls = loaders(table, codes=None, regions=["body", "liver"])
    assert [int(part.sum()) for part in dls.one_batch()[1][0]] == [5 * 6 * 7, 18]
    with pytest.warns(UserWarning, match="has no ROI 'tumour'"):
        masks = loaders(table, codes=None, regions=["tumour", "liver"]).one_batch()[1]
    assert [int(part.sum()) for part in masks[0]] == [0, 18]
    with pytest.raises(errors.UnsupportedImage, match="ROIs have names and no labels: make each region of names"):
        loaders(table, codes=None, regions={"whole": (1, 2)}).one_batch()


def test_a_network_trains_on_them(tmp_path):
    dls = loaders(cases(tmp_path))
    dls.show_batch()
    picked = dls.valid_ds[0]
    assert picked[0].shape == SHAPE
