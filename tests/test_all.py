"""The star import for notebooks."""

import subprocess
import sys

import fastai.vision.all as fastai_names

import faimed3d.all as ours


def test_no_name_of_fastai_is_replaced_but_by_what_does_all_it_does():
    lost = [
        name
        for name in vars(fastai_names)
        if not name.startswith("_") and getattr(ours, name, None) is not getattr(fastai_names, name)
    ]
    assert lost == ["retain_type"]  # with one argument more; tests/test_old_ways.py holds it against fastai's


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
