"""Transforms for volumes: random and fixed ones, of space, intensity and labels; see the modules of this package.

- ``spatial``: content moved on its grid, image and mask alike; many at once are one resampling (``RandomSpatial3D``).
- ``sizes``: crop, pad, resize, resample, reorient; the geometry follows.
- ``intensity`` and ``scaling``: random changes and fixed scales of images; masks are left alone.
- ``label``: changes of masks; images are left alone.
- ``earlier``: transforms of faimed3d 0.0.6.
- ``compose``: ``aug_transforms_3d``, all of it in one call.
"""

from faimed3d.augment.base import IntensityTransform3D, RandomTransform3D, SpatialTransform3D
from faimed3d.augment.grids import (
    Pad3D,
    PadOrCrop3D,
    RandomCrop3D,
    Reorient3D,
    Resample3D,
    ResampleLike,
    Resize3D,
    ResizeCrop3D,
)
from faimed3d.augment.labels import ClampMask3D, KeepLargestComponent, ReduceClasses, RemoveSmallObjects
from faimed3d.augment.presets import aug_transforms_3d
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
from faimed3d.augment.scaling import (
    Clip3D,
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
from faimed3d.augment.standard_scale import StandardScale, find_standard_scale, standard_scale_from_filelist
from faimed3d.legacy.tensors import sheer_3d, trapezoid_3d, warp_3d
from faimed3d.legacy.transforms import MaskErase, MaskErease, PreprocessDicom

__all__ = [
    "ClampMask3D",
    "Clip3D",
    "HistScaled3D",
    "IntensityTransform3D",
    "KeepLargestComponent",
    "MaskErase",
    "MaskErease",
    "MaxScale",
    "MeanScale",
    "MedianScale",
    "Normalize3D",
    "Pad3D",
    "PadOrCrop3D",
    "PiecewiseHistScaling",
    "PreprocessDicom",
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
    "find_standard_scale",
    "sheer_3d",
    "standard_scale_from_filelist",
    "trapezoid_3d",
    "warp_3d",
]
