"""A DICOM folder of one series is read with its voxels and its geometry."""

import shutil

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from dicom_faults import expected_affine
from dicom_series import (
    AXIAL,
    NATIVE,
    OBLIQUE,
    SPACING,
    compressed,
    make_series,
    oblique,
    stored_values,
    write,
    write_series,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
)

from faimed3d import errors
from faimed3d.dicom import dicom_inventory, read_dicom


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
