"""Standard scale (Nyul): learn from many images where landmarks of the histogram lie, and bring each image there.

L. G. Nyul, J. K. Udupa and X. Zhang, "New variants of a method of MRI scale standardization", IEEE TMI 19 (2000).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from torch import Tensor

from faimed3d._atomic import replace_file, unfinished_folder
from faimed3d.intensity import landmarks_of, match_landmarks
from faimed3d.intensity.operation import Volume
from faimed3d.volume import TensorDicom3D


@dataclass(frozen=True)
class StandardScale:
    """Where the percentiles of an image's foreground shall lie: a fitted, saved value.

    Args:
        percentiles: increasing, 0..100.
        values: the standard value of each, increasing.
        foreground: which voxels the percentiles are of: ``'minimum'`` for those above the smallest value, ``'mean'``
            for those above the mean, ``'all'``.

    >>> import torch
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
                "percentiles and values must come in pairs, at least 2 of them, got "
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

    def __iter__(self) -> NoReturn:
        """Refuse ``scale, percentiles = ...``, as of 0.0.6: the two are in one value now."""
        raise TypeError(
            "a StandardScale is one value, not a pair: write scale = ..., then scale.values and scale.percentiles; "
            "PiecewiseHistScaling(scale) takes it as it is"
        )

    @classmethod
    def fit(
        cls,
        items: Iterable[Tensor | Path | str],
        percentiles: Sequence[float] = (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99),
        foreground: str = "minimum",
        low: float = 0,
        high: float = 100,
    ) -> StandardScale:
        """Learn the scale: the mean of each landmark over all images, of which each is first brought to low..high.

        Args:
            items: images, as tensors, or as files and DICOM folders, which are read one after the other. A constant
                image says nothing and is left out.
            percentiles: the landmarks.
            foreground: see the class.
            low, high: standard values of the first and last landmark.
        """
        found = []
        for item in items:
            image = item if isinstance(item, Tensor) else TensorDicom3D.create(item)
            landmarks = np.array(landmarks_of(image, percentiles, foreground))
            if landmarks[-1] > landmarks[0]:
                found.append((landmarks - landmarks[0]) / (landmarks[-1] - landmarks[0]))
        if not found:
            raise ValueError("no scale: every item is constant, or there are none")
        values = low + (high - low) * np.mean(found, 0)
        # landmarks that coincide in every image keep a tiny distance, so that the scale can be inverted
        step = 1e-6 * (high - low)
        values = np.maximum.accumulate(values - step * np.arange(len(values))) + step * np.arange(len(values))
        return cls(tuple(percentiles), tuple(values.tolist()), foreground)

    def apply(self, t: Volume) -> Volume:
        """Return ``t`` with its landmarks at the standard values, by ``faimed3d.intensity.match_landmarks``.

        Args:
            t: tensor of any shape. A constant one becomes the middle of the scale; NaN stays NaN; a mask stays.

        Returns:
            Tensor of the shape and geometry of ``t``, float32 (float64 stays float64).
        """
        return match_landmarks(t, landmarks_of(t, self.percentiles, self.foreground), self.values)

    def save(self, path: Path | str) -> None:
        """Write it as JSON: the whole file, or none."""
        with unfinished_folder(path) as folder:
            draft = Path(folder) / "scale.json"
            draft.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
            replace_file(str(draft), os.path.abspath(path))

    @classmethod
    def load(cls, path: Path | str) -> StandardScale:
        """Read what :meth:`save` wrote."""
        try:
            stored = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls(tuple(stored["percentiles"]), tuple(stored["values"]), stored["foreground"])
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} holds no standard scale as StandardScale.save writes it: {error!r}") from error
