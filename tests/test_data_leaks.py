"""Whatever is in training and in validation at once is said, and a splitter is taken at its word or refused."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
from cases import segmentation
from hypothesis import given, settings
from hypothesis import strategies as st

from faimed3d.data import GroupSplitter
from faimed3d.data.leaks import warn_of_leaks
from faimed3d.data.splitting import positions
from faimed3d.plan import make_folds


def said(*args, **kwargs):
    """The texts of the warnings of a call."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_leaks(*args, **kwargs)
    return [str(one.message) for one in caught]


class TestLeaks:
    @settings(max_examples=100)
    @given(st.data())
    def test_one_warning_exactly_where_something_is_on_both_sides(self, data):
        count = data.draw(st.integers(2, 8))
        rows = st.lists(st.integers(0, count - 1), min_size=1, max_size=count)
        train, valid = data.draw(rows), data.draw(rows)
        names = st.lists(st.integers(0, 4), min_size=count, max_size=count)
        patients, files = data.draw(names), data.draw(names)
        table = pd.DataFrame({"image": [f"a/{name}.nii" for name in files], "patient": patients})
        shared = [
            set(train) & set(valid),
            {patients[k] for k in train} & {patients[k] for k in valid},
            {files[k] for k in train} & {files[k] for k in valid},
        ]
        found = said(table, (train, valid), source_of=lambda row: row["image"])
        assert len(found) == any(shared)
        if found:
            kind = next(k for k, both in enumerate(shared) if both)
            assert ("items are in both", "patients (column 'patient')", "images are in both")[kind] in found[0]
            assert found[0].startswith(f"{len(shared[kind])} ")

    def test_files_are_told_by_their_paths_and_channels_together(self):
        rows = [["t1/a.nii", "atlas.nii"], ["t1/b.nii", "atlas.nii"], ["./t1//a.nii", "x/../atlas.nii"], np.zeros(3)]
        assert said(rows, ([0], [1, 3])) == []
        assert "1 images are in both training and validation, the first is t1/a.nii" in said(rows, ([0, 1], [2, 3]))[0]

    def test_loaders_say_so(self, table, root):
        table.loc[5, ["image", "mask"]] = table.loc[0, ["image", "mask"]]
        with pytest.warns(UserWarning, match=r"1 images are in both .* images/Ann_0.nii.gz;"):
            segmentation(table, root)
        with pytest.warns(UserWarning, match="2 of 6 items are in both training and validation, the first is number 4"):
            segmentation(table, root, valid_col=None, splitter=lambda df: (range(len(df)), [4, 5]))


class TestPositions:
    @pytest.mark.parametrize(
        ("splits", "error", "text"),
        [
            (([0, 1], [7]), ValueError, "returned position 7, but there are 4 items.*df.reset_index"),
            (([0, -1], [1]), ValueError, "returned position -1"),
            (([True, False], [False, True]), ValueError, "returned 2 times True or False, but there are 4 items"),
            (([0, 1, 2],), ValueError, "must return two lists, of training and of validation, got 1"),
            (([0.5], [1]), TypeError, "must return positions.*float"),
            ((["a"], [1]), TypeError, "must return positions.*str"),
            (5, TypeError, "must return positions.*not iterable"),
        ],
    )
    def test_what_names_no_items_is_refused(self, splits, error, text):
        with pytest.raises(error, match=text):
            positions(splits, 4)

    @given(st.lists(st.sampled_from([0, 1]), min_size=1, max_size=9))
    def test_masks_numbers_and_arrays_mean_the_same(self, sides):
        valid = np.array(sides, bool)
        expected = ([k for k, side in enumerate(sides) if not side], [k for k, side in enumerate(sides) if side])
        for splits in ((~valid, valid), [np.flatnonzero(~valid), np.flatnonzero(valid)], (list(~valid), list(valid))):
            assert positions(splits, len(sides)) == expected


class TestNamesOfPatients:
    @settings(max_examples=60)
    @given(
        st.lists(st.tuples(st.integers(1, 5), st.sampled_from([int, str, float, " {} ".format, "{}\t".format])),
                 min_size=4, max_size=14), st.integers(0, 99),
    )  # fmt: skip
    def test_however_a_name_is_written_it_is_one_patient(self, cells, seed):
        cells = [*cells, (6, str), (7, str)]  # text among them, as in a column that pandas reads in parts
        who = [number for number, _ in cells]
        table = pd.DataFrame({"patient": pd.Series([write(number) for number, write in cells], dtype=object)})
        train, valid = GroupSplitter("patient", 0.4, seed)(table)
        assert not {who[k] for k in train} & {who[k] for k in valid}
        if len(set(who)) >= 3:
            assert len(set(zip(make_folds(table, 3).numbers, who, strict=True))) == len(set(who))

    def test_other_names_stay_apart_and_blanks_are_none(self):
        table = pd.DataFrame({"patient": ["01", "1", "1.5", "A 1", "A1"]})
        assert len(set(make_folds(table, 5).numbers)) == 5
        with pytest.raises(ValueError, match=re.escape("1 of 2 items have no group (column 'patient')")):
            GroupSplitter("patient")(pd.DataFrame({"patient": ["a", " "]}))
