"""Tiny volumes with masks and classes, and real, tiny trainings on them."""

import dataclasses

import numpy as np
import pandas as pd
import torch
from fastai.callback.core import Callback
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import ColReader, IndexSplitter
from fastai.learner import Learner
from fastai.torch_core import set_seed
from torch import nn

from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.data import ImageBlock3D, MaskBlock3D
from faimed3d.geometry import Geometry
from faimed3d.models import UNet3D
from faimed3d.plan import rules

SHAPE = (5, 6, 9)
GRID = Geometry(SHAPE, spacing=(1, 2, 3), origin=(-7, 11, 5))
COUNT = 6


class Bright(nn.Module):
    """Stands for a perfect network: above 50 is class 1."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return torch.cat([50 - x, x - 50], 1) + self.bias


def plan_one_epoch(monkeypatch):
    """Let every plan that is proposed train for one epoch of as few steps as the cases need; 50 would be long."""
    for table in (rules.SEGMENTATION, rules.CLASSIFICATION):
        for device, training in list(table.items()):
            monkeypatch.setitem(table, device, dataclasses.replace(training, epochs=1, least_steps=1))


def write_volumes(root):
    """Volumes of two sequences whose voxels are 1 or more where the mask is 1; the class is the side of the box."""
    random, rows = np.random.default_rng(0), []
    for number in range(COUNT):
        mask = np.zeros(SHAPE, np.uint8)
        mask[1:4, 1:5, (5 if number % 2 else 0) : (9 if number % 2 else 4)] = 1
        row = {"mask": f"{root}/mask{number}.nii.gz", "side": "LR"[number % 2]}
        TensorMask3D(mask, GRID).save(row["mask"])
        for name in ("t1", "t2"):
            row[name] = f"{root}/{name}{number}.nii.gz"
            TensorDicom3D(random.normal(0, 0.1, SHAPE).astype(np.float32) + mask, GRID).save(row[name])
        rows.append(row)
    return pd.DataFrame(rows)


def loaders(table, block=None, bs=2, columns=("t1",), **kwargs):
    blocks = [ImageBlock3D for _ in columns]
    block = block or MaskBlock3D(["background", "box"])
    data = DataBlock(
        (*blocks, block), getters=[*map(ColReader, columns), ColReader("side" if block is CategoryBlock else "mask")],
        n_inp=len(columns), splitter=IndexSplitter([4, 5]), **kwargs,
    )  # fmt: skip
    return data.dataloaders(table, bs=bs, num_workers=0)


class Watch(Callback):
    """Note what the network gets and gives, and what the loss sees."""

    order = 100

    def before_fit(self):
        self.seen = []

    def before_batch(self):
        self.came = [tuple(x.shape) for x in (*self.xb, *self.yb)]

    def after_loss(self):
        self.seen.append((self.training, self.came, tuple(self.learn.pred.shape), tuple(self.learn.yb[0].shape)))


class Classifier(nn.Module):
    """Scores of two classes from the means of two halves of what it sees."""

    def __init__(self, n_in=1):
        super().__init__()
        self.conv, self.head = nn.Conv3d(n_in, 4, 3, padding=1), nn.Linear(4 * 2, 2)

    def forward(self, x):
        return self.head(nn.functional.adaptive_avg_pool3d(self.conv(x).relu(), (1, 1, 2)).flatten(1))


def learner(dls, cbs, model=None, metrics=None):
    set_seed(0)
    return Learner(dls, model or UNet3D(1, 2, widths=(4, 6)), cbs=[*cbs, Watch()], metrics=metrics, train_bn=False)


def fit(learn, epochs=1, lr=1e-2):
    with learn.no_bar(), learn.no_logging():
        learn.fit(epochs, lr)
    return learn
