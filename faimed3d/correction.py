"""Correct images before training, once and to files: the uneven sensitivity of MR coils (N4), local contrast.

Both take seconds to minutes for a volume, so they are no transforms of a loader: :class:`ImageCorrectionWrapper` writes
the result to a file beside the source. The filters are SimpleITK's; nothing passes through whole numbers.
"""

from __future__ import annotations

import numbers
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from faimed3d.io.formats import volume_suffix
from faimed3d.volume import TensorDicom3D, TensorMask3D

__all__ = ["ImageCorrectionWrapper", "correct_bias_field", "equalize_locally"]

_COARSE_MM = 4  # voxels on which the field is fitted: it changes over centimetres
_LEAST_VOXELS = 8  # along an axis of the grid on which the field is fitted


def correct_bias_field(t, mask=None, iterations=20, levels=3, shrink=None):
    """Divide an MR image by the smooth field of its coil's sensitivity, which the N4 algorithm finds in it.

    N. J. Tustison et al., "N4ITK: Improved N3 Bias Correction", IEEE TMI 29 (2010). The field is fitted on coarse
    voxels and applied to all; its mean logarithm in the mask is 0, so values keep their size.

    Args:
        t: image (D, H, W) or (C, D, H, W) with a geometry, no value below 0; every channel is corrected on its own.
        mask: voxels (D, H, W) to fit the field on, where not 0. Default: those above Otsu's threshold.
        iterations: at most, at each level; 3, as faimed3d 0.0.6 had, leave most of the field.
        levels: of refinement; each halves the distance of the field's control points.
        shrink: voxels (D, H, W) that become one for the fit, or one number. Default: as make voxels of about 4 mm.

    Returns:
        ``TensorDicom3D`` of the shape and place of ``t``, float32 (float64 stays float64). NaN stays NaN.

    Raises:
        TypeError: ``t`` is a mask, or no ``TensorDicom3D``.
        ValueError: a value is below 0 (CT has no such field), there is nothing to fit on, or no geometry.
    """
    x, geometry = _image(t, "correct_bias_field")
    factors = _shrink(shrink, geometry)
    channels = x.reshape(-1, *geometry.shape)
    inside = None if mask is None else _array(mask) != 0
    if inside is not None and inside.shape != geometry.shape:
        raise ValueError(f"the mask has {inside.shape} voxels (D, H, W), the image {geometry.shape}")
    fields = [_field(channel, inside, factors, iterations, levels) for channel in channels]
    field = torch.from_numpy(np.stack(fields)).reshape(x.shape)
    return t.with_voxels((x / field.to(x.dtype)).to(t.device))


def equalize_locally(t, radius=5, alpha=0.3, beta=0.3):
    """Adaptive histogram equalisation: raise the contrast in the neighbourhood of each voxel, within the old range.

    J. A. Stark, "Adaptive Image Contrast Enhancement Using Generalizations of Histogram Equalization", IEEE TIP 9,
    2000. The time grows with the third power of the radius: 5 takes about a minute for a million voxels.

    Args:
        t: image (D, H, W) or (C, D, H, W) with a geometry.
        radius: of the neighbourhood in voxels, one number or (D, H, W).
        alpha: from 0, plain equalisation in the neighbourhood, to 1, what differs from its mean alone.
        beta: from 0, without the neighbourhood's mean, to 1, with it: alpha 1 and beta 1 leave the image as it is.

    Returns:
        ``TensorDicom3D`` of the shape and place of ``t``, float32 (float64 stays float64).

    Raises:
        TypeError: ``t`` is a mask, or no ``TensorDicom3D``.
        ValueError: a voxel is NaN or infinite, or no geometry.
    """
    x, geometry = _image(t, "equalize_locally")
    if not x.isfinite().all():
        raise ValueError("equalize_locally needs finite values: the image holds NaN or infinite ones")
    sides = _three("radius", radius, 0)
    out = [
        sitk.GetArrayFromImage(
            sitk.AdaptiveHistogramEqualization(sitk.GetImageFromArray(channel), sides[::-1], alpha, beta)
        )
        for channel in x.reshape(-1, *geometry.shape).numpy()
    ]
    return t.with_voxels(torch.from_numpy(np.stack(out)).reshape(x.shape).to(t.device))


