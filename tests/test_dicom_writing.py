"""DICOM series: read back equal by this library, SimpleITK and pydicom, and nothing of a patient unless asked."""

import logging
import os
import resource
import stat

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_series import AXIAL, SECRETS, direction_of, make_series, oblique, stored_values, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage, MRImageStorage, SecondaryCaptureImageStorage

from faimed3d import errors
from faimed3d.dicom import read_dicom, write_series
from faimed3d.dicom.header import quiet
from faimed3d.dicom.writing.template import TEMPLATE_KEYWORDS
from faimed3d.geometry import Geometry

SHAPE = (5, 6, 7)
GEOMETRY = Geometry(SHAPE, (1.1, 0.8, 2.5), (-12.5, 7.25, 30.0), direction_of(oblique()).ravel())
FLOATS = np.random.default_rng(0).normal(0, 3, SHAPE).astype(np.float32)


def headers(folder):
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


def with_simpleitk(folder):
    return sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))


def largest_step(values):
    """The step that the documentation of ``write_series`` promises."""
    low, high = float(values.min()), float(values.max())
    return max(-low, high) / 32767 if low < 0 <= high else (high - low) / 65535


class TestRoundTrip:
    @pytest.mark.parametrize("modality", ["CT", "MR", "PT", "OT"])
    @pytest.mark.parametrize("values", [stored_values(), stored_values(low=0, dtype=np.uint8, high=255), FLOATS])
    def test_every_reader_gets_the_same_volume(self, tmp_path, modality, values):
        folder = tmp_path / "series"
        paths = write_series(folder, values, GEOMETRY, modality=modality)
        assert paths == [str(folder / f"IM{k:04d}.dcm") for k in range(1, 6)]
        atol = largest_step(values) * 0.5001 if values.dtype.kind == "f" else 0
        array, geometry, files = read_dicom(folder)
        assert files == tuple(paths)
        assert geometry.distance(GEOMETRY) < 1e-9
        np.testing.assert_allclose(array, values, rtol=1e-7 if atol else 0, atol=atol)
        image = with_simpleitk(folder)
        np.testing.assert_allclose(sitk.GetArrayFromImage(image), values, rtol=1e-7 if atol else 0, atol=atol)
        np.testing.assert_allclose(image.GetSpacing(), GEOMETRY.spacing, rtol=1e-9)
        np.testing.assert_allclose(image.GetOrigin(), GEOMETRY.origin, atol=1e-9)
        np.testing.assert_allclose(image.GetDirection(), GEOMETRY.direction, atol=1e-9)
        for k, path in enumerate(paths):
            dataset = pydicom.dcmread(path)
            pixels = dataset.pixel_array * float(dataset.get("RescaleSlope", 1))
            pixels = pixels + float(dataset.get("RescaleIntercept", 0))
            np.testing.assert_allclose(pixels, values[k], rtol=1e-7 if atol else 0, atol=atol)

    @settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        seed=st.integers(0, 10**6),
        shape=st.tuples(*[st.integers(1, 4)] * 3),
        spacing=st.tuples(*[st.floats(0.05, 12)] * 3),
        origin=st.tuples(*[st.floats(-2000, 2000)] * 3),
    )
    def test_any_geometry(self, tmp_path_factory, seed, shape, spacing, origin):
        geometry = Geometry(shape, spacing, origin, direction_of(oblique(seed)).ravel())
        values = stored_values(shape, seed=seed)
        folder = tmp_path_factory.mktemp("any") / "series"
        write_series(folder, values, geometry)
        array, found, _ = read_dicom(folder)
        np.testing.assert_array_equal(array, values)
        assert found.distance(geometry) < 1e-6

    def test_a_left_handed_grid_keeps_every_voxel_at_its_place(self, tmp_path):
        geometry = GEOMETRY.replace(direction=(direction_of(oblique()) * [1, 1, -1]).ravel())
        values = stored_values()
        write_series(tmp_path / "series", values, geometry)
        array, found, _ = read_dicom(tmp_path / "series")
        np.testing.assert_array_equal(array, values[::-1])
        np.testing.assert_allclose(found.index_to_world((4, 2, 3)), geometry.index_to_world((0, 2, 3)), atol=1e-9)

    def test_dust_and_minus_zero_in_the_direction_are_not_written(self, tmp_path):
        direction = (1, -1e-17, 0.0, 3e-17, -1, -0.0, -0.0, 0.0, -1)
        write_series(tmp_path / "series", stored_values(), GEOMETRY.replace(direction=direction, origin=(-0.0, 0, 0)))
        dataset = headers(tmp_path / "series")[0]
        assert dataset.ImageOrientationPatient == [1, 0, 0, 0, -1, 0]
        assert "-0" not in str(dataset.ImageOrientationPatient).replace("-1", "")
        assert str(dataset.ImagePositionPatient[0]) == "0.0"

    def test_one_slice_keeps_its_thickness(self, tmp_path):
        geometry = GEOMETRY.replace(shape=(1, 6, 7))
        write_series(tmp_path / "series", stored_values()[None, :1], geometry)
        assert read_dicom(tmp_path / "series")[1].distance(geometry) < 1e-9

    def test_numbers_of_many_digits_fit(self, tmp_path):
        geometry = GEOMETRY.replace(spacing=(1 / 3, 2 / 3, 10 / 7), origin=(-1234.56789012345, 1e-9, 1e5 / 3))
        write_series(tmp_path / "series", FLOATS * np.float32(1 / 7e5), geometry)
        for dataset in headers(tmp_path / "series"):
            for element in dataset:
                if element.VR == "DS":
                    values = element.value if element.VM > 1 else [element.value]
                    assert all(len(str(v)) <= 16 for v in values if v is not None)
        assert read_dicom(tmp_path / "series")[1].distance(geometry) < 1e-8


