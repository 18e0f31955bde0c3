"""Names of faimed3d 0.0.6 over today's functions: methods of the tensors, and its three warps in the plane.

``TensorDicom3D`` and ``TensorMask3D`` inherit the methods. Each is a line or two, and says which name is the one to use
today; ``docs/from_0.0.6.md`` lists all names. What changes intensities gives a mask back as it is.

The flips and turns here move the *content* and leave the grid where it is, as an augmentation does. Their names are of
the patient's sides, which the geometry tells; ``t.flip(-1)`` and ``t.reorient(code)`` change how a volume is stored,
and move nothing in the world.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from faimed3d import intensity, spatial
from faimed3d.masks import reduce_classes
from faimed3d.spatial.resizing import scaled_size
from faimed3d.spatial.rotations import MIRRORS, dihedral_matrix, quarter_turns, storage_turn, turn_in_patient
from faimed3d.tracking import current_grid

__all__ = ["EarlierMaskNames", "EarlierNames", "sheer_3d", "trapezoid_3d", "warp_3d"]

_RESCALE = {"0028|1053": 1.0, "0028|1052": 0.0}  # Rescale Slope, Rescale Intercept: what changes nothing


class EarlierNames:
    """Methods that a volume (..., D, H, W) had in faimed3d 0.0.6."""

    __slots__ = ()

    def to_numpy(self):
        """The voxels as a numpy array, which shares their memory where they are on the CPU."""
        return self.detach().cpu().as_subclass(Tensor).numpy()

    # The grid ---------------------------------------------------------------------------------------------------------

    def resize_3d(self, size=None, scale_factor=None):
        """Resize to ``size`` (D, H, W), or by a factor; today ``resize_3d_tensor``.

        Args:
            size: voxels (D, H, W).
            scale_factor: the new size as a factor of the old one: one number or three (D, H, W).
        """
        if (size is None) == (scale_factor is None):
            raise ValueError(f"resize_3d takes either size or scale_factor, got {size!r} and {scale_factor!r}")
        return spatial.resize_3d_tensor(self, scaled_size(self.shape[-3:], scale_factor) if size is None else size)

    def pad_to(self, new_size, value=None):
        """Pad to at least ``new_size`` (D, H, W), equally at both ends; today ``pad_or_crop``, which crops as well.

        Args:
            new_size: voxels (D, H, W).
            value: what fills new voxels. Default: the smallest value of an image, 0 for masks.
        """
        if len(new_size) != 3:
            raise ValueError(f"new_size must be three sizes (D, H, W), got {new_size!r}")
        return spatial.pad_or_crop(self, [max(n, m) for n, m in zip(self.shape[-3:], new_size, strict=True)], value)

    def size_correction(self, new_spacing=1):
        """Resample the planes (H, W) to ``new_spacing`` mm, the slices stay; today ``resample``, to any spacing."""
        return spatial.resample(self, (new_spacing, new_spacing, self.get_spacing()[2]))

    # Intensity --------------------------------------------------------------------------------------------------------

    def rescale_pixeldata(self):
        """The volume as it is: reading has applied Rescale Slope and Intercept, and values are real already.

        Raises:
            ValueError: the slope or intercept was set by hand with ``set_metadata``, which reading knows nothing of.
        """
        by_hand = {tag: (self._tags or {}).get(tag) for tag in _RESCALE}
        if any(value is not None and float(value) != _RESCALE[tag] for tag, value in by_hand.items()):
            raise ValueError(
                "(0028,1053) Rescale Slope and (0028,1052) Rescale Intercept were set by hand to "
                f"{by_hand['0028|1053']} and {by_hand['0028|1052']}. Reading applies those of the files; to apply "
                "yours, compute t * slope + intercept"
            )
        return self

    def mean_scale(self):
        """Mean 0, std 1 of the voxels above the minimum; today ``faimed3d.intensity.mean_scale`` or ``MeanScale``."""
        return intensity.mean_scale(self)

    def median_scale(self):
        """(x - median) / IQR of the voxels above the minimum; today ``intensity.median_scale`` or ``MedianScale``."""
        return intensity.median_scale(self)

    def max_scale(self):
        """Minimum to 0 and maximum to 1; today ``faimed3d.intensity.max_scale`` or ``MaxScale``."""
        return intensity.max_scale(self)

    def rescale(self, new_min=0, new_max=1):
        """Minimum to ``new_min`` and maximum to ``new_max``; today ``intensity.rescale`` or ``RescaleIntensity3D``."""
        return intensity.rescale(self, new_min, new_max)

    def scale_to(self, mean, std):
        """Shift and scale to this mean and std; today ``faimed3d.intensity.match_moments``."""
        return intensity.match_moments(self, mean, std)

    def hist_scaled_pt(self, brks=None):
        """:meth:`hist_scaled`, which works on every device by itself."""
        return self.hist_scaled(brks)

    def piecewise_hist(self, landmark_percs, standard_scale):
        """Bring percentiles of the voxels above the mean to standard values (Nyul); today ``StandardScale.apply``.

        Args:
            landmark_percs: percentiles, 0..100, rising.
            standard_scale: the value of each.
        """
        percentiles, values = (np.asarray(numbers, dtype=float) for numbers in (landmark_percs, standard_scale))
        if percentiles.shape != values.shape or values.ndim != 1 or len(values) < 2:
            raise ValueError(
                f"landmark_percs and standard_scale must be as many, at least 2, got {percentiles.shape} and "
                f"{values.shape}"
            )
        return intensity.match_landmarks(self, intensity.landmarks_of(self, percentiles, "mean"), values)

    def gaussian_noise(self, std):
        """Add noise of ``std``, in parts of that of each channel; at random ``RandomNoise3D``."""
        return intensity.add_noise(self, std)

    def adjust_brightness(self, beta):
        """Add ``beta``, in parts of each channel's std (once: in image units); at random ``RandomBrightness3D``."""
        return intensity.adjust_brightness(self, beta)

    def adjust_contrast(self, alpha):
        """Spread values about the mean by ``alpha``, within their range; at random ``RandomContrast3D``."""
        return intensity.adjust_contrast(self, alpha)

    # The content moves, the grid stays --------------------------------------------------------------------------------

    def flip_ll_3d(self):
        """Exchange the patient's left and right; at random ``RandomFlip3D``, which goes by storage axes."""
        return self._turned(MIRRORS["left_right"], "flip_ll_3d")

    def flip_ap_3d(self):
        """Exchange the patient's front and back; at random ``RandomFlip3D``, which goes by storage axes."""
        return self._turned(MIRRORS["front_back"], "flip_ap_3d")

    def flip_cc_3d(self):
        """Exchange head and feet; at random ``RandomFlip3D``, which goes by storage axes."""
        return self._turned(MIRRORS["head_feet"], "flip_cc_3d")

    def rotate_90_3d(self):
        """Turn the patient by 90 degrees about the axis from feet to head, left to front; at random ``RandomRotate3D``.

        A true rotation, counter-clockwise in an axial slice as ``show_image_3d`` draws it.

        Raises:
            ValueError: the plane of the turn is not square, in voxels or in mm.
        """
        return self._turned(quarter_turns(1), "rotate_90_3d")

    def rotate_180_3d(self):
        """Turn the patient by 180 degrees about the axis from feet to head; at random ``RandomRotate3D``."""
        return self._turned(quarter_turns(2), "rotate_180_3d")

    def rotate_270_3d(self):
        """Turn the patient by 270 degrees, left to back; see :meth:`rotate_90_3d`."""
        return self._turned(quarter_turns(3), "rotate_270_3d")

    def dihedral3d(self, k):
        """One of 18 flips and turns, see ``spatial.rotations.dihedral_matrix``; at random ``RandomDihedral3D``."""
        return self._turned(dihedral_matrix(k), "dihedral3d")

    def apply_along_dim(self, func, dim):
        """Apply a function of plain 2D tensors to every slice across the axis ``dim`` (-3, -2 or -1: D, H or W).

        The place is kept where the shape is. For a rotation by any angle use ``RandomRotate3DBy``, which goes by mm.
        """
        axis = dim if dim < 0 else dim - self.ndim
        if axis not in (-1, -2, -3):
            raise ValueError(f"dim must be one of the last three axes (D, H, W) of {tuple(self.shape)}, got {dim!r}")
        return self.with_voxels(torch.stack([func(one) for one in self.as_subclass(Tensor).unbind(axis)], axis))

    def grid_tfms(self, func):
        """Warp every plane (H, W) alike, by a function such as :func:`warp_3d`; today ``RandomWarp3D`` and its like.

        Images are interpolated linearly, masks by the nearest voxel; beyond the edge the plane goes on mirrored.

        Args:
            func: ``(h, w) -> (rows, columns)``, where to sample for each voxel of a plane, (H, W) each, -1 at the first
                and 1 at the last centre.
        """
        x = self.as_subclass(Tensor)
        nearest = self.interpolation == "nearest"
        planes = x if x.dtype in (torch.float32, torch.float64) else x.to(torch.float64 if nearest else torch.float32)
        planes = planes.reshape(-1, *x.shape[-3:])
        rows, columns = func(*x.shape[-2:])
        places = torch.stack([columns, rows], -1).to(planes).expand(len(planes), -1, -1, -1)
        mode = "nearest" if nearest else "bilinear"
        warped = F.grid_sample(planes, places, mode, padding_mode="reflection", align_corners=True).reshape(x.shape)
        return self.with_voxels(warped.to(x.dtype) if nearest else warped)

    def _turned(self, matrix, name):
        grid = current_grid(self)
        geometries = set(grid.flat) if isinstance(grid, np.ndarray) else {grid}
        if None in geometries:
            raise ValueError(
                f"{name} is said of the patient's sides, and this {'x'.join(map(str, self.shape))} tensor has no "
                "geometry that tells them. RandomFlip3D, RandomRotate3D and RandomDihedral3D go by storage axes"
            )
        found = {tuple(map(tuple, storage_turn(matrix, geometry).tolist())) for geometry in geometries}
        if len(found) > 1:
            raise ValueError(
                f"{name} of a batch whose items are stored in different orientations: turn each item, or put "
                "Reorient3D among the item transforms"
            )
        return self.with_voxels(turn_in_patient(self.as_subclass(Tensor), matrix, geometries.pop()))


