"""Masks that are contours: an RT Structure Set becomes voxels when the image of its item is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from faimed3d.errors import UnsupportedImage
from faimed3d.io.formats import structure_set_in
from faimed3d.io.source_header import SourceHeader
from faimed3d.volume import TensorDicom3D, TensorMask3D


@dataclass(frozen=True)
class Contours:
    """The structure set of an item, whose ROIs become labels by their names.

    Attributes:
        path: of its file.
        codes: names of the labels from 0, the background, on.
        regions: names of the ROIs that make each region, where masks of regions are wanted.
    """

    path: str
    codes: tuple[str, ...] = ()
    regions: tuple[tuple[str, ...], ...] = ()

    def on(self, image: TensorDicom3D) -> TensorMask3D:
        """The mask on the grid of the image: (D, H, W) of labels, or of regions (R, D, H, W) of 0 and 1.

        The ROI of a name has the place of that name in the codes as its label.
        """
        from faimed3d.dicom.structure_sets.reading import read_named  # pydicom takes time to import

        if self.regions:
            names = dict(enumerate(dict.fromkeys(name for part in self.regions for name in part), 1))
            found, geometry, known = read_named(self.path, image, names, separate=True)
            place = {names[label]: k for k, label in enumerate(label for label in known if label)}
            parts = [found[[place[name] for name in part if name in place]].any(0) for part in self.regions]
            array = np.stack(parts).astype(np.uint8)
        else:
            array, geometry, _ = read_named(self.path, image, dict(list(enumerate(self.codes))[1:]))
        mask = TensorMask3D(torch.from_numpy(array), geometry)
        mask._header = SourceHeader((self.path,), "dicom")
        return mask


def contours_of(source: Any, codes: Sequence[str] | None) -> Contours | None:
    """The contours that a source of a mask means, a file of a structure set or a folder with one; None for all else.

    Raises:
        UnsupportedImage: no codes, by which its ROIs are chosen.
    """
    path = structure_set_in(source) if isinstance(source, str | Path) else None
    if path is None:
        return None
    if codes is None:
        raise UnsupportedImage(
            f"{path}: an RT structure set, whose ROIs become labels by their names: pass codes=['background', 'name', "
            "...] (MaskBlock3D, SegmentationDataLoaders3D)"
        )
    return Contours(path, tuple(codes))
