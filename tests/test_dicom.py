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


def drop(k):
    def build(folder):
        series = make_series(stored_values((9, 6, 7)))
        write([dataset for n, dataset in enumerate(series) if n not in k], folder)

    return build


def change(k, **elements):
    """A series of 9 slices in which slice k has other elements (None deletes one)."""

    def build(folder):
        series = make_series(stored_values((9, 6, 7)), RescaleSlope=1, RescaleIntercept=-10)
        for keyword, value in elements.items():
            if value is None:
                delattr(series[k], keyword)
            else:
                setattr(series[k], keyword, value)
        write(series, folder)

    return build


def change_all(**elements):
    return lambda folder: write_series(folder, **elements)


def move(k, step, axis=2):
    """Slice k of 9 lies ``step`` mm off its place along the storage axis (0 x, 1 y, 2 z)."""

    def build(folder):
        series = make_series(stored_values((9, 6, 7)))
        place = np.array(series[k].ImagePositionPatient, float) + direction_of(OBLIQUE)[:, axis] * step
        series[k].ImagePositionPatient = [f"{v:.8f}" for v in place]
        write(series, folder)

    return build


def shear(angle, axis=1):
    """A series of 9 slices with a gantry tilted by ``angle`` degrees."""

    def build(folder):
        series = make_series(stored_values((9, 6, 7)))
        for k, dataset in enumerate(series):
            drift = k * SPACING[2] * np.tan(np.radians(angle)) * direction_of(OBLIQUE)[:, axis]
            place = np.array(dataset.ImagePositionPatient, float) + drift
            dataset.ImagePositionPatient = [f"{v:.8f}" for v in place]
        write(series, folder)

    return build


def copies(differ=False, everything=False):
    """Slice 2 (or every slice) doubled: byte for byte, or with other pixels and another SOP instance."""

    def build(folder):
        series = make_series()
        doubled = series if everything else series[2:3]
        write(series, folder)
        for k, dataset in enumerate(doubled):
            if differ:
                dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.9.{k}"
                dataset.PixelData = dataset.PixelData[:-2] + b"\1\1"
            dataset.save_as(Path(folder) / f"copy{k}.dcm", enforce_file_format=True)

    return build


def two_gaps(folder):
    series = make_series(stored_values((9, 6, 7)))
    for k, dataset in enumerate(series[5:], 1):
        place = np.array(ORIGIN) + direction_of(OBLIQUE)[:, 2] * (4 * 2.5 + 4 * k)
        dataset.ImagePositionPatient = [f"{v:.8f}" for v in place]
    write(series, folder)


def cut(size, k=1):
    """File k keeps its first ``size`` bytes (the last ones go, where size is negative)."""

    def build(folder):
        path = write_series(folder)[k]
        path.write_bytes(path.read_bytes()[:size])

    return build


def beside(name, content):
    def build(folder):
        write_series(folder)
        (Path(folder) / name).write_bytes(content)

    return build


def interleaved_echoes(folder):
    write_series(folder, edit=lambda k, dataset: setattr(dataset, "EchoTime", [4.6, 2.3][k % 2]))


def without_pixels(folder):
    series = make_series()
    del series[2].PixelData
    write(series, folder)


def negative_gap_and_doubled(folder):
    drop({4})(folder)
    path = sorted(Path(folder).iterdir())[0]
    shutil.copy(path, Path(folder) / "again.dcm")


