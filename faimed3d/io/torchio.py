"""TorchIO's images to (tensor, geometry), and back: channels first, (C, W, H, D), with an affine in RAS."""

from __future__ import annotations

from typing import Any  # of a package that may be absent

import numpy as np
import torch
from torch import Tensor

from faimed3d._extras import import_extra
from faimed3d.errors import MissingGeometry
from faimed3d.geometry import Geometry
from faimed3d.io.nifti_geometry import RAS_TO_LPS


def from_torchio(source: Any, labels: bool = False) -> tuple[Tensor, Geometry]:
    """Turn an image of TorchIO, or the one image of a Subject, into (tensor, geometry).

    Args:
        source: ``ScalarImage``, ``LabelMap``, or a ``Subject`` with one of them.
        labels: of a Subject take the one LabelMap; else its one ScalarImage.

    Returns:
        A copy of the voxels, (D,H,W), or (C,D,H,W) of several channels; and the Geometry. An identity affine that no
        file gave is TorchIO's default, and known to be assumed.

    Raises:
        TypeError: another object of TorchIO.
        ValueError: a Subject with none or several such images.
        MissingGeometry: the affine describes no grid in space.
    """
    image = _chosen(source, labels) if hasattr(source, "get_images_dict") else source
    if not hasattr(image, "data") or not hasattr(image, "affine"):
        raise TypeError(f"a {type(image).__name__} of TorchIO is no volume; a ScalarImage, LabelMap or Subject is")
    voxels = image.data.detach().as_subclass(Tensor)
    voxels = voxels.permute(0, 3, 2, 1).clone(memory_format=torch.contiguous_format)
    affine = np.asarray(image.affine, float)
    try:
        geometry = Geometry.from_affine(RAS_TO_LPS @ affine, voxels.shape[1:])
    except ValueError as error:
        raise MissingGeometry(f"the affine of this image of TorchIO describes no grid in space: {error}") from error
    if image.path is None and np.array_equal(np.abs(affine), np.eye(4)):
        geometry = geometry.replace(assumed="all")
    return (voxels[0] if len(voxels) == 1 else voxels), geometry


def to_torchio(voxels: Tensor, geometry: Geometry, labels: bool = False) -> Any:
    """Turn a tensor and its geometry into a ``ScalarImage`` or ``LabelMap`` (C, W, H, D), RAS.

    Args:
        voxels: plain tensor (D,H,W), which gets one channel, or (C,D,H,W). It is copied to the CPU.
        geometry: the Geometry of the same (D,H,W).
        labels: whether it is a mask.
    """
    torchio = import_extra("torchio", "interop", "to_torchio")
    voxels = (voxels[None] if voxels.ndim == 3 else voxels).cpu()
    voxels = voxels.permute(0, 3, 2, 1).clone(memory_format=torch.contiguous_format)
    kind = torchio.LabelMap if labels else torchio.ScalarImage
    return kind(tensor=voxels, affine=RAS_TO_LPS @ geometry.affine)


def _chosen(subject, labels):
    images = subject.get_images_dict(intensity_only=False)
    fitting = [name for name, image in images.items() if (image.type == "label") == labels]
    if len(fitting) == 1:
        return images[fitting[0]]
    kind = "LabelMap" if labels else "ScalarImage"
    listed = ", ".join(f"{name!r} ({type(image).__name__})" for name, image in images.items()) or "none"
    raise ValueError(
        f"this Subject holds {len(fitting) or 'no'} {kind}{'' if len(fitting) == 1 else 's'}; its images are {listed}: "
        "pass one of them, subject['name']"
    )
