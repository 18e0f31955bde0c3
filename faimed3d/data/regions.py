"""Regions as targets: masks that may overlap, such as whole tumour, core and enhancing tumour."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import torch
from fastai.data.block import TransformBlock
from fastai.data.transforms import CategoryMap
from fastcore.foundation import L
from fasttransform import Transform
from torch import Tensor

from faimed3d._keywords import strict_keywords
from faimed3d.data.block_transforms import MatchMask, check_sizes, check_whole
from faimed3d.data.blocks import SOURCES, read_labels
from faimed3d.data.contours import Contours, contours_of
from faimed3d.data.label_regions import regions_of
from faimed3d.data.segments import find_segment, inside_segment, mask_like, read_binary, segments_of
from faimed3d.data.volume_dl import VolumeDL
from faimed3d.errors import UnsupportedImage
from faimed3d.io.source_header import source_name
from faimed3d.losses import RegionLoss3D
from faimed3d.masks import label_regions
from faimed3d.volume import TensorMask3D

Regions = Mapping[str, int | str | Iterable[int | str]] | Sequence[str]  # what makes each region, or names alone


@strict_keywords
def RegionBlock3D(
    regions: Regions,
    resample_masks: bool | str = False,
    strict: bool = True,
    series: Any = None,
    like: str | None = None,
) -> TransformBlock:
    """``TransformBlock`` for regions that may overlap: targets (R, D, H, W) of 0 and 1, for a sigmoid.

    The sources of an item may be: a mask of labels, of which each region takes some; a .seg.nrrd, whose segments are
    regions; an RT Structure Set, whose ROIs are; a list of masks, one for each region; a mask of R channels. The
    loss is :class:`RegionLoss3D`. ``learn.predict_volume`` gives one mask for each region. Pictures show them laid
    over one another in their order, so list them from the outermost to the innermost.

    Args:
        regions: name -> labels (or names of segments) that make it; or names alone, of lists, channels and segments.
        resample_masks: bring each mask to the grid of its image: True by the nearest voxel, or 'linear' or 'present'
            by what a voxel holds (:func:`faimed3d.spatial.resample_like`); False makes another grid an
            error.
        strict, series: as for ``TensorMask3D.create``.
        like: as for :func:`MaskBlock3D`.

    Raises:
        ValueError: no region, or two of one name.

    >>> import numpy as np
    >>> from fastai.data.block import DataBlock
    >>> from faimed3d.data import ImageBlock3D
    >>> block = DataBlock((ImageBlock3D, RegionBlock3D({"whole": (1, 2, 3), "core": (1, 3)})),
    ...                   get_x=lambda k: np.full((2, 3, 4), k), get_y=lambda k: np.full((2, 3, 4), k % 4, np.uint8))
    >>> dls = block.dataloaders([*range(8)], bs=4, num_workers=0, device="cpu")
    >>> dls.one_batch()[1].shape, dls.vocab
    (torch.Size([4, 2, 2, 3, 4]), ['whole', 'core'])
    """
    reader = RegionReader(regions, strict, series)
    return TransformBlock(
        type_tfms=reader,
        item_tfms=[MatchMask(resample_masks, like), NameRegions(reader)],
        dl_type=VolumeDL,
        dls_kwargs={"before_batch": check_sizes},
    )


class RegionReader(Transform):
    """Read masks of regions (R, D, H, W), uint8.

    Args:
        regions, strict, series: as for :func:`RegionBlock3D`.

    Attributes:
        c: number of regions.
        vocab: their names.

    >>> RegionReader({"whole": (1, 2), "core": 2})(torch.tensor([[[0, 1, 2]]]))[:, 0, 0].tolist()
    [[0, 1, 1], [0, 0, 1]]
    """

    input_types = SOURCES

    def __init__(self, regions: Regions, strict: bool = True, series: Any = None) -> None:
        super().__init__()
        self.strict, self.series = strict, series
        if isinstance(regions, str | AbstractSet) or not len(regions):
            raise ValueError(f"regions must be names, or name -> labels, at least one; got {regions!r}")
        names = [str(name) for name in regions]
        if len(set(names)) < len(names):
            raise ValueError(f"each region needs a name of its own, got {names}")
        self.parts: list[tuple[int | str, ...]] | None = None
        if isinstance(regions, Mapping):
            parts = [(part,) if isinstance(part, int | str) else tuple(part) for part in regions.values()]
            self.parts = parts
            kinds = {isinstance(one, str) for part in parts for one in part}
            if len(kinds) != 1 or any(not part for part in parts):
                raise ValueError(
                    f"each region must be made of labels (numbers), or all of names of segments; got {dict(regions)!r}"
                )
        self.c, self.vocab = len(names), CategoryMap(names, sort=False)
        self.loss_func = RegionLoss3D()

    def encodes(self, source):
        if isinstance(source, list | tuple | L):
            return self._of_files(source)
        segments = segments_of(source)
        if segments and not self._takes_labels:
            mask = TensorMask3D.create(source, self.series, self.strict, dtype=None)
            return self._stacked(mask, [self._inside(mask, segments, part) for part in self._names()])
        if self._takes_labels:
            try:
                return label_regions(read_labels(source, strict=self.strict, series=self.series), self.parts)
            except UnsupportedImage:
                contours = contours_of(source, ())
                if contours is None:
                    raise
                raise UnsupportedImage(
                    f"{contours.path}: an RT structure set, whose ROIs have names and no labels: make each region of "
                    "names, regions={'whole': ('edema', 'core'), ...}"
                ) from None
        try:
            return self._of_channels(TensorMask3D.create(source, self.series, self.strict, dtype=None))
        except UnsupportedImage:
            contours = contours_of(source, ()) if self.series is None else None
            if contours is None:
                raise
            return Contours(contours.path, regions=tuple(self._names()))  # MatchMask makes voxels of them

    @property
    def _takes_labels(self) -> bool:
        return self.parts is not None and not isinstance(self.parts[0][0], str)

    def _names(self) -> list[tuple[str, ...]]:
        """The names of segments that make each region."""
        return [(name,) for name in self.vocab] if self.parts is None else [tuple(map(str, p)) for p in self.parts]

    def _of_files(self, sources: Sequence[Any]) -> TensorMask3D:
        if self.parts is not None:
            raise ValueError(
                f"the regions {list(self.vocab)} are made of labels or segments of one mask, but an item is a list of "
                f"{len(sources)} masks: pass their names alone, regions={list(self.vocab)}"
            )
        if len(sources) != self.c:
            raise ValueError(f"there are {self.c} regions {list(self.vocab)}, but an item has {len(sources)} masks")
        masks = read_binary(sources, self.strict, self.series)
        return self._stacked(masks[0], [mask.as_subclass(Tensor) for mask in masks])

    def _of_channels(self, mask: TensorMask3D) -> TensorMask3D:
        plain, name = mask.as_subclass(Tensor), source_name(mask)
        channels = plain[None] if plain.ndim == 3 else plain
        values = channels.unique()
        if channels.ndim != 4 or len(channels) != self.c:
            raise ValueError(
                f"{name}: has {len(channels)} channels of shape {tuple(plain.shape[-3:])}, but there are {self.c} "
                f"regions {list(self.vocab)}. Of a mask of labels say which make each region: "
                f"regions={{{self.vocab[0]!r}: (1, 2), ...}}"
            )
        if not all(value in (0, 1) for value in values.tolist()):
            raise ValueError(
                f"{name}: holds the values {values[:6].tolist()}, but masks of regions hold 0 and 1. Of a mask of "
                f"labels say which make each region: regions={{{self.vocab[0]!r}: (1, 2), ...}}"
            )
        return self._stacked(mask, list(channels))

    def _inside(self, mask: TensorMask3D, segments: Sequence, names: Iterable[str]) -> Tensor:
        inside = torch.zeros(mask.shape[-3:], dtype=torch.bool)
        for name in names:
            segment = find_segment(name, segments)
            if segment is not None:
                inside |= inside_segment(mask, segment)
                continue
            warnings.warn(
                f"{source_name(mask)}: has no segment {name!r}, so that is empty there; it has "
                f"{', '.join(known.name for known in segments)}",
                stacklevel=2,
            )
        return inside

    def _stacked(self, mask: TensorMask3D, parts: Sequence[Tensor]) -> TensorMask3D:
        return mask_like(mask, torch.stack([part != 0 for part in parts]).to(torch.uint8))


class NameRegions(Transform):
    """Let masks pass; decoded ones know the names of their regions.

    Args:
        reader: the :class:`RegionReader` that has them.
    """

    order = 90  # after the user's item transforms

    def __init__(self, reader: RegionReader) -> None:
        super().__init__()
        self.reader = reader

    def encodes(self, x: TensorMask3D):
        check_whole(x)
        if x.ndim != 4 or len(x) != self.reader.c:
            raise ValueError(
                f"{source_name(x)}: a transform turned the {self.reader.c} regions (R, D, H, W) into {tuple(x.shape)}"
            )
        return self.decodes(x)

    def decodes(self, x: TensorMask3D):
        x.codes = ["background", *self.reader.vocab]
        return x


def region_names(dls: Any) -> list[str] | None:
    """Names of the regions that are the targets of a learner's loaders; None for labels that do not overlap.

    Args:
        dls: loaders of fastai; of others nothing is known.
    """
    made = next((step for step in map(regions_of, getattr(dls, "loaders", ())) if step is not None), None)
    if made is not None:
        return list(made.vocab)
    targets = getattr(getattr(dls, "train_ds", None), "tls", [])[getattr(dls, "n_inp", 1) :]
    reader = next((step for part in targets for step in part.tfms.fs if isinstance(step, RegionReader)), None)
    return None if reader is None else list(reader.vocab)
