"""The reason that a refusal names is true, and what is no image refuses nothing."""

import shutil

import numpy as np
import pytest
from dicom_archive import several
from dicom_faults import packaged
from dicom_series import AXIAL, ORIGIN, enhanced, make_slice, stored_values, write, write_series
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, MRImageStorage, SegmentationStorage

from faimed3d import errors
from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.dicom import dicom_inventory, read_dicom

_PRIVATE = (
    "1.3.46.670589.11.0.0.12.2",  # Philips MR Series Data
    "1.3.46.670589.11.0.0.12.4",  # Philips MR Examcard
    "1.3.12.2.1107.5.9.1",  # Siemens CSA Non-Image
    "1.2.840.113619.4.27",  # GE Nuclear Medicine private
    "1.2.840.10008.3.1.2.3.3",  # Modality Performed Procedure Step: of the standard, and never stored
)


def without_pixels(**elements):
    dataset = make_slice(stored_values((1, 6, 7))[0], ORIGIN, **elements)
    del dataset.PixelData
    return dataset


class TestObjectsWithoutPixels:
    @pytest.mark.parametrize("lost", [(), ("BitsAllocated",), ("ImagePositionPatient", "ImageOrientationPatient")])
    @pytest.mark.parametrize("kind", _PRIVATE)
    def test_of_a_private_class_are_no_images(self, tmp_path, kind, lost):
        write_series(tmp_path)
        write([without_pixels(SOPClassUID=kind, **dict.fromkeys(lost))], tmp_path, ["XX_0546"])
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())
        table = dicom_inventory(tmp_path)
        assert list(table["problems"]) == [""]
        assert table.attrs["skipped"] == {"DICOM objects without an image": 1}

    @pytest.mark.parametrize("kind", [CTImageStorage, MRImageStorage])
    def test_of_a_class_of_images_are_damaged(self, tmp_path, kind):
        write_series(tmp_path)
        write([without_pixels(SOPClassUID=kind)], tmp_path, ["IM0001"])
        with pytest.raises(errors.DamagedFile, match=r"IM0001: \(7FE0,0010\) PixelData is absent: an image without"):
            read_dicom(tmp_path)

    def test_of_no_class_at_all_are_damaged(self, tmp_path):
        write_series(tmp_path)
        dataset = without_pixels(SOPClassUID=None)
        del dataset.file_meta.MediaStorageSOPClassUID
        dataset.save_as(tmp_path / "IM0001", enforce_file_format=False, implicit_vr=False, little_endian=True)
        with pytest.raises(errors.DamagedFile, match="an image without pixels"):
            read_dicom(tmp_path)

    def test_a_private_class_with_pixels_is_an_image(self, tmp_path):
        write_series(tmp_path, SOPClassUID="1.3.46.670589.11.0.0.12.99")
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())

    def test_whose_pixels_are_on_a_server(self, tmp_path):
        dataset = without_pixels()
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.94"
        dataset.save_as(tmp_path / "IM0001", implicit_vr=False, little_endian=True)
        with pytest.raises(errors.UnsupportedImage, match=r"pixels are not in the file but on a server \(JPIP"):
            read_dicom(tmp_path)


class TestSlides:
    @pytest.mark.parametrize("kind", ["1.2.840.10008.5.1.4.1.1.77.1.6", SegmentationStorage, CTImageStorage])
    @pytest.mark.parametrize("organization", ["TILED_FULL", "TILED_SPARSE"])
    def test_tiles_are_not_slices(self, tmp_path, kind, organization):
        dataset = enhanced(stored_values())
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = kind
        dataset.DimensionOrganizationType = organization
        del dataset.PerFrameFunctionalGroupsSequence
        write([dataset], tmp_path)
        with pytest.raises(errors.UnsupportedImage, match="tiles of a whole-slide microscopy image, not slices"):
            read_dicom(tmp_path)

    def test_a_slide_that_does_not_say_how_it_is_tiled(self, tmp_path):
        write_series(tmp_path, SOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.6", ImagePositionPatient=None)
        with pytest.raises(errors.UnsupportedImage, match="tiles of a whole-slide microscopy image"):
            read_dicom(tmp_path)

    def test_frames_in_three_dimensions_are_slices(self, tmp_path):
        dataset = enhanced(stored_values())
        dataset.DimensionOrganizationType = "3D"
        write([dataset], tmp_path)
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())


