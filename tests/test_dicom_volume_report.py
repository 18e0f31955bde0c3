"""``mask.report(like=scan)``: the volume of each class as text, values and a structured report."""

import json
import shutil
import subprocess

import highdicom.sr
import numpy as np
import pytest
from dicom_series import SECRETS, write_series
from pydicom import dcmread

from faimed3d.dicom.volume_report import VolumeReport
from faimed3d.volume import TensorDicom3D, TensorMask3D


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scan")
    write_series(folder, np.zeros((5, 6, 7), np.int16), PatientComments="said")
    return TensorDicom3D.create(folder)


@pytest.fixture(scope="module")
def mask(scan):
    labels = np.zeros(scan.shape, np.uint8)
    labels[1:3, 1:4, 2:5], labels[4, 0, 0] = 2, 5
    return TensorMask3D(labels, like=scan, codes={0: "none", 2: "Größe", 3: "absent"})


def test_values_are_those_of_calc_volume(scan, mask):
    report = mask.report(like=scan)
    volumes = mask.calc_volume()
    found = report.to_dict()
    assert [(one["label"], one["name"], one["voxels"]) for one in found["classes"]] == [
        (2, "Größe", 18), (3, "absent", 0), (5, "label 5", 1),
    ]  # fmt: skip
    assert found["classes"][0]["volume_mm3"] == pytest.approx(volumes["Größe"], abs=0)
    assert str(report) == "Größe 39.6 mm3, absent 0 mm3, label 5 2.2 mm3"
    assert found["series_uid"] == "1.2.3.4"
    assert not any(secret in json.dumps(found) for secret in (*SECRETS, "said"))


def test_highdicom_finds_the_volumes_in_the_file(tmp_path, scan, mask):
    mask.report(like=scan, algorithm="unet").save(tmp_path / "sr.dcm", series_description="volumes", series_number=4)
    document = highdicom.sr.srread(tmp_path / "sr.dcm")
    groups = document.content.get_image_measurement_groups()
    found = {}
    for group in groups:
        [volume] = group.get_measurements()
        assert volume.unit.value == "mm3"
        found[group.tracking_identifier] = volume.value
        assert len(group.source_images) == 5
    assert found == {one["name"]: pytest.approx(one["volume_mm3"]) for one in mask.report(scan).to_dict()["classes"]}
    content = dcmread(tmp_path / "sr.dcm")
    assert (content.PatientName, content.SeriesNumber) == (SECRETS[0], 4)
    assert content.StudyInstanceUID == "1.2.3"
    assert b"said" not in (tmp_path / "sr.dcm").read_bytes()


def test_a_report_that_is_saved_again_names_the_same_things(tmp_path, scan, mask):
    """Objects of one SOPInstanceUID that differ would be two objects for an archive's users."""
    found = []
    for name in ("one.dcm", "other.dcm"):
        mask.report(like=scan).save(tmp_path / name)
        found.append([str(element.value) for element in dcmread(tmp_path / name).iterall() if element.VR == "UI"])
    assert found[0] == found[1]
    assert len(found[0]) > 10


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy of dicom3tools is not installed")
def test_dicom3tools_finds_no_error(tmp_path, scan, mask):
    mask.report(like=scan).save(tmp_path / "sr.dcm")
    done = subprocess.run(["dciodvfy", tmp_path / "sr.dcm"], capture_output=True, text=True, check=False)
    assert [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")] == []


def test_an_empty_mask(tmp_path, scan):
    report = TensorMask3D(np.zeros(scan.shape, np.uint8), like=scan).report(scan)
    assert str(report) == "no class"
    with pytest.raises(ValueError, match="this mask is empty and names no class: set its codes"):
        report.save(tmp_path / "sr.dcm")
    named = TensorMask3D(np.zeros(scan.shape, np.uint8), like=scan, codes={1: "tumour"}).report(scan)
    named.save(tmp_path / "sr.dcm")
    assert str(named) == "tumour 0 mm3"
    assert dcmread(tmp_path / "sr.dcm").Modality == "SR"


def test_what_is_refused(tmp_path, scan, mask):
    with pytest.raises(ValueError, match=r"a structured report refers to images, and this one knows none"):
        VolumeReport(()).save(tmp_path / "sr.dcm")
    with pytest.raises(TypeError, match="like must be the DICOM images"):
        mask.report(like=mask.geometry)
    with pytest.raises(ValueError, match="algorithm must be 1 to 64 characters"):
        mask.report(scan, algorithm="")
    with pytest.raises(FileNotFoundError, match="does not exist; create it first"):
        mask.report(scan).save(tmp_path / "absent" / "sr.dcm")
    with pytest.raises(ValueError, match="of a report must be at least 1, got 0"):
        mask.report(scan).save(tmp_path / "sr.dcm", series_number=0)
    assert not list(tmp_path.iterdir())


def test_a_folder_is_no_file_to_write_a_report_to(tmp_path, scan, mask):
    with pytest.raises(IsADirectoryError, match="is a folder, not a file"):
        mask.report(like=scan).save(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist; create it first"):
        mask.report(like=scan).save(tmp_path / "absent" / "sr.dcm")
    assert not list(tmp_path.iterdir())
