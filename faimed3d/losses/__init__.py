"""Losses for labels of voxels: cross-entropy, focal loss, Dice, Tversky, MCC, Dice + cross-entropy; deep supervision.

Predictions are logits ``(B, C, D, H, W)``, targets whole numbers ``(B, D, H, W)`` (a channel axis of 1 is allowed). A
network may give scores on several scales (a list, as with deep supervision): every loss takes them, weighted as
:class:`DeepSupervision` says. Every loss can leave a label out, ``ignore_index``.

All have fastai's ``activation``, ``decodes`` and ``reduction``, so ``predict``, ``get_preds``, ``Interpretation`` and
``MixUp`` work. ``reduction='none'`` gives one number per item.

fastai's own ``CrossEntropyLossFlat(axis=1)`` and ``FocalLossFlat(axis=1)`` are for 2D images. On volumes they swap C
and W of the prediction but H and W of the target, so each voxel is compared with the label of another one.
"""

from typing import Any

from faimed3d.legacy.moved_modules import find_name
from faimed3d.losses.deep_supervision import DeepSupervision
from faimed3d.losses.overlap import DiceCELoss3D, DiceLoss3D, MCCLoss, OverlapLoss3D, TverskyLoss3D
from faimed3d.losses.regions import RegionLoss3D
from faimed3d.losses.voxelwise import CrossEntropyLoss3D, FocalLoss3D

__all__ = [
    "CrossEntropyLoss3D",
    "DeepSupervision",
    "DiceCELoss3D",
    "DiceLoss3D",
    "FocalLoss3D",
    "MCCLoss",
    "OverlapLoss3D",
    "RegionLoss3D",
    "TverskyLoss3D",
]


def __getattr__(name: str) -> Any:  # PEP 562
    return find_name("losses", name)
