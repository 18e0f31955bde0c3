"""Pooled statistics: against numpy on all voxels put together."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dicom_series import write_series
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D
from faimed3d.data.statistics import IntensityStats, _measure, _tasks, intensity_stats
from faimed3d.dicom import dicom_inventory
from faimed3d.display import show_image_3d

SHAPES = ((2, 3, 4), (5, 4, 3), (1, 7, 2), (6, 6, 6))
ROWS = [
    "Pooled Maximum of intensity values",
    "Pooled Minimum of intensity values",
    "Pooled Mean of intensity values",
    "Pooled SD of intensity values",
    "Scaled Maximum of intensity values",
    "Scaled Minimum of intensity values",
    "Scaled Mean of intensity values",
    "Scaled SD of intensity values",
]


def volumes(seed=0):
    random = np.random.default_rng(seed)
    return [(random.gamma(2, 100, shape) * (k + 1)).astype(np.float32) for k, shape in enumerate(SHAPES)]


def expected(arrays):
    """The table's column, the plain way: everything in memory."""
    column = []
    for values in (arrays, [a.astype(np.float64) / a.max() for a in arrays]):
        pooled = np.concatenate([a.ravel() for a in values]).astype(np.float64)
        column += [pooled.max(), pooled.min(), pooled.mean(), pooled.std(ddof=1)]
    return column


def stats(items, **kwargs):
    return intensity_stats(items, **{"progress": False, "n_jobs": 1, **kwargs})


@pytest.fixture
def table(tmp_path):
    """Four files: two of T1, two of T2, each with a mask."""
    rows = []
    for k, array in enumerate(volumes()):
        geometry = Geometry(array.shape, (1, 2, 3), (5, 6, 7))
        image = TensorDicom3D(array, geometry)
        image.save(tmp_path / f"{k}.nrrd")
        mask = TensorMask3D((array > 300).astype(np.uint8), geometry)
        (mask.flip(1) if k == 1 else mask).save(tmp_path / f"{k}_mask.nrrd")
        rows.append({"image": f"{k}.nrrd", "mask": f"{k}_mask.nrrd", "sequence": ("T1", "T2")[k % 2]})
    return pd.DataFrame(rows)


