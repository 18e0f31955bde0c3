"""Images of other libraries to (voxels, geometry), whichever library it is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from faimed3d._extras import library_of
from faimed3d.geometry import Geometry
from faimed3d.io.monai import from_monai
from faimed3d.io.nibabel import from_nibabel
from faimed3d.io.simpleitk import from_sitk
from faimed3d.io.torchio import from_torchio

NAMED = "SimpleITK, nibabel, MONAI or TorchIO"  # for messages


def from_library(image: Any, labels: bool = False) -> tuple[Tensor, Geometry]:
    """Turn an image of one of the libraries that ``library_of`` knows into (tensor, geometry).

    Args:
        image: as for ``from_sitk``, ``from_nibabel``, ``from_monai``, ``from_torchio``.
        labels: whether a mask is wanted, where there are several images.

    >>> import SimpleITK as sitk
    >>> voxels, geometry = from_library(sitk.Image(4, 3, 2, sitk.sitkInt16))
    >>> voxels.shape, geometry.shape
    (torch.Size([2, 3, 4]), (2, 3, 4))
    """
    library = library_of(image)
    if library == "monai":
        return from_monai(image)
    if library == "torchio":
        return from_torchio(image, labels)
    array, geometry = (from_sitk if library == "SimpleITK" else from_nibabel)(image)
    return torch.from_numpy(array), geometry
