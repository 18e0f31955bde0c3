"""fastai's transforms of photographs, which do nothing to volumes: they are named, with what to use instead."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any  # of transforms

from fastai.data.core import DataLoaders, TfmdDL

_INSTEAD = {
    "Resize": "Resize3D",
    "RandomCrop": "RandomCrop3D",
    "RandomResizedCrop": "RandomCrop3D",
    "RandomResizedCropGPU": "RandomCrop3D",
    "RatioResize": "Resize3D",
    "CropPad": "PadOrCrop3D",
    "Flip": "RandomFlip3D",
    "FlipItem": "RandomFlip3D",
    "Dihedral": "RandomDihedral3D",
    "DihedralItem": "RandomDihedral3D",
    "DeterministicFlip": "RandomFlip3D",
    "DeterministicDihedral": "RandomDihedral3D",
    "Rotate": "RandomAffine3D",
    "Zoom": "RandomAffine3D",
    "AffineCoordTfm": "RandomAffine3D",
    "Warp": "RandomPerspective3D",
    "Brightness": "RandomBrightness3D",
    "Contrast": "RandomContrast3D",
    "LightingTfm": "RandomBrightness3D and RandomContrast3D",
    "SpaceTfm": "RandomGamma3D",
}


def flat_transforms(transforms: Iterable[Any]) -> dict[str, str]:
    """Name -> what to use instead, of those of ``transforms`` that are fastai's for flat pictures.

    Args:
        transforms: what a pipeline holds.

    >>> from fastai.vision.augment import Flip, Resize
    >>> flat_transforms([Resize(8), Flip()])
    {'Resize': 'Resize3D', 'Flip': 'RandomFlip3D'}
    """
    names = [type(one).__name__ for one in transforms if type(one).__module__.startswith("fastai.vision.")]
    return {name: _INSTEAD.get(name, "a transform of faimed3d.augment") for name in names}


def warn_of_flat_transforms(dls: DataLoaders, stacklevel: int = 2) -> None:
    """Warn where loaders of volumes hold transforms that do nothing to volumes.

    Args:
        dls: loaders of training and validation; those that are not fastai's hold no transforms.
        stacklevel: whose line the warning shows, as of ``warnings.warn``.
    """
    if not isinstance(dls.train, TfmdDL):
        return
    found = flat_transforms([*dls.train.after_item.fs, *dls.train.after_batch.fs])
    if found:
        instead = ", ".join(dict.fromkeys(found.values()))
        warnings.warn(
            f"{', '.join(found)} of fastai {'do' if len(found) > 1 else 'does'} nothing to volumes: use {instead} of "
            "faimed3d, or aug_transforms_3d() for a set of augmentations",
            stacklevel=stacklevel + 1,
        )
