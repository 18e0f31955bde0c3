"""The star import for notebooks."""

import importlib
import subprocess
import sys

import fastai.vision.all as fastai_names

import faimed3d.all as ours

MODULES = [
    "augment",
    "basics",
    "data",
    "dataset",
    "dicom",
    "display.viewer",
    "inference",
    "legacy.correction",
    "legacy.standard_scale",
    "legacy.transforms",
    "losses",
    "training",
]


def test_no_name_of_fastai_is_replaced():
    lost = [
        name
        for name in vars(fastai_names)
        if not name.startswith("_") and getattr(ours, name, None) is not getattr(fastai_names, name)
    ]
    assert lost == []


def test_every_public_name_is_there_and_has_a_docstring():
    seen = {}
    for module in (importlib.import_module(f"faimed3d.{name}") for name in MODULES):
        for name in module.__all__:
            assert getattr(ours, name) is getattr(module, name)
            assert (getattr(module, name).__doc__ or "").strip(), f"{name} has no docstring"
            assert seen.setdefault(name, module) is module, f"{name} is in two modules"


def test_the_networks_of_torchvision_are_at_hand():
    assert callable(ours.r3d_18)
    assert callable(ours.UNet3D)


def test_the_learners_bring_the_prediction_of_volumes():
    code = (
        "import warnings; warnings.simplefilter('ignore'); from faimed3d.training import unet_learner_3d; "
        "from fastai.learner import Learner; print(Learner.predict_volume.__name__, Learner.predict_folder.__name__)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["predict_volume", "predict_folder"]
