"""The examples that ask for data run on small data of the same layout, and say what they need where it is absent."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from small_trainings import plan_one_epoch

from faimed3d.plan import Plan
from faimed3d.volume import TensorDicom3D, TensorMask3D

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def run(monkeypatch, capsys):
    """Function that runs an example with arguments, for one epoch a plan, and gives what it prints."""
    plan_one_epoch(monkeypatch)

    def run_example(name, *args):
        monkeypatch.setattr(sys, "argv", [name, *map(str, args)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run_example


@pytest.mark.parametrize("name", ["hippocampus.py", "medmnist3d.py"])
def test_an_example_without_data_says_what_to_put_where(name, run, tmp_path, capsys):
    for given in ([], [tmp_path]):
        with pytest.raises(SystemExit) as stop:
            run(name, *given)
        assert stop.value.code == 2
        text = capsys.readouterr().err
        assert "DATA=folder" in text
        assert "http" in text


def decathlon(folder, cases, first=0):
    """A folder as of the Decathlon: a bright box is the one class, a dark one the other."""
    torch.manual_seed(first)
    names = [f"case_{k:03d}" for k in range(first, first + cases)]
    for name in names:
        labels = torch.zeros(8, 9, 10)
        d, h = torch.randint(1, 4, (2,)).tolist()
        labels[d : d + 3, h : h + 4, 2:5], labels[d : d + 3, h : h + 4, 5:8] = 1, 2
        image = torch.tensor([0.0, 90.0, -90.0])[labels.long()] + 9 * torch.randn(8, 9, 10)
        TensorDicom3D(image.round(), {"spacing": (1, 1, 1)}).save(folder / "imagesTr" / f"{name}.nii.gz")
        TensorMask3D(labels, {"spacing": (1, 1, 1)}).save(folder / "labelsTr" / f"{name}.nii.gz")
    pairs = [{"image": f"imagesTr/{name}.nii.gz", "label": f"labelsTr/{name}.nii.gz"} for name in names]
    content = {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "Anterior", "2": "Posterior"}}
    (folder / "dataset.json").write_text(json.dumps({**content, "training": pairs}))
    return names


def test_hippocampus_goes_from_the_folder_to_the_scores_of_cases_kept_aside(run, tmp_path):
    data, test, out = (tmp_path / name for name in ("data", "test", "out"))
    for folder in (data, test):
        (folder / "imagesTr").mkdir(parents=True)
        (folder / "labelsTr").mkdir()
    names = decathlon(data, 6)
    (data / "folds.json").write_text(
        json.dumps({"a": [f"{n}.nii.gz" for n in names[:3]], "b": [f"{n}.nii.gz" for n in names[3:]]})
    )
    decathlon(test, 2, first=50)
    printed = run("hippocampus.py", data, "--test", test, "--budget", 9, "--out", out)
    assert "Cross-validation: 6 cases" in printed
    assert "Cases kept aside, mean of 2 networks: 2 cases" in printed
    scores = pd.read_csv(out / "cross_validation.csv")
    assert len(scores) == 12
    assert set(scores["class"]) == {"Anterior", "Posterior"}
    assert Plan.from_json(out / "plan.json").epochs == 1
    assert (out / "cross_validation.png").stat().st_size > 5000


def test_medmnist3d_prints_auc_and_accuracy(run, tmp_path):
    draw = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 24), ("val", 8), ("test", 8)):
        labels = np.arange(count)[:, None] % 2
        images = draw.integers(0, 40, (count, 9, 10, 11)) + 150 * labels[:, :, None, None]
        arrays |= {f"{part}_images": images.astype(np.uint8), f"{part}_labels": labels.astype(np.uint8)}
    np.savez(tmp_path / "vesselmnist3d.npz", **arrays)
    printed = run("medmnist3d.py", tmp_path, "--budget", 9, "--out", tmp_path / "out")
    lines = printed.splitlines()
    row = next(line.split() for line in lines if line.split()[:1] == ["validation"])
    assert row[1] == "8"
    assert all(0 <= float(value) <= 1 for value in row[2:])
    assert any(line.split()[:1] == ["test"] for line in lines)
