"""Standardise histograms (Nyul): learn from many images where landmarks of the histogram lie, bring each image there.

L. G. Nyul, J. K. Udupa and X. Zhang, "New variants of a method of MRI scale standardization", IEEE TMI 19 (2000).
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from faimed3d.intensity.percentiles import landmarks_of, match_landmarks
from faimed3d.volume import TensorDicom3D

__all__ = ["StandardScale", "find_standard_scale", "standard_scale_from_filelist"]


@dataclass(frozen=True)
class StandardScale:
    """Where the percentiles of an image's foreground shall lie: a fitted, saved value.

    Args:
        percentiles: increasing, 0..100.
        values: the standard value of each, increasing.
        foreground: which voxels the percentiles are of: ``'minimum'`` for those above the smallest value, ``'mean'``
            for those above the mean, ``'all'``.

    >>> scale = StandardScale.fit([torch.arange(101.0), 10 * torch.arange(101.0)], (0, 50, 100), foreground="all")
    >>> scale.values
    (0.0, 50.0, 100.0)
    >>> scale.apply(torch.tensor([0.0, 1.0, 4.0]))
    tensor([  0.,  50., 100.])
    """

    percentiles: tuple[float, ...]
    values: tuple[float, ...]
    foreground: str = "minimum"

    def __post_init__(self):
        if len(self.percentiles) != len(self.values) or len(self.values) < 2:
            raise ValueError(
                "percentiles and values must be as many, at least 2, got "
                f"{len(self.percentiles)} and {len(self.values)}"
            )
        for name in ("percentiles", "values"):
            numbers = tuple(float(v) for v in getattr(self, name))
            if not np.isfinite(numbers).all() or (np.diff(numbers) <= 0).any():
                raise ValueError(f"{name} must be increasing finite numbers, got {numbers}")
            object.__setattr__(self, name, numbers)
        if not 0 <= self.percentiles[0] <= self.percentiles[-1] <= 100:
            raise ValueError(f"percentiles must lie in 0..100, got {self.percentiles}")
        if self.foreground not in ("minimum", "mean", "all"):
            raise ValueError(f"foreground must be 'minimum', 'mean' or 'all', got {self.foreground!r}")

    @classmethod
    def fit(cls, items, percentiles=(1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99), foreground="minimum", low=0, high=100):
        """Learn the scale: the mean place of each landmark, with the outer ones of every image at ``low`` and ``high``.

        Args:
            items: images, as tensors, or as files and DICOM folders, which are read one after the other. A constant
                image says nothing and is left out.
            percentiles: the landmarks.
            foreground: see the class.
            low, high: standard values of the first and last landmark.
        """
        found = []
        for item in items:
            x = item if isinstance(item, torch.Tensor) else TensorDicom3D.create(item)
            places = np.array(landmarks_of(x.as_subclass(torch.Tensor), percentiles, foreground))
            if places[-1] > places[0]:
                found.append((places - places[0]) / (places[-1] - places[0]))
        if not found:
            raise ValueError("no scale: every item is constant, or there are none")
        values = low + (high - low) * np.mean(found, 0)
        # landmarks that coincide in every image keep a tiny distance, so that the scale can be inverted
        step = 1e-6 * (high - low)
        values = np.maximum.accumulate(values - step * np.arange(len(values))) + step * np.arange(len(values))
        return cls(tuple(percentiles), tuple(values.tolist()), foreground)

    def apply(self, x):
        """Return ``x`` with its landmarks at the standard values, by ``match_landmarks``.

        Args:
            x: plain tensor of any shape. A constant one becomes the middle of the scale; NaN stays NaN.

        Returns:
            float32 tensor (float64 stays float64).
        """
        return match_landmarks(x, landmarks_of(x, self.percentiles, self.foreground), self.values)

    def save(self, path):
        """Write it as JSON: the whole file, or none."""
        path = Path(path)
        draft = path.with_name(path.name + ".part")
        draft.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        os.replace(draft, path)

    @classmethod
    def load(cls, path):
        """Read what :meth:`save` wrote."""
        try:
            stored = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls(tuple(stored["percentiles"]), tuple(stored["values"]), stored["foreground"])
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} holds no standard scale as StandardScale.save writes it: {error!r}") from error


def find_standard_scale(inputs, i_min=1, i_max=99, i_s_min=1, i_s_max=100, l_percentile=10, u_percentile=90, step=10):
    """Learn a standard scale with the landmarks of faimed3d 0.0.6; :meth:`StandardScale.fit` is the name of today.

    The foreground is what lies above the mean. The scale maps percentile ``i_min`` of each image to ``i_s_min`` and
    ``i_max`` to ``i_s_max`` (0.0.6 had the two exchanged).

    Args:
        inputs: list of images: tensors, files, DICOM folders; or one image (D, H, W) or (C, D, H, W), or a batch
            (B, C, D, H, W).
        i_min, i_max: first and last percentile.
        i_s_min, i_s_max: their values on the standard scale.
        l_percentile, u_percentile, step: first and last of the percentiles between, and their distance.

    Returns:
        ``StandardScale``; its ``values`` and ``percentiles`` are what 0.0.6 returned as a pair.

    >>> find_standard_scale([torch.arange(1001.0)]).values[::5]
    (1.0, 50.5, 100.0)
    """
    if isinstance(inputs, torch.Tensor):
        inputs = inputs if inputs.ndim == 5 else [inputs]
    percentiles = (i_min, *range(l_percentile, u_percentile + 1, step), i_max)
    return StandardScale.fit(inputs, percentiles, "mean", i_s_min, i_s_max)


def standard_scale_from_filelist(fns):
    """Learn a standard scale from files and DICOM folders: :func:`find_standard_scale`, under its name of 0.0.6."""
    return find_standard_scale(fns)