class ImageCorrectionWrapper:
    """Correct an image and write it to a file: N4, then local contrast, of which either can be left out.

    Args:
        n4_max_num_it: iterations of N4 at each of three levels.
        hist_radius, hist_alpha, hist_beta: see :func:`equalize_locally`.
        do_n4, do_hist: what to do.

    >>> ImageCorrectionWrapper(do_hist=False)
    ImageCorrectionWrapper(n4_max_num_it=20, do_hist=False)
    """

    def __init__(
        self, n4_max_num_it=20, hist_radius=(5, 5, 5), hist_alpha=0.3, hist_beta=0.3, do_n4=True, do_hist=True
    ):
        self.n4_max_num_it, self.do_n4, self.do_hist = n4_max_num_it, do_n4, do_hist
        self.hist_radius, self.hist_alpha, self.hist_beta = tuple(hist_radius), hist_alpha, hist_beta

    def __call__(self, file, fn_out=None):
        """Correct one image.

        Args:
            file: a file, a DICOM folder, or a ``TensorDicom3D``.
            fn_out: file to write, whole or not at all. Default: beside ``file``, ``scan.nii.gz`` to
                ``scan_corrected.nii.gz``, also for a folder ``scan``.

        Returns:
            The path of the file written.

        Raises:
            ValueError: a tensor without ``fn_out``.
        """
        volume = file if isinstance(file, Tensor) else TensorDicom3D.create(file)
        if fn_out is None:
            fn_out = self._beside(file)
        if self.do_n4:
            volume = correct_bias_field(volume, iterations=self.n4_max_num_it)
        if self.do_hist:
            volume = equalize_locally(volume, self.hist_radius, self.hist_alpha, self.hist_beta)
        volume.save(fn_out)
        return Path(fn_out)

    def __repr__(self):
        left_out = "".join(f", {name}=False" for name in ("do_n4", "do_hist") if not getattr(self, name))
        return f"ImageCorrectionWrapper(n4_max_num_it={self.n4_max_num_it}{left_out})"

    @staticmethod
    def _beside(file):
        if isinstance(file, Tensor):
            raise ValueError("a tensor has no file beside which to write: pass fn_out")
        path = Path(file)
        suffix = "" if path.is_dir() else volume_suffix(path.name)
        return path.with_name(f"{path.name[: len(path.name) - len(suffix)]}_corrected.nii.gz")


def _image(t, what):
    """The voxels on the CPU as floats, and the geometry."""
    if not isinstance(t, TensorDicom3D) or isinstance(t, TensorMask3D):
        raise TypeError(f"{what} takes an image, a TensorDicom3D, got {type(t).__name__}")
    geometry = t.require_geometry(what)
    x = t.detach().cpu().as_subclass(Tensor)
    return (x if x.dtype in (torch.float32, torch.float64) else x.float()).contiguous(), geometry


def _array(t):
    return t.detach().cpu().as_subclass(Tensor).numpy() if isinstance(t, Tensor) else np.asarray(t)


def _shrink(shrink, geometry):
    if shrink is None:
        steps = zip(geometry.spacing[::-1], geometry.shape, strict=True)
        return tuple(max(1, min(round(_COARSE_MM / mm), n // _LEAST_VOXELS)) for mm, n in steps)
    return _three("shrink", shrink, 1)


def _three(name, value, least):
    """``value`` as whole numbers of voxels (D, H, W)."""
    sides = (value,) * 3 if isinstance(value, numbers.Real) else tuple(value)
    if len(sides) != 3 or not all(isinstance(n, numbers.Integral) and n >= least for n in sides):
        raise ValueError(f"{name} must be a whole number of at least {least}, or three (D, H, W), got {value!r}")
    return tuple(int(n) for n in sides)


def _field(channel, inside, factors, iterations, levels):
    """The sensitivity at every voxel of one channel (D, H, W), as a float64 array."""
    values = np.nan_to_num(channel.numpy().astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    if values.min() < 0:
        raise ValueError(
            f"correct_bias_field is for MR magnitudes, and this image has values down to {values.min():g}; a CT has no "
            "coil whose field could be corrected"
        )
    # The fit counts in parts of the field of view: voxels of 1 give the same field whatever digits a spacing ends in.
    image = sitk.GetImageFromArray(values)
    if inside is None:
        inside = values > 0
        if values.max() > values.min():
            inside = sitk.GetArrayFromImage(sitk.OtsuThreshold(image, 0, 1, 200)) != 0
    inside = inside & (values > 0)
    if inside.sum() < 2 or values[inside].min() == values[inside].max():
        raise ValueError("there is nothing to fit the field on: the mask holds no two different values above 0")
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    corrector.SetMaximumNumberOfIterations([iterations] * levels)
    step = factors[::-1]
    corrector.Execute(sitk.Shrink(image, step), sitk.Shrink(sitk.GetImageFromArray(inside.astype(np.uint8)), step))
    logarithm = sitk.GetArrayFromImage(corrector.GetLogBiasFieldAsImage(image)).astype(np.float64)
    return np.exp(logarithm - logarithm[inside].mean())
