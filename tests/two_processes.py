"""Validation and training in two processes of gloo on a CPU, by fastai's distrib_ctx and accelerate."""

import os
import warnings
from contextlib import nullcontext

import fastai.callback.progress  # noqa: F401 - gives Learner no_bar
import numpy as np
import torch
from fastai.data.block import DataBlock
from fastai.learner import Learner
from fastai.metrics import Dice, DiceMulti, JaccardCoeff, JaccardCoeffMulti
from fastai.optimizer import SGD
from fastai.torch_core import get_model
from torch import distributed, nn

from faimed3d.augment import RandomAffine3D, RandomFlip3D, RandomSpatial3D
from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.data import ImageBlock3D, MaskBlock3D
from faimed3d.losses import CrossEntropyLoss3D
from faimed3d.models import UNet3D
from faimed3d.patches import PatchDataLoaders3D
from faimed3d.training import (
    AverageSurfaceDistance,
    ExcludedCases,
    HausdorffDistance95,
    KeepGeometry,
    SurfaceDice,
    dice_per_class,
    unet_learner_3d,
)

SHAPE = (4, 6, 8)
COUNT = 5  # so that the last batch is filled up


class Says(nn.Module):
    """Says of each voxel the class that the image shows."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return torch.stack([-(x[:, 0] - label).abs() for label in range(3)], 1) * self.scale


def image_of(number):
    said = np.zeros(SHAPE, np.float32)
    said[1:3, 1:4, 1 : 3 + number] = 1
    said[3, 5, number:] = 2 if number % 2 else 0
    return TensorDicom3D(torch.tensor(said), {"spacing": (1.0 + number, 2, 3)})


def mask_of(number, ignored):
    true = np.zeros(SHAPE, np.int32)
    true[1:3, 1:4, 1:5] = 1
    true[3, 5, 2:] = 2
    if ignored is not None:
        true[2, :, : 2 + number] = ignored
    return TensorMask3D(torch.tensor(true), {"spacing": (1.0 + number, 2, 3)})


class MaskOf:
    def __init__(self, ignored):
        self.ignored = ignored

    def __call__(self, number):
        return mask_of(number, self.ignored)


def together(learn, distributed_run):
    """The context in which a learner works with the other process, or alone."""
    return learn.distrib_ctx(sync_bn=False, cpu=True) if distributed_run else nullcontext()


def values(ignored, distributed_run=False):
    """What each metric says of the five cases."""
    hd95 = HausdorffDistance95()
    metrics = [*dice_per_class(["none", "one", "two"]), hd95, ExcludedCases(hd95), AverageSurfaceDistance(),
               SurfaceDice(2.0), Dice(), DiceMulti(), JaccardCoeff(), JaccardCoeffMulti()]  # fmt: skip
    block = DataBlock(
        (ImageBlock3D, MaskBlock3D(["none", "one", "two"], ignore_index=ignored)), get_x=image_of,
        get_y=MaskOf(ignored), splitter=lambda items: (list(items), list(items)),
    )  # fmt: skip
    dls = block.dataloaders(range(COUNT), bs=2, num_workers=0, device="cpu")
    learn = Learner(
        dls, Says(), loss_func=CrossEntropyLoss3D(ignore_index=ignored), metrics=metrics, cbs=KeepGeometry()
    )
    with learn.no_bar(), learn.no_logging(), together(learn, distributed_run):
        found = learn.validate()[1:]
    return {metric.name + type(metric).__name__: float(value) for metric, value in zip(metrics, found, strict=True)}


def training(cache, bs, distributed_run=False):
    """Parameters after a training on patches, and what its epochs said of the whole cases."""
    tfms = RandomSpatial3D(RandomAffine3D(degrees=10), RandomFlip3D())
    dls = PatchDataLoaders3D.from_cache(
        cache, (4, 6, 5), bs, valid=[1, 3, 4], length=8, batch_tfms=tfms, num_workers=0, device="cpu"
    )
    torch.manual_seed(0)
    learn = unet_learner_3d(
        dls, UNet3D, widths=(4, 6), loss_func=CrossEntropyLoss3D(), metrics=dice_per_class(dls), opt_func=SGD
    )
    torch.manual_seed(1)
    with learn.no_bar(), learn.no_logging(), together(learn, distributed_run):
        learn.fit(2, 0.1)
    return [p.detach().numpy() for p in get_model(learn.model).parameters()], [
        list(row) for row in learn.recorder.values
    ]


def process(rank, port, ignored, cache, found):
    """One of two processes."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    os.environ.update(
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2"
    )
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    send_indices_without_a_gpu()
    found[rank] = [values(label, distributed_run=True) for label in ignored]
    found[f"training {rank}"] = training(cache, 2, distributed_run=True)
    distributed.destroy_process_group()


def send_indices_without_a_gpu():
    """fastai sends the indices of a loader by way of a GPU."""
    from fastai.distributed import DistributedDL

    def broadcast(self, t, rank):
        t = torch.LongTensor(t)
        distributed.broadcast(t, rank)
        return t.tolist()

    DistributedDL._broadcast = broadcast
