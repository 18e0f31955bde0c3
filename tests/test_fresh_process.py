"""What imports bring into a process that has imported nothing; one process is asked, for torch and fastai take long."""

import json
import subprocess
import sys

import pytest

STAGES = """
import json, sys, warnings
warnings.simplefilter("ignore")
found = {}

def loaded():
    return {name.partition(".")[0] for name in sys.modules}

import faimed3d
dir(faimed3d)
found["faimed3d"] = sorted(loaded())
import faimed3d.io
found["faimed3d.io"] = sorted(loaded())
import faimed3d.intensity
found["faimed3d.intensity"] = sorted(loaded())
import fastai.basics
before = loaded()
import faimed3d.basics
found["faimed3d.basics"] = sorted(loaded() - before)

from fastai.learner import Learner
found["learner"] = [hasattr(Learner, "predict_volume")]
import faimed3d.learner  # faimed3d.training.learner of today
found["learner"] += [Learner.predict_volume.__name__, Learner.predict_folder.__name__]
import faimed3d.widgets.viewer
from faimed3d.metrics import SurfaceDice
from faimed3d.spatial import turns
from faimed3d.preprocess import MeanScale, __all__ as all_of_it  # which the star of 0.0.6's notebooks takes
import faimed3d.training
found["old paths"] = [faimed3d.learner.__name__, SurfaceDice is faimed3d.training.SurfaceDice, turns.__name__,
                      MeanScale.__name__ in all_of_it, faimed3d.widgets.viewer is faimed3d.browser.viewers]

import os, torch
faimed3d.training.training_memory(torch.nn.Conv3d(1, 2, 1), (1, 1, 2, 3, 4))  # the first backward pass of the process
if not (child := os.fork()):
    try:
        torch.ones((), requires_grad=True).backward()
        os._exit(7)
    finally:
        os._exit(1)
found["training of a fork"] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found():
    out = subprocess.run([sys.executable, "-c", STAGES], capture_output=True, text=True, check=True).stdout
    return json.loads(out)


def test_the_package_loads_neither_torch_nor_fastai_nor_numpy(found):
    assert not {"torch", "fastai", "numpy", "pydicom", "SimpleITK"} & {*found["faimed3d"]}


def test_reading_files_needs_no_torch_and_each_format_its_package_alone(found):
    assert not {"SimpleITK", "pydicom", "nibabel", "pandas", "torch", "fastai"} & {*found["faimed3d.io"]}


def test_intensity_needs_only_numpy_and_torch(found):
    assert not {"fastai", "SimpleITK", "matplotlib"} & {*found["faimed3d.intensity"]}


def test_basics_bring_no_heavy_packages(found):
    """SimpleITK, pydicom, skimage and nibabel come when they are used."""
    heavy = {"SimpleITK", "pydicom", "skimage", "nibabel", "joblib", "isal", "kornia"}
    assert not heavy & {*found["faimed3d.intensity"], *found["faimed3d.basics"]}


def test_the_learners_bring_the_prediction_of_volumes(found):
    assert found["learner"] == [False, "predict_volume", "predict_folder"]


def test_both_forms_of_old_imports_work(found):
    assert found["old paths"] == ["faimed3d.training.learner", True, "faimed3d.spatial.rotations", True, True]


def test_a_forked_process_trains_after_memory_was_predicted(found):
    """As accelerate's notebook_launcher does after ``propose``."""
    assert found["training of a fork"] == 7
