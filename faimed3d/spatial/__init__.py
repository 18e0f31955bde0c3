"""Crop, pad, resize, resample, reorient: functions of a volume that keep every voxel's position in the patient.

All of them take tensors (..., D, H, W), and the geometry of a ``TensorDicom3D`` comes out exact. Images are
interpolated linearly; masks by the nearest voxel, or by the share of each class, so that labels are never blended.
"""

from faimed3d.spatial.cropping import crop_3d, pad_or_crop, strip
from faimed3d.spatial.orientation import reorient
from faimed3d.spatial.resampling import partial_volumes, resample, resample_like
from faimed3d.spatial.resizing import resize_3d_tensor

__all__ = [
    "crop_3d",
    "pad_or_crop",
    "partial_volumes",
    "reorient",
    "resample",
    "resample_like",
    "resize_3d_tensor",
    "strip",
]
