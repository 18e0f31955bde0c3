"""Where the header of a volume can be read: no value of it is kept or shown."""

import pickle

import pytest
import SimpleITK as sitk
from io_volumes import OBLIQUE, volume

from faimed3d.io import SourceHeader, read, to_sitk, write


class TestHeader:
    def test_shows_neither_path_nor_value(self, tmp_path):
        write(tmp_path / "Jane Doe.nii.gz", volume(), OBLIQUE)
        header = read(tmp_path / "Jane Doe.nii.gz")[2]
        assert repr(header) == "SourceHeader(1 file)"
        assert repr(SourceHeader(("a", "b"))) == "SourceHeader(2 files)"
        assert pickle.loads(pickle.dumps(header)) == header
        assert len(pickle.dumps(header)) < 400

    @pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha", ".mhd", ".hdr"])
    def test_table_is_read_anew(self, tmp_path, suffix):
        path = tmp_path / f"a{suffix}"
        write(path, volume(), OBLIQUE)
        header = read(path)[2]
        first = header.table()
        assert first.columns.tolist() == ["tags", str(path)]
        write(path, volume("float32"), OBLIQUE)
        assert not header.table().equals(first)
        numbers = header.table(deidentify=True)
        assert 0 < len(numbers) <= len(first)

    def test_deidentified_table_has_no_text(self, tmp_path):
        image = to_sitk(volume(), OBLIQUE)
        image.SetMetaData("PatientName", "Doe^Jane")
        image.SetMetaData("PatientID", "0123456")
        sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
        header = read(tmp_path / "a.nrrd")[2]
        assert "Doe^Jane" in header.table().to_string()
        assert not {"PatientName", "PatientID"} & set(header.table(deidentify=True).tags)
        assert "sizes" in header.table(deidentify=True).tags.tolist()

    def test_is_immutable_and_empty_without_files(self):
        with pytest.raises(AttributeError):
            SourceHeader().files = ("a",)
        assert SourceHeader().table().columns.tolist() == ["tags"]
