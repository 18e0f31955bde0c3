"""DICOM folders: read right, or refused by the named exception."""

import contextlib
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
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from faimed3d import errors
from faimed3d.dicom import dicom_inventory, header_table, is_dicom, read_dicom
from faimed3d.dicom.grouping.gaps import DRIFT_TOLERANCE_PIXELS, GRID_TOLERANCE_MM
from faimed3d.dicom.grouping.plane_kinds import ORIENTATION_TOLERANCE, PIXEL_SPACING_TOLERANCE
from faimed3d.dicom.header import WANTED, Tag, read_header
from faimed3d.dicom.pixels import decode_planes

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
    assert path, f"this pydicom does not package {name}"
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

    def test_values_beyond_float32_are_refused(self, tmp_path):
        dataset = make_series()[0]
        values = np.full((6, 7), np.inf)
        values[2, 3] = 1e300
        del dataset.PixelData
        dataset.DoubleFloatPixelData, dataset.BitsAllocated = values.tobytes(), 64
        path = write([dataset], tmp_path)[0]
        with pytest.raises(errors.UnsupportedImage, match="beyond what float32 can hold"):
            read_dicom(path)
        values[2, 3] = 1e30
        dataset.DoubleFloatPixelData = values.tobytes()
        path = write([dataset], tmp_path)[0]
        np.testing.assert_array_equal(read_dicom(path)[0][0], values.astype(np.float32))

    @pytest.mark.parametrize(("slope", "refused"), [(None, True), ("2", True), ("0.5", False)])
    def test_whole_numbers_that_float32_would_merge_are_refused(self, tmp_path, slope, refused):
        stored = np.arange(210, dtype=np.uint32).reshape(5, 6, 7) + (1 << 25)
        write_series(tmp_path, stored, RescaleSlope=slope, RescaleIntercept=slope and "0")
        if refused:
            with pytest.raises(errors.UnsupportedImage, match=r"has whole numbers from .* exactly up to 16777216 only"):
                read_dicom(tmp_path)
        else:
            np.testing.assert_array_equal(read_dicom(tmp_path)[0], (stored * 0.5).astype(np.float32))

    def test_padding_behind_the_pixels_is_allowed(self, tmp_path):
        def pad(k, dataset):
            dataset.PixelData += b"\0" * 64

        write_series(tmp_path, edit=pad)
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())

    @pytest.mark.parametrize("threads", [1, 3])
    def test_threads_do_not_change_the_volume(self, tmp_path, monkeypatch, threads):
        monkeypatch.setattr("faimed3d.dicom.pixels.decoding._THREADED_BYTES", 0)
        monkeypatch.setattr("faimed3d.dicom.pixels.decoding._processors", lambda: threads)
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


def every_nth(n, between=None, edit=None, **elements):
    """Every n-th slice of 13, numbered as in the whole series; ``between`` is SpacingBetweenSlices."""

    def build(folder):
        series = make_series(stored_values((13, 6, 7)), SpacingBetweenSlices=between, edit=edit, **elements)
        write(series[::n], folder)

    return build


def two_combs(shift, **elements):
    """Two stacks of 5 slices each, the second ``shift`` mm along the normal; elements are pairs of values."""

    def build(folder):
        series = []
        for n in range(2):
            origin = np.array(ORIGIN) + n * shift * direction_of(OBLIQUE)[:, 2]
            own = {keyword: values[n] for keyword, values in elements.items()}
            series += make_series(stored_values(seed=n), origin, **own)
        write(series, folder)

    return build


def half_below(folder):
    series = make_series(stored_values((9, 6, 7)))
    write(series[:5], folder)
    write(series[5:], Path(folder) / "more")


def slice_in_colour(folder):
    series = make_series(stored_values((9, 6, 7)))
    series[8].PhotometricInterpretation = "PALETTE COLOR"
    write(series, folder)


def without_pixels(folder):
    series = make_series()
    del series[2].PixelData
    write(series, folder)


def negative_gap_and_doubled(folder):
    drop({4})(folder)
    path = sorted(Path(folder).iterdir())[0]
    shutil.copy(path, Path(folder) / "again.dcm")


