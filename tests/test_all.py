"""The star import for notebooks."""

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
