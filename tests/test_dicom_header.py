"""Headers: the table of all elements, and the reading of one file."""

import contextlib
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_faults import (
    packaged,
)
from dicom_series import (
    NATIVE,
    SECRETS,
    compressed,
    enhanced,
    make_series,
    mosaic,
    stored_values,
    write,
    write_series,
)
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from faimed3d import errors
from faimed3d.dicom import dicom_inventory, header_table, read_dicom
from faimed3d.dicom.grouping.gaps import GRID_TOLERANCE_MM
from faimed3d.dicom.header import WANTED, Tag, read_header


class TestHeaderTable:
    def test_one_column_per_slice_in_slice_order(self, tmp_path):
        series = make_series(FlipAngle="4.6")
        del series[2].FlipAngle
        write(series, tmp_path)
        files = read_dicom(tmp_path)[2]
        table = header_table(files)
        assert list(table.columns) == ["tags", *files]
        rows = table.set_index("tags")
        assert list(rows.index) == sorted(rows.index)
        assert tuple(rows.loc["0008|0005"]) == ("ISO_IR 192",) * 5
        assert tuple(rows.loc["0008|0008"]) == ("ORIGINAL\\PRIMARY\\AXIAL",) * 5
        assert tuple(rows.loc["0008|103e"]) == ("Größe",) * 5
        assert tuple(rows.loc["0018|1314"]) == ("4.6", "4.6", "", "4.6", "4.6")
        assert tuple(rows.loc["0020|0013"]) == ("1", "2", "3", "4", "5")
        assert tuple(rows.loc["0028|0010"]) == ("6",) * 5
        assert tuple(rows.loc["0010|0010"]) == (SECRETS[0],) * 5
        assert "7fe0|0010" not in rows.index

    def test_deidentified(self, tmp_path):
        files = write_series(tmp_path, OperatorsName="Roe^Rick", edit=lambda k, d: d.add_new(0x00091010, "LO", "Doe"))
        table = header_table(files, deidentify=True)
        text = " ".join(table.iloc[:, 1:].to_numpy().ravel())
        assert not any(secret in text for secret in (*SECRETS, "20200229", "Roe", "Doe", "1.2.3"))
        assert {"0028|0010", "0020|0032", "0008|0060", "0008|0016"} <= set(table["tags"])
        assert not {"0010|0010", "0008|0018", "0020|000d", "0008|103e", "0009|1010"} & set(table["tags"])

    @pytest.mark.parametrize("syntax", NATIVE, ids=lambda uid: uid.name)
    def test_equals_simpleitk_and_does_not_depend_on_the_syntax(self, tmp_path, syntax):
        path = write_series(tmp_path, syntax=syntax, SOPInstanceUID="1.2.3.77")[0]
        rows = header_table(path).set_index("tags")[str(path)]
        image = sitk.ReadImage(str(path))
        for tag in (
            "0008|0060",
            "0018|0050",
            "0020|0032",
            "0020|0037",
            "0028|0030",
            "0028|0100",
            "0010|0020",
            "0020|000e",
        ):
            assert rows[tag] == image.GetMetaData(tag).strip()

    @pytest.mark.parametrize(
        "name", ["MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "CT_small.dcm"]
    )
    def test_real_headers_equal_pydicoms(self, name):
        path = packaged(name)
        rows = header_table(path).set_index("tags")[str(path)]
        for element in pydicom.dcmread(path):
            if element.VR in ("CS", "LO", "SH", "UI", "US", "AE", "TM", "DA") and not element.tag.is_private:
                value = element.value
                several = element.VM > 1
                text = "\\".join(map(str, value)) if several else "" if value is None else str(value)
                assert rows[f"{element.tag.group:04x}|{element.tag.elem:04x}"] == text

    def test_what_is_no_dicom_file(self, tmp_path):
        (tmp_path / "a").write_text("text")
        with pytest.raises(errors.DamagedFile, match="not a DICOM file"):
            header_table([tmp_path / "a"])
        with pytest.raises(FileNotFoundError):
            header_table([tmp_path / "b"])


class TestReadHeader:
    def test_every_packaged_file_as_pydicom_reads_it(self):
        folder = Path(packaged("MR_small.dcm")).parent
        compared = 0
        for path in sorted(folder.glob("*.dcm")):
            header = read_header(path, WANTED)
            if header is None or header.error:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                dataset = pydicom.dcmread(path, force=True)
            for tag in WANTED:
                raw = header.values.get(tag)
                element = dataset.get_item(tag) if tag in dataset else None
                value = getattr(element, "value", None)
                if isinstance(value, bytes) and raw is not None and not header.deflated:
                    assert raw == value
                assert (tag in header.values) == (tag in dataset) or not value, (path.name, hex(tag))
            assert bool(header.pixel_tag) == any(t in dataset for t in (Tag.PixelData, 0x7FE00008, 0x7FE00009))
            compared += 1
        assert compared > 40

    def test_mutated_bytes_raise_documented_errors_only(self, tmp_path):
        generator = np.random.default_rng(4)
        path = tmp_path / "file.dcm"
        sources = [write_series(tmp_path / s.name, syntax=s)[0].read_bytes() for s in NATIVE]
        sources.append(write([enhanced(stored_values())], tmp_path / "e")[0].read_bytes())
        sources.append(write([mosaic(stored_values())], tmp_path / "m")[0].read_bytes())
        sources.append(write([compressed(make_series()[0], "rle")], tmp_path / "r")[0].read_bytes())
        for n in range(700):
            data = bytearray(sources[n % len(sources)])
            for _ in range(generator.integers(1, 6)):
                data[generator.integers(128, len(data))] = generator.integers(256)
            if n % 5 == 0:
                del data[generator.integers(1, len(data)) :]
            path.write_bytes(data)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for function in (read_dicom, dicom_inventory, header_table):
                    with contextlib.suppress(errors.ReadError):
                        function(path)

    @pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    def test_a_changed_header_byte_never_changes_the_volume_in_silence(self, tmp_path, syntax):
        generator = np.random.default_rng(5)
        paths = write_series(tmp_path, syntax=syntax, FlipAngle="4.5")
        array, geometry, _ = read_dicom(tmp_path)
        for _ in range(300):
            path = paths[generator.integers(5)]
            good = path.read_bytes()
            place = generator.integers(132, len(good) - 84)
            path.write_bytes(good[:place] + bytes([good[place] ^ 1 << generator.integers(8)]) + good[place + 1 :])
            with contextlib.suppress(errors.ReadError):
                changed, moved, _ = read_dicom(tmp_path)
                np.testing.assert_array_equal(changed, array)
                assert moved.distance(geometry) < GRID_TOLERANCE_MM * 2
            path.write_bytes(good)
