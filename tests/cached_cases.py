"""A small cache of lopsided cases whose voxels are unlike each other, and stand-ins for its files."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch

from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.cache import preprocess
from faimed3d.geometry import Geometry

CODES = ["none", "box", "spot"]
SHAPES = [(9, 11, 13), (8, 12, 10), (3, 12, 14), (10, 9, 15), (9, 10, 11)]
TURN = np.radians(20)
OBLIQUE = (np.cos(TURN), -np.sin(TURN), 0, np.sin(TURN), np.cos(TURN), 0, 0, 0, 1)


def volume_and_mask(number):
    """An image whose voxels count from 1 on, and a mask of a box (1) and, in cases of even number, one voxel (2)."""
    shape = SHAPES[number]
    geometry = Geometry(shape, (1, 2, 3), (number, -4, 5), OBLIQUE)
    image = torch.arange(1, 1 + np.prod(shape), dtype=torch.float32).view(shape)
    mask = torch.zeros(shape, dtype=torch.uint8)
    mask[1:3, 2:6, 3:9] = 1
    if number % 2 == 0:
        mask[2, 8, 9] = 2
    return TensorDicom3D(image, geometry), TensorMask3D(mask, geometry)


def make_cache(folder, **kwargs):
    """The five cases in a cache; patients are not told apart by anything."""
    files = []
    for number in range(len(SHAPES)):
        image, mask = volume_and_mask(number)
        row = {"image": f"{folder}/image{number}.nii.gz", "mask": f"{folder}/mask{number}.nii.gz"}
        image.save(row["image"])
        mask.save(row["mask"])
        files.append(row)
    how = {"codes": CODES, "n_jobs": 1, "progress": False, **kwargs}
    return preprocess(pd.DataFrame(files), f"{folder}/cache", **how)


def stand_in(shape, positions):
    """What ``draw_corner`` asks of a case: label -> positions."""
    found = {label: np.array(place).reshape(-1, 3) for label, place in positions.items()}
    return SimpleNamespace(shape=(1, *shape), labels=(0, *found), positions=found.get)
