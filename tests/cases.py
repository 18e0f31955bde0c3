"""A small study: images and masks of six cases, two for each of three patients, and a table of them."""

import numpy as np
import pandas as pd
from fastai.learner import Learner
from fastai.torch_core import set_seed
from torch import nn

from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D
from faimed3d.data import ImageDataLoaders3D, SegmentationDataLoaders3D

COUNT = 6
SHAPE = (4, 6, 8)
LESION = np.s_[1:3, 2:5, 5:8]
CENTRE = (1.5, 3, 6)  # of the lesion, in voxels (d, h, w)
STORED_FLIPPED = 1  # the mask of this case is stored the other way round
DIRECTION = (0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1)


def geometry_of(number):
    """A grid of its own for every case, so that a batch that mixes them up is seen."""
    return Geometry(SHAPE, (1 + number, 2, 3), (10 * number, -5, 7), DIRECTION)


def case_of(number):
    """Image and mask of a case: the lesion is bright."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[LESION] = 1
    image = np.random.default_rng(number).normal(0, 0.1, SHAPE).astype(np.float32) + mask
    return TensorDicom3D(image, geometry_of(number)), TensorMask3D(mask, geometry_of(number))


def save(volume, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    volume.save(path)


def write_cases(root):
    """Write images/Ann_0.nii.gz ..., masks/Ann_0.nrrd ..., and cases.csv, which names them; return the folder."""
    rows = []
    for number in range(COUNT):
        patient = ("Ann", "Ben", "Cyd")[number // 2]
        name = f"{patient}_{number}"
        image, mask = case_of(number)
        save(image, root / "images" / f"{name}.nii.gz")
        save(mask.flip(1, 2) if number == STORED_FLIPPED else mask, root / "masks" / f"{name}.nrrd")
        rows.append(
            {
                "image": f"images/{name}.nii.gz",
                "mask": f"masks/{name}.nrrd",
                "patient": patient,
                "label": ("low", "high")[number % 2],
                "findings": ("cyst", "cyst;scar")[number % 2],
                "age": 40.0 + number,
                "valid": number >= COUNT - 2,
            }
        )
    pd.DataFrame(rows).to_csv(root / "cases.csv", index=False)
    return root


def segmentation(table, root, **kwargs):
    given = {"valid_col": "valid", "bs": 2, "num_workers": 0, **kwargs}
    return SegmentationDataLoaders3D.from_df(table, root, fn_col="image", label_col="mask", **given)


def classification(table, root, label_col="label", **kwargs):
    given = {"valid_col": "valid", "bs": 2, "num_workers": 0, **kwargs}
    return ImageDataLoaders3D.from_df(table, root, fn_col="image", label_col=label_col, **given)


def make_learner(dls, n_out=2, whole=False, **kwargs):
    set_seed(0)
    layers = [nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, n_out, 1)]
    head = [nn.AdaptiveAvgPool3d(1), nn.Flatten()] if whole else []
    return Learner(dls, nn.Sequential(*layers, *head), **kwargs)
