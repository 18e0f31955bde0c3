"""Published layouts as tables: what is there, what is missing and named."""

import json

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faimed3d.data import bids_table, msd_table

KINDS = ("T1w", "FLAIR")
V2 = {"channel_names": {"0": "T1", "1": "FLAIR"}, "labels": {"background": 0, "tumour": 1}, "file_ending": ".nii.gz"}


def write(folder, *names, **content):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    for name, value in content.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


class TestDecathlon:
    def test_one_file_a_case(self, tmp_path):
        old = {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "Anterior", "3": "Posterior"}}
        write(tmp_path, "imagesTr/b.nii.gz", "imagesTr/a.nii.gz", "labelsTr/a.nii.gz", "labelsTr/b.nii.gz",
              "imagesTr/._a.nii.gz", "imagesTs/c.nii.gz", dataset=old)  # fmt: skip
        table = msd_table(tmp_path)
        assert table["case"].tolist() == ["a", "b"]
        assert table["image"].tolist() == [str(tmp_path / "imagesTr" / f"{name}.nii.gz") for name in "ab"]
        assert table.attrs["codes"] == ["background", "Anterior", "class 2", "Posterior"]
        assert (table.attrs["fn_col"], table.attrs["channels"]) == ("image", ["MRI"])

    @given(
        cases=st.integers(1, 4),
        channels=st.integers(1, 3),
        lost=st.none() | st.tuples(st.integers(0, 3), st.integers(0, 2)),
    )
    @settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_every_channel_is_there_or_named(self, tmp_path_factory, cases, channels, lost):
        names = {str(k): f"MR {k}" for k in range(channels)}
        files = {(c, k): f"imagesTr/case_{c}_{k:04d}.nii.gz" for c in range(cases) for k in range(channels)}
        gone = files.pop(lost, None) if lost else None
        folder = write(
            tmp_path_factory.mktemp("msd"), *files.values(), *(f"labelsTr/case_{c}.nii.gz" for c in range(cases)),
            dataset={"channel_names": names, "labels": {"background": 0, "x": 1}},
        )  # fmt: skip
        (folder / "imagesTr").mkdir(exist_ok=True)
        if gone:
            with pytest.raises(FileNotFoundError, match=f"case_{lost[0]}"):
                msd_table(folder)
            return
        table = msd_table(folder)
        columns = [table.attrs["fn_col"]] if channels == 1 else table.attrs["fn_col"]
        assert len(table) == cases
        assert columns == (["image"] if channels == 1 else [*names.values()])
        for c, row in table.iterrows():
            assert [row[column] for column in columns] == [str(folder / files[c, k]) for k in range(channels)]

    def test_a_missing_channel_is_named(self, tmp_path):
        write(tmp_path, "imagesTr/ann_0000.nii.gz", "labelsTr/ann.nii.gz", dataset=V2)
        with pytest.raises(FileNotFoundError, match=r"the case ann has no FLAIR \(ann_0001\)"):
            msd_table(tmp_path)

    def test_a_channel_without_a_name_is_refused(self, tmp_path):
        write(tmp_path, *(f"imagesTr/ann_000{k}.nii.gz" for k in range(3)), "labelsTr/ann.nii.gz", dataset=V2)
        with pytest.raises(ValueError, match="there is also ann_0002"):
            msd_table(tmp_path)

    def test_a_case_without_an_image_is_named(self, tmp_path):
        write(tmp_path, "imagesTr/bob_0000.nii.gz", "labelsTr/ann.nii.gz", dataset=V2)
        with pytest.raises(FileNotFoundError, match="no image of the case ann"):
            msd_table(tmp_path)

    def test_a_listed_case_that_is_not_there_is_named(self, tmp_path):
        listed = {
            "training": [
                {"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"},
                {"label": "labelsTr/b.nii.gz"},
            ]
        }
        write(tmp_path, "imagesTr/a.nii.gz", "labelsTr/a.nii.gz", dataset={**V2, **listed})
        with pytest.raises(FileNotFoundError, match=r"b\.nii\.gz: no such file, but dataset\.json lists it"):
            msd_table(tmp_path)

    def test_regions_and_the_ignored_label_of_nnunet(self, tmp_path):
        write(tmp_path, "imagesTr/a.nii.gz", "labelsTr/a.nii.gz",
              dataset={**V2, "labels": {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}})  # fmt: skip
        attrs = msd_table(tmp_path).attrs
        assert attrs["regions"] == {"whole": (1, 2), "core": 2}
        assert (attrs["ignore_index"], attrs["codes"]) == (3, None)

    @pytest.mark.parametrize("wrap", [lambda parts: parts, lambda parts: {"folds": parts}])
    def test_folds(self, tmp_path, wrap):
        names = [f"labelsTr/{name}.nii.gz" for name in "abcd"] + [f"imagesTr/{name}.nii.gz" for name in "abcd"]
        write(
            tmp_path,
            *names,
            dataset=V2,
            splits_final=wrap([{"train": ["b", "d"], "val": ["a", "c"]}, {"val": ["b", "d"]}]),
        )
        assert msd_table(tmp_path)["fold"].tolist() == [0, 1, 0, 1]

    def test_what_is_no_such_folder_says_what_is_expected(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"holds dataset\.json, imagesTr and labelsTr"):
            msd_table(tmp_path)
        (tmp_path / "dataset.json").write_text("{")
        with pytest.raises(ValueError, match="is no JSON"):
            msd_table(tmp_path)
        (tmp_path / "dataset.json").write_text("{}")
        with pytest.raises(ValueError, match="expected an object with the entry 'labels'"):
            msd_table(tmp_path)

    def test_the_hippocampus(self, real_data):
        table = msd_table(real_data / "hippocampus")
        assert len(table) == 208
        assert table.attrs["codes"] == ["background", "Anterior", "Posterior"]
        assert table["fold"].value_counts().tolist() == [52] * 4