LOST, BAD = errors.MissingGeometry, errors.DamagedFile
# fault, the exception of strict reading and its text, what strict=False does: a shape (repaired) or an exception
FAULTS = {
    "one slice missing": (
        drop({4}),
        errors.MissingSlices,
        r"slice gap 5\.0 mm between IM9996\.dcm \(z [\d.]+\) and IM9995\.dcm \(z [\d.]+\), 6 others 2\.5 mm: a slice is "
        r"missing\. Pass strict=False to resample",
        (9, 6, 7),
    ),
    "slices missing in two places": (drop({2, 5, 6}), errors.MissingSlices, "3 slices are missing in 2 places", (9, 6, 7)),
    "one slice half a gap off": (move(4, 1.2), errors.UnevenSlices, "the gaps are uneven", (9, 6, 7)),
    "two stacks with different gaps": (two_gaps, errors.UnevenSlices, r"between .*, 4 others|4 others", (11, 6, 7)),
    "one slice off the line": (move(4, 3.0, 0), errors.UnevenSlices, r"IM9995\.dcm .* lies 3\.0 mm off the line", (9, 6, 10)),
    "gantry tilt": (shear(12.5), errors.GantryTilt, r"a gantry tilt of 12\.5 degrees", (9, 12, 7)),
    "gantry tilt, other way": (shear(-20, 0), errors.GantryTilt, r"a gantry tilt of 20\.0 degrees", (9, 6, 14)),
    "a slice twice, byte for byte": (copies(), errors.DuplicateSlices, r"IM9997.dcm and copy0.dcm lie at one", (5, 6, 7)),
    "every slice twice": (copies(everything=True), errors.DuplicateSlices, "and 4 more such pairs", (5, 6, 7)),
    "two images at one position": (copies(True), errors.DuplicateSlices, "copy0.dcm", errors.DuplicateSlices),
    "every slice twice with other pixels": (copies(True, True), errors.DuplicateSlices, "4 more", errors.DuplicateSlices),
    "doubled and missing": (negative_gap_and_doubled, errors.DuplicateSlices, "again.dcm", (9, 6, 7)),
    "one other pixel spacing": (
        change(3, PixelSpacing=[0.8, 1.2]), errors.MixedSeries, r"IM9996\.dcm .*\(0028,0030\) PixelSpacing", (9, 6, 7)
    ),
    "one other orientation": (
        change(3, ImageOrientationPatient=list(AXIAL)), errors.MixedSeries, r"\(0020,0037\)", (9, 6, 7)
    ),
    "one other frame of reference": (change(3, FrameOfReferenceUID="1.9"), errors.MixedSeries, "FrameOfRef", (9, 6, 7)),
    "one other image type": (change(3, ImageType=["DERIVED", "SECONDARY"]), errors.MixedSeries, r"\(0008,0008\)", (9, 6, 7)),
    "one slice inverted": (
        change(3, PhotometricInterpretation="MONOCHROME1"), errors.MixedSeries, r"\(0028,0004\)", errors.MixedSeries
    ),
    "one without slope": (
        lambda f: change(3, RescaleSlope=None, RescaleIntercept=None)(f),
        errors.MixedSeries, r"\(0028,1053\) RescaleSlope .* absent in IM9996\.dcm", errors.MixedSeries,
    ),
    "echoes interleaved": (interleaved_echoes, errors.MixedSeries, r"\(0018,0081\) EchoTime", (5, 6, 7)),
    "no pixel spacing": (change_all(PixelSpacing=None), LOST, r"\(0028,0030\) PixelSpacing is absent", LOST),
    "no position": (change_all(ImagePositionPatient=None), LOST, r"\(0020,0032\) ImagePositionPatient", LOST),
    "no orientation": (change_all(ImageOrientationPatient=None), LOST, r"\(0020,0037\)", LOST),
    "one without position": (change(8, ImagePositionPatient=None), LOST, r"IM9991\.dcm: \(0020,0032\)", LOST),
    "one without pixel spacing": (change(0, PixelSpacing=None), LOST, r"IM9999\.dcm: \(0028,0030\)", LOST),
    "pixel spacing 0": (change_all(PixelSpacing=[0, 1]), LOST, r"PixelSpacing must be positive", LOST),
    "orientation 0": (change_all(ImageOrientationPatient=[0] * 6), LOST, "two unit vectors at right angles", LOST),
    "orientation of one axis": (change_all(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), LOST, "right angles", LOST),
    "slope 0": (change(2, RescaleSlope=0), BAD, r"\(0028,1053\) RescaleSlope is 0", BAD),
    "cut in the pixels": (cut(-1), errors.TruncatedFile, r"IM9998\.dcm: \(7FE0,0010\) PixelData claims 84", errors.TruncatedFile),
    "cut in the header": (cut(600), errors.TruncatedFile, r"IM9998\.dcm", errors.TruncatedFile),
    "cut in the file meta": (cut(160), errors.TruncatedFile, r"IM9998\.dcm", errors.TruncatedFile),
    "cut in the preamble": (cut(100), errors.TruncatedFile, r"IM9998\.dcm: .* only zeros", errors.TruncatedFile),
    "empty file": (cut(0), errors.TruncatedFile, r"IM9998\.dcm: the file is empty", errors.TruncatedFile),
    "last slice cut": (cut(-1, k=4), errors.TruncatedFile, r"IM9995\.dcm", errors.TruncatedFile),
    "no pixels": (without_pixels, BAD, r"IM9997\.dcm: \(7FE0,0010\) PixelData is absent", BAD),
    "HTML page named as a slice": (beside("IM0001.dcm", b"<html>" * 50), BAD, r"IM0001\.dcm: named as DICOM", BAD),
    "pixels longer than the matrix": (
        change_all(edit=lambda k, d: setattr(d, "Rows", 5)), BAD, r"has 84 bytes, \(0028,0010\) Rows 5", BAD
    ),
    "rows claim more": (
        change_all(edit=lambda k, d: setattr(d, "Rows", 60000)), errors.TruncatedFile, r"Rows 60000", errors.TruncatedFile
    ),
    "rows 0": (change_all(edit=lambda k, d: setattr(d, "Rows", 0)), BAD, r"\(0028,0010\) Rows must be 1 to", BAD),
    "bits stored above bits allocated": (change_all(BitsStored=17), BAD, r"\(0028,0101\) BitsStored 17", BAD),
    "bits allocated 12": (change_all(BitsAllocated=12), errors.UnsupportedImage, r"\(0028,0100\)", errors.UnsupportedImage),
    "no thickness of a single slice": (
        lambda folder: write(make_series(SliceThickness=None)[:1], folder), LOST, r"\(0018,0050\) SliceThickness", LOST
    ),
    "empty folder": (lambda folder: None, errors.NoImages, "no DICOM image", errors.NoImages),
}  # fmt: skip


