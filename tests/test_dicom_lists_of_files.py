"""create([files]): the slices of one DICOM series by name; anything else in a list is refused, saying what to do."""

import os

import numpy as np
import pytest
import torch
from dicom_faults import two_series
from dicom_series import make_series, stored_values, write, write_series
from fastcore.foundation import L
from hypothesis import given, settings
from hypothesis import strategies as st

from faimed3d import errors
from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.dicom import dicom_inventory
from faimed3d.io import write as write_volume


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_series(tmp_path_factory.mktemp("series"))


class TestTheFilesOfOneSeries:
    @pytest.mark.parametrize("kind", [list, tuple, L, lambda files: [str(file) for file in files][::-1]])
    @pytest.mark.parametrize("cls", [TensorDicom3D, TensorMask3D])
    def test_are_the_volume_of_their_folder(self, files, kind, cls):
        got, folder = cls.create(kind(files)), cls.create(files[0].parent)
        assert type(got) is cls
        assert got.equal(folder)
        assert got.geometry == folder.geometry
        assert got.metadata["table"].equals(folder.metadata["table"])

    def test_may_lie_in_several_folders_and_be_named_from_here(self, tmp_path, monkeypatch):
        datasets = make_series()
        paths = [*write(datasets[:2], tmp_path / "a"), *write(datasets[2:], tmp_path / "b")]
        monkeypatch.chdir(tmp_path)
        for names in (paths, [os.path.relpath(path) for path in paths], [paths[0], *map(os.path.relpath, paths[1:])]):
            np.testing.assert_array_equal(TensorDicom3D.create(names).numpy(), stored_values())

    def test_one_named_twice_counts_once(self, files):
        assert TensorDicom3D.create([*files, files[2]]).shape == (5, 6, 7)

    def test_are_chosen_among_others(self, tmp_path):
        two_series(tmp_path)
        table = dicom_inventory(tmp_path)
        for _, row in table.iterrows():
            assert TensorDicom3D.create(row["files"]).shape[0] == row["slices"]
        everything = [file for row in table["files"] for file in row]
        with pytest.raises(
            errors.SeveralVolumes, match=r"a list of 8 files in .*: 2 volumes\. List the files of one, or"
        ):
            TensorDicom3D.create(everything)
        assert TensorDicom3D.create(everything, series="1.2.3.4").shape == (5, 6, 7)
        with pytest.raises(errors.NoImages, match=r"a list of 8 files in .*: no volume '9'"):
            TensorDicom3D.create(everything, series="9")
        with pytest.raises(TypeError, match="a row of an inventory names its files itself"):
            TensorDicom3D.create(everything, series=table.iloc[0])


class TestRefused:
    def test_other_formats(self, files, tmp_path):
        write_volume(tmp_path / "a.nii", np.zeros((2, 3, 4)), TensorDicom3D.create(files)[:2, :3, :4].geometry)
        for names in ([tmp_path / "a.nii"], [*files, tmp_path / "a.nii"]):
            with pytest.raises(ValueError, match=rf"a.nii: no DICOM file, in a list of {len(names)}\. .* ImageBlock3D"):
                TensorDicom3D.create(names)

    def test_what_is_no_file(self, files):
        with pytest.raises(ValueError, match="a list of no files"):
            TensorDicom3D.create([])
        with pytest.raises(ValueError, match=r"a folder in a list of 1; .* give the folder alone"):
            TensorDicom3D.create([files[0].parent])
        with pytest.raises(FileNotFoundError, match="gone: no such file, in a list of 6"):
            TensorDicom3D.create([*files, files[0].parent / "gone"])
        for source in (np.zeros((3, 4)), torch.zeros(3, 4), 1):
            with pytest.raises(TypeError, match=rf"got list with a {type(source).__name__}: stack arrays"):
                TensorDicom3D.create([source, source])

    def test_files_that_hold_no_slice_of_the_volume(self, files, tmp_path):
        def unplaced(k, dataset):
            del dataset.ImagePositionPatient, dataset.ImageOrientationPatient, dataset.PixelSpacing

        (scout,) = write_series(tmp_path, stored_values((1, 6, 7)), edit=unplaced, SeriesInstanceUID="1.2.3.8")
        with pytest.raises(errors.UnsupportedImage, match="one of 1 files, of 6 in a list, that hold no slice"):
            TensorDicom3D.create([*files, scout])


@settings(max_examples=60)
@given(st.sets(st.integers(0, 4), max_size=4), st.randoms())
def test_any_part_of_a_series_is_right_or_refused(files, lost, random):
    left = [file for k, file in enumerate(files) if k not in lost]
    random.shuffle(left)
    kept = [k for k in range(5) if k not in lost]
    if len(kept) > 1 and kept[-1] - kept[0] >= len(kept) and len(set(np.diff(kept))) > 1:
        with pytest.raises(errors.MissingSlices):
            TensorDicom3D.create(left)
        return
    try:
        got = TensorDicom3D.create(left)
    except errors.ReadError:
        assert set(np.diff(kept)) - {1}  # even gaps that are wider than a slice is thick
        return
    np.testing.assert_array_equal(got.numpy(), stored_values()[kept])