class TestValues:
    @pytest.mark.parametrize(
        ("values", "slope", "signed"),
        [
            (stored_values(low=-1024, high=3071).astype(np.float32), 1, 1),
            (stored_values(low=0, high=65536, dtype=np.int64), 1, 0),
            (stored_values(low=70000, high=130000, dtype=np.int64), 1, 0),
            (stored_values(low=-40000, high=20000, dtype=np.int32), 1, 0),
            (stored_values(low=0, high=2) == 1, 1, 0),
            (np.full(SHAPE, 0.1, np.float32), 1, 0),
            (np.full(SHAPE, -3, np.int8), 1, 1),
        ],
    )
    def test_whole_numbers_and_constants_come_back_exactly(self, tmp_path, values, slope, signed):
        write_series(tmp_path / "series", values, GEOMETRY, modality="CT")
        np.testing.assert_array_equal(read_dicom(tmp_path / "series")[0], values.astype(np.float32))
        dataset = headers(tmp_path / "series")[0]
        assert dataset.RescaleSlope == slope
        assert dataset.PixelRepresentation == signed

    @pytest.mark.parametrize(
        "values",
        [FLOATS, np.abs(FLOATS), -np.abs(FLOATS), np.abs(FLOATS) + 1000, FLOATS * np.float32(1e-30), FLOATS * 1e30],
    )
    def test_floats_come_back_to_half_a_step(self, tmp_path, values):
        values = values.astype(np.float64)
        write_series(tmp_path / "series", values, GEOMETRY)
        array = read_dicom(tmp_path / "series")[0].astype(np.float64)
        step = largest_step(values)
        assert float(headers(tmp_path / "series")[0].RescaleSlope) == pytest.approx(step, rel=1e-6)
        assert (np.abs(array - values) <= 0.5001 * step + 1e-7 * np.abs(values)).all()

    def test_zero_stays_zero(self, tmp_path):
        values = FLOATS.copy()
        values[2] = 0
        write_series(tmp_path / "series", values, GEOMETRY)
        assert not read_dicom(tmp_path / "series")[0][2].any()

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e39])
    def test_what_is_no_finite_number_is_refused(self, tmp_path, bad):
        values = FLOATS.astype(np.float64)
        values[3, 1, 2] = bad
        with pytest.raises(ValueError, match="slice 3 has 1 values that are NaN, infinite or beyond float32"):
            write_series(tmp_path / "series", values, GEOMETRY)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(("low", "high"), [(-1, 65535), (0, 65536), (2**24, 2**24 + 1)])
    def test_integers_of_a_wider_span_are_refused(self, tmp_path, low, high):
        values = np.full(SHAPE, low, np.int64)
        values[0, 0, 0] = high
        with pytest.raises(ValueError, match=f"integers from {low} to {high} cannot be written exactly"):
            write_series(tmp_path / "series", values, GEOMETRY)