class TestTable:
    def test_is_laid_out_like_the_first_page(self):
        found = stats(volumes(), name="ADC")
        assert isinstance(found, pd.DataFrame)
        assert found.index.tolist() == ROWS
        assert found.index.name == "Statistic"
        assert found.columns.tolist() == ["ADC"]

    def test_equals_numpy_on_all_voxels(self):
        np.testing.assert_allclose(stats(volumes())["all"], expected(volumes()), rtol=1e-12)

    @settings(max_examples=50, deadline=None)
    @given(
        st.lists(
            arrays.arrays(np.float32, st.sampled_from(SHAPES), elements=st.floats(-1e4, 1e4, width=32)),
            min_size=1,
            max_size=4,
        )
    )
    def test_equals_numpy_on_whatever_comes(self, items):
        column = stats(items)["all"]
        pooled = np.concatenate([item.ravel() for item in items]).astype(np.float64)
        np.testing.assert_allclose(
            column[:4], [pooled.max(), pooled.min(), pooled.mean(), pooled.std(ddof=1)], rtol=1e-9, atol=1e-6
        )
        assert column.iloc[4] <= 1 + 1e-12
        assert np.isfinite(column).all()

    def test_is_exact_far_from_zero(self):
        items = [np.full((2, 3, 4), 1e6 + k, np.float32) for k in range(3)]
        assert stats(items).mean_std()[0] == 1e6 + 1
        assert stats(items).mean_std()[1] == pytest.approx(np.repeat([-1, 0, 1], 24).std(ddof=1), rel=1e-12)

    def test_does_not_depend_on_jobs(self, table, tmp_path):
        one = stats(table, fn_col="image", path=tmp_path)
        pd.testing.assert_frame_equal(one, stats(table, fn_col="image", path=tmp_path, n_jobs=3))

    def test_work_can_be_sent_to_processes(self, table, tmp_path):
        sources, masks, _ = _tasks(table, "mask", None, "image", tmp_path, "", "all")
        task = pickle.loads(pickle.dumps((sources[1], masks[1], {})))
        assert _measure(*task).raw == _measure(sources[1], masks[1], {}).raw

    def test_one_column_for_each_sequence(self, table, tmp_path):
        found = stats(table, by="sequence", fn_col="image", path=tmp_path)
        assert found.columns.tolist() == ["T1", "T2"]
        np.testing.assert_allclose(found["T1"], expected(volumes()[::2]), rtol=1e-6)
        np.testing.assert_allclose(found["T2"], expected(volumes()[1::2]), rtol=1e-6)
        assert found.attrs["volumes"] == {"T1": 2, "T2": 2}
        assert found.attrs["voxels"] == {"T1": 24 + 14, "T2": 60 + 216}

    def test_groups_in_a_list(self):
        found = stats(volumes(), by=["a", "b", "b", "a"])
        np.testing.assert_allclose(found["b"], expected(volumes()[1:3]), rtol=1e-9)

    def test_empty_and_negative_volumes_scale_as_divide_by_max(self):
        assert stats([np.zeros((2, 3, 4))])["all"].tolist() == [0] * 8
        below = stats([-np.arange(1.0, 25).reshape(2, 3, 4)])["all"]
        assert below["Scaled Minimum of intensity values"] == -1

    def test_nan_and_infinite_voxels_are_left_out_and_counted(self):
        items = volumes()
        items[0][0, 0, 0], items[1][0, 0, 1] = np.nan, np.inf
        found = stats(items)
        pooled = np.concatenate([item[np.isfinite(item)] for item in items]).astype(np.float64)
        assert found.mean_std() == pytest.approx((pooled.mean(), pooled.std(ddof=1)))
        assert found.attrs["not_finite"] == {"all": 2}

    def test_dicom_folders_and_inventories(self, tmp_path):
        write_series(tmp_path / "a")
        found = stats([tmp_path / "a"])
        values = TensorDicom3D.create(tmp_path / "a").numpy()
        np.testing.assert_allclose(found["all"], expected([values]), rtol=1e-6)
        pd.testing.assert_frame_equal(stats(dicom_inventory(tmp_path), fn_col="key"), found)


class TestMasks:
    @pytest.mark.parametrize("kind", ["column", "list", "function"])
    def test_count_only_what_they_hold(self, table, tmp_path, kind):
        items, more = table, {"fn_col": "image", "path": tmp_path, "mask": "mask"}
        if kind != "column":
            items = [tmp_path / name for name in table["image"]]
            masks = [tmp_path / name for name in table["mask"]]
            more = {"mask": masks if kind == "list" else (lambda volume: volume > 300)}
        found = stats(items, **more)
        pooled = np.concatenate([array[array > 300] for array in volumes()]).astype(np.float64)
        assert found.mean_std() == pytest.approx((pooled.mean(), pooled.std(ddof=1)))
        whole = np.concatenate([array[array > 300] / array.max() for array in volumes()]).astype(np.float64)
        assert found.mean_std(scaled=True)[0] == pytest.approx(whole.mean())

    def test_on_another_grid_and_without_voxels_are_named(self, table, tmp_path):
        masks = [tmp_path / "0_mask.nrrd", tmp_path / "0_mask.nrrd", np.zeros(SHAPES[2]), tmp_path / "3_mask.nrrd"]
        items = [tmp_path / "0.nrrd", tmp_path / "1.nrrd", volumes()[2], tmp_path / "3.nrrd"]
        with pytest.warns(UserWarning, match="2 of 4 volumes could not be used"):
            found = stats(items, mask=masks)
        assert "does not lie on the grid" in found.failed["error"][0]
        assert "its mask holds no voxel" in found.failed["error"][1]
        assert found.failed["item"][1] == "ndarray"


