"""Items out of a cache: patches for training, and whole cases for validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from faimed3d.augment import RandomSpatial3D
from faimed3d.augment.base import SpatialTransform3D
from faimed3d.augment.patch_warp import PatchWarp
from faimed3d.augment.warp import spatial_frame
from faimed3d.data.blocks import MaskReader
from faimed3d.masks import swap_labels
from faimed3d.patches.drawing import Triple, case_of, draw_corner
from faimed3d.volume import TensorDicom3D, TensorMask3D


class CachedCases:
    """The cases of one side of a split, as items (image (C, D, H, W), mask (D, H, W)).

    Args:
        cases: ``CaseFile``s.
        reader: knows the classes, and the label that is none.
    """

    split_idx = 1
    n_inp = 1

    def __init__(self, cases: Sequence[Any], reader: MaskReader) -> None:
        self.cases, self.reader = list(cases), reader

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, k: int) -> tuple[TensorDicom3D, TensorMask3D]:
        image, mask = self.cases[k].whole()
        assert mask is not None  # the loaders have looked
        return image, mask

    def new_empty(self) -> CachedCases:
        """The same without cases, for export."""
        return type(self)([], self.reader)

    @property
    def c(self) -> int | None:
        """Number of classes, the background included."""
        return self.reader.c

    @property
    def vocab(self) -> Any:  # as fastai's interpretations take it
        """Names of the classes."""
        return self.reader.vocab

    @property
    def ignore_index(self) -> int | None:
        """The label that is no class."""
        return self.reader.ignore_index


class Patches(CachedCases):
    """Patches drawn from cases: an item follows from its number (``numbers_of_epoch``), whoever makes it.

    Args:
        cases, reader: as of :class:`CachedCases`.
        size: voxels of a patch.
        length: patches in an epoch.
        foreground: share of patches around a class.
        spatial: moves the content of a patch; None leaves it as it is.
    """

    split_idx = 0

    def __init__(
        self,
        cases: Sequence[Any],
        reader: MaskReader,
        size: Triple,
        length: int,
        foreground: float,
        spatial: SpatialTransform3D | None = None,
    ) -> None:
        super().__init__(cases, reader)
        self.size, self.length, self.foreground, self.spatial = size, length, foreground, spatial

    def __len__(self) -> int:
        return self.length

    @property
    def whole(self) -> CachedCases:
        """The cases that patches are drawn from."""
        return CachedCases(self.cases, self.reader)

    def new_empty(self) -> Patches:
        """The same without cases, for export."""
        return Patches([], self.reader, self.size, 0, self.foreground, self.spatial)

    def __getitem__(self, number: int) -> tuple[TensorDicom3D, TensorMask3D]:
        case = self.cases[case_of(number, len(self.cases))]
        corner = draw_corner(case, self.size, self.foreground, self.ignore_index)
        geometry = case.geometry.regrid(self.size, offset=corner)
        drawn = None
        if self.spatial is not None and torch.rand(()).item() < self.spatial.item_p:
            drawn = self.spatial.draw([geometry])
        patch = PatchWarp(
            self.size,
            corner,
            case.shape[-3:],
            spatial_frame(geometry) if drawn is None else drawn["frames"][0],
            None if drawn is None else drawn["warp"],
            None if self.spatial is None else self.spatial.fill,
        )
        image, mask = case.read(*patch.box)
        grids: dict[Any, Tensor] = {}
        voxels = patch.sample(torch.as_tensor(image), "linear", torch.tensor(case.lowest), grids)
        labels = patch.sample(self._labels(mask)[None], "nearest", self.ignore_index or 0, grids)[0]
        if drawn is not None and drawn["mirrored"] is not None and drawn["mirrored"].any():
            labels = swap_labels(labels, drawn["swap_labels"])
        return TensorDicom3D(voxels, geometry), TensorMask3D(labels, geometry)

    def _labels(self, mask: Any) -> Tensor:
        """The mask as a tensor of a type that holds the label outside of the case."""
        labels = torch.as_tensor(mask)
        return labels if 0 <= (self.ignore_index or 0) <= 255 else labels.to(torch.int32)


def merged_spatial(transforms: Sequence[Any]) -> SpatialTransform3D | None:
    """Several transforms that move the content as one, with one resampling; None for none.

    Args:
        transforms: random spatial transforms, in the order in which they act.

    Raises:
        ValueError: two are elastic, or fill what lies outside in different ways.
    """
    if len(transforms) < 2:
        return transforms[0] if transforms else None
    fills = {transform.fill for transform in transforms} - {None}
    if len(fills) > 1:
        named = sorted(map(str, fills))
        raise ValueError(
            f"the spatial transforms of patches act as one and fill what lies outside in one way, got {named}"
        )
    return RandomSpatial3D(*transforms, fill=fills.pop() if fills else None)