class TestHeader:
    @pytest.mark.parametrize(
        ("modality", "storage", "kind", "units"),
        [
            ("CT", CTImageStorage, ["DERIVED", "SECONDARY", "AXIAL"], "HU"),
            ("MR", MRImageStorage, ["DERIVED", "SECONDARY", "OTHER"], "US"),
            ("PT", SecondaryCaptureImageStorage, ["DERIVED", "SECONDARY"], "US"),
        ],
    )
    def test_storage_class_follows_the_modality(self, tmp_path, modality, storage, kind, units):
        write_series(tmp_path / "series", FLOATS, GEOMETRY, modality=modality, series_description="Größe")
        for k, dataset in enumerate(headers(tmp_path / "series")):
            assert dataset.SOPClassUID == dataset.file_meta.MediaStorageSOPClassUID == storage
            assert dataset.Modality == modality
            assert dataset.ImageType == kind
            assert dataset.RescaleType == units
            assert dataset.SeriesDescription == "Größe"
            assert dataset.InstanceNumber == k + 1

    def test_mr_of_whole_numbers_needs_no_rescale(self, tmp_path):
        write_series(tmp_path / "series", stored_values(), GEOMETRY, modality="MR")
        assert "RescaleSlope" not in headers(tmp_path / "series")[0]

    @pytest.mark.parametrize(
        ("modality", "required"),
        [  # type 1 and 2 elements of the mandatory modules in PS3.3 tables A.3-1, A.4-1 and A.8-1
            ("CT", "ImageType RescaleSlope RescaleIntercept KVP AcquisitionNumber FrameOfReferenceUID Manufacturer"),
            ("MR", "ImageType ScanningSequence SequenceVariant ScanOptions MRAcquisitionType EchoTime EchoTrainLength"),
            ("OT", "ConversionType"),
        ],
    )
    def test_the_elements_an_object_must_have(self, tmp_path, modality, required):
        write_series(tmp_path / "series", FLOATS, GEOMETRY, modality=modality)
        common = (
            "PatientName PatientID PatientBirthDate PatientSex StudyInstanceUID StudyDate StudyTime StudyID "
            "ReferringPhysicianName AccessionNumber Modality SeriesInstanceUID SeriesNumber InstanceNumber "
            "SamplesPerPixel PhotometricInterpretation Rows Columns BitsAllocated BitsStored HighBit "
            "PixelRepresentation SOPClassUID SOPInstanceUID PositionReferenceIndicator"
        )
        for dataset in headers(tmp_path / "series"):
            assert not [keyword for keyword in (common + " " + required).split() if keyword not in dataset]

    def test_identifiers_are_new_each_time(self, tmp_path):
        for name in "ab":
            write_series(tmp_path / name, stored_values(), GEOMETRY)
        one, other = headers(tmp_path / "a"), headers(tmp_path / "b")
        for keyword in ("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"):
            assert len({dataset[keyword].value for dataset in one}) == 1
            assert one[0][keyword].value != other[0][keyword].value
        assert len({dataset.SOPInstanceUID for dataset in one + other}) == 10

    @pytest.mark.parametrize("modality", ["ct", "", "A B", 7, "MORETHAN16LETTERS"])
    def test_a_modality_that_is_none(self, tmp_path, modality):
        with pytest.raises(ValueError, match=r"modality must be a code such as 'CT'.*\(0008,0060\)"):
            write_series(tmp_path / "series", FLOATS, GEOMETRY, modality=modality)

    @pytest.mark.parametrize("text", ["x" * 65, "a\\b", "a\nb"])
    def test_a_description_that_does_not_fit(self, tmp_path, text):
        with pytest.raises(ValueError, match=r"series_description \(0008,103E\) must be at most 64"):
            write_series(tmp_path / "series", FLOATS, GEOMETRY, series_description=text)

    @pytest.mark.parametrize(
        ("arguments", "error", "text"),
        [
            ({"units": "a\\b"}, ValueError, r"units \(0028,1054\) must be at most 64 characters"),
            ({"units": "x" * 99}, ValueError, r"units \(0028,1054\) must be at most 64 characters"),
            ({"units": 5}, TypeError, r"units \(0028,1054\) must be text, got int"),
            ({"series_description": None}, TypeError, r"series_description \(0008,103E\) must be text, got NoneType"),
            ({"series_number": 10**15}, ValueError, r"series_number \(0020,0011\) must be a number of 32 bits"),
            ({"series_number": 1.7}, TypeError, r"series_number \(0020,0011\) must be a whole number, got float"),
            ({"series_number": None}, TypeError, r"series_number \(0020,0011\) must be a whole number, got NoneType"),
        ],
    )
    def test_values_that_their_elements_cannot_hold(self, tmp_path, arguments, error, text):
        with pytest.raises(error, match=text):
            write_series(tmp_path / "series", FLOATS, GEOMETRY, **arguments)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("number", [np.int16(-7), 2**31 - 1])
    def test_series_numbers(self, tmp_path, number):
        write_series(tmp_path / "series", FLOATS, GEOMETRY, series_number=number)
        assert headers(tmp_path / "series")[0].SeriesNumber == number


