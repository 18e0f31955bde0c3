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

from faimed3d.volume import TensorDicom3D

__all__ = ["StandardScale", "percentiles_of"]


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
            items: tensors, or files and DICOM folders, which are read one after the other. A constant image says
                nothing and is left out.
            percentiles: the landmarks.
            foreground: see the class.
            low, high: standard values of the first and last landmark.
        """
        found = []
        for item in items:
            x = item if isinstance(item, torch.Tensor) else TensorDicom3D.create(item)
            places = np.array(_landmarks(x.as_subclass(torch.Tensor), percentiles, foreground))
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
        """Return ``x`` with its landmarks at the standard values, piecewise linear between and straight on beyond them.

        Args:
            x: plain tensor of any shape. A constant one becomes the middle of the scale; NaN stays NaN.

        Returns:
            float32 tensor (float64 stays float64).
        """
        x = x if x.dtype in (torch.float32, torch.float64) else x.float()
        places, index = np.unique(_landmarks(x, self.percentiles, self.foreground), return_index=True)
        values = np.array(self.values)[index]
        if len(places) < 2:
            return torch.where(x.isfinite(), (self.values[0] + self.values[-1]) / 2, x)
        slopes = torch.from_numpy(np.diff(values) / np.diff(places)).to(x)
        places, values = torch.from_numpy(places).to(x), torch.from_numpy(values).to(x)
        piece = torch.bucketize(x, places[1:-1].contiguous(), right=True)
        return (x - places[piece]).mul_(slopes[piece]).add_(values[piece])

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


def percentiles_of(x, percentiles):
    """Return percentiles (0..100) of the finite voxels of a tensor as floats; zeros where there is none."""
    finite = x[x.isfinite()].cpu().numpy()
    return tuple(np.percentile(finite, percentiles).tolist()) if finite.size else (0.0,) * len(percentiles)


def _landmarks(x, percentiles, foreground):
    finite = x[x.isfinite()]
    if finite.numel() and foreground != "all":
        threshold = finite.min() if foreground == "minimum" else finite.double().mean()
        above = finite[finite > threshold]
        finite = above if above.numel() else finite
    return percentiles_of(finite, percentiles)
