"""Methods that the tensors had in faimed3d 0.0.6, over today's functions.

``TensorDicom3D`` and ``TensorMask3D`` inherit them; ``dir()`` does not list them. Each is a line or two and names what
to use today; ``docs/from_0.0.6.md`` lists all names. What changes intensities gives a mask back as it is.

The flips and turns here move the *content* and leave the grid where it is, as an augmentation does. Their names are of
the patient's sides, which the geometry tells; ``t.flip(-1)`` and ``t.reorient(code)`` change how a volume is stored,
and move nothing in the world.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from faimed3d import intensity, spatial
from faimed3d.legacy.hidden_names import HiddenFromDir
from faimed3d.masks import is_mask, reduce_classes
from faimed3d.spatial.resizing import scaled_size
from faimed3d.spatial.rotations import MIRRORS, axial_rotation, dihedral_matrix, rotate_in_patient, to_storage_axes
from faimed3d.tracking import current_grid

if TYPE_CHECKING:
    from typing_extensions import Self  # of typing from Python 3.11 on

    _Methods = Any  # of the volumes, which inherit from here
else:
    _Methods = HiddenFromDir

_RESCALE = {"0028|1053": 1.0, "0028|1052": 0.0}  # Rescale Slope, Rescale Intercept: what changes nothing


class LegacyVolumeMethods(_Methods):
    """Methods that a volume (..., D, H, W) had in faimed3d 0.0.6."""

    __slots__ = ()

    @classmethod
    def load(cls, *args: Any, **kwargs: Any) -> Self:
        """Read a volume; today ``create``, whose arguments it takes."""
        return cls.create(*args, **kwargs)

    @classmethod
    def from_sitk(cls, *args: Any, **kwargs: Any) -> Self:
        """Turn a SimpleITK image into a volume; today ``create``, whose arguments it takes."""
        return cls.create(*args, **kwargs)

    @classmethod
    def read_dicom_series(cls, *args: Any, **kwargs: Any) -> Self:
        """Read a DICOM folder; today ``create``, whose arguments it takes."""
        return cls.create(*args, **kwargs)

    def to_numpy(self) -> np.ndarray:
        """The voxels as a numpy array, which shares their memory where they are on the CPU."""
        return self.detach().cpu().as_subclass(Tensor).numpy()

    def resize_3d(
        self,
        size: Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: str | None = None,
        align_corners: bool = True,
        recompute_scale_factor: bool | None = None,
    ) -> Self:
        """Resize to ``size`` (D, H, W), or by a factor; today ``resize_3d_tensor``.

        Args:
            size: voxels (D, H, W).
            scale_factor: the new size as a factor of the old one: one number or three (D, H, W).
            mode, align_corners: must be what it does: 'trilinear' of images, 'nearest' of masks; corner-aligned.
            recompute_scale_factor: makes no difference.
        """
        _check_mode(mode, "trilinear", is_mask(self), "resize_3d")
        if not align_corners:
            raise ValueError("resize_3d is corner-aligned: align_corners=False would move voxels; use resample")
        if (size is None) == (scale_factor is None):
            raise ValueError(f"resize_3d takes either size or scale_factor, got {size!r} and {scale_factor!r}")
        if scale_factor is not None:
            size = scaled_size(self.shape[-3:], scale_factor)
        assert size is not None
        return spatial.resize_3d_tensor(self, size)

    def pad_to(self, new_size: Sequence[int], value: float | None = None) -> Self:
        """Pad to at least ``new_size`` (D, H, W), equally at both ends; today ``pad_or_crop``, which crops as well.

        Args:
            new_size: voxels (D, H, W).
            value: what fills new voxels. Default: the smallest value of an image, 0 for masks.
        """
        if len(new_size) != 3:
            raise ValueError(f"new_size must be three sizes (D, H, W), got {new_size!r}")
        return spatial.pad_or_crop(self, [max(n, m) for n, m in zip(self.shape[-3:], new_size, strict=True)], value)

    def size_correction(self, new_spacing: float = 1) -> Self:
        """Resample the planes (H, W) to ``new_spacing`` mm, the slices stay; today ``resample``, to any spacing."""
        return spatial.resample(self, (new_spacing, new_spacing, self.get_spacing()[2]))

    def rescale_pixeldata(self) -> Self:
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

    def mean_scale(self) -> Self:
        """Mean 0, std 1 of the voxels above the minimum; today ``faimed3d.intensity.mean_scale`` or ``MeanScale``."""
        return intensity.mean_scale(self)

    def median_scale(self) -> Self:
        """(x - median) / IQR of the voxels above the minimum; today ``intensity.median_scale`` or ``MedianScale``."""
        return intensity.median_scale(self)

    def max_scale(self) -> Self:
        """Minimum to 0 and maximum to 1; today ``faimed3d.intensity.max_scale`` or ``MaxScale``."""
        return intensity.max_scale(self)

    def rescale(self, new_min: float = 0, new_max: float = 1) -> Self:
        """Minimum to ``new_min`` and maximum to ``new_max``; today ``intensity.rescale`` or ``RescaleIntensity3D``."""
        return intensity.rescale(self, new_min, new_max)

    def scale_to(self, mean: float, std: float) -> Self:
        """Shift and scale to this mean and std; today ``faimed3d.intensity.match_moments``."""
        return intensity.match_moments(self, mean, std)

    def hist_scaled_pt(self, brks: Tensor | None = None) -> Self:
        """:meth:`hist_scaled`, which works on every device by itself."""
        return self.hist_scaled(brks)

    def piecewise_hist(self, landmark_percs: Sequence[float], standard_scale: Sequence[float]) -> Self:
        """Bring percentiles of the voxels above the mean to standard values (Nyul); today ``StandardScale.apply``.

        Args:
            landmark_percs: percentiles, 0..100, rising.
            standard_scale: the value of each.
        """
        if not len(landmark_percs) == len(standard_scale) >= 2:
            raise ValueError(
                "landmark_percs and standard_scale must have the same length, at least 2, got "
                f"{len(landmark_percs)} and {len(standard_scale)}"
            )
        return intensity.match_landmarks(self, intensity.landmarks_of(self, landmark_percs, "mean"), standard_scale)

    def gaussian_noise(self, std: float) -> Self:
        """Add noise of ``std``, in parts of that of each channel; at random ``RandomNoise3D``."""
        return intensity.add_noise(self, std)

    def adjust_brightness(self, beta: float) -> Self:
        """Add ``beta``, in parts of each channel's std (once: in image units); at random ``RandomBrightness3D``."""
        return intensity.adjust_brightness(self, beta)

    def adjust_contrast(self, alpha: float) -> Self:
        """Spread values about the mean by ``alpha``, within their range; at random ``RandomContrast3D``."""
        return intensity.adjust_contrast(self, alpha)

    def flip_ll_3d(self) -> Self:
        """Exchange the patient's left and right; at random ``RandomFlip3D``, which goes by storage axes."""
        return self._turned(MIRRORS["left_right"], "flip_ll_3d")

    def flip_ap_3d(self) -> Self:
        """Exchange the patient's front and back; at random ``RandomFlip3D``, which goes by storage axes."""
        return self._turned(MIRRORS["front_back"], "flip_ap_3d")

    def flip_cc_3d(self) -> Self:
        """Exchange head and feet; at random ``RandomFlip3D``, which goes by storage axes."""
        return self._turned(MIRRORS["head_feet"], "flip_cc_3d")

    def rotate_90_3d(self) -> Self:
        """Turn the patient by 90 degrees about the axis from feet to head, left to front; at random ``RandomRotate3D``.

        A true rotation, counter-clockwise in an axial slice as ``show_image_3d`` draws it.

        Raises:
            ValueError: the plane of the turn is not square, in voxels or in mm.
        """
        return self._turned(axial_rotation(1), "rotate_90_3d")

    def rotate_180_3d(self) -> Self:
        """Turn the patient by 180 degrees about the axis from feet to head; at random ``RandomRotate3D``."""
        return self._turned(axial_rotation(2), "rotate_180_3d")

    def rotate_270_3d(self) -> Self:
        """Turn the patient by 270 degrees, left to back; see :meth:`rotate_90_3d`."""
        return self._turned(axial_rotation(3), "rotate_270_3d")

    def dihedral3d(self, k: int) -> Self:
        """One of 18 flips and turns, see ``spatial.rotations.dihedral_matrix``; at random ``RandomDihedral3D``."""
        return self._turned(dihedral_matrix(k), "dihedral3d")

    def apply_along_dim(self, func: Callable[[Tensor], Tensor], dim: int) -> Self:
        """Apply a function of plain 2D tensors to every slice across the axis ``dim`` (-3, -2 or -1: D, H or W).

        The geometry is kept where the shape is. For a rotation by any angle use ``RandomRotate3DBy``, which goes by mm.
        """
        axis = dim if dim < 0 else dim - self.ndim
        if axis not in (-1, -2, -3):
            raise ValueError(f"dim must be one of the last three axes (D, H, W) of {tuple(self.shape)}, got {dim!r}")
        return self.with_voxels(torch.stack([func(one) for one in self.as_subclass(Tensor).unbind(axis)], axis))

    def grid_tfms(self, func: Callable[[int, int], Sequence[Tensor]], mode: str | None = None) -> Self:
        """Warp every plane (H, W) alike, by a function such as ``warp_3d``; today ``RandomWarp3D`` and its like.

        Images are interpolated linearly, masks by the nearest voxel; beyond the edge the plane goes on mirrored.

        Args:
            func: ``(h, w) -> (rows, columns)``, where to sample for each voxel of a plane, (H, W) each, -1 at the first
                and 1 at the last centre.
            mode: must be what it does: 'bilinear' of images, 'nearest' of masks.
        """
        _check_mode(mode, "bilinear", is_mask(self), "grid_tfms")
        x = self.as_subclass(Tensor)
        nearest = is_mask(self)
        planes = x if x.dtype in (torch.float32, torch.float64) else x.to(torch.float64 if nearest else torch.float32)
        planes = planes.reshape(-1, *x.shape[-3:])
        rows, columns = func(*x.shape[-2:])
        positions = torch.stack([columns, rows], -1).to(planes).expand(len(planes), -1, -1, -1)
        mode = "nearest" if nearest else "bilinear"
        warped = F.grid_sample(planes, positions, mode, padding_mode="reflection", align_corners=True).reshape(x.shape)
        return self.with_voxels(warped.to(x.dtype) if nearest else warped)

    def _turned(self, matrix: Tensor | Sequence[Sequence[int]], name: str) -> Self:
        grid = current_grid(self)
        geometries = set(grid.flat) if isinstance(grid, np.ndarray) else {grid}
        known = [geometry for geometry in geometries if geometry is not None]
        if len(known) < len(geometries):
            raise ValueError(
                f"{name} is said of the patient's sides, and this {'x'.join(map(str, self.shape))} tensor has no "
                "geometry that tells them. RandomFlip3D, RandomRotate3D and RandomDihedral3D go by storage axes"
            )
        found = {tuple(map(tuple, to_storage_axes(matrix, geometry).tolist())) for geometry in known}
        if len(found) > 1:
            raise ValueError(
                f"{name} of a batch whose items are stored in different orientations: turn each item, or put "
                "Reorient3D among the item transforms"
            )
        return self.with_voxels(rotate_in_patient(self.as_subclass(Tensor), matrix, known[0]))


class LegacyMaskMethods(_Methods):
    """Methods that a mask (..., D, H, W) had in faimed3d 0.0.6 beside those of an image."""

    __slots__ = ()

    def clamp_to_range(self, lwr: float, upr: float) -> Self:
        """Bring labels below ``lwr`` to it and those above ``upr`` to that; today ``t.clamp`` or ``ClampMask3D``."""
        return self.clamp(lwr, upr)

    def reduce_classes(self, classes: Sequence[Any] | Mapping[float, float]) -> Self:
        """Merge and renumber classes by a fixed table; today ``ReduceClasses``.

        Args:
            classes: a list, whose entries become 1, 2, 3, ... in turn and all else 0, the same in every patient; or
                ``{old: new}``.
        """
        return reduce_classes(self, classes)


def _check_mode(mode: str | None, linear: str, of_mask: bool, name: str) -> None:
    """Refuse an interpolation that is not done."""
    done = "nearest" if of_mask else linear
    if mode not in (None, done) and not (of_mask and mode == linear):  # 0.0.6 rounded what it had blended
        raise ValueError(f"{name} interpolates {'masks' if of_mask else 'images'} by {done!r}, not by {mode!r}")