class TestFaults:
    def test_a_bad_file_is_named_and_not_fatal(self, table, tmp_path):
        (tmp_path / "1.nrrd").write_bytes((tmp_path / "1.nrrd").read_bytes()[:-9])
        table.loc[2, "image"] = None
        with pytest.warns(UserWarning, match=r"2 of 4 volumes could not be used and are left out; see \.failed"):
            found = stats(table, fn_col="image", path=tmp_path)
        np.testing.assert_allclose(found["all"], expected([volumes()[0], volumes()[3]]), rtol=1e-6)
        assert [Path(item).name for item in found.failed["item"]] == ["1.nrrd", "row 2"]
        assert "1.nrrd" in found.failed["error"][0]
        assert "is empty" in found.failed["error"][1]

    def test_nothing_but_bad_files_is_fatal(self, tmp_path):
        with pytest.raises(ValueError, match=r"none of the 1 volumes could be used; the first: FileNotFound.*none"):
            stats([tmp_path / "none.nii"])

    def test_nothing_finite_is_a_fault(self):
        with pytest.raises(ValueError, match="holds no finite value"):
            stats([np.full((2, 3, 4), np.nan)])

    @pytest.mark.parametrize(
        ("items", "more", "kind", "fault"),
        [
            ([], {}, ValueError, "there are no items"),
            (volumes(), {"by": ["a"]}, ValueError, "4 items and 1 values of by"),
            (volumes(), {"mask": []}, ValueError, "4 items and 0 masks"),
            (volumes(), {"by": "sequence"}, TypeError, "only where items is a DataFrame"),
            (pd.DataFrame({"image": ["a"]}), {"by": "sequence"}, ValueError, "no column 'sequence'"),
        ],
    )
    def test_wrong_arguments_are_refused(self, items, more, kind, fault):
        with pytest.raises(kind, match=fault):
            stats(items, **more)


class TestAccessors:
    def test_mean_and_sd_for_a_transform(self):
        found = stats(volumes(), by=["a", "b", "b", "a"])
        a = np.concatenate([volumes()[0].ravel(), volumes()[3].ravel()]).astype(np.float64)
        assert found.mean_std("a") == pytest.approx((a.mean(), a.std(ddof=1)))
        means, sds = found.mean_std(["b", "a"])
        assert means[1] == found.mean_std("a")[0]
        assert sds[0] == found.mean_std("b")[1]
        with pytest.raises(ValueError, match="choose one of the columns a, b; got None"):
            found.mean_std()

    @pytest.mark.parametrize("q", [0, 0.5, 5, 50, 95, 99.5, 100])
    def test_percentiles(self, q):
        random = np.random.default_rng(1)
        items = [random.normal(-300, 500, (30, 40, 50)).astype(np.float32) for _ in range(2)]
        true = np.percentile(np.concatenate([item.ravel() for item in items]), q)
        assert stats(items).percentile(q) == pytest.approx(true, rel=1e-3, abs=0.2)

    @given(st.lists(st.integers(-1500, 1500), min_size=24, max_size=24))
    @settings(max_examples=50, deadline=None)
    def test_percentiles_of_whole_numbers_lie_between_their_neighbours(self, values):
        found = stats([np.array(values, np.float32).reshape(2, 3, 4)])
        for q in (0, 10, 50, 90, 100):
            low, high = (np.percentile(values, q, method=method) for method in ("lower", "higher"))
            assert low <= found.percentile(q) <= high

    def test_wrong_percentiles_are_refused(self):
        with pytest.raises(ValueError, match="q must be a percentage, 0 to 100, got 101"):
            stats(volumes()).percentile(101)

    def test_window_shows_the_bulk(self):
        centre, width = stats(volumes()).window(low=10, high=90)
        assert centre - width / 2 == pytest.approx(stats(volumes()).percentile(10))
        assert centre + width / 2 == pytest.approx(stats(volumes()).percentile(90))
        assert show_image_3d(volumes()[0], window=(centre, width)) is not None
        assert stats([np.zeros((2, 3, 4))]).window()[1] > 0

    def test_survive_copies_selections_and_pickles(self):
        found = stats(volumes(), by=["a", "b", "b", "a"])
        for other in (found.copy(), copy.deepcopy(found), pickle.loads(pickle.dumps(found)), found[["a"]]):
            assert isinstance(other, IntensityStats)
            assert other.percentile(50, "a") == found.percentile(50, "a")
            assert len(other.failed) == 0

    def test_progress_bar_is_drawn_when_wanted(self, capsys):
        stats(volumes(), progress=True)
        assert "100.00%" in capsys.readouterr().out
