"""A network that sees foregrounds alone gives labels on the whole grid of the scan."""

import warnings

import pytest
import torch
from fastai.data.block import DataBlock
from fastai.learner import Learner

from faimed3d.augment import CropForeground3D
from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D
from faimed3d.data import ImageBlock3D, MaskBlock3D
from faimed3d.inference import predict_volume
from faimed3d.losses import CrossEntropyLoss3D

PLACE = Geometry((6, 8, 10), (1, 2, 3), (5, -6, 7), (0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1))


def scan():
    image = torch.zeros(PLACE.shape)
    image[2:5, 3:7, 4:9] = 1
    image[3, 4, 5:7] = 9
    return TensorDicom3D(image, PLACE)


class Bright(torch.nn.Module):
    def forward(self, x):
        return torch.cat([5 - x, x - 5], 1)


@pytest.mark.parametrize("patch", [None, (2, 2, 4)])
def test_the_result_lies_on_the_whole_grid(patch):
    block = DataBlock(
        (ImageBlock3D, MaskBlock3D(["air", "lesion"])), get_y=lambda s: TensorMask3D(s > 5),
        item_tfms=CropForeground3D(),
    )  # fmt: skip
    learn = Learner(block.dataloaders([scan()] * 2, bs=1), Bright(), loss_func=CrossEntropyLoss3D())
    assert learn.dls.one_batch()[0].shape == (1, 1, 3, 4, 5)
    with warnings.catch_warnings():
        if patch is None:
            warnings.filterwarnings("ignore", "the transforms have cut the volume")
        found = predict_volume(learn, scan(), patch=patch, progress=False)
    assert found.geometry == PLACE
    assert torch.equal(found.as_subclass(torch.Tensor) > 0, scan().as_subclass(torch.Tensor) > 5)
