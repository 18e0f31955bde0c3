"""Items out of a cache: patches for training, and whole cases for validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from faimed3d.augment import RandomSpatial3D
from faimed3d.augment.base import SpatialTransform3D
from faimed3d.augment.patch_warp import PatchWarp, sampling_grids
from faimed3d.augment.warp import spatial_frame
from faimed3d.data.blocks import MaskReader
from faimed3d.data.label_regions import LabelRegions
from faimed3d.geometry import Geometry
from faimed3d.masks import swap_labels
from faimed3d.patches.drawing import Triple, case_of, draw_corner
from faimed3d.volume import TensorDicom3D, TensorMask3D


class CachedCases:
    """The cases of one side of a split, as items (image (C, D, H, W), mask (D, H, W)).

    Args:
        cases: ``CaseFile``s.
        reader: knows the classes, and the label that is none.
        regions: that batches make of the labels; None where they stay labels.
        items: their rows of the table, from which fastai's ``Interpretation`` reads them again.
    """

    split_idx = 1
    n_inp = 1

    def __init__(
        self, cases: Sequence[Any], reader: MaskReader, regions: LabelRegions | None = None, items: Any = None
    ) -> None:
        self.cases, self.reader, self.regions = list(cases), reader, regions
        if items is not None:
            self.items = items

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, k: int) -> tuple[TensorDicom3D, TensorMask3D]:
        image, mask = self.cases[k].whole()
        assert mask is not None  # the loaders have looked
        return image, mask

    def new_empty(self) -> CachedCases:
        """The same without cases, for export."""
        return type(self)([], self.reader, self.regions)

    def set_split_idx(self, i: int) -> Any:
        """Of fastai's ``tta``: refused, as the transforms that move patches are none of whole cases.

        Args:
            i: as of fastai.
        """
        raise ValueError(
            "learn.tta() has no flips for whole cases of a cache, whose transforms act where patches are cut: use "
            "learn.predict_volume(source, tta=True), or learn.evaluate(tta=True)"
        )

    @property
    def c(self) -> int | None:
        """Number of classes, the background included; or of regions."""
        return self.reader.c if self.regions is None else self.regions.c

    @property
    def vocab(self) -> Any:  # as fastai's interpretations take it
        """Names of the classes, or of the regions."""
        return self.reader.vocab if self.regions is None else self.regions.vocab

    @property
    def ignore_index(self) -> int | None:
        """The label that is no class."""
        return self.reader.ignore_index


class Drawn(NamedTuple):
    """What is random about a patch.

    Args:
        case: that it is of.
        geometry: where it lies.
        patch: how it is taken out of the case.
        swapped: pairs of labels that are exchanged.
    """

    case: Any
    geometry: Geometry
    patch: PatchWarp
    swapped: Mapping[int, int] | None


class Patches(CachedCases):
    """Patches drawn from cases: an item follows from its number (``numbers_of_epoch``), whoever makes it.

    Args:
        cases, reader, regions: as of :class:`CachedCases`.
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
        regions: LabelRegions | None = None,
    ) -> None:
        super().__init__(cases, reader, regions)
        self.wanted = None if regions is None else {label for part in regions.parts for label in part}
        self.size, self.length, self.foreground, self.spatial = size, length, foreground, spatial

    def __len__(self) -> int:
        return self.length

    @property
    def whole(self) -> CachedCases:
        """The cases that patches are drawn from."""
        return CachedCases(self.cases, self.reader, self.regions)

    def new_empty(self) -> Patches:
        """The same without cases, for export."""
        return Patches([], self.reader, self.size, 0, self.foreground, self.spatial, self.regions)

    def __getitem__(self, number: int) -> tuple[TensorDicom3D, TensorMask3D]:
        drawn = self.draw(number)
        (voxels,), (labels,) = self.sample([drawn])
        return TensorDicom3D(voxels, drawn.geometry), TensorMask3D(labels, drawn.geometry)

    def draw(self, number: int) -> Drawn:
        """What is random about a patch, by torch's random numbers.

        Args:
            number: of :func:`numbers_of_epoch`.
        """
        case = self.cases[case_of(number, len(self.cases))]
        corner = draw_corner(case, self.size, self.foreground, self.ignore_index, self.wanted)
        geometry = case.geometry.regrid(self.size, offset=corner)
        moved: dict[str, Any] = {}
        if self.spatial is not None and torch.rand(()).item() < self.spatial.item_p:
            moved = self.spatial.draw([geometry])
        frame = moved["frames"][0] if moved else spatial_frame(geometry)
        fill = None if self.spatial is None else self.spatial.fill
        patch = PatchWarp(self.size, corner, case.shape[-3:], frame, moved.get("warp"), fill)
        mirrored = moved.get("mirrored")
        swapped = moved["swap_labels"] if mirrored is not None and mirrored.any() else None
        return Drawn(case, geometry, patch, swapped)

    def sample(self, drawn: Sequence[Drawn]) -> tuple[list[Tensor], list[Tensor]]:
        """Read and sample patches: images (C, D, H, W) and masks (D, H, W), plain tensors where the cases lie.

        Args:
            drawn: of :meth:`draw`.
        """
        images, masks = [], []
        read = [one.case.read(*one.patch.box) for one in drawn]
        parts = [(torch.as_tensor(image), self._labels(torch.as_tensor(mask))) for image, mask in read]
        grids = sampling_grids([one.patch for one in drawn], parts[0][0].device)
        for one, (image, mask), grid in zip(drawn, parts, grids, strict=True):
            images.append(one.patch.sample(image, "linear", torch.tensor(one.case.lowest), grid))
            labels = one.patch.sample(mask[None], "nearest", self.ignore_index or 0, grid)[0]
            masks.append(labels if one.swapped is None else swap_labels(labels, one.swapped))
        return images, masks

    def _labels(self, labels: Tensor) -> Tensor:
        """The mask in a type that holds the label outside of the case."""
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