class TestTurnedRows:
    @staticmethod
    def pepolar(folder, user_data, name="research/epi_pepolar", creator="GEMS_ACQU_01"):
        def edit(k, dataset):
            block = dataset.private_block(0x0019, creator, create=True)
            block.add_new(0x9C, "LO", name)
            if user_data is not None:
                block.add_new(0xB3, "DS", user_data)

        write_series(folder, edit=edit, SOPClassUID=MRImageStorage, Modality="MR", orientation=AXIAL)

    @pytest.mark.parametrize("user_data", ["1", "2.0", "3", "7", None])
    def test_of_a_sequence_that_stores_them_upside_down_are_refused(self, tmp_path, user_data):
        self.pepolar(tmp_path, user_data)
        with pytest.raises(errors.UnsupportedImage, match=r"epi_pepolar .*upside down.* convert the original files"):
            read_dicom(tmp_path)

    @pytest.mark.parametrize("settings", [("0",), ("0.0",), ("2", "epi"), ("2", "epi_pepolar", "ACME 1")])
    def test_others_are_read(self, tmp_path, settings):
        self.pepolar(tmp_path, *settings)
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())


class TestSpinLabelling:
    @staticmethod
    def labelled(folder, block, creator="Philips MR Imaging DD 005"):
        """Slices of 2 time points x label and control x 3 phases, each with a trigger time of its own."""
        volumes, datasets = several(times=12, slices=4)
        for dataset, n, k in datasets:
            time, label, phase = n // 6, n // 3 % 2, n % 3
            dataset.TemporalPositionIdentifier, dataset.InstanceNumber = time + 1, n // 3 * 12 + 3 * k + phase + 1
            dataset.TriggerTime = 300 + 250 * phase + 40 * k
            dataset.private_block(0x2001, "Philips Imaging DD 001", create=True).add_new(0x08, "IS", phase + 1)
            for number in range(0x10, block):
                dataset.add_new(0x20050000 | number, "LO", f"Philips MR Imaging DD {number:03d}")
            dataset.add_new(0x20050000 | block, "LO", creator)
            dataset.add_new(0x20050029 | block << 8, "CS", ("CONTROL", "LABEL")[label])
        write([dataset for dataset, _, _ in datasets], folder)
        return [volumes[6 * time + 3 * label + phase] for label in range(2) for time in range(2) for phase in range(3)]

    @pytest.mark.parametrize("block", [0x10, 0x14, 0x1F])
    def test_of_philips_is_told_apart(self, tmp_path, block):
        volumes = self.labelled(tmp_path, block)
        table = dicom_inventory(tmp_path)
        assert table["distinct"][7] == "spin labelling LABEL, time point 1 of 2, phase 2 of 3"
        for n, volume in enumerate(volumes):
            np.testing.assert_array_equal(read_dicom(tmp_path, n)[0], volume)

    def test_of_another_creator_is_not_looked_at(self, tmp_path):
        self.labelled(tmp_path, 0x14, "ACME")
        assert not dicom_inventory(tmp_path)["distinct"].str.contains("spin labelling").any()


class TestStructureSets:
    def test_are_named_and_say_what_to_do(self, tmp_path):
        path = shutil.copy(packaged("rtstruct.dcm"), tmp_path)
        for source in (path, tmp_path):
            for create in (TensorMask3D.create, read_dicom):
                with pytest.raises(errors.UnsupportedImage, match=r"rtstruct.dcm: an RT structure set: .* like=image"):
                    create(source)

    def test_images_beside_one_are_no_mask(self, tmp_path):
        write_series(tmp_path)
        shutil.copy(packaged("rtstruct.dcm"), tmp_path)
        with pytest.raises(errors.UnsupportedImage, match=r"rtstruct.dcm: an RT structure set, and the other images"):
            TensorMask3D.create(tmp_path)
        assert TensorMask3D.create(tmp_path, series=0).shape == (5, 6, 7)  # asked for by name
        np.testing.assert_array_equal(TensorDicom3D.create(tmp_path).numpy(), stored_values())

    def test_beside_images_are_counted(self, tmp_path):
        write_series(tmp_path)
        shutil.copy(packaged("rtstruct.dcm"), tmp_path)
        assert dicom_inventory(tmp_path).attrs["skipped"] == {"RT structure sets": 1}


def test_slides_are_refused_in_an_inventory_too(tmp_path):
    dataset = enhanced(stored_values())
    dataset.DimensionOrganizationType = "TILED_FULL"
    shared = Dataset()
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    write([dataset], tmp_path)
    assert "tiles of a whole-slide" in dicom_inventory(tmp_path)["problems"][0]
