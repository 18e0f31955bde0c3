"""The Python of the how-to pages and of some others runs, on small files of the names it uses."""

import json
import re
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from archive_stub import Stub
from dicom_series import SECRETS, make_series, stored_values
from dicom_series import write as write_dicom
from pydicom import dcmread
from pydicom.uid import generate_uid
from structure_sets import circle, on_plane, structure_set

from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D
from faimed3d.data import SegmentationDataLoaders3D
from faimed3d.models import UNet3D
from faimed3d.training import unet_learner_3d

ROOT = Path(__file__).parents[1]
HOWTO = sorted(page for page in (ROOT / "docs" / "howto").glob("*.md") if page.stem != "index")
PAGES = [*HOWTO, ROOT / "docs" / "geometry.md", ROOT / "docs" / "patient_data.md"]
SHAPE = (16, 24, 24)
OPTIONAL = ("monai", "onnxscript")  # packages that no other test needs: a block that begins with their import


ARCHIVE = "http://localhost:8042/dicom-web"  # of the pages; here, a server of the tests with the scan of new_patient


def blocks_of(page):
    """The blocks of Python of a page, without those whose package is not there."""
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        package = block.split()[1]
        if package not in OPTIONAL or find_spec(package):
            yield block


def scan(k, channel=0):
    """A scan with noise and three boxes, one within another, and their labels."""
    random = np.random.default_rng(10 * k + channel)
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:12, 4:20, 4:20], labels[4:10, 6:16, 6:16], labels[5:8, 8:12, 8:12] = 2, 1, 3
    values = random.normal(100 * (labels > 0), 5, SHAPE).astype(np.float32)
    geometry = Geometry(SHAPE, (1, 1, 1.5), (k, -k, 2 * k))
    return TensorDicom3D(values, geometry), TensorMask3D(labels, geometry)


def write_tables():
    rows = []
    for k in range(5):
        folder = Path("brats", f"case{k}")
        folder.mkdir(parents=True)
        row = {"patient": k, "scanner": "AB"[k % 2]}
        for channel, name in enumerate(("t1", "t1ce", "t2", "flair")):
            row[name] = f"{folder}/{name}.nii.gz"
            scan(k, channel)[0].save(row[name])
        row["mask"] = f"{folder}/seg.nii.gz"
        image, mask = scan(k)
        mask.save(row["mask"])
        row["image"], row["box"] = row["t1"], f"{folder}/box.nii.gz"
        TensorMask3D((mask > 0).to(torch.uint8), mask.geometry).save(row["box"])
        rows.append(row)
        for name, path in (("image", f"study/{k}/T2.nii.gz"), ("mask", f"study/{k}/mask.nii.gz")):
            save(image if name == "image" else mask, path)
        save(image, f"Dataset001_Prostate/imagesTr/p{k}_0000.nii.gz")
        save(mask, f"Dataset001_Prostate/labelsTr/p{k}.nii.gz")
        save(image, f"bids/sub-0{k}/anat/sub-0{k}_T1w.nii.gz")
        save(mask, f"bids/derivatives/hand/sub-0{k}/anat/sub-0{k}_desc-lesion_mask.nii.gz")
    content = {
        "channel_names": {"0": "T2"},
        "labels": {"background": 0, "gland": 1, "zone": 2, "lesion": 3},
        "file_ending": ".nii.gz",
    }
    Path("Dataset001_Prostate", "dataset.json").write_text(json.dumps(content))
    table = pd.DataFrame(rows)
    table.drop(columns=["image", "box"]).to_csv("brats.csv", index=False)
    table[["image", "patient", "scanner"]].assign(mask=table["box"]).to_csv("cases.csv", index=False)


def save(volume, path):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    volume.save(path)


def write_dicoms():
    for folder in ("new_patient", "patient/T2", "plan/ct", "export/a/1", "export/b/1"):
        write_dicom(make_series(stored_values(SHAPE), SeriesInstanceUID=generate_uid()), Path(folder))
    grid = TensorDicom3D.create("plan/ct").geometry
    rois = {
        "liver": [on_plane(grid, circle(4, (7, 7)), plane) for plane in (5, 6, 7)],
        "tumour": [on_plane(grid, circle(3, (16, 16)), plane) for plane in (6, 7)],
    }
    structure_set("plan/rs.dcm", rois)
    for k in range(5):  # the same scan by other names, for it is no use that validation holds what training does
        Path(f"plan/ct{k}").symlink_to("ct")
        Path(f"new_patient{k}").symlink_to("new_patient")
    scans = [f"plan/ct{k}" for k in range(5)]
    pd.DataFrame({"image": scans, "mask": ["plan/rs.dcm"] * 5}).to_csv("plans.csv", index=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("howto")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        write_tables()
        write_dicoms()
        dls = SegmentationDataLoaders3D.from_df(
            pd.DataFrame({"image": [f"new_patient{k}" for k in range(5)],
                          "mask": [TensorMask3D(torch.ones(SHAPE), like=new())] * 5}),
            fn_col="image", label_col="mask", codes=["background", "gland"], bs=1, num_workers=0,
        )  # fmt: skip
        unet_learner_3d(dls, UNet3D, widths=(4, 8)).export("prostate.pkl")
    return root


@pytest.fixture(scope="module")
def archive(folder):
    server = Stub()
    for file in (folder / "new_patient").iterdir():
        content = dcmread(file)
        content.SeriesDescription = "T2 tse"
        with BytesIO() as written:
            content.save_as(written)
            server.add(written.getvalue())
    yield server
    server.close()


def new():
    return TensorDicom3D.create("new_patient")


@pytest.mark.filterwarnings("ignore:The 'mode.chained_assignment' option")  # set by fastai, retired by pandas
@pytest.mark.filterwarnings("ignore:load_learner` uses Python's insecure pickle")
@pytest.mark.filterwarnings("ignore:.*contours hold another volume", "ignore:.*the voxels differ by more")  # of noise
@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_the_python_of_a_page_runs(page, folder, archive, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    names = {}
    try:
        for number, block in enumerate(blocks_of(page)):
            exec(compile(block.replace(ARCHIVE, archive.url), f"{page.name}, block {number}", "exec"), names)
    finally:
        torch.set_num_threads(threads)
        plt.close("all")
    assert names
    said = capsys.readouterr().out
    assert not [secret for secret in SECRETS if secret in said]


def test_each_page_answers_in_a_few_lines():
    for page in HOWTO:
        text = page.read_text(encoding="utf-8")
        assert text.startswith("# ")
        assert len(text.splitlines()) < 90, page.name
