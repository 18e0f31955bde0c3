"""The losses for labels of voxels, which many tests go over."""

from faimed3d.losses import CrossEntropyLoss3D, DiceCELoss3D, DiceLoss3D, FocalLoss3D, MCCLoss, TverskyLoss3D

LOSSES = [CrossEntropyLoss3D, FocalLoss3D, DiceLoss3D, TverskyLoss3D, DiceCELoss3D, MCCLoss]
