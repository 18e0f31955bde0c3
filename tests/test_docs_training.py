"""The page on training runs, in order, on small files of the names that it uses."""

import functools
import re
import warnings
from pathlib import Path

import dask.distributed
import matplotlib.pyplot as plt
import pytest
import torch
from small_trainings import plan_one_epoch, write_volumes

from faimed3d.basics import TensorDicom3D

PAGE = (Path(__file__).parents[1] / "docs" / "training.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    table = write_volumes(tmp_path).rename(columns={"t1": "image"}).assign(patient=[*"aabbcc"])
    table.drop(columns=["t2", "side"]).to_csv(tmp_path / "cases.csv", index=False)
    TensorDicom3D.create(table["image"][0]).save(tmp_path / "new_patient")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "2")
    plan_one_epoch(monkeypatch)
    torch.manual_seed(0)
    yield tmp_path
    plt.close("all")


def test_python_of_the_page_runs(folder, monkeypatch, capsys):
    monkeypatch.setattr(dask.distributed, "Client", functools.partial(dask.distributed.Client, processes=False))
    names = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The 'mode.chained_assignment' option")
        for number, block in enumerate(BLOCKS):
            exec(compile(block, f"docs/training.md block {number}", "exec"), names)
    assert names["mask"].shape == (5, 6, 9)
    assert len(names["part"]) == 6
    assert (folder / "models" / "fold0.safetensors").exists()
    assert "mean" in capsys.readouterr().out


def test_links_lead_to_files():
    links = re.findall(r"\]\(([^)#]+)\)", PAGE)
    assert links
    assert not [link for link in links if not (Path(__file__).parents[1] / "docs" / link).exists()]