class TestFaults:
    @pytest.mark.parametrize("name", FAULTS)
    def test_strict_reading_names_the_fault(self, tmp_path, name):
        build, error, text, _ = FAULTS[name]
        build(tmp_path)
        with pytest.raises(errors.ReadError, match=text) as caught:
            read_dicom(tmp_path)
        assert type(caught.value) is error
        assert not any(secret in str(caught.value) for secret in SECRETS)

    @pytest.mark.parametrize("name", FAULTS)
    def test_lenient_reading_repairs_and_warns_or_refuses(self, tmp_path, name):
        build, _, _, outcome = FAULTS[name]
        build(tmp_path)
        if isinstance(outcome, tuple):
            (array, geometry, _), texts = read_lenient(tmp_path)
            assert array.shape == geometry.shape == outcome
            assert texts
            assert all("strict=False" in text for text in texts)
        else:
            with pytest.raises(errors.ReadError) as caught:
                read_dicom(tmp_path, strict=False)
            assert type(caught.value) is outcome

    @pytest.mark.parametrize("name", FAULTS)
    def test_the_inventory_tells_the_same(self, tmp_path, name):
        build, _, text, _ = FAULTS[name]
        build(tmp_path)
        table = dicom_inventory(tmp_path)
        if name != "empty folder":
            assert table["problems"].str.contains(text).any()
        assert not any(secret in table.to_string() for secret in SECRETS)

    @pytest.mark.parametrize("value", ["nan", "inf", "1,5", "x"])
    @pytest.mark.parametrize("tag", [T.ImagePositionPatient, T.PixelSpacing, T.ImageOrientationPatient, T.RescaleSlope])
    def test_values_that_are_no_numbers(self, tmp_path, tag, value):
        paths = write_series(tmp_path, RescaleSlope="1", RescaleIntercept="0")
        count = {T.ImagePositionPatient: 3, T.PixelSpacing: 2, T.ImageOrientationPatient: 6, T.RescaleSlope: 1}[tag]
        dataset = pydicom.dcmread(paths[1])
        text = "\\".join([value] * count).encode()
        dataset[tag] = pydicom.DataElement(tag, "LO", text + b" " * (len(text) % 2))
        dataset.save_as(paths[1])
        with pytest.raises(errors.ReadError, match=r"IM9998\.dcm: \(00"):
            read_dicom(tmp_path)


