"""DICOM folders: read right, or refused by the named exception."""

import gzip
import os
import shutil
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
import SimpleITK as sitk
from dicom_series import (
    AXIAL,
    NATIVE,
    OBLIQUE,
    ORIGIN,
    SECRETS,
    SPACING,
    compressed,
    direction_of,
    enhanced,
    make_series,
    make_slice,
    mosaic,
    oblique,
    stored_values,
    write,
    write_series,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from faimed3d import errors
from faimed3d.dicom import dicom_inventory, header_table, is_dicom, read_dicom
from faimed3d.dicom.check import DRIFT_TOLERANCE_PIXELS, GRID_TOLERANCE_MM
from faimed3d.dicom.header import read_header
from faimed3d.dicom.stack import ORIENTATION_TOLERANCE, PIXEL_SPACING_TOLERANCE
from faimed3d.dicom.tags import WANTED, T

DATA = Path(__file__).parents[2] / "shared" / "data"
NIBABEL_DATA = Path(nibabel.__file__).parent / "nicom" / "tests" / "data"


def expected_affine(orientation=OBLIQUE, spacing=SPACING, origin=ORIGIN):
    affine = np.eye(4)
    affine[:3, :3] = direction_of(orientation) * spacing
    affine[:3, 3] = origin
    return affine


def read_lenient(folder, **kwargs):
    """Read with strict=False; returns the result and the texts of the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = read_dicom(folder, strict=False, **kwargs)
    return result, [str(w.message) for w in caught]


def packaged(name):
    path = get_testdata_file(name, download=False)
    if not path:
        pytest.skip(f"this pydicom does not package {name}")
    return path


class TestCleanSeries:
    @pytest.mark.parametrize("orientation", [AXIAL, (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1), OBLIQUE, oblique(5)])
    def test_voxels_and_geometry_are_those_written(self, tmp_path, orientation):
        paths = write_series(tmp_path, orientation=orientation)
        array, geometry, files = read_dicom(tmp_path)
        np.testing.assert_array_equal(array, stored_values())
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        np.testing.assert_allclose(geometry.affine, expected_affine(orientation), atol=1e-6)
        assert geometry.shape == (5, 6, 7)
        assert files == tuple(map(str, paths))

    @pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE])
    def test_equals_simpleitk(self, tmp_path, orientation):
        write_series(tmp_path, orientation=orientation, RescaleSlope=2, RescaleIntercept=-1024)
        array, geometry, _ = read_dicom(tmp_path)
        image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path)))
        np.testing.assert_array_equal(array, sitk.GetArrayFromImage(image))
        np.testing.assert_allclose(geometry.spacing, image.GetSpacing(), atol=1e-6)
        np.testing.assert_allclose(geometry.origin, image.GetOrigin(), atol=1e-6)
        np.testing.assert_allclose(geometry.direction, image.GetDirection(), atol=1e-6)

    @pytest.mark.parametrize("syntax", NATIVE, ids=lambda uid: uid.name)
    @pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32])
    def test_every_native_pixel_type(self, tmp_path, syntax, dtype):
        info = np.iinfo(dtype)
        low, high = max(info.min, -(1 << 24)), min(info.max, 1 << 24)
        stored = stored_values(low=low, high=high, dtype=dtype)
        write_series(tmp_path, stored, syntax=syntax)
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored)

    def test_one_file_is_a_volume_of_one_slice(self, tmp_path):
        path = write_series(tmp_path)[2]
        array, geometry, files = read_dicom(path)
        np.testing.assert_array_equal(array, stored_values()[2:3])
        assert geometry.shape == (1, 6, 7)
        assert geometry.spacing == pytest.approx(SPACING)
        assert files == (str(path),)

    def test_two_slices_take_their_gap_from_the_positions(self, tmp_path):
        write(make_series(SliceThickness="9")[:2], tmp_path)
        assert read_dicom(tmp_path)[1].spacing == pytest.approx(SPACING)

    def test_negative_instance_order_and_names_do_not_matter(self, tmp_path):
        series = make_series()
        for k, dataset in enumerate(series):
            dataset.InstanceNumber = (k * 3) % 5
        write(series, tmp_path, ["b", "é 2", "a b.x", ".hidden", "z.IMA"])
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())

    def test_no_instance_number(self, tmp_path):
        write_series(tmp_path, InstanceNumber=None)
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        seed=st.integers(0, 10**6),
        depth=st.integers(2, 5),
        rows=st.integers(1, 5),
        columns=st.integers(1, 5),
        spacing=st.tuples(*[st.floats(0.05, 12)] * 3),
        origin=st.tuples(*[st.floats(-900, 900)] * 3),
    )
    def test_any_geometry(self, tmp_path, seed, depth, rows, columns, spacing, origin):
        folder = tmp_path / "series"
        shutil.rmtree(folder, ignore_errors=True)
        spacing = tuple(float(f"{v:.6g}") for v in spacing)
        stored = stored_values((depth, rows, columns), seed=seed)
        write_series(folder, stored, origin, oblique(seed), spacing)
        array, geometry, _ = read_dicom(folder)
        np.testing.assert_array_equal(array, stored)
        np.testing.assert_allclose(geometry.affine, expected_affine(oblique(seed), spacing, origin), atol=1e-5)


class TestValues:
    def test_each_slice_has_its_own_slope(self, tmp_path):
        def scale(k, dataset):
            dataset.RescaleSlope, dataset.RescaleIntercept = f"{0.1 + k / 7:.6f}", f"{k * 3.25 - 100}"

        stored = stored_values()
        write_series(tmp_path, stored, edit=scale)
        expected = [stored[k] * float(f"{0.1 + k / 7:.6f}") + (k * 3.25 - 100) for k in range(5)]
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], np.array(expected, dtype=np.float32))

    def test_monochrome1_is_left_as_stored(self, tmp_path):
        write_series(tmp_path, PhotometricInterpretation="MONOCHROME1", RescaleIntercept=5, RescaleSlope=1)
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values() + 5)

    def test_overlay_bits_above_high_bit_are_no_pixels(self, tmp_path):
        stored = stored_values(low=0, high=4096, dtype=np.uint16)
        dirty = stored | (np.arange(stored.size, dtype=np.uint16).reshape(stored.shape) % 16 << 12)
        write_series(tmp_path, dirty, BitsStored=12, HighBit=11)
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored)

    @pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
    def test_twelve_bits_signed_without_sign_extension(self, tmp_path, syntax):
        stored = stored_values(low=-2048, high=2048)
        write_series(tmp_path, (stored & 0x0FFF).astype(np.int16), BitsStored=12, HighBit=11, syntax=syntax)
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored)

    def test_bits_may_lie_high_in_the_word(self, tmp_path):
        stored = stored_values(low=0, high=4096, dtype=np.uint16)
        write_series(tmp_path, (stored << 4) | 9, BitsStored=12, HighBit=15)
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored)

    def test_float_pixels_keep_nan(self, tmp_path):
        values = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
        values[2, 3, 4] = np.nan
        series = make_series()
        for k, dataset in enumerate(series):
            del dataset.PixelData
            dataset.FloatPixelData = values[k].tobytes()
            dataset.BitsAllocated = 32
            for keyword in ("BitsStored", "HighBit", "PixelRepresentation"):
                delattr(dataset, keyword)
        write(series, tmp_path)
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], values)

    def test_padding_behind_the_pixels_is_allowed(self, tmp_path):
        def pad(k, dataset):
            dataset.PixelData += b"\0" * 64

        write_series(tmp_path, edit=pad)
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())

    @pytest.mark.parametrize("threads", [1, 3])
    def test_threads_do_not_change_the_volume(self, tmp_path, monkeypatch, threads):
        monkeypatch.setattr("faimed3d.dicom.pixels._THREADED_BYTES", 0)
        monkeypatch.setattr("faimed3d.dicom.pixels._processors", lambda: threads)
        write([compressed(s, "rle") if k % 2 else s for k, s in enumerate(make_series())], tmp_path)
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())


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
        with pytest.raises(errors.TruncatedFile, match="RLE segment 2 of frame 1 ends after"):
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
