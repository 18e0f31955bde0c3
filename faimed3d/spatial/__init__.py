"""Crop, pad, resize, resample, reorient: functions of a volume that keep every voxel's place in the patient."""

from faimed3d.spatial.volumes import crop_3d, pad_or_crop, reorient, resample, resample_like, resize_3d_tensor, strip

__all__ = ["crop_3d", "pad_or_crop", "reorient", "resample", "resample_like", "resize_3d_tensor", "strip"]