LOST, BAD, CUT = errors.MissingGeometry, errors.DamagedFile, errors.TruncatedFile
MIXED, UNEVEN, DOUBLED, HOLES = errors.MixedSeries, errors.UnevenSlices, errors.DuplicateSlices, errors.MissingSlices
OTHER = errors.UnsupportedImage
# fault, the exception of strict reading and its text, what strict=False does: a shape (repaired) or an exception
FAULTS = {
    "one slice missing": (
        drop({4}),
        HOLES,
        r"slice gap 5\.0 mm between IM9996\.dcm \(z [\d.]+\) and IM9995\.dcm \(z [\d.]+\), 6 others 2\.5 mm: a slice "
        r"is missing\. Pass strict=False to resample",
        (9, 6, 7),
    ),
    "slices missing in two places": (drop({2, 5, 6}), HOLES, "3 slices are missing in 2 places", (9, 6, 7)),
    "one slice half a gap off": (move(4, 1.2), UNEVEN, "the gaps are uneven", (9, 6, 7)),
    "every second slice missing": (
        every_nth(2), HOLES,
        r"every slice gap is 5\.0 mm, 2 times \(0018,0050\) SliceThickness 2\.5 mm, and \(0020,0013\) InstanceNumber "
        r"goes by 2 from slice to slice: every second slice is missing\. Pass strict=False to read",
        (7, 6, 7),
    ),
    "two slices of three missing": (
        every_nth(3, 2.5, SliceThickness=9), HOLES, r"3 times \(0018,0088\) SpacingBetweenSlices 2\.5 mm", (5, 6, 7)
    ),
    "half of the slices in a sub-folder": (
        half_below, HOLES, r"4 more slices of this volume lie in other folders, IM999\d\.dcm in more\. Bring", (5, 6, 7)
    ),
    "two stacks interleaved": (
        two_combs(0.9), UNEVEN, r"5 of the gaps are short, 0\.9 mm the shortest, so more than one stack, and no", UNEVEN
    ),
    "a slice in colour": (
        slice_in_colour, MIXED, r"IM9991\.dcm is a slice in colour \(\(0028,0004\) .* PALETTE COLOR\)", (8, 6, 7)
    ),
    "two stacks with different gaps": (two_gaps, UNEVEN, r"between .*, 4 others|4 others", (11, 6, 7)),
    "one slice off the line": (move(4, 3.0, 0), UNEVEN, r"IM9995\.dcm .* lies 3\.0 mm off the line", (9, 6, 10)),
    "gantry tilt": (shear(12.5), errors.GantryTilt, r"a gantry tilt of 12\.5 degrees", (9, 12, 7)),
    "gantry tilt, other way": (shear(-20, 0), errors.GantryTilt, r"a gantry tilt of 20\.0 degrees", (9, 6, 14)),
    "a slice twice, byte for byte": (copies(), DOUBLED, r"IM9997.dcm and copy0.dcm lie at one", (5, 6, 7)),
    "every slice twice": (copies(everything=True), DOUBLED, "and 4 more such pairs", (5, 6, 7)),
    "two images at one position": (copies(True), DOUBLED, "copy0.dcm", DOUBLED),
    "every slice twice with other pixels": (copies(True, True), DOUBLED, "4 more", DOUBLED),
    "doubled and missing": (negative_gap_and_doubled, DOUBLED, "again.dcm", (9, 6, 7)),
    "one other pixel spacing": (
        change(3, PixelSpacing=[0.8, 1.2]), MIXED, r"IM9996\.dcm .*\(0028,0030\) PixelSpacing", (9, 6, 7)
    ),
    "one other orientation": (
        change(3, ImageOrientationPatient=list(AXIAL)), MIXED, r"\(0020,0037\)", (9, 6, 7)
    ),
    "one other frame of reference": (change(3, FrameOfReferenceUID="1.9"), MIXED, "FrameOfRef", (9, 6, 7)),
    "one other image type": (change(3, ImageType=["DERIVED", "SECONDARY"]), MIXED, r"\(0008,0008\)", (9, 6, 7)),
    "one slice inverted": (
        change(3, PhotometricInterpretation="MONOCHROME1"), MIXED, r"\(0028,0004\)", MIXED
    ),
    "one without slope": (
        lambda f: change(3, RescaleSlope=None, RescaleIntercept=None)(f),
        MIXED, r"RescaleSlope and .* IM9996\.dcm has neither of them", MIXED,
    ),
    "one without intercept": (
        change(3, RescaleIntercept=None), MIXED, r"RescaleIntercept IM9996\.dcm has the first alone", MIXED
    ),
    "one with other bits": (change(3, BitsStored=12, HighBit=11), MIXED, r"0101\) BitsStored is '12'", (9, 6, 7)),
    "samples of a colour image": (
        change(8, SamplesPerPixel=3), BAD, r"\(0028,0002\) SamplesPerPixel is 3, though", BAD
    ),
    "one slice called colour": (change(0, PhotometricInterpretation="RGB"), BAD, r"is 'RGB', though", BAD),
    "echoes interleaved": (interleaved_echoes, MIXED, r"\(0018,0081\) EchoTime", (5, 6, 7)),
    "no pixel spacing": (change_all(PixelSpacing=None), LOST, r"\(0028,0030\) PixelSpacing is absent", LOST),
    "no position": (change_all(ImagePositionPatient=None), LOST, r"\(0020,0032\) ImagePositionPatient", LOST),
    "no orientation": (change_all(ImageOrientationPatient=None), LOST, r"\(0020,0037\)", LOST),
    "one without position": (change(8, ImagePositionPatient=None), LOST, r"IM9991\.dcm: \(0020,0032\)", LOST),
    "one without pixel spacing": (change(0, PixelSpacing=None), LOST, r"IM9999\.dcm: \(0028,0030\)", LOST),
    "pixel spacing 0": (change_all(PixelSpacing=[0, 1]), LOST, r"PixelSpacing must be positive", LOST),
    "orientation 0": (change_all(ImageOrientationPatient=[0] * 6), LOST, "two orthogonal unit vectors", LOST),
    "orientation of one axis": (change_all(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), LOST, "orthogonal unit", LOST),
    "pixel spacing of no pixel": (change(3, PixelSpacing=["1e-300", 1]), LOST, r"cannot be the size of a pixel", LOST),
    "a position far from any patient": (
        change(3, ImagePositionPatient=[0, "1e300", 0]), LOST, r"cannot be a position in a patient", LOST
    ),
    "slope beyond float32": (change(2, RescaleSlope="1e300"), BAD, r"1e\+300 makes values that float32", BAD),
    "slope next to 0": (change(2, RescaleSlope="1e-300"), BAD, r"1e-300 makes values that float32", BAD),
    "intercept beyond float32": (change(2, RescaleIntercept="1e300"), BAD, r"\(0028,1052\).* 1e\+300 is beyond", BAD),
    "slope 0": (change(2, RescaleSlope=0), BAD, r"\(0028,1053\) RescaleSlope is 0", BAD),
    "cut in the pixels": (cut(-1), CUT, r"IM9998\.dcm: \(7FE0,0010\) PixelData claims 84", CUT),
    "cut in the header": (cut(600), CUT, r"IM9998\.dcm", CUT),
    "cut in the file meta": (cut(160), CUT, r"IM9998\.dcm", CUT),
    "cut in the preamble": (cut(100), CUT, r"IM9998\.dcm: .* only zeros", CUT),
    "empty file": (cut(0), CUT, r"IM9998\.dcm: the file is empty", CUT),
    "last slice cut": (cut(-1, k=4), CUT, r"IM9995\.dcm", CUT),
    "no pixels": (without_pixels, BAD, r"IM9997\.dcm: \(7FE0,0010\) PixelData is absent", BAD),
    "HTML page named as a slice": (beside("IM0001.dcm", b"<html>" * 50), BAD, r"IM0001\.dcm: named as DICOM", BAD),
    "pixels longer than the matrix": (
        change_all(edit=lambda k, d: setattr(d, "Rows", 5)), BAD, r"has 84 bytes, \(0028,0010\) Rows 5", BAD
    ),
    "rows claim more": (
        change_all(edit=lambda k, d: setattr(d, "Rows", 60000)), CUT, r"Rows 60000", CUT
    ),
    "rows 0": (change_all(edit=lambda k, d: setattr(d, "Rows", 0)), BAD, r"\(0028,0010\) Rows must be 1 to", BAD),
    "bits stored above bits allocated": (change_all(BitsStored=17), BAD, r"\(0028,0101\) BitsStored 17", BAD),
    "bits allocated 12": (change_all(BitsAllocated=12), OTHER, r"\(0028,0100\)", OTHER),
    "no thickness of a single slice": (
        lambda folder: write(make_series(SliceThickness=None)[:1], folder), LOST, r"\(0018,0050\) SliceThickness", LOST
    ),
    "a thickness of a single slice that is none": (
        lambda folder: write(make_series(SliceThickness="1e300")[:1], folder), LOST, r"1e\+300 mm cannot be", LOST
    ),
    "no sign of the pixels": (change_all(PixelRepresentation=None), BAD, r"\(0028,0103\) PixelRepresentation", BAD),
    "a slice packed with gzip": (beside("IM0001.dcm.gz", gzip.compress(b"x")), BAD, "a slice packed with gzip", BAD),
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

    @pytest.mark.parametrize("value", ["nan", "inf", "1,5", "x", "1_0", "\u0661"])
    @pytest.mark.parametrize(
        ("tag", "count"),
        [
            (Tag.ImagePositionPatient, 3),
            (Tag.PixelSpacing, 2),
            (Tag.ImageOrientationPatient, 6),
            (Tag.RescaleSlope, 1),
        ],
    )
    def test_values_that_are_no_numbers(self, tmp_path, tag, count, value):
        paths = write_series(tmp_path, RescaleSlope="1", RescaleIntercept="0")
        dataset = pydicom.dcmread(paths[1])
        text = "\\".join([value] * count).encode("utf-8")
        dataset[tag] = pydicom.DataElement(tag, "LO", text + b" " * (len(text) % 2))
        dataset.save_as(paths[1])
        with pytest.raises(errors.ReadError, match=r"IM9998\.dcm: \(00"):
            read_dicom(tmp_path)

    @pytest.mark.parametrize("keyword", ["Rows", "Columns"])
    def test_no_matrix(self, tmp_path, keyword):
        write_series(tmp_path, edit=lambda k, d: delattr(d, keyword))
        with pytest.raises(errors.DamagedFile, match=rf"{keyword} is absent"):
            read_dicom(tmp_path)

    @pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
    def test_two_values_where_one_belongs(self, tmp_path, keyword):
        write_series(tmp_path, **{"RescaleSlope": 1, "RescaleIntercept": 0, keyword: [2, 3]})
        with pytest.raises(errors.DamagedFile, match="must be one finite number, got '2"):
            read_dicom(tmp_path)

    @pytest.mark.parametrize("keyword", ["Modality", "SeriesDescription", "RescaleSlope", "ImageType", "PixelSpacing"])
    @pytest.mark.parametrize("number", [1, 5])
    def test_an_element_that_swallowed_the_name_is_not_quoted(self, tmp_path, keyword, number):
        swallowed = f"MR\x10\0\x10\0PN\x08\0{SECRETS[0]}".encode()

        def swallow(k, dataset):
            if k < number:
                dataset[keyword] = pydicom.DataElement(keyword, "OB", swallowed)

        other = make_series(SeriesInstanceUID="1.9")
        write(make_series(edit=swallow), tmp_path / "a")
        write([*make_series(edit=swallow), *other], tmp_path / "b")
        for folder in (tmp_path / "a", tmp_path / "b"):
            try:
                text = repr(read_dicom(folder)[1])
            except errors.ReadError as error:
                text = str(error)
            assert SECRETS[0] not in text
            assert SECRETS[0] not in dicom_inventory(folder).drop(columns="key").to_csv()


class TestWhatLooksLikeAFault:
    @pytest.mark.parametrize(
        "build",
        [
            every_nth(2, InstanceNumber=None),
            every_nth(2, 5.0),
            every_nth(2, None, SliceThickness=3),
            every_nth(2, None, SliceThickness=None),
            every_nth(2, 2.5, edit=lambda k, dataset: setattr(dataset, "InstanceNumber", k // 2), SliceThickness=1),
        ],
    )
    def test_thin_slices_far_apart_are_no_missing_slices(self, tmp_path, build):
        build(tmp_path)
        array, geometry, _ = read_dicom(tmp_path)
        np.testing.assert_array_equal(array, stored_values((13, 6, 7))[::2])
        assert geometry.spacing[2] == pytest.approx(5)

    def test_copies_in_a_sub_folder_add_no_slice(self, tmp_path):
        write_series(tmp_path)
        shutil.copytree(tmp_path, tmp_path / "copy")
        (tmp_path / "here").symlink_to(tmp_path)
        write_series(tmp_path / "other", origin=(0, 0, 0), SeriesInstanceUID="1.9")
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())

    def test_other_time_points_in_a_sub_folder_add_no_slice(self, tmp_path):
        volumes = time_series(tmp_path)
        (tmp_path / "later").mkdir()
        for path in sorted(tmp_path.glob("*.dcm"))[:8]:
            path.rename(tmp_path / "later" / path.name)
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], volumes[0])
        assert list(dicom_inventory(tmp_path)["problems"]) == ["", "", ""]

    def test_gaps_that_differ_a_little_in_turn_are_mended(self, tmp_path):
        two_combs(1.1)(tmp_path)
        (array, _, _), texts = read_lenient(tmp_path)
        assert len(array) in (10, 11)
        assert "the gaps are uneven" in texts[0]


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

    @pytest.mark.parametrize("lost", [(), (4,), (2, 5, 6)])
    @pytest.mark.parametrize(("angle", "axis"), [(12.5, 1), (-20, 0), (3, 1)])
    def test_an_undone_tilt_puts_every_voxel_where_it_was(self, tmp_path, angle, axis, lost):
        # values that are linear in the world survive linear interpolation exactly
        weights = np.array([3.0, -2.0, 5.0])
        shear(angle, axis)(tmp_path)
        axes = direction_of(OBLIQUE)
        grid = np.stack(np.meshgrid(np.arange(7), np.arange(6), indexing="xy"), -1) * SPACING[:2]
        for path in tmp_path.iterdir():
            dataset = pydicom.dcmread(path)
            place = np.array(dataset.ImagePositionPatient, float) + grid @ axes[:, :2].T
            dataset.PixelData = np.round((place @ weights) * 50).astype(np.int16).tobytes()
            dataset.RescaleSlope, dataset.RescaleIntercept = 0.02, 0
            dataset.save_as(path)
        for k in lost:
            (tmp_path / f"IM{9999 - k}.dcm").unlink()
        (array, geometry, _), _ = read_lenient(tmp_path)
        assert not geometry.is_sheared
        # where each voxel of the result lies in the tilted stack: mm along x, y and the normal, the drift taken off
        index = np.stack(np.meshgrid(*map(np.arange, array.shape), indexing="ij"), -1)
        place = (geometry.index_to_world(index) - ORIGIN) @ axes
        assert place[..., 2].max() == pytest.approx(8 * SPACING[2])
        drift = np.zeros(3)
        drift[axis] = np.tan(np.radians(angle))
        place = place - place[..., 2:] * drift
        nearest = np.clip(place, 0, (6 * SPACING[0], 5 * SPACING[1], np.inf))
        outside = (np.abs(place - nearest) > np.array(SPACING) / 2).any(-1)
        values = (ORIGIN + (nearest + nearest[..., 2:] * drift) @ axes.T) @ weights
        np.testing.assert_allclose(array[~outside], values[~outside], atol=0.03)
        assert (array[outside] == array.min()).all()
        assert (~outside).sum() == 9 * 6 * 7  # as many pixels as there were: each lies half a pixel around one of them

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

    @pytest.mark.parametrize("step", [200, 9e5])
    def test_a_slice_far_off_the_others_is_not_bridged(self, tmp_path, step):
        move(4, step, 0)(tmp_path)
        with pytest.raises(errors.UnevenSlices, match="too far to be one stack"):
            read_dicom(tmp_path, strict=False)


