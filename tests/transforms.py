"""Every transform of the package and how it is made, and items and batches to put through it."""

import inspect

import torch
from coordinates import LOPSIDED

from faimed3d import augment
from faimed3d.augment import (
    IntensityTransform3D,
    SpatialTransform3D,
    foreground_crop,
    grid_changes,
    mask_editing,
    random_crop,
)
from faimed3d.geometry import Geometry
from faimed3d.volume import TensorDicom3D, TensorMask3D

BASES = {"IntensityTransform3D", "RandomTransform3D", "SpatialTransform3D", "StandardScale"}
STANDARD = augment.StandardScale((0, 50, 100), (0, 30, 100))
ARGUMENTS = {
    "Clip3D": {"low": -0.5, "high": 0.5},
    "Normalize3D": {"mean": 1.0, "std": 2.0},
    "Pad3D": {"new_size": (7, 7, 9)},
    "PadOrCrop3D": {"size": (4, 7, 6)},
    "PiecewiseHistScaling": {"scale": STANDARD},
    "RandomCrop3D": {"size": (3, 8, 4)},
    "RandomSpatial3D": {"parts": (augment.RandomAffine3D(1), augment.RandomElastic3D(1), augment.RandomFlip3D())},
    "ReduceClasses": {"classes": {1: 2, 3: 0}},
    "RemoveSmallObjects": {"min_size": 3},
    "RandomFlip3D": {"p": 0.5},
    "RandomRotate3D": {"axis": (-1, -2, -3)},
    "Resample3D": {"spacing": (2, 2.5, 1)},
    "Resize3D": {"size": (4, 7, 3)},
    "ResizeCrop3D": {"crop_by": 1, "resize_to": (5, 4, 6)},
    "Window3D": {"window": (0, 4)},
}
KINDS = {name: value for name, value in vars(augment).items() if inspect.isclass(value) and name in augment.__all__}
NAMES = sorted(set(KINDS) - BASES)
RANDOM = [name for name in NAMES if KINDS[name].split_idx == 0]
FIXED = [name for name in NAMES if KINDS[name].split_idx is None and name != "RandomCrop3D"]
INTENSITY = [name for name in NAMES if issubclass(KINDS[name], IntensityTransform3D)]
MASK_EDITING = [name for name in NAMES if KINDS[name].__module__ == mask_editing.__name__]
MOVING = [name for name in NAMES if issubclass(KINDS[name], SpatialTransform3D)]
GRID = [
    name
    for name in NAMES
    if KINDS[name].__module__ in (m.__name__ for m in (grid_changes, random_crop, foreground_crop))
]
GEOMETRY = Geometry((5, 6, 8), spacing=(1, 2, 3), origin=(-7, 11, 5), direction=LOPSIDED.direction)


def make(name, **kwargs):
    arguments = {**ARGUMENTS.get(name, {}), **kwargs}
    if "p" in inspect.signature(KINDS[name]).parameters:
        arguments.setdefault("p", 1)
    return KINDS[name](*arguments.pop("parts", ()), **arguments)


def item(channels=None, labels=(0, 1, 3), seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = GEOMETRY.shape if channels is None else (channels, *GEOMETRY.shape)
    image = TensorDicom3D(torch.randn(shape, generator=generator), GEOMETRY)
    chosen = torch.randint(len(labels), GEOMETRY.shape, generator=generator)
    return image, TensorMask3D(torch.tensor(labels)[chosen], GEOMETRY)


def batch(count=3, channels=1, same=False):
    items = [item(channels, seed=0 if same else i) for i in range(count)]
    return torch.stack([image for image, _ in items]), torch.stack([mask for _, mask in items])


def plain(t):
    return t.as_subclass(torch.Tensor)
