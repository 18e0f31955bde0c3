"""Values of headers by DICOM keyword, as by tag: in the metadata, in what is set on a tensor, and in the table."""

import numpy as np
import pytest
from dicom_series import write_series
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread

from faimed3d.basics import TensorDicom3D
from faimed3d.dicom import header_table
from faimed3d.io import write
from faimed3d.io.source_header import SourceHeader
from faimed3d.metadata import names_of


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    return TensorDicom3D.create(write_series(tmp_path_factory.mktemp("series"))[0].parent)


class TestKeywords:
    def test_give_what_tags_give(self, scan):
        assert scan.get_metadata("PatientName") == scan.metadata["0010|0010"] == "Doe^Jane"
        assert scan.metadata["Modality"] == "CT"

    def test_of_what_differs_give_one_value_for_each_slice(self, scan):
        assert scan.metadata["InstanceNumber"] == scan.metadata["0020|0013"]
        assert sorted(scan.metadata["InstanceNumber"], key=int) == list("12345")

    def test_that_are_not_there_say_so(self, scan):
        with pytest.raises(KeyError, match=r"PatientNmae: no such tag or keyword .* did you mean 'PatientName'"):
            scan.get_metadata("PatientNmae")
        with pytest.raises(KeyError, match="EchoTime: no such tag or keyword in this header"):
            scan.get_metadata("EchoTime")
        with pytest.raises(KeyError, match=r"0018\|0081: no such tag"):
            scan.get_metadata("0018|0081")

    def test_and_tags_are_one_name_of_what_is_set(self, scan):
        for one, other in (("PatientName", "0010|0010"), ("0010|0010", "PatientName")):
            t = scan + 0
            t.set_metadata(one, "Roe")
            assert t.get_metadata(one) == t.get_metadata(other) == "Roe"
            t.set_metadata(other, "Poe")
            assert t.get_metadata(one) == t.get_metadata(other) == "Poe"
            t.del_metadata(one)
            for name in (one, other):
                with pytest.raises(KeyError):
                    t.get_metadata(name)
        assert scan.get_metadata("PatientName") == "Doe^Jane"

    def test_of_other_formats_are_fields_of_their_headers(self, scan, tmp_path):
        write(tmp_path / "a.mha", scan.numpy(), scan.geometry)
        there = TensorDicom3D.create(tmp_path / "a.mha")
        assert there.metadata["NDims"] == "3"
        with pytest.raises(KeyError, match="PatientName: no field of this header; metadata"):
            there.get_metadata("PatientName")

    def test_without_a_header_are_not_known(self):
        with pytest.raises(KeyError, match="Modality"):
            TensorDicom3D(np.zeros((2, 3, 4))).get_metadata("Modality")


class TestTable:
    def test_has_keywords_as_index_and_columns_as_before(self, scan):
        table = scan.metadata["table"]
        assert table.index.name == "keyword"
        assert table.columns[0] == "tags"
        assert table.shape[1] == 1 + 5
        assert table.loc["PatientName"].tolist() == ["0010|0010", *["Doe^Jane"] * 5]
        assert table.loc[table.tags == "0008|0060"].iloc[0, 1] == "CT"
        for keyword, tag in zip(table.index, table.tags, strict=True):
            assert keyword == "" or set(names_of(tag)) == {keyword, tag}

    def test_without_what_identifies_has_no_name_either(self, scan):
        assert "PatientName" not in header_table(scan._header.files, deidentify=True).index


@settings(max_examples=100)
@given(st.one_of(st.text(max_size=20), st.from_regex(r"[0-9a-f]{4}\|[0-9a-f]{4}", fullmatch=True)))
def test_names_are_of_one_value(key):
    names = names_of(key)
    assert names[0] == key
    assert len(names) <= 2
    assert all(set(names_of(name)) == set(names) for name in names)


class TestOneValue:
    """A header value is looked for alone; the table is made when it is asked for."""

    @pytest.fixture
    def folder(self, tmp_path):
        files = write_series(
            tmp_path, SpecificCharacterSet="ISO_IR 192", PatientName="Müller^Ä", StudyDescription="a\\b ",
            WindowCenter=[40, 60], FlipAngle=None,
        )  # fmt: skip
        dataset = dcmread(files[1])
        dataset.ImageComments = "one alone"
        dataset.save_as(files[1])
        return tmp_path

    def test_is_that_of_the_table_for_every_tag(self, folder):
        metadata = TensorDicom3D.create(folder).metadata
        rows = metadata["table"].set_index("tags")
        assert len(rows) > 25
        for tag, row in rows.iterrows():
            expected = row.tolist()
            assert metadata[tag] == (expected[0] if len(set(expected)) == 1 else expected)
        assert metadata["PatientName"] == "Müller^Ä"
        assert metadata["ImageComments"].count("one alone") == 1

    def test_reads_no_table(self, folder, monkeypatch):
        image = TensorDicom3D.create(folder)
        monkeypatch.setattr(SourceHeader, "table", lambda *_: pytest.fail("the whole table was read"))
        assert image.get_metadata("PatientName") == "Müller^Ä"
        with pytest.raises(KeyError, match=r"PatientNam.*did you mean 'PatientName'"):
            image.metadata["PatientNam"]
