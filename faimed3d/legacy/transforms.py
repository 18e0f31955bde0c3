"""Transforms of faimed3d 0.0.6 that are several of today's in one: what each does by which name is in its docstring."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from fastai.vision.augment import DisplayedTransform
from fastcore.basics import store_attr
from torch import Tensor

from faimed3d._arguments import whole_per_axis
from faimed3d._keywords import StrictKeywords
from faimed3d.masks import is_mask
from faimed3d.spatial import pad_or_crop
from faimed3d.volume import TensorDicom3D

__all__ = ["MaskErase", "MaskErease", "PreprocessDicom"]


class PreprocessDicom(StrictKeywords, DisplayedTransform):
    """Resample the planes of images and masks to a spacing, and cut off extreme values of images; an item transform.

    Today ``Resample3D``, which goes to any spacing along all axes, and ``Clip3D``.

    Args:
        rescale: has nothing to do: reading applies Rescale Slope and Intercept. A volume on which they were set by hand
            is refused, see :meth:`faimed3d.legacy.tensors.LegacyVolumeMethods.rescale_pixeldata`.
        correct_spacing: resample the planes (H, W) to ``spacing``; the slices stay.
        spacing: mm.
        clip_high_values: bring the values of images into ``clipping_range``.
        clipping_range: (lowest, highest), in the units of the image (HU for CT).

    >>> from faimed3d.geometry import Geometry
    >>> PreprocessDicom(spacing=1)(TensorDicom3D(torch.rand(2, 3, 4), Geometry((2, 3, 4), spacing=(2, 2, 3)))).shape
    torch.Size([2, 6, 8])
    """

    def __init__(
        self,
        rescale: bool = True,
        correct_spacing: bool = True,
        spacing: float = 1,
        clip_high_values: bool = False,
        clipping_range: tuple[float, float] = (-2000, 10000),
    ) -> None:
        if not clipping_range[0] < clipping_range[1]:
            raise ValueError(f"clipping_range must be (lowest, highest), got {clipping_range!r}")
        store_attr()
        super().__init__()

    def encodes(self, x: TensorDicom3D):
        """Prepare a volume; of a mask the spacing alone."""
        x = x.rescale_pixeldata() if self.rescale else x
        x = x.size_correction(self.spacing) if self.correct_spacing else x
        return x.clamp(*self.clipping_range) if self.clip_high_values and not is_mask(x) else x


class MaskErase(StrictKeywords, DisplayedTransform):
    """Erase what lies outside one fixed mask, cut volumes to the box of the mask, and pad that.

    The box is the mask's, so that all volumes get the same size; their geometry follows. For a mask of each item's own,
    write a transform with ``t.strip()`` and ``pad_or_crop``.

    Args:
        mask: labels (D, H, W); what is not 0 is kept. Volumes must have its size.
        pad: voxels (D, H, W) of the result, or one number for all three. Default: the box, its planes made square.
        value: what erased and new voxels of images become. Default: the smallest value of the image; masks get 0.

    Raises:
        ValueError: the mask is empty or no volume; a volume has another size than the mask.

    >>> MaskErase(torch.tensor([[[0, 1, 1, 0]]]), pad=(1, 1, 2))(TensorDicom3D([[[5.0, 6.0, 7.0, 8.0]]])).tolist()
    [[[6.0, 7.0]]]
    """

    def __init__(
        self, mask: Tensor | np.ndarray, pad: int | Sequence[int] | None = None, *, value: float | None = None
    ) -> None:
        keep = torch.as_tensor(mask).detach().cpu().as_subclass(Tensor) != 0
        if keep.ndim != 3 or not keep.any():
            raise ValueError(f"mask must be one volume (D, H, W) with a voxel that is not 0, got {tuple(keep.shape)}")
        kept = keep.nonzero()
        box = zip(kept.amin(0).tolist(), (kept.amax(0) + 1).tolist(), strict=True)
        self.keep, self.box = keep, tuple(slice(*ends) for ends in box)
        depth, *plane = (part.stop - part.start for part in self.box)
        square = (depth, max(plane), max(plane))
        self.pad, self.value = square if pad is None else whole_per_axis(pad, "pad", least=1), value
        super().__init__()

    def encodes(self, x: TensorDicom3D):
        """Erase, cut and pad a volume (..., D, H, W)."""
        if x.shape[-3:] != self.keep.shape:
            raise ValueError(
                f"MaskErase has a mask of {tuple(self.keep.shape)} voxels (D, H, W), the volume has "
                f"{tuple(x.shape[-3:])}; bring all volumes to one size first, with Resize3D or PadOrCrop3D"
            )
        fill = 0 if is_mask(x) else self.value
        plain = x.as_subclass(Tensor)
        if fill is None:
            known = plain[plain.isfinite()]
            fill = known.min().item() if known.numel() else 0
        kept = torch.where(self.keep.to(x.device), plain, torch.tensor(fill, dtype=x.dtype, device=x.device))
        return pad_or_crop(x.with_voxels(kept)[(..., *self.box)], self.pad, fill)


MaskErease = MaskErase  # as 0.0.6 spelled it