class TestBids:
    def test_sessions_runs_channels_and_participants(self, tmp_path):
        write(
            tmp_path,
            *(f"sub-{s}/ses-1/sub-{s}_ses-1_run-{r}_{kind}.nii.gz" for s in "ab" for r in (1, 2) for kind in KINDS),
            *(f"derivatives/hand/sub-{s}/ses-1/anat/sub-{s}_ses-1_desc-lesion_mask.nii.gz" for s in ("a", "b")),
            "derivatives/other/sub-a/ses-1/anat/sub-a_ses-1_desc-brain_mask.nii.gz",
        )  # fmt: skip
        (tmp_path / "participants.tsv").write_text("participant_id\tage\nsub-b\t50\nsub-a\t40\n")
        table = bids_table(tmp_path, ["T1w", "FLAIR"], "desc-lesion_mask")
        assert list(table.columns) == ["subject", "session", "run", "T1w", "FLAIR", "mask", "age"]
        assert table[["subject", "run", "age"]].values.tolist() == [
            ["a", "1", 40],
            ["a", "2", 40],
            ["b", "1", 50],
            ["b", "2", 50],
        ]
        assert table.attrs["fn_col"] == ["T1w", "FLAIR"]
        assert table["mask"][2].endswith("hand/sub-b/ses-1/anat/sub-b_ses-1_desc-lesion_mask.nii.gz")

    def test_a_missing_channel_or_mask_is_named_or_left_out(self, tmp_path):
        write(tmp_path, "sub-a/anat/sub-a_T1w.nii.gz", "sub-a/anat/sub-a_FLAIR.nii.gz", "sub-b/anat/sub-b_T1w.nii.gz",
              "derivatives/m/sub-a_dseg.nii.gz")  # fmt: skip
        with pytest.raises(FileNotFoundError, match=r"sub-b has no FLAIR .*, mask \(\*_dseg"):
            bids_table(tmp_path, ["T1w", "FLAIR"])
        assert bids_table(tmp_path, ["T1w", "FLAIR"], skip_incomplete=True)["subject"].tolist() == ["a"]
        assert "mask" not in bids_table(tmp_path, mask=None)

    def test_two_that_fit_are_named(self, tmp_path):
        write(tmp_path, "sub-a/anat/sub-a_acq-x_T1w.nii.gz", "sub-a/anat/sub-a_acq-y_T1w.nii.gz")
        with pytest.raises(ValueError, match="two files of one case are T1w"):
            bids_table(tmp_path, mask=None)
        assert bids_table(tmp_path, "acq-y_T1w", None)["image"][0].endswith("acq-y_T1w.nii.gz")

    def test_names_of_labels(self, tmp_path):
        write(tmp_path, "sub-a/anat/sub-a_T1w.nii.gz", "derivatives/m/sub-a/anat/sub-a_dseg.nii.gz")
        (tmp_path / "derivatives/m/dseg.tsv").write_text("index\tname\n1\tgrey\n3\twhite\n")
        assert bids_table(tmp_path).attrs["codes"] == ["background", "grey", "class 2", "white"]

    def test_nothing_there(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no image sub-\*_T1w"):
            bids_table(tmp_path)
        with pytest.raises(FileNotFoundError, match="no such folder"):
            bids_table(tmp_path / "none")


def test_the_tables_go_to_a_csv_and_back(tmp_path):
    write(tmp_path, "imagesTr/a.nii.gz", "labelsTr/a.nii.gz", dataset=V2)
    table = msd_table(tmp_path)
    table.to_csv(tmp_path / "t.csv", index=False)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "t.csv"), table)
