"""Volumes to MONAI, TorchIO and nibabel, and back: methods that the tensors inherit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any  # of packages that may be absent

import numpy as np
import torch
from fastai.torch_core import tensor as as_tensor
from torch import Tensor

from faimed3d._assumed import warn_if_assumed
from faimed3d._extras import library_of
from faimed3d.io.monai import to_monai
from faimed3d.io.nibabel import to_nibabel
from faimed3d.io.torchio import to_torchio
from faimed3d.masks import is_mask

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image
    from typing_extensions import Self  # of typing from Python 3.11 on

    _Volume = Any
else:
    _Volume = object


class ExchangeMethods(_Volume):
    """What a volume (D, H, W) or (C, D, H, W) has for other libraries. ``create`` takes the images of all of them.

    Their axes are (C, W, H, D) and their world is RAS: both are exchanged here, and no voxel moves in the patient.
    """

    __slots__ = ()

    def to_monai(self) -> Any:
        """The volume as MONAI's ``MetaTensor`` (C, W, H, D), as ``LoadImage`` and ``EnsureChannelFirst`` read it.

        MONAI's transforms want this one: of the volume itself they would forget spacing and place.
        """
        return to_monai(self.detach().as_subclass(Tensor), self._given_away("to_monai"))

    @classmethod
    def from_monai(cls, image: Any) -> Self:
        """Take a ``MetaTensor`` (C, W, H, D) of MONAI as a volume of the same type of number.

        One channel becomes (D, H, W). Lazy transforms must have been applied; of a batch take one item.
        """
        return cls._taken(image, "monai", "MetaTensor of MONAI")

    def to_torchio(self) -> Any:
        """The volume as a ``ScalarImage`` (C, W, H, D) of TorchIO; of a mask a ``LabelMap``."""
        return to_torchio(self.detach().as_subclass(Tensor), self._given_away("to_torchio"), labels=is_mask(self))

    @classmethod
    def from_torchio(cls, source: Any) -> Self:
        """Take an image of TorchIO, or of a Subject the one image (of a mask the one LabelMap), as a volume."""
        return cls._taken(source, "torchio", "ScalarImage, LabelMap or Subject of TorchIO")

    def to_nibabel(self) -> Nifti1Image:
        """The volume as nibabel's ``Nifti1Image`` (x, y, z), or (x, y, z, C), with the header that ``save`` writes."""
        return to_nibabel(self._plain(), self._given_away("to_nibabel"))

    def _given_away(self, what):
        geometry = self.require_geometry(what)
        if self.ndim not in (3, 4):
            raise ValueError(
                f"{what} takes one volume (D, H, W) or (C, D, H, W), this tensor is {'x'.join(map(str, self.shape))}: "
                "take an item of the batch, t[0]"
            )
        warn_if_assumed(geometry, what)
        return geometry

    @classmethod
    def _taken(cls, image, library, expected):
        if library_of(image) != library:
            raise TypeError(f"expected a {expected}, got {type(image).__name__}; create takes other sources")
        return cls.create(image, dtype=None)


def plain_tensor(x: Any) -> Tensor:
    """What ``torch.as_tensor`` takes as a plain tensor; images of other libraries are left to ``create``."""
    if type(x) is not Tensor and library_of(x):
        raise TypeError(
            f"a {type(x).__name__} of {library_of(x)} has axes and a place of its own, which create understands: "
            "TensorDicom3D.create(image), TensorMask3D.create(image)"
        )
    if isinstance(x, Tensor):
        return x.as_subclass(Tensor)
    if isinstance(x, np.ndarray):
        if isinstance(x, np.ma.MaskedArray):
            if x.mask is not np.ma.nomask and x.mask.any():
                raise ValueError(
                    f"{int(x.mask.sum())} voxels of this numpy.ma array are masked, and a tensor knows no such mask: "
                    "say what they hold, array.filled(value)"
                )
            x = x.data
        if not x.dtype.isnative:
            x = x.astype(x.dtype.newbyteorder("="))
        return torch.from_numpy(x if x.flags.writeable and min(x.strides, default=0) >= 0 else x.copy())
    return as_tensor(x)