class TestTemplate:
    def source(self, folder, **elements):
        elements = {"StudyID": "S1", "InstitutionName": "Clinic", "OperatorsName": "Roe^Rick", **elements}
        return write(make_series(orientation=AXIAL, PatientName="Müller^Jo=x", **elements), folder)

    @pytest.mark.parametrize("kind", ["folder", "file", "dataset"])
    def test_takes_the_listed_elements_and_no_others(self, tmp_path, kind):
        paths = self.source(tmp_path / "source")
        template = {"folder": tmp_path / "source", "file": str(paths[1]), "dataset": pydicom.dcmread(paths[1])}[kind]
        before = str(template)
        write_series(tmp_path / "series", stored_values(), GEOMETRY, template)
        assert str(template) == before
        source = pydicom.dcmread(paths[1])
        for dataset in headers(tmp_path / "series"):
            for keyword in TEMPLATE_KEYWORDS:
                if keyword in source:
                    assert str(dataset[keyword].value) == str(source[keyword].value)
            assert dataset.StudyInstanceUID == "1.2.3"
            assert dataset.SeriesInstanceUID != "1.2.3.4"
            assert "Clinic" not in str(dataset)
            assert "Roe" not in str(dataset)

    def test_nothing_is_taken_without_a_template(self, tmp_path):
        paths = self.source(tmp_path / "source")
        array, geometry, _ = read_dicom(paths[0].parent)
        for path in write_series(tmp_path / "series", array, geometry):
            with open(path, "rb") as file:
                data = file.read()
            assert not [word for word in (*SECRETS, "20200229", "1.2.3.5", "Clinic") if word.encode() in data]

    def test_a_template_that_breaks_a_rule_is_copied_without_a_word(self, tmp_path):
        dataset = pydicom.dcmread(self.source(tmp_path / "source")[0])
        dataset["PatientID"]._value = "P" * 80
        write_series(tmp_path / "series", stored_values(), GEOMETRY, dataset)
        assert read_dicom(tmp_path / "series")[0].shape == SHAPE

    def broken(self, folder):
        """A data set whose values break the rules of their VR, and a file of it."""
        dataset = pydicom.dcmread(self.source(folder)[0])
        values = {"PatientBirthDate": "17.03.1957", "StudyTime": "12:30h", "PatientAge": "62 y", "PatientSex": "?^?"}
        for keyword, value in values.items():
            dataset[keyword] = RawDataElement(
                Tag(keyword), dictionary_VR(keyword), len(value), value.encode(), 0, True, True
            )
        dataset.save_as(folder / "0.dcm")
        return dataset

    @pytest.mark.parametrize("kind", ["file", "dataset"])
    def test_nobody_hears_of_values_that_break_a_rule(self, tmp_path, logged, recwarn, kind):
        dataset = self.broken(tmp_path / "source")
        logged.clear()
        recwarn.clear()
        template = dataset if kind == "dataset" else tmp_path / "source" / "0.dcm"
        write_series(tmp_path / "series", stored_values(), GEOMETRY, template)
        assert not logged
        assert not recwarn.list

    def test_pydicom_is_heard_again(self, logged):
        with quiet():
            logging.getLogger("pydicom").warning("not heard")
        logging.getLogger("pydicom").warning("heard")
        assert logged == ["heard"]

    @pytest.mark.parametrize("where", ["reading", "writing"])
    def test_an_error_of_pydicom_quotes_no_value(self, tmp_path, monkeypatch, where):
        def fail(self, *args, **kwargs):
            raise ValueError("Doe^Jane is no value")

        monkeypatch.setattr(pydicom.Dataset, "get" if where == "reading" else "save_as", fail)
        text = (
            r"the template's \(0010,0010\) PatientName is no value" if where == "reading" else "cannot write a value of"
        )
        template = pydicom.Dataset() if where == "reading" else None
        with pytest.raises(ValueError, match=text) as error:
            write_series(tmp_path / "series", stored_values(), GEOMETRY, template)
        assert "Doe" not in str(error.value)
        assert error.value.__suppress_context__

    def test_a_folder_of_several_series(self, tmp_path):
        self.source(tmp_path / "source")
        write(make_series(SeriesInstanceUID="1.8")[:1], tmp_path / "source", ["other.dcm"])
        with pytest.raises(ValueError, match="2 series; give one file of the one that is the template"):
            write_series(tmp_path / "series", stored_values(), GEOMETRY, tmp_path / "source")

    def test_a_template_that_is_none(self, tmp_path):
        (tmp_path / "empty").mkdir()
        (tmp_path / "text").write_text("no DICOM")
        with pytest.raises(errors.NoImages, match="no DICOM image to take as template"):
            write_series(tmp_path / "series", stored_values(), GEOMETRY, tmp_path / "empty")
        with pytest.raises(FileNotFoundError, match="no such file or folder to take as template"):
            write_series(tmp_path / "series", stored_values(), GEOMETRY, tmp_path / "absent")
        with pytest.raises(TypeError, match=r"template must be a DICOM folder or file, .* data set, got int"):
            write_series(tmp_path / "series", stored_values(), GEOMETRY, 7)
        with pytest.raises(errors.NoImages, match="not a DICOM file"):
            write_series(tmp_path / "series", stored_values(), GEOMETRY, tmp_path / "text")


