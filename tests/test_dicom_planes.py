"""Planes of multi-frame files and of mosaics."""

import gzip
import warnings

import numpy as np
import pydicom
import pytest
from dicom_faults import NIBABEL_DATA, expected_affine, packaged
from dicom_series import (
    AXIAL,
    ORIGIN,
    direction_of,
    enhanced,
    make_slice,
    mosaic,
    stored_values,
    write,
    write_series,
)
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from faimed3d import errors
from faimed3d.dicom import dicom_inventory, read_dicom


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
        with pytest.raises(
            errors.UnsupportedImage, match=r"single bits in .*1\.2\.840\.10008\.1\.2\.2, which is not read"
        ):
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
