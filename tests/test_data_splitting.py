"""Patients are kept on one side."""

import warnings

import pandas as pd
import pytest
import torch
from cases import segmentation
from fastai.torch_core import set_seed
from hypothesis import given, settings
from hypothesis import strategies as st

from faimed3d.data import GroupSplitter
from faimed3d.data.leaks import warn_of_leaks


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
            warn_of_leaks(table, ([0, 2], [1]), "who")

    def test_no_warning_where_nothing_is_known_or_wrong(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warn_of_leaks(pd.DataFrame({"who": [1, 1]}), ([0], [1]))
            warn_of_leaks(pd.DataFrame({"patient": [1, 2]}), ([0], [1]))
            warn_of_leaks(["a", "b"], ([0], [1]))