class TestTarget:
    def test_an_empty_folder_is_taken(self, tmp_path):
        write_series(tmp_path, stored_values(), GEOMETRY)
        assert len(list(tmp_path.iterdir())) == 5
        assert not list(tmp_path.parent.glob(".faimed3d-writing-*"))

    def test_a_new_folder_has_the_usual_permissions(self, tmp_path):
        (tmp_path / "usual").mkdir()
        write_series(tmp_path / "series", stored_values(), GEOMETRY)
        modes = [stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in ("usual", "series")]
        assert modes[0] == modes[1]

    def test_what_lies_there_is_left_alone(self, tmp_path):
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "a").write_text("mine")
        with pytest.raises(FileExistsError, match="the folder is not empty"):
            write_series(tmp_path / "full", stored_values(), GEOMETRY)
        with pytest.raises(FileExistsError, match="a file; a series is written into a new or empty folder"):
            write_series(tmp_path / "full" / "a", stored_values(), GEOMETRY)
        with pytest.raises(FileNotFoundError, match="does not exist; create it first"):
            write_series(tmp_path / "absent" / "series", stored_values(), GEOMETRY)
        assert (tmp_path / "full" / "a").read_text() == "mine"

    @pytest.mark.parametrize("mode", [0o700, 0o750])
    def test_an_empty_folder_leaves_its_permissions(self, tmp_path, mode):
        (tmp_path / "series").mkdir(mode)
        write_series(tmp_path / "series", stored_values(), GEOMETRY)
        assert stat.S_IMODE(os.stat(tmp_path / "series").st_mode) == mode

    def test_a_link_to_an_empty_folder(self, tmp_path):
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to("real")
        paths = write_series(tmp_path / "link", stored_values(), GEOMETRY)
        assert paths[0] == str(tmp_path / "link" / "IM0001.dcm")
        assert (tmp_path / "link").is_symlink()
        assert len(list((tmp_path / "real").iterdir())) == 5

    def test_the_current_folder_is_not_replaced(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ValueError, match=r"the current folder, .* cannot be replaced by a whole one"):
            write_series(".", stored_values(), GEOMETRY)
        assert os.path.samefile(tmp_path, os.getcwd())

    def test_bytes(self, tmp_path):
        write_series(os.fsencode(tmp_path / "series"), stored_values(), GEOMETRY)
        assert read_dicom(tmp_path / "series")[0].shape == SHAPE

    @pytest.mark.parametrize("kind", ["folder", "file"])
    def test_what_was_written_there_meanwhile_stays(self, tmp_path, monkeypatch, kind):
        def meanwhile(*_):
            (tmp_path / "series").mkdir() if kind == "folder" else (tmp_path / "series").write_text("mine")
            if kind == "folder":
                (tmp_path / "series" / "a").write_text("mine")

        monkeypatch.setattr("faimed3d.dicom.writing.series._compare_geometry", meanwhile)
        with pytest.raises(FileExistsError, match="something else was written there meanwhile; it stays"):
            write_series(tmp_path / "series", stored_values(), GEOMETRY)
        left = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert [path.read_text() for path in left] == ["mine"]

    def test_a_full_disk_is_told_in_a_line(self, tmp_path):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (600, hard))
        try:
            with pytest.raises(OSError, match=r"could not be written: File too large: '.*/series'$"):
                write_series(tmp_path / "series", stored_values(), GEOMETRY)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert not list(tmp_path.iterdir())

    def test_a_failure_leaves_nothing_behind(self, tmp_path, monkeypatch):
        def fail(*args, **kwargs):
            raise OSError("the disk is full")

        monkeypatch.setattr("faimed3d.dicom.writing.series._compare_geometry", fail)
        with pytest.raises(OSError, match="the disk is full"):
            write_series(tmp_path / "series", stored_values(), GEOMETRY)
        assert not list(tmp_path.iterdir())