class TestRepairs:
    def test_a_missing_slice_is_interpolated_and_the_others_are_kept(self, tmp_path):
        drop({4})(tmp_path)
        (array, geometry, files), _ = read_lenient(tmp_path)
        stored = stored_values((9, 6, 7)).astype(np.float32)
        keep = [0, 1, 2, 3, 5, 6, 7, 8]
        np.testing.assert_array_equal(array[keep], stored[keep])
        np.testing.assert_allclose(array[4], (stored[3] + stored[5]) / 2, atol=0.2)
        np.testing.assert_allclose(geometry.affine, expected_affine(), atol=1e-5)
        assert len(files) == 8

    @pytest.mark.parametrize(("angle", "axis"), [(12.5, 1), (-20, 0), (3, 1)])
    def test_an_undone_tilt_puts_every_voxel_where_it_was(self, tmp_path, angle, axis):
        # values that are linear in the world survive linear interpolation exactly
        weights = np.array([3.0, -2.0, 5.0])
        shear(angle, axis)(tmp_path)
        grid = np.stack(np.meshgrid(np.arange(7), np.arange(6), indexing="xy"), -1) * SPACING[:2]
        for path in tmp_path.iterdir():
            dataset = pydicom.dcmread(path)
            place = np.array(dataset.ImagePositionPatient, float) + grid @ direction_of(OBLIQUE)[:, :2].T
            dataset.PixelData = np.round((place @ weights) * 50).astype(np.int16).tobytes()
            dataset.RescaleSlope, dataset.RescaleIntercept = 0.02, 0
            dataset.save_as(path)
        (array, geometry, _), _ = read_lenient(tmp_path)
        index = np.stack(np.meshgrid(*map(np.arange, array.shape), indexing="ij"), -1)
        wrong = np.abs(array - geometry.index_to_world(index) @ weights) > 0.05
        inside = array > array.min()
        # one row or column at each border of a slice is blended with the fill value
        assert (wrong & inside).sum() <= 9 * 2 * 7
        assert (~wrong).sum() >= 9 * 4 * 5
        assert not geometry.is_sheared

    def test_uneven_gaps_are_interpolated_at_their_true_places(self, tmp_path):
        two_gaps(tmp_path)
        levels = [0, 2.5, 5, 7.5, 10, 14, 18, 22, 26]
        for level, path in zip(levels, sorted(tmp_path.iterdir(), reverse=True), strict=True):
            dataset = pydicom.dcmread(path)
            dataset.PixelData = np.full((6, 7), level * 10, np.int16).tobytes()
            dataset.save_as(path)
        (array, geometry, _), _ = read_lenient(tmp_path)
        assert len(array) == 11
        np.testing.assert_allclose(array[:, 0, 0], np.arange(11) * geometry.spacing[2] * 10, atol=1e-3)

    def test_a_hole_that_dwarfs_the_stack_is_not_filled(self, tmp_path):
        move(8, 400)(tmp_path)
        with pytest.raises(errors.UnevenSlices, match="too few to interpolate from"):
            read_dicom(tmp_path, strict=False)


class TestTolerances:
    @pytest.mark.parametrize(("step", "even"), [(0.9 * GRID_TOLERANCE_MM, True), (2.5 * GRID_TOLERANCE_MM, False)])
    def test_position_along_the_normal(self, tmp_path, step, even):
        move(4, step)(tmp_path)
        if even:
            assert read_dicom(tmp_path)[1].spacing == pytest.approx(SPACING)
        else:
            with pytest.raises(errors.UnevenSlices):
                read_dicom(tmp_path)

    @pytest.mark.parametrize(("share", "upright"), [(0.9, True), (1.2, False)])
    def test_drift_in_the_plane(self, tmp_path, share, upright):
        step = share * DRIFT_TOLERANCE_PIXELS * 0.8
        shear(np.degrees(np.arctan(step / (8 * 2.5))))(tmp_path)
        if upright:
            np.testing.assert_allclose(read_dicom(tmp_path)[1].affine, expected_affine(), atol=1e-5)
        else:
            with pytest.raises(errors.GantryTilt):
                read_dicom(tmp_path)

    @pytest.mark.parametrize(("share", "equal"), [(0.8, True), (1.5, False)])
    def test_pixel_spacing(self, tmp_path, share, equal):
        change(3, PixelSpacing=[0.8, f"{1.1 * (1 + share * PIXEL_SPACING_TOLERANCE):.8f}"])(tmp_path)
        if equal:
            read_dicom(tmp_path)
        else:
            with pytest.raises(errors.MixedSeries):
                read_dicom(tmp_path)

    @pytest.mark.parametrize(("share", "equal"), [(0.8, True), (1.5, False)])
    def test_orientation(self, tmp_path, share, equal):
        series = make_series(orientation=AXIAL)
        angle = share * ORIENTATION_TOLERANCE
        series[3].ImageOrientationPatient = [1, f"{angle:.6f}", 0, f"{-angle:.6f}", 1, 0]
        write(series, tmp_path)
        if equal:
            read_dicom(tmp_path)
        else:
            with pytest.raises(errors.MixedSeries):
                read_dicom(tmp_path)

    def test_positions_rounded_to_a_tenth_of_a_millimetre(self, tmp_path):
        series = make_series(orientation=AXIAL, spacing=(1, 1, 1.25), stored=stored_values((9, 6, 7)))
        for dataset in series:
            x, y, z = dataset.ImagePositionPatient
            dataset.ImagePositionPatient = [x, y, f"{float(z):.1f}"]
        write(series, tmp_path)
        assert read_dicom(tmp_path)[1].spacing == pytest.approx((1, 1, 1.25), abs=0.01)