class EarlierMaskNames:
    """Methods that a mask (..., D, H, W) had in faimed3d 0.0.6 beside those of an image."""

    __slots__ = ()

    def clamp_to_range(self, lwr, upr):
        """Bring labels below ``lwr`` to it and those above ``upr`` to that; today ``t.clamp`` or ``ClampMask3D``."""
        return self.clamp(lwr, upr)

    def reduce_classes(self, classes):
        """Merge and renumber classes by a fixed table; today ``ReduceClasses``.

        Args:
            classes: a list, whose entries become 1, 2, 3, ... in turn and all else 0, the same in every patient; or
                ``{old: new}``.
        """
        return reduce_classes(self, classes)


def warp_3d(h, w, magnitude_h, magnitude_w):
    """Sampling places of a plane whose centre is moved: see :meth:`EarlierNames.grid_tfms`; today ``RandomWarp3D``.

    Args:
        h, w: voxels of the plane.
        magnitude_h, magnitude_w: how far its centre goes, in parts of the sides, between -0.5 and 0.5.

    Returns:
        Rows and columns, (H, W) each.
    """
    if not max(abs(magnitude_h), abs(magnitude_w)) < 0.5:
        raise ValueError(f"the centre must stay inside: magnitudes below 0.5, got {magnitude_h!r} and {magnitude_w!r}")
    rows, columns = _plane(h, w)
    return _moved(rows, 2 * magnitude_h), _moved(columns, 2 * magnitude_w)


