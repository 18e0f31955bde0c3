"""``predict_folder(form=...)``: results as DICOM objects, resumed, and none taken for that of another scan."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from dicom_series import make_series, write
from pydicom import dcmread
from pydicom.uid import generate_uid
from shown_labels import SHAPE, geometry_of, image_of, learner_of, write_cases

from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.dicom import dicom_inventory
from faimed3d.inference import predict_folder, predict_volume
from faimed3d.io.formats import structure_set_in


@pytest.fixture(scope="module")
def learn(tmp_path_factory):
    learn = learner_of(write_cases(tmp_path_factory.mktemp("cases")))
    learn.path = None
    return learn


@pytest.fixture
def scans(tmp_path):
    """An inventory of two scans, the second of which shows no class."""
    for number, values in enumerate((np.round(image_of(0)), np.zeros(SHAPE))):
        uids = {name: generate_uid() for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")}
        write(make_series(values.astype(np.int16), **uids), tmp_path / f"scan{number}")
    return dicom_inventory(tmp_path)


@pytest.mark.parametrize("form", ["seg", "rtstruct"])
def test_a_case_is_an_object_of_its_scan_and_a_second_run_finds_it(form, learn, scans, tmp_path):
    out = tmp_path / "out"
    with pytest.warns(UserWarning, match="no class was found"):
        first = predict_folder(learn, scans, out, form=form, report="report.html")
    assert first["error"].tolist() == ["", ""]
    assert sorted(path.name for path in out.glob("*.dcm")) == [Path(first["output"][0]).name]
    scan = TensorDicom3D.create(scans.iloc[0])
    expected = predict_volume(learn, scan)
    assert (structure_set_in(first["output"][0]) is not None) == (form == "rtstruct")
    if form == "seg":
        assert torch.equal(TensorMask3D.create(first["output"][0]).resample_like(scan).long(), expected.long())
    dataset = dcmread(first["output"][0])
    made = dataset.SegmentSequence[0].SegmentAlgorithmType if form == "seg" else (
        dataset.StructureSetROISequence[0].ROIGenerationAlgorithm
    )  # fmt: skip
    assert made == "AUTOMATIC"
    content = Path(first["output"][0]).read_bytes()
    learn.model.seen.clear()
    with pytest.warns(UserWarning, match="no class was found"):
        again = predict_folder(learn, scans, out, form=form)
    assert len(learn.model.seen) == 1  # of the case of which no object can be written
    assert Path(first["output"][0]).read_bytes() == content
    if form == "seg":
        columns = ["background", "total_mask_volume", *again.attrs["classes"]]
        pd.testing.assert_frame_equal(again[columns], first[columns])
    assert "cannot be shown" not in (out / "report.html").read_text(encoding="utf-8")


def test_an_object_of_another_scan_or_form_is_an_error_of_the_case(learn, scans, tmp_path):
    out, one = tmp_path / "out", scans.iloc[:1]
    predict_folder(learn, one, out, form="seg", names=["case"], report=None)
    before = (out / "case.dcm").read_bytes()
    with pytest.warns(UserWarning, match="refers to another scan: pass overwrite=True"):
        predict_folder(learn, scans.iloc[1:], out, form="seg", names=["case"], report=None)
    with pytest.warns(UserWarning, match="is no structure set: pass overwrite=True"):
        predict_folder(learn, one, out, form="rtstruct", names=["case"], report=None)
    assert (out / "case.dcm").read_bytes() == before
    (out / "case.dcm").write_bytes(before[:900])
    predict_folder(learn, one, out, form="seg", names=["case"], report=None)
    assert TensorMask3D.create(out / "case.dcm").codes


def test_what_cannot_be_is_refused(learn, scans, tmp_path):
    with pytest.raises(ValueError, match="form must be one of 'seg', 'rtstruct', or None, got 'sr'"):
        predict_folder(learn, scans, tmp_path / "out", form="sr")
    with pytest.warns(UserWarning, match="like must be the DICOM images"):
        predict_folder(learn, [TensorDicom3D(image_of(0), geometry_of(0))], tmp_path / "out", names=["a"], form="seg")


def test_the_folder_of_results_below_that_of_scans_is_no_scan(learn, scans, tmp_path):
    (tmp_path / "scan1").rename(tmp_path.with_name(f"{tmp_path.name}-elsewhere"))
    for _ in range(2):
        report = predict_folder(learn, tmp_path, tmp_path / "out", form="seg")
        assert report["error"].tolist() == [""]