class TestRefusals:
    def test_a_sheared_grid(self, tmp_path):
        direction = np.eye(3)
        direction[:, 2] = [0, np.sin(0.2), np.cos(0.2)]
        with pytest.raises(ValueError, match=r"this grid is sheared: Geometry\(5x6x7.*Resample it onto"):
            write_series(tmp_path / "series", stored_values(), GEOMETRY.replace(direction=direction.ravel()))

    def test_a_grid_too_fine_for_the_tolerances_of_a_reader(self, tmp_path):
        with pytest.raises(ValueError, match="a DICOM series cannot hold the Geometry"):
            write_series(tmp_path / "series", stored_values(), GEOMETRY.replace(spacing=(1e-13, 1e-13, 1e-13)))
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("values", [np.zeros(SHAPE, complex), np.full(SHAPE, "a"), np.zeros(SHAPE, object)])
    def test_voxels_that_are_no_numbers(self, tmp_path, values):
        with pytest.raises(TypeError, match=f"voxels of type {values.dtype.name} cannot be written as DICOM"):
            write_series(tmp_path / "series", values, GEOMETRY)

    def test_shapes(self, tmp_path):
        with pytest.raises(ValueError, match="write channels one by one"):
            write_series(tmp_path / "series", np.zeros((2, *SHAPE)), GEOMETRY)
        with pytest.raises(ValueError, match=r"\(6, 6, 7\), but its geometry is for \(5, 6, 7\)"):
            write_series(tmp_path / "series", np.zeros((6, 6, 7)), GEOMETRY)
        with pytest.raises(ValueError, match="at most 65535 rows and columns"):
            write_series(tmp_path / "series", np.zeros((1, 1, 65536)), Geometry((1, 1, 65536)))

    def test_no_geometry(self, tmp_path):
        with pytest.raises(TypeError, match="expected a Geometry, got NoneType"):
            write_series(tmp_path / "series", FLOATS, None)
