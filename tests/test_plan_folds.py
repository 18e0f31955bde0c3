"""Folds: every case is in validation once, no patient on two sides, equal numbers, rare classes spread."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faimed3d.plan.folds import Folds, make_folds


def table(patients, **columns):
    return pd.DataFrame({"image": [f"{n}.nii.gz" for n in range(len(patients))], "patient": patients, **columns})


@given(
    patients=st.lists(st.integers(0, 11), min_size=8, max_size=40).filter(lambda drawn: len(set(drawn)) >= 5),
    n=st.integers(2, 5),
    seed=st.integers(0, 3),
    data=st.data(),
)
def test_every_case_is_in_one_fold_and_every_patient_too(patients, n, seed, data):
    some = st.lists(st.frozensets(st.integers(0, 3)), min_size=len(patients), max_size=len(patients))
    classes = data.draw(st.none() | some)
    df = table(patients)
    folds = make_folds(df, n, classes=classes, seed=seed)
    assert len(folds) == n
    assert sorted(i for name in folds.names for i in folds.split(name)[1]) == list(range(len(df)))
    for name in folds.names:
        train, valid = folds.split(name)
        assert sorted([*train, *valid]) == list(range(len(df)))
        assert valid
        assert not {patients[i] for i in train} & {patients[i] for i in valid}
    counts = Counter(folds.numbers)
    assert max(counts.values()) - min(counts.values()) <= max(Counter(patients).values())
    order = data.draw(st.permutations(range(len(df))))
    shuffled = [classes[i] for i in order] if classes else None
    again = make_folds(df.iloc[order], n, classes=shuffled, seed=seed)
    assert again.numbers == tuple(folds.numbers[i] for i in order)  # it is the patient that counts, not the row


class TestBalance:
    def test_single_scans_differ_by_one_at_most(self):
        assert sorted(Counter(make_folds(table(range(23)), 5).numbers).values()) == [4, 4, 5, 5, 5]

    def test_a_rare_class_is_spread(self):
        classes = [{1, 2} if number < 5 else {1} for number in range(40)]
        for seed in range(5):
            folds = make_folds(table(range(40)), 5, classes=classes, seed=seed)
            assert Counter(folds.numbers[:5]) == dict.fromkeys(range(5), 1)
            assert set(Counter(folds.numbers).values()) == {8}

    def test_a_column_of_classes(self):
        df = table(range(12), side=["left"] * 4 + ["right"] * 8)
        folds = make_folds(df, 4, classes="side")
        assert Counter(folds.numbers[:4]) == dict.fromkeys(range(4), 1)

    def test_the_seed_decides(self):
        drawn = {make_folds(table(range(20)), 5, seed=seed).numbers for seed in range(6)}
        assert len(drawn) == 6
        assert make_folds(table(range(20)), 5).numbers == make_folds(table(range(20)), 5, seed=0).numbers

    def test_without_patients_each_case_is_its_own(self):
        folds = make_folds(pd.DataFrame({"image": ["a", "b", "c"]}), 3)
        assert sorted(folds.numbers) == [0, 1, 2]

    def test_another_column_of_patients(self):
        df = pd.DataFrame({"who": ["a", "a", "b", "b", "c", "c"]})
        numbers = make_folds(df, 3, group_col="who").numbers
        assert numbers[::2] == numbers[1::2]


class TestGivenFolds:
    def test_a_column_says_which(self):
        folds = make_folds(table(range(5), fold=[1, 0, 1, 2, 0]))
        assert folds == Folds((0, 1, 2), (1, 0, 1, 2, 0))
        assert folds.split(1) == ([1, 3, 4], [0, 2])

    def test_floats_of_a_csv_are_numbers(self):
        assert make_folds(table(range(3), fold=[0.0, 1.0, 0.0])).names == (0, 1)

    def test_names(self):
        folds = make_folds(table(range(4), site=["Bonn", "Ulm", "Bonn", "Jena"]), fold_col="site")
        assert folds.names == ("Bonn", "Jena", "Ulm")
        assert folds.split("Bonn") == ([1, 3], [0, 2])
        assert folds.split(np.int64(2)) == ([0, 2, 3], [1])

    def test_a_patient_in_two_of_them_is_told(self):
        with pytest.warns(UserWarning, match=r"1 of 3 patients .* are in several folds; results will be too good"):
            make_folds(table(["a", "a", "b", "c"], fold=[0, 1, 0, 1]))


class TestRefusals:
    def test_what_is_no_fold(self):
        folds = Folds((0, 1), (0, 1, 1))
        for wrong in (2, -1, "a", None, True):
            with pytest.raises(ValueError, match=f"there is no fold {wrong!r}: there are 0, 1"):
                folds.split(wrong)

    def test_too_few_patients(self):
        with pytest.raises(ValueError, match=r"5 folds need 5 patients .* at least, and there are 2: ask for fewer"):
            make_folds(table(["a", "a", "b"] * 3), 5)
        with pytest.raises(ValueError, match="n must be a whole number of folds, 2 or more, got 1"):
            make_folds(table(range(9)), 1)

    def test_cases_without_patient_or_fold(self):
        with pytest.raises(ValueError, match=r"1 of 3 items have no group .*, the first is number 1"):
            make_folds(table(["a", None, "b"]), 2)
        with pytest.raises(ValueError, match=r"1 of 3 cases have no fold .column 'fold'., the first is number 2"):
            make_folds(table(range(3), fold=[0, 1, np.nan]))

    def test_columns_that_contradict(self):
        with pytest.raises(ValueError, match="column 'fold' names 2 folds, but n=5: leave n out, or the column"):
            make_folds(table(range(9), fold=[0, 1, 0] * 3), 5)
        with pytest.raises(ValueError, match="column 'fold' names one fold alone, 0: at least 2 are needed"):
            make_folds(table(range(3), fold=0))
        with pytest.raises(ValueError, match="there are 3 cases and 1 entries of classes"):
            make_folds(table(range(3)), 2, classes=[{1}])


def test_columns_of_true_and_of_mixed_numbers_name_folds():
    folds = make_folds(pd.DataFrame({"fold": [True, False, True]}))
    assert (folds.names, folds.split("True")[1], folds.split(0)[1]) == (("False", "True"), [0, 2], [1])
    assert make_folds(pd.DataFrame({"fold": pd.Series([1, 2.0, 2], dtype=object)})).numbers == (0, 1, 1)
    with pytest.raises(ValueError, match="2 folds need 2 cases at least, and there are 1: one cannot be divided"):
        make_folds(pd.DataFrame({"a": [1]}), 2)