def sheer_3d(h, w, magnitude_h, magnitude_w):
    """Sampling places of a sheared plane, arguments in parts of half its sides; today ``RandomSheer3D``."""
    rows, columns = _plane(h, w)
    return rows + magnitude_h * columns, columns + magnitude_w * rows


def trapezoid_3d(h, w, magnitude):
    """Sampling places of a plane that is drawn out, or (below 0) drawn in, at its first columns; ``RandomTrapezoid3D``.

    Args:
        h, w: voxels of the plane.
        magnitude: above -1 and below 1.
    """
    if not -1 < magnitude < 1:
        raise ValueError(f"magnitude must be above -1 and below 1, got {magnitude!r}")
    rows, columns = _plane(h, w)
    scale = 1 - abs(magnitude) * (1 - columns) / 2
    return (rows / scale if magnitude < 0 else rows * scale), columns


def _plane(h, w):
    """Rows and columns (H, W) of the voxels, -1 at the first and 1 at the last centre; 0 where there is but one."""
    sides = (torch.linspace(-1, 1, n) if n > 1 else torch.zeros(1) for n in (h, w))
    return torch.meshgrid(*sides, indexing="ij")


def _moved(places, shift):
    """Places from which -1 and 1 come as they are and ``shift`` comes from 0, linear on both sides."""
    return (places - shift) / torch.where(places < shift, 1 + shift, 1 - shift)