class TestPairs:
    @pytest.mark.parametrize("lost", [{4}, {2, 5, 6}])
    @pytest.mark.parametrize("angle", [10, -17])
    def test_tilt_and_missing_slices(self, tmp_path, angle, lost):
        shear(angle)(tmp_path)
        for k in lost:
            (tmp_path / f"IM{9999 - k}.dcm").unlink()
        with pytest.raises((errors.GantryTilt, errors.MissingSlices)):
            read_dicom(tmp_path)
        (array, geometry, _), texts = read_lenient(tmp_path)
        assert len(texts) == 2
        assert array.shape[0] == 9
        assert geometry.spacing == pytest.approx(SPACING, rel=1e-5)

    @pytest.mark.parametrize("one", [name for name in FAULTS if name != "empty folder"])
    @pytest.mark.parametrize("other", ["cut in the pixels", "one slice missing", "a slice twice, byte for byte"])
    def test_two_faults_are_never_read_in_silence(self, tmp_path, one, other):
        FAULTS[one][0](tmp_path)
        FAULTS[other][0](tmp_path / "x")
        for path in (tmp_path / "x").iterdir():
            path.rename(tmp_path / path.name)
        with pytest.raises(errors.ReadError):
            read_dicom(tmp_path)
        try:
            (array, geometry, _), texts = read_lenient(tmp_path)
        except errors.ReadError:
            return
        assert texts
        assert array.shape == geometry.shape


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


def two_series(folder, **elements):
    write_series(Path(folder))
    other = make_series(stored_values((3, 4, 9), seed=8), SeriesInstanceUID="1.2.3.9", SeriesNumber=2, **elements)
    write(other, folder, [f"other{k}.dcm" for k in range(3)])


