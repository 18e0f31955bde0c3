"""Regions that are made of the labels of a mask, behind all that moves or changes labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fastai.data.transforms import CategoryMap
from fasttransform import Transform

from faimed3d._arguments import is_whole
from faimed3d.masks import label_regions
from faimed3d.masks.regions import swapped_regions
from faimed3d.volume import TensorMask3D

Parts = Mapping[str, int | Iterable[int]]  # of each region the label, or the labels, that make it

_WITHOUT_CACHE = "are trained on without a cache, by SegmentationDataLoaders3D.from_df(..., regions=...)"


class LabelRegions(Transform):
    """Make regions (B, R, D, H, W), uint8, of the labels (B, D, H, W) of a batch; decoded ones know their names.

    Until then a mask has one voxel for each of the image, and is interpolated and mirrored as one of labels.

    Args:
        regions: name -> labels, of :func:`label_parts`.

    Attributes:
        c: number of regions.
        vocab: their names.
        parts: the labels of each.

    >>> import torch
    >>> step = LabelRegions({"whole": (1, 2), "core": (2,)})
    >>> step(TensorMask3D(torch.tensor([[[[0, 1, 2]]]])))[0, :, 0, 0].tolist()
    [[0, 1, 1], [0, 0, 1]]
    """

    order = 100  # behind the transforms of batches

    def __init__(self, regions: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__()
        self.c, self.vocab, self.parts = len(regions), CategoryMap([*regions], sort=False), [*regions.values()]

    def encodes(self, x: TensorMask3D):
        return label_regions(x, self.parts)

    def decodes(self, x: TensorMask3D):
        x.codes = ["background", *self.vocab]
        return x

    def swapped(self, pairs: Mapping[int, int]) -> dict[int, int]:
        """Pairs of regions, by their numbers from 1 on, that are exchanged where pairs of labels are.

        Args:
            pairs: ``{left: right}``, for which there is no :func:`sides_fault`.
        """
        become = swapped_regions(self.parts, pairs)
        return {one: other for one, other in become.items() if other is not None and one < other}


def label_parts(regions: Any) -> dict[str, tuple[int, ...]]:
    """Regions that are made of labels, as name -> labels.

    Args:
        regions: name -> label or labels; or pairs of these.

    Raises:
        ValueError: they are made of something else, or of nothing; or two have one name, or the same labels.

    >>> label_parts({"whole": (1, 2, 3), "core": [1, 3], "enhancing": 3})
    {'whole': (1, 2, 3), 'core': (1, 3), 'enhancing': (3,)}
    """
    given = regions.items() if isinstance(regions, Mapping) else regions
    pairs = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else []
    if not pairs or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise ValueError(
            f"regions must say of which labels each is made, such as {{'whole': (1, 2, 3), 'core': (1, 3)}}, since a "
            f"cache keeps one mask of labels for each case; got {regions!r}. Channels, and files for each region, "
            f"{_WITHOUT_CACHE}"
        )
    found: dict[str, tuple[int, ...]] = {}
    for name, part in pairs:
        labels = (part,) if isinstance(part, int | str) or not isinstance(part, Iterable) else tuple(part)
        if named := [label for label in labels if isinstance(label, str)]:
            raise ValueError(
                f"the region {name!r} must be made of labels, which are numbers, got {named[0]!r}: name segments or "
                f"ROIs by codes=['background', {named[0]!r}, ...], and make regions of their places there, 1, 2, ...; "
                f"segments that overlap {_WITHOUT_CACHE}"
            )
        if not labels or not all(is_whole(label) and label > 0 for label in labels) or len(set(labels)) < len(labels):
            raise ValueError(
                f"the region {name!r} must be made of labels, whole numbers from 1 on, each once; got {part!r}"
            )
        if str(name) in found:
            raise ValueError(f"each region needs a name of its own, but two are called {str(name)!r}")
        same = next((other for other, own in found.items() if set(own) == set(labels)), None)
        if same is not None:
            raise ValueError(f"the regions {same!r} and {str(name)!r} are made of the same labels: leave one out")
        found[str(name)] = tuple(int(label) for label in labels)
    return found


def unknown_label(regions: Mapping[str, Iterable[int]], codes: Iterable[str]) -> str | None:
    """What to say of a label of a region that no class has; None for nothing.

    Args:
        regions: name -> labels.
        codes: names of the labels, from 0 on.
    """
    names = list(codes)
    for name, labels in regions.items():
        if beyond := [label for label in labels if label >= len(names)]:
            listed = ", ".join(f"{k}" if code == str(k) else f"{k} ({code})" for k, code in enumerate(names) if k)
            return f"the region {name!r} is made of the label {beyond[0]}, but the labels are {listed}"
    return None


def sides_fault(regions: Mapping[str, tuple[int, ...]], pairs: Mapping[int, int]) -> str | None:
    """What to say of regions that have no other side, where left and right labels are exchanged; None for nothing.

    The network would say nothing of what a mirrored volume shows there, so predictions of it could not be averaged.

    Args:
        regions: name -> labels.
        pairs: of labels, as of ``RandomFlip3D``.
    """
    become = swapped_regions([*regions.values()], pairs)
    lost = [name for number, name in enumerate(regions, 1) if become.get(number, number) is None]
    if not lost:
        return None
    return (
        f"swap_labels={dict(pairs)} makes of the region {lost[0]!r}, labels {regions[lost[0]]}, one that is none of "
        "the regions: add the other side to regions, or leave out the mirrors of left and right"
    )


def absent_text(masks: int, shown: Iterable[tuple[str, int]]) -> str:
    """What to say of regions that are empty in all masks of training; '' for nothing.

    Args:
        masks: how many there are.
        shown: name of each region, and how many masks show it.
    """
    empty = [name for name, count in shown if not count]
    if not empty:
        return ""
    return (
        f"training: of {masks} masks none holds a voxel of the region{'s' * (len(empty) > 1)} "
        f"{', '.join(map(repr, empty))}, so the network learns that there is none. Are the labels or names that make "
        "it those of the masks (regions={name: labels})?"
    )


def regions_of(dl: Any) -> LabelRegions | None:
    """The step of a loader that makes regions of labels; None where there is none.

    Args:
        dl: any loader; of several processes each has one around its own.
    """
    steps = getattr(getattr(vars(dl).get("dl", dl), "after_batch", None), "fs", ())
    return next((step for step in steps if isinstance(step, LabelRegions)), None)
