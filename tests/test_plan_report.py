"""The report on a data set: against scipy and numpy on each case, and what is odd about a case."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D
from faimed3d.plan import describe_cases
from faimed3d.plan.oddities import outliers


def case(seed, shape=(5, 6, 7), spacing=(1, 2, 3), labels=3):
    random = np.random.default_rng(seed)
    geometry = Geometry(shape, spacing, (10 * seed, -5, 7))
    mask = random.integers(0, labels, shape).astype(np.uint8)
    image = random.normal(100, 20, shape).astype(np.float32)
    return TensorDicom3D(image, geometry), TensorMask3D(mask, geometry)


def table_of(cases):
    images, masks = zip(*cases, strict=True)
    cells = {"image": pd.Series(images, dtype=object), "mask": pd.Series(masks, dtype=object)}
    return pd.DataFrame(cells)


def describe(cases, **kwargs):
    return describe_cases(
        cases if isinstance(cases, pd.DataFrame) else table_of(cases), progress=False, n_jobs=1, **kwargs
    )


class TestNumbers:
    @given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(2, 6)), min_size=1, max_size=4))
    @settings(max_examples=15)
    def test_are_those_of_numpy_and_scipy(self, shapes):
        cases = [case(seed, shape) for seed, shape in enumerate(shapes)]
        report = describe(cases)
        inside = []
        for (image, mask), (_, row) in zip(cases, report.iterrows(), strict=True):
            voxels, labels = image.numpy(), mask.numpy()
            assert (row["depth"], row["height"], row["width"]) == voxels.shape
            assert row[["spacing_x", "spacing_y", "spacing_z"]].tolist() == [1, 2, 3]
            assert (row["minimum"], row["maximum"]) == (voxels.min(), voxels.max())
            for label in (1, 2):
                if f"voxels_{label}" in report:
                    assert row[f"voxels_{label}"] == (labels == label).sum()
                    assert row[f"components_{label}"] == ndimage.label(labels == label)[1]
            values = voxels[labels > 0]
            inside.append(values)
            if values.size:
                assert row["mean"] == pytest.approx(values.mean(), rel=1e-5)
                assert row[["p0.5", "p99.5"]].tolist() == pytest.approx(np.percentile(values, (0.5, 99.5)).tolist())
        pooled = np.concatenate(inside).astype(float)
        if all(values.size for values in inside):
            found = report.attrs["intensities"][0]
            assert (found["mean"], found["voxels"]) == (pytest.approx(pooled.mean()), pooled.size)
            assert found["low"] == pytest.approx(np.percentile(pooled, 0.5, method="lower"), rel=2e-3)
            assert found["std"] == pytest.approx(pooled.std(ddof=1) if pooled.size > 1 else 0)

    def test_the_box_of_what_is_not_empty(self):
        image, mask = case(0, (6, 7, 8))
        image[:] = 0
        image[2:4, 1:6, 5] = 9
        row = describe([(image, mask)]).iloc[0]
        assert row[["box_depth", "box_height", "box_width"]].tolist() == [2, 5, 1]
        assert row["background"] == pytest.approx(1 - 10 / (6 * 7 * 8))

    def test_channels_each_have_their_own(self):
        (one, mask), (other, _) = case(0), case(0)
        table = pd.DataFrame({"T1": pd.Series([one], dtype=object), "T2": pd.Series([other * 2], dtype=object),
                              "mask": pd.Series([mask], dtype=object)})  # fmt: skip
        report = describe(table, fn_col=["T1", "T2"])
        assert report["channels"].tolist() == [2]
        assert report["mean_1"].iloc[0] == pytest.approx(2 * report["mean"].iloc[0])
        assert len(report.attrs["intensities"]) == 2

    def test_left_out_labels_and_codes(self):
        image, mask = case(0)
        mask[0] = 255
        report = describe([(image, mask)], codes=["none", "a", "b"], ignore_index=255)
        assert report.attrs["codes"] == ["none", "a", "b"]
        assert report["foreground"].iloc[0] == ((mask.numpy() > 0) & (mask.numpy() < 255)).sum()
        assert "voxels_255" not in report

    def test_classes(self):
        cells = pd.Series([np.random.default_rng(k).random((4, 4, 4)) for k in range(3)], dtype=object)
        report = describe(pd.DataFrame({"image": cells, "label": [2, 1, 2]}))
        assert report.attrs["task"] == "classification"
        assert (report["class"].tolist(), report.attrs["codes"]) == ([2, 1, 2], [1, 2])
        assert not report["stated"].any()
        with pytest.raises(ValueError, match="plans are for masks and for classes"):
            describe(pd.DataFrame({"image": cells, "label": [0.5, 1, 2]}))


@pytest.fixture(scope="module")
def report():
    cases = [case(seed, labels=2) for seed in range(12)]
    cases[1] = tuple(volume.reorient("RAS") for volume in cases[1])
    cases[2] = (cases[2][0], cases[2][1] * 0)
    cases[3] = case(3, spacing=(1, 2, 30), labels=2)
    cases[4] = (cases[4][0] * 50, cases[4][1])
    cases[5] = cases[0]
    cases[6] = (cases[6][0] * 0 + 7, cases[6][1])
    cases[7] = case(7, (5, 60, 7), labels=2)
    table = table_of(cases).astype(object)
    table.at[8, "image"] = "nowhere.nii.gz"
    with pytest.warns(UserWarning, match="1 of 12 cases could not be read"):
        return describe(table)


class TestOddities:
    @pytest.mark.parametrize(
        ("number", "words"),
        [
            (1, "is stored as RAS, most are LPS"),
            (2, "the mask is empty"),
            (3, "spacing along z is 30 mm, the median 3"),
            (4, "mean intensity is"),
            (5, "has the very voxels of row 0"),
            (6, "all voxels have one value: no foreground"),
            (7, "height is 60 voxels, the median 6"),
        ],
    )
    def test_are_named(self, report, number, words):
        assert words in report["oddities"].iloc[number]

    def test_a_case_that_cannot_be_read_is_a_row_with_its_error(self, report):
        assert report.failed["case"].tolist() == ["row 8"]
        assert "nowhere.nii.gz" in report["error"].iloc[8]
        assert report["oddities"].iloc[[0, 9, 10, 11]].tolist() == [""] * 4

    def test_show_draws_six_panels(self, report):
        axes = report.show()
        assert len(axes) == 6
        assert "7 odd cases, in red" in axes[2].texts[0].get_text()
        plt.close("all")


def test_no_case_that_can_be_read_is_an_error():
    with pytest.raises(ValueError, match="none of the 1 cases could be read; the first: FileNotFoundError"):
        describe(pd.DataFrame({"image": ["a.nii"], "mask": ["b.nii"]}))
    with pytest.raises(ValueError, match="the table is empty"):
        describe(pd.DataFrame({"image": [], "mask": []}))
    with pytest.raises(TypeError, match="df must be a DataFrame"):
        describe_cases([1])


@given(st.lists(st.floats(1, 2), min_size=5, max_size=30), st.floats(20, 1000))
def test_one_value_far_off_is_an_outlier_and_near_ones_are_none(values, far):
    assert outliers([*values, far, np.nan]).tolist()[-2:] == [True, False]
    assert not outliers(np.array(values) * 1e-3 + 100).any()