def time_series(folder, label=True, **elements):
    """Three time points of 4 slices, written place after place, each with its own instance number."""
    volumes = stored_values((3, 4, 6, 7))
    series = []
    for t in range(3):
        for k, dataset in enumerate(make_series(volumes[t], Modality="MR", **elements)):
            dataset.InstanceNumber = t * 4 + k + 1
            if label:
                dataset.TemporalPositionIdentifier = t + 1
            series.append(dataset)
    write(series, folder)
    return volumes


class TestChoice:
    def test_several_series_are_listed(self, tmp_path):
        two_series(tmp_path)
        with pytest.raises(errors.SeveralVolumes, match="2 volumes") as caught:
            read_dicom(tmp_path)
        text = str(caught.value)
        assert "  0  Größe, CT, 3 slices of 4 x 9, oblique, series 1.2.3.9" in text
        assert "  1  Größe, CT, 5 slices of 6 x 7, oblique, series 1.2.3.4" in text
        assert not any(secret in text for secret in SECRETS)

    def test_choose_by_uid_number_key_or_row(self, tmp_path):
        two_series(tmp_path)
        table = dicom_inventory(tmp_path)
        row = table.iloc[1]
        for series in ("1.2.3.4", 1, np.int64(1), row["key"], row, row.to_dict()):
            np.testing.assert_array_equal(read_dicom(tmp_path, series)[0], stored_values())
        np.testing.assert_array_equal(read_dicom(row)[0], stored_values())

    def test_choose_in_a_sub_folder(self, tmp_path):
        two_series(tmp_path / "a" / "b")
        with pytest.raises(errors.NoImages, match=r"1 sub-folders, which are not searched.*dicom_inventory"):
            read_dicom(tmp_path)
        np.testing.assert_array_equal(read_dicom(tmp_path, "1.2.3.4")[0], stored_values())
        np.testing.assert_array_equal(read_dicom(tmp_path, 1)[0], stored_values())
        with pytest.raises(errors.NoImages, match="no volume 5 among the 2"):
            read_dicom(tmp_path, 5)

    @pytest.mark.parametrize("series", ["9.9", 7, -1])
    def test_a_choice_that_is_not_there(self, tmp_path, series):
        two_series(tmp_path)
        with pytest.raises(errors.NoImages, match=r"no volume .* there are 2"):
            read_dicom(tmp_path, series)

    @pytest.mark.parametrize("series", [True, 1.5, ["1.2.3.4"]])
    def test_a_choice_of_a_wrong_kind(self, tmp_path, series):
        with pytest.raises(TypeError, match="series must be a series UID"):
            read_dicom(tmp_path, series)

    def test_a_row_that_is_none(self, tmp_path):
        with pytest.raises(TypeError, match="must come from dicom_inventory"):
            read_dicom(tmp_path, {"files": ()})

    def test_a_row_with_a_problem_is_refused_as_the_folder_is(self, tmp_path):
        drop({4})(tmp_path)
        row = dicom_inventory(tmp_path).iloc[0]
        with pytest.raises(errors.MissingSlices):
            read_dicom(row)

    def test_a_row_whose_files_changed(self, tmp_path):
        paths = write_series(tmp_path)
        row = dicom_inventory(tmp_path).iloc[0]
        paths[2].unlink()
        with pytest.raises(FileNotFoundError, match="though the inventory lists it"):
            read_dicom(row)

    @pytest.mark.parametrize(
        "other", [{"SeriesInstanceUID": "1.9"}, {"spacing": (1.1, 0.8, 4)}, {"orientation": AXIAL}]
    )
    def test_a_row_whose_files_became_another_volume(self, tmp_path, other):
        write_series(tmp_path)
        row = dicom_inventory(tmp_path).iloc[0]
        write_series(tmp_path, **other)
        with pytest.raises(errors.NoImages, match="no longer as the inventory lists it"):
            read_dicom(row)

    @pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient"])
    def test_a_row_of_images_without_a_place_tells_why(self, tmp_path, keyword):
        write_series(tmp_path, **{keyword: None})
        (row,) = dicom_inventory(tmp_path).iloc
        with pytest.raises(errors.MissingGeometry, match=f"{keyword} is absent"):
            read_dicom(tmp_path, row)

    def test_studies_without_a_series_uid_are_not_joined(self, tmp_path):
        shift = direction_of(OBLIQUE)[:, 2] * SPACING[2] * 5
        other = make_series(origin=ORIGIN + shift, SeriesInstanceUID="", StudyInstanceUID="1.9")
        write(make_series(SeriesInstanceUID="") + other, tmp_path)
        assert list(dicom_inventory(tmp_path)["slices"]) == [5, 5]
        with pytest.raises(errors.SeveralVolumes):
            read_dicom(tmp_path)

    def test_two_stacks_side_by_side_are_no_doubles(self, tmp_path):
        shift = np.array(OBLIQUE[:3]) * 40
        write(make_series() + make_series(origin=ORIGIN + shift), tmp_path)
        for strict in (True, False):
            with pytest.raises(errors.MixedSeries, match=r"lie side by side, 40\.0 mm apart in one plane"):
                read_dicom(tmp_path, strict=strict)

    def test_damage_in_another_series_does_not_matter(self, tmp_path):
        two_series(tmp_path)
        path = tmp_path / "other1.dcm"
        path.write_bytes(path.read_bytes()[:-3])
        np.testing.assert_array_equal(read_dicom(tmp_path, "1.2.3.4")[0], stored_values())
        with pytest.raises(errors.TruncatedFile):
            read_dicom(tmp_path, "1.2.3.9")

    @pytest.mark.parametrize("label", [True, False])
    def test_time_points_are_told_apart(self, tmp_path, label):
        volumes = time_series(tmp_path, label)
        table = dicom_inventory(tmp_path)
        word = "time point" if label else "repetition"
        assert list(table["distinct"]) == [f"{word} {t} of 3" for t in (1, 2, 3)]
        assert not table["problems"].any()
        for t in range(3):
            np.testing.assert_array_equal(read_dicom(tmp_path, t)[0], volumes[t])
            np.testing.assert_array_equal(read_dicom(table.iloc[t])[0], volumes[t])
        with pytest.raises(errors.SeveralVolumes, match="3 volumes"):
            read_dicom(tmp_path, "1.2.3.4")

    def test_an_aborted_time_point_is_no_duplicate(self, tmp_path):
        time_series(tmp_path)
        for path in sorted(tmp_path.iterdir())[:1]:
            path.unlink()  # the last slice of the last time point
        assert list(dicom_inventory(tmp_path)["slices"]) == [4, 4, 3]

    def test_a_time_point_aborted_early_does_not_spoil_the_others(self, tmp_path):
        volumes = time_series(tmp_path)
        for path in sorted(tmp_path.iterdir())[:3]:
            path.unlink()
        assert list(dicom_inventory(tmp_path)["slices"]) == [4, 4, 1]
        for t in range(2):
            np.testing.assert_array_equal(read_dicom(tmp_path, t)[0], volumes[t])

    @pytest.mark.parametrize(
        ("keyword", "values", "words"),
        [
            ("EchoTime", (2.3, 4.6), ["echo time 2.3 ms", "echo time 4.6 ms"]),
            ("DiffusionBValue", (0.0, 800.0), ["b-value 0 s/mm2", "b-value 800 s/mm2"]),
            ("ImageType", (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"]), None),
            ("AcquisitionNumber", (1, 2), ["acquisition 1 of 2", "acquisition 2 of 2"]),
            ("AcquisitionTime", ("101010.5", "101112.25"), ["time point 1 of 2", "time point 2 of 2"]),
            ("TriggerTime", (12, 480), ["time point 1 of 2", "time point 2 of 2"]),
            ("InversionTime", (100, 900), ["inversion time 100 ms", "inversion time 900 ms"]),
        ],
    )
    def test_what_tells_slices_at_one_position_apart(self, tmp_path, keyword, values, words):
        volumes = stored_values((2, 4, 6, 7))
        for n, value in enumerate(values):
            write_series(tmp_path / str(n), volumes[n], **{keyword: value, "InstanceNumber": None})
            for path in (tmp_path / str(n)).iterdir():
                path.rename(tmp_path / f"{n}{path.name}")
        table = dicom_inventory(tmp_path)
        assert len(table) == 2
        if words:
            assert list(table["distinct"]) == words
        for n in range(2):
            np.testing.assert_array_equal(read_dicom(tmp_path, n)[0], volumes[n])

    @pytest.mark.parametrize("number", [True, False])
    def test_two_reconstructions_are_not_told_apart_by_when_they_were_written(self, tmp_path, number):
        delays = np.random.default_rng(0).integers(0, 999, (2, 5))
        series = []
        for n in range(2):
            for k, dataset in enumerate(make_series(stored_values() + n, AcquisitionTime="100000")):
                dataset.ContentTime = f"{100000 + k}.{delays[n, k]:03d}"
                dataset.InstanceNumber = k + 1 if number else None
                series.append(dataset)
        write(series, tmp_path)
        with pytest.raises(errors.DuplicateSlices):
            read_dicom(tmp_path)

    @pytest.mark.parametrize("date", ["20200101", None])
    @pytest.mark.parametrize("number", [True, False])
    def test_a_clock_that_passes_midnight(self, tmp_path, date, number):
        volumes = stored_values((2, 5, 6, 7))
        series = []
        for t, volume in enumerate(volumes):
            for k, dataset in enumerate(make_series(volume, AcquisitionDate=date)):
                second = (86397 + t * 2 + k * 0.3) % 86400
                dataset.AcquisitionTime = f"{second // 3600:02.0f}{second // 60 % 60:02.0f}{second % 60:06.3f}"
                dataset.InstanceNumber = t * 5 + k + 1 if number else None
                series.append(dataset)
        write(series, tmp_path)
        if number:
            for t in range(2):
                np.testing.assert_array_equal(read_dicom(tmp_path, t)[0], volumes[t])
        else:
            with pytest.raises(errors.DuplicateSlices):
                read_dicom(tmp_path)

    @pytest.mark.parametrize(
        ("keyword", "values"),
        [
            ("FlipAngle", (10, 60)),
            ("InversionTime", (100, 900)),
            ("EchoNumbers", (1, 2)),
            ("DiffusionBValue", (0.0, 1e3)),
        ],
    )
    def test_volumes_of_another_contrast_are_not_stacked(self, tmp_path, keyword, values):
        first = make_series(**{keyword: values[0]})
        shift = direction_of(OBLIQUE)[:, 2] * SPACING[2]
        write(first + make_series(origin=ORIGIN + 5 * shift, **{keyword: values[1]}), tmp_path)  # on top of the first
        with pytest.raises(errors.MixedSeries, match="in 5 of 10 slices"):
            read_dicom(tmp_path)
        write(first + make_series(origin=ORIGIN + 0.5 * shift, **{keyword: values[1]}), tmp_path)  # between its slices
        assert list(dicom_inventory(tmp_path)["slices"]) == [5, 5]
        np.testing.assert_array_equal(read_dicom(tmp_path, 0)[0], stored_values())

    @pytest.mark.parametrize(
        ("elements", "words"),
        [
            ({"AcquisitionNumber": (4, 5)}, "acquisition"),
            ({"TemporalPositionIdentifier": (1, 2)}, "time point"),
            ({"EchoTime": (2.3, 4.6)}, "echo time"),
        ],
    )
    @pytest.mark.parametrize("shift", [0.9, 3.1])
    def test_stacks_between_each_others_slices_are_several_volumes(self, tmp_path, elements, words, shift):
        two_combs(shift, **elements)(tmp_path)
        table = dicom_inventory(tmp_path)
        assert list(table["slices"]) == [5, 5]
        assert not table["problems"].any()
        assert table["distinct"].str.startswith(words).all()
        for n in range(2):
            array, geometry, _ = read_dicom(table.iloc[n])
            np.testing.assert_array_equal(array, stored_values(seed=n))
            expected = np.array(ORIGIN) + n * shift * direction_of(OBLIQUE)[:, 2]
            np.testing.assert_allclose(geometry.origin, expected, atol=1e-5)
        with pytest.raises(errors.SeveralVolumes):
            read_dicom(tmp_path, strict=False)

    def test_a_hole_in_one_of_two_interleaved_stacks_is_that_stacks_fault(self, tmp_path):
        two_combs(0.9, AcquisitionNumber=(1, 2))(tmp_path)
        holed = next(p for p in tmp_path.iterdir() if pydicom.dcmread(p).AcquisitionNumber == 1 and "9997" in p.name)
        holed.unlink()
        problems = dicom_inventory(tmp_path)["problems"]
        assert "a slice is missing" in problems[0]
        assert problems[1] == ""

    def test_thin_and_thick_stacks_one_behind_the_other_stay_one(self, tmp_path):
        two_gaps(tmp_path)
        for path in tmp_path.iterdir():
            dataset = pydicom.dcmread(path)
            dataset.AcquisitionNumber = 1 if dataset.InstanceNumber <= 5 else 2
            dataset.save_as(path)
        with pytest.raises(errors.UnevenSlices, match="the gaps are uneven"):
            read_dicom(tmp_path)
        assert len(read_lenient(tmp_path)[0][0]) == 11

    @pytest.mark.parametrize(("numbers", "apart"), [((1, 2, 3), True), ((1, 3, 2), False), ((1, 1, 1), True)])
    def test_trigger_times_count_if_the_instance_numbers_do_not_contradict(self, tmp_path, numbers, apart):
        volumes = stored_values((3, 4, 6, 7))
        series = []
        for t in range(3):
            for k, dataset in enumerate(make_series(volumes[t], Modality="MR")):
                # the heart beats at its own rate while each slice is taken
                dataset.TriggerTime = f"{t * (30 + 4 * k) + k:g}"
                dataset.InstanceNumber = (numbers[t] if k == 2 else t + 1) if numbers[1] > 1 else 1
                series.append(dataset)
        write(series, tmp_path)
        if apart:
            for t in range(3):
                np.testing.assert_array_equal(read_dicom(tmp_path, t)[0], volumes[t])
        else:
            with pytest.raises(errors.DuplicateSlices):
                read_dicom(tmp_path)

    def test_a_bolus_series_is_one_volume_per_time_point(self, tmp_path):
        series = [make_slice(image, ORIGIN, InstanceNumber=k + 1) for k, image in enumerate(stored_values())]
        write(series, tmp_path)
        assert list(dicom_inventory(tmp_path)["shape"]) == [(1, 6, 7)] * 5
        np.testing.assert_array_equal(read_dicom(tmp_path, 3)[0], stored_values()[3:4])

    def test_two_orientations_in_one_series(self, tmp_path):
        write(make_series() + make_series(orientation=AXIAL), tmp_path)
        table = dicom_inventory(tmp_path)
        assert sorted(table["distinct"]) == ["axial 6x7", "oblique 6x7"]
        assert list(table["slices"]) == [5, 5]


class TestWhatIsSkipped:
    def test_what_is_no_image_is_counted(self, tmp_path):
        write_series(tmp_path)
        for name in ("test-SR.dcm", "rtstruct.dcm", "rtplan.dcm", "waveform_ecg.dcm", "SC_rgb_small_odd.dcm"):
            shutil.copy(packaged(name), tmp_path)
        shutil.copy(Path(packaged("MR_small.dcm")).parent / "dicomdirtests" / "DICOMDIR", tmp_path)
        (tmp_path / "README").write_text("text")
        (tmp_path / "._IM9999.dcm").write_bytes(b"\0\5\x16\7" + b"\0" * 200)
        (tmp_path / "notes.json").write_text("")
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())
        assert dicom_inventory(tmp_path).attrs["skipped"] == {
            "DICOM objects without an image": 4, "colour images": 1, "DICOMDIR": 1, "files that are not DICOM": 3,
        }  # fmt: skip

    def test_a_localizer_and_a_colour_capture_in_the_series(self, tmp_path):
        series = make_series()
        scout = make_slice(
            stored_values((1, 9, 4))[0], ORIGIN, (0, 1, 0, 0, 0, -1), ImageType="ORIGINAL\\PRIMARY\\LOCALIZER"
        )
        capture = make_slice(stored_values((1, 6, 7))[0], ORIGIN, PhotometricInterpretation="RGB", SamplesPerPixel=3)
        write([*series, scout, capture], tmp_path)
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())
        assert dicom_inventory(tmp_path).attrs["skipped"] == {"localizers": 1, "colour images": 1}

    def test_a_series_of_localizers_alone_is_read(self, tmp_path):
        write_series(tmp_path, ImageType="ORIGINAL\\PRIMARY\\LOCALIZER")
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())

    def test_only_colour(self, tmp_path):
        shutil.copy(packaged("SC_rgb_small_odd.dcm"), tmp_path)
        with pytest.raises(errors.UnsupportedImage, match=r"a colour image .*RGB"):
            read_dicom(tmp_path)

    def test_images_without_a_place_beside_a_volume(self, tmp_path):
        write_series(tmp_path)
        lost = {"PixelSpacing": None, "ImagePositionPatient": None, "ImageOrientationPatient": None}
        write_series(tmp_path / "x", SeriesInstanceUID="1.9", **lost)
        for k, path in enumerate((tmp_path / "x").iterdir()):
            path.rename(tmp_path / f"capture{k}.dcm")
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())


