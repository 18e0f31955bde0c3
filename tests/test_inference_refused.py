"""What predict_volume says of scans that do not fit the network."""

import numpy as np
import pytest
import torch
from fastai.data.block import DataBlock
from fastai.learner import Learner
from torch import nn

from faimed3d.data import ImageBlock3D, MaskBlock3D
from faimed3d.inference import predict_volume
from faimed3d.losses import DiceCELoss3D, RegionLoss3D
from faimed3d.volume import TensorDicom3D, TensorMask3D

SCAN = TensorDicom3D(torch.rand(4, 6, 8), {"spacing": (1, 1, 3), "origin": (1, 2, 3)})


@pytest.fixture
def learn():
    block = DataBlock((ImageBlock3D, MaskBlock3D(["air", "lesion"])), get_y=lambda scan: TensorMask3D(scan > 0.5))
    dls = block.dataloaders([SCAN] * 3, bs=1, num_workers=0, device="cpu")
    return Learner(dls, nn.Conv3d(1, 2, 3, padding=1), loss_func=DiceCELoss3D(), default_cbs=False)


@pytest.mark.parametrize("patch", [None, (4, 4, 4)])
def test_another_number_of_channels(learn, patch):
    scan = torch.stack([SCAN, SCAN])
    with pytest.raises(ValueError, match=r"takes 1 channels, but this volume has 2.*one of several as scan\[0\]"):
        predict_volume(learn, scan, patch)
    assert predict_volume(learn, scan[0], patch).shape == SCAN.shape


def test_errors_within_the_network_stay_its_own(learn):
    class Broken(nn.Module):
        def forward(self, x):
            raise RuntimeError("of its own")

    learn.model = Broken()
    with pytest.raises(RuntimeError, match="of its own"):
        predict_volume(learn, SCAN)


def test_an_array_without_a_place_is_led_to_like(learn):
    with pytest.raises(ValueError, match=r"spacing of 1x1x1 mm .*Then pass like=, a volume that lies there"):
        predict_volume(learn, np.asarray(SCAN))
    assert predict_volume(learn, np.asarray(SCAN), like=SCAN).geometry == SCAN.geometry


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ({"threshold": 2}, "threshold must be a number from 0 to below 1, got 2"),
        ({"memory": "plenty"}, "memory must be a number of bytes, or a text such as '2GB'.*got 'plenty'"),
    ],
)
def test_thresholds_and_amounts_of_memory_that_are_none(argument, text):
    with pytest.raises(ValueError, match=text):
        predict_volume(None, SCAN, **argument)


def test_a_threshold_of_a_loss_that_is_none():
    with pytest.raises(ValueError, match="threshold must be a number from 0 to below 1, got 50"):
        RegionLoss3D(threshold=50)
