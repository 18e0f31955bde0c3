"""Transforms for volumes, all of them fastai's: augmentations, and what brings items to one grid and scale.

- ``random_spatial``: content moved on its grid, image and mask alike; many at once are one resampling
  (``RandomSpatial3D``).
- ``random_intensity``, ``intensity_scaling``: random and fixed changes of images; masks are left alone.
- ``grid_changes``, ``random_crop``, ``foreground_crop``: crop, pad, resize, resample, reorient; the geometry follows.
- ``mask_editing``: changes of masks; images are left alone.
- ``standard_scale``: a scale of intensities learned from many images.
- ``presets``: ``aug_transforms_3d``, a set of augmentations in one call.
- ``base``: what to inherit from for a transform of your own.
"""

from __future__ import annotations

from typing import Any

from faimed3d.augment.base import IntensityTransform3D, RandomTransform3D, SpatialTransform3D
from faimed3d.augment.foreground_crop import CropForeground3D
from faimed3d.augment.grid_changes import (
    Pad3D,
    PadOrCrop3D,
    Reorient3D,
    Resample3D,
    ResampleLike,
    Resize3D,
    ResizeCrop3D,
)
from faimed3d.augment.intensity_scaling import (
    Clip3D,
    FillNaN3D,
    HistScaled3D,
    MaxScale,
    MeanScale,
    MedianScale,
    Normalize3D,
    PiecewiseHistScaling,
    RescaleIntensity3D,
    Window3D,
    ZScore3D,
)
from faimed3d.augment.mask_editing import ClampMask3D, KeepLargestComponent, ReduceClasses, RemoveSmallObjects
from faimed3d.augment.presets import aug_transforms_3d
from faimed3d.augment.random_crop import RandomCrop3D
from faimed3d.augment.random_intensity import (
    RandomBiasField3D,
    RandomBlur3D,
    RandomBrightness3D,
    RandomContrast3D,
    RandomGamma3D,
    RandomGhosting3D,
    RandomLowResolution3D,
    RandomNoise3D,
    RandomRicianNoise3D,
)
from faimed3d.augment.random_spatial import (
    RandomAffine3D,
    RandomDihedral3D,
    RandomElastic3D,
    RandomFlip3D,
    RandomPerspective3D,
    RandomRotate3D,
    RandomRotate3DBy,
    RandomSheer3D,
    RandomSpatial3D,
    RandomTrapezoid3D,
    RandomWarp3D,
)
from faimed3d.augment.standard_scale import StandardScale
from faimed3d.legacy import moved_modules

__all__ = [
    "ClampMask3D",
    "Clip3D",
    "CropForeground3D",
    "FillNaN3D",
    "HistScaled3D",
    "IntensityTransform3D",
    "KeepLargestComponent",
    "MaxScale",
    "MeanScale",
    "MedianScale",
    "Normalize3D",
    "Pad3D",
    "PadOrCrop3D",
    "PiecewiseHistScaling",
    "RandomAffine3D",
    "RandomBiasField3D",
    "RandomBlur3D",
    "RandomBrightness3D",
    "RandomContrast3D",
    "RandomCrop3D",
    "RandomDihedral3D",
    "RandomElastic3D",
    "RandomFlip3D",
    "RandomGamma3D",
    "RandomGhosting3D",
    "RandomLowResolution3D",
    "RandomNoise3D",
    "RandomPerspective3D",
    "RandomRicianNoise3D",
    "RandomRotate3D",
    "RandomRotate3DBy",
    "RandomSheer3D",
    "RandomSpatial3D",
    "RandomTransform3D",
    "RandomTrapezoid3D",
    "RandomWarp3D",
    "ReduceClasses",
    "RemoveSmallObjects",
    "Reorient3D",
    "Resample3D",
    "ResampleLike",
    "RescaleIntensity3D",
    "Resize3D",
    "ResizeCrop3D",
    "SpatialTransform3D",
    "StandardScale",
    "Window3D",
    "ZScore3D",
    "aug_transforms_3d",
]


def __getattr__(name: str) -> Any:  # of any type
    return moved_modules.find_name("augment", name)