class TestFiles:
    @pytest.mark.parametrize("kind", ["native", "deflated", "rle"])
    def test_a_file_replaced_between_header_and_pixels_is_refused(self, tmp_path, monkeypatch, kind):
        def change(dataset):
            if kind == "deflated":
                dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
            return compressed(dataset, kind) if kind == "rle" else dataset

        files = write([change(dataset) for dataset in make_series()], tmp_path / "ct")
        other = write([change(dataset) for dataset in make_series(stored_values(seed=1))], tmp_path / "other")

        def replaced_before(planes):
            os.replace(other[2], files[2])
            return decode_planes(planes)

        monkeypatch.setattr("faimed3d.dicom.reading.decode_planes", replaced_before)
        with pytest.raises(errors.ReadError, match=f"{files[2].name}: the file changed while the volume was read"):
            read_dicom(tmp_path / "ct")

    @pytest.mark.parametrize("path", [3, None, 2.5])
    def test_a_path_of_a_wrong_kind(self, path):
        with pytest.raises(TypeError):
            read_dicom(path)

    def test_no_such_path(self, tmp_path):
        for function in (read_dicom, dicom_inventory, is_dicom):
            with pytest.raises(FileNotFoundError):
                function(tmp_path / "none")

    def test_no_preamble(self, tmp_path):
        for syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian):
            for path in write_series(tmp_path, syntax=syntax):
                dataset = pydicom.dcmread(path)
                del dataset.file_meta
                dataset.preamble = None
                dataset.save_as(path, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian)
                assert path.read_bytes()[128:132] != b"DICM"
                assert is_dicom(path)
            np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())

    def test_links(self, tmp_path):
        paths = write_series(tmp_path / "store")
        folder = tmp_path / "links"
        folder.mkdir()
        for path in paths:
            (folder / path.name).symlink_to(path)
        (folder / "again.dcm").symlink_to(paths[0])
        (folder / "loop").symlink_to(folder)
        np.testing.assert_array_equal(read_dicom(folder)[0], stored_values())
        assert len(dicom_inventory(folder)) == 1
        assert len(dicom_inventory(tmp_path)) == 2

    def test_a_link_to_nothing_is_a_lost_slice(self, tmp_path):
        write_series(tmp_path)
        (tmp_path / "notes.txt").symlink_to(tmp_path / "nowhere")
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())
        (tmp_path / "IM0001.dcm").symlink_to(tmp_path / "nowhere")
        with pytest.raises(errors.DamagedFile, match=r"IM0001\.dcm: a link to a file that is not there"):
            read_dicom(tmp_path)

    @pytest.mark.parametrize("text", ["<html><body>404</body></html>", "version https://git-lfs.github.com/spec/v1"])
    def test_a_slice_without_extension_that_became_text_is_lost(self, tmp_path, text):
        paths = write(make_series(), tmp_path, [f"IM{k:04d}" for k in range(5)])
        (tmp_path / "README").write_text("text")
        (tmp_path / "notes1").write_text("text")
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())
        paths[4].write_text(text)
        with pytest.raises(errors.DamagedFile, match=r"IM0004: (named as the slices beside it, but it|a pointer to)"):
            read_dicom(tmp_path)

    def test_only_links_to_nothing(self, tmp_path):
        (tmp_path / "IM0001.dcm").symlink_to(tmp_path / "nowhere")
        with pytest.raises(errors.NoImages, match="1 links to nothing"):
            read_dicom(tmp_path)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
    def test_a_pipe_does_not_block(self, tmp_path):
        write_series(tmp_path)
        os.mkfifo(tmp_path / "pipe.dcm")
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())
        with pytest.raises(errors.NoImages, match="neither a file nor a folder"):
            read_dicom(tmp_path / "pipe.dcm")

    def test_sequences_of_undefined_length_before_the_pixels(self, tmp_path):
        def nest(k, dataset):
            inner, outer = Dataset(), Dataset()
            inner.CodeValue = "T-1"
            outer.AnatomicRegionSequence = Sequence([inner, inner])
            outer["AnatomicRegionSequence"].is_undefined_length = True
            dataset.ReferencedImageSequence = Sequence([outer, outer])
            dataset["ReferencedImageSequence"].is_undefined_length = True
            for item in dataset.ReferencedImageSequence:
                item.is_undefined_length_sequence_item = True

        for syntax in NATIVE:
            write_series(tmp_path, edit=nest, syntax=syntax)
            np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())

    def test_headers_longer_than_the_first_read(self, tmp_path):
        write_series(tmp_path, edit=lambda k, d: d.add_new(0x00091010, "UN", bytes(range(256)) * 200))
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())

    def test_is_dicom(self, tmp_path):
        path = write_series(tmp_path)[0]
        assert is_dicom(path)
        assert not is_dicom(tmp_path)
        for content in (b"", b"\0" * 400, b"hello" * 50, b"\x08\0", gzip.compress(b"x" * 999)):
            (tmp_path / "other").write_bytes(content)
            assert not is_dicom(tmp_path / "other")


