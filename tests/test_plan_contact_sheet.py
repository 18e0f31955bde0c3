"""``show_dataset``: a picture of each case; a bad one is named and stops nothing."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from cases import LESION
from header_values import found_in, telling_scan
from matplotlib import rc_context

from faimed3d.basics import Geometry, TensorDicom3D
from faimed3d.intensity import window_limits
from faimed3d.plan import show_dataset


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_each_case_is_drawn_at_its_lesion_with_its_mask_and_name(table, root):
    axes = show_dataset(table, "image", "mask", path=root, codes=["none", "lesion"], progress=False)
    assert [ax.get_title() for ax in axes] == ["Ann_0", "Ann_1", "Ben_2", "Ben_3", "Cyd_4", "Cyd_5"]
    area = np.zeros((6, 8))[LESION[1:]].size
    assert [(ax.images[1].get_array() == 1).sum() for ax in axes] == [area] * 6
    assert [text.get_text() for text in axes[0].figure.legends[0].get_texts()] == ["lesion"]
    ratios = [ax.get_aspect() for ax in axes]
    assert ratios == pytest.approx([2 / (1 + k) for k in range(6)])


def test_a_bad_case_is_named_and_the_others_are_drawn(table, root):
    table.loc[2, "image"] = "images/nowhere.nii.gz"
    with pytest.warns(UserWarning, match=r"1 of 6 cases could not be read: nowhere \(FileNotFoundError\); see desc"):
        axes = show_dataset(table, "image", "mask", path=root, axis="coronal", progress=False)
    assert [len(ax.images) for ax in axes] == [2, 2, 0, 2, 2, 2]
    assert [text.get_text() for text in axes[2].texts] == ["FileNotFoundError"]
    assert axes[0].images[0].get_array().shape == (4, 8)


def test_classes_numbers_of_cases_and_windows(table, root):
    axes = show_dataset(table, "image", "label", path=root, max_n=2, window=(0.5, 1), progress=False)
    assert [ax.get_title() for ax in axes] == ["Ann_0: low", "Ann_1: high"]
    assert axes[0].images[0].get_clim() == (0, 1)
    assert axes[0].figure.get_suptitle() == "2 of 6 cases"
    cases = pd.DataFrame({"image": [torch.rand(2, 3, 4), np.zeros((2, 2, 3, 4))]})
    axes = show_dataset(cases, progress=False, channel=1)
    assert [ax.get_title() for ax in axes] == ["row 0", "row 1"]


def test_a_ct_has_its_window_and_others_no_outliers():
    ct = TensorDicom3D(torch.linspace(-1000, 1000, 1000).reshape(10, 10, 10), Geometry((10, 10, 10), (1, 1, 1)))
    other = torch.arange(1000.0).reshape(10, 10, 10)
    other[5, 5, 5] = 1e6
    axes = show_dataset(pd.DataFrame({"image": [ct, other]}), progress=False, n_jobs=1)
    assert axes[0].images[0].get_clim() == window_limits("soft_tissue")
    assert axes[1].images[0].get_clim()[1] < 1000


@pytest.mark.parametrize(
    ("table", "more", "fault"),
    [
        (pd.DataFrame({"image": []}), {}, "there are no cases: the table is empty"),
        (pd.DataFrame({"image": [torch.zeros(2, 3, 4)]}), {"axis": "oblique"}, "axis must be 0, 1, 2, 'axial'"),
        (pd.DataFrame({"image": [torch.zeros(2, 3, 4)]}), {"window": "fog"}, "fog"),
        (pd.DataFrame({"image": [torch.zeros(2, 3, 4)]}), {"fn_col": "scan"}, "no column 'scan' in the table"),
    ],
)
def test_what_cannot_be_drawn_is_refused(table, more, fault):
    with pytest.raises(ValueError, match=fault):
        show_dataset(table, progress=False, **more)


def test_nothing_of_the_header_is_on_the_sheet(tmp_path):
    volume, secret = telling_scan(tmp_path)
    cases = pd.DataFrame({"case": ["first"], "image": [tmp_path / "Doe^Jane_4711"], "mask": [volume > 0]})
    with rc_context({"svg.fonttype": "none"}):
        show_dataset(cases, "image", "mask", progress=False)[0].figure.savefig(tmp_path / "sheet.svg")
    assert found_in((tmp_path / "sheet.svg").read_bytes(), secret) == []
