"""The Python of the README runs, in order, on files of the names it uses."""

import re
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from dicom_series import SECRETS, make_series, stored_values
from dicom_series import write as write_dicom
from pydicom.uid import generate_uid
from small_trainings import plan_one_epoch

from faimed3d.basics import TensorDicom3D, TensorMask3D

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCED = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
SMALLER = {"(40, 56, 40)": "(12, 16, 16)", "fine_tune(5)": "fine_tune(1)", "UNet3D)": "UNet3D, widths=(4, 8))"}
BLOCKS = [block for language, block in FENCED if language != "sh"]


def write_case(folder, shape, mask_file, orientation="LPS"):
    """A DICOM series ``T2`` and the mask of its bright voxels, stored in ``orientation``."""
    write_dicom(make_series(stored_values(shape), SeriesInstanceUID=generate_uid()), folder / "T2")
    image = TensorDicom3D.create(folder / "T2")
    TensorMask3D((image > 500).to(torch.uint8), image.geometry).reorient(orientation).save(folder / mask_file)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_case(tmp_path / "patient", (6, 20, 24), "prostate.nii.gz", "RAS")
    for number in range(5):
        write_case(tmp_path / "study" / str(number), (4, 8, 8), "mask.nii.gz")
    cases = pd.DataFrame({"patient": range(5)})
    cases["image"] = [f"study/{number}/T2" for number in cases["patient"]]
    cases["mask"] = [f"study/{number}/mask.nii.gz" for number in cases["patient"]]
    cases["patient"] = [*"abcdd"]
    cases.to_csv(tmp_path / "cases.csv", index=False)
    write_dicom(make_series(stored_values((4, 8, 8))), tmp_path / "new_patient")
    monkeypatch.chdir(tmp_path)
    plan_one_epoch(monkeypatch)
    torch.manual_seed(0)
    yield tmp_path
    plt.close("all")


def test_python_of_the_readme_runs(folder, capsys):
    names = {}
    with warnings.catch_warnings():
        # pandas retires an option that fastai sets when all of it is imported
        warnings.filterwarnings("ignore", message="The 'mode.chained_assignment' option")
        for number, block in enumerate(BLOCKS):
            for size, smaller in SMALLER.items():  # the sizes of the page would train for long
                block = block.replace(size, smaller)
            exec(compile(block, f"README block {number}", "exec"), names)
    said = capsys.readouterr().out
    assert "spacing 1.1x0.8x2.5 mm" in said
    assert "class 1" in said
    for secret in SECRETS:
        assert secret not in said
    scaled = TensorDicom3D.create(folder / "scaled.nii.gz")
    assert scaled.shape == (16, 64, 64)
    assert np.isclose(scaled.max(), 1)
    assert names["cv"].table["case"].nunique() == 5


def test_readme_has_the_blocks_that_this_file_runs():
    assert [language for language, _ in FENCED] == ["sh"] + 3 * ["python"]
    assert not [size for size in SMALLER if size not in README]


def test_links_lead_to_files():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert not [link for link in links if "://" not in link and not (ROOT / link).exists()]


def test_picture_is_small():
    assert (ROOT / "docs" / "overview.png").stat().st_size < 300_000