class TestMultiFrame:
    def test_frames_go_where_their_groups_say(self, tmp_path):
        stored = stored_values()
        slopes = [(1.5 + k / 8, k - 3) for k in range(5)]
        paths = write([enhanced(stored, order=[3, 1, 0, 4, 2], slopes=slopes)], tmp_path)
        for source in (tmp_path, paths[0]):
            array, geometry, files = read_dicom(source)
            expected = [stored[k] * slopes[k][0] + slopes[k][1] for k in range(5)]
            np.testing.assert_array_equal(array, np.array(expected, np.float32))
            np.testing.assert_allclose(geometry.affine, expected_affine(), atol=1e-6)
            assert files == (str(paths[0]),)

    @pytest.mark.parametrize(
        ("name", "values", "words"),
        [
            ("time", (1, 2), "time point 2 of 2"), ("stack", ("a", "b"), "stack 2 of 2"),
            ("echo", (2.5, 5.0), "echo time 5 ms"), ("b", (0.0, 1000.0), "b-value 1000 s/mm2"),
        ],
    )  # fmt: skip
    def test_frames_at_one_position_are_told_apart(self, tmp_path, name, values, words):
        stored = stored_values((6, 6, 7))
        labels = [{name: values[k // 3], "level": k % 3} for k in range(6)]
        path = write([enhanced(stored, order=[5, 0, 3, 2, 1, 4], labels=labels)], tmp_path)[0]
        table = dicom_inventory(path)
        assert len(table) == 2
        assert table["distinct"][1] == words
        for n in range(2):
            np.testing.assert_array_equal(read_dicom(path, n)[0], stored[3 * n : 3 * n + 3])
            np.testing.assert_array_equal(read_dicom(table.iloc[n])[0], stored[3 * n : 3 * n + 3])

    def test_a_missing_frame(self, tmp_path):
        write([enhanced(stored_values(), order=[0, 1, 3, 4])], tmp_path)
        with pytest.raises(errors.MissingSlices, match=r"IM9999\.dcm frame 2 .* and IM9999\.dcm frame 3"):
            read_dicom(tmp_path)

    def test_a_film_is_no_volume(self, tmp_path):
        dataset = make_slice(stored_values((1, 12, 7))[0], ORIGIN, NumberOfFrames=2, Rows=6)
        write([dataset], tmp_path)
        with pytest.raises(errors.UnsupportedImage, match=r"2 frames without a position.*\(5200,9230\)"):
            read_dicom(tmp_path)

    def test_frames_and_groups_must_match(self, tmp_path):
        dataset = enhanced(stored_values())
        dataset.NumberOfFrames = 4
        write([dataset], tmp_path)
        with pytest.raises(errors.DamagedFile, match="has 5 items"):
            read_dicom(tmp_path)

    def test_a_dose_grid_has_its_scaling_and_offsets(self, tmp_path):
        path = packaged("rtdose.dcm")
        dataset = pydicom.dcmread(path)
        array, geometry, _ = read_dicom(path)
        expected = dataset.pixel_array * float(dataset.DoseGridScaling)
        assert geometry.spacing[2] == pytest.approx(abs(dataset.GridFrameOffsetVector[1]))
        first = np.array(dataset.ImagePositionPatient, float)
        order = np.argsort(dataset.GridFrameOffsetVector)
        np.testing.assert_array_equal(array, expected[order].astype(np.float32))
        last = first + direction_of(dataset.ImageOrientationPatient)[:, 2] * float(max(dataset.GridFrameOffsetVector))
        np.testing.assert_allclose(geometry.index_to_world((14, 0, 0)), last, atol=1e-4)

    def test_a_reconstructed_nm_volume(self, tmp_path):
        stored = stored_values((4, 6, 7), low=0)
        detector = Dataset()
        detector.ImagePositionPatient, detector.ImageOrientationPatient = list(ORIGIN), list(AXIAL)
        dataset = make_slice(
            stored.reshape(24, 7),
            ORIGIN,
            SOPClassUID="1.2.840.10008.5.1.4.1.1.20",
            Modality="NM",
            Rows=6,
            NumberOfFrames=4,
            ImageType=["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"],
            SpacingBetweenSlices="2.5",
            ImagePositionPatient=None,
            ImageOrientationPatient=None,
            DetectorInformationSequence=Sequence([detector]),
        )
        path = write([dataset], tmp_path)[0]
        array, geometry, _ = read_dicom(path)
        np.testing.assert_array_equal(array, stored)
        np.testing.assert_allclose(geometry.affine, expected_affine(AXIAL), atol=1e-6)
        dataset.NumberOfFrames = 16000000
        with pytest.raises(errors.TruncatedFile, match=r"\(0028,0008\) NumberOfFrames 16000000"):
            read_dicom(write([dataset], tmp_path)[0])

    def test_a_parametric_map_has_its_real_world_values(self, tmp_path):
        values = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
        dataset = enhanced(stored_values())
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.30"
        del dataset.PixelData
        dataset.FloatPixelData, dataset.BitsAllocated = values.tobytes(), 32
        path = write([dataset], tmp_path)[0]
        with pytest.raises(errors.UnsupportedImage, match=r"\(0040,9096\)"):
            read_dicom(path)
        mapping = Dataset()
        mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 2.0, -1.0
        dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence = Sequence([mapping])
        path = write([dataset], tmp_path)[0]
        np.testing.assert_array_equal(read_dicom(path)[0], values * 2 - 1)

    def test_a_segmentation_of_fewer_frames_than_it_describes_is_refused(self):
        with pytest.raises(errors.DamagedFile, match=r"PerFrameFunctionalGroupsSequence has 3 items"):
            read_dicom(packaged("liver_1frame.dcm"))

    def test_a_big_endian_segmentation_is_called_that(self):
        with pytest.raises(errors.UnsupportedImage, match="a big endian DICOM segmentation"):
            read_dicom(packaged("liver_expb_1frame.dcm"))

    @pytest.mark.parametrize("vr", [b"SQ", b"UN"])
    def test_a_table_of_values_is_refused(self, tmp_path, vr):
        def add(k, dataset):
            item = Dataset()
            item.LUTDescriptor, item.ModalityLUTType, item.LUTData = [3, 0, 16], "HU", [1, 2, 3]
            item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
            dataset.ModalityLUTSequence = Sequence([item])

        for path in write_series(tmp_path, edit=add):
            path.write_bytes(path.read_bytes().replace(b"\x28\0\0\x30SQ", b"\x28\0\0\x30" + vr))
        with pytest.raises(errors.UnsupportedImage, match=r"\(0028,3000\) ModalityLUTSequence"):
            read_dicom(tmp_path)


class TestMosaic:
    @pytest.mark.parametrize("downwards", [False, True])
    @pytest.mark.parametrize("depth", [1, 4, 5, 9])
    def test_tiles_are_cut_and_placed(self, tmp_path, depth, downwards):
        stored = stored_values((depth, 6, 7))
        write([mosaic(stored, downwards=downwards)], tmp_path)
        array, geometry, _ = read_dicom(tmp_path)
        np.testing.assert_array_equal(array, stored)
        np.testing.assert_allclose(geometry.affine, expected_affine(), atol=1e-5)

    def test_a_series_of_mosaics_is_a_time_series(self, tmp_path):
        volumes = stored_values((3, 5, 6, 7))
        files = [mosaic(volume) for volume in volumes]
        for t, dataset in enumerate(files):
            dataset.InstanceNumber, dataset.AcquisitionNumber = t + 1, t + 1
        write(files, tmp_path)
        assert list(dicom_inventory(tmp_path)["shape"]) == [(5, 6, 7)] * 3
        for t in range(3):
            np.testing.assert_array_equal(read_dicom(tmp_path, t)[0], volumes[t])

    def test_without_the_direction_of_the_tiles_it_is_refused(self, tmp_path):
        write([mosaic(stored_values(), csa=False)], tmp_path)
        with pytest.raises(errors.UnsupportedImage, match=r"a Siemens mosaic of 5 tiles without \(0029,1010\)"):
            read_dicom(tmp_path)

    def test_a_mosaic_that_is_not_called_one_is_no_slice(self, tmp_path):
        dataset = mosaic(stored_values())
        dataset.ImageType = ["DERIVED", "PRIMARY"]
        write([dataset], tmp_path)
        with pytest.raises(errors.UnsupportedImage, match=r"\(0019,100A\) says 5 tiles, .* does not say MOSAIC"):
            read_dicom(tmp_path)

    @pytest.mark.parametrize("name", ["siemens_dwi_0.dcm.gz", "siemens_dwi_1000.dcm.gz", "philips_mprage.dcm.gz"])
    def test_nibabels_real_files(self, tmp_path, name):
        path = tmp_path / "file.dcm"
        path.write_bytes(gzip.decompress((NIBABEL_DATA / name).read_bytes()))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from nibabel.nicom.dicomwrappers import wrapper_from_file

            wrapper = wrapper_from_file(path)
            theirs = np.asarray(wrapper.get_data())
        array, geometry, _ = read_dicom(path)
        # nibabel's affine takes (row, column, slice) to LPS
        ijk = np.array([[0, 0, 0], [5, 9, 3], [40, 60, 20]])
        world = ijk @ wrapper.affine[:3, :3].T + wrapper.affine[:3, 3]
        index = geometry.world_to_index(world)
        np.testing.assert_allclose(index, np.round(index), atol=1e-3)
        for (row, column, k), (d, h, w) in zip(ijk, np.round(index).astype(int), strict=True):
            assert array[d, h, w] == np.float32(theirs[row, column, k])
            assert (h, w) == (row, column)


class TestInventory:
    def test_one_row_per_volume(self, tmp_path):
        two_series(tmp_path / "a")
        time_series(tmp_path / "b", SeriesInstanceUID="1.7")
        table = dicom_inventory(tmp_path)
        assert list(table.columns) == [
            "key", "folder", "series_uid", "description", "modality", "slices", "shape", "spacing", "orientation",
            "distinct", "transfer_syntax", "problems", "files",
        ]  # fmt: skip
        assert len(table) == 5
        assert table["key"].is_unique
        row = table.iloc[1]
        assert row["folder"] == str(tmp_path / "a")
        assert row["series_uid"] == "1.2.3.4"
        assert row["description"] == "Größe"
        assert row["modality"] == "CT"
        assert (row["slices"], row["shape"]) == (5, (5, 6, 7))
        assert row["spacing"] == pytest.approx(SPACING)
        assert row["orientation"] == "oblique"
        assert row["transfer_syntax"] == "Explicit VR Little Endian"
        assert row["problems"] == ""
        assert len(row["files"]) == 5
        assert len(dicom_inventory(tmp_path, recurse=False)) == 0

    def test_keys_do_not_depend_on_where_the_tree_lies(self, tmp_path):
        two_series(tmp_path / "x" / "a")
        shutil.copytree(tmp_path / "x", tmp_path / "y")
        assert list(dicom_inventory(tmp_path / "x")["key"]) == list(dicom_inventory(tmp_path / "y")["key"])

    def test_no_patient_data_unless_asked_for(self, tmp_path):
        write_series(tmp_path)
        table = dicom_inventory(tmp_path)
        assert not any(secret in table.to_csv() + str(table.attrs) for secret in (*SECRETS, "20200229"))
        table = dicom_inventory(tmp_path, tags=["PatientID", 0x00100010, (0x0010, 0x0030), "EchoTime"])
        assert tuple(table.iloc[0, -4:]) == (SECRETS[1], SECRETS[0], SECRETS[2], "")

    def test_tags_that_are_none(self, tmp_path):
        with pytest.raises(ValueError, match="'Patient' is no DICOM keyword"):
            dicom_inventory(tmp_path, tags=["Patient"])
        with pytest.raises(TypeError, match="tags must be"):
            dicom_inventory(tmp_path, tags=[1.5])

    def test_damaged_files_are_told(self, tmp_path):
        cut(600)(tmp_path / "a")
        table = dicom_inventory(tmp_path)
        assert table["problems"].str.contains("IM9998.dcm").all()

    @pytest.mark.parametrize("orientation", [((1, 0, 0, 0, 1, 0), "axial"), ((1, 0, 0, 0, 0, -1), "coronal")])
    def test_orientation(self, tmp_path, orientation):
        write_series(tmp_path, orientation=orientation[0])
        assert dicom_inventory(tmp_path)["orientation"][0] == orientation[1]

    def test_long_work_shows_a_progress_bar(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr("faimed3d.dicom.inventory._LONG_WORK", 5)
        two_series(tmp_path / "a")
        write_series(tmp_path / "b")
        assert len(dicom_inventory(tmp_path)) == 3
        assert "100" in capsys.readouterr().out

    def test_an_empty_tree(self, tmp_path):
        table = dicom_inventory(tmp_path)
        assert isinstance(table, pd.DataFrame)
        assert len(table) == 0


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


class TestHeaderWalk:
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


class TestSharedData:
    def test_epi_time_points_equal_dcm2niix(self, real_data):
        folder = real_data / "epi_timeseries"
        reference = nibabel.load(folder / "reference_dcm2niix.nii")
        theirs = np.asarray(reference.dataobj)
        to_lps = np.diag([-1, -1, 1, 1]) @ reference.affine
        table = dicom_inventory(folder / "dicom")
        assert len(table) == 10
        for t in range(10):
            array, geometry, _ = read_dicom(table.iloc[t])
            assert array.shape == (15, 64, 64)
            # dcm2niix turns the rows round
            np.testing.assert_array_equal(array, theirs[..., t].T[:, ::-1])
            corners = np.array([[0, 63, 0], [63, 0, 14], [10, 20, 5]])
            world = corners @ to_lps[:3, :3].T + to_lps[:3, 3]
            index = geometry.world_to_index(world)
            np.testing.assert_allclose(index, [[0, 0, 0], [14, 63, 63], [5, 43, 10]], atol=1e-3)

    def test_abdomen_equals_simpleitk(self, real_data):
        folder = real_data / "abdomen_ct" / "dicom"
        array, geometry, files = read_dicom(folder)
        image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
        np.testing.assert_array_equal(array, sitk.GetArrayFromImage(image))
        np.testing.assert_allclose(geometry.spacing, image.GetSpacing(), atol=1e-5)
        np.testing.assert_allclose(geometry.origin, image.GetOrigin(), atol=1e-5)
        np.testing.assert_allclose(geometry.direction, image.GetDirection(), atol=1e-5)
        assert len(files) == 20
