"""MONAI's ``MetaTensor`` to (tensor, geometry), and back.

The axes of a MetaTensor are (C, W, H, D), as MONAI's ``LoadImage`` and ``EnsureChannelFirst`` give them. Its ``affine``
takes the index (w, h, d, 1) to the world named by ``meta["space"]``: RAS unless it says LPS.
"""

from __future__ import annotations

from typing import Any  # of a package that may be absent

import numpy as np
import torch
from torch import Tensor

from faimed3d._extras import import_extra
from faimed3d.errors import MissingGeometry, UnsupportedImage
from faimed3d.geometry import Geometry
from faimed3d.io.nifti_geometry import RAS_TO_LPS

_CODES = ("sform_code", "qform_code")  # MONAI keeps them in ``meta`` of what it reads from NIfTI


def from_monai(image: Any) -> tuple[Tensor, Geometry]:
    """Turn a MetaTensor into (tensor, geometry).

    Args:
        image: (C, W, H, D), or (W, H, D) as ``LoadImage`` gives it without a channel.

    Returns:
        A copy of the voxels, (D,H,W), or (C,D,H,W) of several channels; and the Geometry. An identity affine that no
        file gave is MONAI's default, and known to be assumed.

    Raises:
        TypeError: another object of MONAI.
        ValueError: a batch, or an image on which lazy transforms are pending.
        UnsupportedImage: no three spatial axes, or another space than RAS and LPS.
        MissingGeometry: the affine describes no grid in space.
    """
    if not isinstance(image, Tensor) or not hasattr(image, "affine") or not hasattr(image, "meta"):
        raise TypeError(f"a {type(image).__name__} of MONAI is no volume; a MetaTensor is")
    if getattr(image, "is_batch", False):
        raise ValueError("this MetaTensor is a batch, whose items have places of their own: take one of them, batch[0]")
    if getattr(image, "pending_operations", ()):
        raise ValueError(
            "lazy transforms are pending on this MetaTensor, so its voxels do not lie yet where they will: apply them "
            "first (monai.transforms.ApplyPending, or lazy=False)"
        )
    meta, affine = image.meta, np.asarray(image.affine, float)
    voxels = image.detach().as_subclass(Tensor)
    bare = voxels.ndim == 3 and _has_no_channel(meta)
    if affine.shape != (4, 4) or voxels.ndim != 4 - bare or 0 in voxels.shape:
        raise UnsupportedImage(
            f"a MetaTensor of a volume is (C, W, H, D) with a 4x4 affine, this one is {tuple(voxels.shape)} with "
            f"{affine.shape}: put EnsureChannelFirst after LoadImage"
        )
    to_lps = {"RAS": RAS_TO_LPS, "LPS": np.eye(4)}.get(str(meta.get("space", "RAS")).rpartition(".")[2])
    if to_lps is None:
        raise UnsupportedImage(f"this MetaTensor lies in the space {meta['space']!r}; RAS and LPS are understood")
    voxels = voxels[None] if bare else voxels
    voxels = voxels.permute(0, 3, 2, 1).clone(memory_format=torch.contiguous_format)
    try:
        geometry = Geometry.from_affine(to_lps @ affine, voxels.shape[1:], _codes(meta))
    except ValueError as error:
        raise MissingGeometry(f"the affine of this MetaTensor describes no grid in space: {error}") from error
    if "original_affine" not in meta and np.array_equal(np.abs(affine), np.eye(4)):
        geometry = geometry.replace(assumed="all")
    return (voxels[0] if len(voxels) == 1 else voxels), geometry


def to_monai(voxels: Tensor, geometry: Geometry) -> Any:
    """Turn a tensor and its geometry into a ``MetaTensor`` (C, W, H, D), RAS, as MONAI's ``LoadImage`` gives it.

    Args:
        voxels: plain tensor (D,H,W), which gets one channel, or (C,D,H,W). It is copied and stays on its device.
        geometry: the Geometry of the same (D,H,W).
    """
    MetaTensor = import_extra("monai.data", "interop", "to_monai").MetaTensor
    voxels = voxels[None] if voxels.ndim == 3 else voxels
    affine = torch.from_numpy(RAS_TO_LPS @ geometry.affine)
    meta: dict[str, Any] = {"space": "RAS"}
    if geometry.stated:
        meta |= {"original_affine": affine.clone(), "spatial_shape": list(geometry.shape[::-1])}
    if geometry.nifti_codes is not None:
        meta |= dict(zip(_CODES, geometry.nifti_codes, strict=True))
    voxels = voxels.permute(0, 3, 2, 1).clone(memory_format=torch.contiguous_format)
    return MetaTensor(voxels, affine=affine, meta=meta)


def _has_no_channel(meta):
    channel = meta.get("original_channel_dim", "no_channel")  # a number, 'no_channel', or NaN for it
    return channel == "no_channel" or channel != channel


def _codes(meta):
    codes = [np.asarray(meta.get(name, -1)) for name in _CODES]
    if any(code.size != 1 or not 0 <= code.item() <= 5 for code in codes):
        return None
    return int(codes[0].item()), int(codes[1].item())
