"""Compressed pixels come back as they were stored, or are refused."""

import numpy as np
import pydicom
import pytest
from dicom_faults import expected_affine, packaged
from dicom_series import (
    ORIGIN,
    compressed,
    enhanced,
    make_series,
    make_slice,
    stored_values,
    write,
)

from faimed3d import errors
from faimed3d.dicom import read_dicom


class TestCompressed:
    @pytest.mark.parametrize("kind", ["rle", "jpeg", "jpeg2000"])
    @pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16])
    def test_stored_values_come_back(self, tmp_path, kind, dtype):
        low, high = (0, 255) if dtype == np.uint8 else (-1000, 3000) if dtype == np.int16 else (0, 60000)
        stored = stored_values((2, 33, 40), low=low, high=high, dtype=dtype)
        elements = {"RescaleSlope": "2.5", "RescaleIntercept": "-7", "PhotometricInterpretation": "MONOCHROME1"}
        write([compressed(s, kind) for s in make_series(stored, **elements)], tmp_path)
        array, geometry, _ = read_dicom(tmp_path)
        np.testing.assert_array_equal(array, (stored * 2.5 - 7).astype(np.float32))
        np.testing.assert_allclose(geometry.affine, expected_affine(), atol=1e-6)

    def test_frames_of_an_enhanced_object(self, tmp_path):
        stored = stored_values((4, 33, 40))
        write([compressed(enhanced(stored, order=[2, 0, 3, 1]), "rle")], tmp_path)
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored)

    @pytest.mark.parametrize("kind", ["rle", "jpeg", "jpeg2000"])
    @pytest.mark.parametrize("cut", [1, 9, 200])
    def test_a_cut_file_is_refused(self, tmp_path, kind, cut):
        stored = stored_values((2, 33, 40))
        path = write([compressed(s, kind) for s in make_series(stored)], tmp_path)[0]
        path.write_bytes(path.read_bytes()[:-cut])
        with pytest.raises(errors.TruncatedFile, match=path.name):
            read_dicom(tmp_path)

    @pytest.mark.parametrize("kind", ["jpeg", "jpeg2000"])
    def test_a_frame_of_another_size_than_the_header_says_is_refused(self, tmp_path, kind):
        dataset = compressed(make_slice(stored_values((1, 33, 40))[0], ORIGIN), kind)
        dataset.Rows = 34
        path = write([dataset], tmp_path)[0]
        with pytest.raises(errors.DamagedFile, match=r"frame 1 is 33 x 40 pixels, \(0028,0010\) Rows"):
            read_dicom(path)

    @pytest.mark.parametrize(
        ("kind", "mark", "offset"), [("jpeg2000", b"\xff\x4f\xff\x51", 42), ("jpeg", b"\xff\xc3", 4)]
    )
    def test_a_frame_of_deeper_words_than_the_header_says_is_refused(self, tmp_path, kind, mark, offset):
        # GDCM crashed on a JPEG 2000 stream that claimed 179 bits
        path = write([compressed(make_slice(stored_values((1, 33, 40))[0], ORIGIN), kind)], tmp_path)[0]
        data = bytearray(path.read_bytes())
        data[data.index(mark) + offset] = 50
        path.write_bytes(data)
        with pytest.raises(errors.DamagedFile, match=r"frame 1 has 1 samples of 5[01] bits, \(0028,0100\) BitsAll"):
            read_dicom(path)

    def test_jpeg_2000_of_more_than_16_bits_is_refused(self, tmp_path):
        dataset = compressed(make_slice(stored_values((1, 33, 40))[0], ORIGIN), "jpeg2000")
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 32, 20, 19
        path = write([dataset], tmp_path)[0]
        data = bytearray(path.read_bytes())
        data[data.index(b"\xff\x4f\xff\x51") + 42] = 19
        path.write_bytes(data)
        with pytest.raises(errors.UnsupportedImage, match="frame 1 has 20 bits, compressed frames of more than 16"):
            read_dicom(path)

    @pytest.mark.parametrize("kind", ["jpeg", "jpeg2000"])
    def test_a_codestream_cut_inside_its_fragment_is_refused(self, tmp_path, kind):
        dataset = compressed(make_slice(stored_values((1, 33, 40))[0], ORIGIN), kind)
        frame = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
        dataset.PixelData = pydicom.encaps.encapsulate([frame[: len(frame) // 4 * 2]])
        path = write([dataset], tmp_path)[0]
        with pytest.raises(errors.TruncatedFile, match="ends without its end mark"):
            read_dicom(path)

    def test_an_rle_frame_cut_inside_its_fragment_is_refused(self, tmp_path):
        dataset = compressed(make_slice(stored_values((1, 33, 40))[0], ORIGIN), "rle")
        frame = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
        dataset.PixelData = pydicom.encaps.encapsulate([frame[:-200]])
        path = write([dataset], tmp_path)[0]
        with pytest.raises(errors.TruncatedFile, match="frame 1 ends before its last pixel: an RLE segment"):
            read_dicom(path)

    @pytest.mark.parametrize(
        "name", ["RLE", "bigendian", "expb", "implicit", "jp2klossless", "jpeg_ls_lossless", "padded"]
    )
    def test_pydicoms_copies_of_one_image_are_equal(self, name):
        plain = read_dicom(packaged("MR_small.dcm"))[0]
        np.testing.assert_array_equal(plain, read_dicom(packaged(f"MR_small_{name}.dcm"))[0])

    @pytest.mark.parametrize("name", ["693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm"])
    def test_values_equal_pydicoms(self, name):
        path = packaged(name)
        dataset = pydicom.dcmread(path)
        expected = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        np.testing.assert_array_equal(read_dicom(path)[0][0], expected)
